//! Compares the projection with a model that spends money hour by hour.

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::reporting::forecast::calendar::Length;
use crate::reporting::forecast::funds::Stream;

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;
/// A Monday, at midnight.
const MONDAY: i64 = 1_767_571_200_000_000;

fn calendar(now: i64) -> Calendar {
    Calendar::at(TimeZone::UTC, now).unwrap()
}

fn pot(number: u8, left: i128, ends: Option<i64>, scope: Option<usize>) -> Pot {
    Pot {
        rank: Rank {
            priority: PLAIN_PRIORITY,
            expires_at: ends.unwrap_or(i64::MAX),
            paid: true,
            created_at: i64::from(number),
            id: [number; 16],
        },
        left,
        kept: 0,
        ends,
        recurring: None,
        scope,
    }
}

fn funds(pots: Vec<Pot>) -> Funds {
    Funds {
        pots,
        owed: 0,
        held: 0,
        recurring: Vec::new(),
    }
}

fn steady(units: i128) -> Spending {
    Spending {
        streams: vec![Stream {
            share: 1.0,
            fits: vec![true, false],
        }],
        days: vec![vec![units]; 7],
    }
}

/// How long the money lasts, in hours from now.
fn lasts(spending: &Spending, funds: Funds, now: i64) -> Option<i64> {
    let calendar = calendar(now);
    let until = now + 40_000 * DAY;
    let outcome = project(&calendar, spending, funds, now, until, now, false);
    outcome.runs_out_at.map(|at| (at - now) / HOUR)
}

const ONE: i128 = 1_000_000_000_000;

#[test]
fn credit_that_ends_is_spent_until_then() {
    let now = MONDAY + 7 * HOUR;
    let one = steady(ONE);
    let hundred = |ends| funds(vec![pot(1, 100 * ONE, ends, None)]);
    assert_eq!(lasts(&one, hundred(None), now), Some(100 * 24));
    assert_eq!(lasts(&one, hundred(Some(now + 3 * DAY)), now), Some(3 * 24));
    // The lot has ended, and its end is not booked yet. Holds reserve a part of it, which counts as
    // spent.
    assert_eq!(lasts(&one, hundred(Some(now - 1)), now), Some(0));
    let both = |held| Funds {
        held,
        ..funds(vec![
            pot(1, 10 * ONE, Some(now - 1), None),
            pot(2, 10 * ONE, None, None),
        ])
    };
    assert_eq!(lasts(&one, both(0), now), Some(240));
    assert_eq!(lasts(&one, both(4 * ONE), now), Some(6 * 24));
    assert_eq!(lasts(&one, both(13 * ONE), now), Some(0));
    // The lot that burns first is used before the lot that ends first.
    let mut last = pot(1, 5 * ONE, Some(now + 3 * DAY), None);
    last.rank.priority = 200;
    assert_eq!(
        lasts(&one, funds(vec![last, pot(2, 2 * ONE, None, None)]), now),
        Some(3 * 24)
    );
}

#[test]
fn credit_for_other_use_is_not_spent() {
    let pots = |scope| funds(vec![pot(1, ONE, None, None), pot(2, 90 * ONE, None, scope)]);
    assert_eq!(lasts(&steady(ONE), pots(Some(1)), MONDAY), Some(24));
    assert_eq!(lasts(&steady(ONE), pots(Some(0)), MONDAY), Some(91 * 24));
    // Half of the use may spend the lot with a scope. The other half has the lot for every use. It
    // gets only a part of that lot, because the lot comes first in burn order for all.
    let mut half = steady(ONE);
    half.streams = [true, false]
        .map(|fits| Stream {
            share: 0.5,
            fits: vec![fits],
        })
        .to_vec();
    half.days = vec![vec![ONE / 2; 2]; 7];
    assert_eq!(lasts(&half, pots(Some(0)), MONDAY), Some(24));
    let mut first = pots(Some(0));
    first.pots[1].rank.priority = 1;
    assert_eq!(lasts(&half, first, MONDAY), Some(48));
    // A stream of less than a hundredth does not count.
    half.streams[0].share = 0.995;
    half.streams[1].share = 0.005;
    half.days = vec![vec![ONE, ONE / 200]; 7];
    let hours = lasts(&half, pots(Some(0)), MONDAY).unwrap();
    assert!((90 * 24..=91 * 24).contains(&hours), "{hours}");
}

