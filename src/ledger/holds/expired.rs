//! What holds whose time has come have set aside still, and giving it back.
//!
//! Nobody sweeps holds before somebody needs their money, so there may be any number of them. A call first asks how much
//! they have set aside in all. What is refused with that is refused at once, and nothing was written. What goes through
//! gives back as many of them as it needs, the oldest first, many in one statement.
//!
//! How much they have is known without a look at each: it is what is held in all, less what open holds have set aside
//! whose time has not come. Whichever of the two are few are added up.

use std::collections::{BTreeMap, HashMap};
use std::thread::LocalKey;

use crate::allowance::all_lanes::AllLanes;
use crate::allowance::lanes::range;
use crate::error::{Error, Result};
use crate::ledger::grants::burn::Burn;
use crate::ledger::grants::course::{Holding, Kept};
use crate::ledger::grants::pools;
use crate::limits::limit::Applied;
use crate::limits::warning::Warning;
use crate::limits::window::{self, Status};
use crate::money::Amount;
use crate::outbox;
use crate::outbox::{Field, Name};
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::storage::cursor::Portions;
use crate::storage::plan::{Rows, Run, Statement, Value, statement};
use crate::storage::rows::{AllowanceId, BALANCE};

/// Holds that are added up one by one before the others are looked at.
const FEW: i64 = 256;
/// Open holds whose time has not come that are added up instead.
const MANY: i64 = 4096;
/// Holds that are given back with one statement.
const PORTION: usize = 500;

// An index has them in this order.
macro_rules! expired_query {
    ($and:literal, $clause:literal) => {
        concat!(
            "SELECT r.hold_id, r.lane, r.held, r.created_at, r.expires_at, r.window_ids, r.window_amounts,
                    r.scoped_ids, r.scoped_amounts
               FROM wallet.reservations r
              WHERE r.wallet_id = $1 AND r.status = 'open' AND r.expires_at <= $2
                AND ($3 IS NULL OR r.hold_id <> $3)
                AND ($4 IS NULL OR r.created_at >= $4 AND r.scoped_ids = '{}') ",
            $and,
            " ORDER BY r.wallet_id, r.expires_at ",
            $clause
        )
    };
}

statement!(
    FIRST,
    [TEXTOID, TIMESTAMPTZOID, UUIDOID, TIMESTAMPTZOID, INT8OID],
    expired_query!("", "LIMIT $5")
);

// Whoever settles a hold has its row locked: it is left to them.
statement!(
    LOCK,
    [TEXTOID, TIMESTAMPTZOID, UUIDOID, TIMESTAMPTZOID],
    expired_query!("", "FOR NO KEY UPDATE SKIP LOCKED")
);

// Holds that have nothing in the windows are left to others.
statement!(
    LOCK_IN_WINDOWS,
    [
        TEXTOID,
        TIMESTAMPTZOID,
        UUIDOID,
        TIMESTAMPTZOID,
        UUIDARRAYOID
    ],
    expired_query!("AND r.window_ids && $5", "FOR NO KEY UPDATE SKIP LOCKED")
);

statement!(
    ALL,
    [TEXTOID, TIMESTAMPTZOID, UUIDOID, TIMESTAMPTZOID],
    "SELECT p.id, sum(p.amount)
       FROM wallet.reservations r
      CROSS JOIN LATERAL (
            SELECT '00000000-0000-0000-0000-000000000000'::uuid AS id,
                   r.held - (SELECT coalesce(sum(s), 0) FROM unnest(r.scoped_amounts) s) AS amount
             UNION ALL
            SELECT * FROM unnest(r.window_ids, r.window_amounts)
             UNION ALL
            SELECT * FROM unnest(r.scoped_ids, r.scoped_amounts)) p
      WHERE r.wallet_id = $1 AND r.status = 'open' AND r.expires_at <= $2
        AND ($3 IS NULL OR r.hold_id <> $3)
        AND ($4 IS NULL OR r.created_at >= $4 AND r.scoped_ids = '{}')
      GROUP BY p.id"
);

