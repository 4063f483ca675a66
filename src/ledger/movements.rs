//! Corrections and transfers: `adjust`, `transfer`.

use crate::allowance::lanes::range;
use crate::error::{Code, Error, Result, quoted};
use crate::idempotency::call::conflict;
use crate::idempotency::entry_by_key::{by_key, is_of_other};
use crate::ledger::balance::locked::LockedBalance;
use crate::ledger::charges::job::what_there_is;
use crate::ledger::grants::locked_lots::LockedLots;
use crate::ledger::grants::terms::Terms;
use crate::ledger::wallets::config;
use crate::money::Amount;
use crate::pg::document::Document;
use crate::storage::rows::{Call, Entry, Kind};
use crate::storage::wallet_row::lock_wallet;

/// The arguments that the calls share.
pub struct Movement<'a> {
    /// The wallet whose balance moves.
    pub wallet: &'a str,
    /// The reason that the caller gives; `None` if there is none.
    pub reason: Option<&'a str>,
    /// The idempotency key; without one, a repeated call moves money again.
    pub key: Option<&'a str>,
    /// Half a SHA-256 of the arguments, compared if the key is used again.
    pub fingerprint: [u8; 16],
    /// The person or program that makes the call.
    pub actor: Option<&'a str>,
    /// The caller's own data.
    pub metadata: Option<Document>,
}

/// The result of the calls.
pub struct Moved {
    /// Id of the entry; of the first one if the call is a replay.
    pub entry_id: [u8; 16],
    /// The amount of the entry, negative if money leaves the wallet.
    pub amount: Amount,
    /// The wallet's balance after the entry.
    pub balance: Amount,
    /// True if an earlier call made the entry.
    pub replayed: bool,
}

impl Movement<'_> {
    /// The first result of the key. `None` if the key is new, WL006 if it was used for another
    /// request.
    pub(super) fn replay(&self, call: Call) -> Result<Option<Moved>> {
        let Some(rows) = by_key(self.wallet, self.key, call)? else {
            return Ok(None);
        };
        if is_of_other(&rows, self.fingerprint) {
            return Err(conflict(self.key.unwrap_or_default(), "its arguments"));
        }
        Ok(Some(Moved {
            entry_id: rows.need(0, 0)?,
            amount: rows.amount(0, 2)?,
            balance: rows.amount(0, 3)?,
            replayed: true,
        }))
    }

    /// The entry of a movement.
    pub(super) fn entry<'a>(
        &'a self,
        kind: Kind,
        call: Call,
        amount: Amount,
        contra: &'a str,
    ) -> Entry<'a> {
        Entry {
            key: self.key,
            fingerprint: self.key.map(|_| self.fingerprint),
            reason: self.reason,
            actor: self.actor,
            metadata: self.metadata.clone(),
            ..Entry::of_money(self.wallet, kind, call, amount, contra)
        }
    }
}

/// Books a correction: adds money if the amount is positive, takes money out if it is negative.
pub fn adjust(movement: &Movement<'_>, amount: Amount) -> Result<Moved> {
    let wallet = movement.wallet;
    lock_wallet(wallet)?;
    if let Some(moved) = movement.replay(Call::Adjust)? {
        return Ok(moved);
    }
    let rules = config::read(wallet)?;
    rules.require_open(wallet)?;
    rules.require_own_money(wallet)?;
    // With all lanes locked, the entry is booked at its stated time.
    let entry = || movement.entry(Kind::Adjustment, Call::Adjust, amount, "adjustment");
    let (entry_id, balance) = if amount.is_negative() {
        let locked = LockedBalance::open(wallet)?;
        let entry = entry();
        (entry.entry_id, take_out(locked, &entry)?)
    } else {
        let entry = entry();
        (entry.entry_id, put_in(&entry)?)
    };
    Ok(Moved {
        entry_id,
        amount,
        balance,
        replayed: false,
    })
}

/// Adds money as a lot like that of a plain funding.
fn put_in(entry: &Entry<'_>) -> Result<Amount> {
    let mut locked_lots = LockedLots::open(entry.wallet)?;
    let balance = locked_lots.grant(entry, entry.amount, &Terms::default(), None, Amount::ZERO)?;
    locked_lots.close()?;
    Ok(balance)
}

/// Takes money out if it is available.
fn take_out(mut locked: LockedBalance<'_>, entry: &Entry<'_>) -> Result<Amount> {
    let amount = entry.amount.negated();
    require_room(&mut locked, entry, amount)?;
    locked.make_way(amount)?;
    // Other transactions may have locked some expired holds, which then were not released.
    require_room(&mut locked, entry, amount)?;
    let balance = locked.debit(entry, amount)?;
    locked.close()?;
    Ok(balance)
}

/// WL001 unless the amount can be taken out.
fn require_room(locked: &mut LockedBalance<'_>, entry: &Entry<'_>, amount: Amount) -> Result<()> {
    let room = locked.room()?;
    if amount > room {
        let (rules, balance) = (locked.rules.clone(), locked.balance()?);
        let for_others = Amount::from_units(locked.pools.total()?).map_err(range)?;
        let currency = &rules.currency;
        let missing = amount.minus(room).map_err(range)?;
        return Err(Error::new(
            Code::InsufficientFunds,
            format!("insufficient funds in wallet {}", quoted(entry.wallet)),
        )
        .detail(format!(
            "The call takes {amount} {currency} out; {}.",
            what_there_is(&rules, balance, room, for_others)?,
        ))
        .hint(format!(
            "Take {missing} {currency} less, or fund the wallet first."
        ))
        .constraint("allowances", "allowance_not_overdrawn"));
    }
    Ok(())
}

/// Moves money to another wallet of the same currency: one entry in each.
pub fn transfer(movement: &Movement<'_>, to: &str, amount: Amount) -> Result<Moved> {
    let from = movement.wallet;
    // Rows are locked in the order of the names, in whichever direction the money moves.
    let mut wallets = [from, to];
    wallets.sort_unstable();
    wallets.into_iter().try_for_each(lock_wallet)?;
    if let Some(moved) = movement.replay(Call::Transfer)? {
        return Ok(moved);
    }
    let (ours, theirs) = (config::read(from)?, config::read(to)?);
    ours.require_active(from)?;
    theirs.require_open(to)?;
    ours.require_own_money(from)?;
    theirs.require_own_money(to)?;
    if ours.currency != theirs.currency {
        return Err(Error::argument("the wallets have different currencies")
            .detail(format!(
                "Wallet {} has {}, wallet {} has {}.",
                quoted(from),
                ours.currency,
                quoted(to),
                theirs.currency
            ))
            .hint("Take the money out with adjust() and fund the other wallet in its currency."));
    }
    if to < from {
        // Lanes, too, are locked in the order of the wallets' names.
        config::lock_to_change(to)?;
    }
    let locked = LockedBalance::open(from)?;
    let contra = format!("transfer:{to}");
    let out = movement.entry(Kind::Transfer, Call::Transfer, amount.negated(), &contra);
    let contra = format!("transfer:{from}");
    let into = Entry {
        wallet: to,
        key: None,
        fingerprint: None,
        related_id: Some(out.entry_id),
        ..movement.entry(Kind::Transfer, Call::Transfer, amount, &contra)
    };
    let out = Entry {
        related_id: Some(into.entry_id),
        ..out
    };
    let balance = take_out(locked, &out)?;
    put_in(&into)?;
    Ok(Moved {
        entry_id: out.entry_id,
        amount: out.amount,
        balance,
        replayed: false,
    })
}
