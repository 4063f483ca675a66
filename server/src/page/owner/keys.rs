//! The keys: making, rotating and revoking them. A secret is shown once.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde::Deserialize;
use uuid::Uuid;

use super::limits::After;
use super::{Outcome, shown_in_place, then};
use crate::config::Secret;
use crate::page::account::SignedIn;
use crate::page::failure::Failure;
use crate::page::layout;
use crate::page::parts::{hidden, input, or_none, paging, select, table};
use crate::page::session::{Asked, Posted, with_visit};
use crate::page::state::Pages;

/// A page of keys, the newest first, after the one in $2.
const LIST: &str = "SELECT (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('id', l.key_id, 'user', l.user_id, 'name', l.name, \
            'status', CASE WHEN l.status = 'active' AND l.expires_at <= pg_catalog.now() THEN 'expired' ELSE l.status END, \
            'made', pg_catalog.to_char(l.created_at AT TIME ZONE w.time_zone, 'YYYY-MM-DD HH24:MI'), \
            'expires', pg_catalog.to_char(l.expires_at AT TIME ZONE w.time_zone, 'YYYY-MM-DD HH24:MI'), \
            'is_own', l.key_id = o.key_id) ORDER BY l.created_at DESC, l.key_id DESC), '[]') \
       FROM (SELECT * FROM wallet.keys s \
              WHERE s.wallet = o.wallet AND ($2 IS NULL OR (s.created_at, s.key_id) < ( \
                    SELECT f.created_at, f.key_id FROM wallet.keys f WHERE f.wallet = o.wallet AND f.key_id = $2::uuid)) \
              ORDER BY s.created_at DESC, s.key_id DESC LIMIT 101) l)::text \
  FROM wallet.key_owner($1) o JOIN wallet.wallets w ON w.wallet_id = o.wallet";
/// These are only for a key of a member who manages the wallet. A key expires with a day, so that a
/// retry is the same request.
const MAKE: &str = "SELECT pg_catalog.json_build_object('secret', k.secret, 'id', k.key_id)::text \
  FROM wallet.key_owner($1) o \
  JOIN wallet.member_list m ON m.wallet = o.wallet AND m.user_id = o.user_id AND m.role IN ('owner', 'admin') \
  CROSS JOIN LATERAL wallet.create_key(o.wallet, $2, $3, \
       expires_at => pg_catalog.date_trunc('day', pg_catalog.now()) + pg_catalog.make_interval(days => $4::integer + 1), idempotency_key => $5) k";
const ROTATE: &str = "SELECT pg_catalog.json_build_object('secret', k.secret, 'id', k.key_id)::text \
  FROM wallet.key_owner($1) o \
  JOIN wallet.member_list m ON m.wallet = o.wallet AND m.user_id = o.user_id AND m.role IN ('owner', 'admin') \
  CROSS JOIN LATERAL wallet.rotate_key(o.wallet, $2::uuid, overlap => $3::interval, idempotency_key => $4) k";
const REVOKE: &str = "SELECT pg_catalog.to_json(wallet.revoke_key(o.wallet, $2::uuid)::text)::text \
  FROM wallet.key_owner($1) o \
  JOIN wallet.member_list m ON m.wallet = o.wallet AND m.user_id = o.user_id AND m.role IN ('owner', 'admin')";

#[derive(Deserialize)]
struct Key {
    id: String,
    user: Option<String>,
    name: Option<String>,
    status: String,
    made: String,
    expires: Option<String>,
    is_own: bool,
}

/// A key that was made or rotated. A replay has no secret.
#[derive(Deserialize)]
struct Made {
    id: String,
    secret: Option<Secret>,
}

/// The page.
pub async fn list(
    State(pages): State<Pages>,
    person: SignedIn,
    Asked(after): Asked<After>,
) -> Result<Markup, Failure> {
    let person = person.manages()?;
    let outcome = match after.done() {
        Some("revoked") => Outcome::Done("The key was revoked."),
        _ => Outcome::None,
    };
    view(&pages, &person, outcome.shown(), after.from.as_deref()).await
}

async fn view(
    pages: &Pages,
    person: &SignedIn,
    notice: Markup,
    from: Option<&str>,
) -> Result<Markup, Failure> {
    if from.is_some_and(|id| id.parse::<Uuid>().is_err()) {
        return Err(Failure::no_such_page());
    }
    let cursor = vec![from.map(str::to_owned)];
    let mut keys: Vec<Key> = pages.read(&person.key, LIST, cursor).await?;
    let paging = paging(&mut keys, "/keys", "keys", from, |key| key.id.clone());
    let rows = html! {
        @for key in &keys {
            tr {
                th scope="row" { (or_none(key.name.as_deref())) @if key.is_own { " (this session)" } }
                td { (or_none(key.user.as_deref())) }
                td { (key.status) }
                td { (key.made) }
                td { (or_none(key.expires.as_deref())) }
                td { @if key.status == "active" { (changes(person, key)) } }
            }
        }
    };
    const DAYS: &[(&str, &str)] = &[
        ("", "never"),
        ("1", "in a day"),
        ("30", "in 30 days"),
        ("365", "in a year"),
    ];
    Ok(layout::page(
        "Keys",
        "/keys",
        person,
        html! {
            (notice)
            (table("Keys, the newest first", &["Name", "User", "State", "Made", "Expires", "Change"], rows))
            (paging)
            section aria-labelledby="h-make" {
                h2 #h-make { "Make a key" }
                form.fields method="post" action="/keys" {
                    (hidden("token", &person.token))
                    (hidden("once", &Uuid::new_v4().to_string()))
                    (input("k-name", "name", "Name", "", true))
                    (input("k-user", "user", "User (empty: a program)", "", false))
                    (select("k-days", "days", "Expires", DAYS, ""))
                    button type="submit" { "Make the key" }
                }
            }
        },
    ))
}