#[test]
fn grants_that_come_again_are_waited_for() {
    let again = |amount, rollover_max, days| Recurring {
        number: 0,
        amount,
        period: Length {
            months: 0,
            days: 7,
            micros: 0,
        },
        life: Some(Length {
            months: 0,
            days,
            micros: 0,
        }),
        rollover_max,
        started_at: MONDAY - 7 * DAY,
        turn: 0,
        next_at: MONDAY,
        scope: None,
    };
    let with = |recurring, left| Funds {
        recurring: vec![recurring],
        ..funds(vec![pot(1, left, None, None)])
    };
    let now = MONDAY - 2 * DAY;
    // Money for two days, then for seven days of each week. If each week brings too little, the
    // money runs out in the end.
    assert_eq!(
        lasts(&steady(ONE), with(again(7 * ONE, None, 7), 2 * ONE), now),
        None
    );
    assert_eq!(
        lasts(&steady(ONE), with(again(6 * ONE, None, 7), 2 * ONE), now),
        Some(8 * 24)
    );
    assert_eq!(
        lasts(&steady(ONE), with(again(6 * ONE, None, 7), 4 * ONE), now),
        Some((2 + 14 + 6) * 24)
    );
    // There is no money before the next occurrence.
    assert_eq!(
        lasts(&steady(ONE), with(again(7 * ONE, None, 7), ONE), now),
        Some(24)
    );
    // The first occurrence repays what was spent on credit.
    let owing = Funds {
        owed: 3 * ONE,
        ..with(again(7 * ONE, None, 7), 0)
    };
    assert_eq!(lasts(&steady(ONE), owing, now), Some(0));
    // Ten are granted and seven are spent per week, and at most two are rolled over. That loses
    // nothing that is needed.
    let outcome = |rollover| {
        let weekend = Spending {
            // Spends in every second week only.
            days: (0..35)
                .map(|day| vec![if day / 7 % 2 == 0 { 0 } else { 2 * ONE }])
                .collect(),
            ..steady(ONE)
        };
        let calendar = calendar(MONDAY);
        let until = MONDAY + 28 * DAY;
        project(
            &calendar,
            &weekend,
            with(again(10 * ONE, rollover, 7), 0),
            MONDAY,
            until,
            until,
            false,
        )
        .missing
    };
    assert_eq!(outcome(Some(2 * ONE)), 4 * ONE);
    assert_eq!(outcome(Some(9 * ONE)), 0);
    assert_eq!(outcome(None), 8 * ONE);
}

#[test]
fn money_for_ages_is_found_quickly() {
    // Half of each daily grant is left.
    let daily = Recurring {
        number: 0,
        amount: 2 * ONE,
        period: Length {
            months: 0,
            days: 1,
            micros: 0,
        },
        life: None,
        rollover_max: None,
        started_at: MONDAY - DAY,
        turn: 0,
        next_at: MONDAY,
        scope: None,
    };
    let again = Funds {
        recurring: vec![daily],
        ..funds(Vec::new())
    };
    assert_eq!(lasts(&steady(ONE), again, MONDAY), None);
    // A hundred years are five thousand weeks.
    assert_eq!(
        lasts(
            &steady(ONE),
            funds(vec![pot(1, 36_000 * ONE, None, None)]),
            MONDAY
        ),
        Some(36_000 * 24)
    );
    assert_eq!(
        lasts(
            &steady(ONE),
            funds(vec![pot(1, 50_000 * ONE, None, None)]),
            MONDAY
        ),
        None
    );
    // The weekend has no use, so the money runs out on a Friday evening.
    let mut week = steady(ONE);
    week.days[5..].fill(vec![0]);
    assert_eq!(
        lasts(&week, funds(vec![pot(1, 5_000 * ONE, None, None)]), MONDAY),
        Some((7_000 - 2) * 24)
    );
}

