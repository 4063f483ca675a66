//! The expected spending per day, from past spending: level, trend, pattern of the week, bursts.
//! Pure.
//!
//! These are the steps. Each works on the remainder that the steps before have left:
//!
//! 1. **Stopped.** If there was no use for a week, and for more than twice as long as in any
//!    earlier pause, the expected spending is zero.
//! 2. **Trend.** Each of the last three weeks is compared with the week before it, day by day. The
//!    median of the seven ratios is the change of the week, so that bursts and weekends do not
//!    count. The trend is the mean of the changes, but at most one and a half times the middle one,
//!    because a step is one large change among small ones. A single change counts half. The smaller
//!    the trend is compared with its standard error, the less it counts. The trend continues for
//!    half as long as the known time, at most four weeks, and then the level stays.
//! 3. **Pattern of the week**, from four weeks on: the median of each day of the week, without the
//!    trend. It is used if days differ from it by a third less than from one median of all days.
//! 4. **Bursts.** A day above four times the median of the seven days around it has a burst. The
//!    amount above the median is averaged over all known days, at least over four weeks.
//! 5. **Level**: the weighted mean of the remainder. A day's weight halves with every week of its
//!    age, or with every four weeks if most days have no use.

/// The number of days that are used.
pub const MOST_DAYS: usize = 56;
/// The least number of days for a forecast.
pub const LEAST_DAYS: usize = 3;
/// The most days for which a trend continues.
const TREND_DAYS: usize = 28;
/// The number of weeks that are compared with the week before, and how many days of a week must
/// have use.
const COMPARED_WEEKS: usize = 3;
const LEAST_RATIOS: usize = 4;
/// From this number of days on, each day of the week may have its own share.
const PATTERN_DAYS: usize = 28;
/// The pattern of the week is used if the days' distance from it is at most this fraction of the
/// distance without a pattern.
const PATTERN_GAIN: f64 = 0.67;
/// A burst is more than this many times the median of the days around it.
const BURST: f64 = 4.0;
/// The days in which a day's weight halves: if most days have use, and if few have.
const HALVES: f64 = 7.0;
const HALVES_OF_FEW: f64 = 28.0;
/// The least number of days over which bursts are averaged.
const BURST_DAYS: usize = 28;
/// The fastest trend is fourfold per week, up or down.
const FASTEST: f64 = 1.386_294_361_119_890_6;
/// The factor from the standard deviation to the range that contains four of five values.
const FOUR_OF_FIVE: f64 = 1.28;

/// The expected spending of each day from today on.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    /// The number of whole days on which it is based.
    pub days: usize,
    /// The number of days without use, if use has stopped.
    pub stopped: Option<usize>,
    /// The level of a day, without trend, pattern and bursts, as of today.
    level: f64,
    /// The logarithm of the growth factor per day.
    trend: f64,
    /// The share of each day of the week, Monday first; one on average.
    week: Option<[f64; 7]>,
    /// The mean of bursts per day.
    bursts: f64,
    /// The days in which a day's weight halves.
    halves: f64,
    /// Half the width of the range that contains four of five means, as a fraction of the mean.
    pub spread: f64,
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

fn weight(age: usize, halves: f64) -> f64 {
    0.5_f64.powf((age as f64 - 1.0) / halves)
}

/// The weighted mean of values. The first value is yesterday's.
fn weighted_mean(values: impl Iterator<Item = f64>, halves: f64) -> f64 {
    let (mut sum, mut weights) = (0.0, 0.0);
    for (before, value) in values.enumerate() {
        let weight = weight(before + 1, halves);
        sum += weight * value;
        weights += weight;
    }
    if weights > 0.0 { sum / weights } else { 0.0 }
}

/// The number of recent days without use, if that is longer than any pause explains.
fn stopped(history: &[f64]) -> Option<usize> {
    let silent = history.iter().take_while(|day| **day <= 0.0).count();
    let (mut pause, mut longest) = (0, 0);
    for day in &history[silent..] {
        pause = if *day > 0.0 { 0 } else { pause + 1 };
        longest = longest.max(pause);
    }
    (silent >= 7 && silent > 2 * longest).then_some(silent)
}

