//! What time asks for: grants that end or come again, booked by the first call after it.

use crate::allowance::lanes::range;
use crate::allowance::outbox::Name;
use crate::error::Result;
use crate::ledger::grants::burn::{self, Lot, Rank};
use crate::ledger::grants::ending::Ending;
use crate::ledger::grants::ledge::Ledge;
use crate::ledger::grants::lots::{self, Active};
use crate::ledger::grants::turns::{self, Turn};
use crate::ledger::lock::lock_wallet;
use crate::ledger::rules::{self, Rules};
use crate::money::Amount;
use crate::storage::clock::{self, Timestamp};

/// Turns of a recurring grant that one call makes up for.
const MAX_TURNS: usize = 100;

/// Books what is due of a wallet's grants, if anything is. Takes the wallet's row and all lanes.
pub fn sweep(wallet: &str) -> Result<()> {
    lock_wallet(wallet)?;
    // Whoever waited finds that another call has done it.
    if !rules::read(wallet)?.grants_are_due() {
        return Ok(());
    }
    let mut ledge = Ledge::open(wallet)?;
    ledge.catch_up(clock::now())?;
    ledge.close()
}

/// What of a balance has ended and is not booked yet, in units: what its lots without a scope have left whose
/// time has come, as far as no hold has set it aside.
pub fn ended(wallet: &str, rules: &Rules, general: i128, available: i128) -> Result<i128> {
    if !rules.grants_are_due() {
        return Ok(0);
    }
    let active = lots::read_active(wallet)?;
    let mut lots: Vec<Lot> = active
        .iter()
        .filter(|one| one.scope.is_none())
        .map(|one| one.lot.clone())
        .collect();
    burn::settle(&mut lots, Amount::from_units(general).map_err(range)?);
    let now = clock::now().0;
    let ended = lots.iter().filter(|lot| lot.rank.expires_at <= now);
    let ended: i128 = ended.map(|lot| lot.remaining.units()).sum();
    Ok(ended.min(available).max(0))
}

impl Ledge<'_> {
    /// Does what is due until now, in the order of time.
    fn catch_up(&mut self, now: Timestamp) -> Result<()> {
        let mut turns = 0;
        loop {
            let ends = self.lots.iter().filter_map(|one| one.expires_at);
            let end = ends.filter(|end| *end <= now).min();
            // Looked at only: whose turn it is not yet must find it again.
            let turn = turns::due(self.wallet, now)?;
            match (turn, end) {
                (Some(at), end) if end.is_none_or(|end| at <= end) => {
                    if turns == MAX_TURNS {
                        break;
                    }
                    turns += 1;
                    let turn = turns::take(self.wallet)?;
                    self.turn(&turn)?;
                }
                (_, Some(end)) => self.expire(end)?,
                (_, None) => break,
            }
        }
        self.warn(now)
    }

    /// Ends the lots of that time. What holds have set aside of them stays until they let go of it.
    fn expire(&mut self, end: Timestamp) -> Result<()> {
        let mut ended: Vec<Rank> = self
            .lots
            .iter()
            .filter(|one| one.expires_at == Some(end))
            .map(|one| one.lot.rank.clone())
            .collect();
        ended.sort();
        for rank in ended {
            let (entry, amount) = self.finish(rank.id, &Ending::expired(end))?;
            if entry.is_some() {
                self.events
                    .push((Name::GrantExpired, rank.id, amount, Some(end)));
            }
        }
        let kept = self.lots.iter_mut();
        for one in kept.filter(|one| one.expires_at == Some(end)) {
            one.expires_at = None;
        }
        Ok(())
    }

    /// A recurring grant's next turn: what may not roll over ends, the rest is carried on.
    fn turn(&mut self, turn: &Turn) -> Result<()> {
        if let Some(most) = turn.rollover_max {
            // What a hold keeps of a lot that has ended is not carried on.
            let lasts = |one: &Active| one.recurring && one.lot.rank.expires_at >= turn.at.0;
            let mut old: Vec<Lot> = self
                .lots
                .iter()
                .filter(|one| lasts(one))
                .map(|one| one.lot.clone())
                .collect();
            let excess = burn::total(&old) - most.units();
            let excess = Amount::from_units(excess.max(0)).map_err(range)?;
            for burn in burn::burn(&mut old, excess) {
                let ending = Ending {
                    most: Some(burn.amount),
                    ..Ending::expired(turn.at)
                };
                let (_, amount) = self.finish(burn.id, &ending)?;
                self.events
                    .push((Name::GrantExpired, burn.id, amount, Some(turn.at)));
            }
            if let Some(end) = turn.expires_at {
                let warning = lots::warn_at(turn.at, end);
                for one in self.lots.iter_mut().filter(|one| lasts(one)) {
                    one.expires_at = Some(end);
                    one.warn_at = Some(warning);
                    one.lot.rank.expires_at = end.0;
                    lots::extend(self.wallet, one.lot.rank.id, end, warning)?;
                }
            }
        }
        self.grant_turn(turn, None).map(drop)
    }

    fn warn(&mut self, now: Timestamp) -> Result<()> {
        for one in &mut self.lots {
            if one.warn_at.is_none_or(|at| at > now) {
                continue;
            }
            one.warn_at = None;
            lots::warned(self.wallet, one.lot.rank.id)?;
            if one.expires_at.is_some_and(|end| end > now) {
                self.events.push((
                    Name::GrantExpiring,
                    one.lot.rank.id,
                    one.lot.remaining,
                    one.expires_at,
                ));
            }
        }
        Ok(())
    }
}
