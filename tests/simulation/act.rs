//! The acts of a business: calls with their times, as values that can be replayed and left out.

use std::fmt::Write;

use crate::calendar::{At, Length, text};
use crate::units::decimal;

/// The place of an earlier act, whose result a later act refers to.
pub type Place = usize;

/// A wallet, by number.
pub type Of = usize;

/// The name of a wallet.
pub fn name(of: Of) -> String {
    format!("w{of}")
}

/// Usage that is charged.
#[derive(Clone, Debug, PartialEq)]
pub enum Use {
    /// An amount.
    Amount(i128),
    /// Input and output tokens of a model that has prices.
    Tokens(&'static str, i64, i64),
}

/// Who used it, and for what.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    pub user: Option<&'static str>,
    pub team: Option<&'static str>,
    pub model: Option<&'static str>,
    pub service: Option<&'static str>,
    pub region: Option<&'static str>,
    pub tag: Option<&'static str>,
}

/// The settlement option for a cost above the held amount.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Over {
    Charge,
    Cap,
    Debt,
}

impl Over {
    pub fn name(self) -> &'static str {
        match self {
            Over::Charge => "charge",
            Over::Cap => "cap",
            Over::Debt => "debt",
        }
    }
}

/// The scope of a grant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scope {
    Model(&'static str),
    Service(&'static str),
}

impl Scope {
    fn json(self) -> String {
        match self {
            Scope::Model(name) => format!("{{\"models\": [\"{name}\"]}}"),
            Scope::Service(name) => format!("{{\"services\": [\"{name}\"]}}"),
        }
    }
}

/// A call.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    Create {
        of: Of,
        zone: &'static str,
        credit: i128,
        lanes: i32,
    },
    Fund {
        of: Of,
        amount: i128,
        ends: Option<At>,
        priority: i32,
        promotional: bool,
        scope: Option<Scope>,
        pending: bool,
    },
    SettleFunding {
        of: Of,
        funding: Place,
    },
    FailFunding {
        of: Of,
        funding: Place,
    },
    Reverse {
        of: Of,
        funding: Place,
        amount: Option<i128>,
    },
    Charge {
        of: Of,
        cost: Use,
        about: About,
        used: Option<At>,
    },
    Hold {
        of: Of,
        cost: Use,
        about: About,
        ttl: i64,
        partial: bool,
    },
    Settle {
        of: Of,
        hold: Place,
        cost: Use,
        last: bool,
        over: Over,
        used: Option<At>,
    },
    Void {
        of: Of,
        hold: Place,
    },
    Extend {
        of: Of,
        hold: Place,
        ttl: i64,
    },
    Refund {
        of: Of,
        charge: Place,
        amount: Option<i128>,
    },
    Adjust {
        of: Of,
        amount: i128,
    },
    Transfer {
        of: Of,
        to: Of,
        amount: i128,
    },
    VoidGrant {
        of: Of,
        grant: Place,
    },
    Recurring {
        of: Of,
        name: &'static str,
        amount: i128,
        period: Length,
        lives: Option<Length>,
        rollover: Option<i128>,
        scope: Option<Scope>,
        /// The first day, in days from today in the wallet's zone.
        starts: Option<i64>,
    },
    StopRecurring {
        of: Of,
        name: &'static str,
    },
    SetLimit {
        of: Of,
        max: i128,
        period: &'static str,
        scope: &'static str,
        metric: &'static str,
    },
    Rule {
        of: Of,
        rule: &'static str,
    },
    SetLanes {
        of: Of,
        lanes: i32,
    },
    Maintain,
    Archive {
        of: Of,
    },
    /// Compares every view and report.
    Look,
}

/// A call at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub at: At,
    pub act: Act,
}

/// The name of an earlier act in a story, and its id when the act is run.
pub type Named<'a> = dyn Fn(Place) -> Option<String> + 'a;

fn cost(usage: &Use) -> String {
    match usage {
        Use::Amount(amount) => format!("amount => {}", decimal(*amount)),
        Use::Tokens(model, input, output) => format!(
            "usage => '{{\"model\": \"{model}\", \"input_tokens\": {input}, \"output_tokens\": {output}}}'"
        ),
    }
}

impl About {
    fn arguments(&self) -> String {
        let mut text = String::new();
        let given = [
            ("user_id", self.user),
            ("team", self.team),
            ("model", self.model),
            ("service", self.service),
            ("region", self.region),
        ];
        for (argument, value) in given {
            if let Some(value) = value {
                let _ = write!(text, ", {argument} => '{value}'");
            }
        }
        if let Some(tag) = self.tag {
            let _ = write!(text, ", tags => '{{\"env\": \"{tag}\"}}'");
        }
        text
    }

