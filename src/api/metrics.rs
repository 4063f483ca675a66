//! SQL functions on metrics: weighted sums of meters that limits may count.

use crate::access::audit::Of;
use crate::access::call::Call;
use crate::access::rights::{ALL_WALLETS, Level};
use crate::args;
use crate::idempotency::fingerprint::canonical;
use crate::ledger::limits::metric;
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::OrRaise;
use pgrx::default;
use pgrx::prelude::*;

/// Sets a metric of limits: a weighted sum of meters. Returns whether it was added, changed or
/// unchanged.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
fn set_metric(
    name: Option<&str>,
    weights: Option<Jsonb>,
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> String {
    let work = || {
        let name = args::new_name("name", name)?;
        metric::check_name(name)?;
        let weights = weights.ok_or_else(|| args::missing("weights").hint(metric::EXAMPLE))?;
        let meters = metric::read_weights(weights)?;
        let call = Call::new("set_metric", ALL_WALLETS)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("name", name)
            .with("weights", canonical(weights));
        call.change(Level::Admin, Of::Metric(name), |call| {
            call.text(|| metric::set(name, weights, &meters, actor, metadata).map(str::to_owned))
        })
    };
    work().or_raise()
}

/// Drops a metric that `set_metric` has set. Limits that count it keep their weights.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
fn drop_metric(
    name: Option<&str>,
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) {
    let work = || {
        let name = args::required("name", name)?;
        let call = Call::new("drop_metric", ALL_WALLETS)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("name", name);
        call.change(Level::Admin, Of::Metric(name), |call| {
            call.once(|| metric::drop_metric(name))
        })
    };
    work().or_raise();
}
