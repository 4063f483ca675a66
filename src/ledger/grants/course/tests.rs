//! Compares the course with money that is followed unit by unit.

use proptest::prelude::*;

use super::*;

fn units(amount: i128) -> Amount {
    Amount::from_units(amount).unwrap()
}

fn id(number: usize) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&(number as u64).to_be_bytes());
    id
}

fn lot(number: usize, amount: i128, priority: i32, end: Option<i64>) -> Active {
    Active::plain(
        Lot {
            rank: Rank {
                priority,
                expires_at: end.unwrap_or(i64::MAX),
                paid: true,
                created_at: number as i64,
                id: id(number),
            },
            remaining: units(amount),
        },
        end.map(Timestamp),
    )
}

fn hold(made: i64, ends: Option<i64>, amount: i128) -> Holding {
    Holding::new(
        Timestamp(made),
        ends.map(Timestamp),
        units(amount),
        Vec::new(),
    )
}

fn course(lots: Vec<Active>, holds: Vec<Holding>) -> Course {
    let general = lots.iter().map(|one| one.lot.remaining.units()).sum();
    Course::new(lots, Vec::new(), units(general), holds, Timestamp(i64::MIN))
}

fn expired(course: &Course) -> Vec<(usize, i64, i128)> {
    let effects = course.effects.iter().filter_map(|effect| match effect {
        Effect::Expired { id, at, amount, .. } => {
            let mut number = [0; 8];
            number.copy_from_slice(&id[..8]);
            Some((u64::from_be_bytes(number) as usize, at.0, amount.units()))
        }
        Effect::Granted { .. } => None,
    });
    effects.collect()
}

#[test]
fn a_hold_keeps_what_falls_on_the_lot_in_burn_order() {
    // Six units are reserved. Ten units end and five stay; the ten come first.
    let mut course = course(
        vec![lot(1, 10, 100, Some(10)), lot(2, 5, 100, None)],
        vec![hold(1, None, 6)],
    );
    course.run(Timestamp(10), &[]).unwrap();
    assert_eq!(expired(&course), [(1, 10, 4)]);
    assert_eq!(
        (course.general, course.held, course.kept_units()),
        (11, 6, 6)
    );
}

#[test]
fn what_is_kept_ends_when_the_hold_does() {
    let mut course = course(vec![lot(1, 10, 100, Some(10))], vec![hold(1, Some(15), 6)]);
    course.run(Timestamp(20), &[]).unwrap();
    assert_eq!(expired(&course), [(1, 10, 4), (1, 15, 6)]);
    assert_eq!((course.general, course.held), (0, 0));
}

#[test]
fn a_hold_that_ends_with_the_lot_keeps_nothing() {
    let mut course = course(vec![lot(1, 10, 100, Some(10))], vec![hold(1, Some(10), 6)]);
    course.run(Timestamp(20), &[]).unwrap();
    assert_eq!(expired(&course), [(1, 10, 10)]);
}

#[test]
fn younger_holds_keep_nothing() {
    let mut course = course(
        vec![lot(1, 10, 100, Some(10)), lot(2, 5, 100, None)],
        vec![hold(1, Some(30), 6)],
    );
    course.run(Timestamp(20), &[]).unwrap();
    // A hold made after the end reserves units that stay.
    course.holds.push(hold(20, None, 5));
    course.held += 5;
    course.run(Timestamp(30), &[]).unwrap();
    assert_eq!(expired(&course), [(1, 10, 4), (1, 30, 6)]);
    assert_eq!((course.general, course.held), (5, 5));
}

#[test]
fn a_hold_that_is_there_when_an_end_is_noticed_keeps_too() {
    // The hold was made after the end, before any call noticed the end. Its amount is available.
    let mut course = course(vec![lot(1, 10, 100, Some(10))], vec![hold(12, None, 6)]);
    course.run(Timestamp(20), &[]).unwrap();
    assert_eq!(expired(&course), [(1, 10, 4)]);
    assert_eq!((course.general, course.kept_units()), (6, 6));
}

