//! Holds that wait for approval: `approve_hold` and `deny_hold`.

use crate::error::{Code, Error, Result};
use crate::idempotency::call::IdempotentCall;
use crate::ledger::charges::job::Job;
use crate::ledger::holds::close::{self, answer, answered};
use crate::ledger::holds::held::Held;
use crate::ledger::holds::parents;
use crate::ledger::holds::row::{self, Approval, Hold};
use crate::ledger::wallets::config;
use crate::limits::limit::Applied;
use crate::outbox::{self, Event, Field, Name};
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::uuid_text;

statement!(
    APPROVE,
    [TEXTOID, UUIDOID],
    "UPDATE wallet.reservations
        SET charge_on_expiry = (approval = 'c'), approval = 'a'
      WHERE wallet_id = $1 AND hold_id = $2"
);

/// Asks for the approval of a hold that exceeds a limit.
pub(super) fn request(held: &Held, job: &Job<'_>, above: &Applied<'_>) -> Result<()> {
    let (limit, context) = (above.limit, job.context());
    let scope = limit.scope.as_str();
    outbox::emit_event(
        job.wallet(),
        &Event {
            name: Name::ApprovalRequested,
            threshold: None,
            payload: &[
                ("hold_id", Field::Id(held.hold_id)),
                ("amount", Field::Amount(held.amount)),
                ("user_id", Field::OptText(job.attribution.user_id)),
                ("team", Field::OptText(job.attribution.team)),
                ("model", Field::OptText(context.model)),
                ("service", Field::OptText(context.service)),
                ("expires_at", Field::Time(Some(held.expires_at))),
                ("limit_id", Field::Id(limit.id)),
                ("scope", Field::Text(&scope)),
                ("subject", Field::Text(&above.subject)),
                ("period", Field::Text(&limit.period_name)),
                ("metric", Field::Text(limit.metric.as_str())),
                ("max", Field::Amount(above.max)),
            ],
        },
    )
}

/// Opens a hold that waits for approval. A hold that was approved already is left as it is.
pub fn approve(wallet: &str, id: [u8; 16], call: IdempotentCall<'_>) -> Result<Held> {
    // The wallet's row is locked, so no other call with the key is in progress.
    let earlier = call.answered()?;
    let mut hold = row::lock(wallet, id)?;
    if let Some(answer) = earlier {
        return answered(&hold, answer.result(), hold.affordable_tokens);
    }
    let is_new = hold.approval != Some(Approval::Given);
    if is_new {
        require_waiting(&hold)?;
        APPROVE.run(&[Value::Text(wallet), Value::Uuid(id)])?;
        if let Some(Approval::Waits {
            charge_on_expiry: true,
        }) = hold.approval
        {
            parents::charge_on_expiry(config::read(wallet)?.as_ref(), id, true)?;
        }
        hold.approval = Some(Approval::Given);
        tell(wallet, &hold, Name::HoldApproved)?;
    }
    let held = close::as_it_is(wallet, &hold, !is_new)?;
    call.remember(Some(answer(&held)))?;
    Ok(held)
}

/// Voids a hold that waits for approval.
pub fn deny(
    wallet: &str,
    id: [u8; 16],
    reason: Option<&str>,
    call: IdempotentCall<'_>,
) -> Result<Held> {
    close::void_if(wallet, id, reason, call, |hold| {
        require_waiting(hold)?;
        tell(wallet, hold, Name::HoldDenied)
    })
}

/// WL008 unless the hold waits for approval.
fn require_waiting(hold: &Hold) -> Result<()> {
    let status = row::status_now(hold);
    if status == row::WAITING {
        return Ok(());
    }
    Err(
        Error::new(Code::HoldNotOpen, "hold does not wait for approval")
            .detail(format!("Hold {} is {status}.", uuid_text(hold.id)))
            .hint("The view holds shows the holds that wait; void() releases an open one."),
    )
}

fn tell(wallet: &str, hold: &Hold, name: Name) -> Result<()> {
    let stored = &hold.about.stored;
    outbox::emit_event(
        wallet,
        &Event {
            name,
            threshold: None,
            payload: &[
                ("hold_id", Field::Id(hold.id)),
                ("amount", Field::Amount(hold.held)),
                ("user_id", Field::OptText(stored.user_id.as_deref())),
                ("expires_at", Field::Time(Some(hold.expires_at))),
            ],
        },
    )
}
