//! Explains how every number of a usage object was counted, for a person who doubts a bill. Pure.

use std::cell::RefCell;
use std::rc::Rc;

use rust_decimal::Decimal;

use crate::error::Result;
use crate::pg::jsonb::Json;
use crate::pricing::normalize::apply::choose;
use crate::pricing::normalize::mapping::Mappings;
use crate::pricing::normalize::numbers::{Leaf, Walk, is_zero, text_of};
use crate::pricing::normalize::path::Object;
use crate::pricing::normalize::reading::{Reading, Role};
use crate::pricing::normalize::whole::Whole;
use crate::pricing::usage::Usage;

impl Role {
    /// Its name in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Meter => "meter",
            Role::Part => "part",
            Role::Total => "total",
            Role::NotBilled => "not billed",
            Role::Unread => "unread",
        }
    }
}

/// A number of a usage object, and how it was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// Its path in the whole object.
    pub path: String,
    /// The number as text.
    pub value: String,
    /// The meter that it counts for.
    pub meter: Option<String>,
    /// The part of the number that the meter counts.
    pub quantity: Option<Decimal>,
    /// How it was counted.
    pub role: Role,
    /// How the number was treated, for people; `None` if there is nothing to say.
    pub note: Option<String>,
}

fn note(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Explains every number of a usage. `is_meter` says which names are meters in the flat form.
pub fn explain(
    json: Json,
    provider: Option<&str>,
    mappings: impl Fn() -> Result<Rc<Mappings>>,
    is_meter: impl Fn(&str) -> Result<bool>,
) -> Result<Vec<Explained>> {
    // A usage that a charge would refuse is refused here as well.
    Usage::read_as(json.clone(), provider, &mappings)?;
    let whole = Whole::of(json, provider, &mappings)?;
    let known = mappings()?;
    let mut rows = match choose(&known, &whole.object, provider)? {
        Some((fit, _)) => {
            let reading = Reading::explained(&whole.object, fit);
            reading.read()?;
            accounts_of(&reading)
        }
        None => flat(&whole.object, is_meter)?,
    };
    for row in &mut rows {
        row.path = whole.path(&row.path);
    }
    for (meter, json) in &whole.extra {
        if let Json::Number(number) = json {
            rows.push(Explained {
                path: format!("extra.{meter}"),
                value: text_of(number),
                meter: Some(meter.clone()),
                quantity: number.to_decimal(),
                role: Role::Meter,
                note: note("a meter next to the usage"),
            });
        }
    }
    Ok(rows)
}

/// Explains the numbers of the flat form.
fn flat(object: &Object, is_meter: impl Fn(&str) -> Result<bool>) -> Result<Vec<Explained>> {
    let mut rows = Vec::new();
    Walk::new(object, None).each(&mut |leaf| {
        rows.push(Explained {
            path: leaf.path(),
            value: text_of(leaf.number),
            meter: None,
            quantity: leaf.number.to_decimal(),
            role: Role::Unread,
            note: None,
        });
        true
    });
    for row in &mut rows {
        let is_outermost = object.iter().any(|(key, _)| *key == row.path);
        (row.role, row.meter, row.note) = match &*row.path {
            "total_tokens" => (
                Role::Total,
                None,
                note("a sum, which the flat form does not check"),
            ),
            "cost" => (
                Role::NotBilled,
                None,
                note("the cost that the provider reports"),
            ),
            name if is_outermost && is_meter(name)? => (Role::Meter, Some(name.to_owned()), None),
            _ => (
                Role::Unread,
                None,
                note("no meter, unless a price has that name"),
            ),
        };
        if row.meter.is_none() {
            row.quantity = None;
        }
    }
    Ok(rows)
}

/// An account of every number, in the order of the usage object. Numbers outside of it come last.
fn accounts_of(reading: &Reading<'_>) -> Vec<Explained> {
    let not_billed = reading.not_billed();
    let accounts = reading.accounts.as_ref().map(RefCell::borrow);
    let accounts = accounts.as_deref().map_or(&[][..], Vec::as_slice);
    let mut rows = Vec::new();
    let mut shown = vec![false; accounts.len()];
    let mut visit = |leaf: &Leaf<'_, '_>| {
        let is_it = |one: &Json| std::ptr::eq(one, leaf.json);
        let mut row = Explained {
            path: leaf.path(),
            value: text_of(leaf.number),
            meter: None,
            quantity: None,
            role: Role::Unread,
            note: None,
        };
        // A number may be the total of some and a meter of others: the meter says more.
        let own = accounts.iter().enumerate();
        let own = own.filter(|(_, account)| account.values.iter().any(|one| is_it(one)));
        if let Some((place, account)) = own.min_by_key(|(_, account)| account.meter.is_none()) {
            row.role = account.role;
            row.meter = account.meter.map(str::to_owned);
            row.note = note(&account.note);
            row.quantity = match account.values.as_slice() {
                [_] => account.quantity,
                _ if account.quantity == Some(account.value) => {
                    account.quantity.and(leaf.number.to_decimal())
                }
                // A part that was taken out of several numbers together is shown with the first of
                // them.
                _ if !shown[place] => account.quantity,
                _ => None,
            };
            shown[place] = true;
        } else if let Some((_, why)) = not_billed.iter().find(|(json, _)| {
            is_it(json) || leaf.within.iter().any(|outer| std::ptr::eq(*outer, *json))
        }) {
            row.role = Role::NotBilled;
            row.note = note(why);
        }
        if row.role == Role::Unread && is_zero(leaf.number) {
            row.role = Role::NotBilled;
            row.note = note("zero");
        }
        rows.push(row);
        true
    };
    for walk in reading.walks() {
        walk.each(&mut visit);
    }
    for (account, shown) in accounts.iter().zip(shown) {
        if !shown && !account.value.is_zero() {
            rows.push(Explained {
                path: reading.name(account.path),
                value: account.value.normalize().to_string(),
                meter: account.meter.map(str::to_owned),
                quantity: account.quantity,
                role: account.role,
                note: note(&account.note),
            });
        }
    }
    rows
}
