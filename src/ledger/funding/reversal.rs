//! `reverse_funding`: a settled funding failed late, was charged back or was paid back, in whole or
//! in part.
//!
//! The entry takes the whole amount back, so that the ledger records what happened. The available
//! part leaves the balance. The rest becomes a debt, which the next funding pays first. The credit
//! limit and the amounts that open holds reserve are not touched.
//!
//! Several calls may each take a part, together at most the funded amount. A call without an amount
//! takes the rest. Amounts that `adjust` or `void_grant` took out of the funding's grant are not
//! part of that rest. They were returned and not used, so a dispute cannot be about them. But an
//! adjustment need not be such a repayment, so a call that names an amount may take that part too.
//!
//! The bonus on the payment is reversed in the same proportion, as a chargeback of its own
//! ([`bonus`]). First the rest of the bonus is taken. The spent part is taken from other available
//! money, and the remainder is owed.

use crate::allowance::lanes::range;
use crate::error::{Code, Error, Result};
use crate::idempotency::call::{IdempotentCall, conflict};
use crate::idempotency::entry_by_key::{by_key, is_of_other};
use crate::idempotency::fingerprint::Fingerprint;
use crate::ledger::funding::bonus::{self, Going};
use crate::ledger::funding::fx::Original;
use crate::ledger::funding::request::Change;
use crate::ledger::funding::rows::{self, Found, TakenBack, not_open};
use crate::ledger::funding::{booking, given_back};
use crate::ledger::grants::locked_lots::LockedLots;
use crate::ledger::grants::{debts, due};
use crate::ledger::wallets::config;
use crate::ledger::wallets::config::Status;
use crate::money::{Amount, NotAnAmount};
use crate::outbox;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::numeric::not_an_amount;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::{Call, Entry, Kind, uuid_text};
use crate::storage::wallet_row::lock_wallet;

statement!(
    FREEZE,
    [TEXTOID, TEXTOID],
    "UPDATE wallet.wallets SET status = 'frozen', status_reason = $2
      WHERE wallet_id = $1 AND status = 'active' AND freeze_on_chargeback"
);

statement!(
    REVERSAL,
    [TEXTOID, UUIDOID],
    "SELECT l.amount, coalesce(l.balance, l.lane_balance), w.debt
       FROM wallet.wallets w
       LEFT JOIN wallet.ledger_all l ON l.wallet_id = w.wallet_id AND l.entry_id = $2
      WHERE w.wallet_id = $1"
);

/// The result of `reverse_funding`.
pub struct Reversed {
    /// The entry that takes the amount back; `None` if nothing was left to take.
    pub entry_id: Option<[u8; 16]>,
    /// The amount that was taken back.
    pub amount: Amount,
    /// The wallet's currency.
    pub currency: String,
    /// The wallet's balance after the call.
    pub balance: Amount,
    /// The funding's status after the call.
    pub status: String,
    /// True if an earlier call produced this result.
    pub replayed: bool,
    /// The part that left the balance; `None` for the result of an earlier call.
    pub taken: Option<Amount>,
    /// The wallet's debt.
    pub debt: Amount,
    /// The part of the bonus that was reversed as well; `None` if there is none, or for the result
    /// of an earlier call.
    pub bonus: Option<Amount>,
}

/// The part of a funding that one call takes back.
struct Part {
    /// The part in the wallet's currency.
    amount: Amount,
    /// The part in the currency of the payment, if that is another.
    original: Option<Original>,
    /// The rest of the funding after the call, in the wallet's currency.
    left: Amount,
    /// The funding's status after the call.
    status: &'static str,
}

impl Part {
    /// True if nothing of the funding is left after the call.
    fn ends(&self) -> bool {
        self.status == "reversed"
    }
}