    /// The arguments that `check_limits` accepts.
    fn checked(&self) -> String {
        About {
            region: None,
            ..self.clone()
        }
        .arguments()
    }
}

fn time(argument: &str, at: Option<At>) -> String {
    at.map_or_else(String::new, |at| format!(", {argument} => '{}'", text(at)))
}

impl Act {
    /// The wallet. `None` if the act concerns all.
    pub fn wallet(&self) -> Option<Of> {
        match *self {
            Act::Create { of, .. }
            | Act::Fund { of, .. }
            | Act::SettleFunding { of, .. }
            | Act::FailFunding { of, .. }
            | Act::Reverse { of, .. }
            | Act::Charge { of, .. }
            | Act::Hold { of, .. }
            | Act::Settle { of, .. }
            | Act::Void { of, .. }
            | Act::Extend { of, .. }
            | Act::Refund { of, .. }
            | Act::Adjust { of, .. }
            | Act::Transfer { of, .. }
            | Act::VoidGrant { of, .. }
            | Act::Recurring { of, .. }
            | Act::StopRecurring { of, .. }
            | Act::SetLimit { of, .. }
            | Act::Rule { of, .. }
            | Act::SetLanes { of, .. }
            | Act::Archive { of } => Some(of),
            Act::Maintain | Act::Look => None,
        }
    }

    /// The question to `check_limits` whether the charge would be booked.
    pub fn question(&self) -> Option<String> {
        let Act::Charge {
            of,
            cost: what,
            about,
            ..
        } = self
        else {
            return None;
        };
        Some(format!(
            "SELECT scope, subject, period, metric, used, held, remaining, allowed, reason
               FROM wallet.check_limits('{}', {}{})",
            name(*of),
            cost(what),
            about.checked()
        ))
    }

