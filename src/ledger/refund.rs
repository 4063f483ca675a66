//! Refunds: `refund`.

use crate::allowance::lanes::range;
use crate::attribution::{Attribution, StoredUse};
use crate::error::{Code, Error, Result, quoted};
use crate::ledger::balance::locked::LockedBalance;
use crate::ledger::charges::passed;
use crate::ledger::grants::due;
use crate::ledger::grants::locked_lots::LockedLots;
use crate::ledger::movements::{Moved, Movement};
use crate::ledger::wallets::{config, default_limits};
use crate::limits::limit::{Spending, applicable};
use crate::limits::metric::Measured;
use crate::limits::window;
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::document::Document;
use crate::pg::jsonb::Jsonb;
use crate::storage::plan::{Rows, Run, Value, statement};
use crate::storage::rows::{Call, Entry, Kind, uuid_text};
use crate::storage::wallet_row::lock_wallet;

// The usage of a settlement was counted in the windows of the time at which its hold was made.
statement!(
    CHARGE,
    [TEXTOID, UUIDOID],
    "SELECT l.kind::text, l.amount, coalesce(h.created_at, l.created_at), l.key_id, l.user_id, l.team, l.model, l.service,
            l.tags, l.provider, l.region, l.service_tier, coalesce(r.refunded, 0), l.event_at
       FROM wallet.ledger_all l
       LEFT JOIN wallet.refunds r ON r.wallet_id = l.wallet_id AND r.entry_id = l.entry_id
       LEFT JOIN wallet.reservations h
         ON h.wallet_id = l.wallet_id AND h.hold_id = l.related_id AND l.call IN ('s', 'm')
      WHERE l.wallet_id = $1 AND l.entry_id = $2"
);

statement!(
    /// The contra account from which the money for a use was drawn.
    DRAWN_FROM,
    [TEXTOID, UUIDOID],
    "SELECT l.contra FROM wallet.ledger_all l WHERE l.wallet_id = $1 AND l.entry_id = $2 AND l.call = 'd'"
);

statement!(
    REFUNDED,
    [TEXTOID, UUIDOID, NUMERICOID],
    "INSERT INTO wallet.refunds (wallet_id, entry_id, refunded) VALUES ($1, $2, $3)
     ON CONFLICT (wallet_id, entry_id) DO UPDATE SET refunded = excluded.refunded"
);

/// A charge, and the part of it that was refunded.
struct Refundable {
    stored: StoredUse,
    charged: Amount,
    refunded: Amount,
    /// The moment whose windows of limits counted the charge.
    counted_at: Timestamp,
    /// Owns the datum of the tags.
    _rows: Rows,
}

impl Refundable {
    /// Reads a charge of a wallet whose row is locked, or the entry that lends money for a charge
    /// of a child.
    fn read(wallet: &str, charge: [u8; 16], kind: Kind) -> Result<Refundable> {
        let rows = CHARGE.run(&[Value::Text(wallet), Value::Uuid(charge)])?;
        let letter = char::from(kind as u8).to_string();
        if rows.is_empty() || rows.need::<String>(0, 0)? != letter {
            return Err(Error::new(
                Code::ObjectNotFound,
                format!("wallet {} has no such charge", quoted(wallet)),
            )
            .detail(format!("There is no charge {}.", uuid_text(charge)))
            .hint("Pass the entry_id that charge() or settle() returned."));
        }
        let text = |column: i32| rows.get::<String>(0, column);
        Ok(Refundable {
            stored: StoredUse {
                key_id: rows.get(0, 3),
                user_id: text(4),
                team: text(5),
                model: text(6),
                service: text(7),
                tags: rows.datum(0, 8).map(|datum| Document::of(Jsonb(datum))),
                provider: text(9),
                region: text(10),
                service_tier: text(11),
            },
            charged: rows.amount(0, 1)?.negated(),
            refunded: rows.amount(0, 12)?,
            counted_at: rows.need(0, 2)?,
            _rows: rows,
        })
    }

    /// The amount to refund: all that is left if `asked` is `None`.
    fn amount(&self, asked: Option<Amount>) -> Result<Amount> {
        let (charged, refunded) = (self.charged, self.refunded);
        let rest = charged.minus(refunded).map_err(range)?;
        let amount = asked.unwrap_or(rest);
        if amount <= rest && !amount.is_zero() {
            return Ok(amount);
        }
        Err(Error::new(
            Code::InvalidAmount,
            "refund is more than what is left of the charge",
        )
        .detail(format!(
            "The refund is {amount}; of the charge of {charged}, {refunded} was refunded and {rest} is left."
        ))
        .hint("Refund what is left at most; the amount left out is all of it."))
    }

    /// The contra account of the refund: that of the charge.
    fn contra(&self) -> String {
        let context = self.stored.context();
        let named = context.model.or(context.service).unwrap_or("other");
        match context.provider {
            Some(provider) => format!("usage:{provider}/{named}"),
            None => format!("usage:{named}"),
        }
    }

