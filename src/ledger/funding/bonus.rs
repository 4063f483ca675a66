//! What comes on top of a payment: the bonus of its wallet, or of all wallets in its currency.
//!
//! It is a promotional grant of its own, booked with the payment: in one transaction, under the wallet's row and all
//! lanes. Beside the payment stand its amount, its entry and the percentage, so that a replay answers with it and a
//! reversal takes the right part of it back, whatever rule holds by then.
//!
//! What can go wrong, and what is done about it:
//!
//! - The rule changes while a payment comes. A wallet's own rule is changed under its row, on which fundings queue. What
//!   holds for all wallets is read in one statement: a payment has the rule from before the change or from after it.
//! - A call comes again when another rule holds: it is a replay before any rule is looked at.
//! - A pending funding is settled under another rule, or fails: the rule is looked at when money is credited.
//! - Somebody pays, spends the bonus, takes the payment back and pays again. What was spent of a bonus is therefore owed
//!   as what was spent of a payment is. After a reversal the wallet may have used what it has still paid for and the
//!   bonus on that, and no more.
//! - Parts of a reversal do not add up. What may stay is computed anew from all that is left of the payment, and not from
//!   the part: rounding does not add up, and of nothing nothing stays.
//! - The bonus has ended, or was voided, before the payment is taken back. The wallet has not had it: it owes none of it.

use rust_decimal::Decimal;

use crate::allowance::lanes::range;
use crate::error::Result;
use crate::ledger::funding::{given_back, vouchers};
use crate::ledger::grants::locked_lots::LockedLots;
use crate::ledger::grants::terms::Terms;
use crate::money::{Amount, NotAnAmount, line_amount};
use crate::pg::clock::Timestamp;
use crate::pg::numeric::not_an_amount;
use crate::pricing::markup::PERCENT;
use crate::storage::plan::{Rows, Run, Value, statement};

/// The other side of its entries.
pub(super) const CONTRA: &str = "funding:bonus";

