//! Reads the money of wallets and their past use. One statement reads each of them for all
//! requested wallets. So each has one snapshot, and the ledger is read once.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use crate::attribution::UseContext;
use crate::error::Result;
use crate::ledger::grants::asof;
use crate::ledger::grants::burn::{self, Lot, Rank};
use crate::ledger::grants::recurrence;
use crate::ledger::grants::scope::Scope;
use crate::ledger::grants::terms::PLAIN_PRIORITY;
use crate::ledger::wallets::config;
use crate::limits::period;
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::reporting::forecast::calendar::{Calendar, Length};
use crate::reporting::forecast::funds::{Funds, Pot, Recurring};
use crate::reporting::forecast::series::MOST_DAYS;
use crate::storage::plan::{Rows, Run, Value, statement};

// First one row per recurring grant, in the order in which those of one moment occur, and then one
// row per lot, with columns of the wallet; one row each for a wallet without them. Lots have their
// state when they were last settled. Rust adds later spending and due changes. Credit of ended lots
// that is kept for holds can be used by these holds only.
statement!(
    MONEY,
    [TEXTARRAYOID, TIMESTAMPTZOID],
    "WITH lanes AS MATERIALIZED (
         SELECT a.wallet_id, sum(a.allotted - a.spent) AS room
           FROM wallet.allowances a
          WHERE a.wallet_id = ANY ($1) AND a.allowance_id = '00000000-0000-0000-0000-000000000000' AND a.lane >= 0
          GROUP BY 1
     ), open AS MATERIALIZED (
         SELECT r.wallet_id, r.hold_id, r.held, r.scoped_ids, r.scoped_amounts
           FROM wallet.reservations r
          WHERE r.wallet_id = ANY ($1) AND r.status = 'open' AND (r.expires_at > $2 OR r.charge_on_expiry)
     ), kept AS MATERIALIZED (
         SELECT o.wallet_id, p.id, sum(p.amount) AS amount
           FROM open o CROSS JOIN LATERAL unnest(o.scoped_ids, o.scoped_amounts) AS p(id, amount)
          GROUP BY 1, 2
     ), held AS MATERIALIZED (
         SELECT o.wallet_id, sum(o.held) AS amount FROM open o GROUP BY 1
     ), scoped AS MATERIALIZED (
         SELECT k.wallet_id, sum(k.amount) AS amount FROM kept k GROUP BY 1
     ), ended AS MATERIALIZED (
         SELECT c.wallet_id, sum(c.amount) AS amount FROM wallet.kept_credit c WHERE c.wallet_id = ANY ($1) GROUP BY 1
     )
     SELECT w.wallet_id, w.time_zone, coalesce(b.room, 0) - w.credit_limit - coalesce(e.amount, 0), w.debt,
            coalesce(h.amount, 0) - coalesce(s.amount, 0) - coalesce(e.amount, 0),
            a.amount, a.rollover_max, a.started_at, a.turn, a.next_at, a.scope,
            (extract(year FROM a.period) * 12 + extract(month FROM a.period))::bigint, extract(day FROM a.period)::bigint,
            (extract(epoch FROM a.period - date_trunc('day', a.period)) * 1000000)::bigint,
            (extract(year FROM a.expires_after) * 12 + extract(month FROM a.expires_after))::bigint,
            extract(day FROM a.expires_after)::bigint,
            (extract(epoch FROM a.expires_after - date_trunc('day', a.expires_after)) * 1000000)::bigint,
            l.grant_id, l.remaining, coalesce(k.amount, 0), l.expires_at, l.priority, l.promotional, l.recurring, l.scope,
            l.created_at, w.grants_due <= $2, a.name
       FROM wallet.wallets w
       LEFT JOIN lanes b ON b.wallet_id = w.wallet_id
       LEFT JOIN held h ON h.wallet_id = w.wallet_id
       LEFT JOIN scoped s ON s.wallet_id = w.wallet_id
       LEFT JOIN ended e ON e.wallet_id = w.wallet_id
      CROSS JOIN (VALUES (1), (2)) AS p(place)
       LEFT JOIN wallet.recurring_grants a ON a.wallet_id = w.wallet_id AND p.place = 1
       LEFT JOIN wallet.grant_lots l ON l.wallet_id = w.wallet_id AND l.status = 'active' AND p.place = 2
       LEFT JOIN kept k ON k.wallet_id = l.wallet_id AND k.id = l.grant_id
      WHERE w.wallet_id = ANY ($1)
      ORDER BY w.wallet_id, p.place, a.name"
);