    /// Returns a refunded amount to the limits whose window is still running and has surely counted
    /// the charge.
    fn return_to_limits(&self, wallet: &str, amount: Amount, now: Timestamp) -> Result<()> {
        let rules = config::read(wallet)?;
        let spending = Spending {
            attribution: self.stored.attribution(),
            context: self.stored.context(),
            measured: Measured {
                cost: amount,
                ..Measured::default()
            },
        };
        let mut applied = applicable(&rules.limits, &spending, self.counted_at)?.counted;
        applied.retain(|applied| applied.end.is_none_or(|end| end > now));
        if applied
            .iter()
            .any(|one| one.limit.default.is_some() || one.limit.subject.has_each())
        {
            let defaults = default_limits::ever(wallet)?;
            let at = self.counted_at;
            applied.retain(|one| one.limit.has_surely_counted(defaults.iter(), &spending, at));
        }
        window::add_carries(wallet, &mut applied)?;
        window::give_back_charged(wallet, &applied)
    }
}

/// The part of a charge that has not been refunded. The caller has locked the wallet's row.
pub fn left(wallet: &str, charge: [u8; 16]) -> Result<Amount> {
    let refundable = Refundable::read(wallet, charge, Kind::Charge)?;
    refundable.charged.minus(refundable.refunded).map_err(range)
}

/// Refunds a charge in whole or in part, also to the limits whose window is still running.
pub fn refund(movement: &Movement<'_>, charge: [u8; 16], amount: Option<Amount>) -> Result<Moved> {
    let wallet = movement.wallet;
    // Refunds of one charge queue here.
    lock_wallet(wallet)?;
    if let Some(moved) = movement.replay(Call::Refund)? {
        return Ok(moved);
    }
    let refundable = Refundable::read(wallet, charge, Kind::Charge)?;
    let amount = refundable.amount(amount)?;
    let contra = refundable.contra();
    let rules = config::read(wallet)?;
    rules.require_open(wallet)?;
    let payer = payer_of(wallet, charge)?;
    if payer.is_none() {
        rules.require_own_money(wallet)?;
    }
    // Credit that has expired by now expired before the refund.
    due::sweep(wallet)?;
    let entry = || Entry {
        related_id: Some(charge),
        // The key made the charge, not the refund.
        attribution: Attribution {
            key_id: None,
            ..refundable.stored.attribution()
        },
        context: refundable.stored.context(),
        ..movement.entry(Kind::Refund, Call::Refund, amount, &contra)
    };
    let (entry, balance) = book(wallet, entry, charge, payer.as_deref())?;
    let refunded = refundable.refunded.plus(amount).map_err(range)?;
    REFUNDED.run(&[
        Value::Text(wallet),
        Value::Uuid(charge),
        Value::Amount(refunded),
    ])?;
    refundable.return_to_limits(wallet, amount, entry.created_at)?;
    if let Some(payer) = payer {
        return_to(&payer, wallet, &entry, charge)?;
    }
    Ok(Moved {
        entry_id: entry.entry_id,
        amount,
        balance,
        replayed: false,
    })
}

/// The parent that paid for a use; `None` if the wallet did.
fn payer_of(wallet: &str, charge: [u8; 16]) -> Result<Option<String>> {
    let draw = Value::Uuid(passed::draw_id(charge));
    let rows = DRAWN_FROM.run(&[Value::Text(wallet), draw])?;
    let contra = rows.get::<String>(0, 0);
    Ok(contra.and_then(|contra| passed::other_side(&contra).map(str::to_owned)))
}

/// Books returned money: in the grants that paid for the charge or, if a parent paid, with another
/// entry that returns the money to it. Returns the entry and the balance after it.
fn book<'a>(
    wallet: &str,
    entry: impl FnOnce() -> Entry<'a>,
    charge: [u8; 16],
    payer: Option<&str>,
) -> Result<(Entry<'a>, Amount)> {
    let Some(payer) = payer else {
        let mut locked_lots = LockedLots::open(wallet)?;
        // With all lanes locked, the entry is booked at its stated time.
        let made = entry();
        let balance = locked_lots.give_back(&made, charge)?;
        locked_lots.close()?;
        return Ok((made, balance));
    };
    let mut locked = LockedBalance::open(wallet)?;
    let made = entry();
    let balance = locked.debit(&made, Amount::ZERO)?;
    let contra = passed::contra(payer);
    let returned = Entry {
        related_id: Some(made.entry_id),
        actor: made.actor,
        ..Entry::of_money(
            wallet,
            Kind::Transfer,
            Call::Return,
            made.amount.negated(),
            &contra,
        )
    };
    locked.debit(&returned, Amount::ZERO)?;
    locked.close()?;
    Ok((made, balance))
}

/// Returns the money of a refund to the parent that lent it, and the amount to the parent's limits.
/// A parent that drew the money returns it to its own parent.
fn return_to(parent: &str, child: &str, refund: &Entry<'_>, charge: [u8; 16]) -> Result<()> {
    lock_wallet(parent)?;
    let refundable = Refundable::read(parent, charge, Kind::Transfer)?;
    config::read_basis(parent)?.require_open(parent)?;
    let payer = payer_of(parent, charge)?;
    due::sweep(parent)?;
    let contra = passed::contra(child);
    let entry = || Entry {
        related_id: Some(charge),
        actor: refund.actor,
        attribution: Attribution {
            key_id: None,
            ..refundable.stored.attribution()
        },
        ..Entry::of_money(parent, Kind::Transfer, Call::Return, refund.amount, &contra)
    };
    let (entry, _) = book(parent, entry, charge, payer.as_deref())?;
    refundable.return_to_limits(parent, entry.amount, entry.created_at)?;
    match payer {
        Some(payer) => return_to(&payer, parent, &entry, charge),
        None => Ok(()),
    }
}
