//! The outcome of an attempt.

use std::time::Duration;

use super::http::{Answer, Trouble};

/// The shortest pause after an answer with `Retry-After`. It doubles with every attempt, so that a
/// receiver that always says "one second" does not use up all attempts within seconds.
const FLOOR: Duration = Duration::from_secs(5);
/// The floor does not grow further.
const FLOOR_MOST: Duration = Duration::from_secs(3600);

/// The outcome of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it.
    Delivered,
    /// It failed, and may succeed later.
    Again {
        /// The reason.
        reason: String,
        /// How long the receiver wants to be left alone, if it said so.
        after: Option<Duration>,
    },
    /// walletd stops and does not wait for the answer. Another worker may try at once.
    CutOff,
    /// No further attempt would succeed.
    Dead {
        /// The reason.
        reason: String,
    },
}

impl Outcome {
    /// An attempt that may succeed later.
    pub fn again(reason: impl Into<String>) -> Outcome {
        Outcome::Again {
            reason: reason.into(),
            after: None,
        }
    }

    /// An attempt after which none would succeed.
    pub fn dead(reason: impl Into<String>) -> Outcome {
        Outcome::Dead {
            reason: reason.into(),
        }
    }

    /// The outcome that an answer means. A redirect is not followed: it could lead anywhere.
    pub fn of(answered: Result<Answer, Trouble>) -> Outcome {
        let answer = match answered {
            Ok(answer) => answer,
            Err(Trouble::NotAllowed(reason)) => return Outcome::dead(reason),
            Err(Trouble::Failed(reason)) => return Outcome::again(reason),
        };
        let reason = format!("the receiver answered {}", answer.status);
        match answer.status {
            200..=299 => Outcome::Delivered,
            // Too slow, too early, too many: the request itself is right.
            408 | 425 | 429 => Outcome::Again {
                reason,
                after: answer.retry_after,
            },
            400..=499 => Outcome::Dead { reason },
            _ => Outcome::Again {
                reason,
                after: answer.retry_after,
            },
        }
    }
}

/// The pause before the next attempt of a delivery that has failed so many times before.
pub fn pause(asked: Duration, failed: i32) -> Duration {
    let doubled = FLOOR.saturating_mul(1 << failed.clamp(0, 20));
    asked.max(doubled.min(FLOOR_MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_whether_to_try_again() {
        let after = Some(Duration::from_secs(9));
        for (status, outcome) in [
            (200, "delivered"),
            (204, "delivered"),
            (301, "again"),
            (302, "again"),
            (307, "again"),
            (400, "dead"),
            (401, "dead"),
            (404, "dead"),
            (408, "again"),
            (410, "dead"),
            (425, "again"),
            (429, "again"),
            (500, "again"),
            (503, "again"),
            (599, "again"),
        ] {
            let answer = Answer {
                status,
                retry_after: after,
            };
            match Outcome::of(Ok(answer)) {
                Outcome::Delivered => assert_eq!(outcome, "delivered", "{status}"),
                Outcome::Again { reason, after: of } => {
                    assert_eq!((outcome, of), ("again", after), "{status}");
                    assert!(reason.contains(&status.to_string()));
                }
                Outcome::Dead { reason } => {
                    assert_eq!(outcome, "dead", "{status}");
                    assert!(reason.contains(&status.to_string()));
                }
                Outcome::CutOff => panic!("{status}"),
            }
        }
    }

    #[test]
    fn a_pause_is_as_long_as_asked_and_never_short_for_long() {
        let seconds = |asked, failed| pause(Duration::from_secs(asked), failed).as_secs();
        assert_eq!(seconds(120, 0), 120);
        assert_eq!(seconds(1, 0), 5);
        assert_eq!(seconds(0, 3), 40);
        assert_eq!(seconds(0, 100), 3600);
        assert_eq!(seconds(7200, 100), 7200);
    }
}
