//! The amounts that expired holds still reserve, and how they are released.
//!
//! A hold that is charged when it expires is not among them. Its amount stays reserved until the
//! charge is booked (`expiry_charge`).
//!
//! No hold is swept before its money is needed, so there may be any number of expired holds. A call
//! first determines how much they reserve in total. A request that is refused even with that amount
//! is refused at once, before anything is written. A request that fits releases as many expired
//! holds as it needs, the oldest first, many per statement.
//!
//! The total is known without reading every expired hold. It is the held total minus the amounts of
//! open holds that have not expired. Of these two groups of holds, the smaller one is summed.

mod hold;
mod release;
mod without;

use std::collections::HashMap;
use std::thread::LocalKey;

use crate::allowance::lanes::range;
use crate::error::{Error, Result};
use crate::ledger::grants::course::Kept;
use crate::ledger::holds::expired::hold::{ExpiredHold, FIRST};
use crate::limits::limit::Applied;
use crate::limits::window;
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::storage::cursor::Portions;
use crate::storage::plan::{Rows, Run, Statement, Value, statement};
use crate::storage::rows::{AllowanceId, BALANCE};

pub(super) use hold::payload;
pub use without::without;

/// Up to this number, expired holds are summed one by one first.
const FEW: i64 = 256;
/// Up to this number, the open holds that have not expired are summed instead.
const MANY: i64 = 4096;

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
      WHERE r.wallet_id = $1 AND r.status = 'open' AND r.expires_at <= $2 AND NOT r.charge_on_expiry
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
          WHERE r.wallet_id = $1 AND r.status = 'open' AND NOT r.charge_on_expiry AND r.expires_at > $2
            AND ($3 IS NULL OR r.hold_id <> $3)
          ORDER BY r.wallet_id, r.expires_at LIMIT $5)
        UNION ALL
        (SELECT r.held, r.window_ids, r.window_amounts, r.scoped_ids, r.scoped_amounts
           FROM wallet.reservations r
          WHERE r.wallet_id = $1 AND r.status = 'open' AND r.charge_on_expiry
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

/// The known sums.
enum Sums {
    /// All sums. Ids that are not in the map have none.
    All(HashMap<AllowanceId, i128>),
    /// The sums that were asked for.
    Asked(HashMap<AllowanceId, i128>),
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
                for (id, amount) in ExpiredHold::of(&first, row)?.parts() {
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

    /// The error WL002 if one of the limits that a request takes from next refuses it even with
    /// everything released; otherwise `None`.
    pub fn refusal(&mut self, applied: &[Applied<'_>]) -> Result<Option<Error>> {
        self.ask_in(applied)?;
        window::refusal(self.wallet, applied.iter(), |id| self.of(id))
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
