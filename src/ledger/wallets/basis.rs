//! The part of a wallet's rules that its row and its lanes contain: everything except the limits
//! and the spending policy.
//!
//! Its size is fixed. A call that changes one of thousands of limits or members needs only this
//! part, and reads none of the others.

use crate::allowance::all_lanes::LaneSplit;
use crate::allowance::lane_split::new_epoch;
use crate::allowance::lanes::LaneView;
use crate::currency::Currency;
use crate::error::{Code, Error, Result, literal, quoted};
use crate::ledger::wallets::plan_book;
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pricing::rate::Terms;
use crate::pricing::unknown::UnknownPrice;
use crate::storage::rows::{RuleRows, WalletRow};

/// Whether a wallet may be spent from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The wallet may be spent from and funded.
    Active,
    /// The wallet may be funded, but not spent from.
    Frozen,
    /// The wallet may be neither spent from nor funded.
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

/// A wallet as its row and its lanes describe it.
#[derive(Debug)]
pub struct Basis {
    /// The currency of all its amounts.
    pub currency: Currency,
    /// How far the balance may go below zero.
    pub credit_limit: Amount,
    /// Whether the wallet may be spent from.
    pub status: Status,
    /// The reason why the wallet is not active. `None` if there is none.
    pub status_reason: Option<String>,
    /// How many lanes share the balance, 1 to 256.
    pub lanes: i16,
    /// The name of the wallet's price list.
    pub price_list: String,
    /// The rule for usage without a price.
    pub unknown_price: UnknownPrice,
    /// Whether usage with unread numbers is refused.
    pub rejects_unread: bool,
    /// The version of the rules.
    pub epoch: i64,
    /// The recheck counter: incremented by calls that could not lock all lanes.
    pub recheck_requested: i64,
    /// The value of the counter at the last recheck.
    pub recheck_done: i64,
    /// Whether all alert thresholds are armed, so that no threshold waits for money.
    pub armed: bool,
    /// Whether lanes other than a single active one contain money or holds.
    pub has_other_money: bool,
    /// The next time at which a grant expires or is repeated. `None` for a wallet of plain
    /// fundings.
    pub grants_due: Option<Timestamp>,
    /// The time from which a call must first lock all lanes, to book due grants or to take over the
    /// version of the plan. `None` if there is no such time.
    due: Option<Timestamp>,
    /// The time from which the rules of the wallet's plan are others than the wallet's rows say.
    /// `None` if that is not known to happen.
    pub plan_due: Option<Timestamp>,
    /// Whether the wallet has a plan.
    pub has_plan: bool,
    /// Whether the wallet has scoped grants. Every call then locks all lanes.
    pub scoped: bool,
    /// Whether the wallet has entries in the archive. Keys are then looked up there too.
    pub archived: bool,
    /// Whether holds keep credit that has ended. The released part of it then ends at once.
    pub keeps: bool,
    /// The parent that pays for the wallet's use. `None` if the wallet has its own money.
    pub pool: Option<String>,
    /// The first moment of the open period, as far as the wallet's own closing says.
    pub closed_until: Option<Timestamp>,
    /// Whether the wallet has any rule on who may spend.
    pub(super) guarded: bool,
    /// Whether only members may spend.
    pub(super) members_only: bool,
}

