//! Lots and warnings as they are without the amounts that expired holds reserve, to compute with
//! before these holds are released.

use crate::allowance::lanes::range;
use crate::error::Result;
use crate::ledger::grants::lots::Active;
use crate::ledger::grants::pools::Pools;
use crate::ledger::holds::expired::Expired;
use crate::limits::warning::Warning;
use crate::pg::clock;
use crate::storage::rows::AllowanceId;

impl Expired<'_> {
    /// Subtracts the amounts that expired holds reserve of lots with a scope.
    pub fn free(&mut self, lots: &mut [Active]) -> Result<()> {
        if self.are_none() {
            return Ok(());
        }
        let held = lots.iter_mut().filter(|one| !one.held.is_zero());
        let held: Vec<&mut Active> = held.collect();
        let ids: Vec<[u8; 16]> = held.iter().map(|one| one.lot.rank.id).collect();
        self.ask(&ids)?;
        for one in held {
            let freed = self.of(one.lot.rank.id)?;
            one.held = one.held.minus(freed).map_err(range)?;
        }
        Ok(())
    }

    /// The warnings that remain without the amounts of expired holds. A level that is reached only
    /// because of them gives no warning.
    pub fn without<'w>(&mut self, warnings: Vec<Warning<'w>>) -> Result<Vec<Warning<'w>>> {
        if self.are_none() || warnings.is_empty() {
            return Ok(warnings);
        }
        let windows: Vec<AllowanceId> = warnings.iter().map(Warning::window).collect();
        self.ask(&windows)?;
        let mut left = Vec::new();
        for warning in warnings {
            let freed = self.of(warning.window())?;
            left.extend(warning.less(freed)?);
        }
        Ok(left)
    }
}

impl Pools<'_> {
    /// The lots as they are once expired holds have released their amounts; only to compute with.
    pub fn freed<'a>(&mut self, expired: &mut Expired<'a>) -> Result<Pools<'a>> {
        let mut lots = self.all()?.to_vec();
        expired.free(&mut lots)?;
        Ok(Pools::of(expired.wallet, lots))
    }
}

/// The warnings that remain without the amounts of expired holds, for a call that has not read
/// these holds.
pub fn without<'w>(wallet: &str, warnings: Vec<Warning<'w>>) -> Result<Vec<Warning<'w>>> {
    if warnings.is_empty() {
        return Ok(warnings);
    }
    Expired::look(wallet, clock::now())?.without(warnings)
}
