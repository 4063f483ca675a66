//! Alert thresholds: which events a change of the available amount causes. Pure.

use crate::allowance::topup_rule::Notice;
use crate::money::Amount;

/// The condition that a threshold watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Available falls from at or above the threshold to strictly below it.
    Low,
    /// No amount is left to spend, including the credit limit.
    Depleted,
    /// Like `Low`, for a top-up rule. Crossing it is no event of its own.
    Topup,
    /// Below it, the open top-ups are no longer enough for a rule whose threshold has fired.
    /// Crossing it is no event of its own.
    Covered,
}

impl Kind {
    /// The kind as the table stores it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Low => "low",
            Kind::Depleted => "depleted",
            Kind::Topup => "topup",
            Kind::Covered => "covered",
        }
    }
}

/// Whether a threshold can fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Available has never been at or above the threshold.
    New,
    /// Available is at or above the threshold.
    Armed,
    /// The threshold has fired, and available has not recovered since.
    Fired,
}

impl State {
    /// The state as the table stores it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::New => "new",
            State::Armed => "armed",
            State::Fired => "fired",
        }
    }

    /// The state of a text of the table. `None` if the text is unknown.
    pub fn parse(text: &str) -> Option<State> {
        [State::New, State::Armed, State::Fired]
            .into_iter()
            .find(|s| s.as_str() == text)
    }
}

/// A threshold and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// The condition that the threshold watches.
    pub kind: Kind,
    /// The available amount at which the threshold is set.
    pub at: Amount,
    /// Whether the threshold can fire.
    pub state: State,
}

/// An event that a crossing causes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Crossing {
    /// `wallet_balance_low`
    Low(Amount),
    /// `wallet_balance_recovered`
    Recovered(Amount),
    /// `wallet_depleted`
    Depleted,
    /// An event of an evaluation of the top-up rules.
    Topup(Notice),
}

impl Threshold {
    /// True if `available` is on the upper side of the threshold.
    fn holds(&self, available: Amount) -> bool {
        available.units() >= self.least()
    }

    /// The least available amount on the upper side of the threshold, in units.
    pub fn least(&self) -> i128 {
        match self.kind {
            Kind::Low | Kind::Topup | Kind::Covered => self.at.units(),
            Kind::Depleted => self.at.units() + 1,
        }
    }

    fn arm(&mut self, crossings: &mut Vec<Crossing>) {
        if self.state == State::Fired && self.kind == Kind::Low {
            crossings.push(Crossing::Recovered(self.at));
        }
        self.state = State::Armed;
    }

    fn fire(&mut self, crossings: &mut Vec<Crossing>) {
        match self.kind {
            Kind::Low => crossings.push(Crossing::Low(self.at)),
            Kind::Depleted => crossings.push(Crossing::Depleted),
            Kind::Topup | Kind::Covered => {}
        }
        self.state = State::Fired;
    }
}

/// Moves every threshold for a change of the available amount. Returns the events in the order in
/// which they happened: rising, the lowest threshold comes first; falling, the highest.
///
/// `before` may be higher than the amount that the thresholds last saw, if a funding could not lock
/// all lanes. The thresholds first catch up with `before`.
pub fn cross(thresholds: &mut [Threshold], before: Amount, after: Amount) -> Vec<Crossing> {
    let mut crossings = Vec::new();
    // Depletion is below every low threshold, or at the same amount.
    thresholds.sort_by_key(|t| (t.at, t.kind == Kind::Low));
    for threshold in thresholds.iter_mut() {
        let reached = threshold.holds(before) || threshold.holds(after);
        if threshold.state != State::Armed && reached {
            threshold.arm(&mut crossings);
        }
    }
    for threshold in thresholds.iter_mut().rev() {
        if threshold.state == State::Armed && !threshold.holds(after) {
            threshold.fire(&mut crossings);
        }
    }
    crossings
}

/// True if no threshold waits for money to arm it.
pub fn all_armed(thresholds: &[Threshold]) -> bool {
    thresholds.iter().all(|t| t.state == State::Armed)
}

/// The highest armed threshold. While available is at or above it, no threshold can be crossed.
pub fn highest_armed(thresholds: &[Threshold]) -> Option<Amount> {
    thresholds
        .iter()
        .filter(|t| t.state == State::Armed)
        .map(|t| t.at)
        .max()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn amount(value: i128) -> Amount {
        Amount::from_units(value).unwrap()
    }

    fn all(at: &[i128]) -> Vec<Threshold> {
        let low = at.iter().map(|at| (Kind::Low, *at));
        std::iter::once((Kind::Depleted, 0))
            .chain(low)
            .map(|(kind, at)| Threshold {
                kind,
                at: amount(at),
                state: State::New,
            })
            .collect()
    }

    #[test]
    fn a_new_wallet_is_not_low() {
        let mut thresholds = all(&[50, 20]);
        assert_eq!(cross(&mut thresholds, amount(0), amount(30)), []);
        assert_eq!(
            cross(&mut thresholds, amount(30), amount(10)),
            [Crossing::Low(amount(20))],
            "50 was never reached"
        );
    }

    #[test]
    fn one_charge_may_cross_all() {
        let mut thresholds = all(&[20, 50]);
        cross(&mut thresholds, amount(0), amount(100));
        assert_eq!(
            cross(&mut thresholds, amount(100), amount(0)),
            [
                Crossing::Low(amount(50)),
                Crossing::Low(amount(20)),
                Crossing::Depleted
            ]
        );
        assert_eq!(
            cross(&mut thresholds, amount(0), amount(50)),
            [
                Crossing::Recovered(amount(20)),
                Crossing::Recovered(amount(50))
            ]
        );
    }

    #[test]
    fn exactly_at_the_threshold_is_not_low() {
        let mut thresholds = all(&[50]);
        cross(&mut thresholds, amount(0), amount(60));
        assert_eq!(cross(&mut thresholds, amount(60), amount(50)), []);
        assert_eq!(
            cross(&mut thresholds, amount(50), amount(49)),
            [Crossing::Low(amount(50))]
        );
    }

    #[test]
    fn a_charge_catches_up_with_a_funding_that_could_not_look() {
        let mut thresholds = all(&[50]);
        cross(&mut thresholds, amount(0), amount(60));
        cross(&mut thresholds, amount(60), amount(40));
        assert_eq!(
            cross(&mut thresholds, amount(55), amount(45)),
            [Crossing::Recovered(amount(50)), Crossing::Low(amount(50))]
        );
    }

    proptest! {
        /// A threshold's events alternate: low, recovered, low, …, beginning with low.
        #[test]
        fn the_events_of_a_threshold_alternate(steps in prop::collection::vec(0_i128..100, 1..60)) {
            let mut thresholds = all(&[50, 20]);
            let (mut at, mut events) = (amount(0), Vec::new());
            for step in steps {
                events.extend(cross(&mut thresholds, at, amount(step)));
                at = amount(step);
            }
            for threshold in [50, 20].map(amount) {
                let mut low_next = true;
                for event in &events {
                    match event {
                        Crossing::Low(t) if *t == threshold => {
                            prop_assert!(low_next);
                            low_next = false;
                        }
                        Crossing::Recovered(t) if *t == threshold => {
                            prop_assert!(!low_next);
                            low_next = true;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
}