fn changes(person: &SignedIn, key: &Key) -> Markup {
    const OVERLAPS: &[(&str, &str)] = &[
        ("1 day", "for a day"),
        ("1 hour", "for an hour"),
        ("0", "not at all"),
    ];
    let name = key.name.as_deref().unwrap_or(&key.id);
    html! {
        details {
            summary { "Rotate or revoke" }
            form method="post" action="/keys/rotate" {
                (hidden("token", &person.token))
                (hidden("once", &Uuid::new_v4().to_string()))
                (hidden("id", &key.id))
                (select(&format!("o-{}", key.id), "overlap", "The old secret works on", OVERLAPS, "1 day"))
                button type="submit" aria-label={ "Rotate the key " (name) } { "Rotate" }
            }
            form method="post" action="/keys/revoke" {
                (hidden("token", &person.token))
                (hidden("id", &key.id))
                button.danger type="submit" aria-label={ "Revoke for good: " (name) } { "Revoke for good" }
            }
        }
    }
}

fn secret(made: &Made, text: &str) -> Markup {
    html! {
        div.notice.right role="status" {
            p { (text) }
            @match &made.secret {
                Some(secret) => {
                    p { "This is its secret. It is shown only now: copy it." }
                    p { code #secret { (secret.expose()) } }
                }
                None => p { "Its secret was shown before and is not shown again." },
            }
        }
    }
}

/// A key to make.
#[derive(Deserialize)]
pub struct KeyForm {
    once: String,
    name: String,
    user: String,
    days: String,
}

/// Makes a key.
pub async fn make(
    State(pages): State<Pages>,
    posted: Posted<KeyForm>,
) -> Result<Response, Failure> {
    let (person, form) = posted.signed_in(&pages).await?;
    let person = person.manages()?;
    let given = |text: String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let arguments = vec![
        given(form.user),
        given(form.name),
        given(form.days),
        given(form.once),
    ];
    let made: Result<Made, Failure> = pages.write(&person.key, MAKE, arguments, true).await;
    match made {
        Ok(made) => {
            let notice = secret(&made, "The key was made.");
            Ok(view(&pages, &person, notice, None).await?.into_response())
        }
        Err(failure) => refused(&pages, &person, failure).await,
    }
}

async fn refused(pages: &Pages, person: &SignedIn, failure: Failure) -> Result<Response, Failure> {
    let outcome = Outcome::Refused(shown_in_place(failure)?);
    let page = view(pages, person, outcome.shown(), None).await?;
    Ok(outcome.answer(page))
}

/// A key to rotate.
#[derive(Deserialize)]
pub struct RotateForm {
    once: String,
    id: String,
    overlap: String,
}

/// Gives a key a new secret. The session goes on with it if it is the session's own key.
pub async fn rotate(
    State(pages): State<Pages>,
    posted: Posted<RotateForm>,
) -> Result<Response, Failure> {
    let (mut person, form) = posted.signed_in(&pages).await?;
    person = person.manages()?;
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    let arguments = vec![given(form.id), given(form.overlap), given(form.once)];
    let made: Result<Made, Failure> = pages.write(&person.key, ROTATE, arguments, true).await;
    let made = match made {
        Ok(made) => made,
        Err(failure) => return refused(&pages, &person, failure).await,
    };
    let notice = secret(&made, "The key was rotated.");
    let own = made.secret.filter(|_| made.id == person.account.key_id);
    let Some(own) = own else {
        return Ok(view(&pages, &person, notice, None).await?.into_response());
    };
    let visit = pages.cookies.begin(Some(own.clone()));
    person.key = own;
    person.token.clone_from(&visit.token);
    let page = view(&pages, &person, notice, None).await?;
    Ok(with_visit(page.into_response(), &visit, &pages))
}

/// The id of a key.
#[derive(Deserialize)]
pub struct Which {
    id: String,
}

/// Revokes a key.
pub async fn revoke(
    State(pages): State<Pages>,
    posted: Posted<Which>,
) -> Result<Response, Failure> {
    let (person, form) = posted.signed_in(&pages).await?;
    let person = person.manages()?;
    let revoked: Result<String, Failure> = pages
        .write(&person.key, REVOKE, vec![Some(form.id)], true)
        .await;
    match revoked {
        Ok(_) => Ok(then("/keys?done=revoked")),
        Err(failure) => refused(&pages, &person, failure).await,
    }
}
