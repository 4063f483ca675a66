//! The request of a charge, and its fingerprint.

use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;

use pgrx::Inet;
use rust_decimal::Decimal;

use crate::access::proven_key;
use crate::access::spending_policy::Caller;
use crate::args;
use crate::attribution::{Attribution, UseContext};
use crate::error::{Error, Result};
use crate::idempotency::fingerprint::{Fingerprint, canonical};
use crate::ledger::charges::passed::Passed;
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::document::Document;
use crate::pg::jsonb::Jsonb;
use crate::pg::numeric::Number;
use crate::pricing::rate::Priced;
use crate::pricing::reported::CostFrom;
use crate::pricing::usage::{MAX_USAGE_BYTES, Usage};
use crate::storage::rows::Call;

/// The arguments of `charge`, unchecked.
#[derive(Default)]
pub struct ChargeArgs<'a> {
    /// Id of the wallet that is debited. `None` is refused.
    pub wallet: Option<&'a str>,
    /// The usage object to price; `None` if the amount is given.
    pub usage: Option<Jsonb>,
    /// The amount, instead of usage.
    pub amount: Option<Number>,
    /// The user to whom the charge is attributed.
    pub user_id: Option<&'a str>,
    /// The team that the caller names for the user; `None` if it names none.
    pub team: Option<&'a str>,
    /// The model that was used.
    pub model: Option<&'a str>,
    /// The service that used the model.
    pub service: Option<&'a str>,
    /// The region of the model; `None` if only the usage may name one.
    pub region: Option<&'a str>,
    /// The service tier of the request, such as `batch`.
    pub service_tier: Option<&'a str>,
    /// A JSON object of the caller's tags.
    pub tags: Option<Jsonb>,
    /// The time of use.
    pub event_at: Option<Timestamp>,
    /// The secret of an API key: the argument `key`.
    pub secret: Option<&'a str>,
    /// The client's address; `None` fails if the wallet or the key limits addresses.
    pub client_ip: Option<Inet>,
    /// The client's device; `None` fails if the wallet or the key limits devices.
    pub device: Option<&'a str>,
    /// The caller's name for the request.
    pub idempotency_key: Option<&'a str>,
    /// The person or program that makes the call.
    pub actor: Option<&'a str>,
    /// A JSON object of the caller's own.
    pub metadata: Option<Jsonb>,
    /// The source of the cost: the prices, or the provider's report.
    pub cost_from: Option<&'a str>,
}

/// The thing to be paid for.
pub enum Asked {
    /// An amount that the caller has computed, which needs no price.
    Amount(Amount),
    /// Usage, its object and the canonical form of the object.
    Usage(Rc<Usage>, Jsonb, Rc<str>),
    /// Usage that the given entry booked without a price, priced now.
    Late(Box<Priced>, [u8; 16]),
}

impl Asked {
    /// A copy of the value.
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
    /// Id of the wallet that is debited.
    pub wallet: &'a str,
    /// The thing to be paid for.
    pub asked: Asked,
    /// The model, from the argument or the usage.
    pub model: Option<String>,
    /// The argument `model` alone. A provider's response is priced as that model.
    pub priced_as: Option<&'a str>,
    /// The user and team that the call names, and the key of an earlier call that this request
    /// continues.
    pub attribution: Attribution<'a>,
    /// The service that used the model.
    pub service: Option<&'a str>,
    /// The region, from the argument or the usage.
    pub region: Option<String>,
    /// The service tier, from the argument or the usage.
    pub service_tier: Option<String>,
    /// The caller's tags.
    pub tags: Option<Document>,
    /// The time of use. `None` if it is the time of booking.
    pub event_at: Option<Timestamp>,
    /// The idempotency key; without one, a repeated call is a new request.
    pub key: Option<&'a str>,
    /// The secret of an API key, from the argument or from `wallet.key`.
    pub secret: Option<Cow<'a, str>>,
    /// The client's address; `None` fails if the wallet or the key limits addresses.
    pub client_ip: Option<IpAddr>,
    /// The client's device; `None` fails if the wallet or the key limits devices.
    pub device: Option<&'a str>,
    /// The person or program that makes the call.
    pub actor: Option<&'a str>,
    /// The caller's own data.
    pub metadata: Option<Document>,
    /// The cost that the provider reports. `None` if the usage is priced by the price list.
    pub reported: Option<Decimal>,
    /// Set if a child passes its use on to this wallet.
    pub passed: Option<&'a Passed<'a>>,
}

/// The values that come from the arguments or from the usage object.
struct Named {
    asked: Asked,
    model: Option<String>,
    region: Option<String>,
    service_tier: Option<String>,
    reported: Option<Decimal>,
}

impl Named {
    /// The canonical form is written before the usage is read, because reading consumes the JSON.
    /// Names from a usage object are checked like the arguments that they replace.
    fn of(args: &ChargeArgs<'_>) -> Result<Named> {
        let model = args::name("model", args.model)?;
        let region = args::name("region", args.region)?;
        let service_tier = args::name("service_tier", args.service_tier)?;
        let cost_from = CostFrom::of(args.cost_from)?;
        match (args.usage, &args.amount) {
            (Some(_), Some(_)) => Err(Error::argument("both amount and usage are given")
                .detail("The cost is either given or computed from the usage.")
                .hint("Leave one of them out.")),
            (None, None) => Err(Error::argument("neither amount nor usage is given")
                .detail("Both arguments are NULL or were not given.")
                .hint("Give usage to be priced, or the amount itself.")),
            (None, Some(_)) if cost_from == CostFrom::Provider => {
                Err(Error::argument("cost_from asks for the cost of a usage")
                    .detail("An amount is given, and no usage that could report a cost.")
                    .hint("Give the usage instead of the amount, or leave cost_from out."))
            }
            (None, Some(number)) => Ok(Named {
                asked: Asked::Amount(args::amount("amount", Some(number))?),
                model: model.map(str::to_owned),
                region: region.map(str::to_owned),
                service_tier: service_tier.map(str::to_owned),
                reported: None,
            }),
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
                Ok(Named {
                    reported: match cost_from {
                        CostFrom::Provider => Some(usage.reported_amount()?),
                        CostFrom::Prices => None,
                    },
                    model: usage.model.clone(),
                    region: usage.region.clone(),
                    service_tier: usage.service_tier.clone(),
                    asked: Asked::Usage(Rc::new(usage), object, canonical.into()),
                })
            }
        }
    }
}

