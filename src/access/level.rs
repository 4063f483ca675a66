//! The levels that a database role can be granted, and what a call needs.

/// The access that a database role was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Views, reports, pricing and checks.
    Reader,
    /// The rights of a reader, and the audit trail and the list of keys.
    Auditor,
    /// The rights of a reader, and spending.
    Charger,
    /// The rights of a reader, and adding and returning money.
    Billing,
    /// Processing events and top-ups, and upkeep. Not the rights of a reader.
    Worker,
    /// All rights.
    Admin,
}

impl Level {
    /// All levels.
    pub const ALL: &'static [Level] = &[
        Level::Reader,
        Level::Auditor,
        Level::Charger,
        Level::Billing,
        Level::Worker,
        Level::Admin,
    ];

    /// The level's name in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Reader => "reader",
            Level::Auditor => "auditor",
            Level::Charger => "charger",
            Level::Billing => "billing",
            Level::Worker => "worker",
            Level::Admin => "admin",
        }
    }

    /// The level with that name; `None` if there is none.
    pub fn parse(name: &str) -> Option<Level> {
        Level::ALL.iter().copied().find(|one| one.as_str() == name)
    }
}

/// The need of a call: the levels that are enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// This level, or one that includes it.
    Level(Level),
    /// A level that processes events and top-ups: worker, billing or admin.
    Events,
    /// A level that does upkeep: worker or admin.
    Upkeep,
}

impl From<Level> for Need {
    fn from(level: Level) -> Need {
        Need::Level(level)
    }
}

impl Need {
    /// Whether a granted level is enough.
    pub fn is_met_by(self, granted: Level) -> bool {
        granted == Level::Admin
            || match self {
                Need::Level(Level::Reader) => granted != Level::Worker,
                Need::Level(level) => granted == level,
                Need::Events => matches!(granted, Level::Worker | Level::Billing),
                Need::Upkeep => granted == Level::Worker,
            }
    }

    /// The lowest level that is enough.
    pub fn lowest(self) -> Level {
        match self {
            Need::Level(level) => level,
            Need::Events | Need::Upkeep => Level::Worker,
        }
    }

    /// The level that the role of a member must cover.
    pub fn of_member(self) -> Level {
        match self {
            Need::Level(level) => level,
            Need::Events => Level::Billing,
            Need::Upkeep => Level::Admin,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_meets_these_needs() {
        let needs = [
            Need::Level(Level::Reader),
            Need::Level(Level::Auditor),
            Need::Level(Level::Charger),
            Need::Level(Level::Billing),
            Need::Level(Level::Admin),
            Need::Events,
            Need::Upkeep,
        ];
        let met = |level| needs.map(|need| u8::from(need.is_met_by(level)));
        assert_eq!(met(Level::Reader), [1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(met(Level::Auditor), [1, 1, 0, 0, 0, 0, 0]);
        assert_eq!(met(Level::Charger), [1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(met(Level::Billing), [1, 0, 0, 1, 0, 1, 0]);
        assert_eq!(met(Level::Worker), [0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(met(Level::Admin), [1, 1, 1, 1, 1, 1, 1]);
        for level in Level::ALL {
            assert_eq!(Level::parse(level.as_str()), Some(*level));
        }
    }
}
