//! The shortest story of a failure: acts are left out as long as the same difference remains.

use std::time::{Duration, Instant};

use crate::act::{Act, Event, Place, script};
use crate::calendar::At;
use crate::clock::Clock;
use crate::run::{Finding, Run};

/// The time limit for shortening one story.
const PATIENCE: Duration = Duration::from_secs(40);

fn still(clock: &Clock, start: At, events: &[(Place, Event)], area: &str) -> Option<Finding> {
    let mut run = Run::new(clock, start);
    run.replay(events);
    run.findings.into_iter().find(|found| found.area == area)
}

/// The acts that a failure needs, as a script, and the difference they lead to.
pub fn shortest(clock: &Clock, start: At, events: &[(Place, Event)], finding: &Finding) -> String {
    let begun = Instant::now();
    let upto: Vec<(Place, Event)> = events
        .iter()
        .filter(|(place, _)| *place <= finding.place)
        .cloned()
        .collect();
    let mut last = finding.clone();
    // First without the other wallets and earlier looks, if the difference remains.
    let own = |event: &&(Place, Event)| {
        let (place, event) = event;
        match (&event.act, finding.of) {
            (Act::Look, _) => *place == finding.place,
            (Act::Transfer { of, to, .. }, Some(own)) => *of == own || *to == own,
            (act, Some(own)) => {
                act.wallet().is_none_or(|of| of == own) || matches!(act, Act::Create { .. })
            }
            _ => true,
        }
    };
    let mut acts: Vec<(Place, Event)> = upto.iter().filter(own).cloned().collect();
    let mut found = still(clock, start, &acts, &finding.area);
    if found.is_none() {
        acts = upto;
        found = still(clock, start, &acts, &finding.area);
    }
    let Some(found) = found else {
        return format!("{}\n(it does not come again)\n", finding.message);
    };
    last.message = found.message;
    // Larger pieces first.
    let mut size = acts.len() / 2;
    while size > 0 && begun.elapsed() < PATIENCE {
        let mut from = 0;
        let mut shorter = false;
        // The last act is the one that shows the difference.
        while from + 1 < acts.len() && begun.elapsed() < PATIENCE {
            let to = (from + size).min(acts.len() - 1);
            let mut without = acts.clone();
            without.drain(from..to);
            match still(clock, start, &without, &finding.area) {
                Some(found) => {
                    acts = without;
                    last.message = found.message;
                    shorter = true;
                }
                None => from = to,
            }
        }
        size = if shorter && size == 1 { 1 } else { size / 2 };
    }
    format!("{}{}\n", script(&acts), indented(&last.message))
}

fn indented(message: &str) -> String {
    message.lines().map(|line| format!("-- {line}\n")).collect()
}
