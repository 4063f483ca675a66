//! SQL functions on top-ups.

use crate::access::audit::Of;
use crate::access::call::Call;
use crate::access::rights::{Level, Need, enter_as, enter_some};
use crate::alerts::topup_rule::read;
use crate::alerts::topup_rules;
use crate::alerts::topups::{self, End, Topup};
use crate::args;
use crate::error::Result;
use crate::idempotency::fingerprint::canonical;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::OrRaise;
use crate::pg::row::{composite, text};
use crate::storage::session::as_one_call;
use pgrx::datum::IntoDatum;
use pgrx::prelude::*;
use pgrx::{Uuid, default};

composite!(
    /// The result of `complete_topup` and `fail_topup`.
    TopupRow,
    "wallet.topup_result"
);

/// Sets when a wallet requests money by itself, and how much. NULL removes the rule of that name.
/// Returns the rule.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
fn set_topup_rule(
    wallet: Option<&str>,
    rule: Option<Jsonb>,
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
    name: default!(Option<&str>, "'default'"),
) -> Option<Jsonb> {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let name = args::new_name("name", name)?;
        let json = match rule {
            Some(rule) => {
                args::document("rule", Some(rule))?;
                Some((rule, rule.read("rule", args::MAX_DOCUMENT_BYTES)?))
            }
            None => None,
        };
        let checked = match &json {
            Some((given, json)) => Some(read(*given, json)?),
            None => None,
        };
        let call = Call::new("set_topup_rule", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("rule", rule.and_then(canonical))
            .with("name", name);
        call.change(Level::Billing, Of::Topups(name), |call| {
            topup_rules::set(wallet, name, checked.as_ref(), call)
        })
    };
    work().or_raise();
    rule
}

fn end<'a>(
    function: &'static str,
    wallet: Option<&'a str>,
    topup_id: Option<Uuid>,
    [reference, reason, key, actor]: [Option<&'a str>; 4],
    metadata: Option<Jsonb>,
) -> Result<End<'a>> {
    let hint = "Give the topup_id of the event topup_requested.";
    let topup_id = args::id("topup_id", topup_id, hint)?;
    let wallet = args::required("wallet", wallet)?;
    Ok(End {
        wallet,
        topup_id,
        reference: args::name("reference", reference)?,
        reason: args::text("reason", reason)?,
        actor: args::name("actor", actor)?,
        metadata: args::document("metadata", metadata)?,
        call: Call::new(function, wallet)
            .once(key)?
            .with("topup_id", topup_id)
            .with("reference", reference)
            .with("reason", reason)
            .idempotent(),
    })
}

pub fn time(at: Timestamp) -> Option<pg_sys::Datum> {
    Some(pg_sys::Datum::from(at.0))
}

fn row(end: &End<'_>, topup: Topup) -> TopupRow {
    TopupRow(vec![
        text(end.wallet),
        Uuid::from_bytes(end.topup_id).into_datum(),
        topup.amount.into_datum(),
        text(&topup.method),
        text(&topup.status),
        topup.reason.as_deref().and_then(text),
        topup.reference.as_deref().and_then(text),
        time(topup.created_at),
        topup.finished_at.and_then(time),
        topup
            .entry_id
            .and_then(|id| Uuid::from_bytes(id).into_datum()),
        topup.balance.into_datum(),
        topup.replayed.into_datum(),
        text(&topup.rule_name),
    ])
}

/// Credits a top-up that was paid. The call may be repeated, and it may come late.
#[pg_extern(schema = "wallet", requires = ["topups"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn complete_topup(
    wallet: Option<&str>,
    topup_id: Option<Uuid>,
    reference: default!(Option<&str>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> TopupRow {
    let work = || {
        let texts = [reference, None, idempotency_key, actor];
        let end = end("complete_topup", wallet, topup_id, texts, metadata)?;
        let topup = enter_as(Need::Events, end.wallet, actor, |_| topups::complete(&end))?;
        Ok(row(&end, topup))
    };
    work().or_raise()
}

/// Records that a top-up was not paid.
#[pg_extern(schema = "wallet", requires = ["topups"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn fail_topup(
    wallet: Option<&str>,
    topup_id: Option<Uuid>,
    reason: default!(Option<&str>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> TopupRow {
    let work = || {
        let texts = [None, reason, idempotency_key, actor];
        let end = end("fail_topup", wallet, topup_id, texts, metadata)?;
        let topup = enter_as(Need::Events, end.wallet, actor, |_| topups::fail(&end))?;
        Ok(row(&end, topup))
    };
    work().or_raise()
}

/// Requests money for the top-up rules whose time has come, if no charge has done so. Returns the
/// number of requests.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
fn request_due_topups(wallet: default!(Option<&str>, "NULL")) -> i64 {
    let work = || {
        let wallet = args::name("wallet", wallet)?;
        enter_some(Need::Events, |session| topups::request_due(session, wallet))
    };
    as_one_call(work).or_raise()
}