impl Basis {
    /// The rules of a wallet that were read, without the limits. The row is taken apart in full: a
    /// new column does not compile until it is used here.
    pub(super) fn of(rows: RuleRows) -> Result<Basis> {
        let WalletRow {
            currency,
            credit_limit,
            status,
            status_reason,
            lanes,
            price_list,
            unknown_price,
            rejects_unread,
            recheck_requested,
            grants_due,
            members_only,
            guarded,
            scoped,
            archived,
            keeps,
            pool,
            plan,
            closed_until,
        } = rows.wallet;
        let plan_due = match &plan {
            Some(plan) if status != "closed" => plan_book::due(plan)?,
            _ => None,
        };
        Ok(Basis {
            currency: Currency::of_row(&currency)?,
            credit_limit,
            status: Status::parse(&status)
                .ok_or_else(|| Error::internal(format!("unknown wallet status {status:?}")))?,
            status_reason,
            lanes,
            price_list,
            unknown_price: UnknownPrice::of_row(&unknown_price)?,
            rejects_unread,
            epoch: rows.epoch,
            recheck_requested,
            recheck_done: rows.recheck_done,
            armed: rows.armed,
            has_other_money: rows.has_other_money,
            grants_due,
            due: [grants_due, plan_due].into_iter().flatten().min(),
            plan_due,
            has_plan: plan.is_some_and(|plan| plan.name.is_some()),
            scoped,
            archived,
            keeps,
            pool,
            closed_until,
            guarded,
            members_only,
        })
    }

    /// The terms by which use at a time is priced.
    pub fn terms(&self, at: Timestamp) -> Terms<'_> {
        Terms {
            list: &self.price_list,
            currency: Some(self.currency),
            at,
        }
    }

    /// The information that the fast path needs.
    pub fn lane_view<'a>(&self, wallet: &'a str) -> LaneView<'a> {
        LaneView {
            wallet,
            lanes: self.lanes,
            is_single: self.lanes == 1 && !self.has_other_money,
            epoch: self.epoch,
            read: None,
        }
    }

    /// True if due grants are to be booked, or a version of the plan is to be taken over.
    pub fn is_due(&self) -> bool {
        self.due.is_some_and(|due| due <= clock::now())
    }

    /// True if the wallet's rows differ from the version of its plan that is in force.
    pub fn plan_is_due(&self) -> bool {
        self.plan_ended().is_some()
    }

    /// When the rules that the wallet has of its plan ended, if they have.
    pub fn plan_ended(&self) -> Option<Timestamp> {
        self.plan_due.filter(|due| *due <= clock::now())
    }

    /// True if a grant has expired or is to be repeated, and that is not booked yet.
    pub fn grants_are_due_at(&self, now: Timestamp) -> bool {
        self.grants_due.is_some_and(|due| due <= now)
    }

    /// True if the next charge must lock all lanes.
    pub fn needs_recheck(&self) -> bool {
        self.recheck_requested != self.recheck_done
    }

    /// How a call that has locked all lanes rebalances them.
    pub fn lane_split(&self) -> LaneSplit {
        // Backends with cached rules must notice that the recheck was done.
        let epoch = if self.needs_recheck() {
            new_epoch()
        } else {
            self.epoch
        };
        let (credit_limit, lanes) = (self.credit_limit, self.lanes);
        LaneSplit {
            credit_limit,
            lanes,
            epoch,
            recheck_requested: self.recheck_requested,
        }
    }

    /// WL004 if the wallet is closed.
    pub fn require_open(&self, wallet: &str) -> Result<()> {
        if self.status == Status::Closed {
            self.require_active(wallet)
        } else {
            Ok(())
        }
    }

    /// WL016 if the wallet's parent pays for it, so that it can have no money of its own.
    pub fn require_own_money(&self, wallet: &str) -> Result<()> {
        let Some(parent) = &self.pool else {
            return Ok(());
        };
        Err(Error::new(
            Code::NotInThisTree,
            format!("wallet {} has no money of its own", quoted(wallet)),
        )
        .detail(format!(
            "Its parent {} pays for it (share => 'pool').",
            quoted(parent)
        ))
        .hint(format!(
            "Name wallet {} in the call, or take the parent away first: SELECT wallet.set_parent({}, NULL);",
            quoted(parent),
            literal(wallet)
        )))
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
            Some(reason) => error.detail(format!("The reason given is {}.", quoted(reason))),
            None => error.detail("No reason was given."),
        };
        Err(match self.status {
            Status::Frozen => error.hint("An administrator can call unfreeze_wallet()."),
            _ => error.hint("A closed wallet stays closed; create another one."),
        })
    }
}
