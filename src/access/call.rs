//! A call that changes something: the parts that all such SQL functions share.

use crate::access::audit::{
    Act, Of, Outcomes, enter_audited, enter_audited_for_many, enter_making,
};
use crate::access::audit_making::Making;
use crate::access::rights::{Level, enter_as};
use crate::args;
use crate::currency::Currency;
use crate::error::Result;
use crate::idempotency::call::IdempotentCall;
use crate::idempotency::fingerprint::Fingerprint;
use crate::money::Amount;
use crate::pg::document::Document;
use crate::pg::jsonb::Jsonb;
use crate::storage::rows::uuid_text;
use rust_decimal::Decimal;

/// The kind in fingerprints of calls that do not write a charge.
const KIND: u8 = 0;

/// A call of a function on a wallet, with its idempotency key and arguments.
pub struct Call<'a> {
    /// The function's name.
    pub function: &'static str,
    /// The wallet's id; `*` for a call that concerns all wallets.
    pub wallet: &'a str,
    /// The person or program that makes the call, as the caller says.
    pub actor: Option<&'a str>,
    /// The caller's metadata.
    pub metadata: Option<Document>,
    key: Option<&'a str>,
    fingerprint: Fingerprint,
}

impl<'a> Call<'a> {
    /// A call of that function on that wallet.
    pub fn new(function: &'static str, wallet: &'a str) -> Call<'a> {
        Call {
            function,
            wallet,
            actor: None,
            metadata: None,
            key: None,
            fingerprint: Fingerprint::new(KIND),
        }
    }

    /// Checks and sets the actor.
    pub fn by(self, actor: Option<&'a str>) -> Result<Call<'a>> {
        let actor = args::name("actor", actor)?;
        Ok(Call { actor, ..self })
    }

    /// Checks and sets the caller's metadata.
    pub fn noting(self, metadata: Option<Jsonb>) -> Result<Call<'a>> {
        let metadata = args::document("metadata", metadata)?;
        Ok(Call { metadata, ..self })
    }

    /// Checks and sets the idempotency key.
    pub fn once(self, idempotency_key: Option<&'a str>) -> Result<Call<'a>> {
        let key = args::name("idempotency_key", idempotency_key)?;
        Ok(Call { key, ..self })
    }

    /// Adds an argument to the fingerprint. A retry must have the same arguments.
    pub fn with(mut self, argument: &str, value: impl Argument) -> Call<'a> {
        self.fingerprint
            .field(argument, value.canonical().as_deref());
        self
    }

    /// The call, for the look-up by its idempotency key.
    pub fn idempotent(&self) -> IdempotentCall<'a> {
        IdempotentCall {
            wallet: self.wallet,
            call: self.function,
            key: self.key,
            fingerprint: self.fingerprint.clone().finish(),
        }
    }

    /// The call, for the audit trail.
    pub fn act(&self) -> Act<'a> {
        Act {
            wallet: self.wallet,
            action: self.function,
            actor: self.actor,
            metadata: self.metadata.as_ref().map(|document| document.value),
        }
    }

    /// Checks level and role, and runs `work` as the owner.
    pub fn enter<T>(
        &self,
        level: Level,
        work: impl FnOnce(IdempotentCall<'a>) -> Result<T>,
    ) -> Result<T> {
        enter_as(level, self.wallet, self.actor, |_| work(self.idempotent()))
    }

    /// Checks level and role, runs `work` as the owner, and records how it changed the row.
    pub fn change<T>(
        &self,
        level: Level,
        of: Of<'_>,
        work: impl FnOnce(IdempotentCall<'a>) -> Result<T>,
    ) -> Result<T> {
        enter_audited(level, &self.act(), of, |_| work(self.idempotent()))
    }

    /// Like `change`, for a call that changes many rows. `end` gets what happened to each of them.
    pub fn change_many<T, R>(
        &self,
        level: Level,
        of: Of<'_>,
        work: impl FnOnce(IdempotentCall<'a>) -> Result<T>,
        end: impl FnOnce(IdempotentCall<'a>, T, &Outcomes) -> Result<R>,
    ) -> Result<R> {
        let work = |_: &_| work(self.idempotent());
        enter_audited_for_many(level, &self.act(), of, work, |done, outcomes| {
            end(self.idempotent(), done, outcomes)
        })
    }

    /// Like `change`, for a call that adds a row with an id of its own and returns the id.
    pub fn make(
        &self,
        level: Level,
        making: Making,
        work: impl FnOnce(IdempotentCall<'a>) -> Result<[u8; 16]>,
    ) -> Result<[u8; 16]> {
        enter_making(level, &self.act(), making, |_| work(self.idempotent()))
    }
}

/// An argument in a fingerprint: equal values have equal texts.
pub trait Argument {
    /// The text; `None` for an argument that was not given.
    fn canonical(&self) -> Option<String>;
}

impl<T: Argument> Argument for Option<T> {
    fn canonical(&self) -> Option<String> {
        self.as_ref().and_then(Argument::canonical)
    }
}

impl Argument for [u8; 16] {
    fn canonical(&self) -> Option<String> {
        Some(uuid_text(*self))
    }
}

impl Argument for Amount {
    fn canonical(&self) -> Option<String> {
        Some(self.to_fixed())
    }
}

/// A list. Its elements contain no line breaks, so the separator is unambiguous.
impl Argument for &[String] {
    fn canonical(&self) -> Option<String> {
        Some(self.join("\n"))
    }
}

macro_rules! displayed {
    ($($type:ty),*) => {$(
        impl Argument for $type {
            fn canonical(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )*};
}
displayed!(&str, String, bool, i16, i32, i64, Decimal, Currency);
