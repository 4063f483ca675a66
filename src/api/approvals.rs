//! SQL functions on holds that wait for approval.

use crate::access::audit::Of;
use crate::access::call::Call;
use crate::access::rights::Level;
use crate::api::holds::{HoldRow, hold_id, hold_row};
use crate::args;
use crate::ledger::holds::approval;
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::OrRaise;
use pgrx::prelude::*;
use pgrx::{Uuid, default};

/// Approves a hold that waits for approval, so that it can be settled.
#[pg_extern(schema = "wallet", requires = ["results"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn approve_hold(
    wallet: Option<&str>,
    hold_id: Option<Uuid>,
    actor: default!(Option<&str>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> HoldRow {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let id = self::hold_id(hold_id)?;
        let call = Call::new("approve_hold", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("hold_id", id);
        call.change(Level::Billing, Of::Hold(id), |call| {
            approval::approve(wallet, id, call)
        })
    };
    hold_row(work().or_raise())
}

/// Denies a hold that waits for approval, and releases everything that it reserves.
#[pg_extern(schema = "wallet", requires = ["results"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn deny_hold(
    wallet: Option<&str>,
    hold_id: Option<Uuid>,
    actor: default!(Option<&str>, "NULL"),
    reason: default!(Option<&str>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> HoldRow {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let id = self::hold_id(hold_id)?;
        let reason = args::text("reason", reason)?;
        let call = Call::new("deny_hold", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("hold_id", id)
            .with("reason", reason);
        call.change(Level::Billing, Of::Hold(id), |call| {
            approval::deny(wallet, id, reason, call)
        })
    };
    hold_row(work().or_raise())
}
