//! Money that only some charges may use: grants with a scope.
//!
//! A charge does not read other lots, because every charge may use each of them: spending is
//! allocated to them later. That is not possible for a lot with a scope. Its money is therefore not
//! in the lanes that pay for charges. All such lots of a wallet share a lane of their own
//! ([`SCOPED`](crate::allowance::lane_split::SCOPED)). That lane counts in the balance and in the
//! held amount, but in no room, share or threshold. No other charge can spend this money, and a
//! charge cannot overspend other money because the balance contains it.
//!
//! A lot with a scope is always settled. A charge that it may pay for locks all lanes, takes from
//! the lot at once and stores the burn. All lots have one burn order. The charge is divided among
//! the lots that it may use, as if they were burnt one by one. The part that falls on lots without
//! a scope, or on credit, is taken from the lanes and allocated later as usual. Both ways therefore
//! have the same result.
//!
//! `wallets.scoped` says that a wallet has such money. Then each call on the wallet locks all
//! lanes, so its charges queue. Other wallets pay nothing for this.

use crate::allowance::all_lanes::AllLanes;
use crate::allowance::lanes::range;
use crate::attribution::UseContext;
use crate::error::Result;
use crate::ledger::grants::burn::{self, Burn, Lot};
use crate::ledger::grants::burns;
use crate::ledger::grants::lots::{self, Active};
use crate::ledger::wallets::config;
use crate::ledger::wallets::config::WalletConfig;
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::storage::cursor::Portions;
use crate::storage::plan::{Run, Value, statement};

statement!(
    SPEND,
    [TEXTOID, UUIDOID, NUMERICOID],
    "UPDATE wallet.grant_lots
        SET remaining = remaining - $3,
            status = CASE WHEN remaining = $3 THEN 'depleted' ELSE 'active' END
      WHERE wallet_id = $1 AND grant_id = $2"
);

statement!(
    HOLD,
    [TEXTOID, UUIDOID, NUMERICOID],
    "UPDATE wallet.grant_lots SET held = held + $3 WHERE wallet_id = $1 AND grant_id = $2"
);

statement!(
    NONE_LEFT,
    [TEXTOID],
    "UPDATE wallet.wallets SET scoped = false WHERE wallet_id = $1"
);

/// The number of lots in the first batch. Later batches have `MORE`.
const FIRST: usize = 16;
const MORE: usize = 500;

/// The lots of a wallet that has lots with a scope, read in burn order as far as a call needs them.
/// Empty for any other wallet.
pub struct Pools<'a> {
    wallet: &'a str,
    /// The lots that have been read.
    lots: Vec<Active>,
    /// The lots that have not been read; `None` if all have.
    rest: Option<Portions>,
    /// The total of all lots without a scope when they were last settled, in units, once it was
    /// asked for.
    plain: Option<i128>,
}

