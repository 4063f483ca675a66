//! The rows of the hot tables as Rust types.

mod limits;
mod plan;
mod pool;

use rust_decimal::Decimal;

use crate::attribution::{Attribution, UseContext};
use crate::currency::Currency;
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::document::Document;
use crate::pg::jsonb::Json;
use crate::storage::entry_proof::Proof;

pub use limits::{
    Changed, Counted, Home, LimitRow, NewWindow, Part, Taking, Used, Window, weights_of,
};
pub use plan::PlanRow;
pub use pool::POOL;

/// Id of an allowance. The balance has the id [`BALANCE`].
pub type AllowanceId = [u8; 16];

/// The allowance id of every wallet's balance.
pub const BALANCE: AllowanceId = [0; 16];

/// Hash of the last entry of a chain; `None` before the first entry.
pub type Hash = Option<[u8; 32]>;

/// A lane of a wallet's balance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The lane's number: 0 in a wallet with a single lane, otherwise 1 to n.
    pub lane: i16,
    /// The number of changes of the row. A write compares it.
    pub version: i64,
    /// The version of the wallet's rules at the last rebalance.
    pub epoch: i64,
    /// The number of the lane's last entry.
    pub seq: i64,
    /// The maximum of spent and held.
    pub allotted: Amount,
    /// The amount that has been spent.
    pub spent: Amount,
    /// The amount that open holds reserve.
    pub held: Amount,
    /// If the lane's room falls below this amount, a charge must take the slow path.
    pub watermark: Amount,
    /// The sum of the lane's entries.
    pub booked: Amount,
    /// Hash of the lane's last entry.
    pub hash: Hash,
    /// The wallet's recheck counter at the last full check of all lanes.
    pub recheck_done: i64,
    /// From this time on, a charge must take the slow path. `None` if no time is set.
    pub evaluate_at: Option<Timestamp>,
    /// How many calls waited for this lane because no lane was free.
    pub waits: i64,
    /// Whether every alert threshold was armed at the last full check of all lanes.
    pub armed: bool,
    /// The TID of the row, if it was read directly.
    pub place: Option<(u16, u16, u16)>,
}

impl Lane {
    /// The amount that can still be spent from this lane alone. The table's CHECK keeps it
    /// non-negative and within range.
    pub fn room(&self) -> Amount {
        let units = self.allotted.units() - self.spent.units() - self.held.units();
        Amount::from_units(units).unwrap_or_default()
    }

    /// The lane's share of the balance, including the credit limit: room plus held.
    pub fn credited(&self) -> Amount {
        Amount::from_units(self.allotted.units() - self.spent.units()).unwrap_or_default()
    }
}

/// All that a charge must know of a wallet, read under one snapshot.
#[derive(Clone, Debug)]
pub struct RuleRows {
    /// The wallet's row.
    pub wallet: WalletRow,
    /// The epoch of the wallet's first active lane. All lanes have the same epoch.
    pub epoch: i64,
    /// The recheck counter that the first active lane has stored.
    pub recheck_done: i64,
    /// Whether that lane says that every alert threshold was armed.
    pub armed: bool,
    /// That lane, if it is the only active one and its columns were read anyway.
    pub lane: Option<Lane>,
    /// Whether inactive lanes next to a single active one have money or holds. A wallet that had
    /// several lanes may have such lanes.
    pub has_other_money: bool,
    /// The wallet's own limits, if they are wanted.
    pub limits: Vec<LimitRow>,
    /// The part of the wallet on which default limits depend, if it is wanted.
    pub home: Option<Home>,
}

/// The part of a wallet's rules that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The part in the wallet's row and its lanes.
    Basis,
    /// Also the wallet's own limits.
    Limits,
    /// Also the part of the wallet on which default limits depend.
    LimitsAndHome,
}

/// The columns of `wallet.wallets` that charges need.
#[derive(Clone, Debug)]
pub struct WalletRow {
    /// Code of the wallet's currency.
    pub currency: String,
    /// How far the balance may go below zero.
    pub credit_limit: Amount,
    /// `active`, `frozen` or `closed`.
    pub status: String,
    /// Why the wallet is not active, if a reason was given.
    pub status_reason: Option<String>,
    /// The number of active lanes.
    pub lanes: i16,
    /// The price list that charges use.
    pub price_list: String,
    /// The rule for usage without a price.
    pub unknown_price: String,
    /// Whether usage with numbers that no price reads is refused.
    pub rejects_unread: bool,
    /// The recheck counter: counts fundings that could not acquire all lanes.
    pub recheck_requested: i64,
    /// When the next grant expires or recurs; `None` if the wallet has plain grants only.
    pub grants_due: Option<Timestamp>,
    /// Whether only members may spend.
    pub members_only: bool,
    /// Whether the wallet has members, keys, or rules on who may spend.
    pub guarded: bool,
    /// Whether the wallet has grants with a scope.
    pub scoped: bool,
    /// Whether the archive contains entries of the wallet.
    pub archived: bool,
    /// Whether holds reserve kept credit.
    pub keeps: bool,
    /// The parent that pays for the wallet's use; `None` if the wallet has its own money.
    pub pool: Option<String>,
    /// The plan of the wallet; `None` for a wallet that has none and is assigned none.
    pub plan: Option<Box<PlanRow>>,
    /// The first moment of the open period, as far as the wallet's own closing says. `None` if no
    /// period is closed.
    pub closed_until: Option<Timestamp>,
}

