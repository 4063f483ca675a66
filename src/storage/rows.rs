//! The rows of the hot tables as Rust sees them.

use rust_decimal::Decimal;
use sha2::{Digest, Sha256};

use crate::currency::Currency;
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Json;
use crate::storage::canonical::Canonical;

/// Id of an allowance; the balance is [`BALANCE`].
pub type AllowanceId = [u8; 16];

/// The allowance id of every wallet's balance.
pub const BALANCE: AllowanceId = [0; 16];

/// Head of a chain: empty before the first entry.
pub type Hash = Option<[u8; 32]>;

/// A lane of a wallet's balance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Its number: 0 alone, or 1..n.
    pub lane: i16,
    /// Counts its changes.
    pub version: i64,
    /// Version of the wallet's rules when it was last cut.
    pub epoch: i64,
    /// Number of its last entry.
    pub seq: i64,
    /// What may be spent in all.
    pub allotted: Amount,
    /// What has been spent.
    pub spent: Amount,
    /// What is set aside by holds.
    pub held: Amount,
    /// Below this room a charge must look at all lanes.
    pub watermark: Amount,
    /// Running total of its entries.
    pub booked: Amount,
    /// Hash of its last entry.
    pub hash: Hash,
    /// The recheck counter when all lanes were locked last.
    pub recheck_done: i64,
    /// From then on a charge must look at all lanes.
    pub evaluate_at: Option<Timestamp>,
    /// How many calls waited for it because no lane was free.
    pub waits: i64,
    /// Whether every alert threshold was armed when all lanes were looked at last.
    pub armed: bool,
    /// Where the row stood when it was read directly.
    pub place: Option<(u16, u16, u16)>,
}

impl Lane {
    /// What can still be spent from this lane alone. The table's CHECK keeps it non-negative and
    /// within range.
    pub fn room(&self) -> Amount {
        let units = self.allotted.units() - self.spent.units() - self.held.units();
        Amount::from_units(units).unwrap_or_default()
    }

    /// The part of the balance that stands in this lane, credit included: room and holds.
    pub fn credited(&self) -> Amount {
        Amount::from_units(self.allotted.units() - self.spent.units()).unwrap_or_default()
    }
}

/// One window of a limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Charged in it; of a rolling window as it was written last.
    pub spent: Amount,
    /// Held in it.
    pub held: Amount,
    /// How many of the limit's levels were come to.
    pub levels: i64,
    /// What was used by slices of time, of a rolling window.
    pub slices: Option<Vec<u8>>,
}

/// What a row of a window has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Charged in it.
    pub spent: Amount,
    /// Charged and held.
    pub used: Amount,
    /// What must stay below that while the window is spread over lanes; zero where it is not.
    pub watermark: Amount,
    /// How many of the limit's levels were come to.
    pub levels: i64,
}

/// Which side of a window is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What was charged.
    Spent,
    /// What is set aside by holds.
    Held,
}

/// What is taken from a window, or given back to it.
#[derive(Clone, Copy, Debug)]
pub struct Taking {
    /// The row: lane 0, or a lane over which the window is spread, whose watermark is not to be
    /// reached.
    pub lane: i16,
    /// How much.
    pub need: Amount,
    /// What no more than that may be used of; nothing where the limit only warns.
    pub cap: Option<Amount>,
    /// As a charge or as a hold.
    pub part: Part,
    /// True where it must go through: what was held for it was given back just before, or what it
    /// pays for has been used.
    pub forced: bool,
}

/// What a window came to when something was taken from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Charged and held, after it.
    pub after: Amount,
    /// How many of the limit's levels were come to before.
    pub levels: i64,
}

/// What a charge must know of a wallet, read under one snapshot.
#[derive(Clone, Debug)]
pub struct RuleRows {
    /// The wallet's row.
    pub wallet: WalletRow,
    /// Epoch of its first active lane, which all lanes have.
    pub epoch: i64,
    /// The recheck counter that the lane has stored.
    pub recheck_done: i64,
    /// That lane's note of the alert thresholds.
    pub armed: bool,
    /// That lane, where it is the only active one and reading it took no more.
    pub lane: Option<Lane>,
    /// Whether lanes beside a single active one have money or holds: those of a wallet that had several.
    pub beside: bool,
    /// Its limits.
    pub limits: Vec<LimitRow>,
}

/// A row of `wallet.wallets`, as far as charges look at it.
#[derive(Clone, Debug)]
pub struct WalletRow {
    /// Currency.
    pub currency: String,
    /// How far the balance may go below zero.
    pub credit_limit: Amount,
    /// `active`, `frozen`, `closed`
    pub status: String,
    /// Why it is not active.
    pub status_reason: Option<String>,
    /// Number of lanes.
    pub lanes: i16,
    /// Price list.
    pub price_list: String,
    /// Rule for usage without a price.
    pub unknown_price: String,
    /// Whether usage with numbers that nothing reads is refused.
    pub rejects_unread: bool,
    /// Counts fundings that could not look at all lanes.
    pub recheck_requested: i64,
    /// When a grant expires next or is granted again, where the wallet has other than plain ones.
    pub grants_due: Option<Timestamp>,
    /// Whether nobody but members may spend.
    pub members_only: bool,
    /// Whether it has members, keys, or rules on who may spend.
    pub guarded: bool,
    /// Whether it has money that only some charges may use.
    pub scoped: bool,
    /// Whether entries of it stand in the archive.
    pub archived: bool,
    /// Whether holds keep credit that has ended.
    pub keeps: bool,
}

