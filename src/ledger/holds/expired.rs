//! The amounts that expired holds still reserve, and how they are released.
//!
//! No hold is swept before its money is needed, so there may be any number of expired holds. A call
//! first determines how much they reserve in total. A request that is refused even with that amount
//! is refused at once, before anything is written. A request that fits releases as many expired
//! holds as it needs, the oldest first, many per statement.
//!
//! The total is known without reading every expired hold. It is the held total minus the amounts of
//! open holds that have not expired. Of these two groups of holds, the smaller one is summed.

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

/// Up to this number, expired holds are summed one by one first.
const FEW: i64 = 256;
/// Up to this number, the open holds that have not expired are summed instead.
const MANY: i64 = 4096;
/// The number of holds that one statement releases.
const PORTION: usize = 500;

// An index has the holds in this order.
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

// A settlement locks the row of its hold. Locked rows are skipped and left to it.
statement!(
    LOCK,
    [TEXTOID, TIMESTAMPTZOID, UUIDOID, TIMESTAMPTZOID],
    expired_query!("", "FOR NO KEY UPDATE SKIP LOCKED")
);

// Holds that reserve nothing in the windows are skipped and left to other calls.
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

// One statement, so that both sums are of the same moment. The first row contains the number of
// holds that were summed. The hold that the caller closes is looked up by its id. An index of open
// holds would read all of the wallet's holds.
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

/// The known sums.
enum Sums {
    /// All sums. Ids that are not in the map have none.
    All(HashMap<AllowanceId, i128>),
    /// The sums that were asked for.
    Asked(HashMap<AllowanceId, i128>),
}

/// The columns of an expired hold that matter here.
struct Row {
    id: [u8; 16],
    lane: i16,
    held: Amount,
    created_at: Timestamp,
    expires_at: Timestamp,
    windows: Vec<(AllowanceId, Amount)>,
    scoped: Vec<Burn>,
}

/// The holds of a wallet that have expired by a moment.
pub struct Expired<'a> {
    wallet: &'a str,
    by: Timestamp,
    /// A hold that is left out because the caller closes it.
    except: Option<[u8; 16]>,
    /// If set, only holds count that were made at this time or later and that reserve nothing of
    /// grants with a scope. The kept credit of other holds ends in the course of time.
    made_since: Option<Timestamp>,
    /// Whether everything is read under the snapshot of the calling query.
    in_query: bool,
    sums: Sums,
    rest: Option<Portions>,
}

impl<'a> Expired<'a> {
    /// All holds that have expired by `by`.
    pub fn look(wallet: &'a str, by: Timestamp) -> Result<Expired<'a>> {
        Expired::but(wallet, by, None, None)
    }

    /// All holds that have expired by `by`, as the calling query sees them.
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

    /// All expired holds except one that the caller closes. With `kept`, also without the holds for
    /// which ended grants may keep credit: see `made_since`.
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

    /// True if no expired hold counts.
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

    /// Determines the amounts that expired holds reserve in the balance, windows or grants `ids`.
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

    /// Determines the amounts that expired holds reserve in the windows of a request.
    pub fn ask_in(&mut self, applied: &[Applied<'_>]) -> Result<()> {
        self.ask(&window::ids(applied))
    }

    /// The amount that expired holds reserve in a window, in a grant with a scope or in the lanes
    /// of the balance. It must have been asked for.
    pub fn of(&self, id: AllowanceId) -> Result<Amount> {
        let (Sums::All(sums) | Sums::Asked(sums)) = &self.sums;
        Amount::from_units(sums.get(&id).copied().unwrap_or(0)).map_err(range)
    }

    /// Releases all expired holds, and returns what they reserved. The caller has locked all lanes.
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

    /// Releases some expired holds, and returns what they reserved. The result is empty if none is
    /// left.
    pub fn sweep_some(&mut self, whole: &mut AllLanes<'_>) -> Result<Vec<Holding>> {
        if self.are_none() {
            return Ok(Vec::new());
        }
        let holds = self.lock_some()?;
        if holds.is_empty() {
            // Other calls are settling the remaining ones.
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

    /// The error WL002 if one of the limits that a request takes from next refuses it even with
    /// everything released; otherwise `None`.
    pub fn refusal(&mut self, applied: &[Applied<'_>]) -> Result<Option<Error>> {
        self.ask_in(applied)?;
        window::refusal(self.wallet, applied.iter(), |id| self.of(id))
    }

    /// Releases as much in the windows of `applied` as a request needs. For a call that has not
    /// locked all lanes and takes from these windows next. The amounts in the balance and in other
    /// windows, which come earlier in the lock order, stay reserved until a call locks all lanes.
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
        // All at once, so that the rows of windows are written in the usual lock order.
        release_windows(self.wallet, &holds, is_wanted)?;
        let ids = ids_of(&holds);
        let (ids, windows) = (Value::Uuids(&ids), Value::Uuids(&windows));
        EMPTY_WINDOWS.run(&[wallet, ids, windows]).map(drop)
    }

    /// Releases as many expired holds as the limits need that a request takes from next. The caller
    /// has not yet asked whether these limits refuse the request. The caller has locked all lanes.
    pub fn make_way_in(&mut self, whole: &mut AllLanes<'_>, applied: &[Applied<'_>]) -> Result<()> {
        if self.are_none() {
            return Ok(());
        }
        self.ask_in(applied)?;
        while !self.are_as_if(&self.needing(applied)?)? && !self.sweep_some(whole)?.is_empty() {}
        whole.unswept = self.of(BALANCE)?;
        Ok(())
    }

    /// Releases as many expired holds as are needed to take an amount from the lanes. The
    /// thresholds are then evaluated as if all expired holds had been released. The caller has
    /// locked all lanes.
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

    /// The windows from which a request needs something, with their current usage.
    fn needing<'w>(&self, applied: &[Applied<'w>]) -> Result<Vec<Status<'w>>> {
        let needing = applied.iter().filter(|one| !one.need.is_zero());
        needing
            .map(|one| window::status(self.wallet, one.clone()))
            .collect()
    }

    /// Whether the windows of a request refuse and warn as if all expired holds had been released.
    fn are_as_if(&self, needing: &[Status<'_>]) -> Result<bool> {
        for status in needing {
            let freed = self.of(status.applied.window_id)?;
            if !freed.is_zero() && !status.is_as_if(freed) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The warnings that remain without the amounts of expired holds. A level that is reached only
    /// because of them gives no warning.
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

/// The warnings that remain without the amounts of expired holds, for a call that has not read
/// these holds.
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

    /// The part of the hold that is reserved in the lanes, in units.
    fn general(&self) -> i128 {
        let scoped = self.scoped.iter().map(|part| part.amount.units());
        self.held.units() - scoped.sum::<i128>()
    }

    /// The hold's amounts by window, grant and balance.
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

/// The payload of the event about a hold that was neither settled nor voided in time.
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

/// Releases the amounts of holds in windows. Each row is written once, in lock order.
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

/// Releases the amounts of holds in the lanes and in grants with a scope. Each row is written once.
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