impl WalletRow {
    /// The first active lane: 0 in a wallet with a single lane, otherwise 1.
    pub fn first_lane(&self) -> i16 {
        i16::from(self.lanes != 1)
    }
}

/// An amount that one lot paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Burn {
    /// Id of the lot.
    pub id: [u8; 16],
    /// The amount that it paid, in the wallet's currency.
    pub amount: Amount,
}

/// The kind of an entry, as stored in the column `kind` of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Money that is added.
    Funding = b'f' as isize,
    /// Usage that is paid.
    Charge = b'c' as isize,
    /// A payment that the payer took back.
    Chargeback = b'b' as isize,
    /// A grant that has ended.
    Expiry = b'x' as isize,
    /// A charge that is returned.
    Refund = b'r' as isize,
    /// A correction.
    Adjustment = b'a' as isize,
    /// Money moved from or to another wallet.
    Transfer = b't' as isize,
}

/// The call that wrote an entry, as stored in the column `call` of the ledger. Idempotency keys are
/// unique per wallet and call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `fund`
    Fund = b'f' as isize,
    /// `charge`
    Charge = b'c' as isize,
    /// `price_unpriced`
    Price = b'p' as isize,
    /// `reverse_funding`
    Reverse = b'b' as isize,
    /// The end of a grant, booked by the next call of any kind.
    Expire = b'x' as isize,
    /// `void_grant`, `set_recurring_grant`
    Grant = b'g' as isize,
    /// `settle`
    Settle = b's' as isize,
    /// `refund`
    Refund = b'r' as isize,
    /// `adjust`
    Adjust = b'a' as isize,
    /// `transfer`
    Transfer = b't' as isize,
    /// Money that a child draws from its parent for a use.
    Draw = b'd' as isize,
    /// Money that a parent lends to a child for a charge.
    Lend = b'l' as isize,
    /// Money that a parent lends to a child for a settlement.
    LendSettled = b'm' as isize,
    /// Money that a parent lends to a child for a late price.
    LendPrice = b'n' as isize,
    /// Lent money that a refund returns to the parent.
    Return = b'u' as isize,
}

macro_rules! letters {
    ($name:ident, $($value:ident),*) => {
        impl $name {
            /// The variant for a letter of the ledger; `None` for an unknown letter.
            pub fn of(letter: u8) -> Option<$name> {
                [$($name::$value),*].into_iter().find(|value| *value as u8 == letter)
            }
        }
    };
}
letters!(
    Kind, Charge, Funding, Refund, Adjustment, Transfer, Expiry, Chargeback
);
letters!(
    Call,
    Charge,
    Settle,
    Price,
    Fund,
    Refund,
    Reverse,
    Expire,
    Grant,
    Adjust,
    Transfer,
    Draw,
    Lend,
    LendSettled,
    LendPrice,
    Return
);

/// An entry of the ledger before it is added to a chain.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// UUIDv7 of the entry.
    pub entry_id: [u8; 16],
    /// Time of booking.
    pub created_at: Timestamp,
    /// When reports count the use. `None` if that is the time of booking.
    pub event_at: Option<Timestamp>,
    /// The time of use, if it was in a closed period.
    pub used_at: Option<Timestamp>,
    /// The wallet's id.
    pub wallet: &'a str,
    /// Why the balance changes, such as a charge or a refund.
    pub kind: Kind,
    /// The call to which the idempotency key belongs.
    pub call: Call,
    /// The signed amount: negative if it is taken from the wallet.
    pub amount: Amount,
    /// Idempotency key of the call, if it has one.
    pub key: Option<&'a str>,
    /// Fingerprint of the request; `None` without an idempotency key.
    pub fingerprint: Option<[u8; 16]>,
    /// The entry to which this one refers, such as the charge of a refund.
    pub related_id: Option<[u8; 16]>,
    /// To whom the use is attributed.
    pub attribution: Attribution<'a>,
    /// The model, service and region that were used; empty for money that was not spent.
    pub context: UseContext<'a>,
    /// The price lines in their compact form.
    pub lines: Option<&'a [u8]>,
    /// The usage object; `None` if the amount was given, or if there was no use.
    pub usage: Option<Document>,
    /// The contra account, such as `funding:card`; `None` for usage.
    pub contra: Option<&'a str>,
    /// The id of the payment at the payment provider.
    pub reference: Option<&'a str>,
    /// The reason that the caller gave.
    pub reason: Option<&'a str>,
    /// The actor: the person or program that makes the call.
    pub actor: Option<&'a str>,
    /// The caller's metadata.
    pub metadata: Option<Document>,
}