// One statement, so that both sides are of one moment. The first row says how many holds were added up. The hold that the
// caller closes is looked up by its id: an index of open holds would lead to all of the wallet's.
statement!(
    OTHERS,
    [TEXTOID, TIMESTAMPTZOID, UUIDOID, UUIDARRAYOID, INT8OID],
    "WITH others AS MATERIALIZED (
        (SELECT r.held, r.window_ids, r.window_amounts, r.scoped_ids, r.scoped_amounts
           FROM wallet.reservations r
          WHERE r.wallet_id = $1 AND r.status = 'open' AND r.expires_at > $2
            AND ($3 IS NULL OR r.hold_id <> $3)
          ORDER BY r.wallet_id, r.expires_at LIMIT $5)
        UNION ALL
        (SELECT r.held, r.window_ids, r.window_amounts, r.scoped_ids, r.scoped_amounts
           FROM wallet.reservations r
          WHERE r.wallet_id = $1 AND r.hold_id = $3 AND r.status NOT IN ('settled', 'voided', 'expired'))
     ), parts AS (
        SELECT a.allowance_id AS id, a.held AS amount
          FROM wallet.allowances a
         WHERE a.wallet_id = $1 AND a.allowance_id = ANY ($4) AND a.lane >= 0
         UNION ALL
        SELECT g.grant_id, g.held FROM wallet.grant_lots g
         WHERE g.wallet_id = $1 AND g.grant_id = ANY ($4) AND g.scope IS NOT NULL
         UNION ALL
        SELECT p.id, -p.amount
          FROM others o
         CROSS JOIN LATERAL (
               SELECT '00000000-0000-0000-0000-000000000000'::uuid AS id,
                      o.held - (SELECT coalesce(sum(s), 0) FROM unnest(o.scoped_amounts) s) AS amount
                UNION ALL
               SELECT * FROM unnest(o.window_ids, o.window_amounts)
                UNION ALL
               SELECT * FROM unnest(o.scoped_ids, o.scoped_amounts)) p
         WHERE p.id = ANY ($4)
     )
     SELECT NULL::uuid, NULL::numeric, count(*) FROM others
      UNION ALL
     SELECT p.id, sum(p.amount), NULL FROM parts p GROUP BY p.id"
);

statement!(
    CLOSE,
    [TEXTOID, UUIDARRAYOID],
    "UPDATE wallet.reservations
        SET status = 'expired', held = 0, closed_at = expires_at, scoped_ids = '{}', scoped_amounts = '{}',
            window_amounts = CASE WHEN window_amounts = '{}' THEN window_amounts
                                  ELSE array_fill(0::numeric, ARRAY[cardinality(window_amounts)]) END
      WHERE wallet_id = $1 AND hold_id = ANY ($2)"
);

statement!(
    EMPTY_WINDOWS,
    [TEXTOID, UUIDARRAYOID, UUIDARRAYOID],
    "UPDATE wallet.reservations
        SET window_amounts = ARRAY(SELECT CASE WHEN w.id = ANY ($3) THEN 0 ELSE w.amount END
                                     FROM unnest(window_ids, window_amounts) WITH ORDINALITY AS w(id, amount, n)
                                    ORDER BY w.n)
      WHERE wallet_id = $1 AND hold_id = ANY ($2)"
);

/// How the sums were found.
enum Sums {
    /// All of them are here: what is not, has nothing.
    All(HashMap<AllowanceId, i128>),
    /// Those that were asked for.
    Asked(HashMap<AllowanceId, i128>),
}

/// A hold's row, as far as it matters when its time has come.
struct Row {
    id: [u8; 16],
    lane: i16,
    held: Amount,
    created_at: Timestamp,
    expires_at: Timestamp,
    windows: Vec<(AllowanceId, Amount)>,
    scoped: Vec<Burn>,
}