// Net use by age in days and by provider, model and service. Age 0 is today or later, 57 is
// everything that is too old to count. A refund counts on the day of its charge, so the time when
// it was booked does not matter. Entries that are not rolled up are found as in rolled_wallets,
// each of them once. They are found by index in each wallet, whatever the statistics say, and
// nothing is planned or run for each wallet separately.
statement!(
    USE,
    [TEXTARRAYOID, TIMESTAMPTZOID],
    "WITH asked AS MATERIALIZED (
         SELECT r.*, (timezone(r.time_zone, $2))::date AS today
           FROM wallet.rolled_wallets r
          WHERE r.wallet = ANY ($1)
     ), near AS MATERIALIZED (
         SELECT a.wallet, d.age, u.provider, u.model, u.service, sum(u.cost) AS cost,
                bool_or(u.cost <> 0 OR u.cost = 0 AND l.call <> 'p') AS used, count(*) AS entries
           FROM asked a
          CROSS JOIN LATERAL unnest(a.first_ids, a.last_ids) AS i(first_id, last_id)
          CROSS JOIN LATERAL (
                SELECT l.* FROM wallet.ledger_all l
                 WHERE l.wallet_id = a.wallet AND l.entry_id BETWEEN i.first_id AND i.last_id
                   AND l.seq > coalesce(a.seqs[l.lane + 2], 0)
                OFFSET 0) l
          CROSS JOIN LATERAL (SELECT coalesce(l.event_at, l.created_at) AS at) e
          CROSS JOIN LATERAL (
                SELECT CASE WHEN e.at >= $2 THEN 0 WHEN e.at < $2 - interval '60 days' THEN 57
                            ELSE least(greatest(a.today - (timezone(a.time_zone, e.at))::date, 0), 57) END AS age) d
          CROSS JOIN LATERAL (
                SELECT CASE l.kind WHEN 'c' THEN l.provider END AS provider, CASE l.kind WHEN 'c' THEN l.model END AS model,
                       CASE l.kind WHEN 'c' THEN l.service END AS service, CASE l.kind WHEN 'c' THEN -l.amount END AS cost) u
          GROUP BY 1, 2, 3, 4, 5
     ), counts AS MATERIALIZED (
         SELECT n.wallet, sum(n.entries) AS entries FROM near n GROUP BY 1
     ), incomplete AS MATERIALIZED (
         SELECT a.* FROM asked a LEFT JOIN counts n ON n.wallet = a.wallet WHERE coalesce(n.entries, 0) <> a.entries
     )
     SELECT n.wallet, n.age, n.provider, n.model, n.service, coalesce(n.cost, 0), coalesce(n.used, false)
       FROM near n
      UNION ALL
     SELECT i.wallet, d.age, l.provider, l.model, l.service, sum(-l.amount), bool_or(l.amount <> 0 OR l.call <> 'p')
       FROM incomplete i
      CROSS JOIN LATERAL (
            SELECT l.* FROM wallet.ledger_all l
             WHERE l.wallet_id = i.wallet AND l.entry_id >= '00000000-0000-0000-0000-000000000000' AND l.entry_id < i.floor_id
               AND l.seq > coalesce(i.seqs[l.lane + 2], 0) AND l.kind = 'c'
            OFFSET 0) l
      CROSS JOIN LATERAL (SELECT coalesce(l.event_at, l.created_at) AS at) e
      CROSS JOIN LATERAL (
            SELECT CASE WHEN e.at >= $2 THEN 0 WHEN e.at < $2 - interval '60 days' THEN 57
                        ELSE least(greatest(i.today - (timezone(i.time_zone, e.at))::date, 0), 57) END AS age) d
      GROUP BY 1, 2, 3, 4, 5
      UNION ALL
     SELECT a.wallet, a.today - r.day, r.provider, r.model, r.service, sum(r.cost), bool_or(r.requests > 0 OR r.cost <> 0)
       FROM asked a
      CROSS JOIN LATERAL (
            SELECT r.* FROM wallet.usage_rollups r
             WHERE r.wallet_id = a.wallet AND r.day >= a.today - 56 AND r.day < a.today AND cardinality(a.seqs) > 0
            OFFSET 0) r
      GROUP BY 1, 2, 3, 4, 5
      UNION ALL
     SELECT a.wallet, 57, NULL, NULL, NULL, 0, true
       FROM asked a
      WHERE cardinality(a.seqs) > 0
        AND EXISTS (SELECT FROM wallet.usage_rollups r
                     WHERE r.wallet_id = a.wallet AND r.day < a.today - 56 AND (r.requests > 0 OR r.cost <> 0) OFFSET 0)
      UNION ALL
     SELECT a.wallet, d.age, l.provider, l.model, l.service, -sum(f.refunded), false
       FROM asked a
      CROSS JOIN LATERAL (SELECT f.* FROM wallet.refunds f WHERE f.wallet_id = a.wallet OFFSET 0) f
      CROSS JOIN LATERAL (SELECT l.* FROM wallet.ledger_all l WHERE l.wallet_id = f.wallet_id AND l.entry_id = f.entry_id OFFSET 0) l
      CROSS JOIN LATERAL (SELECT coalesce(l.event_at, l.created_at) AS at) e
      CROSS JOIN LATERAL (
            SELECT CASE WHEN e.at >= $2 THEN 0 WHEN e.at < $2 - interval '60 days' THEN 57
                        ELSE least(greatest(a.today - (timezone(a.time_zone, e.at))::date, 0), 57) END AS age) d
      GROUP BY 1, 2, 3, 4, 5"
);

