//! The part of a default limit that other limits do not have, and the levels that windows store.

use crate::pg::clock::Timestamp;

/// The part of a default limit that other limits do not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsDefault {
    /// The limit counts usage from this time on.
    pub counts_since: Timestamp,
    /// The number of changes of the maximum and of the levels.
    pub revision: i32,
}

/// The factor between a revision and the number of levels in a window's row. A limit has fewer
/// levels.
const REVISION: i64 = 1 << 16;

/// The number of levels as a window's row stores it. Windows of other limits have revision 0.
pub fn levels_stored(default: Option<AsDefault>, levels: i64) -> i64 {
    let revision = default.map_or(0, |default| i64::from(default.revision));
    revision * REVISION + levels
}

/// The number of levels that a window's row has reported; `None` if that was under another
/// revision.
pub fn levels_reported(default: Option<AsDefault>, stored: i64) -> Option<i64> {
    let levels = stored - levels_stored(default, 0);
    (0..REVISION).contains(&levels).then_some(levels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_revision_has_reported_nothing() {
        let of = |revision| {
            let counts_since = Timestamp(0);
            Some(AsDefault {
                counts_since,
                revision,
            })
        };
        assert_eq!(levels_reported(None, levels_stored(None, 3)), Some(3));
        assert_eq!(levels_reported(of(7), levels_stored(of(7), 2)), Some(2));
        for other in [0, 6, 8] {
            assert_eq!(levels_reported(of(other), levels_stored(of(7), 2)), None);
        }
    }
}
