//! One item of a batch: a JSON object with the arguments of `charge`.

use pgrx::Inet;

use crate::error::{Error, Result};
use crate::ledger::batch::{Batch, unknown_member, unreadable};
use crate::ledger::charges::request::ChargeArgs;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::{Json, Jsonb};
use crate::pg::jsonb_parts::{Part, members};
use crate::pg::numeric::Number;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::session::{as_owner, to_caller};

statement!(
    /// Converts members whose type differs from their argument's, as a cast does.
    CONVERT,
    [JSONBOID],
    "SELECT ($1 ->> 'amount')::numeric, ($1 ->> 'event_at')::timestamptz, ($1 ->> 'client_ip')::inet::text,
            $1 ->> 'user_id', $1 ->> 'team', $1 ->> 'model', $1 ->> 'service', $1 ->> 'region',
            $1 ->> 'service_tier', $1 ->> 'key', $1 ->> 'device', $1 ->> 'idempotency_key',
            $1 ->> 'actor', $1 ->> 'cost_from', nullif($1 -> 'usage', 'null'), nullif($1 -> 'tags', 'null'),
            nullif($1 -> 'metadata', 'null')"
);

/// An item of a batch.
pub struct Item {
    /// The item's index in the array.
    pub place: usize,
    /// Whether the item contains the secret of an API key.
    pub has_secret: bool,
    /// The item's wallet.
    pub wallet: String,
    object: Jsonb,
    /// The batch's values, for members that the item lacks. The key is the batch's key with the
    /// item's number.
    batch_metadata: Option<Jsonb>,
    batch_key: Option<String>,
    batch_actor: Option<String>,
    /// The arguments. `None` if a member has another type than its argument.
    plain: Option<Fields>,
}

/// The arguments of the item's charge.
#[derive(Clone, Default)]
pub struct Fields {
    usage: Option<Jsonb>,
    tags: Option<Jsonb>,
    metadata: Option<Jsonb>,
    amount: Option<Number>,
    event_at: Option<Timestamp>,
    client_ip: Option<String>,
    user_id: Option<String>,
    team: Option<String>,
    model: Option<String>,
    service: Option<String>,
    region: Option<String>,
    service_tier: Option<String>,
    secret: Option<String>,
    device: Option<String>,
    idempotency_key: Option<String>,
    actor: Option<String>,
    cost_from: Option<String>,
}

impl Fields {
    /// The field of a text argument. `None` if there is no text argument of that name.
    fn text(&mut self, name: &str) -> Option<&mut Option<String>> {
        Some(match name {
            "user_id" => &mut self.user_id,
            "team" => &mut self.team,
            "model" => &mut self.model,
            "service" => &mut self.service,
            "region" => &mut self.region,
            "service_tier" => &mut self.service_tier,
            "key" => &mut self.secret,
            "device" => &mut self.device,
            "idempotency_key" => &mut self.idempotency_key,
            "actor" => &mut self.actor,
            "cost_from" => &mut self.cost_from,
            _ => return None,
        })
    }

    /// The arguments of the item's charge.
    pub fn args<'a>(&'a self, item: &'a Item) -> ChargeArgs<'a> {
        ChargeArgs {
            wallet: Some(&item.wallet),
            usage: self.usage,
            amount: self.amount.clone(),
            user_id: self.user_id.as_deref(),
            team: self.team.as_deref(),
            model: self.model.as_deref(),
            service: self.service.as_deref(),
            region: self.region.as_deref(),
            service_tier: self.service_tier.as_deref(),
            tags: self.tags,
            event_at: self.event_at,
            secret: self.secret.as_deref(),
            client_ip: self.client_ip.clone().map(Inet),
            device: self.device.as_deref(),
            idempotency_key: self
                .idempotency_key
                .as_deref()
                .or(item.batch_key.as_deref()),
            actor: self.actor.as_deref().or(item.batch_actor.as_deref()),
            metadata: self.metadata.or(item.batch_metadata),
            cost_from: Some(self.cost_from.as_deref().unwrap_or("prices")),
        }
    }
}

