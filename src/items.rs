//! Reads the items of a call that does for many what another call does for one.
//!
//! An item is a JSON object whose keys are the names of the arguments of the single call. Values
//! are checked by the same code as these arguments. An error says which item it is about, by its
//! number and as a JSON path.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use ipnet::IpNet;
use rust_decimal::Decimal;

use crate::args::{self, MAX_DOCUMENT_BYTES};
use crate::error::{Error, Result, quoted};
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::{Json, Jsonb};
use crate::pg::jsonb_parts::{Part, elements, members};
use crate::pg::numeric::Number;

/// The most items of one call.
const MAX_ITEMS: usize = 100_000;

/// An argument that contains items.
#[derive(Clone, Copy, Debug)]
pub struct Items {
    /// The name of the argument.
    pub argument: &'static str,
    /// The function that does the same for one.
    pub single: &'static str,
    /// The keys of an item.
    pub keys: &'static [&'static str],
    /// The path of the array in the argument: empty unless it is a part of a larger document.
    pub path: &'static str,
}

/// An item.
pub struct Item {
    of: &'static Items,
    /// Its place in the array. `None` if the argument is a single object.
    place: Option<usize>,
    entries: Vec<(String, Json)>,
    object: Jsonb,
}

impl Items {
    /// The items of an argument. 22023 unless it is an array of objects that have no unknown key.
    pub fn read(&'static self, value: Option<Jsonb>) -> Result<Vec<Item>> {
        let parts = value.and_then(elements).ok_or_else(|| {
            Error::argument(format!("{} is not a JSON array", self.argument))
                .detail(format!(
                    "The argument {} must be an array of objects with the arguments of {}().",
                    self.argument, self.single
                ))
                .hint(format!(
                    "Pass an array of objects with the keys {}.",
                    self.keys.join(", ")
                ))
        })?;
        if parts.len() > MAX_ITEMS {
            return Err(
                Error::argument(format!("{} has too many items", self.argument))
                    .detail(format!(
                        "It has {}; at most {MAX_ITEMS} are allowed.",
                        parts.len()
                    ))
                    .hint("Make several calls, each with a part of the items."),
            );
        }
        let parts = parts.into_iter().enumerate();
        parts
            .map(|(place, part)| self.item(Some(place), part))
            .collect()
    }

    /// The only item of an argument that is an object.
    pub fn single(&'static self, value: Jsonb) -> Result<Item> {
        self.item(None, Part::Container(value))
    }

    fn item(&'static self, place: Option<usize>, part: Part) -> Result<Item> {
        let read = match part {
            Part::Scalar(_) => None,
            Part::Container(object) => match object.read(self.argument, MAX_DOCUMENT_BYTES)? {
                Json::Object(entries) => Some((entries, object)),
                _ => None,
            },
        };
        let Some((entries, object)) = read else {
            return Err(
                Error::argument(format!("{} is not a JSON object", self.thing(place)))
                    .detail(self.at(place, None))
                    .hint(match place {
                        Some(_) => {
                            format!(
                                "An item is an object with the arguments of {}().",
                                self.single
                            )
                        }
                        None => format!("Valid keys are: {}.", self.keys.join(", ")),
                    }),
            );
        };
        let unknown = entries.iter().map(|(key, _)| key.as_str());
        match unknown.into_iter().find(|key| !self.keys.contains(key)) {
            Some(key) => Err(Error::argument(format!(
                "unrecognized key {} of {}",
                quoted(key),
                match place {
                    Some(_) => "an item",
                    None => self.argument,
                }
            ))
            .detail(self.at(place, Some(key)))
            .hint(format!("Valid keys are: {}.", self.keys.join(", ")))),
            None => Ok(Item {
                of: self,
                place,
                entries,
                object,
            }),
        }
    }

    /// The item in a message.
    fn thing(&self, place: Option<usize>) -> &'static str {
        match place {
            Some(_) => "item",
            None => self.argument,
        }
    }

    /// A sentence that says where a value is.
    fn at(&self, place: Option<usize>, key: Option<&str>) -> String {
        let Some(place) = place else {
            return match key {
                Some(key) => format!("It is at {key} of {}.", self.argument),
                None => format!("It is the argument {}.", self.argument),
            };
        };
        format!(
            "It is item {} of {}, at {}[{place}]{}{}.",
            place + 1,
            self.argument,
            self.path,
            if key.is_some() { "." } else { "" },
            key.unwrap_or_default(),
        )
    }

    /// 22023 if two items are about the same thing. `things` are the things in the order of the
    /// items, with their names for people. `key` is the key that says which thing, if one does.
    pub fn require_distinct<T: Eq + Hash>(
        &self,
        key: Option<&str>,
        things: impl Iterator<Item = (T, String)>,
    ) -> Result<()> {
        let mut seen: HashMap<T, usize> = HashMap::new();
        for (place, (thing, name)) in things.enumerate() {
            if let Some(first) = seen.insert(thing, place) {
                return Err(Error::argument(format!(
                    "{} occurs twice in {}",
                    quoted(name),
                    self.argument
                ))
                .detail(format!(
                    "The first one is item {}. {}",
                    first + 1,
                    self.at(Some(place), key)
                        .replacen("It", "The second one", 1)
                ))
                .hint("Give each one once."));
            }
        }
        Ok(())
    }
}

