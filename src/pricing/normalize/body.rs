//! What a mapping reads: attributes, meters with their parts, totals, costs, and what is not billed. Pure.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::pricing::normalize::path::Path;
use crate::pricing::normalize::raw;
use crate::pricing::normalize::shape::{Condition, MAX_ITEMS, paths};

/// Parts of parts of parts: as deep as a mapping may go.
const MAX_PARTS: usize = 8;

/// Where model, provider, region or service tier stand.
pub struct Attribute {
    /// Paths in the whole object.
    pub path: Vec<Path>,
    /// What a name is called here: none where it means the ordinary case, empty where it says nothing.
    names: BTreeMap<String, Option<String>>,
    /// A name that holds for every object of this mapping.
    pub is: Option<String>,
    /// Names that hold where a number of the usage object is not zero, where nothing else says a name.
    pub told_by: Vec<(String, Vec<Path>)>,
}

impl Attribute {
    /// What a name is called here.
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

/// A number of the usage object and what is inside it.
pub struct Node {
    /// Where it stands; the first that is there and not zero.
    pub path: Vec<Path>,
    /// The meter that gets what is left when the parts are taken out.
    pub meter: Box<str>,
    /// Numbers that it includes and that are counted elsewhere.
    pub less: Vec<Path>,
    /// Whether the first path counts, whatever the others say; else they must not contradict each other.
    pub takes_first: bool,
    /// Whether the number may be written as text.
    pub is_text: bool,
    /// What it is multiplied by.
    pub times: Option<Decimal>,
    /// True when it is the sum of its parts where it is not there itself.
    pub implied: bool,
    /// True of a part that may be in the other parts as well: it counts as far as they leave room.
    pub overlaps: bool,
    /// True when the provider's total does not have it.
    pub outside_total: bool,
    /// Conditions of which all must hold for it to count.
    pub when: Vec<Condition>,
    /// Conditions of which none may.
    pub unless: Vec<Condition>,
    /// A note for people.
    pub why: Box<str>,
    /// Numbers that it includes.
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

    /// Itself and its parts, with the depth of each.
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
    /// Where it stands.
    pub path: Vec<Path>,
    /// The meter of what it has beyond the meters, where a provider names that nowhere else.
    pub rest: Option<Box<str>>,
}

/// A cost that the provider reports.
pub struct Cost {
    /// Where it stands.
    pub path: Vec<Path>,
    /// What it is multiplied by.
    pub times: Option<Decimal>,
    /// What comes on top of it, and when.
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

    /// All paths.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let plus = self.plus.iter().flat_map(|(path, _)| path);
        self.path.iter().chain(plus)
    }
}

/// Numbers that are no meter, and why.
pub struct NotBilled {
    /// Where they stand; all that is in what a path leads to.
    pub path: Vec<Path>,
    /// Why.
    pub why: Box<str>,
}

/// What a mapping reads.
pub struct Body {
    /// The model.
    pub model: Attribute,
    /// The provider.
    pub provider: Attribute,
    /// The region.
    pub region: Attribute,
    /// The service tier.
    pub service_tier: Attribute,
    /// Values that conditions of prices may look at, by key.
    pub conditions: Vec<(Box<str>, Vec<Path>)>,
    /// Arrays of the whole object that the chunks of a stream have in parts.
    pub join: Vec<String>,
    /// The cost that the provider reports.
    pub cost: Vec<Cost>,
    /// The numbers.
    pub meters: Vec<Node>,
    /// Their sum.
    pub total: Option<Total>,
    /// What is not billed.
    pub not_billed: Vec<NotBilled>,
    /// Objects beside the usage object whose numbers are accounted for as well.
    pub also: Vec<Path>,
}

impl Body {
    /// Reads a body, or says what is wrong with it.
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
