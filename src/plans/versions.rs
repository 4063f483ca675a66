//! Stores versions of plans.

use crate::access::audit::{Act, note_down};
use crate::error::{Code, Error, Result, quoted};
use crate::idempotency::call::{IdempotentCall, lost};
use crate::ledger::wallets::plan_book;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::plans::definition::Definition;
use crate::storage::plan::{Rows, Run, Value, statement};

statement!(
    ADD,
    [
        TEXTOID,
        JSONBOID,
        TIMESTAMPTZOID,
        TIMESTAMPTZOID,
        TEXTOID,
        JSONBOID
    ],
    "INSERT INTO wallet.plan_versions
        (plan, version, definition, effective_from, created_at, actor, metadata)
     SELECT $1, coalesce(max(p.version), 0) + 1, $2, $3, $4, $5, $6
       FROM wallet.plan_versions p WHERE p.plan = $1
     ON CONFLICT DO NOTHING
  RETURNING version,
            jsonb_build_object('version', version, 'definition', definition, 'effective_from', effective_from)"
);

statement!(
    DEFINITION,
    [TEXTOID, INT8OID],
    "SELECT definition, actor FROM wallet.plan_versions WHERE plan = $1 AND version = $2"
);

statement!(
    OF_WALLET,
    [TEXTOID, TIMESTAMPTZOID],
    "SELECT CASE WHEN next_plan_at <= $2 THEN next_plan ELSE plan END
       FROM wallet.wallets WHERE wallet_id = $1"
);

/// The arguments of `set_plan`.
pub struct NewVersion<'a> {
    /// The name of the plan.
    pub plan: &'a str,
    /// The definition, whose keys were checked.
    pub definition: &'a Definition,
    /// The definition as it was given.
    pub given: Jsonb,
    /// When the version begins.
    pub from: Timestamp,
}

/// 22023 for a time that is over.
pub fn require_future(argument: &str, at: Timestamp) -> Result<()> {
    // The default is the beginning of the transaction.
    if at >= clock::now() || at == clock::transaction_start() {
        return Ok(());
    }
    Err(Error::argument(format!("{argument} is in the past"))
        .detail("Charges up to now keep the rules of their time.")
        .hint("Leave it out for the present time."))
}

/// Stores a version of a plan, and returns its number. No wallet is changed: each takes the version
/// over with its first call after the version began.
pub fn set(new: &NewVersion<'_>, act: &Act<'_>, call: IdempotentCall<'_>) -> Result<i64> {
    if let Some(answer) = call.answered()? {
        return answer.text()?.parse().map_err(|_| lost());
    }
    require_future("effective_from", new.from)?;
    new.definition.check()?;
    let rows = ADD.run(&[
        Value::Text(new.plan),
        Value::Jsonb(new.given),
        Value::Time(new.from),
        Value::Time(clock::now()),
        Value::OptText(act.actor),
        Value::OptJsonb(act.metadata),
    ])?;
    if rows.is_empty() {
        return Err(Error::new(
            Code::SerializationFailure,
            format!(
                "another call set plan {} at the same moment",
                quoted(new.plan)
            ),
        )
        .detail("The other call has committed.")
        .hint("Run the transaction again: the call then adds a later version."));
    }
    let version: i64 = rows.need(0, 0)?;
    let after = rows.datum(0, 1).map(Jsonb).ok_or_else(lost)?;
    note_down(act, new.plan, after)?;
    call.remember_text("version", &version.to_string())?;
    Ok(version)
}

/// The version of a plan that a wallet takes over.
pub struct InForce {
    /// The number of the version.
    pub version: i64,
    /// Its definition.
    pub definition: Definition,
    /// The actor who set it.
    pub actor: Option<String>,
    /// Keeps the datums of the definition alive.
    _rows: Rows,
}

fn read(plan: &str, version: i64) -> Result<InForce> {
    let rows = DEFINITION.read_latest(&[Value::Text(plan), Value::Int8(version)])?;
    let broken = || Error::internal(format!("plan {plan:?} has no version {version}"));
    if rows.is_empty() {
        return Err(broken());
    }
    let definition = rows.datum(0, 0).map(Jsonb).ok_or_else(broken)?;
    Ok(InForce {
        version,
        definition: Definition::read(definition)?,
        actor: rows.get(0, 1),
        _rows: rows,
    })
}

/// The plan that a wallet has at a time, and the version in force. WL003 if there is no such
/// wallet.
pub fn of_wallet(wallet: &str, at: Timestamp) -> Result<(Option<String>, Option<InForce>)> {
    let rows = OF_WALLET.run(&[Value::Text(wallet), Value::Time(at)])?;
    if rows.is_empty() {
        return Err(Error::wallet_not_found(wallet));
    }
    let plan: Option<String> = rows.get(0, 0);
    let version = match &plan {
        Some(plan) => plan_book::in_force(plan, at)?.map(|version| read(plan, version)),
        None => None,
    };
    Ok((plan, version.transpose()?))
}
