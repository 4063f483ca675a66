//! `charge_batch`: many charges in one call.
//!
//! Items are booked by wallet, in the order in which all calls lock wallets (`branches`): by payer,
//! children before their parents, then by name. So two batches never deadlock, nor do a batch and a
//! single charge. If several items use one payer, all children are locked before the first use.
//! Within a wallet, the order of the items is kept. A run of items is booked at once
//! (`together`): the lane is read once, each limit's window is read once, and the entries form one
//! chain.
//!
//! Sometimes booking a run at once differs from single charges: an item is replayed, is refused or
//! crosses a threshold. Then the run is divided until that item is alone and is booked by `charge`.

mod item;
mod together;

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};

use crate::access::family;
use crate::access::rights::{Level, enter, for_caller};
use crate::error::{Error, Result, quoted};
use crate::ledger::charges::replay::Charged;
use crate::ledger::charges::request::Request;
use crate::ledger::charges::{charge, replay};
use crate::ledger::wallets::branches::{Branches, Place, place_of_payer};
use crate::ledger::wallets::config;
use crate::money::Amount;
use crate::pg::jsonb::Jsonb;
use crate::pg::subtransaction::{Failure, attempt};
use crate::pg::{jsonb_parts, report};
use crate::storage::session::as_owner;
use item::{Fields, Item};
use together::Outcome;

/// Items that are booked at once. More items of one wallet are booked in several runs.
const RUN: usize = 1_000;

/// The treatment of the other items if one cannot be booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// No item is booked.
    Fail,
    /// The other items are booked.
    Skip,
}

impl OnError {
    /// All values.
    pub const ALL: &'static [OnError] = &[OnError::Fail, OnError::Skip];

    /// The name of the value in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            OnError::Fail => "fail",
            OnError::Skip => "skip",
        }
    }
}

/// The arguments of `charge_batch`, except the items.
pub struct Batch<'a> {
    /// The wallet of the items that name none.
    pub wallet: Option<&'a str>,
    /// The treatment of the other items after an error.
    pub on_error: OnError,
    /// The idempotency key from which the keys of items without one are derived.
    pub key: Option<&'a str>,
    /// The actor of the items that name none.
    pub actor: Option<&'a str>,
    /// The metadata of the items that have none.
    pub metadata: Option<Jsonb>,
}

/// An item that was booked.
pub struct Booked {
    /// The item's entry.
    pub entry_id: [u8; 16],
    /// The amount that was booked.
    pub cost: Amount,
    /// True if an earlier call made the entry.
    pub replayed: bool,
}

impl From<Charged> for Booked {
    fn from(charged: Charged) -> Booked {
        Booked {
            entry_id: charged.entry_id,
            cost: charged.cost,
            replayed: charged.replayed,
        }
    }
}

/// The result of an item.
pub type Answer = std::result::Result<Booked, Failure>;

/// Charges for each item. The answers are in the order of the items. Once the items are read,
/// `secret` is true if one of them contains the secret of an API key, or cannot be read and may
/// contain one.
pub fn charge_all(
    batch: &Batch<'_>,
    charges: Option<Jsonb>,
    secret: &Cell<bool>,
) -> Result<Vec<Answer>> {
    let elements = charges.and_then(jsonb_parts::elements).ok_or_else(|| {
        Error::argument("charges is not a JSON array")
            .detail("The argument charges must be an array of objects with the arguments of charge().")
            .hint("Pass an array such as [{\"usage\": {\"model\": \"gpt-4o\", \"input_tokens\": 1000}, \"user_id\": \"alice\"}].")
    })?;
    let mut answers: Vec<Option<Answer>> = (0..elements.len()).map(|_| None).collect();
    let mut items: Vec<Item> = Vec::with_capacity(elements.len());
    let mut first_unread = None;
    for (place, element) in elements.into_iter().enumerate() {
        match Item::read(batch, place, element) {
            Ok(item) => items.push(item),
            Err(error) => {
                answers[place] = Some(Err(error.clone().into()));
                first_unread.get_or_insert(error);
            }
        }
    }
    secret.set(first_unread.is_some() || items.iter().any(|item| item.has_secret));
    if secret.get() {
        report::hide_activity();
    }
    if let (OnError::Fail, Some(error)) = (batch.on_error, first_unread) {
        return Err(error);
    }
    let mut run = Run {
        on_error: batch.on_error,
        items: &items,
        answers: &mut answers,
    };
    run.book_all()?;
    answers
        .into_iter()
        .map(|answer| answer.ok_or_else(|| Error::internal("an item has no answer")))
        .collect()
}

