//! The bonus on a payment, by the rule of its wallet or the rule for all wallets in its currency.
//!
//! A bonus is a promotional grant of its own. It is booked with the payment in one transaction,
//! with the wallet's row and all lanes locked. The payment's row stores the bonus's amount, entry
//! and percentage. A replay returns them, and a reversal takes the right part of the bonus back
//! even if the rule has changed since.
//!
//! Possible races and abuses, and the answer to each:
//!
//! - The rule changes while a payment arrives. A wallet's own rule is changed with its row locked,
//!   and fundings wait for that lock. The rule for all wallets is read in one statement. A payment
//!   gets the rule from before the change or from after it.
//! - A call is repeated after the rule has changed. It is recognised as a replay before any rule is
//!   read.
//! - A pending funding is settled under another rule, or fails. The rule is read when money is
//!   credited.
//! - Somebody pays, spends the bonus, takes the payment back and pays again. The spent part of a
//!   bonus is therefore owed, just like the spent part of a payment. After a reversal, the wallet
//!   has used at most what it has still paid for and the bonus on that.
//! - The parts of a reversal do not add up, because of rounding. The bonus that may stay is
//!   therefore computed from the whole rest of the payment, not from the part. If nothing is left
//!   of the payment, no bonus stays.
//! - The bonus has expired or was voided before the payment is taken back. The wallet never used
//!   it, so it does not owe it.

use rust_decimal::Decimal;

use crate::allowance::lanes::range;
use crate::error::Result;
use crate::ledger::funding::given_back;
use crate::ledger::funding::request::VOUCHER;
use crate::ledger::grants::locked_lots::LockedLots;
use crate::ledger::grants::terms::Terms;
use crate::money::{Amount, NotAnAmount, line_amount};
use crate::pg::clock::Timestamp;
use crate::pg::numeric::not_an_amount;
use crate::pricing::markup::PERCENT;
use crate::storage::plan::{Rows, Run, Value, statement};

/// Contra account of the entries of bonuses.
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

// Months and days are calendar units of the wallet's time zone, whatever the session's. Hours have
// a fixed length.
statement!(
    ENDS,
    [TEXTOID, TEXTOID, TIMESTAMPTZOID],
    "SELECT ($3 AT TIME ZONE w.time_zone + date_trunc('day', l.life)) AT TIME ZONE w.time_zone
            + (l.life - date_trunc('day', l.life))
       FROM wallet.wallets w
      CROSS JOIN (SELECT $2::interval AS life) l
      WHERE w.wallet_id = $1"
);

/// The bonus on a payment.
pub(super) struct Bonus {
    /// The amount of the bonus, in the wallet's currency.
    pub amount: Amount,
    /// The bonus in per cent of the payment.
    pub percent: Decimal,
    /// How long the bonus can be spent, as an interval; `None` if it does not expire.
    expires_in: Option<String>,
}

impl Bonus {
    /// The bonus on a payment by the current rule. Credit that was not paid for has no bonus.
    pub(super) fn on(
        wallet: &str,
        currency: &str,
        method: &str,
        terms: &Terms,
        amount: Amount,
    ) -> Result<Option<Bonus>> {
        if terms.promotional || method == VOUCHER {
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

    /// The bonus as it is stored once an entry has booked it.
    pub(super) fn booked(&self, entry_id: [u8; 16]) -> Booked {
        Booked {
            entry_id,
            amount: self.amount,
            percent: self.percent,
            reversed: Amount::ZERO,
        }
    }

    /// The terms of the bonus's grant if it is booked at `at`.
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

/// A percentage of an amount, rounded once at the twelfth decimal, half to even.
fn share(amount: Amount, percent: Decimal) -> Result<Amount> {
    of(amount, percent).map_err(|reason| not_an_amount("bonus", reason))
}

/// The pure part of [`share`].
fn of(amount: Amount, percent: Decimal) -> std::result::Result<Amount, NotAnAmount> {
    line_amount(amount.to_decimal(), percent, PERCENT, None)
}

/// A booked bonus, as its funding's row stores it.
pub(super) struct Booked {
    /// The entry, whose id is also the id of the grant.
    pub entry_id: [u8; 16],
    /// The amount that was booked.
    pub amount: Amount,
    /// The percentage that applied.
    pub percent: Decimal,
    /// The part that was taken back or is owed.
    pub reversed: Amount,
}

impl Booked {
    /// Reads a bonus from four columns of a row; `None` if the first of them is NULL.
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

    /// The part of the bonus that must go if `left` is left of the payment. If `left` is zero, the
    /// whole bonus goes. `unused` is the part that was never used.
    fn due(&self, left: Amount, unused: Amount) -> Result<Amount> {
        let stays = share(left, self.percent)?.min(self.amount);
        let goes = self.amount.minus(stays).map_err(range)?;
        let gone = self.reversed.plus(unused).map_err(range)?;
        Ok(goes.minus(gone).map_err(range)?.max(Amount::ZERO))
    }
}

/// The part of a bonus that goes with a part of its payment.
pub(super) struct Going {
    /// The bonus's entry, whose id is also the id of the grant.
    pub bonus: [u8; 16],
    /// The amount that must go; `own` and `other` are the parts that are found.
    pub amount: Amount,
    /// The part that is still left in the bonus itself.
    own: Amount,
    /// The part that is taken from other grants, because it was spent from the bonus.
    other: Amount,
}

impl Going {
    /// Computes the part that goes if `left` is left of the payment. `adjusted` is the amount that
    /// adjustments took out of the bonus; it counts as returned. The wallet's lots are settled and
    /// ended grants are booked.
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

    /// The part that leaves the balance out of the bonus itself.
    pub fn own(&self) -> Amount {
        self.own
    }

    /// Takes the rest from other available money, as far as that suffices.
    pub fn take(&mut self, available: Amount) -> Result<()> {
        self.other = self.amount.minus(self.own).map_err(range)?.min(available);
        Ok(())
    }

    /// The part that leaves the balance.
    pub fn taken(&self) -> Result<Amount> {
        self.own.plus(self.other).map_err(range)
    }

    /// The part that the wallet owes.
    pub fn owed(&self) -> Result<Amount> {
        self.amount.minus(self.taken()?).map_err(range)
    }

    /// Takes the rest of the bonus itself out of the lots.
    pub fn take_own(&self, locked_lots: &mut LockedLots<'_>, entry: [u8; 16]) -> Result<()> {
        locked_lots.take_back(self.bonus, self.own, Amount::ZERO, entry, false)
    }

    /// Takes the remaining part out of other lots. If `ends` is true, no money may return to the
    /// bonus.
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
        /// However a payment is split into reversals, together they take the whole bonus, and no
        /// reversal takes more than is due.
        #[test]
        fn partial_reversals_add_up_to_the_bonus(
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

        /// Bonus that ended unused is not owed. Bonus that was taken back before counts.
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