/// Reverses a settled funding or a part of it. Without an amount it takes the rest, and repeating
/// it takes nothing more.
pub fn reverse(change: &Change<'_>, amount: Option<Amount>, key: Option<&str>) -> Result<Reversed> {
    let wallet = change.wallet;
    lock_wallet(wallet)?;
    let mut fingerprint = Fingerprint::new(Call::Reverse as u8);
    fingerprint.field("entry_id", Some(&uuid_text(change.entry_id)));
    let given = amount.map(Amount::to_fixed);
    fingerprint.field("amount", given.as_deref());
    let fingerprint = fingerprint.finish();
    if let Some(rows) = by_key(wallet, key, Call::Reverse)? {
        if is_of_other(&rows, fingerprint) {
            return Err(conflict(key.unwrap_or_default(), "entry_id or amount"));
        }
        let found = Found::of(wallet, change.entry_id)?;
        return replay(wallet, &found, rows.get(0, 0));
    }
    // A call that found nothing left writes no entry to store its key.
    let call = IdempotentCall {
        wallet,
        call: "reverse_funding",
        key,
        fingerprint,
    };
    let answered = call.answered()?.is_some();
    let found = Found::of(wallet, change.entry_id)?;
    match found.status.as_str() {
        _ if answered => return replay(wallet, &found, None),
        "reversed" if amount.is_none() => return replay(wallet, &found, found.reversal_id()),
        "settled" | "reversed" => {}
        "pending" => {
            let hint = "Nothing was credited: end it with fail_funding().";
            return Err(not_open(change.entry_id, "pending", hint));
        }
        status => {
            let hint = "Nothing was credited, so there is nothing to take back.";
            return Err(not_open(change.entry_id, status, hint));
        }
    }
    config::read_basis(wallet)?.require_own_money(wallet)?;
    // Expired credit can no longer be taken.
    due::sweep(wallet)?;
    take_back(change, &found, amount, &call)
}

/// Takes a part of a funding back. The wallet is locked, and nothing of its credit is due.
fn take_back(
    change: &Change<'_>,
    found: &Found,
    amount: Option<Amount>,
    call: &IdempotentCall<'_>,
) -> Result<Reversed> {
    let wallet = change.wallet;
    let part = part(wallet, found, change.entry_id, amount)?;
    let bonus = found.bonus()?;
    // Without an amount, adjustments count as repayments of the bonus, as they do for the payment.
    let adjusted = match &bonus {
        Some(bonus) if amount.is_none() => given_back::adjusted(wallet, bonus.entry_id)?,
        _ => Amount::ZERO,
    };
    let mut locked_lots = LockedLots::open(wallet)?;
    let (currency, active) = {
        let rules = locked_lots.rules();
        (rules.currency.to_string(), rules.status == Status::Active)
    };
    let going = match &bonus {
        None => None,
        Some(bonus) => {
            let left = if part.ends() { Amount::ZERO } else { part.left };
            Going::of(wallet, bonus, left, adjusted, &locked_lots)?
        }
    };
    let sources = Sources::of(&part, going, change.entry_id, &locked_lots)?;
    let taken = sources.general.plus(sources.scoped).map_err(range)?;
    let booked = book(change, found, &part, &sources, call, &mut locked_lots)?;
    let frozen = active
        && !FREEZE
            .run(&[
                Value::Text(wallet),
                Value::Text(change.reason.unwrap_or("chargeback")),
            ])?
            .is_empty();
    let bonus = sources.bonus.map(|going| going.amount);
    let original = part.original.as_ref();
    let taken_back = TakenBack {
        status: part.status,
        at: booked.at,
        reversal: booked.entry_id,
        amount: part.amount,
        original: original.map_or(Amount::ZERO, |original| original.amount),
        bonus: bonus.unwrap_or_default(),
    };
    rows::take_back(change, &taken_back)?;
    locked_lots.close_with(config::new_epoch())?;
    if frozen {
        outbox::announce(wallet, outbox::Name::WalletFrozen)?;
    }
    Ok(Reversed {
        entry_id: booked.entry_id,
        amount: part.amount,
        currency,
        balance: booked.balance,
        status: part.status.to_owned(),
        replayed: false,
        taken: Some(taken),
        debt: booked.debt,
        bonus,
    })
}

