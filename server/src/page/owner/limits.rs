//! The limits: everybody sees them, those who manage the wallet set them.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use uuid::Uuid;

use super::{Outcome, shown_in_place, then};
use crate::page::account::SignedIn;
use crate::page::failure::Failure;
use crate::page::layout;
use crate::page::parts::{hidden, input, or_none, paging, select, table};
use crate::page::session::{Asked, Posted};
use crate::page::state::Pages;

/// A page of limits, in the order of their ids, after the one in $2 with the subject in $3.
const LIST: &str = "SELECT (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('id', l.limit_id, 'scope', l.scope, 'subject', l.subject, \
            'period', l.period, 'metric', l.metric, 'mode', l.mode, 'max', l.max::text, 'used', l.used::text, 'held', l.held::text, \
            'remaining', l.remaining::text, 'paused', l.paused, 'is_default', l.is_default) ORDER BY l.limit_id, coalesce(l.subject, '')), '[]') \
       FROM (SELECT * FROM wallet.limits_status s \
              WHERE s.wallet = o.wallet AND ($2 IS NULL OR (s.limit_id, coalesce(s.subject, '')) > ($2::uuid, $3)) \
              ORDER BY s.limit_id, coalesce(s.subject, '') LIMIT 101) l)::text \
  FROM wallet.key_owner($1) o";
/// Only for a key of a member who manages the wallet: a key without a user has no role.
const SET: &str = "SELECT pg_catalog.to_json(wallet.set_limit(o.wallet, $2::numeric, $3, scope => $4, \
       subject => coalesce($5, '*'), metric => $6, mode => $7))::text \
  FROM wallet.key_owner($1) o \
  JOIN wallet.member_list m ON m.wallet = o.wallet AND m.user_id = o.user_id AND m.role IN ('owner', 'admin')";
const DROP: &str = "SELECT pg_catalog.to_json(wallet.drop_limit(o.wallet, $2::uuid)::text)::text \
  FROM wallet.key_owner($1) o \
  JOIN wallet.member_list m ON m.wallet = o.wallet AND m.user_id = o.user_id AND m.role IN ('owner', 'admin')";

#[derive(Deserialize)]
struct Limit {
    id: String,
    scope: String,
    subject: Option<String>,
    period: String,
    metric: String,
    mode: String,
    max: Option<String>,
    used: Option<String>,
    held: Option<String>,
    remaining: Option<String>,
    paused: bool,
    is_default: bool,
}

/// The change that was made, in the address after it, or where a page of the list begins.
#[derive(Deserialize)]
pub struct After {
    done: Option<String>,
    /// The row after which the page begins.
    pub from: Option<String>,
}

/// The page.
pub async fn list(
    State(pages): State<Pages>,
    person: SignedIn,
    Asked(after): Asked<After>,
) -> Result<Markup, Failure> {
    let outcome = match after.done.as_deref() {
        Some("set") => Outcome::Done("The limit was set."),
        Some("removed") => Outcome::Done("The limit was removed."),
        _ => Outcome::None,
    };
    let (form, from) = (LimitForm::default(), after.from.as_deref());
    view(&pages, &person, &outcome, &form, from).await
}

/// The id and the subject of the limit after which a page begins.
fn cursor_of(text: &str) -> Result<[Option<String>; 2], Failure> {
    let parts = text.split_once(':');
    let parts = parts.and_then(|(id, subject)| Some((id.parse::<Uuid>().ok()?, subject)));
    let (id, subject) = parts.ok_or_else(Failure::no_such_page)?;
    Ok([Some(id.to_string()), Some(subject.to_owned())])
}

async fn view(
    pages: &Pages,
    person: &SignedIn,
    outcome: &Outcome<'_>,
    form: &LimitForm,
    from: Option<&str>,
) -> Result<Markup, Failure> {
    let cursor = from.map_or(Ok([None, None]), cursor_of)?;
    let mut limits: Vec<Limit> = pages.read(&person.key, LIST, cursor.into()).await?;
    let paging = paging(&mut limits, "/limits", "limits", from, |limit| {
        format!("{}:{}", limit.id, limit.subject.as_deref().unwrap_or(""))
    });
    let manages = person.account.manages();
    let mut columns = vec![
        "Limit", "Subject", "Maximum", "Used", "Held", "Left", "Mode",
    ];
    if manages {
        columns.push("Change");
    }
    let rows = html! {
        @for limit in &limits {
            tr {
                th scope="row" { (limit.scope) ", " (limit.metric) " per " (limit.period) @if limit.paused { " (paused)" } }
                td { (or_none(limit.subject.as_deref())) }
                @for number in [&limit.max, &limit.used, &limit.held, &limit.remaining] {
                    td.number { (or_none(number.as_deref())) }
                }
                td { (limit.mode) }
                @if manages { td { @if limit.is_default { "for all wallets" } @else { (drop_button(person, limit)) } } }
            }
        }
    };
    Ok(layout::page(
        "Limits",
        "/limits",
        person,
        html! {
            (outcome.shown())
            @if limits.is_empty() { p { "The wallet has no limits." } }
            @else { (table("Limits with what is used of them", &columns, rows)) }
            (paging)
            @if manages { (fields(person, form)) }
        },
    ))
}