statement!(
    /// The wallets whose use each of the wallets pays: itself, and the pooled wallets below it.
    PAID,
    [TEXTARRAYOID],
    "WITH RECURSIVE paid (payer, wallet_id) AS (
         SELECT w.wallet_id, w.wallet_id FROM wallet.wallets w WHERE w.wallet_id = ANY ($1)
          UNION ALL
         SELECT p.payer, w.wallet_id
           FROM paid p
          CROSS JOIN LATERAL (SELECT w.wallet_id FROM wallet.wallets w
                               WHERE w.parent = p.wallet_id AND w.share = 'pool' OFFSET 0) w
     )
     SELECT p.payer, p.wallet_id FROM paid p"
);

/// The object of a use: provider, model, service.
type What = (Option<String>, Option<String>, Option<String>);

/// The known facts of a wallet.
pub struct Known {
    /// The wallet's time zone.
    pub zone: TimeZone,
    /// The wallet's money.
    pub funds: Funds,
    /// The names of its recurring grants, by number.
    names: Vec<String>,
    /// The scopes of its grants, by number.
    pub scopes: Vec<Scope>,
    /// The wallet's debt. The next funding pays it, so it is not part of the balance.
    pub debt: i128,
    /// The number of whole days since the first use, at most [`MOST_DAYS`].
    pub days: usize,
    /// Net use in units by its object, yesterday first.
    uses: BTreeMap<What, Vec<i128>>,
}

impl Known {
    /// Net use in units by whole days, yesterday first.
    pub fn history(&self) -> Vec<i128> {
        (0..self.days)
            .map(|day| self.uses.values().map(|days| days[day]).sum())
            .collect()
    }

    /// Use by the scopes that allow it, each with its days, yesterday first.
    pub fn uses_by_fit(&self) -> BTreeMap<Vec<bool>, Vec<i128>> {
        let mut fits: BTreeMap<Vec<bool>, Vec<i128>> = BTreeMap::new();
        for ((provider, model, service), days) in &self.uses {
            let context = UseContext {
                provider: provider.as_deref(),
                model: model.as_deref(),
                service: service.as_deref(),
                ..UseContext::default()
            };
            let scopes = self.scopes.iter();
            let fit = scopes.map(|scope| scope.allows(context)).collect();
            let sums = fits.entry(fit).or_insert_with(|| vec![0; days.len()]);
            for (sum, units) in sums.iter_mut().zip(days) {
                *sum += units;
            }
        }
        fits
    }
}

/// The number of a scope among the known ones. A new scope gets the next number.
fn number_of(
    scopes: &mut Vec<Scope>,
    rows: &Rows,
    row: usize,
    column: i32,
) -> Result<Option<usize>> {
    let Some(datum) = rows.datum(row, column) else {
        return Ok(None);
    };
    Ok(Some(known_as(scopes, Scope::stored(Jsonb(datum))?)))
}

fn known_as(scopes: &mut Vec<Scope>, scope: Scope) -> usize {
    let known = scopes.iter().position(|known| *known == scope);
    known.unwrap_or_else(|| {
        scopes.push(scope);
        scopes.len() - 1
    })
}

fn length(rows: &Rows, row: usize, column: i32) -> Option<Length> {
    Some(Length {
        months: rows.get(row, column)?,
        days: rows.get(row, column + 1)?,
        micros: rows.get(row, column + 2)?,
    })
}