#[test]
fn what_comes_back_to_a_lot_that_has_ended_ends_at_once() {
    // The lot ended long ago, or at this very moment.
    for end in [10, 30] {
        let lots = vec![lot(1, 10, 100, Some(end)), lot(2, 6, 100, None)];
        let holds = vec![hold(5, None, 6)];
        let mut course = Course::new(lots, Vec::new(), units(16), holds, Timestamp(30));
        course.run(Timestamp(30), &[]).unwrap();
        assert_eq!(expired(&course), [(1, 30, 10)]);
        assert_eq!((course.general, course.kept_units()), (6, 0));
    }
}

#[test]
fn kept_credit_pays_older_holds_in_burn_order() {
    let kept = |number: usize, end: i64, amount: i128| Kept {
        rank: lot(number, amount, 100, Some(end)).lot.rank,
        ended_at: Timestamp(end),
        amount: units(amount),
    };
    let mut all = vec![kept(1, 30, 5), kept(2, 10, 3), kept(3, 20, 4)];
    let parts = take_kept(&mut all, Timestamp(15), units(6)).unwrap();
    let parts: Vec<_> = parts
        .iter()
        .map(|part| (part.id, part.amount.units()))
        .collect();
    assert_eq!(
        parts,
        [(id(3), 4), (id(1), 2)],
        "what ended at 10 is older than the hold"
    );
}

/// A unit of money in a lot.
#[derive(Clone, Copy)]
struct Unit {
    lot: usize,
    end: i64,
    gone: bool,
}

proptest! {
    /// Follows every unit. At each moment, the units that holds need are marked in burn order.
    /// Units that have ended come first if the hold is older. Every other unit that has ended is
    /// gone.
    #[test]
    fn no_unit_outlives_its_end_but_for_an_older_hold(
        lots in prop::collection::vec((1_i128..12, 99_i32..102, prop::option::of(5_i64..40)), 1..5),
        holds in prop::collection::vec((1_i128..8, prop::option::of(1_i64..50)), 0..4),
    ) {
        let made: Vec<Active> = lots.iter().enumerate()
            .map(|(n, (amount, priority, end))| lot(n, *amount, *priority, *end)).collect();
        let total: i128 = lots.iter().map(|(amount, ..)| amount).sum();
        let mut room = total;
        let holds: Vec<Holding> = holds.iter().filter_map(|(amount, ends)| {
            room -= amount;
            (room >= 0).then(|| hold(0, *ends, *amount))
        }).collect();
        let mut order: Vec<&Active> = made.iter().collect();
        order.sort_by(|a, b| a.lot.rank.cmp(&b.lot.rank));
        let mut money: Vec<Unit> = order.iter().flat_map(|one| {
            let (lot, end) = (one.lot.rank.created_at as usize, one.lot.rank.expires_at);
            (0..one.lot.remaining.units()).map(move |_| Unit { lot, end, gone: false })
        }).collect();
        let mut gone: Vec<(usize, i64, i128)> = Vec::new();
        for now in 0..=50_i64 {
            let held: i128 = holds.iter()
                .filter(|hold| hold.ends.is_none_or(|end| end.0 > now))
                .map(|hold| hold.general).sum();
            // Units that have already ended come first: all holds are older.
            let mut need = held;
            for pass in [true, false] {
                for unit in money.iter_mut().filter(|unit| !unit.gone && (unit.end < now) == pass) {
                    if need > 0 { need -= 1; continue; }
                    if unit.end <= now {
                        unit.gone = true;
                        match gone.iter_mut().find(|(lot, at, _)| (*lot, *at) == (unit.lot, now)) {
                            Some((.., amount)) => *amount += 1,
                            None => gone.push((unit.lot, now, 1)),
                        }
                    }
                }
            }
        }
        let mut course = course(made, holds);
        course.run(Timestamp(50), &[]).unwrap();
        // Which of several ended lots releases units first depends only on the order of the units.
        let sums = |rows: &[(usize, i64, i128)]| {
            let mut sums = std::collections::BTreeMap::new();
            for (_, at, amount) in rows { *sums.entry(*at).or_insert(0) += amount; }
            sums
        };
        prop_assert_eq!(sums(&expired(&course)), sums(&gone));
        let left = money.iter().filter(|unit| !unit.gone).count() as i128;
        prop_assert_eq!(course.general, left);
        prop_assert!(course.kept_units() <= course.held);
    }
}
