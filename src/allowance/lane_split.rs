//! The division of a wallet's spendable amount among its lanes. Pure.

use crate::money::{Amount, NotAnAmount};
use crate::storage::rows::Lane;

/// The lane of scoped grants, which only some charges may use. It counts in the balance only: no
/// charge finds it, no rebalance assigns it a share, and it has no lock. It is written by
/// transactions that hold all other lanes.
pub const SCOPED: i16 = -1;

/// The lanes that pay for charges if a wallet has `lanes` of them: lane 0 alone, or 1..=n. Lane 0
/// is locked as a row and the others by locks of their own, so the two kinds never mix.
pub fn active(lanes: i16) -> std::ops::RangeInclusive<i16> {
    if lanes == 1 { 0..=0 } else { 1..=lanes }
}

/// The amount that all lanes together can still spend.
pub fn total_room(lanes: &[Lane]) -> Result<Amount, NotAnAmount> {
    lanes
        .iter()
        .try_fold(Amount::ZERO, |sum, lane| sum.plus(lane.room()))
}

/// Assigns each active lane an equal share of `room` and of `watermark`, and zero to the others.
/// The spent and held amounts of a lane stay in the lane.
pub fn rebalance(
    lanes: &mut [Lane],
    count: i16,
    room: Amount,
    watermark: Amount,
) -> Result<(), NotAnAmount> {
    let active = active(count);
    let n = active.clone().count();
    let (rooms, watermarks) = (room.shares(n), watermark.shares(n));
    for lane in lanes {
        let share = usize::try_from(lane.lane - active.start())
            .ok()
            .filter(|i| *i < n);
        let (room, watermark) = match share {
            Some(share) => (rooms[share], watermarks[share]),
            None => (Amount::ZERO, Amount::ZERO),
        };
        lane.allotted = lane.spent.plus(lane.held)?.plus(room)?;
        lane.watermark = watermark;
    }
    Ok(())
}

/// True if a lane can pay without the other lanes: its remainder is not below its watermark, and
/// the charge does not take its last unit, which might be the wallet's last.
pub fn can_pay(lane: &Lane, amount: Amount) -> bool {
    let left = lane.room().units() - amount.units();
    left >= lane.watermark.units() && (left > 0 || amount.is_zero())
}

/// The amount that a lane could pass on without going below its watermark, keeping one unit.
pub fn slack(lane: &Lane) -> Amount {
    let units = lane.room().units() - lane.watermark.units() - 1;
    Amount::from_units(units.max(0)).unwrap_or_default()
}

/// A new version of the rules. It is random, so that rules that a backend read in a transaction
/// that was rolled back are never taken for later ones.
pub fn new_epoch() -> i64 {
    let (high, low) = uuid::Uuid::now_v7().as_u64_pair();
    ((high ^ low) >> 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn amount(units: i128) -> Amount {
        Amount::from_units(units).unwrap()
    }

    fn lane(number: i16, spent: i128, held: i128, room: i128) -> Lane {
        Lane {
            lane: number,
            version: 0,
            epoch: 0,
            seq: 0,
            allotted: amount(spent + held + room),
            spent: amount(spent),
            held: amount(held),
            watermark: Amount::ZERO,
            booked: Amount::ZERO,
            hash: None,
            recheck_done: 0,
            evaluate_at: None,
            waits: 0,
            armed: false,
            place: None,
        }
    }

    proptest! {
        #[test]
        fn recutting_keeps_the_total(
            rows in prop::collection::vec((0_i128..1000, 0_i128..1000, 0_i128..1000), 17),
            count in 1_i16..=16,
            watermark in 0_i128..17_000,
        ) {
            let mut lanes: Vec<Lane> = (0..).zip(&rows)
                .map(|(n, (spent, held, room))| lane(n, *spent, *held, *room)).collect();
            let total = total_room(&lanes).unwrap();
            let watermark = amount(watermark.min(total.units()));
            rebalance(&mut lanes, count, total, watermark).unwrap();
            prop_assert_eq!(total_room(&lanes).unwrap(), total);
            let sum: i128 = lanes.iter().map(|l| l.watermark.units()).sum();
            prop_assert_eq!(sum, watermark.units());
            for (lane, (spent, held, _)) in lanes.iter().zip(&rows) {
                prop_assert_eq!((lane.spent, lane.held), (amount(*spent), amount(*held)));
                prop_assert!(lane.room() >= lane.watermark, "below its watermark from the start");
                if !active(count).contains(&lane.lane) {
                    prop_assert!(lane.room().is_zero());
                }
            }
        }

        /// The core of the fast path: whatever lanes pay alone, the total stays at or above the sum
        /// of the watermarks, and is never used up undetected.
        #[test]
        fn lanes_that_pay_alone_cross_nothing(
            charges in prop::collection::vec((1_i16..=4, 0_i128..60), 0..80),
            room in 1_i128..400, watermark in 0_i128..400,
        ) {
            let mut lanes: Vec<Lane> = (0..=4).map(|n| lane(n, 0, 0, 0)).collect();
            let watermark = watermark.min(room);
            rebalance(&mut lanes, 4, amount(room), amount(watermark)).unwrap();
            for (number, charge) in charges {
                let lane = &mut lanes[number as usize];
                if can_pay(lane, amount(charge)) {
                    lane.spent = lane.spent.plus(amount(charge)).unwrap();
                }
            }
            let left = total_room(&lanes).unwrap();
            prop_assert!(left.units() >= watermark);
            prop_assert!(left.units() > 0);
        }
    }

    #[test]
    fn one_lane_is_lane_zero_and_several_start_at_one() {
        assert_eq!(active(1), 0..=0);
        assert_eq!(active(4), 1..=4);
    }

    #[test]
    fn slack_leaves_the_watermark_and_a_unit() {
        let mut lane = lane(1, 5, 0, 10);
        lane.watermark = amount(4);
        assert_eq!(slack(&lane), amount(5));
        assert!(can_pay(&lane, amount(6)));
        assert!(!can_pay(&lane, amount(7)));
        lane.watermark = amount(0);
        assert!(can_pay(&lane, amount(9)));
        assert!(
            !can_pay(&lane, amount(10)),
            "the last unit is for the slow path to see"
        );
    }
}