    /// The call in SQL, as `columns` of its result. `None` for a look, and if an act that it refers
    /// to did not happen. `id` is the column that later acts refer to.
    pub fn sql(&self, named: &Named<'_>) -> Option<(&'static str, String)> {
        let w = self.wallet().map(name).unwrap_or_default();
        let (id, call) = match self {
            Act::Create {
                zone,
                credit,
                lanes,
                ..
            } => (
                "wallet",
                format!(
                    "create_wallet('{w}', time_zone => '{zone}', credit_limit => {}, lanes => {lanes})",
                    decimal(*credit)
                ),
            ),
            Act::Fund {
                amount,
                ends,
                priority,
                promotional,
                scope,
                pending,
                ..
            } => {
                let mut call = format!("fund('{w}', {}", decimal(*amount));
                call += &time("expires_at", *ends);
                if *priority != 100 {
                    let _ = write!(call, ", priority => {priority}");
                }
                if *promotional {
                    call += ", promotional => true";
                }
                if let Some(scope) = scope {
                    let _ = write!(call, ", scope => '{}'", scope.json());
                }
                if *pending {
                    call += ", status => 'pending'";
                }
                ("entry_id", call + ")")
            }
            Act::SettleFunding { funding, .. } => (
                "entry_id",
                format!("settle_funding('{w}', {})", named(*funding)?),
            ),
            Act::FailFunding { funding, .. } => (
                "entry_id",
                format!("fail_funding('{w}', {})", named(*funding)?),
            ),
            Act::Reverse {
                funding, amount, ..
            } => {
                let part = amount.map_or_else(String::new, |amount| {
                    format!(", amount => {}", decimal(amount))
                });
                (
                    "entry_id",
                    format!("reverse_funding('{w}', {}{part})", named(*funding)?),
                )
            }
            Act::Charge {
                cost: what,
                about,
                used,
                ..
            } => (
                "entry_id",
                format!(
                    "charge('{w}', {}{}{})",
                    cost(what),
                    about.arguments(),
                    time("event_at", *used)
                ),
            ),
            Act::Hold {
                cost: what,
                about,
                ttl,
                partial,
                ..
            } => {
                let partial = if *partial {
                    ", allow_partial => true"
                } else {
                    ""
                };
                (
                    "hold_id",
                    format!(
                        "hold('{w}', {}{}, ttl => '{ttl} seconds'{partial})",
                        cost(what),
                        about.arguments()
                    ),
                )
            }
            Act::Settle {
                hold,
                cost: what,
                last,
                over,
                used,
                ..
            } => {
                let mut call = format!("settle('{w}', {}, {}", named(*hold)?, cost(what));
                if !last {
                    call += ", final => false";
                }
                if *over != Over::Charge {
                    let _ = write!(call, ", over => '{}'", over.name());
                }
                ("entry_id", call + &time("event_at", *used) + ")")
            }
            Act::Void { hold, .. } => ("hold_id", format!("void('{w}', {})", named(*hold)?)),
            Act::Extend { hold, ttl, .. } => (
                "hold_id",
                format!("extend_hold('{w}', {}, '{ttl} seconds')", named(*hold)?),
            ),
            Act::Refund { charge, amount, .. } => {
                let part =
                    amount.map_or_else(String::new, |amount| format!(", {}", decimal(amount)));
                (
                    "entry_id",
                    format!("refund('{w}', {}{part})", named(*charge)?),
                )
            }
            Act::Adjust { amount, .. } => {
                ("entry_id", format!("adjust('{w}', {})", decimal(*amount)))
            }
            Act::Transfer { to, amount, .. } => (
                "entry_id",
                format!("transfer('{w}', '{}', {})", name(*to), decimal(*amount)),
            ),
            Act::VoidGrant { grant, .. } => {
                ("entry_id", format!("void_grant('{w}', {})", named(*grant)?))
            }
            Act::Recurring {
                name,
                amount,
                period,
                lives,
                rollover,
                scope,
                starts,
                ..
            } => {
                let mut call = format!(
                    "set_recurring_grant('{w}', {}, '{period}', name => '{name}'",
                    decimal(*amount)
                );
                if let Some(lives) = lives {
                    let _ = write!(call, ", expires_after => '{lives}'");
                }
                if let Some(most) = rollover {
                    let _ = write!(call, ", rollover_max => {}", decimal(*most));
                }
                if let Some(scope) = scope {
                    let _ = write!(call, ", scope => '{}'", scope.json());
                }
                if let Some(days) = starts {
                    let _ = write!(
                        call,
                        ", starts_on => (SELECT (statement_timestamp() AT TIME ZONE time_zone)::date + {days}
                           FROM wallet.wallets WHERE wallet_id = '{w}')"
                    );
                }
                ("grant_id", call + ")")
            }
            Act::StopRecurring { name, .. } => (
                "grant_id",
                format!("set_recurring_grant('{w}', 0, name => '{name}')"),
            ),
            Act::SetLimit {
                max,
                period,
                scope,
                metric,
                ..
            } => (
                "set_limit",
                format!(
                    "set_limit('{w}', {}, '{period}', scope => '{scope}', metric => '{metric}')",
                    decimal(*max)
                ),
            ),
            Act::Rule { rule, .. } => {
                let shares = if *rule == "fixed" {
                    ", '{\"red\": 0.6, \"blue\": 0.3}'"
                } else {
                    ""
                };
                (
                    "set_chargeback_rule",
                    format!("set_chargeback_rule('{w}', '{rule}'{shares})"),
                )
            }
            Act::SetLanes { lanes, .. } => ("wallet", format!("set_lanes('{w}', {lanes})")),
            Act::Maintain => ("task", "maintain()".to_owned()),
            Act::Archive { .. } => ("archived", format!("archive('{w}', statement_timestamp())")),
            Act::Look => return None,
        };
        Some((id, format!("SELECT * FROM wallet.{call}")))
    }
}

/// The acts as a readable script: each with its time, and ids named by the place of the act that
/// created them.
pub fn script(events: &[(Place, Event)]) -> String {
    let mut text_of_all = String::new();
    for (place, event) in events {
        let when = text(event.at);
        // A reference to an act that was left out has no effect.
        let is_there = |place: Place| events.iter().any(|event| event.0 == place);
        let named = |place: Place| is_there(place).then(|| format!(":'id{place}'"));
        let Some((id, sql)) = event.act.sql(&named) else {
            if event.act == Act::Look {
                let _ = writeln!(text_of_all, "-- {when}: compared");
            }
            continue;
        };
        let sql = match event.act {
            Act::Fund { .. }
            | Act::Charge { .. }
            | Act::Hold { .. }
            | Act::Settle { .. }
            | Act::Recurring { .. } => {
                format!(
                    "{} \\gset",
                    sql.replacen('*', &format!("{id} AS id{place}"), 1)
                )
            }
            Act::Transfer { .. } | Act::Adjust { .. } => {
                format!(
                    "{} \\gset",
                    sql.replacen('*', &format!("{id} AS id{place}"), 1)
                )
            }
            _ => format!("{sql};"),
        };
        let _ = writeln!(text_of_all, "-- {when}\n{sql}");
    }
    text_of_all
}
