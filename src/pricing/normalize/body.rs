//! The part of a mapping that says what to read: attributes, meters with their parts, totals,
//! costs, and numbers that are not billed. Pure.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::pricing::normalize::path::Path;
use crate::pricing::normalize::raw;
use crate::pricing::normalize::shape::{Condition, MAX_ITEMS, paths};

/// Most levels of parts within parts.
const MAX_PARTS: usize = 8;

/// How to read the model, provider, region or service tier.
pub struct Attribute {
    /// Paths in the whole object.
    pub path: Vec<Path>,
    /// Translations of names. `None` is the default case, and empty means that nothing is known.
    names: BTreeMap<String, Option<String>>,
    /// A constant for every object of this mapping.
    pub is: Option<String>,
    /// Names that apply if a number of the usage object is not zero and no path has a name.
    pub told_by: Vec<(String, Vec<Path>)>,
}

impl Attribute {
    /// The translation of a provider's name. `None` is the default case.
    pub fn here<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        if self.names.is_empty() {
            return Some(name);
        }
        match self.names.get(&name.to_ascii_lowercase()) {
            Some(here) => here.as_deref(),
            None => Some(name),
        }
    }

    fn parse(raw: raw::Attribute, dotted: bool) -> Result<Attribute, String> {
        Ok(Attribute {
            path: paths(raw.path.all(), dotted)?,
            names: raw
                .names
                .into_iter()
                .map(|(name, here)| (name.to_ascii_lowercase(), here))
                .collect(),
            is: raw.is,
            told_by: raw
                .told_by
                .into_iter()
                .map(|(name, path)| Ok((name, paths(path.all(), dotted)?)))
                .collect::<Result<_, String>>()?,
        })
    }
}

/// A number of the usage object, and the parts that it includes.
pub struct Node {
    /// Alternative paths. The first whose number is not zero counts.
    pub path: Vec<Path>,
    /// The meter that counts the number without its parts.
    pub meter: Box<str>,
    /// Numbers that it includes and other nodes count.
    pub less: Vec<Path>,
    /// Whether the first path counts whatever the others say. Otherwise they must agree.
    pub takes_first: bool,
    /// Whether the number may be written as text.
    pub is_text: bool,
    /// A factor from the number to the quantity or cost.
    pub times: Option<Decimal>,
    /// True if the sum of the parts replaces the number where it is missing.
    pub implied: bool,
    /// True if the number may also be included in other parts. It counts as far as they leave room.
    pub overlaps: bool,
    /// True if the provider's total does not include it.
    pub outside_total: bool,
    /// Conditions of which all must hold for it to count.
    pub when: Vec<Condition>,
    /// Conditions of which none may hold.
    pub unless: Vec<Condition>,
    /// An explanation for `explain_usage`.
    pub why: Box<str>,
    /// Numbers that it includes, each with a meter of its own.
    pub parts: Vec<Node>,
}

impl Node {
    fn parse(raw: raw::Node, dotted: bool, depth: usize) -> Result<Node, String> {
        let path = paths(raw.path.all(), dotted)?;
        let Some(first) = path.first() else {
            return Err(format!("meter \"{}\" has no path", raw.meter));
        };
        if raw.meter.is_empty() || raw.meter.chars().count() > crate::args::MAX_NAME {
            return Err(format!(
                "the meter of path \"{first}\" has no name, or one of more than {} characters",
                crate::args::MAX_NAME
            ));
        }
        if depth > MAX_PARTS {
            return Err(format!(
                "parts are nested more than {MAX_PARTS} levels deep"
            ));
        }
        if raw.overlaps && (depth == 0 || !raw.parts.is_empty()) {
            return Err(format!(
                "path \"{first}\" overlaps, and is no part or has parts of its own"
            ));
        }
        Ok(Node {
            path,
            meter: raw.meter.into(),
            less: paths(raw.less.all(), dotted)?,
            takes_first: raw.first,
            is_text: raw.text,
            times: raw.times.as_deref().map(factor).transpose()?,
            implied: raw.implied,
            overlaps: raw.overlaps,
            outside_total: raw.outside_total,
            when: Condition::parse_all(&raw.when, dotted)?,
            unless: Condition::parse_all(&raw.unless, dotted)?,
            why: raw.why.into(),
            parts: nodes(raw.parts, dotted, depth + 1)?,
        })
    }

    /// Visits the node and its parts, with the depth of each.
    pub fn each<'a>(&'a self, depth: usize, visitor: &mut dyn FnMut(&'a Node, usize)) {
        visitor(self, depth);
        for part in &self.parts {
            part.each(depth + 1, visitor);
        }
    }
}

