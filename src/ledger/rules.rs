//! What a charge must know of its wallet, read once in a backend and kept.
//!
//! The lane that a charge locks carries the epoch of the rules. Every change of a rule holds all
//! lanes and moves the epoch, so a charge whose epoch is the lane's knows the rules that hold,
//! however long ago it read them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use jiff::tz::TimeZone;

use crate::allowance::lanes::Cutting;
use crate::error::{Code, Error, Result, quoted};
use crate::limits::limit::{Limit, Scope};
use crate::limits::period::Period;
use crate::money::Amount;
use crate::statement;
use crate::storage::invalidation;
use crate::storage::plan::{Rows, Run, Value};

/// Wallets that a backend keeps; beyond, it starts anew.
const MAX_WALLETS: usize = 20_000;

// One statement, hence one snapshot: rules and epoch belong together.
statement!(
    RULES,
    [TEXTOID],
    "SELECT w.currency, w.credit_limit, w.status, w.lanes, w.price_list, l.epoch, l.attention,
            w.status_reason,
            r.limit_id, r.scope, r.subject, r.period, r.max, r.time_zone
       FROM wallet.wallets w
      CROSS JOIN LATERAL (
            SELECT max(a.epoch) AS epoch,
                   -- A funding could not look at all lanes: the next charge has to.
                   bool_or(a.allotted > a.spent + a.held
                           AND CASE WHEN w.lanes = 1 THEN a.lane <> 0
                                    ELSE a.lane NOT BETWEEN 1 AND w.lanes END)
                   OR EXISTS (
                        SELECT FROM wallet.thresholds t
                         WHERE t.wallet_id = w.wallet_id AND t.state <> 'armed'
                           AND CASE t.kind
                               WHEN 'low' THEN t.threshold + w.credit_limit <= sum(a.allotted - a.spent - a.held)
                               ELSE sum(a.allotted - a.spent - a.held) > 0 END) AS attention
              FROM wallet.allowances a
             WHERE a.wallet_id = w.wallet_id
               AND a.allowance_id = '00000000-0000-0000-0000-000000000000'
            ) l
       LEFT JOIN wallet.limits r ON r.wallet_id = w.wallet_id
      WHERE w.wallet_id = $1"
);

/// Whether a wallet may be spent from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Yes.
    Active,
    /// No, but funding is allowed.
    Frozen,
    /// Neither.
    Closed,
}

impl Status {
    fn parse(text: &str) -> Option<Status> {
        match text {
            "active" => Some(Status::Active),
            "frozen" => Some(Status::Frozen),
            "closed" => Some(Status::Closed),
            _ => None,
        }
    }
}

/// The rules of a wallet.
#[derive(Debug)]
pub struct Rules {
    /// Its currency.
    pub currency: String,
    /// How far the balance may go below zero.
    pub credit_limit: Amount,
    /// Whether it may be spent from.
    pub status: Status,
    /// Why it is not active.
    pub status_reason: Option<String>,
    /// Number of lanes.
    pub lanes: i16,
    /// Its price list.
    pub price_list: String,
    /// Version of the rules.
    pub epoch: i64,
    /// The next charge has to look at all lanes.
    pub attention: bool,
    /// Its limits.
    pub limits: Vec<Limit>,
}

impl Rules {
    /// What the lanes need to know.
    pub fn cutting<'a>(&self, wallet: &'a str) -> Cutting<'a> {
        Cutting {
            wallet,
            lanes: self.lanes,
            epoch: self.epoch,
        }
    }

    /// WL004 unless the wallet may be spent from.
    pub fn require_active(&self, wallet: &str) -> Result<()> {
        let state = match self.status {
            Status::Active => return Ok(()),
            Status::Frozen => "frozen",
            Status::Closed => "closed",
        };
        let error = Error::new(
            Code::WalletNotActive,
            format!("wallet {} is {state}", quoted(wallet)),
        );
        let error = match &self.status_reason {
            Some(reason) => error.detail(format!("The reason given is: {reason}.")),
            None => error.detail("No reason was given."),
        };
        Err(match self.status {
            Status::Frozen => error.hint("An administrator can call unfreeze_wallet()."),
            _ => error.hint("A closed wallet stays closed; create another one."),
        })
    }
}

#[derive(Default)]
struct Cache {
    generation: u64,
    wallets: HashMap<String, Rc<Rules>>,
}

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
}

/// A new version of the rules. It is random, so that rules which a backend read in a transaction
/// that was rolled back can never be taken for those of a later one.
pub fn new_epoch() -> i64 {
    let (high, low) = uuid::Uuid::now_v7().as_u64_pair();
    ((high ^ low) >> 1).cast_signed()
}

/// The rules as this backend knows them; their epoch must be compared with a lane's.
pub fn known(wallet: &str) -> Result<Rc<Rules>> {
    let generation = invalidation::generation();
    let cached = CACHE.with_borrow_mut(|cache| {
        if cache.generation != generation || cache.wallets.len() > MAX_WALLETS {
            *cache = Cache {
                generation,
                ..Cache::default()
            };
        }
        cache.wallets.get(wallet).cloned()
    });
    match cached {
        Some(rules) => Ok(rules),
        None => read(wallet),
    }
}

/// The rules as they are committed now.
pub fn read(wallet: &str) -> Result<Rc<Rules>> {
    let generation = invalidation::generation();
    let rows = RULES.run(&[Value::Text(wallet)])?;
    if rows.is_empty() {
        return Err(Error::wallet_not_found(wallet));
    }
    let rules = Rc::new(rules_of(&rows)?);
    invalidation::note_caching();
    CACHE.with_borrow_mut(|cache| {
        if cache.generation == generation && invalidation::generation() == generation {
            cache.wallets.insert(wallet.to_owned(), rules.clone());
        }
    });
    Ok(rules)
}

fn rules_of(rows: &Rows) -> Result<Rules> {
    let status: String = rows.need(0, 2)?;
    let has_limits = rows.get::<[u8; 16]>(0, 8).is_some();
    let limits = if has_limits { rows.len() } else { 0 };
    Ok(Rules {
        currency: rows.need(0, 0)?,
        credit_limit: rows.amount(0, 1)?,
        status: Status::parse(&status)
            .ok_or_else(|| Error::internal(format!("unknown wallet status {status:?}")))?,
        lanes: rows.need(0, 3)?,
        price_list: rows.need(0, 4)?,
        epoch: rows.need(0, 5)?,
        attention: rows.get(0, 6).unwrap_or(false),
        status_reason: rows.get(0, 7),
        limits: (0..limits)
            .map(|row| limit_of(rows, row))
            .collect::<Result<_>>()?,
    })
}

fn limit_of(rows: &Rows, row: usize) -> Result<Limit> {
    let (scope, period): (String, String) = (rows.need(row, 9)?, rows.need(row, 11)?);
    let zone: String = rows.need(row, 13)?;
    let unknown = |what: &str| Error::internal(format!("a limit has an unknown {what}"));
    Ok(Limit {
        id: rows.need(row, 8)?,
        scope: Scope::parse(&scope).ok_or_else(|| unknown("scope"))?,
        subject: rows.need(row, 10)?,
        period: Period::parse(&period).ok_or_else(|| unknown("period"))?,
        max: rows.amount(row, 12)?,
        zone: TimeZone::get(&zone).map_err(|_| unknown("time zone"))?,
    })
}