impl WalletRow {
    /// The first of the lanes that pay: lane 0 alone, or 1 of 1..n.
    pub fn first_lane(&self) -> i16 {
        i16::from(self.lanes != 1)
    }
}

/// How much of which lot of credit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Burn {
    /// The lot.
    pub id: [u8; 16],
    /// How much.
    pub amount: Amount,
}

/// A row of `wallet.limits`.
#[derive(Clone, Debug)]
pub struct LimitRow {
    /// Its id.
    pub id: [u8; 16],
    /// Scope, by name.
    pub scope: String,
    /// Subject.
    pub subject: String,
    /// Period, by name.
    pub period: String,
    /// The day on which its weeks or months begin.
    pub anchor: Option<i16>,
    /// Metric, by name.
    pub metric: String,
    /// True for one that refuses.
    pub is_hard: bool,
    /// Maximum.
    pub max: Amount,
    /// Time zone, by name.
    pub time_zone: String,
    /// Fractions of the maximum at which it warns.
    pub warn_at: Vec<Amount>,
    /// True while it counts nothing and refuses nothing.
    pub paused: bool,
    /// By how much its maximum is raised.
    pub raised_by: Vec<Amount>,
    /// Until when, for each raise.
    pub raised_until: Vec<Timestamp>,
}

/// What kind of entry it is, as the ledger's `kind` column keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Money in.
    Funding = b'f' as isize,
    /// Use.
    Charge = b'c' as isize,
    /// Money taken back by whoever had paid it.
    Chargeback = b'b' as isize,
    /// Credit that has ended.
    Expiry = b'x' as isize,
    /// A charge given back.
    Refund = b'r' as isize,
    /// A correction.
    Adjustment = b'a' as isize,
    /// Money from or to another wallet.
    Transfer = b't' as isize,
}

/// The call that made it, as the ledger's `call` column keeps it: idempotency keys are unique
/// within one.
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
    /// The end of a grant, by whatever call came after it
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
}

macro_rules! letters {
    ($name:ident, $($value:ident),*) => {
        impl $name {
            /// What a letter of the ledger stands for.
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
    Call, Charge, Settle, Price, Fund, Refund, Reverse, Expire, Grant, Adjust, Transfer
);

/// A line of the ledger before it is chained.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// UUIDv7.
    pub entry_id: [u8; 16],
    /// When it is booked.
    pub created_at: Timestamp,
    /// When the use happened, if that was said.
    pub event_at: Option<Timestamp>,
    /// The wallet.
    pub wallet: &'a str,
    /// Funding, charge, ….
    pub kind: Kind,
    /// The call that the key belongs to.
    pub call: Call,
    /// Signed amount.
    pub amount: Amount,
    /// Idempotency key of the call.
    pub key: Option<&'a str>,
    /// Fingerprint of the request, where there is a key.
    pub fingerprint: Option<[u8; 16]>,
    /// The entry that this one belongs to.
    pub related_id: Option<[u8; 16]>,
    /// The key that was used.
    pub key_id: Option<[u8; 16]>,
    /// Who used it.
    pub user_id: Option<&'a str>,
    /// The user's team.
    pub team: Option<&'a str>,
    /// Provider of the model.
    pub provider: Option<&'a str>,
    /// Model.
    pub model: Option<&'a str>,
    /// Service.
    pub service: Option<&'a str>,
    /// Region.
    pub region: Option<&'a str>,
    /// Service tier.
    pub service_tier: Option<&'a str>,
    /// Price lines in their compact form.
    pub lines: Option<&'a [u8]>,
    /// The usage object and its text.
    pub usage: Option<Document>,
    /// Tags and their text.
    pub tags: Option<Document>,
    /// The other side.
    pub contra: Option<&'a str>,
    /// The payment provider's reference.
    pub reference: Option<&'a str>,
    /// Why.
    pub reason: Option<&'a str>,
    /// Who acted.
    pub actor: Option<&'a str>,
    /// The caller's own data and its text.
    pub metadata: Option<Document>,
}

impl<'a> Entry<'a> {
    /// An entry of money that comes, goes or moves, booked now; it is no use of a model or a service.
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
            wallet,
            kind,
            call,
            amount,
            key: None,
            fingerprint: None,
            related_id: None,
            key_id: None,
            user_id: None,
            team: None,
            provider: None,
            model: None,
            service: None,
            region: None,
            service_tier: None,
            lines: None,
            usage: None,
            tags: None,
            contra: Some(contra),
            reference: None,
            reason: None,
            actor: None,
            metadata: None,
        }
    }
}