/// Spends hour by hour and unit by unit, for one stream. Lots are given as (rest, end in hours,
/// allowed), and the recurring grants with their periods in hours. Returns the hour in which there
/// was no money, and the missing amount.
fn by_the_hour(
    mut lots: Vec<Pot>,
    mut again: Vec<Recurring>,
    hourly: &[i128],
    now: i64,
    hours: i64,
) -> (Option<i64>, i128) {
    let (mut out, mut missing, mut dry) = (None, 0, None);
    for hour in 0..=hours {
        let at = now + hour * HOUR;
        loop {
            let end = lots
                .iter()
                .filter_map(|lot| lot.ends)
                .min()
                .unwrap_or(i64::MAX);
            let next = again
                .iter_mut()
                .min_by_key(|again| (again.next_at, again.number));
            let turn = next.as_ref().map_or(i64::MAX, |again| again.next_at);
            if end.min(turn) > at {
                break;
            }
            if turn <= end {
                let again = next.unwrap();
                let ends = again.life.map(|life| turn + life.days * DAY + life.micros);
                if let Some(most) = again.rollover_max {
                    let lasting = |lot: &Pot| {
                        lot.recurring == Some(again.number) && lot.rank.expires_at >= turn
                    };
                    loop {
                        let sum: i128 = lots
                            .iter()
                            .filter(|lot| lasting(lot))
                            .map(|lot| lot.left)
                            .sum();
                        if sum <= most {
                            break;
                        }
                        let some = lots.iter_mut().filter(|lot| lasting(lot) && lot.left > 0);
                        some.min_by(|a, b| a.rank.cmp(&b.rank)).unwrap().left -= 1;
                    }
                    for lot in lots.iter_mut().filter(|lot| lasting(lot) && lot.left > 0) {
                        if let Some(ends) = ends {
                            lot.ends = Some(ends);
                            lot.rank.expires_at = ends;
                        }
                    }
                }
                let mut lot = pot(
                    200 + u8::try_from(again.number).unwrap(),
                    again.amount,
                    ends,
                    again.scope,
                );
                lot.rank.paid = false;
                lot.rank.created_at = turn;
                lot.recurring = Some(again.number);
                lots.push(lot);
                again.next_at = turn + again.period.days * DAY + again.period.micros;
            } else {
                lots.retain(|lot| lot.ends != Some(end));
            }
        }
        if hour == hours {
            break;
        }
        let usable = |lots: &[Pot]| {
            let usable = lots.iter().enumerate();
            let usable = usable.filter(|(_, lot)| lot.left > 0 && lot.scope != Some(1));
            usable
                .min_by(|a, b| a.1.rank.cmp(&b.1.rank))
                .map(|(index, _)| index)
        };
        if usable(&lots).is_some() {
            dry = None;
        }
        for _ in 0..hourly[usize::try_from(hour).unwrap() % hourly.len()] {
            match usable(&lots) {
                Some(index) => lots[index].left -= 1,
                None => {
                    missing += 1;
                    out = out.or(dry.or(Some(hour)));
                }
            }
        }
        if usable(&lots).is_none() {
            dry = dry.or(Some(hour + 1));
        }
    }
    (out, missing)
}

fn lots() -> impl Strategy<Value = Vec<Pot>> {
    let lot = (
        0_i128..400,
        prop::option::of(-5_i64..400),
        99_i32..102,
        any::<bool>(),
        prop::option::of(0_usize..2),
        prop::option::of(0_usize..3),
    );
    prop::collection::vec(lot, 0..7).prop_map(|lots| {
        let lots = lots.into_iter().enumerate();
        lots.map(|(number, (left, ends, priority, paid, scope, recurring))| {
            let ends = ends.map(|hours| MONDAY + hours * HOUR);
            let mut pot = pot(u8::try_from(number).unwrap(), left, ends, scope);
            pot.rank.priority = priority;
            pot.rank.paid = paid;
            pot.recurring = recurring;
            pot
        })
        .collect()
    })
}