/// The sources of a reversed amount. The wallet owes what they do not cover.
struct Sources {
    /// From money that every charge may use.
    general: Amount,
    /// From the funding's own grant, if the grant has a scope.
    scoped: Amount,
    /// The part of the bonus that goes, with its own sources.
    bonus: Option<Going>,
}

impl Sources {
    /// First the rest of the bonus itself is reserved for the bonus, then the payment takes its
    /// amount. The spent part of the bonus is taken from the available money that is left.
    fn of(
        part: &Part,
        mut bonus: Option<Going>,
        funding: [u8; 16],
        locked_lots: &LockedLots<'_>,
    ) -> Result<Sources> {
        let scoped = part.amount.min(locked_lots.scoped_available(funding));
        let own = bonus.as_ref().map_or(Amount::ZERO, Going::own);
        let available = locked_lots.available()?.minus(own).map_err(range)?;
        let general = part.amount.minus(scoped).map_err(range)?.min(available);
        if let Some(going) = &mut bonus {
            going.take(available.minus(general).map_err(range)?)?;
        }
        Ok(Sources {
            general,
            scoped,
            bonus,
        })
    }
}

/// The entries of a reversal, after they were booked.
struct Booked {
    /// The entry that takes the payment back; `None` if nothing was left to take.
    entry_id: Option<[u8; 16]>,
    /// The time of the reversal.
    at: Timestamp,
    /// The balance after the call.
    balance: Amount,
    /// The wallet's debt after the call.
    debt: Amount,
}

/// Books the entries of the payment and of its bonus, takes their amounts out of the lots, and
/// records as debt what no source covers.
fn book(
    change: &Change<'_>,
    found: &Found,
    part: &Part,
    sources: &Sources,
    call: &IdempotentCall<'_>,
    locked_lots: &mut LockedLots<'_>,
) -> Result<Booked> {
    let wallet = change.wallet;
    let (general, scoped, ends) = (sources.general, sources.scoped, part.ends());
    let (method, reference) = (found.method()?, found.reference());
    let contra = format!("funding:{method}");
    let entry = Entry {
        key: call.key,
        fingerprint: call.key.map(|_| call.fingerprint),
        usage: part.original.as_ref().map(Original::document),
        reference: reference.as_deref(),
        metadata: change.metadata.clone(),
        ..chargeback(change, change.entry_id, part.amount, &contra)
    };
    // The entry contains the balance after the whole call, as the result does.
    let bonus_taken = match &sources.bonus {
        Some(going) => going.taken()?,
        None => Amount::ZERO,
    };
    let (mut balance, entry_id, at) = if part.amount.is_zero() {
        call.remember(None)?;
        (locked_lots.balance()?, None, clock::now())
    } else {
        let (general, scoped) = (general.negated(), scoped.negated());
        let balance = locked_lots.book_but(&entry, general, scoped, bonus_taken)?;
        (balance, Some(entry.entry_id), entry.created_at)
    };
    let mut bonus = None;
    if let Some(going) = &sources.bonus {
        let entry = chargeback(change, going.bonus, going.amount, bonus::CONTRA);
        balance = locked_lots.book(&entry, bonus_taken.negated(), Amount::ZERO)?;
        going.take_own(locked_lots, entry.entry_id)?;
        bonus = Some((going, entry.entry_id));
    }
    if entry_id.is_some() {
        locked_lots.take_back(change.entry_id, general, scoped, entry.entry_id, ends)?;
    }
    let taken = general.plus(scoped).map_err(range)?;
    let owed = part.amount.minus(taken).map_err(range)?;
    let mut debt = debts::owe(wallet, entry.entry_id, owed)?;
    if let Some((going, entry)) = bonus {
        going.take_other(locked_lots, entry, ends)?;
        debt = debts::owe(wallet, entry, going.owed()?)?;
    }
    Ok(Booked {
        entry_id,
        at,
        balance,
        debt,
    })
}