impl<'a> Pools<'a> {
    /// Begins to read the lots. To take from them, the caller must have locked all lanes.
    pub fn read(wallet: &'a str, rules: &WalletConfig) -> Result<Pools<'a>> {
        let rest = match rules.scoped {
            true => Some(lots::in_order(wallet)?),
            false => None,
        };
        Ok(Pools {
            rest,
            ..Pools::of(wallet, Vec::new())
        })
    }

    /// Lots that were read before, to compute what they could pay.
    pub fn of(wallet: &'a str, lots: Vec<Active>) -> Pools<'a> {
        Pools {
            wallet,
            lots,
            rest: None,
            plain: None,
        }
    }

    fn read_more(&mut self) -> Result<()> {
        let Some(rest) = &self.rest else {
            return Ok(());
        };
        let most = if self.lots.is_empty() { FIRST } else { MORE };
        let rows = rest.fetch(most);
        self.lots.extend(lots::active_of(&rows)?);
        if rows.len() < most {
            self.rest = None;
        }
        Ok(())
    }

    /// All of the lots.
    pub fn all(&mut self) -> Result<&[Active]> {
        while self.rest.is_some() {
            self.read_more()?;
        }
        Ok(&self.lots)
    }

    /// The lots with a scope that may pay for a use at a time, with the part that holds do not
    /// reserve. Only lots that have been read.
    fn usable(&self, context: UseContext<'_>, at: Timestamp) -> Vec<Lot> {
        let fits = |one: &&Active| {
            one.scope
                .as_ref()
                .is_some_and(|scope| scope.allows(context))
                && one.expires_at.is_none_or(|end| end > at)
        };
        self.lots.iter().filter(fits).map(Active::free).collect()
    }

    /// The amount that the lots may pay for a use. If it is at least `most`, it need not be
    /// complete.
    pub fn available(
        &mut self,
        context: UseContext<'_>,
        at: Timestamp,
        most: Amount,
    ) -> Result<Amount> {
        loop {
            let units = burn::total(&self.usable(context, at));
            if self.rest.is_none() || units >= most.units() {
                return Amount::from_units(units).map_err(range);
            }
            self.read_more()?;
        }
    }

    /// The unreserved amount of the lots with a scope that may not pay for a use.
    pub fn for_other_uses(&mut self, context: UseContext<'_>, at: Timestamp) -> Result<Amount> {
        self.all()?;
        let own = burn::total(&self.usable(context, at));
        Amount::from_units((self.total()? - own).max(0)).map_err(range)
    }

    /// The unreserved amount of all lots with a scope, in units.
    pub fn total(&mut self) -> Result<i128> {
        let lots = self.all()?.iter().filter(|one| one.scope.is_some());
        let all: Vec<Lot> = lots.map(Active::free).collect();
        Ok(burn::total(&all))
    }

    /// The part of an amount that each lot pays; the lanes pay the rest. `general` is the balance
    /// without lots that have a scope. `room` is the most that the lanes can pay, including the
    /// credit limit.
    pub fn split(
        &mut self,
        context: UseContext<'_>,
        at: Timestamp,
        amount: Amount,
        general: Amount,
        room: Amount,
    ) -> Result<Vec<Burn>> {
        loop {
            let mut own = self.usable(context, at);
            if own.is_empty() && self.rest.is_none() {
                return Ok(Vec::new());
            }
            let others = self.settled(general)?;
            let is_covered = burn::total(&own) + burn::total(&others) >= amount.units();
            let parts = burn::split(&others, &mut own, amount, room);
            let taken: i128 = parts.iter().map(|part| part.amount.units()).sum();
            let is_enough = is_covered && taken + room.units().max(0) >= amount.units();
            if is_enough || self.rest.is_none() {
                return Ok(parts);
            }
            // Lots later in burn order pay a part of it.
            self.read_more()?;
        }
    }

    /// The lots without a scope that have been read, with their rests for the balance `general`.
    /// The first lots in burn order have paid for the spending since they were settled.
    fn settled(&mut self, general: Amount) -> Result<Vec<Lot>> {
        let plain = self.lots.iter().filter(|one| one.scope.is_none());
        let mut plain: Vec<Lot> = plain.map(|one| one.lot.clone()).collect();
        if plain.is_empty() {
            return Ok(plain);
        }
        let total = match (&self.rest, self.plain) {
            (None, _) => burn::total(&plain),
            (Some(_), Some(total)) => total,
            (Some(_), None) => lots::plain_total(self.wallet)?.units(),
        };
        self.plain = Some(total);
        let spent = total - general.units().max(0);
        let spent = Amount::from_units(spent.max(0)).map_err(range)?;
        burn::burn(&mut plain, spent);
        Ok(plain)
    }

    /// Takes the divided amounts, for a charge.
    pub fn spend(
        &mut self,
        whole: &mut AllLanes<'_>,
        parts: &[Burn],
        entry: [u8; 16],
        epoch: i64,
    ) -> Result<()> {
        let Some(sum) = sum_of(parts)? else {
            return Ok(());
        };
        burns::record(self.wallet, parts, Some(entry))?;
        for part in parts {
            SPEND.run(&values(self.wallet, part.id, part.amount))?;
            for one in self
                .lots
                .iter_mut()
                .filter(|one| one.lot.rank.id == part.id)
            {
                one.lot.remaining = one.lot.remaining.minus(part.amount).map_err(range)?;
            }
        }
        let lane = whole.scoped(epoch)?;
        lane.spent = lane.spent.plus(sum).map_err(range)?;
        Ok(())
    }

    /// Reserves the divided amounts, for a hold.
    pub fn hold(&mut self, whole: &mut AllLanes<'_>, parts: &[Burn], epoch: i64) -> Result<()> {
        for part in parts {
            for one in self
                .lots
                .iter_mut()
                .filter(|one| one.lot.rank.id == part.id)
            {
                one.held = one.held.plus(part.amount).map_err(range)?;
            }
        }
        set_aside(self.wallet, whole, parts, epoch)
    }

    /// If nothing is left of the lots with a scope, records that and returns the epoch by which
    /// charges learn of it. Otherwise `None`. The caller holds the wallet's row lock.
    pub fn end(&self, whole: &AllLanes<'_>) -> Result<Option<i64>> {
        if !whole.scoped_left().is_zero() {
            return Ok(None);
        }
        NONE_LEFT.run(&[Value::Text(self.wallet)])?;
        Ok(Some(config::new_epoch()))
    }
}

/// The sum; `None` if it is zero.
pub fn sum_of(parts: &[Burn]) -> Result<Option<Amount>> {
    let units: i128 = parts.iter().map(|part| part.amount.units()).sum();
    let sum = Amount::from_units(units).map_err(range)?;
    Ok((!sum.is_zero()).then_some(sum))
}

fn values(wallet: &str, id: [u8; 16], amount: Amount) -> [Value<'_>; 3] {
    [Value::Text(wallet), Value::Uuid(id), Value::Amount(amount)]
}

fn set_aside(wallet: &str, whole: &mut AllLanes<'_>, parts: &[Burn], epoch: i64) -> Result<()> {
    let Some(sum) = sum_of(parts)? else {
        return Ok(());
    };
    for part in parts {
        HOLD.run(&values(wallet, part.id, part.amount))?;
    }
    let lane = whole.scoped(epoch)?;
    lane.held = lane.held.plus(sum).map_err(range)?;
    Ok(())
}

/// Releases the amounts that a hold reserves in lots with a scope.
pub fn release(wallet: &str, whole: &mut AllLanes<'_>, parts: &[Burn]) -> Result<()> {
    let back: Vec<Burn> = parts
        .iter()
        .map(|part| Burn {
            id: part.id,
            amount: part.amount.negated(),
        })
        .collect();
    // The lane exists, because something is held in it.
    set_aside(wallet, whole, &back, 0)
}
