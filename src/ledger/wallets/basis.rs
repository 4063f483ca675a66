//! What the wallet's row and its lanes say of a wallet: all that its rules are but the limits and who may spend.
//!
//! It is of one size. Who changes one of thousands of limits or members knows the wallet by it, and reads none of the
//! others.

use crate::allowance::all_lanes::LaneSplit;
use crate::allowance::lane_split::new_epoch;
use crate::allowance::lanes::LaneView;
use crate::currency::Currency;
use crate::error::{Code, Error, Result, quoted};
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pricing::rate::Terms;
use crate::pricing::unknown::UnknownPrice;
use crate::storage::rows::{RuleRows, WalletRow};

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

/// A wallet as its row and its lanes have it.
#[derive(Debug)]
pub struct Basis {
    /// Its currency.
    pub currency: Currency,
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
    /// Its rule for usage without a price.
    pub unknown_price: UnknownPrice,
    /// Whether usage with numbers that nothing reads is refused.
    pub rejects_unread: bool,
    /// Version of the rules.
    pub epoch: i64,
    /// Counts fundings that could not look at all lanes.
    pub recheck_requested: i64,
    /// The count when all lanes were looked at last.
    pub recheck_done: i64,
    /// Whether no alert threshold waits for money to arm it.
    pub armed: bool,
    /// Whether lanes beside a single active one have money or holds.
    pub beside: bool,
    /// When a grant expires next or is granted again; nothing for a wallet of plain fundings.
    pub grants_due: Option<Timestamp>,
    /// Whether it has money that only some charges may use: then every call looks at all lanes.
    pub scoped: bool,
    /// Whether entries of it stand in the archive: then keys are looked up there too.
    pub archived: bool,
    /// Whether holds keep credit that has ended: then what they let go of ends at once.
    pub keeps: bool,
    /// Whether there is any rule on who may spend.
    pub(super) guarded: bool,
    /// Whether nobody but members may spend.
    pub(super) members_only: bool,
}

impl Basis {
    /// What was read of a wallet, the limits left out.
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
        } = rows.wallet;
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
            beside: rows.beside,
            grants_due,
            scoped,
            archived,
            keeps,
            guarded,
            members_only,
        })
    }

    /// By which prices use of a time is priced.
    pub fn terms(&self, at: Timestamp) -> Terms<'_> {
        Terms {
            list: &self.price_list,
            currency: Some(self.currency),
            at,
        }
    }

    /// What the lanes need to know.
    pub fn cutting<'a>(&self, wallet: &'a str) -> LaneView<'a> {
        LaneView {
            wallet,
            lanes: self.lanes,
            alone: self.lanes == 1 && !self.beside,
            epoch: self.epoch,
            read: None,
        }
    }

    /// True when a grant has expired or is granted again, and nobody has booked it yet.
    pub fn grants_are_due(&self) -> bool {
        self.grants_are_due_at(clock::now())
    }

    /// The same at a moment.
    pub fn grants_are_due_at(&self, now: Timestamp) -> bool {
        self.grants_due.is_some_and(|due| due <= now)
    }

    /// True when the next charge has to look at all lanes.
    pub fn needs_recheck(&self) -> bool {
        self.recheck_requested != self.recheck_done
    }

    /// How a call that has looked at all lanes cuts them.
    pub fn cut(&self) -> LaneSplit {
        // Backends that know the rules must hear that the recheck was done.
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

    /// WL004 when the wallet is closed.
    pub fn require_open(&self, wallet: &str) -> Result<()> {
        if self.status == Status::Closed {
            self.require_active(wallet)
        } else {
            Ok(())
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
            Some(reason) => error.detail(format!("The reason given is {}.", quoted(reason))),
            None => error.detail("No reason was given."),
        };
        Err(match self.status {
            Status::Frozen => error.hint("An administrator can call unfreeze_wallet()."),
            _ => error.hint("A closed wallet stays closed; create another one."),
        })
    }
}