/// A `jsonb` value and the text that PostgreSQL prints for it.
#[derive(Clone, Debug)]
pub struct Document {
    /// The datum.
    pub value: crate::pg::jsonb::Jsonb,
    /// `value::text`
    pub text: String,
}

/// Where an entry stands in its lane's chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The lane.
    pub lane: i16,
    /// Position in the lane, from 1.
    pub seq: i64,
    /// The lane's running total.
    pub lane_balance: Amount,
    /// The wallet's balance that the call returns.
    pub balance: Amount,
    /// Hash over the previous hash and the row.
    pub hash: [u8; 32],
}

/// Where the entry comes to stand after the lane's last one.
pub fn link(entry: &Entry<'_>, lane: &Lane, lane_balance: Amount, balance: Amount) -> Link {
    let mut link = Link {
        lane: lane.lane,
        seq: lane.seq + 1,
        lane_balance,
        balance,
        hash: [0; 32],
    };
    link.hash = Sha256::digest(canonical(entry, &link, lane.hash)).into();
    link
}

/// The canonical form of `docs/ledger.md`: what `jsonb_build_array(…)::text` prints in SQL.
pub fn canonical(entry: &Entry<'_>, link: &Link, previous: Hash) -> Vec<u8> {
    let mut out = Canonical::default();
    fn text(document: &Option<Document>) -> Option<&str> {
        document.as_ref().map(|document| document.text.as_str())
    }
    match previous {
        Some(hash) => out.hex(&hash),
        None => out.text(Some("")),
    }
    out.text(Some(entry.wallet));
    out.number(link.lane.into());
    out.number(link.seq);
    out.uuid(Some(entry.entry_id));
    out.text(Some(char::from(entry.kind as u8).encode_utf8(&mut [0; 4])));
    out.text(Some(char::from(entry.call as u8).encode_utf8(&mut [0; 4])));
    out.amount(Some(entry.amount));
    out.amount(Some(link.lane_balance));
    out.amount((link.balance != link.lane_balance).then_some(link.balance));
    out.number(entry.created_at.unix_micros());
    match entry.event_at {
        Some(at) => out.number(at.unix_micros()),
        None => out.text(None),
    }
    out.text(entry.key);
    out.uuid(entry.fingerprint);
    out.uuid(entry.related_id);
    out.uuid(entry.key_id);
    out.text(entry.user_id);
    out.text(entry.team);
    out.text(entry.provider);
    out.text(entry.model);
    out.text(entry.service);
    out.text(entry.region);
    out.text(entry.service_tier);
    match entry.lines {
        Some(lines) => out.hex(lines),
        None => out.text(None),
    }
    out.text(text(&entry.usage));
    out.text(text(&entry.tags));
    out.text(entry.contra);
    out.text(entry.reference);
    out.text(entry.reason);
    out.text(entry.actor);
    out.text(text(&entry.metadata));
    out.finish()
}

/// A uuid as PostgreSQL prints it.
pub fn uuid_text(bytes: [u8; 16]) -> String {
    uuid::Uuid::from_bytes(bytes).hyphenated().to_string()
}

/// A row of `wallet.prices`, as far as pricing looks at it.
#[derive(Clone, Debug)]
pub struct PriceRow {
    /// Its id.
    pub id: [u8; 16],
    /// The model: a name or a pattern.
    pub model: String,
    /// The meter.
    pub meter: String,
    /// Price of `per` units; nothing where a price ends.
    pub unit_price: Option<Decimal>,
    /// The unit.
    pub per: Decimal,
    /// Currency of the price.
    pub currency: Currency,
    /// Provider.
    pub provider: Option<String>,
    /// Service.
    pub service: Option<String>,
    /// Region condition.
    pub region: Option<String>,
    /// Service tier condition.
    pub service_tier: Option<String>,
    /// Threshold condition.
    pub above_input_tokens: Option<i64>,
    /// The other conditions.
    pub conditions: Json,
    /// When it begins.
    pub effective_from: Timestamp,
}

/// A row of `wallet.thresholds`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThresholdRow {
    /// `low`, `depleted`, `topup`
    pub kind: String,
    /// Where it stands.
    pub threshold: Amount,
    /// `new`, `armed`, `fired`
    pub state: String,
}

/// A row of `wallet.markups`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Markup {
    /// UUIDv7: the later one was recorded later.
    pub id: [u8; 16],
    /// Per cent on prices of the default list.
    pub percent: Option<Decimal>,
    /// Added once to a charge.
    pub fixed: Option<Decimal>,
    /// Currency of the fixed part.
    pub currency: Currency,
    /// When it begins.
    pub effective_from: Timestamp,
}

/// A row of `wallet.fx_rates`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateRow {
    /// UUIDv7: the later one was recorded later.
    pub id: [u8; 16],
    /// What one unit of the first currency is worth in the second; nothing where the pair's rate ends.
    pub rate: Option<Decimal>,
    /// When it begins.
    pub effective_from: Timestamp,
}

#[cfg(test)]
mod tests {
    /// The letters of `ledger.call`, as the column's comment explains them and as [`super::Call`] has them.
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
