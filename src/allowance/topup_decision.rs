//! Decides whether a top-up rule requests money, how much, and if not, why and until when. Pure.

use crate::allowance::lanes::range;
use crate::currency::Currency;
use crate::error::Result;
use crate::money::{AMOUNT_SCALE, Amount};
use crate::pg::clock::Timestamp;

/// The reason why a rule requests no money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A top-up of the rule is open.
    Open,
    /// The wallet is frozen or closed.
    NotActive,
    /// Too many top-ups were declined.
    Stopped,
    /// A top-up was declined recently.
    BackOff,
    /// A top-up succeeded recently.
    Cooldown,
    /// The period's maximum number of top-ups is reached.
    MaxCount,
    /// The period's maximum amount is reached.
    MaxAmount,
    /// The amount exceeds the wallet's maximum for one funding.
    FundingMax,
}

impl Reason {
    /// The reason as the event states it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Open => "topup_open",
            Reason::NotActive => "wallet_not_active",
            Reason::Stopped => "rule_stopped",
            Reason::BackOff => "back_off",
            Reason::Cooldown => "cooldown",
            Reason::MaxCount => "max_count",
            Reason::MaxAmount => "max_amount",
            Reason::FundingMax => "funding_max",
        }
    }
}

/// The state on which a decision depends.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// The name of the rule.
    pub name: String,
    /// The payment method.
    pub method: String,
    /// The available amount below which the rule requests money.
    pub threshold: Option<Amount>,
    /// The amount whose multiples are requested.
    pub amount: Option<Amount>,
    /// The balance to reach, as an alternative.
    pub target: Option<Amount>,
    /// The wallet's currency.
    pub currency: String,
    /// Whether the wallet is active.
    pub active: bool,
    /// The wallet's debt.
    pub debt: Amount,
    /// The wallet's maximum for one funding.
    pub funding_max: Option<Amount>,
    /// The most top-ups in a period.
    pub max_count: Option<i64>,
    /// The most money in a period.
    pub max_amount: Option<Amount>,
    /// The reason for which the last evaluation requested nothing.
    pub refused: Option<String>,
    /// When the next top-up by time is due.
    pub next_at: Option<Timestamp>,
    /// Whether a top-up by time is due.
    pub due: bool,
    /// Whether a top-up of the rule is open.
    pub open: bool,
    /// Whether too many top-ups were declined.
    pub stopped: bool,
    /// The end of the pause after a decline.
    pub back_off: Option<Timestamp>,
    /// The end of the pause after a success.
    pub cooldown: Option<Timestamp>,
    /// The number of top-ups in the period.
    pub used: i64,
    /// The money of the top-ups in the period.
    pub money: Amount,
    /// The end of the period.
    pub ends: Option<Timestamp>,
}

impl State {
    /// The available amount at which open top-ups of `pending` in total reach the rule's threshold,
    /// after the debt that they pay first.
    pub fn covered_at(&self, pending: Amount) -> Result<Option<Amount>> {
        let at = |threshold: Amount| threshold.plus(self.debt).and_then(|at| at.minus(pending));
        self.threshold.map(at).transpose().map_err(range)
    }
}

/// A wallet's money, as its rules see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Money {
    /// The available amount.
    pub available: Amount,
    /// The amount that open top-ups will bring.
    pub pending: Amount,
}

/// The result of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// No money is needed.
    Nothing,
    /// No money is needed as long as the open top-ups of other rules are enough.
    Covered,
    /// Request this amount, in the wallet's currency.
    Request(Amount),
    /// Money is needed, but cannot be requested now. Evaluate again at the time, if there is one.
    Refuse(Reason, Option<Timestamp>),
}