impl Item {
    /// The result of a check, whose error says which item it is about.
    pub fn told<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| {
            let key = error.objects.argument.clone();
            let key = key.filter(|key| self.of.keys.contains(&key.as_str()));
            let place = self.of.at(self.place, key.as_deref());
            let detail = match &error.detail {
                Some(detail) => format!("{detail} {place}"),
                None => place,
            };
            error.detail(detail)
        })
    }

    /// The error 22023 for an item that lacks what it needs.
    pub fn missing(&self, key: &str, hint: &str) -> Error {
        Error::argument(format!("{key} of an item is missing"))
            .detail(self.of.at(self.place, Some(key)))
            .hint(hint.to_owned())
    }

    /// The error 22023 for a value of another type than the argument's.
    fn wrong<T>(&self, key: &str, what: &str) -> Result<T> {
        let owner = match self.place {
            Some(_) => "an item",
            None => self.of.argument,
        };
        Err(Error::argument(format!("{key} of {owner} is not {what}"))
            .detail(self.of.at(self.place, Some(key)))
            .hint(format!(
                "Give {what}, or leave {key} out where that is allowed."
            )))
    }

    /// The item as it was given.
    pub fn object(&self) -> Jsonb {
        self.object
    }

    /// Whether the item has the key.
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    fn get(&self, key: &str) -> Option<&Json> {
        let found = self.entries.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value)
    }

    /// A text, or the default if the item does not have the key.
    pub fn text<'a>(&'a self, key: &str, default: Option<&'a str>) -> Result<Option<&'a str>> {
        match self.get(key) {
            None => Ok(default),
            Some(Json::Null) => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(_) => self.wrong(key, "a string"),
        }
    }

    /// True or false.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => self.wrong(key, "true or false"),
        }
    }

    /// A number, or the default if the item does not have the key.
    pub fn number(&self, key: &str, default: Option<i64>) -> Result<Option<Number>> {
        match self.get(key) {
            None => Ok(default.map(|number| Number::of(Decimal::from(number)))),
            Some(Json::Null) => Ok(None),
            Some(Json::Number(number)) => Ok(Some(number.clone())),
            Some(_) => self.wrong(key, "a number"),
        }
    }

    /// A whole number, or the default if the item does not have the key.
    pub fn whole(&self, key: &str, default: Option<i32>) -> Result<Option<i32>> {
        match self.get(key) {
            None => Ok(default),
            Some(Json::Null) => Ok(None),
            Some(Json::Number(number)) => {
                let decimal = number.to_decimal().filter(|decimal| decimal.is_integer());
                match decimal.and_then(|decimal| i32::try_from(decimal).ok()) {
                    Some(whole) => Ok(Some(whole)),
                    None => self.wrong(key, "a whole number"),
                }
            }
            Some(_) => self.wrong(key, "a whole number"),
        }
    }

    /// An array of strings.
    pub fn texts(&self, key: &str) -> Result<Option<Vec<Option<String>>>> {
        let one = |value: &Json| match value {
            Json::Null => Some(None),
            Json::String(text) => Some(Some(text.clone())),
            _ => None,
        };
        self.list(key, one, "an array of strings")
    }

    /// An array of numbers.
    pub fn numbers(&self, key: &str) -> Result<Option<Vec<Option<Number>>>> {
        let one = |value: &Json| match value {
            Json::Null => Some(None),
            Json::Number(number) => Some(Some(number.clone())),
            _ => None,
        };
        self.list(key, one, "an array of numbers")
    }

    fn list<T>(
        &self,
        key: &str,
        one: impl Fn(&Json) -> Option<T>,
        what: &str,
    ) -> Result<Option<Vec<T>>> {
        match self.get(key) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::Array(values)) => match values.iter().map(one).collect() {
                Some(list) => Ok(Some(list)),
                None => self.wrong(key, what),
            },
            Some(_) => self.wrong(key, what),
        }
    }

    /// An array of networks, as PostgreSQL's type `cidr` has them: no address below a network's
    /// own.
    pub fn networks(&self, key: &str) -> Result<Option<Vec<Option<String>>>> {
        let networks = self.texts(key)?;
        for text in networks.iter().flatten().flatten() {
            let network = text
                .parse::<IpNet>()
                .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            if !network.is_ok_and(|network| network.trunc() == network) {
                return self.wrong(key, "an array of networks such as 10.0.0.0/8");
            }
        }
        Ok(networks)
    }

    /// A point in time with its offset.
    pub fn time(&self, key: &str) -> Result<Option<Timestamp>> {
        let what = "a point in time such as 2030-01-31T00:00:00Z";
        match self.get(key) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(text)) => match Timestamp::parse(text) {
                Some(at) => Ok(Some(at)),
                None => self.wrong(key, what),
            },
            Some(_) => self.wrong(key, what),
        }
    }

    /// A time of day, in microseconds from midnight.
    pub fn time_of_day(&self, key: &str) -> Result<Option<i64>> {
        let what = "a time of day such as 06:00";
        match self.get(key) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(text)) => match args::micros_of_text(text) {
                Some(micros) => Ok(Some(micros)),
                None => self.wrong(key, what),
            },
            Some(_) => self.wrong(key, what),
        }
    }

    /// A JSON object that is passed on unchanged.
    pub fn json(&self, key: &str) -> Result<Option<Jsonb>> {
        self.container(key, "a JSON object")
    }

    /// A JSON array that is passed on unchanged.
    pub fn array(&self, key: &str) -> Result<Option<Jsonb>> {
        self.container(key, "a JSON array")
    }

    fn container(&self, key: &str, what: &str) -> Result<Option<Jsonb>> {
        let mut found = None;
        members(self.object, |name, part| {
            match part {
                Part::Container(value) if name == key => found = Some(value),
                Part::Scalar(Json::Null) => {}
                Part::Scalar(_) if name == key => return self.wrong(key, what),
                _ => {}
            }
            Ok(())
        })?;
        Ok(found)
    }
}
