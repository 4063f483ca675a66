//! The results, printed line by line during the run, and the failures at the end.

use std::io::Write;

use crate::measure::Measure;
use crate::place::Statistics;
use crate::scene::Call;

/// A call that was measured.
pub struct Line {
    /// The scene.
    pub scene: &'static str,
    /// The call.
    pub call: Call,
    /// Whether it is known to grow too fast.
    pub pending: bool,
    /// The age of the statistics.
    pub statistics: Statistics,
    /// Its cost at each size.
    pub costs: Vec<f64>,
    /// The growth from the second largest size to the largest.
    pub exponent: f64,
}

impl Line {
    fn is_fine(&self, measure: Measure) -> bool {
        self.exponent <= self.call.allowed + measure.tolerance(&self.call)
    }

    fn verdict(&self, measure: Measure) -> &'static str {
        match (self.pending, self.is_fine(measure)) {
            (false, true) => "",
            (false, false) => "GROWS",
            (true, true) => "pending, and fine",
            (true, false) => "pending",
        }
    }

    fn text(&self, measure: Measure) -> String {
        let decimals = usize::from(measure == Measure::Time) * 2;
        let costs: String = self
            .costs
            .iter()
            .map(|cost| format!(" {cost:>10.decimals$}"))
            .collect();
        let name = self.call.title();
        let statistics = match self.statistics {
            Statistics::Old => "old",
            Statistics::Fresh => "fresh",
        };
        format!(
            "{:<18} {name:<44} {statistics:<5}{costs} {:>6.2} {:>5.2} {}",
            self.scene,
            self.exponent,
            self.call.allowed,
            self.verdict(measure)
        )
    }
}

/// All results.
pub struct Table {
    measure: Measure,
    lines: Vec<Line>,
}

/// Bypasses the capture of the test harness, because this is the result of the long form.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

impl Table {
    /// Prints the head of the table.
    pub fn new(measure: Measure, sizes: &[usize]) -> Table {
        let unit = match measure {
            Measure::Time => "milliseconds",
            Measure::Pages => "pages",
        };
        let sizes: String = sizes
            .iter()
            .map(|times| {
                format!(
                    " {:>10}",
                    if *times == 1 {
                        "n".to_owned()
                    } else {
                        format!("{times}n")
                    }
                )
            })
            .collect();
        tell(&format!(
            "\nCosts in {unit}; growth is the exponent from the last size but one to the last."
        ));
        tell(&format!(
            "{:<18} {:<44} {:<5}{sizes} {:>6} {:>5}",
            "scene", "call", "stat", "growth", "may"
        ));
        Table {
            measure,
            lines: Vec::new(),
        }
    }

    /// Adds a line. The short form prints only failures.
    pub fn add(&mut self, line: Line) {
        if self.measure == Measure::Time || !line.verdict(self.measure).is_empty() {
            tell(&line.text(self.measure));
        }
        self.lines.push(line);
    }

    /// Fails if a call grows faster than it may.
    pub fn finish(self) {
        let wrong: Vec<String> = self
            .lines
            .iter()
            .filter(|line| !line.is_fine(self.measure) && !line.pending)
            .map(|line| line.text(self.measure))
            .collect();
        let pending = self.lines.iter().filter(|line| line.pending).count();
        tell(&format!(
            "{} measured, {pending} of them pending",
            self.lines.len()
        ));
        assert!(
            wrong.is_empty(),
            "{} grow faster than they may:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
    }
}
