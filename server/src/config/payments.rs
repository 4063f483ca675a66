//! Settings of payments: the provider, its secrets, and the amounts that customers may pay.

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Secret, Span};

/// Payments.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Payments {
    /// The payment provider Stripe.
    pub stripe: Stripe,
}

/// Stripe. It is used if `secret_key` is set.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stripe {
    /// The secret key of the account, or a restricted one.
    pub secret_key: Secret,
    /// The secrets that sign events. During a rotation there are two.
    #[serde(deserialize_with = "super::secret::several")]
    pub webhook_secrets: Vec<Secret>,
    /// Where a customer goes after paying.
    pub success_url: String,
    /// Where a customer goes without paying.
    pub cancel_url: String,
    /// The amounts that a customer may pay, by currency.
    pub amounts: Vec<Offer>,
    /// Methods of top-up rules whose requests are charged to the saved card.
    pub methods: Vec<String>,
    /// The name of this ledger among those that share the account.
    pub ledger: String,
    /// The address of the API.
    pub api: String,
    /// How long a request to the API may take.
    pub timeout: Span,
    /// How old a signature of an event may be.
    pub tolerance: Span,
    /// How often requested top-ups are looked for.
    pub poll: Span,
    /// How many payments are booked at the same time. Each has a connection of the worker's role.
    pub connections: usize,
}

impl Default for Stripe {
    fn default() -> Stripe {
        Stripe {
            secret_key: Secret::default(),
            webhook_secrets: Vec::new(),
            success_url: String::new(),
            cancel_url: String::new(),
            amounts: Vec::new(),
            methods: vec!["card".to_owned()],
            ledger: String::new(),
            api: "https://api.stripe.com".to_owned(),
            timeout: Span::seconds(10),
            tolerance: Span::seconds(300),
            poll: Span::seconds(5),
            connections: 4,
        }
    }
}

impl Stripe {
    /// Whether payments are set up.
    pub fn is_enabled(&self) -> bool {
        !self.secret_key.expose().is_empty()
    }
}

/// The least and the highest amount in a currency, such as `USD 5-1000`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The currency, as a code of ISO 4217.
    pub currency: String,
    /// The least amount.
    pub min: Decimal,
    /// The highest amount.
    pub max: Decimal,
}

impl Offer {
    fn read(text: &str) -> Option<Offer> {
        let (currency, range) = text.split_once(' ')?;
        let (min, max) = range.split_once('-')?;
        let min = Decimal::from_str_exact(min.trim()).ok()?;
        let max = Decimal::from_str_exact(max.trim()).ok()?;
        let is_code = currency.len() == 3 && currency.bytes().all(|byte| byte.is_ascii_uppercase());
        (is_code && min > Decimal::ZERO && max >= min).then(|| Offer {
            currency: currency.to_owned(),
            min,
            max,
        })
    }
}

impl<'de> Deserialize<'de> for Offer {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Offer, D::Error> {
        let text = String::deserialize(source)?;
        Offer::read(&text).ok_or_else(|| {
            de::Error::custom(format!("{text:?} is not a range such as \"USD 5-1000\""))
        })
    }
}

impl Serialize for Offer {
    fn serialize<S: Serializer>(&self, target: S) -> Result<S::Ok, S::Error> {
        target.collect_str(&format_args!("{} {}-{}", self.currency, self.min, self.max))
    }
}

/// The longest name of a ledger.
const LEDGER_MAX: usize = 40;
/// The shortest secret that can sign events.
const SECRET_MIN: usize = 16;

/// The settings with which walletd refuses to start, each with the reason.
pub fn problems(payments: &Payments) -> Vec<(&'static str, &'static str)> {
    let stripe = &payments.stripe;
    if !stripe.is_enabled() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut fatal = |is_wrong: bool, setting: &'static str, text: &'static str| {
        if is_wrong {
            found.push((setting, text));
        }
    };
    let key = stripe.secret_key.expose();
    fatal(
        !key.starts_with("sk_") && !key.starts_with("rk_"),
        "payments.stripe.secret_key",
        "is no secret key: it begins with sk_ or rk_",
    );
    let secrets = &stripe.webhook_secrets;
    fatal(
        secrets.is_empty() || secrets.iter().any(|one| one.expose().len() < SECRET_MIN),
        "payments.stripe.webhook_secrets",
        "needs the signing secret of the endpoint, of at least 16 characters",
    );
    for (setting, url) in [
        ("payments.stripe.success_url", &stripe.success_url),
        ("payments.stripe.cancel_url", &stripe.cancel_url),
        ("payments.stripe.api", &stripe.api),
    ] {
        fatal(
            !is_safe(url),
            setting,
            "must be an address with https://; only this machine may have http://",
        );
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    fatal(
        !stripe.ledger.chars().all(is_plain) || stripe.ledger.len() > LEDGER_MAX,
        "payments.stripe.ledger",
        "must have at most 40 letters, digits, underscores and hyphens",
    );
    fatal(
        stripe.amounts.is_empty(),
        "payments.stripe.amounts",
        "needs a range for each currency, such as [\"USD 5-1000\"]",
    );
    for (setting, span) in [
        ("payments.stripe.timeout", stripe.timeout),
        ("payments.stripe.tolerance", stripe.tolerance),
        ("payments.stripe.poll", stripe.poll),
    ] {
        fatal(span.get().is_zero(), setting, "must be at least 1ms");
    }
    fatal(
        stripe.connections == 0,
        "payments.stripe.connections",
        "must be at least 1",
    );
    found
}

/// Whether what is sent to an address cannot be read on the way.
fn is_safe(url: &str) -> bool {
    let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
    let is_local = local.iter().any(|start| {
        let rest = url.strip_prefix(start);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    });
    is_local || url.len() > "https://".len() && url.starts_with("https://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_a_code_and_two_exact_amounts() {
        let offer = Offer::read("USD 0.50-1000").unwrap();
        assert_eq!(
            (offer.min, offer.max),
            (Decimal::new(50, 2), Decimal::from(1000))
        );
        for text in [
            "USD",
            "usd 1-2",
            "USD 2-1",
            "USD 0-1",
            "USD -1-2",
            "USD 1e3-2e3",
            "credits 1-2",
            "USD 1",
        ] {
            assert_eq!(Offer::read(text), None, "{text}");
        }
    }

    #[test]
    fn settings_that_are_not_safe_are_found() {
        let secret = |text: &str| Secret::new(text.to_owned());
        assert!(problems(&Payments::default()).is_empty());
        let right = Stripe {
            secret_key: secret("sk_test_1"),
            webhook_secrets: vec![secret("whsec_0123456789")],
            success_url: "https://example.com/paid".to_owned(),
            cancel_url: "http://localhost:3000/".to_owned(),
            amounts: vec![Offer::read("USD 5-10").unwrap()],
            ..Stripe::default()
        };
        let found = |stripe: Stripe| -> Vec<&'static str> {
            problems(&Payments { stripe })
                .iter()
                .map(|one| one.0)
                .collect()
        };
        assert_eq!(found(right.clone()), Vec::<&str>::new());
        let wrong = Stripe {
            secret_key: secret("pk_test_1"),
            webhook_secrets: vec![secret("short")],
            success_url: String::new(),
            cancel_url: "http://localhost.example.com/".to_owned(),
            api: "http://api.stripe.com".to_owned(),
            amounts: Vec::new(),
            poll: Span::seconds(0),
            connections: 0,
            ledger: "a b".to_owned(),
            ..right
        };
        assert_eq!(found(wrong).len(), 9);
    }
}
