//! Changes of a wallet's rules. No charge runs during a change, and every charge after it sees the
//! new rules.

use std::cell::Cell;

use crate::access::audit::{Of, Outcome};
use crate::access::call::Call;
use crate::access::rights::Level;
use crate::error::Result;
use crate::idempotency::call::{Answer, IdempotentCall, lost};
use crate::ledger::wallets::{config, following};
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::{Builder, Json};
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::uuid_text;
use crate::storage::wallet_row::lock_wallet;

statement!(
    TOUCH_EPOCH,
    [TEXTOID, INT8OID],
    "UPDATE wallet.allowances SET epoch = $2, version = version + 1
      WHERE wallet_id = $1 AND allowance_id = '00000000-0000-0000-0000-000000000000'"
);

statement!(
    /// Charges read the spending policy only if the wallet has one.
    NOTE_GUARD,
    [TEXTOID],
    "UPDATE wallet.wallets w SET guarded = now_guarded
       FROM (SELECT members_only
                 OR EXISTS (SELECT FROM wallet.members WHERE wallet_id = $1)
                 OR EXISTS (SELECT FROM wallet.api_keys WHERE wallet_id = $1)
                 OR EXISTS (SELECT FROM wallet.origin_rules WHERE wallet_id = $1)
                 OR EXISTS (SELECT FROM wallet.model_rules WHERE wallet_id = $1) AS now_guarded
               FROM wallet.wallets WHERE wallet_id = $1) g
      WHERE w.wallet_id = $1 AND w.guarded <> g.now_guarded"
);

/// Changes rules of a wallet while no charge is running. The caller has locked the wallet's row.
pub fn change<T>(wallet: &str, change: impl FnOnce(Timestamp) -> Result<T>) -> Result<T> {
    change_knowing(wallet, |now, _| change(now))
}

/// Like [`change`], for work that needs to know whether the wallet has a plan.
pub fn change_knowing<T>(
    wallet: &str,
    change: impl FnOnce(Timestamp, bool) -> Result<T>,
) -> Result<T> {
    let (mut rules, _) = config::lock_to_change(wallet)?;
    if rules.plan_is_due() {
        following::follow(wallet)?;
        (rules, _) = config::lock_to_change(wallet)?;
    }
    rules.require_open(wallet)?;
    let changed = change(clock::now(), rules.has_plan)?;
    NOTE_GUARD.run(&[Value::Text(wallet)])?;
    // Charges with the old rules find another epoch in their lane, and read the rules again.
    if !is_moved(wallet, rules.epoch) {
        move_epoch(wallet)?;
    }
    Ok(changed)
}

/// An epoch that this backend has set, with the transaction and the subtransaction that did so.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Moved {
    epoch: i64,
    transaction: u32,
    subtransaction: u32,
}

thread_local! {
    static MOVED: Cell<Option<Moved>> = const { Cell::new(None) };
}

/// True if the current epoch of the lanes can stay, because nobody has read rules under it. A
/// transaction that changes thousands of rules would otherwise write as many versions of the lanes,
/// and read all of them at each further change.
///
/// The running transaction has set the epoch, so no other one sees it. In this backend no rules are
/// cached under it. The subtransaction that set it is still the running one: if an inner one had
/// changed rules that are then cached, its rollback would not take the epoch back with the rules.
fn is_moved(wallet: &str, epoch: i64) -> bool {
    let current = Moved {
        epoch,
        transaction: clock::transaction(),
        subtransaction: clock::subtransaction(),
    };
    MOVED.get() == Some(current) && !config::is_cached(wallet, epoch)
}

/// Sets a new version of the rules in all lanes, which the caller has locked.
pub fn move_epoch(wallet: &str) -> Result<()> {
    let epoch = config::new_epoch();
    TOUCH_EPOCH.run(&[Value::Text(wallet), Value::Int8(epoch)])?;
    MOVED.set(Some(Moved {
        epoch,
        transaction: clock::transaction(),
        subtransaction: clock::subtransaction(),
    }));
    Ok(())
}

/// Changes the rules for a call without a result, once per idempotency key.
pub fn change_once(call: IdempotentCall<'_>, work: impl FnOnce() -> Result<()>) -> Result<()> {
    // A call with the same key waits here for the first one, and then finds its answer.
    lock_wallet(call.wallet)?;
    if call.answered()?.is_some() {
        return Ok(());
    }
    change(call.wallet, |_| work())?;
    call.remember(None)
}

/// The result of a call for many.
pub struct Done {
    /// For each item in its order, its subject in the audit trail, and the effect on it.
    pub items: Vec<(String, Outcome)>,
    /// True if an earlier call produced this result.
    pub replayed: bool,
}

/// Changes the rules once for a call with many items, all or none of them. `work` changes them and
/// returns the subject of each item. The result is stored for a replay.
pub fn change_each(
    call: &Call<'_>,
    level: Level,
    of: Of<'_>,
    work: impl FnOnce() -> Result<Vec<String>>,
) -> Result<Done> {
    let work = |call: IdempotentCall<'_>| {
        lock_wallet(call.wallet)?;
        match call.answered()? {
            Some(answer) => first_items(&answer).map(Err),
            None => work().map(Ok),
        }
    };
    call.change_many(level, of, work, |call, worked, outcomes| {
        let (items, replayed) = match worked {
            Err(items) => (items, true),
            Ok(subjects) => {
                let outcome = |subject: &String| outcomes.get(subject).copied().ok_or_else(lost);
                let items = subjects.into_iter();
                let items = items.map(|subject| Ok((subject.clone(), outcome(&subject)?)));
                (items.collect::<Result<Vec<_>>>()?, false)
            }
        };
        if !replayed && call.key.is_some() {
            let mut json = Builder::default();
            json.begin_object();
            for (place, (subject, outcome)) in items.iter().enumerate() {
                let text = format!("{} {subject}", outcome.as_str());
                json.text(&place.to_string(), Some(&text));
            }
            call.remember(Some(json.finish_object()))?;
        }
        Ok(Done { items, replayed })
    })
}

/// The items of a stored result.
fn first_items(answer: &Answer) -> Result<Vec<(String, Outcome)>> {
    let json = answer.result().ok_or_else(lost)?.reread("result")?;
    let mut items = Vec::new();
    for (place, text) in json.as_object().ok_or_else(lost)? {
        let Json::String(text) = text else {
            return Err(lost());
        };
        let (outcome, subject) = text.split_once(' ').ok_or_else(lost)?;
        let mut all = Outcome::ALL.into_iter();
        let outcome = all.find(|known| known.as_str() == outcome);
        let place: usize = place.parse().map_err(|_| lost())?;
        items.push((place, (subject.to_owned(), outcome.ok_or_else(lost)?)));
    }
    items.sort_by_key(|(place, _)| *place);
    Ok(items.into_iter().map(|(_, item)| item).collect())
}

/// Changes the rules once for a call that creates or changes a row with an id. A replay returns
/// only the id of the first call. Secrets of the first result are not stored.
pub fn change_for_id<T>(
    call: IdempotentCall<'_>,
    id: [u8; 16],
    work: impl FnOnce() -> Result<T>,
) -> Result<([u8; 16], Option<T>)> {
    lock_wallet(call.wallet)?;
    if let Some(answer) = call.answered()? {
        return Ok((answer.id()?, None));
    }
    let seen = change(call.wallet, |_| work())?;
    call.remember_text("key_id", &uuid_text(id))?;
    Ok((id, Some(seen)))
}