/// Decides whether to request money. Pure.
pub(super) fn decide(state: &State, low: bool, money: Money, now: Timestamp) -> Result<Decision> {
    if !low && !state.due {
        return Ok(Decision::Nothing);
    }
    let refuse = |reason, until| Ok(Decision::Refuse(reason, until));
    if state.open {
        return refuse(Reason::Open, None);
    }
    if !state.due
        && let Some(at) = state.covered_at(money.pending)?
        && money.available >= at
    {
        return Ok(Decision::Covered);
    }
    if !state.active {
        return refuse(Reason::NotActive, None);
    }
    if state.stopped {
        return refuse(Reason::Stopped, None);
    }
    if let Some(until) = state.back_off.filter(|until| *until > now) {
        return refuse(Reason::BackOff, Some(until));
    }
    if let Some(until) = state.cooldown.filter(|until| *until > now) {
        return refuse(Reason::Cooldown, Some(until));
    }
    if state.max_count.is_some_and(|max| state.used >= max) {
        return refuse(Reason::MaxCount, state.ends);
    }
    let amount = gap(state, low, money)?;
    if amount.is_zero() {
        return Ok(Decision::Nothing);
    }
    if state.funding_max.is_some_and(|max| amount > max) {
        return refuse(Reason::FundingMax, None);
    }
    let sum = state.money.plus(amount).map_err(range)?;
    if state.max_amount.is_some_and(|max| sum > max) {
        // A later period does not help if one top-up exceeds the cap.
        let helps = state.max_amount.is_some_and(|max| amount <= max);
        return refuse(Reason::MaxAmount, state.ends.filter(|_| helps));
    }
    Ok(Decision::Request(amount))
}

/// The amount of one payment that closes the whole gap that open top-ups leave, including the debt
/// that is paid first. It reaches the target, or is the multiple of the rule's amount that reaches
/// the threshold.
fn gap(state: &State, low: bool, money: Money) -> Result<Amount> {
    let below = |level: Amount| -> Result<i128> {
        let missing = level
            .minus(money.available)
            .and_then(|m| m.minus(money.pending))
            .and_then(|m| m.plus(state.debt));
        Ok(missing.map_err(range)?.units().max(0))
    };
    let units = match (state.target, state.amount) {
        (Some(target), _) => {
            let unit =
                10_i128.pow(AMOUNT_SCALE - Currency::of_row(&state.currency)?.minor_digits());
            below(target)?.div_ceil_to(unit)
        }
        (None, Some(amount)) => match state.threshold.filter(|_| low) {
            Some(threshold) => below(threshold)?.max(1).div_ceil_to(amount.units()),
            None => amount.units(),
        },
        (None, None) => 0,
    };
    Amount::from_units(units).map_err(range)
}

trait CeilTo {
    /// The next multiple of a step, at or above the value.
    fn div_ceil_to(self, step: i128) -> i128;
}