/// The items of each wallet, in the order of locks. A wallet that the caller may not charge is not
/// locked; its items get the error when they are booked. Without any tree, each wallet pays for
/// itself, and its rules are read later, with its lane.
fn by_place(items: &[Item], branches: &mut Branches) -> Result<BTreeMap<Place, Vec<usize>>> {
    let mut by_wallet: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, item) in items.iter().enumerate() {
        by_wallet.entry(&item.wallet).or_default().push(index);
    }
    let has_trees = as_owner(|_| family::are_any())?;
    let places = by_wallet.into_iter().map(|(wallet, items)| {
        let found = match has_trees {
            true => enter(Level::Charger, wallet, |_| branches.add(wallet)).ok(),
            false => None,
        };
        (found.unwrap_or_else(|| place_of_payer(wallet)), items)
    });
    Ok(places.collect())
}

/// The items that are being booked.
struct Run<'a> {
    on_error: OnError,
    items: &'a [Item],
    answers: &'a mut [Option<Answer>],
}

impl Run<'_> {
    /// Books all items, in the order of locks.
    fn book_all(&mut self) -> Result<()> {
        let mut branches = Branches::default();
        let groups: Vec<(Place, Vec<usize>)> =
            by_place(self.items, &mut branches)?.into_iter().collect();
        for of_payer in groups.chunk_by(|(a, _), (b, _)| a.0 == b.0) {
            let uses: usize = of_payer.iter().map(|(_, items)| items.len()).sum();
            if uses > 1 {
                as_owner(|_| branches.lock(&of_payer[0].0.0))?;
            }
            for run in of_payer.iter().flat_map(|(_, items)| items.chunks(RUN)) {
                self.book(run)?;
            }
        }
        Ok(())
    }

    /// Books the items at these indexes, together if possible.
    fn book(&mut self, places: &[usize]) -> Result<()> {
        // An item that cannot be read without conversion is read alone, so that its error is its
        // own.
        let plain: Vec<Option<Request<'_>>> = places
            .iter()
            .map(|place| {
                self.items[*place]
                    .plain()
                    .and_then(|args| Request::check(args).ok())
            })
            .collect();
        let mut first = 0;
        for (index, request) in plain.iter().enumerate() {
            if request.is_none() {
                self.book_run(&places[first..index], &plain[first..index])?;
                self.alone(places[index])?;
                first = index + 1;
            }
        }
        self.book_run(&places[first..], &plain[first..])
    }

    fn book_run(&mut self, places: &[usize], requests: &[Option<Request<'_>>]) -> Result<()> {
        let known: Vec<&Request<'_>> = requests.iter().flatten().collect();
        if known.len() < 2 {
            return places.iter().try_for_each(|place| self.alone(*place));
        }
        match together::book(&known)? {
            Outcome::Booked(booked) => {
                for (place, booked) in places.iter().zip(booked) {
                    self.answers[self.items[*place].place] = Some(Ok(booked));
                }
                Ok(())
            }
            Outcome::Apart(apart) => {
                let mut first = 0;
                for index in apart {
                    self.book_run(&places[first..index], &requests[first..index])?;
                    self.alone(places[index])?;
                    first = index + 1;
                }
                self.book_run(&places[first..], &requests[first..])
            }
            Outcome::Refused => {
                let middle = places.len() / 2;
                self.book_run(&places[..middle], &requests[..middle])?;
                self.book_run(&places[middle..], &requests[middle..])
            }
        }
    }

    /// Books one item as `charge` does.
    fn alone(&mut self, place: usize) -> Result<()> {
        let item = &self.items[place];
        let work = || {
            let fields: Fields = item.fields()?;
            let request = Request::check(fields.args(item))?;
            enter(Level::Charger, request.wallet, |session| {
                // Many retries in one transaction would each write their lane and restore it.
                let currency = &config::known(request.wallet)?.currency;
                match replay::charge(&request, currency)? {
                    Some(first) => Ok(first),
                    None => {
                        let charged = charge::charge(&request);
                        charged.map_err(|error| for_caller(session, error))
                    }
                }
            })
        };
        let answer = match self.on_error {
            OnError::Fail => Ok(work()?.into()),
            OnError::Skip => {
                attempt(std::panic::AssertUnwindSafe(work), |_| true)?.map(Booked::from)
            }
        };
        self.answers[item.place] = Some(answer);
        Ok(())
    }
}

/// 22023 for an element that is not a valid item.
fn unreadable(index: usize, why: &str) -> Error {
    Error::argument(format!("item cannot be read: {why}"))
        .detail(format!("It is item {} of charges.", index + 1))
        .hint("An item is an object with the arguments of charge(), and with its wallet where the call names none.")
}

fn unknown_member(index: usize, name: &str) -> Error {
    unreadable(
        index,
        &format!("{} is no argument of charge()", quoted(name)),
    )
}
