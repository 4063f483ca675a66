//! What a charge asks for, and its fingerprint.

use std::net::IpAddr;
use std::rc::Rc;

use pgrx::Inet;
use rust_decimal::Decimal;

use crate::access::spending_policy::{Caller, Who};
use crate::args;
use crate::error::{Error, Result};
use crate::idempotency::fingerprint::{Fingerprint, canonical};
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::pg::numeric::Number;
use crate::pricing::rate::Priced;
use crate::pricing::reported::CostFrom;
use crate::pricing::usage::{MAX_USAGE_BYTES, Usage};
use crate::storage::rows::{Call, Document};

/// The arguments of `charge` as they came.
#[derive(Default)]
pub struct ChargeArgs<'a> {
    /// The wallet.
    pub wallet: Option<&'a str>,
    /// Usage to be priced.
    pub usage: Option<Jsonb>,
    /// Or the amount itself.
    pub amount: Option<Number>,
    /// Who used it.
    pub user_id: Option<&'a str>,
    /// The user's team.
    pub team: Option<&'a str>,
    /// Model.
    pub model: Option<&'a str>,
    /// Service.
    pub service: Option<&'a str>,
    /// Region.
    pub region: Option<&'a str>,
    /// Service tier.
    pub service_tier: Option<&'a str>,
    /// Tags.
    pub tags: Option<Jsonb>,
    /// When the use happened.
    pub event_at: Option<Timestamp>,
    /// API key.
    pub key: Option<&'a str>,
    /// Where the call comes from.
    pub client_ip: Option<Inet>,
    /// Device.
    pub device: Option<&'a str>,
    /// Idempotency key.
    pub idempotency_key: Option<&'a str>,
    /// Who acts.
    pub actor: Option<&'a str>,
    /// The caller's own data.
    pub metadata: Option<Jsonb>,
    /// Where the cost comes from.
    pub cost_from: Option<&'a str>,
}

/// What is to be paid for.
pub enum Asked {
    /// A given amount.
    Amount(Amount),
    /// Usage, the object and its canonical form.
    Usage(Rc<Usage>, Jsonb, Rc<str>),
    /// Usage that an entry booked without a price, priced now.
    Late(Box<Priced>, [u8; 16]),
}

impl Asked {
    /// The same once more.
    pub fn again(&self) -> Asked {
        match self {
            Asked::Amount(amount) => Asked::Amount(*amount),
            Asked::Usage(usage, object, canonical) => {
                Asked::Usage(usage.clone(), *object, canonical.clone())
            }
            Asked::Late(priced, charge) => Asked::Late(priced.clone(), *charge),
        }
    }
}

/// A checked request.
pub struct Request<'a> {
    /// The wallet.
    pub wallet: &'a str,
    /// What is to be paid for.
    pub asked: Asked,
    /// Model, from argument or usage.
    pub model: Option<String>,
    /// The argument alone: a provider's response is priced as that model.
    pub priced_as: Option<&'a str>,
    /// Who used it.
    pub user_id: Option<&'a str>,
    /// The user's team.
    pub team: Option<&'a str>,
    /// Service.
    pub service: Option<&'a str>,
    /// Region, from argument or usage.
    pub region: Option<String>,
    /// Service tier, from argument or usage.
    pub service_tier: Option<String>,
    /// Tags.
    pub tags: Option<Document>,
    /// When the use happened.
    pub event_at: Option<Timestamp>,
    /// Idempotency key.
    pub key: Option<&'a str>,
    /// The key that an earlier call used, which this one goes on.
    pub key_id: Option<[u8; 16]>,
    /// The secret of a key.
    pub secret: Option<&'a str>,
    /// Where the call comes from.
    pub client_ip: Option<IpAddr>,
    /// From which device.
    pub device: Option<&'a str>,
    /// Who acts.
    pub actor: Option<&'a str>,
    /// The caller's own data.
    pub metadata: Option<Document>,
    /// The cost that the provider reports, where that is what is charged.
    pub reported: Option<Decimal>,
}

