//! The members: who they are, what they may do, adding and removing them.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::limits::After;
use super::{Outcome, shown_in_place, then};
use crate::page::account::SignedIn;
use crate::page::failure::Failure;
use crate::page::layout;
use crate::page::parts::{hidden, input, or_none, paging, select, table};
use crate::page::session::{Asked, Posted};
use crate::page::state::Pages;

/// A page of members by name, after the one in $2.
const LIST: &str = "SELECT (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('user', l.user_id, 'role', l.role, 'team', l.team, \
            'blocked', l.blocked, 'models', pg_catalog.array_to_string(l.allowed_models, ', ')) ORDER BY l.user_id), '[]') \
       FROM (SELECT * FROM wallet.member_list s WHERE s.wallet = o.wallet AND ($2 IS NULL OR s.user_id > $2) \
              ORDER BY s.user_id LIMIT 101) l)::text \
  FROM wallet.key_owner($1) o";
/// Only for a key of a member who manages the wallet. SQL decides who appoints owners.
const SET: &str = "SELECT pg_catalog.to_json(wallet.set_member(o.wallet, $2, $3, team => $4, blocked => $5::boolean)::text)::text \
  FROM wallet.key_owner($1) o \
  JOIN wallet.member_list m ON m.wallet = o.wallet AND m.user_id = o.user_id AND m.role IN ('owner', 'admin')";
const DROP: &str = "SELECT pg_catalog.to_json(wallet.drop_member(o.wallet, $2)::text)::text \
  FROM wallet.key_owner($1) o \
  JOIN wallet.member_list m ON m.wallet = o.wallet AND m.user_id = o.user_id AND m.role IN ('owner', 'admin')";

const ROLES: &[(&str, &str)] = &[
    ("member", "member: spends"),
    ("viewer", "viewer: reads"),
    ("billing", "billing: fundings and refunds"),
    ("admin", "admin: manages"),
    ("owner", "owner: manages and appoints owners"),
];

#[derive(Deserialize)]
struct Member {
    user: String,
    role: String,
    team: Option<String>,
    blocked: bool,
    models: Option<String>,
}

/// The page.
pub async fn list(
    State(pages): State<Pages>,
    person: SignedIn,
    Asked(after): Asked<After>,
) -> Result<Markup, Failure> {
    let person = person.manages()?;
    let outcome = match after.done() {
        Some("set") => Outcome::Done("The member was set."),
        Some("removed") => Outcome::Done("The member was removed."),
        _ => Outcome::None,
    };
    let (form, from) = (MemberForm::default(), after.from.as_deref());
    view(&pages, &person, &outcome, &form, from).await
}

async fn view(
    pages: &Pages,
    person: &SignedIn,
    outcome: &Outcome<'_>,
    form: &MemberForm,
    from: Option<&str>,
) -> Result<Markup, Failure> {
    let cursor = vec![from.map(str::to_owned)];
    let mut members: Vec<Member> = pages.read(&person.key, LIST, cursor).await?;
    let paging = paging(&mut members, "/members", "members", from, |member| {
        member.user.clone()
    });
    let rows = html! {
        @for member in &members {
            tr {
                th scope="row" { (member.user) }
                td { (member.role) }
                td { (or_none(member.team.as_deref())) }
                td { (or_none(member.models.as_deref())) }
                td { @if member.blocked { "blocked" } @else { "active" } }
                td { (drop_button(person, &member.user)) }
            }
        }
    };
    Ok(layout::page(
        "Members",
        "/members",
        person,
        html! {
            (outcome.shown())
            @if members.is_empty() { p { "The wallet has no members." } }
            @else { (table("Members", &["User", "Role", "Team", "Models", "State", "Change"], rows)) }
            (paging)
            section aria-labelledby="h-set" {
                h2 #h-set { "Add or change a member" }
                p.quiet { "An empty team keeps the team that the member has." }
                form.fields method="post" action="/members" {
                    (hidden("token", &person.token))
                    (input("m-user", "user", "User", &form.user, true))
                    (select("m-role", "role", "Role", ROLES, &form.role))
                    (input("m-team", "team", "Team", &form.team, false))
                    (select("m-blocked", "blocked", "State", &[("false", "active"), ("true", "blocked")], &form.blocked))
                    button type="submit" { "Set the member" }
                }
            }
        },
    ))
}

fn drop_button(person: &SignedIn, user: &str) -> Markup {
    html! {
        details {
            summary { "Remove" }
            form method="post" action="/members/drop" {
                (hidden("token", &person.token))
                (hidden("user", user))
                button.danger type="submit" aria-label={ "Remove the member " (user) } { "Remove the member" }
            }
        }
    }
}

/// A member.
#[derive(Default, Deserialize)]
pub struct MemberForm {
    user: String,
    role: String,
    team: String,
    blocked: String,
}

/// Adds or changes a member.
pub async fn set(
    State(pages): State<Pages>,
    posted: Posted<MemberForm>,
) -> Result<Response, Failure> {
    let (person, form) = posted.signed_in(&pages).await?;
    let person = person.manages()?;
    let arguments = vec![
        Some(form.user.trim().to_owned()),
        Some(form.role.clone()),
        Some(form.team.trim().to_owned()).filter(|team| !team.is_empty()),
        Some(form.blocked.clone()),
    ];
    let made: Result<String, Failure> = pages.write(&person.key, SET, arguments, true).await;
    answer(&pages, &person, made, "/members?done=set", &form).await
}

async fn answer(
    pages: &Pages,
    person: &SignedIn,
    made: Result<String, Failure>,
    address: &'static str,
    form: &MemberForm,
) -> Result<Response, Failure> {
    match made {
        Ok(_) => Ok(then(address)),
        Err(failure) => {
            let outcome = Outcome::Refused(shown_in_place(failure)?);
            let page = view(pages, person, &outcome, form, None).await?;
            Ok(outcome.answer(page))
        }
    }
}

/// The user of a member.
#[derive(Deserialize)]
pub struct Which {
    user: String,
}

/// Removes a member.
pub async fn drop(State(pages): State<Pages>, posted: Posted<Which>) -> Result<Response, Failure> {
    let (person, form) = posted.signed_in(&pages).await?;
    let person = person.manages()?;
    let dropped = pages
        .write(&person.key, DROP, vec![Some(form.user)], false)
        .await;
    answer(
        &pages,
        &person,
        dropped,
        "/members?done=removed",
        &MemberForm::default(),
    )
    .await
}