statement!(
    TIER,
    [TEXTOID, TEXTOID, NUMERICOID],
    "SELECT t.percent, b.expires_in::text
       FROM (SELECT r.tiers, r.expires_in FROM wallet.bonus_rules r
              WHERE r.wallet_id IN ($1, '*') AND r.currency = $2
              ORDER BY r.wallet_id = '*' LIMIT 1) b
      CROSS JOIN LATERAL jsonb_to_recordset(b.tiers) AS t(\"from\" numeric, percent numeric)
      WHERE t.\"from\" <= $3
      ORDER BY t.\"from\" DESC
      LIMIT 1"
);

// Months and days are the wallet's, whatever time zone the session has; hours are hours.
statement!(
    ENDS,
    [TEXTOID, TEXTOID, TIMESTAMPTZOID],
    "SELECT ($3 AT TIME ZONE w.time_zone + date_trunc('day', l.life)) AT TIME ZONE w.time_zone
            + (l.life - date_trunc('day', l.life))
       FROM wallet.wallets w
      CROSS JOIN (SELECT $2::interval AS life) l
      WHERE w.wallet_id = $1"
);

/// What comes on top of a payment.
pub(super) struct Bonus {
    /// How much.
    pub amount: Amount,
    /// How much that is in per cent of the payment.
    pub percent: Decimal,
    /// How long it lives, as an interval.
    expires_in: Option<String>,
}

impl Bonus {
    /// The bonus on a payment by the rule that holds now. What is given and not paid has none.
    pub(super) fn on(
        wallet: &str,
        currency: &str,
        method: &str,
        terms: &Terms,
        amount: Amount,
    ) -> Result<Option<Bonus>> {
        if terms.promotional || method == vouchers::METHOD {
            return Ok(None);
        }
        let rows = TIER.run(&[
            Value::Text(wallet),
            Value::Text(currency),
            Value::Amount(amount),
        ])?;
        if rows.is_empty() {
            return Ok(None);
        }
        let percent = rows.decimal(0, 0)?.normalize();
        let bonus = share(amount, percent)?;
        Ok((!bonus.is_zero()).then(|| Bonus {
            amount: bonus,
            percent,
            expires_in: rows.get(0, 1),
        }))
    }

    /// The same once an entry has booked it.
    pub(super) fn booked(&self, entry_id: [u8; 16]) -> Booked {
        Booked {
            entry_id,
            amount: self.amount,
            percent: self.percent,
            reversed: Amount::ZERO,
        }
    }

    /// The terms of its grant, where it is booked at that moment.
    pub(super) fn terms(&self, wallet: &str, at: Timestamp) -> Result<Terms> {
        let expires_at = match &self.expires_in {
            None => None,
            Some(life) => {
                let life = [Value::Text(wallet), Value::Text(life), Value::Time(at)];
                Some(ENDS.run(&life)?.need(0, 0)?)
            }
        };
        Ok(Terms {
            expires_at,
            promotional: true,
            ..Terms::default()
        })
    }
}

/// So many per cent of an amount, rounded once, half to even, at the twelfth decimal.
fn share(amount: Amount, percent: Decimal) -> Result<Amount> {
    of(amount, percent).map_err(|reason| not_an_amount("bonus", reason))
}

/// The pure part of it.
fn of(amount: Amount, percent: Decimal) -> std::result::Result<Amount, NotAnAmount> {
    line_amount(amount.to_decimal(), percent, PERCENT, None)
}

/// A bonus that was booked, as the row of its funding has it.
pub(super) struct Booked {
    /// Its entry, and hence its grant.
    pub entry_id: [u8; 16],
    /// How much it was.
    pub amount: Amount,
    /// In per cent.
    pub percent: Decimal,
    /// How much of it was taken back, or is owed.
    pub reversed: Amount,
}

impl Booked {
    /// Reads it from four columns of a row, of which the first is NULL where there is none.
    pub fn read(rows: &Rows, amount: i32) -> Result<Option<Booked>> {
        let Some(bonus) = rows.opt_amount(0, amount)? else {
            return Ok(None);
        };
        Ok(Some(Booked {
            entry_id: rows.need(0, amount + 1)?,
            amount: bonus,
            percent: rows.decimal(0, amount + 2)?,
            reversed: rows.amount(0, amount + 3)?,
        }))
    }

    /// How much of it must go where `left` is what is left of the payment; of nothing nothing stays. `unused` is what of
    /// it was never used.
    fn due(&self, left: Amount, unused: Amount) -> Result<Amount> {
        let stays = share(left, self.percent)?.min(self.amount);
        let goes = self.amount.minus(stays).map_err(range)?;
        let gone = self.reversed.plus(unused).map_err(range)?;
        Ok(goes.minus(gone).map_err(range)?.max(Amount::ZERO))
    }
}

/// What goes of a bonus with a part of its payment.
pub(super) struct Going {
    /// The bonus's entry, and hence its grant.
    pub bonus: [u8; 16],
    /// How much.
    pub amount: Amount,
    /// What of it is left of the bonus itself.
    own: Amount,
    /// What of it is taken from other grants, because it was spent of this one.
    other: Amount,
}

impl Going {
    /// What goes where `left` is what is left of the payment. `adjusted` is what adjustments took out of the bonus and
    /// counts as given back. The wallet's lots are settled and what has ended is booked.
    pub fn of(
        wallet: &str,
        booked: &Booked,
        left: Amount,
        adjusted: Amount,
        locked_lots: &LockedLots<'_>,
    ) -> Result<Option<Going>> {
        let ended = given_back::ended(wallet, booked.entry_id)?;
        let unused = ended.plus(adjusted).map_err(range)?;
        let amount = booked.due(left, unused)?;
        if amount.is_zero() {
            return Ok(None);
        }
        let own = amount
            .min(locked_lots.left_of(booked.entry_id))
            .min(locked_lots.available()?);
        Ok(Some(Going {
            bonus: booked.entry_id,
            amount,
            own,
            other: Amount::ZERO,
        }))
    }

    /// What of it leaves the balance out of the bonus itself.
    pub fn own(&self) -> Amount {
        self.own
    }

    /// Takes the rest out of what is available beside, as far as that goes.
    pub fn take(&mut self, available: Amount) -> Result<()> {
        self.other = self.amount.minus(self.own).map_err(range)?.min(available);
        Ok(())
    }

    /// What of it leaves the balance.
    pub fn taken(&self) -> Result<Amount> {
        self.own.plus(self.other).map_err(range)
    }

    /// What of it the wallet owes.
    pub fn owed(&self) -> Result<Amount> {
        self.amount.minus(self.taken()?).map_err(range)
    }

    /// Takes what is left of the bonus itself out of the lots.
    pub fn take_own(&self, locked_lots: &mut LockedLots<'_>, entry: [u8; 16]) -> Result<()> {
        locked_lots.take_back(self.bonus, self.own, Amount::ZERO, entry, false)
    }

    /// Takes the rest out of the lots; `ends` says that nothing may come back to the bonus.
    pub fn take_other(
        &self,
        locked_lots: &mut LockedLots<'_>,
        entry: [u8; 16],
        ends: bool,
    ) -> Result<()> {
        locked_lots.take_back(self.bonus, self.other, Amount::ZERO, entry, ends)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn amount(text: &str) -> Amount {
        Amount::from_decimal(text.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_bonus_is_rounded_once_and_half_to_even() {
        for (paid, percent, bonus) in [
            ("50", "5", "2.5"),
            ("0.000000000001", "50", "0"),
            ("0.000000000003", "50", "0.000000000002"),
            ("0.000000000005", "50", "0.000000000002"),
            ("0.000000000001", "1000", "0.00000000001"),
            ("100", "0", "0"),
            ("100", "0.000001", "0.000001"),
            ("33.33", "12.5", "4.16625"),
        ] {
            assert_eq!(
                of(amount(paid), percent.parse().unwrap()),
                Ok(amount(bonus)),
                "{percent} % of {paid}"
            );
        }
        let most = amount("9999999999999999.999999999999");
        assert_eq!(of(most, Decimal::ONE_HUNDRED), Ok(most));
        assert!(of(most, "999.999999".parse().unwrap()).is_err());
        assert_eq!(
            of(most, "99.999999".parse().unwrap()),
            Ok(amount("9999999899999999.999999999999"))
        );
    }

    proptest! {
        /// Whatever parts a payment is taken back in: they take all of the bonus, and never more than is due.
        #[test]
        fn parts_add_up(
            parts in prop::collection::vec(1_i128..10_i128.pow(15), 1..20),
            millionths in prop_oneof![1_i64..=1_000_000_000, (1_i64..=1000).prop_map(|percent| percent * 1_000_000)],
        ) {
            let percent = Decimal::new(millionths, 6).normalize();
            let total: i128 = parts.iter().sum();
            let paid = Amount::from_units(total).unwrap();
            let bonus = of(paid, percent).unwrap();
            let mut booked = Booked { entry_id: [0; 16], amount: bonus, percent, reversed: Amount::ZERO };
            let mut left = total;
            for part in parts {
                left -= part;
                let left = Amount::from_units(left).unwrap();
                let due = booked.due(left, Amount::ZERO).unwrap();
                booked.reversed = booked.reversed.plus(due).unwrap();
                let stays = bonus.minus(booked.reversed).unwrap();
                prop_assert_eq!(stays, of(left, percent).unwrap());
            }
            prop_assert_eq!(booked.reversed, bonus);
        }

        /// What ended unused is not owed, and what was taken before it ended counts.
        #[test]
        fn what_ended_is_not_owed(
            paid in 1_i128..10_i128.pow(15), taken in 0_u32..=100, ended in 0_u32..=100, percent in 1_i64..=1000,
        ) {
            let percent = Decimal::from(percent);
            let paid = Amount::from_units(paid).unwrap();
            let bonus = of(paid, percent).unwrap();
            let part = |of: Amount, share: u32| Amount::from_units(of.units() * i128::from(share) / 100).unwrap();
            let reversed = part(bonus, taken);
            let unused = part(bonus.minus(reversed).unwrap(), ended);
            let booked = Booked { entry_id: [0; 16], amount: bonus, percent, reversed };
            let due = booked.due(Amount::ZERO, unused).unwrap();
            prop_assert_eq!(due.units() + reversed.units() + unused.units(), bonus.units());
        }
    }
}
