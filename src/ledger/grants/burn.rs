//! The burn order: the order in which lots of credit are used up. Pure.
//!
//! The charge itself is divided among the lots that only some charges may use: see [`split`].
//!
//! The order is fixed between two grant events. The spending since the last event can therefore be
//! allocated to the lots at once, with the same result as burning charge by charge. A lot that
//! comes last in the order can even be added without allocating first. Earlier spending would have
//! reached it only after all other lots were empty. That part was paid on credit, which the new lot
//! repays.

use crate::money::Amount;

/// The place of a lot in burn order; the least is burnt first. Sorts by priority, expiry (none is
/// last), promotional before paid, and age. The id makes every place unique.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Low priorities come first.
    pub priority: i32,
    /// Expiry in microseconds; the greatest value if the lot does not expire.
    pub expires_at: i64,
    /// False, for promotional credit, comes before true.
    pub paid: bool,
    /// Time of the grant, in microseconds.
    pub created_at: i64,
    /// Id of the lot, which decides between lots that are equal otherwise.
    pub id: [u8; 16],
}

/// A lot of credit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lot {
    /// The lot's place in burn order.
    pub rank: Rank,
    /// The rest of the lot.
    pub remaining: Amount,
}

pub use crate::storage::rows::Burn;

/// Burns an amount in burn order. The part that the lots do not cover is on credit.
pub fn burn(lots: &mut [Lot], amount: Amount) -> Vec<Burn> {
    lots.sort_by(|a, b| a.rank.cmp(&b.rank));
    let mut left = amount.units();
    let mut burns = Vec::new();
    for lot in lots {
        let taken = lot.remaining.units().min(left);
        if taken <= 0 {
            continue;
        }
        left -= taken;
        burns.push(Burn {
            id: lot.rank.id,
            amount: amount_of(taken),
        });
        lot.remaining = amount_of(lot.remaining.units() - taken);
    }
    burns
}

/// Burns until the total of the lots equals the balance, or zero if the balance is negative.
pub fn settle(lots: &mut [Lot], balance: Amount) -> Vec<Burn> {
    let spent = total(lots) - balance.units().max(0);
    burn(lots, amount_of(spent.max(0)))
}

/// The parts of a charge that lots with a scope pay; the balance pays the rest. All lots that the
/// charge may use burn in order: its `own` lots with a scope and the `general` lots of the balance.
/// But the balance pays at most `room`, including the credit limit. The amount that holds reserve
/// is not touched, whatever the order.
pub fn split(general: &[Lot], own: &mut [Lot], amount: Amount, room: Amount) -> Vec<Burn> {
    let mut all: Vec<Lot> = general.iter().chain(own.iter()).cloned().collect();
    let mut parts = burn(&mut all, amount);
    parts.retain(|part| own.iter().any(|lot| lot.rank.id == part.id));
    for lot in own.iter_mut() {
        if let Some(after) = all.iter().find(|after| after.rank == lot.rank) {
            lot.remaining = after.remaining;
        }
    }
    let taken: i128 = parts.iter().map(|part| part.amount.units()).sum();
    let excess = amount.units() - taken - room.units().max(0);
    for more in burn(own, amount_of(excess.max(0))) {
        match parts.iter_mut().find(|part| part.id == more.id) {
            Some(part) => part.amount = amount_of(part.amount.units() + more.amount.units()),
            None => parts.push(more),
        }
    }
    parts
}

/// The total of the lots, in units.
pub fn total(lots: &[Lot]) -> i128 {
    lots.iter().map(|lot| lot.remaining.units()).sum()
}