impl CeilTo for i128 {
    fn div_ceil_to(self, step: i128) -> i128 {
        (self + step - 1) / step * step
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn amount(value: i128) -> Amount {
        Amount::from_units(value * 10_i128.pow(AMOUNT_SCALE)).unwrap()
    }

    fn state() -> State {
        State {
            name: "default".to_owned(),
            method: "card".to_owned(),
            refused: None,
            next_at: None,
            threshold: Some(amount(20)),
            amount: Some(amount(100)),
            target: None,
            currency: "USD".to_owned(),
            active: true,
            debt: Amount::ZERO,
            funding_max: None,
            max_count: None,
            max_amount: None,
            due: false,
            open: false,
            stopped: false,
            back_off: None,
            cooldown: None,
            used: 0,
            money: Amount::ZERO,
            ends: None,
        }
    }

    const NOW: Timestamp = Timestamp(1_000);

    fn only(available: Amount) -> Money {
        Money {
            available,
            pending: Amount::ZERO,
        }
    }

    fn decided(state: &State, available: i128) -> Decision {
        decide(state, true, only(amount(available)), NOW).unwrap()
    }

    #[test]
    fn a_topup_is_requested_when_low_or_due_and_not_otherwise() {
        assert_eq!(decided(&state(), 19), Decision::Request(amount(100)));
        let high = decide(&state(), false, only(amount(50)), NOW).unwrap();
        assert_eq!(high, Decision::Nothing);
        let due = State {
            due: true,
            ..state()
        };
        let due = decide(&due, false, only(amount(50)), NOW).unwrap();
        assert_eq!(due, Decision::Request(amount(100)));
    }

    /// All obstacles are there at first. Each is removed once it was named, so the next must
    /// follow.
    #[test]
    fn obstacles_are_named_in_this_order() {
        let (past, later) = (Some(Timestamp(1_000)), Some(Timestamp(1_001)));
        let mut state = State {
            open: true,
            active: false,
            stopped: true,
            back_off: later,
            cooldown: later,
            max_count: Some(2),
            used: 2,
            funding_max: Some(amount(99)),
            max_amount: Some(amount(150)),
            money: amount(51),
            ends: later,
            ..state()
        };
        let refused = |state: &State| match decided(state, 0) {
            Decision::Refuse(reason, until) => (reason, until),
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(&state), (Reason::Open, None));
        state.open = false;
        assert_eq!(refused(&state), (Reason::NotActive, None));
        state.active = true;
        assert_eq!(refused(&state), (Reason::Stopped, None));
        state.stopped = false;
        assert_eq!(refused(&state), (Reason::BackOff, later));
        state.back_off = past;
        assert_eq!(refused(&state), (Reason::Cooldown, later));
        state.cooldown = past;
        assert_eq!(refused(&state), (Reason::MaxCount, later));
        state.used = 1;
        assert_eq!(refused(&state), (Reason::FundingMax, None));
        state.funding_max = None;
        assert_eq!(refused(&state), (Reason::MaxAmount, later));
        state.max_amount = Some(amount(99));
        assert_eq!(
            refused(&state),
            (Reason::MaxAmount, None),
            "no period helps"
        );
        state.max_amount = Some(amount(151));
        assert_eq!(decided(&state, 0), Decision::Request(amount(100)));
    }

    proptest! {
        /// One payment closes the gap, debt included, and is no larger than necessary.
        #[test]
        fn one_payment_closes_the_gap(
            available in -1_000_000_i128..20_000_000, debt in 0_i128..1_000_000, step in 1_i128..5_000_000,
            target in prop::option::of(20_000_000_i128..900_000_000),
        ) {
            let cents = |units: i128| Amount::from_units(units * 1_000).unwrap();
            let mut state = state();
            state.amount = Some(cents(step));
            state.threshold = Some(cents(20_000_000));
            state.target = target.map(cents);
            state.debt = cents(debt);
            let paid = gap(&state, true, only(cents(available))).unwrap();
            let after = cents(available).plus(paid).unwrap().minus(cents(debt)).unwrap();
            let level = state.target.or(state.threshold).unwrap();
            prop_assert!(after >= level);
            let unit = match target {
                Some(_) => Amount::from_units(10_i128.pow(AMOUNT_SCALE - 2)).unwrap(),
                None => cents(step),
            };
            prop_assert!(after.minus(unit).unwrap() < level);
            prop_assert_eq!(paid.units() % unit.units(), 0);
        }
    }

    #[test]
    fn targets_are_rounded_up_to_what_can_be_paid() {
        let mut state = state();
        state.target = Some(amount(100));
        let available = Amount::from_units(amount(19).units() + 1).unwrap();
        state.currency = "JPY".to_owned();
        assert_eq!(gap(&state, true, only(available)).unwrap(), amount(81));
        state.currency = "USD".to_owned();
        assert_eq!(gap(&state, true, only(available)).unwrap(), amount(81));
        state.currency = "KWD".to_owned();
        assert_eq!(gap(&state, true, only(amount(99))).unwrap(), amount(1));
    }
}