/// The recurring grant of a row, with the next number.
fn recurring(
    scopes: &mut Vec<Scope>,
    rows: &Rows,
    row: usize,
    number: usize,
) -> Result<Option<Recurring>> {
    let (Some(amount), Some(period)) = (rows.opt_amount(row, 5)?, length(rows, row, 11)) else {
        return Ok(None);
    };
    Ok(Some(Recurring {
        number,
        amount: amount.units(),
        period,
        life: length(rows, row, 14),
        rollover_max: rows.opt_amount(row, 6)?.map(Amount::units),
        started_at: rows.need::<Timestamp>(row, 7)?.unix_micros(),
        turn: rows.need(row, 8)?,
        next_at: rows.need::<Timestamp>(row, 9)?.unix_micros(),
        scope: number_of(scopes, rows, row, 10)?,
    }))
}

/// The number of the recurring grant of that name. A grant of one that was stopped has none.
fn numbered(names: &[String], name: Option<&str>) -> Option<usize> {
    names.iter().position(|known| Some(known.as_str()) == name)
}

fn pot(scopes: &mut Vec<Scope>, names: &[String], rows: &Rows, row: usize) -> Result<Option<Pot>> {
    let Some(id) = rows.get::<[u8; 16]>(row, 17) else {
        return Ok(None);
    };
    let ends = rows.get::<Timestamp>(row, 20).map(Timestamp::unix_micros);
    Ok(Some(Pot {
        rank: Rank {
            priority: rows.need(row, 21)?,
            expires_at: ends.unwrap_or(i64::MAX),
            paid: !rows.need::<bool>(row, 22)?,
            created_at: rows.need::<Timestamp>(row, 25)?.unix_micros(),
            id,
        },
        left: rows.amount(row, 18)?.units(),
        kept: rows.amount(row, 19)?.units(),
        ends,
        recurring: numbered(names, rows.get::<String>(row, 23).as_deref()),
        scope: number_of(scopes, rows, row, 24)?,
    }))
}

/// Allocates spending since the lots were settled to the lots. Money that is in no lot becomes a
/// plain one.
fn settle(pots: &mut Vec<Pot>, balance: Amount, now: Timestamp) -> i128 {
    let general = pots.iter().filter(|pot| pot.scope.is_none());
    let mut lots: Vec<Lot> = general
        .map(|pot| Lot {
            rank: pot.rank.clone(),
            remaining: Amount::from_units(pot.left).unwrap_or_default(),
        })
        .collect();
    let surplus = balance.units().max(0) - burn::total(&lots);
    let burns: BTreeMap<[u8; 16], i128> = burn::settle(&mut lots, balance)
        .iter()
        .map(|burn| (burn.id, burn.amount.units()))
        .collect();
    for pot in pots.iter_mut() {
        pot.left -= burns.get(&pot.rank.id).copied().unwrap_or(0);
    }
    if surplus > 0 {
        pots.push(plain(surplus, now));
    }
    (-balance.units()).max(0)
}

/// Money that is in no lot.
fn plain(left: i128, now: Timestamp) -> Pot {
    Pot {
        rank: Rank {
            priority: PLAIN_PRIORITY,
            expires_at: i64::MAX,
            paid: true,
            created_at: now.unix_micros(),
            id: [0xFF; 16],
        },
        left,
        kept: 0,
        ends: None,
        recurring: None,
        scope: None,
    }
}

/// Adds everything that is due, as a call that books it would. A balance above the sum of the lots
/// without scope is money in no lot; one below zero is owed. The next occurrence is counted from
/// the start of a recurring grant, not from the last one.
fn catch_up(wallet: &str, known: &mut Known, now: Timestamp) -> Result<()> {
    let rules = config::read(wallet)?;
    let standing = asof::standing_at(wallet, &rules, now)?;
    let course = &standing.course;
    let balance = course.general - course.kept_units();
    let unix = |at: i64| match at {
        i64::MAX => at,
        at => Timestamp(at).unix_micros(),
    };
    let mut pots = Vec::new();
    let mut general = 0;
    for one in &course.lots {
        let rank = &one.lot.rank;
        if one.scope.is_none() {
            general += one.lot.remaining.units();
        }
        pots.push(Pot {
            rank: Rank {
                expires_at: unix(rank.expires_at),
                created_at: unix(rank.created_at),
                ..rank.clone()
            },
            left: one.lot.remaining.units(),
            kept: one.held.units(),
            ends: one.expires_at.map(Timestamp::unix_micros),
            recurring: numbered(&known.names, one.recurring.as_deref()),
            scope: one
                .scope
                .clone()
                .map(|scope| known_as(&mut known.scopes, Scope::clone(&scope))),
        });
    }
    if balance > general {
        pots.push(plain(balance - general, now));
    }
    known.funds.pots = pots;
    known.funds.owed = (-balance).max(0);
    known.funds.held = course.held - course.kept_units();
    let Some(calendar) = Calendar::at(known.zone.clone(), now.unix_micros()) else {
        return Ok(());
    };
    for (name, taken) in recurrence::by_name(&standing.due.turns) {
        let number = numbered(&known.names, Some(&name));
        let Some(again) = number.and_then(|number| known.funds.recurring.get_mut(number)) else {
            continue;
        };
        again.turn += taken;
        let next = calendar.after(again.started_at, again.period, again.turn + 1);
        again.next_at = next.unwrap_or(i64::MAX);
    }
    Ok(())
}

