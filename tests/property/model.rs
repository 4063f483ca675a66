//! A model of a wallet in plain numbers (cents), one call after the other.

use std::collections::BTreeMap;

/// The state of a wallet that one connection uses.
#[derive(Clone, Debug)]
pub struct Model {
    pub balance: i64,
    pub credit: i64,
    pub frozen: bool,
    thresholds: Vec<Threshold>,
    pub max: Option<i64>,
    pub used: BTreeMap<usize, i64>,
    /// Key: amount, user, and the balance after it.
    charges: BTreeMap<u8, (i64, usize, i64)>,
    fundings: BTreeMap<u8, (i64, i64)>,
    pub events: Vec<(String, i64)>,
    pub entries: i64,
}

#[derive(Clone, Debug)]
struct Threshold {
    at: i64,
    depletion: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    New,
    Armed,
    Fired,
}

/// Whether it was replayed and the balance that the call returns, or the SQLSTATE.
pub type Answer = Result<(bool, i64), &'static str>;

impl Model {
    pub fn new(credit: i64, low: &[i64]) -> Model {
        let mut thresholds: Vec<Threshold> = low
            .iter()
            .map(|at| Threshold {
                at: *at,
                depletion: false,
                state: State::New,
            })
            .collect();
        thresholds.push(Threshold {
            at: -credit,
            depletion: true,
            state: State::New,
        });
        let mut model = Model {
            balance: 0,
            credit,
            frozen: false,
            thresholds,
            max: None,
            used: BTreeMap::new(),
            charges: BTreeMap::new(),
            fundings: BTreeMap::new(),
            events: Vec::new(),
            entries: 0,
        };
        // Credit is available from the start: the thresholds that it reaches are armed.
        model.look();
        model
    }

    /// Adds the events of the current balance. When it rises, the lowest threshold comes first.
    /// When it falls, the highest does.
    fn look(&mut self) {
        let balance = self.balance;
        let above = |t: &Threshold| {
            if t.depletion {
                balance > t.at
            } else {
                balance >= t.at
            }
        };
        self.thresholds.sort_by_key(|t| (t.at, !t.depletion));
        for t in &mut self.thresholds {
            if above(t) && t.state != State::Armed {
                if t.state == State::Fired && !t.depletion {
                    self.events
                        .push(("wallet_balance_recovered".to_owned(), t.at));
                }
                t.state = State::Armed;
            }
        }
        for t in self.thresholds.iter_mut().rev() {
            if !above(t) && t.state == State::Armed {
                let event = if t.depletion {
                    ("wallet_depleted", 0)
                } else {
                    ("wallet_balance_low", t.at)
                };
                self.events.push((event.0.to_owned(), event.1));
                t.state = State::Fired;
            }
        }
    }

    pub fn fund(&mut self, amount: i64, key: Option<u8>) -> Answer {
        if let Some((first, balance)) = key.and_then(|key| self.fundings.get(&key)) {
            return if *first == amount {
                Ok((true, *balance))
            } else {
                Err("WL006")
            };
        }
        self.balance += amount;
        self.entries += 1;
        self.look();
        if let Some(key) = key {
            self.fundings.insert(key, (amount, self.balance));
        }
        Ok((false, self.balance))
    }

    pub fn charge(&mut self, amount: i64, user: usize, key: Option<u8>) -> Answer {
        if let Some((first, by, balance)) = key.and_then(|key| self.charges.get(&key)) {
            return if (*first, *by) == (amount, user) {
                Ok((true, *balance))
            } else {
                Err("WL006")
            };
        }
        if self.frozen {
            return Err("WL004");
        }
        if amount > self.balance + self.credit {
            return Err("WL001");
        }
        let used = self.used.get(&user).copied().unwrap_or(0);
        // A limit below its usage still allows an amount of zero.
        if self.max.is_some_and(|max| used + amount > max.max(used)) {
            return Err("WL002");
        }
        self.balance -= amount;
        self.entries += 1;
        self.used.insert(user, used + amount);
        self.look();
        if let Some(key) = key {
            self.charges.insert(key, (amount, user, self.balance));
        }
        Ok((false, self.balance))
    }
}