impl<'a> Request<'a> {
    /// Checks the arguments, before anything is read.
    pub fn check(args: ChargeArgs<'a>) -> Result<Request<'a>> {
        let wallet = args::required("wallet", args.wallet)?;
        let model = args::name("model", args.model)?;
        let region = args::name("region", args.region)?;
        let service_tier = args::name("service_tier", args.service_tier)?;
        let cost_from = CostFrom::of(args.cost_from)?;
        let mut reported = None;
        let (asked, model, region, service_tier) = match (args.usage, args.amount) {
            (Some(_), Some(_)) => {
                return Err(Error::argument("both amount and usage are given")
                    .detail("The cost is either given or computed from the usage.")
                    .hint("Leave one of them out."));
            }
            (None, None) => {
                return Err(Error::argument("neither amount nor usage is given")
                    .detail("Both arguments are NULL or were not given.")
                    .hint("Give usage to be priced, or the amount itself."));
            }
            (None, Some(_)) if cost_from == CostFrom::Provider => {
                return Err(Error::argument("cost_from asks for the cost of a usage")
                    .detail("An amount is given, and no usage that could report a cost.")
                    .hint("Give the usage instead of the amount, or leave cost_from out."));
            }
            (None, Some(number)) => (
                Asked::Amount(args::amount("amount", Some(&number))?),
                model.map(str::to_owned),
                region.map(str::to_owned),
                service_tier.map(str::to_owned),
            ),
            (Some(object), None) => {
                let json = object.read("usage", MAX_USAGE_BYTES)?;
                let mut canonical = String::with_capacity(128);
                json.write_canonical(&mut canonical);
                let mut usage = Usage::read(json)?;
                usage.model = usage.model_or(model)?;
                usage.serve(region, service_tier)?;
                for (name, value) in [
                    ("model", &usage.model),
                    ("provider", &usage.provider),
                    ("region", &usage.region),
                    ("service_tier", &usage.service_tier),
                ] {
                    args::name(name, value.as_deref())?;
                }
                if cost_from == CostFrom::Provider {
                    reported = Some(usage.reported_amount()?);
                }
                let attributes = (
                    usage.model.clone(),
                    usage.region.clone(),
                    usage.service_tier.clone(),
                );
                let asked = Asked::Usage(Rc::new(usage), object, canonical.into());
                (asked, attributes.0, attributes.1, attributes.2)
            }
        };
        Ok(Request {
            wallet,
            asked,
            model,
            priced_as: args.model,
            user_id: args::name("user_id", args.user_id)?,
            team: args::name("team", args.team)?,
            service: args::name("service", args.service)?,
            region,
            service_tier,
            tags: args::tags(args.tags)?,
            event_at: args::event_at(args.event_at)?,
            key: args::name("idempotency_key", args.idempotency_key)?,
            key_id: None,
            secret: args::name("key", args.key)?,
            client_ip: address(args.client_ip)?,
            device: args::name("device", args.device)?,
            actor: args::name("actor", args.actor)?,
            metadata: args::document("metadata", args.metadata)?,
            reported,
        })
    }

    /// To whom the use is attributed, as far as the request says.
    pub fn given(&self) -> Who<'_> {
        Who {
            user_id: self.user_id,
            team: self.team,
            key_id: self.key_id,
        }
    }

    /// Who asks, as far as the request says.
    pub fn caller(&self) -> Caller<'_> {
        Caller {
            user_id: self.user_id,
            team: self.team,
            provider: match &self.asked {
                Asked::Usage(usage, ..) => usage.provider.as_deref(),
                _ => None,
            },
            model: self.model.as_deref(),
            secret: self.secret,
            client_ip: self.client_ip,
            device: self.device,
            actor: self.actor,
        }
    }

    /// Half of a SHA-256 over everything that changes money or attribution. Two requests with the
    /// same fingerprint are the same request.
    pub fn fingerprint(&self) -> [u8; 16] {
        self.fingerprint_if(self.reported.is_some())
    }

    /// What the fingerprint is if the provider's cost is charged, or if it is not.
    pub fn fingerprint_if(&self, reported: bool) -> [u8; 16] {
        let mut fingerprint = Fingerprint::new(Call::Charge as u8);
        match &self.asked {
            Asked::Amount(amount) => fingerprint.field("amount", Some(&amount.to_fixed())),
            Asked::Usage(_, _, canonical) => fingerprint.field("usage", Some(canonical)),
            // Has no key: its charge is priced once.
            Asked::Late(..) => {}
        }
        fingerprint.field("user_id", self.user_id);
        fingerprint.field("team", self.team);
        fingerprint.field("model", self.model.as_deref());
        fingerprint.field("service", self.service);
        fingerprint.field("region", self.region.as_deref());
        fingerprint.field("service_tier", self.service_tier.as_deref());
        let tags = self.tags.as_ref().and_then(|tags| canonical(tags.value));
        fingerprint.field("tags", tags.as_deref());
        let event_at = self.event_at.map(|at| at.0.to_string());
        fingerprint.field("event_at", event_at.as_deref());
        // The amount itself is part of the usage.
        fingerprint.field("cost_from", reported.then_some("provider"));
        fingerprint.finish()
    }
}

/// The address of a host, without a netmask.
pub fn address(value: Option<Inet>) -> Result<Option<IpAddr>> {
    let Some(Inet(text)) = value else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| {
        Error::argument("client_ip is not the address of a host")
            .detail(format!("It is {text}."))
            .hint("Pass one address, without a netmask.")
    })
}