/// The logarithm of the growth factor per week.
fn weekly_trend(history: &[f64]) -> f64 {
    let (mut changes, mut distances) = (Vec::new(), Vec::new());
    for week in 0..COMPARED_WEEKS {
        let days = history.iter().skip(7 * week).take(7);
        let before = history.iter().skip(7 * week + 7);
        let (mut ratios, mut broken) = (Vec::new(), 0);
        for (day, before) in days.zip(before) {
            match (*day > 0.0, *before > 0.0) {
                (true, true) => ratios.push((day / before).ln()),
                (false, false) => {}
                _ => broken += 1,
            }
        }
        if ratios.len() < LEAST_RATIOS || ratios.len() < 2 * broken {
            break;
        }
        let change = median(&mut ratios);
        distances.extend(ratios.iter().map(|ratio| (ratio - change).abs()));
        changes.push(change);
    }
    let weeks = changes.len() as f64;
    let mean = match changes.len() {
        0 => return 0.0,
        // It may be a step.
        1 => changes[0] / 2.0,
        _ => changes.iter().sum::<f64>() / weeks,
    };
    // A step changes one week alone, so the middle change is small.
    changes.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let middle = changes[(changes.len() - 1) / 2];
    if mean * middle <= 0.0 {
        return 0.0;
    }
    let trend = mean.abs().min(1.5 * middle.abs());
    // From the median distance to the standard error of a mean of medians, of which only the first
    // and last count.
    let error = 1.4826 * 1.2533 * median(&mut distances) / 7_f64.sqrt() / weeks;
    let sure = 1.0 - (2.0 * error / trend).powi(2);
    if sure <= 0.0 || trend < 1e-9 {
        return 0.0;
    }
    (trend * sure).min(FASTEST).copysign(mean)
}

/// The share of each day of the week, if it describes the days better than one median of all days.
fn pattern(flat: &[f64], weekdays: &[usize]) -> Option<[f64; 7]> {
    if flat.len() < PATTERN_DAYS {
        return None;
    }
    let mut medians = [0.0; 7];
    for (weekday, share) in medians.iter_mut().enumerate() {
        let days = flat.iter().zip(weekdays);
        let mut days: Vec<f64> = days
            .filter(|(_, on)| **on == weekday)
            .map(|(day, _)| *day)
            .collect();
        *share = median(&mut days);
    }
    let mean = medians.iter().sum::<f64>() / 7.0;
    if mean <= 0.0 {
        return None;
    }
    let all = median(&mut flat.to_vec());
    let most = BURST * medians.iter().fold(all, |most, share| most.max(*share));
    let distance = |from: &dyn Fn(usize) -> f64| -> f64 {
        let days = flat.iter().zip(weekdays);
        days.map(|(day, weekday)| (day.min(most) - from(*weekday)).abs())
            .sum()
    };
    let (with, without) = (distance(&|weekday| medians[weekday]), distance(&|_| all));
    (with < PATTERN_GAIN * without).then(|| medians.map(|share| share / mean))
}

/// For each day, the median of the seven days around it.
fn around(days: &[f64]) -> Vec<f64> {
    (0..days.len())
        .map(|index| {
            let first = index.saturating_sub(3).min(days.len().saturating_sub(7));
            let last = (first + 7).min(days.len());
            median(&mut days[first..last].to_vec())
        })
        .collect()
}

/// The days, with the usual use in place of the use on a day with a burst. `share` is the share of
/// a day of the week.
fn without_bursts(flat: &[f64], weekdays: &[usize], share: impl Fn(usize) -> f64) -> Vec<f64> {
    let even: Vec<f64> = flat
        .iter()
        .zip(weekdays)
        .filter(|(_, weekday)| share(**weekday) > 0.0)
        .map(|(day, weekday)| day / share(*weekday))
        .collect();
    let mut used: Vec<f64> = flat.iter().copied().filter(|day| *day > 0.0).collect();
    let typical = median(&mut used);
    let mut medians = around(&even).into_iter();
    flat.iter()
        .zip(weekdays)
        .map(|(day, on)| {
            let usual = match share(*on) {
                share if share > 0.0 => match medians.next() {
                    Some(median) if median > 0.0 => share * median,
                    _ => typical,
                },
                _ => 0.0,
            };
            if *day > BURST * usual { usual } else { *day }
        })
        .collect()
}