impl<'a> Request<'a> {
    /// Checks the arguments, before anything is read.
    pub fn check(args: ChargeArgs<'a>) -> Result<Request<'a>> {
        let wallet = args::required("wallet", args.wallet)?;
        let named = Named::of(&args)?;
        Ok(Request {
            wallet,
            asked: named.asked,
            model: named.model,
            priced_as: args.model,
            attribution: Attribution {
                user_id: args::name("user_id", args.user_id)?,
                team: args::name("team", args.team)?,
                key_id: None,
            },
            service: args::name("service", args.service)?,
            region: named.region,
            service_tier: named.service_tier,
            tags: args::tags(args.tags)?,
            event_at: args::event_at(args.event_at)?,
            key: args::name("idempotency_key", args.idempotency_key)?,
            secret: proven_key::spending(args::name("key", args.secret)?)?,
            client_ip: address(args.client_ip)?,
            device: args::name("device", args.device)?,
            actor: args::name("actor", args.actor)?,
            metadata: args::document("metadata", args.metadata)?,
            reported: named.reported,
            passed: None,
        })
    }

    /// A request to book an amount, without anything else.
    pub fn of_amount(wallet: &'a str, amount: Amount) -> Request<'a> {
        Request {
            wallet,
            asked: Asked::Amount(amount),
            model: None,
            priced_as: None,
            attribution: Attribution::default(),
            service: None,
            region: None,
            service_tier: None,
            tags: None,
            event_at: None,
            key: None,
            secret: None,
            client_ip: None,
            device: None,
            actor: None,
            metadata: None,
            reported: None,
            passed: None,
        }
    }

    /// The same request for another model, to ask about. It has no idempotency key, actor or
    /// metadata.
    pub fn for_model(&self, model: &'a str) -> Request<'a> {
        let asked = match &self.asked {
            Asked::Usage(usage, object, canonical) => {
                Asked::Usage(Rc::new(usage.for_model(model)), *object, canonical.clone())
            }
            other => other.again(),
        };
        Request {
            asked,
            model: Some(model.to_owned()),
            priced_as: Some(model),
            region: self.region.clone(),
            service_tier: self.service_tier.clone(),
            tags: self.tags.clone(),
            secret: self.secret.clone(),
            key: None,
            actor: None,
            metadata: None,
            ..*self
        }
    }

    /// A copy of the request.
    pub fn again(&self) -> Request<'_> {
        Request {
            asked: self.asked.again(),
            model: self.model.clone(),
            region: self.region.clone(),
            service_tier: self.service_tier.clone(),
            tags: self.tags.clone(),
            secret: self.secret.as_deref().map(Cow::Borrowed),
            metadata: self.metadata.clone(),
            ..*self
        }
    }

    /// The use, as far as the request names it.
    pub fn context(&self) -> UseContext<'_> {
        UseContext {
            provider: match &self.asked {
                Asked::Usage(usage, ..) => usage.provider.as_deref(),
                _ => None,
            },
            model: self.model.as_deref(),
            service: self.service,
            region: self.region.as_deref(),
            service_tier: self.service_tier.as_deref(),
            tags: self.tags.as_ref(),
        }
    }

    /// The caller, as far as the request names them.
    pub fn caller(&self) -> Caller<'_> {
        Caller {
            attribution: self.attribution,
            context: self.context(),
            secret: self.secret.as_deref(),
            client_ip: self.client_ip,
            device: self.device,
            actor: self.actor,
            acts_by_key: self.secret.is_some() && proven_key::is_given(),
        }
    }

    /// Half of a SHA-256 over everything that affects money or attribution. Two requests with the
    /// same fingerprint are the same request.
    pub fn fingerprint(&self) -> [u8; 16] {
        self.fingerprint_if(self.reported.is_some())
    }

    /// The fingerprint if the provider's cost is charged (`reported`), or if it is not.
    pub fn fingerprint_if(&self, reported: bool) -> [u8; 16] {
        let mut fingerprint = Fingerprint::new(Call::Charge as u8);
        match &self.asked {
            Asked::Amount(amount) => fingerprint.field("amount", Some(&amount.to_fixed())),
            Asked::Usage(_, _, canonical) => fingerprint.field("usage", Some(canonical)),
            // A late price has no idempotency key: its charge is priced once.
            Asked::Late(..) => {}
        }
        fingerprint.field("user_id", self.attribution.user_id);
        fingerprint.field("team", self.attribution.team);
        fingerprint.field("model", self.model.as_deref());
        fingerprint.field("service", self.service);
        fingerprint.field("region", self.region.as_deref());
        fingerprint.field("service_tier", self.service_tier.as_deref());
        let tags = self.tags.as_ref().and_then(|tags| canonical(tags.value));
        fingerprint.field("tags", tags.as_deref());
        let event_at = self.event_at.map(|at| at.0.to_string());
        fingerprint.field("event_at", event_at.as_deref());
        // The reported amount is part of the usage.
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