impl<'a> Entry<'a> {
    /// An entry for money that is added, removed or moved, booked now. It has no model and no
    /// service.
    pub fn of_money(
        wallet: &'a str,
        kind: Kind,
        call: Call,
        amount: Amount,
        contra: &'a str,
    ) -> Entry<'a> {
        Entry {
            entry_id: uuid::Uuid::now_v7().into_bytes(),
            created_at: clock::now(),
            event_at: None,
            used_at: None,
            wallet,
            kind,
            call,
            amount,
            key: None,
            fingerprint: None,
            related_id: None,
            attribution: Attribution::default(),
            context: UseContext::default(),
            lines: None,
            usage: None,
            contra: Some(contra),
            reference: None,
            reason: None,
            actor: None,
            metadata: None,
        }
    }
}

/// The position of an entry in its lane's chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The lane whose chain has the entry.
    pub lane: i16,
    /// The position in the lane, counted from 1.
    pub seq: i64,
    /// The sum of the lane's entries, including this one.
    pub lane_balance: Amount,
    /// The wallet's balance that the call returns.
    pub balance: Amount,
    /// Hash over the previous entry's hash and this entry.
    pub hash: [u8; 32],
    /// Proves user, actor and fingerprint.
    pub person_proof: Proof,
    /// Proves usage, tags, metadata, reference and reason.
    pub payload_proof: Proof,
}

/// A uuid as PostgreSQL prints it.
pub fn uuid_text(bytes: [u8; 16]) -> String {
    uuid::Uuid::from_bytes(bytes).hyphenated().to_string()
}

/// The columns of `wallet.prices` that pricing needs.
#[derive(Clone, Debug)]
pub struct PriceRow {
    /// Id of the price, a UUIDv7.
    pub id: [u8; 16],
    /// The model: a name or a pattern.
    pub model: String,
    /// The meter that is priced, such as `input_tokens`.
    pub meter: String,
    /// Price of `per` units; `None` if the row ends a price.
    pub unit_price: Option<Decimal>,
    /// The number of units that `unit_price` pays for.
    pub per: Decimal,
    /// Currency of `unit_price`.
    pub currency: Currency,
    /// Provider condition, if there is one.
    pub provider: Option<String>,
    /// Service condition, if there is one.
    pub service: Option<String>,
    /// Region condition, if there is one.
    pub region: Option<String>,
    /// Service tier condition, if there is one.
    pub service_tier: Option<String>,
    /// The price applies to requests with more input tokens than this, if it is set.
    pub above_input_tokens: Option<i64>,
    /// The other conditions, a JSON object of usage keys and times of the week.
    pub conditions: Json,
    /// When the price begins.
    pub effective_from: Timestamp,
}

/// A row of `wallet.thresholds`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThresholdRow {
    /// `low`, `depleted`, `topup` or `covered`.
    pub kind: String,
    /// The available amount below which the threshold fires.
    pub threshold: Amount,
    /// `new`, `armed` or `fired`.
    pub state: String,
}

/// A row of `wallet.markups`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Markup {
    /// UUIDv7 of the markup. Of two markups, the one with the greater id was recorded later.
    pub id: [u8; 16],
    /// Percentage that is added to prices of the default list.
    pub percent: Option<Decimal>,
    /// Amount that is added once to each charge.
    pub fixed: Option<Decimal>,
    /// Currency of the fixed amount.
    pub currency: Currency,
    /// When the markup begins.
    pub effective_from: Timestamp,
}

/// A row of `wallet.fx_rates`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateRow {
    /// UUIDv7 of the rate. Of two rates, the one with the greater id was recorded later.
    pub id: [u8; 16],
    /// The value of one unit of the first currency in the second; `None` if the row ends the rate
    /// of the pair.
    pub rate: Option<Decimal>,
    /// When the rate begins.
    pub effective_from: Timestamp,
}

#[cfg(test)]
mod tests {
    /// The letters of `ledger.call`: the column's comment must explain all of those in
    /// [`super::Call`].
    #[test]
    fn the_comment_explains_every_call() {
        let comment = include_str!("../../sql/schema/ledger.sql")
            .lines()
            .find_map(|line| line.strip_prefix("COMMENT ON COLUMN wallet.ledger.call IS '"))
            .and_then(|line| line.split_once(": "))
            .map(|(_, letters)| letters)
            .expect("a comment with a list");
        let mut explained: Vec<char> = comment
            .split(", ")
            .filter_map(|one| one.chars().next())
            .collect();
        let calls = include_str!("rows.rs")
            .split_once("pub enum Call {")
            .and_then(|(_, rest)| rest.split_once('}'))
            .map(|(calls, _)| calls)
            .expect("the enum");
        let mut known: Vec<char> = calls
            .lines()
            .filter_map(|line| line.split_once("= b'"))
            .filter_map(|(_, letter)| letter.chars().next())
            .collect();
        explained.sort_unstable();
        known.sort_unstable();
        assert_eq!(explained, known);
        assert!(known.len() >= 10);
    }
}