/// The holds of a wallet whose time has come by a moment.
pub struct Expired<'a> {
    wallet: &'a str,
    by: Timestamp,
    /// One that the caller closes itself.
    except: Option<[u8; 16]>,
    /// Only those count that were made then or later and have nothing of grants with a scope: what the others keep ends
    /// in the course of time.
    made_since: Option<Timestamp>,
    /// Whether all is read under the snapshot of the query that asks.
    in_query: bool,
    sums: Sums,
    rest: Option<Portions>,
}

impl<'a> Expired<'a> {
    /// All of them.
    pub fn look(wallet: &'a str, by: Timestamp) -> Result<Expired<'a>> {
        Expired::but(wallet, by, None, None)
    }

    /// All of them, as the query sees them that asks.
    pub fn look_in_query(wallet: &'a str, by: Timestamp) -> Result<Expired<'a>> {
        Expired {
            in_query: true,
            ..Expired::none(wallet, by)
        }
        .added_up()
    }

    fn none(wallet: &'a str, by: Timestamp) -> Expired<'a> {
        Expired {
            wallet,
            by,
            except: None,
            made_since: None,
            in_query: false,
            sums: Sums::All(HashMap::new()),
            rest: None,
        }
    }

    /// All but one that the caller closes itself and, of a wallet of which ended grants keep something, but those that
    /// may have a part in it.
    pub fn but(
        wallet: &'a str,
        by: Timestamp,
        except: Option<[u8; 16]>,
        kept: Option<&[Kept]>,
    ) -> Result<Expired<'a>> {
        let last_end = |kept: &[Kept]| kept.iter().map(|kept| kept.ended_at).max();
        Expired {
            except,
            made_since: kept.map(|kept| last_end(kept).unwrap_or(Timestamp(i64::MIN))),
            ..Expired::none(wallet, by)
        }
        .added_up()
    }

    fn added_up(mut self) -> Result<Expired<'a>> {
        let [wallet, by, except, since] = self.values();
        let first = self.run(&FIRST, &[wallet, by, except, since, Value::Int8(FEW)])?;
        if (first.len() as i64) < FEW {
            let mut sums = HashMap::new();
            for row in 0..first.len() {
                for (id, amount) in Row::of(&first, row)?.parts() {
                    *sums.entry(id).or_insert(0) += amount;
                }
            }
            self.sums = Sums::All(sums);
        } else if self.made_since.is_some() {
            self.add_up()?;
        } else {
            self.sums = Sums::Asked(HashMap::new());
            self.ask(&[BALANCE])?;
        }
        Ok(self)
    }

    fn run(&self, statement: &'static LocalKey<Statement>, values: &[Value<'_>]) -> Result<Rows> {
        match self.in_query {
            true => statement.read_in_order(values),
            false => statement.run_in_order(values),
        }
    }

    fn values(&self) -> [Value<'a>; 4] {
        [
            Value::Text(self.wallet),
            Value::Time(self.by),
            Value::OptUuid(self.except),
            Value::OptTime(self.made_since),
        ]
    }

    /// Whether there are none, or none that count.
    pub fn are_none(&self) -> bool {
        match &self.sums {
            Sums::All(sums) => sums.is_empty(),
            Sums::Asked(_) => false,
        }
    }

    fn add_up(&mut self) -> Result<()> {
        let rows = self.run(&ALL, &self.values())?;
        let sums =
            (0..rows.len()).map(|row| Ok((rows.need(row, 0)?, rows.amount(row, 1)?.units())));
        self.sums = Sums::All(sums.collect::<Result<_>>()?);
        Ok(())
    }