/// Reads the money of wallets, by name.
fn money(wallets: &[String], now: Timestamp) -> Result<BTreeMap<String, Known>> {
    let rows = MONEY.run(&[Value::OptTexts(Some(wallets)), Value::Time(now)])?;
    let mut known = BTreeMap::new();
    let mut row = 0;
    while row < rows.len() {
        let wallet: String = rows.need(row, 0)?;
        let (mut scopes, mut pots) = (Vec::new(), Vec::new());
        let (mut names, mut again) = (Vec::new(), Vec::new());
        let first = row;
        while row < rows.len() && rows.need::<String>(row, 0)? == wallet {
            if let Some(one) = recurring(&mut scopes, &rows, row, again.len())? {
                names.push(rows.need(row, 27)?);
                again.push(one);
            }
            pots.extend(pot(&mut scopes, &names, &rows, row)?);
            row += 1;
        }
        let owed = settle(&mut pots, rows.amount(first, 2)?, now);
        let zone = period::zone(&rows.need::<String>(first, 1)?);
        let mut one = Known {
            // PostgreSQL may know a time zone that this library does not know.
            zone: zone.unwrap_or(TimeZone::UTC),
            funds: Funds {
                pots,
                owed,
                held: rows.amount(first, 4)?.units(),
                recurring: again,
            },
            names,
            scopes,
            debt: rows.amount(first, 3)?.units(),
            days: 0,
            uses: BTreeMap::new(),
        };
        if rows.get(first, 26).unwrap_or(false) {
            catch_up(&wallet, &mut one, now)?;
        }
        known.insert(wallet, one);
    }
    Ok(known)
}

/// Adds the use that the wallets pay for.
fn add_uses(known: &mut BTreeMap<String, Known>, wallets: &[String], now: Timestamp) -> Result<()> {
    let rows = PAID.run(&[Value::OptTexts(Some(wallets))])?;
    let mut payers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in 0..rows.len() {
        let user: String = rows.need(row, 1)?;
        payers.entry(user).or_default().push(rows.need(row, 0)?);
    }
    let users: Vec<String> = payers.keys().cloned().collect();
    let rows = USE.run(&[Value::OptTexts(Some(&users)), Value::Time(now)])?;
    for row in 0..rows.len() {
        let payers = payers.get(&rows.need::<String>(row, 0)?);
        for payer in payers.into_iter().flatten() {
            if let Some(known) = known.get_mut(payer) {
                add_use(known, &rows, row)?;
            }
        }
    }
    Ok(())
}

/// Adds a row of use.
fn add_use(known: &mut Known, rows: &Rows, row: usize) -> Result<()> {
    let age = usize::try_from(rows.need::<i32>(row, 1)?).unwrap_or(0);
    if rows.need(row, 6)? {
        known.days = known.days.max(age.min(MOST_DAYS));
    }
    let cost = rows.amount(row, 5)?;
    if (1..=MOST_DAYS).contains(&age) && !cost.is_zero() {
        let what = (rows.get(row, 2), rows.get(row, 3), rows.get(row, 4));
        let days = known.uses.entry(what).or_insert_with(|| vec![0; MOST_DAYS]);
        days[age - 1] += cost.units();
    }
    Ok(())
}

/// The known facts of wallets, by name. Wallets that do not exist are left out.
pub fn read(wallets: &[String], now: Timestamp) -> Result<BTreeMap<String, Known>> {
    let mut known = money(wallets, now)?;
    add_uses(&mut known, wallets, now)?;
    Ok(known)
}