impl Item {
    /// Reads an element of the array. 22023 if it is not an item. Only a wrong structure is an
    /// error here. An item with a wrong value is not plain, and is read field by field later.
    pub fn read(batch: &Batch<'_>, index: usize, element: Part) -> Result<Item> {
        let object = match element {
            Part::Container(object) => object,
            Part::Scalar(_) => return Err(unreadable(index, "it is not an object")),
        };
        let mut item = Item {
            place: index,
            has_secret: false,
            wallet: String::new(),
            object,
            batch_metadata: batch.metadata,
            batch_key: batch.key.map(|key| format!("{key}#{}", index + 1)),
            batch_actor: batch.actor.map(str::to_owned),
            plain: None,
        };
        let mut fields = Fields::default();
        let mut is_plain = true;
        let mut wallet = None;
        let mut has_secret = false;
        let is_object = members(object, |name, part| {
            has_secret |= name == "key";
            match (name, part) {
                ("wallet", Part::Scalar(Json::String(name))) => wallet = Some(name),
                (
                    "wallet" | "amount" | "event_at" | "client_ip" | "usage" | "tags" | "metadata",
                    Part::Scalar(Json::Null),
                ) => {}
                ("usage", Part::Container(object)) => fields.usage = Some(object),
                ("tags", Part::Container(object)) => fields.tags = Some(object),
                ("metadata", Part::Container(object)) => fields.metadata = Some(object),
                ("amount", Part::Scalar(Json::Number(number))) => fields.amount = Some(number),
                ("event_at", Part::Scalar(Json::String(text))) => match Timestamp::parse(&text) {
                    Some(at) => fields.event_at = Some(at),
                    None => is_plain = false,
                },
                ("client_ip", Part::Scalar(Json::String(text))) => {
                    is_plain &= text.parse::<std::net::IpAddr>().is_ok();
                    fields.client_ip = Some(text);
                }
                ("wallet", _) => return Err(unreadable(index, "its wallet is not a text")),
                ("amount" | "event_at" | "client_ip" | "usage" | "tags" | "metadata", _) => {
                    is_plain = false;
                }
                (name, part) => match (fields.text(name), part) {
                    (None, _) => return Err(unknown_member(index, name)),
                    (Some(_), Part::Scalar(Json::Null)) => {}
                    (Some(place), Part::Scalar(Json::String(text))) => *place = Some(text),
                    (Some(_), _) => is_plain = false,
                },
            }
            Ok(())
        })?;
        if !is_object {
            return Err(unreadable(index, "it is not an object"));
        }
        item.wallet = match (batch.wallet, wallet) {
            (Some(given), Some(named)) if given != named => {
                return Err(unreadable(index, "it names another wallet"));
            }
            (Some(given), _) => given.to_owned(),
            (None, Some(named)) => named,
            (None, None) => return Err(unreadable(index, "it names no wallet")),
        };
        item.has_secret = has_secret;
        item.plain = is_plain.then_some(fields);
        Ok(item)
    }

    /// The arguments. `None` if a member has another type than its argument.
    pub fn plain(&self) -> Option<ChargeArgs<'_>> {
        self.plain.as_ref().map(|fields| fields.args(self))
    }

    /// The arguments, converted if needed. A failed conversion raises PostgreSQL's own error.
    pub fn fields(&self) -> Result<Fields> {
        if let Some(fields) = &self.plain {
            return Ok(fields.clone());
        }
        as_owner(|_| {
            let rows = CONVERT.run(&[Value::OptJsonb(Some(self.object))])?;
            let text = |column: i32| rows.get::<String>(0, column);
            let document = |column: i32| rows.datum(0, column).map(|datum| Jsonb(to_caller(datum)));
            if rows.is_empty() {
                return Err(Error::internal("an item was not converted"));
            }
            Ok(Fields {
                usage: document(14),
                tags: document(15),
                metadata: document(16),
                amount: rows.get(0, 0),
                event_at: rows.get(0, 1),
                client_ip: text(2),
                user_id: text(3),
                team: text(4),
                model: text(5),
                service: text(6),
                region: text(7),
                service_tier: text(8),
                secret: text(9),
                device: text(10),
                idempotency_key: text(11),
                actor: text(12),
                cost_from: text(13),
            })
        })
    }
}
