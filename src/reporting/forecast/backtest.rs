//! Forecasts days that are known, and compares. docs/reference/reports.md states the errors. These
//! tests fail if an error is larger.

use super::series::Outlook;

/// Pseudo-random numbers that are equal in every run.
struct Dice(u64);

impl Dice {
    /// A number from zero up to one.
    fn next(&mut self) -> f64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A random number with mean one and that standard deviation, never below zero.
    fn noise(&mut self, deviation: f64) -> f64 {
        let sum: f64 = (0..12).map(|_| self.next()).sum();
        (1.0 + deviation * (sum - 6.0)).max(0.0)
    }
}

/// A series: the spending of a day, by its number and the day of the week.
type Series = fn(i32, usize, &mut Dice) -> f64;

fn flat(_: i32, _: usize, dice: &mut Dice) -> f64 {
    10.0 * dice.noise(0.2)
}

fn weekly(_: i32, weekday: usize, dice: &mut Dice) -> f64 {
    let share = if weekday < 5 { 14.0 } else { 1.0 };
    share * dice.noise(0.2)
}

fn growing(day: i32, weekday: usize, dice: &mut Dice) -> f64 {
    weekly(day, weekday, dice) * 1.2_f64.powf(f64::from(day) / 7.0)
}

fn doubling(day: i32, weekday: usize, dice: &mut Dice) -> f64 {
    weekly(day, weekday, dice) * 2_f64.powf(f64::from(day) / 7.0)
}

fn falling(day: i32, weekday: usize, dice: &mut Dice) -> f64 {
    weekly(day, weekday, dice) * 0.8_f64.powf(f64::from(day) / 7.0)
}

fn bursty(_: i32, _: usize, dice: &mut Dice) -> f64 {
    let burst = if dice.next() < 0.05 { 20.0 } else { 1.0 };
    10.0 * dice.noise(0.2) * burst
}

fn one_burst(day: i32, weekday: usize, dice: &mut Dice) -> f64 {
    weekly(day, weekday, dice) + if day == -5 { 200.0 } else { 0.0 }
}

fn now_and_then(_: i32, _: usize, dice: &mut Dice) -> f64 {
    if dice.next() < 0.2 {
        50.0 * dice.noise(0.2)
    } else {
        0.0
    }
}

fn stepped(day: i32, weekday: usize, dice: &mut Dice) -> f64 {
    weekly(day, weekday, dice) * if day >= -7 { 5.0 } else { 1.0 }
}

fn stopped(day: i32, weekday: usize, dice: &mut Dice) -> f64 {
    if day < -7 {
        weekly(day, weekday, dice)
    } else {
        0.0
    }
}

fn paused(day: i32, weekday: usize, dice: &mut Dice) -> f64 {
    if (-3..0).contains(&day) {
        0.0
    } else {
        weekly(day, weekday, dice)
    }
}

/// The mean absolute error and the mean error of the forecast, in per cent of the actual spending.
/// If spending has stopped, they are in per cent of the spending before.
fn errors(series: Series, known: i32, ahead: usize) -> (f64, f64) {
    let (mut distance, mut bias, mut runs) = (0.0, 0.0, 0.0);
    for run in 0..140 {
        let (mut dice, today) = (Dice(run), (run % 7) as usize);
        let weekday = |day: i32| (today as i32 + 70 + day).rem_euclid(7) as usize;
        let mut days: Vec<f64> = (-known..0)
            .map(|day| series(day, weekday(day), &mut dice))
            .collect();
        days.reverse();
        let outlook = Outlook::of(&days, today).unwrap();
        let forecast: f64 = (0..ahead)
            .map(|day| outlook.expected(day, today + day))
            .sum();
        let spent: f64 = (0..ahead as i32)
            .map(|day| series(day, weekday(day), &mut dice))
            .sum();
        let usual = days.iter().sum::<f64>() / f64::from(known) * ahead as f64;
        let error = (forecast - spent) / if spent > 0.0 { spent } else { usual };
        distance += error.abs();
        bias += error;
        runs += 1.0;
    }
    (100.0 * distance / runs, 100.0 * bias / runs)
}

/// The errors that the documents state: the series, the days known, the days ahead, the maximum
/// error in per cent.
const STATED: [(&str, Series, i32, usize, f64); 15] = [
    ("flat", flat, 56, 28, 6.5),
    ("flat, young", flat, 10, 28, 6.0),
    ("weekly", weekly, 56, 28, 7.0),
    ("weekly, young", weekly, 10, 28, 13.0),
    ("20 % more every week", growing, 56, 28, 23.0),
    ("doubling every week", doubling, 56, 28, 20.0),
    ("doubling every week, young", doubling, 28, 14, 14.5),
    ("20 % less every week", falling, 56, 28, 24.0),
    ("bursts on one day in twenty", bursty, 56, 28, 56.0),
    ("one burst", one_burst, 56, 28, 38.0),
    ("use on one day in five", now_and_then, 56, 28, 54.0),
    ("fivefold for a week", stepped, 56, 28, 38.0),
    ("stopped a week ago", stopped, 56, 28, 0.0),
    ("stopped a week ago, young", stopped, 21, 28, 0.0),
    ("a pause of three days", paused, 56, 28, 26.0),
];

#[test]
fn errors_are_those_that_are_stated() {
    for (name, series, known, ahead, stated) in STATED {
        let (distance, bias) = errors(series, known, ahead);
        println!(
            "{name}, {known} days known, {ahead} ahead: {distance:.1} % off, {bias:+.1} % on average"
        );
        assert!(distance <= stated, "{name}: {distance:.1} %");
    }
}
