//! Credits money: checks the wallet's bounds, pays its debt first, and adds the lot.

use crate::allowance::lanes::range;
use crate::error::{Code, Error, Result};
use crate::ledger::balance::credit::{Credit, credit};
use crate::ledger::funding::bonus::{self, Bonus};
use crate::ledger::funding::fx::Original;
use crate::ledger::grants::locked_lots::LockedLots;
use crate::ledger::grants::lots::{self, NewLot};
use crate::ledger::grants::terms::Terms;
use crate::ledger::grants::{asof, debts};
use crate::ledger::wallets::config::WalletConfig;
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::document::Document;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::{Call, Entry, Kind};

statement!(
    PAYEE,
    [TEXTOID],
    "SELECT w.funding_min, w.funding_max, w.debt,
            w.grants_due IS NOT NULL AND EXISTS (
                SELECT FROM wallet.grant_lots g
                 WHERE g.wallet_id = $1 AND g.status = 'active' AND g.priority > 100),
            EXISTS (SELECT FROM wallet.bonus_rules b
                     WHERE b.wallet_id IN ($1, '*') AND b.currency = w.currency)
       FROM wallet.wallets w WHERE w.wallet_id = $1"
);

/// The properties of a wallet that matter to a payment.
pub(super) struct Payee {
    min: Option<Amount>,
    max: Option<Amount>,
    debt: Amount,
    /// Whether the wallet has a grant that comes after plain fundings in burn order.
    has_later: bool,
    /// Whether a rule on bonuses applies.
    has_bonus: bool,
}

impl Payee {
    /// Reads the properties. The caller holds the wallet's row lock.
    pub fn of(wallet: &str) -> Result<Payee> {
        let rows = PAYEE.run(&[Value::Text(wallet)])?;
        Ok(Payee {
            min: rows.opt_amount(0, 0)?,
            max: rows.opt_amount(0, 1)?,
            debt: rows.amount(0, 2)?,
            has_later: rows.need(0, 3)?,
            has_bonus: rows.need(0, 4)?,
        })
    }

    /// Checks an amount against the wallet's bounds. Returns WL012 if it is outside.
    pub fn check(&self, amount: Amount) -> Result<()> {
        let outside = |bound: &str, limit: Amount| {
            Error::new(
                Code::InvalidAmount,
                format!("amount is {bound} the wallet allows"),
            )
            .detail(format!("The amount is {amount}; the bound is {limit}."))
            .hint("Change funding_min or funding_max with update_wallet().")
        };
        match (self.min, self.max) {
            (Some(min), _) if amount < min => Err(outside("less than", min)),
            (_, Some(max)) if amount > max => Err(outside("more than", max)),
            _ => Ok(()),
        }
    }
}

/// The properties of a payment that its entry stores.
pub(super) struct Paid<'a> {
    pub entry_id: [u8; 16],
    pub amount: Amount,
    pub method: &'a str,
    pub reference: Option<&'a str>,
    pub original: Option<&'a Original>,
    pub terms: &'a Terms,
    pub key: Option<&'a str>,
    pub fingerprint: Option<[u8; 16]>,
    pub actor: Option<&'a str>,
    pub metadata: Option<Document>,
}

impl<'a> Paid<'a> {
    /// The entry that books the payment.
    fn entry(&self, wallet: &'a str, contra: &'a str) -> Entry<'a> {
        Entry {
            entry_id: self.entry_id,
            key: self.key,
            fingerprint: self.fingerprint,
            usage: self.original.map(Original::document),
            reference: self.reference,
            actor: self.actor,
            metadata: self.metadata.clone(),
            ..Entry::of_money(wallet, Kind::Funding, Call::Fund, self.amount, contra)
        }
    }
}

/// A payment that was booked.
pub(super) struct Booked {
    /// The balance after the payment and its bonus.
    pub balance: Amount,
    /// The time of booking.
    pub at: Timestamp,
    /// The bonus on the payment, if any.
    pub bonus: Option<bonus::Booked>,
}