    /// Finds how much they have in these.
    pub fn ask(&mut self, ids: &[AllowanceId]) -> Result<()> {
        let Sums::Asked(known) = &self.sums else {
            return Ok(());
        };
        let unknown = ids.iter().filter(|id| !known.contains_key(*id));
        let unknown: Vec<AllowanceId> = unknown.copied().collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let [wallet, by, except, _] = self.values();
        let (ids, most) = (Value::Uuids(&unknown), Value::Int8(MANY));
        let rows = self.run(&OTHERS, &[wallet, by, except, ids, most])?;
        if rows.need::<i64>(0, 2)? >= MANY {
            return self.add_up();
        }
        let (Sums::All(known) | Sums::Asked(known)) = &mut self.sums;
        known.extend(unknown.iter().map(|id| (*id, 0)));
        for row in 1..rows.len() {
            known.insert(rows.need(row, 0)?, rows.amount(row, 1)?.units());
        }
        Ok(())
    }

    /// The same of the windows of a request.
    pub fn ask_in(&mut self, applied: &[Applied<'_>]) -> Result<()> {
        self.ask(&window::ids(applied))
    }

    /// How much they have in one that was asked for: a window, a grant with a scope, or the lanes of the balance.
    pub fn of(&self, id: AllowanceId) -> Result<Amount> {
        let (Sums::All(sums) | Sums::Asked(sums)) = &self.sums;
        Amount::from_units(sums.get(&id).copied().unwrap_or(0)).map_err(range)
    }

    /// Gives back all of them, and says what they had set aside. The caller has all lanes.
    pub fn sweep_all(&mut self, whole: &mut AllLanes<'_>) -> Result<Vec<Holding>> {
        let mut swept = Vec::new();
        loop {
            let some = self.sweep_some(whole)?;
            if some.is_empty() {
                return Ok(swept);
            }
            swept.extend(some);
        }
    }

    /// Gives back some, and says what they had set aside. Nothing when there are no more.
    pub fn sweep_some(&mut self, whole: &mut AllLanes<'_>) -> Result<Vec<Holding>> {
        if self.are_none() {
            return Ok(Vec::new());
        }
        let holds = self.lock_some()?;
        if holds.is_empty() {
            // Others are settling those that are left.
            self.sums = Sums::All(HashMap::new());
            return Ok(Vec::new());
        }
        release_windows(self.wallet, &holds, |_| true)?;
        release_money(self.wallet, whole, &holds)?;
        CLOSE.run(&[Value::Text(self.wallet), Value::Uuids(&ids_of(&holds))])?;
        let payloads: Vec<_> = holds.iter().map(Row::payload).collect();
        outbox::emit_all(self.wallet, Name::HoldExpired, None, &payloads)?;
        self.take_off(holds.iter().flat_map(Row::parts));
        Ok(holds.into_iter().map(Row::holding).collect())
    }

    /// WL002 where one of the limits that a request takes from next refuses it with all that they have.
    pub fn refusal(&mut self, applied: &[Applied<'_>]) -> Result<Option<Error>> {
        self.ask_in(applied)?;
        window::refusal(self.wallet, applied.iter(), |id| self.of(id))
    }

    /// Gives back as much of what they have set aside in those windows as a request needs, for a call that does not hold
    /// all lanes and takes from these next: what they have in the balance and in other windows, which come before these
    /// in the order of locks, stays there until one does.
    pub fn sweep_windows(&mut self, applied: &[Applied<'_>]) -> Result<()> {
        let windows = window::ids(applied);
        let is_wanted = |id: &AllowanceId| windows.contains(id);
        let mut needing = self.needing(applied)?;
        let [wallet, by, except, since] = self.values();
        let ours = [wallet, by, except, since, Value::Uuids(&windows)];
        self.rest = Some(Portions::open(&LOCK_IN_WINDOWS, &ours)?);
        let mut holds: Vec<Row> = Vec::new();
        while !self.are_as_if(&needing)? {
            let more = self.lock_some()?;
            if more.is_empty() {
                break;
            }
            for (id, units) in more.iter().flat_map(Row::parts) {
                let of_it = needing.iter_mut();
                for status in of_it.filter(|status| status.applied.window_id == id) {
                    let held = status.held.units() - units;
                    status.held = Amount::from_units(held).map_err(range)?;
                }
            }
            self.take_off(
                more.iter()
                    .flat_map(Row::parts)
                    .filter(|(id, _)| is_wanted(id)),
            );
            holds.extend(more);
        }
        // All at once: the rows of windows are written in the order in which everybody locks them.
        release_windows(self.wallet, &holds, is_wanted)?;
        let ids = ids_of(&holds);
        let (ids, windows) = (Value::Uuids(&ids), Value::Uuids(&windows));
        EMPTY_WINDOWS.run(&[wallet, ids, windows]).map(drop)
    }

    /// Gives back as many as it takes for limits that a request takes from next, of which they have not been asked
    /// whether they refuse it. The caller has all lanes.
    pub fn make_way_in(&mut self, whole: &mut AllLanes<'_>, applied: &[Applied<'_>]) -> Result<()> {
        if self.are_none() {
            return Ok(());
        }
        self.ask_in(applied)?;
        while !self.are_as_if(&self.needing(applied)?)? && !self.sweep_some(whole)?.is_empty() {}
        whole.unswept = self.of(BALANCE)?;
        Ok(())
    }

    /// Gives back as many as it takes for an amount to leave the lanes, and for the thresholds to be judged as if all
    /// had been given back. The caller has all lanes.
    pub fn make_way(
        &mut self,
        whole: &mut AllLanes<'_>,
        amount: Amount,
        credit: Amount,
    ) -> Result<()> {
        let after = whole.room()?.units() + self.of(BALANCE)?.units() - amount.units();
        let floor = whole.floor(after - credit.units()) + credit.units();
        let wanted = amount.units() + floor.max(0);
        while whole.room()?.units() < wanted && !self.sweep_some(whole)?.is_empty() {}
        whole.unswept = self.of(BALANCE)?;
        Ok(())
    }

    /// The windows that a request needs something of, as they stand.
    fn needing<'w>(&self, applied: &[Applied<'w>]) -> Result<Vec<Status<'w>>> {
        let needing = applied.iter().filter(|one| !one.need.is_zero());
        needing
            .map(|one| window::status(self.wallet, one.clone()))
            .collect()
    }

    /// Whether the windows of a request refuse and warn as if all had been given back.
    fn are_as_if(&self, needing: &[Status<'_>]) -> Result<bool> {
        for status in needing {
            let freed = self.of(status.applied.window_id)?;
            if !freed.is_zero() && !status.is_as_if(freed) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Warnings of what is used without what they have set aside: a level that only they come to is none.
    pub fn without<'w>(&mut self, warnings: Vec<Warning<'w>>) -> Result<Vec<Warning<'w>>> {
        if self.are_none() || warnings.is_empty() {
            return Ok(warnings);
        }
        let windows: Vec<AllowanceId> = warnings.iter().map(Warning::window).collect();
        self.ask(&windows)?;
        let mut left = Vec::new();
        for warning in warnings {
            let freed = self.of(warning.window())?;
            left.extend(warning.less(freed)?);
        }
        Ok(left)
    }

    fn lock_some(&mut self) -> Result<Vec<Row>> {
        if self.rest.is_none() {
            self.rest = Some(Portions::open(&LOCK, &self.values())?);
        }
        let Some(rest) = &self.rest else {
            return Ok(Vec::new());
        };
        let rows = rest.fetch(PORTION);
        (0..rows.len()).map(|row| Row::of(&rows, row)).collect()
    }

    fn take_off(&mut self, parts: impl Iterator<Item = (AllowanceId, i128)>) {
        let (Sums::All(sums) | Sums::Asked(sums)) = &mut self.sums;
        for (id, units) in parts {
            if let Some(sum) = sums.get_mut(&id) {
                *sum -= units;
            }
        }
    }
}