fn nodes(raw: Vec<raw::Node>, dotted: bool, depth: usize) -> Result<Vec<Node>, String> {
    if raw.len() > MAX_ITEMS {
        return Err(format!("a list of meters has more than {MAX_ITEMS}"));
    }
    raw.into_iter()
        .map(|node| Node::parse(node, dotted, depth))
        .collect()
}

/// A decimal factor above zero.
fn factor(text: &str) -> Result<Decimal, String> {
    Decimal::from_str_exact(text)
        .ok()
        .filter(|factor| *factor > Decimal::ZERO)
        .ok_or_else(|| format!("times \"{text}\" is not a decimal number above zero"))
}

/// The provider's own sum of all tokens.
pub struct Total {
    /// Alternative paths to it.
    pub path: Vec<Path>,
    /// The meter of the difference between the total and the meters, if the provider reports that
    /// quantity nowhere else.
    pub rest: Option<Box<str>>,
}

/// A cost that the provider reports.
pub struct Cost {
    /// Alternative paths to it.
    pub path: Vec<Path>,
    /// A factor from the number to the quantity or cost.
    pub times: Option<Decimal>,
    /// Amounts to add, with the conditions under which they are added.
    pub plus: Vec<(Vec<Path>, Vec<Condition>)>,
}

impl Cost {
    fn parse(raw: &raw::Cost, dotted: bool) -> Result<Cost, String> {
        let one = |text: &String| paths(std::slice::from_ref(text), dotted);
        match raw {
            raw::Cost::Path(path) => Ok(Cost {
                path: one(path)?,
                times: None,
                plus: Vec::new(),
            }),
            raw::Cost::Scaled(raw) => Ok(Cost {
                path: one(&raw.path)?,
                times: raw.times.as_deref().map(factor).transpose()?,
                plus: raw
                    .plus
                    .iter()
                    .map(|part| Ok((one(&part.path)?, Condition::parse_all(&part.when, dotted)?)))
                    .collect::<Result<_, String>>()?,
            }),
        }
    }

    /// The paths of the cost and of all additions.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let plus = self.plus.iter().flat_map(|(path, _)| path);
        self.path.iter().chain(plus)
    }
}

/// Numbers that no meter counts, with the reason.
pub struct NotBilled {
    /// Paths to them. A path to an object or array covers everything inside it.
    pub path: Vec<Path>,
    /// The reason, for people.
    pub why: Box<str>,
}

/// The body of a mapping.
pub struct Body {
    pub model: Attribute,
    pub provider: Attribute,
    pub region: Attribute,
    pub service_tier: Attribute,
    /// Values for conditions of prices, by the key that conditions use.
    pub conditions: Vec<(Box<str>, Vec<Path>)>,
    /// Keys of arrays of which each chunk of a stream has a part. They are joined.
    pub join: Vec<String>,
    pub cost: Vec<Cost>,
    pub meters: Vec<Node>,
    pub total: Option<Total>,
    pub not_billed: Vec<NotBilled>,
    /// Objects outside of the usage object whose numbers must be read as well.
    pub also: Vec<Path>,
}

impl Body {
    /// Reads a body, or says what is wrong with it. All paths are parsed here, so that no path is
    /// parsed while a usage object is read.
    pub fn compile(raw: raw::Body) -> Result<Body, String> {
        let dotted = raw.dotted;
        if raw.meters.is_empty() {
            return Err("meters has no element".to_owned());
        }
        if raw.not_billed.len() > MAX_ITEMS {
            return Err(format!("not_billed has more than {MAX_ITEMS} elements"));
        }
        Ok(Body {
            model: Attribute::parse(raw.model, dotted)?,
            provider: Attribute::parse(raw.provider, dotted)?,
            region: Attribute::parse(raw.region, dotted)?,
            service_tier: Attribute::parse(raw.service_tier, dotted)?,
            conditions: raw
                .conditions
                .into_iter()
                .map(|(key, path)| Ok((key.into(), paths(path.all(), dotted)?)))
                .collect::<Result<_, String>>()?,
            join: raw.join,
            cost: raw
                .cost
                .all()
                .iter()
                .map(|cost| Cost::parse(cost, dotted))
                .collect::<Result<_, _>>()?,
            meters: nodes(raw.meters, dotted, 0)?,
            total: match raw.total {
                None => None,
                Some(total) => Some(Total {
                    path: paths(total.path.all(), dotted)?,
                    rest: total.rest.map(String::into_boxed_str),
                }),
            },
            also: paths(raw.also.all(), dotted)?,
            not_billed: raw
                .not_billed
                .into_iter()
                .map(|raw| {
                    Ok(NotBilled {
                        path: paths(raw.path.all(), dotted)?,
                        why: raw.why.into(),
                    })
                })
                .collect::<Result<_, String>>()?,
        })
    }
}