/// Books the payment and its bonus. The wallet's debt is paid first; the rest may be spent.
pub(super) fn book(
    wallet: &str,
    paid: &Paid<'_>,
    payee: &Payee,
    rules: &WalletConfig,
) -> Result<Booked> {
    let contra = format!("funding:{}", paid.method);
    let entry = paid.entry(wallet, &contra);
    // A grant with a scope pays no debt.
    let paying = if paid.terms.scope.is_some() {
        Amount::ZERO
    } else {
        payee.debt.min(paid.amount)
    };
    if !paying.is_zero() {
        debts::pay(wallet, entry.entry_id, paying)?;
    }
    let spendable = paid.amount.minus(paying).map_err(range)?;
    let at = entry.created_at;
    let bonus = match payee.has_bonus {
        true => Bonus::on(
            wallet,
            &rules.currency,
            paid.method,
            paid.terms,
            paid.amount,
        )?,
        false => None,
    };
    if let Some(bonus) = bonus {
        let debt = payee.debt.minus(paying).map_err(range)?;
        let (balance, entry_id) = with_bonus(&entry, spendable, paid, &bonus, debt)?;
        return Ok(Booked {
            balance,
            at,
            bonus: Some(bonus.booked(entry_id)),
        });
    }
    // A plain lot comes last in burn order, unless the wallet has a grant of low priority.
    let balance = if !paid.terms.plain() || rules.scoped || payee.has_later {
        let mut locked_lots = LockedLots::open(wallet)?;
        let balance = locked_lots.grant(&entry, spendable, paid.terms, None, Amount::ZERO)?;
        locked_lots.close()?;
        balance
    } else {
        as_last_lot(&entry, spendable, paid.terms, rules)?
    };
    Ok(Booked {
        balance,
        at,
        bonus: None,
    })
}

/// Books a payment whose lot comes last in burn order, so that no other lot need be locked. Returns
/// the balance.
fn as_last_lot(
    entry: &Entry<'_>,
    spendable: Amount,
    terms: &Terms,
    rules: &WalletConfig,
) -> Result<Amount> {
    let balance = credit(&Credit { entry, spendable }, rules)?;
    let lot = NewLot {
        id: entry.entry_id,
        amount: entry.amount,
        remaining: spendable,
        terms,
        recurring: None,
        created_at: entry.created_at,
    };
    lots::add(entry.wallet, &lot)?;
    Ok(balance)
}

/// Books a payment and its bonus. The bonus pays the part of a debt that the payment does not
/// cover. Both entries contain the balance after the call. Returns that balance and the entry of
/// the bonus.
fn with_bonus(
    payment: &Entry<'_>,
    spendable: Amount,
    paid: &Paid<'_>,
    bonus: &Bonus,
    debt: Amount,
) -> Result<(Amount, [u8; 16])> {
    let wallet = payment.wallet;
    let paying = debt.min(bonus.amount);
    let rest = bonus.amount.minus(paying).map_err(range)?;
    let mut locked_lots = LockedLots::open(wallet)?;
    locked_lots.grant(payment, spendable, paid.terms, None, rest)?;
    // The bonus begins when the lanes are locked.
    let entry = Entry {
        related_id: Some(payment.entry_id),
        actor: paid.actor,
        ..Entry::of_money(
            wallet,
            Kind::Funding,
            Call::Fund,
            bonus.amount,
            bonus::CONTRA,
        )
    };
    if !paying.is_zero() {
        debts::pay(wallet, entry.entry_id, paying)?;
    }
    let terms = bonus.terms(wallet, entry.created_at)?;
    let balance = locked_lots.grant(&entry, rest, &terms, None, Amount::ZERO)?;
    locked_lots.close()?;
    Ok((balance, entry.entry_id))
}

/// The wallet's balance, as last committed.
pub(super) fn balance(wallet: &str, rules: &WalletConfig) -> Result<Amount> {
    asof::balance(wallet, rules)
}