/// Warnings of what is used without what expired holds have set aside, for a call that has not looked at these.
pub fn without<'w>(wallet: &str, warnings: Vec<Warning<'w>>) -> Result<Vec<Warning<'w>>> {
    if warnings.is_empty() {
        return Ok(warnings);
    }
    Expired::look(wallet, clock::now())?.without(warnings)
}

fn ids_of(holds: &[Row]) -> Vec<[u8; 16]> {
    holds.iter().map(|hold| hold.id).collect()
}

impl Row {
    fn of(rows: &Rows, row: usize) -> Result<Row> {
        let pairs = |ids: i32| -> Result<Vec<(AllowanceId, Amount)>> {
            let amounts = rows.amounts(row, ids + 1)?;
            Ok(rows.uuids(row, ids).into_iter().zip(amounts).collect())
        };
        let burn = |(id, amount)| Burn { id, amount };
        Ok(Row {
            id: rows.need(row, 0)?,
            lane: rows.need(row, 1)?,
            held: rows.amount(row, 2)?,
            created_at: rows.need(row, 3)?,
            expires_at: rows.need(row, 4)?,
            windows: pairs(5)?,
            scoped: pairs(7)?.into_iter().map(burn).collect(),
        })
    }

    /// What of it is held in the lanes.
    fn general(&self) -> i128 {
        let scoped = self.scoped.iter().map(|part| part.amount.units());
        self.held.units() - scoped.sum::<i128>()
    }