fn recurring() -> impl Strategy<Value = Recurring> {
    (
        1_i128..200,
        5_i64..200,
        prop::option::of(1_i64..400),
        prop::option::of(0_i128..200),
        -10_i64..100,
        prop::option::of(0_usize..2),
    )
        .prop_map(|(amount, period, life, rollover_max, next, scope)| {
            let hours = |hours| Length {
                months: 0,
                days: 0,
                micros: hours * HOUR,
            };
            Recurring {
                number: 0,
                amount,
                period: hours(period),
                life: life.map(hours),
                rollover_max,
                started_at: MONDAY + (next - period) * HOUR,
                turn: 0,
                next_at: MONDAY + next * HOUR,
                scope,
            }
        })
}

/// None to three recurring grants.
fn several() -> impl Strategy<Value = Vec<Recurring>> {
    prop::collection::vec(recurring(), 0..4).prop_map(|mut several| {
        for (number, one) in several.iter_mut().enumerate() {
            one.number = number;
        }
        several
    })
}

proptest! {
    #[test]
    fn it_is_what_hour_by_hour_gives(
        pots in lots(), again in several(), week in prop::collection::vec(0_i128..4, 7), start in 0_i64..24,
        hours in 1_i64..900,
    ) {
        let now = MONDAY + start * HOUR;
        let days: Vec<Vec<i128>> = week.iter().map(|hourly| vec![hourly * 24]).collect();
        let spending = Spending { days, ..steady(1) };
        let hourly: Vec<i128> = (0..168).map(|hour| week[usize::try_from((hour + start) / 24 % 7).unwrap()]).collect();
        let funds = Funds { recurring: again.clone(), ..funds(pots.clone()) };
        let until = now + hours * HOUR;
        let got = project(&calendar(now), &spending, funds, now, until, until, false);
        let (out, missing) = by_the_hour(pots, again, &hourly, now, hours);
        prop_assert_eq!(got.missing, missing);
        match (got.runs_out_at, out) {
            (Some(at), Some(hour)) => prop_assert!((at - now - hour * HOUR).abs() <= HOUR, "{} {}", (at - now) / HOUR, hour),
            (got, wanted) => prop_assert_eq!(got, wanted),
        }
    }

    /// Two streams take turns, one unit each. No grant recurs.
    #[test]
    fn streams_share_what_is_for_all(pots in lots(), units in prop::collection::vec(1_i128..4, 2)) {
        let fits = [vec![true, false], vec![false, true]];
        let scale = 1_000_000;
        let sum: i128 = units.iter().sum();
        let spending = Spending {
            streams: (0..2).map(|one| Stream { share: units[one] as f64 / sum as f64, fits: fits[one].clone() }).collect(),
            days: vec![units.iter().map(|units| units * 24 * scale).collect(); 7],
        };
        let mut large = pots.clone();
        large.iter_mut().for_each(|pot| pot.left *= scale);
        let now = MONDAY;
        let got = project(&calendar(now), &spending, funds(large), now, now + 3_000 * HOUR, now, false).runs_out_at;
        // With hundred times as many units.
        let mut lots = pots;
        lots.iter_mut().for_each(|pot| pot.left *= 100);
        let mut out = None;
        'hours: for hour in 0..3_000 {
            lots.retain(|lot| lot.ends.is_none_or(|end| end > now + hour * HOUR));
            for _ in 0..100 {
                for one in 0..2 {
                    for _ in 0..units[one] {
                        let usable = lots.iter_mut().filter(|lot| lot.left > 0 && lot.scope.is_none_or(|scope| fits[one][scope]));
                        let Some(lot) = usable.min_by(|a, b| a.rank.cmp(&b.rank)) else {
                            out = Some(hour);
                            break 'hours;
                        };
                        lot.left -= 1;
                    }
                }
            }
        }
        match (got, out) {
            (Some(at), Some(hour)) => prop_assert!(((at - now) / HOUR - hour).abs() <= 1, "{} {}", (at - now) / HOUR, hour),
            (got, wanted) => prop_assert_eq!(got, wanted),
        }
    }
}
