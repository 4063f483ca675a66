//! Triggers only validate or refuse, so that a dump can be restored in any order and no effect
//! happens twice. Their WHEN clauses prevent calls for valid rows. `sql/schema/triggers.sql`
//! declares them.

use pgrx::datum::{FromDatum, IntoDatum, UnboxDatum};
use pgrx::prelude::*;

use crate::error::{Code, Error, quoted};
use crate::ledger::permit;
use crate::money::Amount;
use crate::pg::invalidation;
use crate::storage::rows::{BALANCE, uuid_text};

type NewRow<'a> = Option<PgHeapTuple<'a, pgrx::AllocatedByPostgres>>;

fn column<T>(row: &NewRow<'_>, name: &str) -> Option<T>
where
    for<'a> T: FromDatum + IntoDatum + UnboxDatum<As<'a> = T> + 'static,
{
    row.as_ref()
        .and_then(|row| row.get_by_name::<T>(name).ok().flatten())
}

fn shown(row: &NewRow<'_>, name: &str) -> String {
    column::<pgrx::AnyNumeric>(row, name).map_or("NULL".to_owned(), |value| {
        rust_decimal::Decimal::from_str_exact(&value.to_string())
            .ok()
            .and_then(|value| Amount::from_decimal(value).ok())
            .map_or(value.to_string(), |amount| amount.to_string())
    })
}

/// Refuses an allowance that would be overdrawn, whichever program writes it: WL001 for a balance,
/// WL002 for a limit.
#[pg_trigger(sql = false)]
fn refuse_overdraft<'a>(
    trigger: &'a PgTrigger<'a>,
) -> std::result::Result<NewRow<'a>, pgrx::trigger_support::PgTriggerError> {
    let row = trigger.new();
    let wallet: String = column(&row, "wallet_id").unwrap_or_default();
    let id = column::<pgrx::Uuid>(&row, "allowance_id").map(|id| *id.as_bytes());
    let numbers = format!(
        "Of {} allotted, {} would be spent and {} held.",
        shown(&row, "allotted"),
        shown(&row, "spent"),
        shown(&row, "held")
    );
    let error = if id == Some(BALANCE) {
        Error::new(
            Code::InsufficientFunds,
            format!("balance of wallet {} would be overdrawn", quoted(&wallet)),
        )
        .hint("Write with fund() and charge(), which keep balance, limits and ledger together.")
    } else {
        let subject: Option<String> = column(&row, "subject");
        let whose = match subject.filter(|subject| subject != "*") {
            Some(user) => format!("user {} of wallet {}", quoted(user), quoted(&wallet)),
            None => format!("wallet {}", quoted(&wallet)),
        };
        Error::new(
            Code::LimitExceeded,
            format!("limit of {whose} would be exceeded"),
        )
        .hint("Write with charge(), and change limits with set_limit().")
    };
    error
        .detail(numbers)
        .constraint("allowances", "allowance_not_overdrawn")
        .raise()
}

/// Refuses every change of the ledger, its archive, and the audit trail, unless an erasure or
/// retention makes it. The triggers that have an argument refuse in any case.
#[pg_trigger(sql = false)]
fn refuse_change<'a>(
    trigger: &'a PgTrigger<'a>,
) -> std::result::Result<NewRow<'a>, pgrx::trigger_support::PgTriggerError> {
    let table = trigger.table_name().unwrap_or_default();
    let row = trigger.old();
    let is_strict = trigger.extra_args().is_ok_and(|given| !given.is_empty());
    if !is_strict && trigger.new().is_some() && permit::allows_update() {
        return Ok(trigger.new());
    }
    if table == "audit_log"
        && trigger.new().is_none()
        && row.is_some()
        && permit::allows_audit_delete()
    {
        return Ok(row);
    }
    let id = |name| column::<pgrx::Uuid>(&row, name).map(|id| uuid_text(*id.as_bytes()));
    let immutable = |what| Error::new(Code::ImmutableLedger, what);
    let error = match table.as_str() {
        "ledger" | "ledger_archive" => immutable("ledger entries cannot be changed or deleted")
            .detail(match id("entry_id") {
                Some(id) => format!("The entry is {id}."),
                None => "The statement would remove all entries.".to_owned(),
            })
            .hint("Book a correction: a new entry that takes back what the old one did.")
            .constraint(
                if table == "ledger" {
                    "ledger"
                } else {
                    "ledger_archive"
                },
                "ledger_is_immutable",
            ),
        "carried_forward" => immutable("what was carried forward cannot be changed or deleted")
            .detail(match id("archive_id") {
                Some(id) => format!("The archive is {id}."),
                None => "The statement would remove all that was carried forward.".to_owned(),
            })
            .hint("The chain of the ledger goes on from it: verify() needs it as it is.")
            .constraint("carried_forward", "ledger_is_immutable"),
        "plan_versions" => immutable("versions of plans cannot be changed or deleted")
            .detail(match column::<String>(&row, "plan") {
                Some(plan) => format!("The plan is {}.", quoted(&plan)),
                None => "The statement would remove all plans.".to_owned(),
            })
            .hint("Set another version of the plan with set_plan().")
            .constraint("plan_versions", "plan_versions_are_immutable"),
        _ => immutable("the audit trail cannot be changed or deleted")
            .detail(match id("audit_id") {
                Some(id) => format!("The row is {id}."),
                None => "The statement would remove the whole trail.".to_owned(),
            })
            .hint("Change the rule itself again: that is written down as well.")
            .constraint("audit_log", "audit_is_immutable"),
    };
    error.raise()
}

/// Makes every backend drop its cached rows of the table when the change commits.
#[pg_trigger(sql = false)]
fn announce_change<'a>(
    trigger: &'a PgTrigger<'a>,
) -> std::result::Result<NewRow<'a>, pgrx::trigger_support::PgTriggerError> {
    let is_price_book = trigger
        .table_name()
        .is_ok_and(|name| matches!(name.as_str(), "prices" | "markups" | "fx_rates"));
    if is_price_book {
        invalidation::announce_prices();
    } else {
        invalidation::announce_wallets();
    }
    Ok(None)
}