fn drop_button(person: &SignedIn, limit: &Limit) -> Markup {
    html! {
        details {
            summary { "Remove" }
            form method="post" action="/limits/drop" {
                (hidden("token", &person.token))
                (hidden("id", &limit.id))
                button.danger type="submit" aria-label={ "Remove for good: " (limit.scope) ", " (limit.metric) " per " (limit.period) } { "Remove for good" }
            }
        }
    }
}

fn fields(person: &SignedIn, form: &LimitForm) -> Markup {
    const PERIODS: &[(&str, &str)] = &[
        ("month", "month"),
        ("day", "day"),
        ("week", "week"),
        ("hour", "hour"),
        ("minute", "minute"),
        ("quarter", "quarter"),
        ("year", "year"),
        ("lifetime", "all time"),
        ("request", "request"),
        ("open", "open holds"),
    ];
    const SCOPES: &[(&str, &str)] = &[
        ("wallet", "the wallet"),
        ("user", "users"),
        ("team", "teams"),
        ("model", "models"),
        ("service", "services"),
        ("key", "keys"),
    ];
    const METRICS: &[(&str, &str)] = &[
        ("amount", "money"),
        ("requests", "requests"),
        ("tokens", "tokens"),
    ];
    const MODES: &[(&str, &str)] = &[
        ("hard", "refuse"),
        ("approve", "ask for approval"),
        ("soft", "only warn"),
    ];
    html! {
        section aria-labelledby="h-set" {
            h2 #h-set { "Set a limit" }
            p.quiet { "A limit of the same scope, subject, period and metric is replaced." }
            form.fields method="post" action="/limits" {
                (hidden("token", &person.token))
                (input("l-max", "max", "Maximum", &form.max, true))
                (select("l-period", "period", "Per", PERIODS, &form.period))
                (select("l-scope", "scope", "Of", SCOPES, &form.scope))
                (input("l-subject", "subject", "Subject (empty: each)", &form.subject, false))
                (select("l-metric", "metric", "Counts", METRICS, &form.metric))
                (select("l-mode", "mode", "Above it", MODES, &form.mode))
                button type="submit" { "Set the limit" }
            }
        }
    }
}

/// A limit.
#[derive(Default, Deserialize)]
pub struct LimitForm {
    max: String,
    period: String,
    scope: String,
    subject: String,
    metric: String,
    mode: String,
}

/// Sets a limit.
pub async fn set(
    State(pages): State<Pages>,
    posted: Posted<LimitForm>,
) -> Result<Response, Failure> {
    let (person, form) = posted.signed_in(&pages).await?;
    let person = person.manages()?;
    let text = |text: &str| Some(text.trim().to_owned());
    let arguments = vec![
        text(&form.max),
        text(&form.period),
        text(&form.scope),
        text(&form.subject).filter(|subject| !subject.is_empty()),
        text(&form.metric),
        text(&form.mode),
    ];
    // The same limit again is the same state.
    let made: Result<String, Failure> = pages.write(&person.key, SET, arguments, true).await;
    match made {
        Ok(_) => Ok(then("/limits?done=set")),
        Err(failure) => {
            let outcome = Outcome::Refused(shown_in_place(failure)?);
            let page = view(&pages, &person, &outcome, &form, None).await?;
            Ok(outcome.answer(page))
        }
    }
}

/// The id of a limit.
#[derive(Deserialize)]
pub struct Which {
    id: String,
}

/// Removes a limit.
pub async fn drop(State(pages): State<Pages>, posted: Posted<Which>) -> Result<Response, Failure> {
    let (person, form) = posted.signed_in(&pages).await?;
    let person = person.manages()?;
    let dropped: Result<String, Failure> = pages
        .write(&person.key, DROP, vec![Some(form.id)], false)
        .await;
    match dropped {
        Ok(_) => Ok(then("/limits?done=removed")),
        Err(failure) => {
            let outcome = Outcome::Refused(shown_in_place(failure)?);
            let page = view(&pages, &person, &outcome, &LimitForm::default(), None).await?;
            Ok(outcome.answer(page))
        }
    }
}

impl After {
    /// The change that was made.
    pub fn done(&self) -> Option<&str> {
        self.done.as_deref()
    }
}
