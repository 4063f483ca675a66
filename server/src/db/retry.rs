//! When a transaction runs again, and after which pause.

use std::time::Duration;

use super::error::{DbError, Trouble};

/// How often a transaction that was rolled back runs at most.
const CONFLICTS: u32 = 8;
/// How often a call is made at most on connections that break.
const LOSSES: u32 = 3;
/// The first pause is shorter than this.
const BASE: Duration = Duration::from_millis(10);
/// Every pause is shorter than this.
const CAP: Duration = Duration::from_millis(500);

/// The pause before the next attempt of a call that was attempted so many times. `None`: the error
/// is final.
///
/// A transaction that was rolled back may always run again. One whose outcome is unknown may only
/// if it is repeatable: it reads, or it has an idempotency key.
pub fn pause(error: &DbError, made: u32, is_repeatable: bool) -> Option<Duration> {
    let most = match error {
        DbError::Unavailable(Trouble::Conflict(_)) => CONFLICTS,
        DbError::Unavailable(Trouble::Lost(_)) => LOSSES,
        DbError::Unknown(Trouble::Lost(_)) if is_repeatable => LOSSES,
        _ => return None,
    };
    if made >= most {
        return None;
    }
    let longest = BASE.saturating_mul(1 << made.min(10)).min(CAP);
    Some(longest.mul_f64(fastrand::f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_safe_runs_again() {
        let lost = || Trouble::Lost(String::new());
        let conflict = DbError::Unavailable(Trouble::Conflict("40001".to_owned()));
        for repeatable in [false, true] {
            assert!(pause(&conflict, 1, repeatable).is_some());
            assert!(pause(&conflict, CONFLICTS, repeatable).is_none());
            assert!(pause(&DbError::Unavailable(lost()), 1, repeatable).is_some());
            assert!(pause(&DbError::Unavailable(Trouble::Busy), 1, repeatable).is_none());
            assert!(pause(&DbError::Unavailable(Trouble::TimedOut), 1, repeatable).is_none());
            assert!(pause(&DbError::Unknown(Trouble::TimedOut), 1, repeatable).is_none());
            assert!(pause(&DbError::UnknownKey, 1, repeatable).is_none());
        }
        assert!(pause(&DbError::Unknown(lost()), 1, true).is_some());
        assert!(pause(&DbError::Unknown(lost()), 1, false).is_none());
    }

    #[test]
    fn a_pause_is_random_and_has_an_end() {
        let conflict = DbError::Unavailable(Trouble::Conflict("40P01".to_owned()));
        for made in 1..CONFLICTS {
            assert!(pause(&conflict, made, false).is_some_and(|pause| pause < CAP));
        }
        let pauses = (0..50).map(|_| pause(&conflict, 5, false));
        assert!(pauses.collect::<std::collections::HashSet<_>>().len() > 10);
    }
}