impl Outlook {
    /// Learns from whole days, yesterday first, and today's day of the week (Monday is zero).
    /// `None` if there are too few days.
    pub fn of(history: &[f64], today: usize) -> Option<Outlook> {
        let history = &history[..history.len().min(MOST_DAYS)];
        let days = history.len();
        if days < LEAST_DAYS {
            return None;
        }
        let nothing = Outlook {
            days,
            stopped: None,
            level: 0.0,
            trend: 0.0,
            week: None,
            bursts: 0.0,
            halves: HALVES,
            spread: 0.0,
        };
        if history.iter().all(|day| *day <= 0.0) {
            return Some(nothing);
        }
        if let Some(silent) = stopped(history) {
            return Some(Outlook {
                stopped: Some(silent),
                ..nothing
            });
        }
        let trend = weekly_trend(history) / 7.0;
        // Each day as it would be today.
        let grown: Vec<f64> = (1..=days).map(|age| (trend * age as f64).exp()).collect();
        let flat: Vec<f64> = history
            .iter()
            .zip(&grown)
            .map(|(day, by)| day * by)
            .collect();
        let weekdays: Vec<usize> = (1..=days).map(|age| (today + 7 * days - age) % 7).collect();
        let week = pattern(&flat, &weekdays);
        let share = |weekday: usize| week.map_or(1.0, |week| week[weekday]);
        let with_use = flat.iter().filter(|day| **day > 0.0).count();
        let halves = if 2 * with_use > days {
            HALVES
        } else {
            HALVES_OF_FEW
        };
        let usual = without_bursts(&flat, &weekdays, share);
        // Both means have the same weights. So the result does not depend on the day of the week
        // with which the days begin.
        let shares = weighted_mean(weekdays.iter().map(|on| share(*on)), halves);
        let level = weighted_mean(usual.iter().copied(), halves) / shares;
        let above = history.iter().zip(usual.iter().zip(&grown));
        let above: f64 = above
            .map(|(day, (usual, by))| (day - usual / by).max(0.0))
            .sum();
        let mut outlook = Outlook {
            level,
            trend,
            week,
            bursts: above / days.max(BURST_DAYS) as f64,
            halves,
            ..nothing
        };
        outlook.spread = outlook.spread_of(&flat, &weekdays);
        Some(outlook)
    }

    /// The standard error of the weighted mean, as a fraction of the spending per day.
    fn spread_of(&self, flat: &[f64], weekdays: &[usize]) -> f64 {
        let days = flat.iter().zip(weekdays);
        let squares =
            days.map(|(day, on)| (day - self.level * self.share(*on) - self.bursts).powi(2));
        let deviation = weighted_mean(squares, self.halves).sqrt();
        let weights = (1..=flat.len()).map(|age| self.weight(age));
        let (sum, of_squares) = weights.fold((0.0, 0.0), |(sum, squares), weight| {
            (sum + weight, squares + weight * weight)
        });
        let usual = self.level + self.bursts;
        if usual > 0.0 {
            FOUR_OF_FIVE * deviation * of_squares.sqrt() / sum / usual
        } else {
            0.0
        }
    }

    /// The weight of a day of that age. Yesterday's age is one.
    pub fn weight(&self, age: usize) -> f64 {
        weight(age, self.halves)
    }

    fn share(&self, weekday: usize) -> f64 {
        self.week.map_or(1.0, |week| week[weekday % 7])
    }

    /// The number of days for which the trend continues.
    pub fn trend_days(&self) -> usize {
        (self.days / 2).min(TREND_DAYS)
    }

    /// The expected spending on the day that is `ahead` days from today, whose day of the week is
    /// given. Zero is today.
    pub fn expected(&self, ahead: usize, weekday: usize) -> f64 {
        let grown = (self.trend * ahead.min(self.trend_days()) as f64).exp();
        self.level * self.share(weekday) * grown + self.bursts
    }

    /// The mean spending per day of the next seven days, today included.
    pub fn daily(&self, today: usize) -> f64 {
        (0..7)
            .map(|ahead| self.expected(ahead, today + ahead))
            .sum::<f64>()
            / 7.0
    }