/// The entry that takes an amount of a grant back.
fn chargeback<'a>(
    change: &Change<'a>,
    grant: [u8; 16],
    amount: Amount,
    contra: &'a str,
) -> Entry<'a> {
    Entry {
        related_id: Some(grant),
        reason: change.reason,
        actor: change.actor,
        ..Entry::of_money(
            change.wallet,
            Kind::Chargeback,
            Call::Reverse,
            amount.negated(),
            contra,
        )
    }
}

/// The part that a call takes back. Returns WL012 if `amount` is more than what is left. `amount`
/// is in the currency of the payment, as it is for `fund`.
fn part(wallet: &str, found: &Found, entry_id: [u8; 16], amount: Option<Amount>) -> Result<Part> {
    let (total, original) = (found.amount()?, found.original()?);
    let (reversed, reversed_original) = found.reversed()?;
    let minus = |from: Amount, what: Amount| from.minus(what).map_err(range);
    let left = minus(total, reversed)?;
    let paid = found.paid()?;
    let paid_before = match original {
        Some(_) => reversed_original,
        None => reversed,
    };
    let paid_left = minus(paid, paid_before)?;
    if let Some(amount) = amount
        && amount > paid_left
    {
        let currency = match found.currency() {
            Some(currency) => currency,
            None => config::read_basis(wallet)?.currency.to_string(),
        };
        return Err(Error::new(
            Code::InvalidAmount,
            "amount is more than what is left of the funding",
        )
        .detail(format!(
            "The amount is {amount} {currency}; of the {paid} {currency} that were paid, {paid_before} were taken back \
             and {paid_left} are left."
        ))
        .hint("Take back what is left at most; without an amount it is all of it.")
        .constraint("funding_requests", "funding_reversed_once"));
    }
    let worth = match (amount, &original) {
        (None, _) => {
            let voided = given_back::voided(wallet, entry_id)?;
            let given_back = voided.plus(given_back::adjusted(wallet, entry_id)?);
            minus(left, given_back.map_err(range)?.min(left))?
        }
        (Some(amount), None) => amount,
        // The last part takes the remainder that rounding has left.
        (Some(amount), Some(_)) if amount == paid_left => left,
        (Some(amount), Some(original)) => {
            let upto = paid_before.plus(amount).map_err(range)?;
            let worth = minus(original.worth(upto)?, reversed)?.min(left);
            if worth <= Amount::ZERO {
                return Err(not_an_amount("amount", NotAnAmount::TooPrecise));
            }
            worth
        }
    };
    let is_all = amount.is_none() || worth == left;
    // For a part that is not the whole rest, the rate determines the amount in the currency of the
    // payment.
    let exactly = if worth == left {
        Some(paid_left)
    } else {
        amount
    };
    let original = original
        .map(|original| original.part(worth, exactly, paid_left))
        .transpose()?;
    Ok(Part {
        amount: worth,
        original,
        left: minus(left, worth)?,
        // A funding that was completely reversed keeps that status, whatever is taken later.
        status: if is_all || found.status == "reversed" {
            "reversed"
        } else {
            "settled"
        },
    })
}

/// The result of the first call, with the current debt and status of the funding.
fn replay(wallet: &str, found: &Found, entry_id: Option<[u8; 16]>) -> Result<Reversed> {
    let rows = REVERSAL.run(&[Value::Text(wallet), Value::OptUuid(entry_id)])?;
    Ok(Reversed {
        entry_id,
        amount: rows.opt_amount(0, 0)?.unwrap_or_default().negated(),
        currency: config::read_basis(wallet)?.currency.to_string(),
        balance: match rows.opt_amount(0, 1)? {
            Some(balance) => balance,
            None => booking::balance(wallet, &*config::read(wallet)?)?,
        },
        status: found.status.clone(),
        replayed: true,
        taken: None,
        debt: rows.amount(0, 2)?,
        bonus: None,
    })
}