    /// How much of it is held where.
    fn parts(&self) -> impl Iterator<Item = (AllowanceId, i128)> {
        let windows = self
            .windows
            .iter()
            .map(|(id, amount)| (*id, amount.units()));
        let scoped = self
            .scoped
            .iter()
            .map(|part| (part.id, part.amount.units()));
        std::iter::once((BALANCE, self.general()))
            .chain(windows)
            .chain(scoped)
    }

    fn holding(self) -> Holding {
        Holding::new(
            self.created_at,
            Some(self.expires_at),
            self.held,
            self.scoped,
        )
    }

    fn payload(&self) -> Vec<(&'static str, Field<'static>)> {
        payload(self.id, self.held, self.expires_at)
    }
}

/// What the event says of a hold that was neither settled nor voided in time.
pub(super) fn payload(
    id: [u8; 16],
    amount: Amount,
    expires_at: Timestamp,
) -> Vec<(&'static str, Field<'static>)> {
    vec![
        ("hold_id", Field::Id(id)),
        ("amount", Field::Amount(amount)),
        ("expires_at", Field::Time(Some(expires_at))),
    ]
}

/// Gives back what holds have set aside in windows, each row of these once and in their order.
fn release_windows(
    wallet: &str,
    holds: &[Row],
    is_wanted: impl Fn(&AllowanceId) -> bool,
) -> Result<()> {
    let mut sums: BTreeMap<(AllowanceId, i16), i128> = BTreeMap::new();
    for hold in holds {
        for (id, amount) in hold.windows.iter().filter(|(id, _)| is_wanted(id)) {
            *sums.entry((*id, hold.lane)).or_insert(0) += amount.units();
        }
    }
    for ((id, lane), units) in sums {
        let amount = Amount::from_units(units).map_err(range)?;
        window::release(wallet, id, amount, lane)?;
    }
    Ok(())
}

/// Gives back what holds have set aside in the lanes and in grants with a scope, each once.
fn release_money(wallet: &str, whole: &mut AllLanes<'_>, holds: &[Row]) -> Result<()> {
    let mut lanes: BTreeMap<i16, i128> = BTreeMap::new();
    let mut scoped: BTreeMap<[u8; 16], i128> = BTreeMap::new();
    for hold in holds {
        *lanes.entry(hold.lane).or_insert(0) += hold.general();
        for part in &hold.scoped {
            *scoped.entry(part.id).or_insert(0) += part.amount.units();
        }
    }
    for (lane, units) in lanes {
        whole.release(lane, Amount::from_units(units).map_err(range)?)?;
    }
    let burn = |(id, units)| {
        let amount = Amount::from_units(units).map_err(range)?;
        Ok(Burn { id, amount })
    };
    let scoped: Vec<Burn> = scoped.into_iter().map(burn).collect::<Result<_>>()?;
    pools::release(wallet, whole, &scoped)
}