/// The amount of `units`, which are between zero and an amount.
fn amount_of(units: i128) -> Amount {
    Amount::from_units(units).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Charge(i128),
        /// Amount, priority, expiry, paid.
        Grant(i128, i32, i64, bool),
        /// The lots with that expiry end.
        Expire(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let expiry = prop::sample::select(vec![1_i64, 2, 3, i64::MAX]);
        prop_oneof![
            5 => (0_i128..50).prop_map(Step::Charge),
            3 => (1_i128..80, 99_i32..102, expiry, any::<bool>())
                .prop_map(|(amount, priority, end, paid)| Step::Grant(amount, priority, end, paid)),
            1 => (1_i64..4).prop_map(Step::Expire),
        ]
    }

    fn lot(number: usize, amount: i128, priority: i32, expires_at: i64, paid: bool) -> Lot {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(number as u64).to_be_bytes());
        Lot {
            rank: Rank {
                priority,
                expires_at,
                paid,
                created_at: number as i64,
                id,
            },
            remaining: amount_of(amount),
        }
    }

    /// Burns charge by charge. `balance` may fall below zero, on credit.
    fn eager(steps: &[Step]) -> (Vec<Lot>, i128) {
        let (mut lots, mut balance) = (Vec::new(), 0_i128);
        for (number, step) in steps.iter().enumerate() {
            match *step {
                Step::Charge(amount) => {
                    balance -= amount;
                    burn(&mut lots, amount_of(amount));
                }
                Step::Grant(amount, priority, expires_at, paid) => {
                    // A grant first repays the credit that was used.
                    let left = amount - (-balance).clamp(0, amount);
                    balance += amount;
                    lots.push(lot(number, left, priority, expires_at, paid));
                }
                Step::Expire(end) => {
                    for lot in lots.iter_mut().filter(|lot| lot.rank.expires_at == end) {
                        balance -= lot.remaining.units();
                        lot.remaining = Amount::ZERO;
                    }
                }
            }
        }
        lots.sort_by(|a, b| a.rank.cmp(&b.rank));
        (lots, balance)
    }

    /// Works as the extension does. Charges change only the balance, and so does a plain lot that
    /// comes last. At every other event the lots are settled first.
    fn lazy(steps: &[Step]) -> (Vec<Lot>, i128) {
        let (mut lots, mut balance): (Vec<Lot>, i128) = (Vec::new(), 0);
        let signed = |units: i128| Amount::from_units(units).unwrap();
        for (number, step) in steps.iter().enumerate() {
            match *step {
                Step::Charge(amount) => balance -= amount,
                Step::Grant(amount, priority, expires_at, paid) => {
                    let mut new = lot(number, amount, priority, expires_at, paid);
                    if lots.iter().any(|old| old.rank > new.rank) {
                        settle(&mut lots, signed(balance));
                        let left = (balance + amount).max(0) - balance.max(0);
                        new.remaining = signed(left);
                    }
                    balance += amount;
                    lots.push(new);
                }
                Step::Expire(end) => {
                    settle(&mut lots, signed(balance));
                    for lot in lots.iter_mut().filter(|lot| lot.rank.expires_at == end) {
                        balance -= lot.remaining.units();
                        lot.remaining = Amount::ZERO;
                    }
                }
            }
        }
        settle(&mut lots, signed(balance));
        lots.sort_by(|a, b| a.rank.cmp(&b.rank));
        (lots, balance)
    }

    proptest! {
        #[test]
        fn spreading_late_equals_burning_charge_by_charge(
            steps in prop::collection::vec(step(), 0..60),
        ) {
            prop_assert_eq!(lazy(&steps), eager(&steps));
        }

        #[test]
        fn lots_and_balance_agree(steps in prop::collection::vec(step(), 0..60)) {
            let (lots, balance) = eager(&steps);
            prop_assert_eq!(total(&lots), balance.max(0));
        }
    }

    proptest! {
        /// A charge that may use lots with a scope, unit by unit. The first lot with a unit left
        /// pays it, but the balance pays at most its room.
        #[test]
        fn a_charge_is_divided_as_unit_by_unit(
            lots in prop::collection::vec((0_i128..20, 99_i32..102, any::<bool>()), 0..6),
            amount in 0_i128..80, credit in 0_i128..10, held in 0_i128..20,
        ) {
            let made: Vec<(Lot, bool)> = lots
                .iter()
                .enumerate()
                .map(|(n, (amount, priority, own))| (lot(n, *amount, *priority, 1, true), *own))
                .collect();
            let of = |wanted: bool| -> Vec<Lot> {
                let lots = made.iter().filter(|(_, own)| *own == wanted);
                lots.map(|(lot, _)| lot.clone()).collect()
            };
            let (general, mut own) = (of(false), of(true));
            let room = (total(&general) + credit - held).max(0);
            let amount = amount.min(room + total(&own));
            let before = own.clone();
            let parts = split(&general, &mut own, amount_of(amount), amount_of(room));

            let mut eager = made.clone();
            eager.sort_by(|(a, _), (b, _)| a.rank.cmp(&b.rank));
            let (mut from_general, mut taken) = (0, 0);
            for _ in 0..amount {
                match eager.iter_mut().find(|(lot, _)| lot.remaining.units() > 0) {
                    Some((lot, is_own)) => {
                        lot.remaining = amount_of(lot.remaining.units() - 1);
                        if *is_own { taken += 1 } else { from_general += 1 }
                    }
                    None => from_general += 1,
                }
            }
            let sum: i128 = parts.iter().map(|part| part.amount.units()).sum();
            prop_assert_eq!(sum, taken + (from_general - room).max(0));
            // Whatever their order now.
            for lot in &own {
                let was = before.iter().find(|was| was.rank == lot.rank).unwrap();
                let part = parts.iter().filter(|part| part.id == lot.rank.id);
                let part: i128 = part.map(|part| part.amount.units()).sum();
                prop_assert_eq!(lot.remaining.units(), was.remaining.units() - part);
            }
            if from_general <= room {
                for (lot, is_own) in &eager {
                    let found = own.iter().find(|one| *is_own && one.rank == lot.rank);
                    prop_assert!(found.is_none_or(|one| one.remaining == lot.remaining));
                }
            }
        }
    }

    #[test]
    fn lots_burn_by_priority_then_expiry_then_kind_then_age() {
        let mut lots = vec![
            lot(1, 10, 100, i64::MAX, true),
            lot(2, 10, 100, i64::MAX, false),
            lot(3, 10, 100, 5, true),
            lot(4, 10, 50, i64::MAX, true),
            lot(5, 10, 100, 4, true),
        ];
        let burns = burn(&mut lots, amount_of(45));
        let order: Vec<u8> = burns.iter().map(|burn| burn.id[7]).collect();
        assert_eq!(order, [4, 5, 3, 2, 1]);
        assert_eq!(burns[4].amount, amount_of(5));
    }
}