    /// The basis of the forecast, for people.
    pub fn basis(&self) -> String {
        if let Some(days) = self.stopped {
            return format!("no use for {days} days");
        }
        let mut text = format!("weighted mean of {} days", self.days);
        let percent = ((self.trend * 7.0).exp() - 1.0) * 100.0;
        if percent >= 0.5 {
            text.push_str(&format!(", growing by {percent:.0} % a week"));
        } else if percent <= -0.5 {
            text.push_str(&format!(", falling by {:.0} % a week", -percent));
        }
        if self.week.is_some() {
            text.push_str(", with the pattern of the week");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Learns from days in the order of time. The last one is yesterday.
    fn learn(days: &[f64]) -> Outlook {
        let history: Vec<f64> = days.iter().rev().copied().collect();
        Outlook::of(&history, 0).unwrap()
    }

    #[test]
    fn few_days_say_nothing() {
        assert_eq!(Outlook::of(&[1.0, 1.0], 0), None);
        assert_eq!(learn(&[1.0, 1.0, 1.0]).daily(0), 1.0);
        assert_eq!(learn(&[0.0; 5]).daily(0), 0.0);
        assert_eq!(learn(&[0.0; 5]).basis(), "weighted mean of 5 days");
    }

    #[test]
    fn a_trend_goes_on_for_four_weeks() {
        let days: Vec<f64> = (0..56)
            .map(|day| 2_f64.powf(f64::from(day) / 7.0))
            .collect();
        let outlook = learn(&days);
        let next = |ahead: usize| outlook.expected(ahead, ahead) / days[55];
        assert!((next(6) - 2.0).abs() < 1e-9, "{}", next(6));
        assert!((next(27) - 16.0).abs() < 1e-9);
        assert!((next(28) / next(27) - 1.104).abs() < 1e-3);
        assert_eq!(next(29), next(28));
        assert_eq!(
            outlook.basis(),
            "weighted mean of 56 days, growing by 100 % a week"
        );
        // If two weeks are known, there is one change. It counts half, for a week.
        let young = learn(&days[42..]);
        assert_eq!(
            young.basis(),
            "weighted mean of 14 days, growing by 41 % a week"
        );
        assert_eq!(young.trend_days(), 7);
        assert_eq!(young.expected(8, 1), young.expected(7, 0));
        let falling: Vec<f64> = days.iter().rev().copied().collect();
        assert_eq!(
            learn(&falling).basis(),
            "weighted mean of 56 days, falling by 50 % a week"
        );
    }

    #[test]
    fn the_week_has_a_pattern_whatever_day_today_is() {
        for today in 0..7 {
            // Saturday and Sunday have no use.
            let history: Vec<f64> = (1..=35)
                .map(|age| {
                    if (today + 70 - age) % 7 < 5 {
                        14.0
                    } else {
                        0.0
                    }
                })
                .collect();
            let outlook = Outlook::of(&history, today).unwrap();
            assert!((outlook.expected(0, 0) - 14.0).abs() < 1e-9);
            assert_eq!(outlook.expected(5, 5), 0.0);
            assert!((outlook.daily(today) - 10.0).abs() < 1e-9);
            assert!(outlook.spread < 1e-9);
            assert_eq!(
                outlook.basis(),
                "weighted mean of 35 days, with the pattern of the week"
            );
        }
        // There is no pattern if all days are equal, or if only three weeks are known.
        assert_eq!(learn(&[5.0; 40]).week, None);
        assert_eq!(
            learn(&[[9.0; 5].as_slice(), &[0.0; 2]].concat().repeat(3)).week,
            None
        );
        // A batch on one day of the week is not a burst.
        let batch = learn(&[0.0, 70.0, 0.0, 0.0, 0.0, 0.0, 0.0].repeat(8));
        assert!((batch.expected(1, 1) - 70.0).abs() < 1e-9);
        assert_eq!(batch.expected(2, 2), 0.0);
    }

    #[test]
    fn a_burst_counts_as_often_as_it_came() {
        let mut days = vec![1.0; 56];
        days[55] = 101.0;
        assert!((learn(&days).daily(0) - 156.0 / 56.0).abs() < 1e-9);
        // A burst that came once in ten known days may come once in four weeks.
        assert!((learn(&days[46..]).daily(0) - 128.0 / 28.0).abs() < 1e-9);
        // A lasting increase is not a burst.
        let mut days = vec![1.0; 56];
        days[49..].fill(5.0);
        let burnt = learn(&days).daily(0);
        assert!((2.9..5.1).contains(&burnt), "{burnt}");
        assert_eq!(learn(&days).trend, 0.0);
    }

    #[test]
    fn use_that_stopped_is_not_foretold() {
        let days = |silent: usize| [vec![3.0; 40], vec![0.0; silent]].concat();
        assert!(learn(&days(6)).daily(0) > 1.0);
        let stopped = learn(&days(7));
        assert_eq!(
            (stopped.daily(0), stopped.basis()),
            (0.0, "no use for 7 days".to_owned())
        );
        // With use once in ten days, a week without use means nothing.
        let rare = learn(&[&[10.0], [0.0; 9].as_slice()].concat().repeat(5));
        assert!((0.8..1.2).contains(&rare.daily(0)), "{rare:?}");
    }
}
