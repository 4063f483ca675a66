//! `erase_user`: replaces a person's identifier by a pseudonym, everywhere.
//!
//! Possible conflicts, and how they are prevented:
//!
//! - *A charge of the person is in progress.* It is either erased or booked afterwards, as the use
//!   of a new person. The wallets in which the person occurs are locked, first the row and then the
//!   lanes, before anything that charges read is renamed. So no charge counts in a window that is
//!   renamed meanwhile.
//! - *Charges wait for a long time.* The entries are changed before these locks. Under the locks,
//!   only those are changed that were booked since.
//! - *An entry is archived meanwhile.* `archive()` copies rows before it deletes them. The lock of
//!   `archive()` is acquired first, as there.
//! - *A tree of wallets.* A charge locks a child before its parent. So does the erasure: it begins
//!   at the deepest level, and locks the wallets of a level in the order of their names.
//! - *A plan names the person.* Its versions are of all wallets. An erasure everywhere renames the
//!   person in them and in the marks of wallets, so nothing has to be taken over. An erasure in one
//!   wallet makes the wallet take its version over again.
//! - *A backend knows the old names.* Every lane gets a new epoch, and a changed default limit is
//!   announced by its trigger.
//! - *The erasure leaves what it erases.* The idempotency key of the call has no fingerprint of the
//!   identifier, and the audit row has only the pseudonym.

use crate::access::audit::{Act, note_down};
use crate::erasure::person::Person;
use crate::erasure::{entries, fields, kept, limits};
use crate::error::{Code, Error, Result, quoted};
use crate::idempotency::call::{IdempotentCall, lost};
use crate::ledger::limits::change::note_known;
use crate::ledger::wallets::change::move_epoch;
use crate::ledger::wallets::config;
use crate::pg::jsonb::{Builder, Json, Jsonb};
use crate::storage::lock;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::wallet_row::lock_wallet;

statement!(
    /// The wallets in which the person has something that charges read or write. In the order of
    /// locks: a wallet comes before those above it.
    CONCERNED,
    [TEXTOID, TEXTOID, TEXTARRAYOID, TEXTOID, TEXTOID],
    "SELECT w.wallet_id
       FROM (SELECT m.wallet_id FROM wallet.members m WHERE m.user_id = $1
              UNION SELECT k.wallet_id FROM wallet.api_keys k WHERE k.user_id = $1
              UNION SELECT r.wallet_id FROM wallet.model_rules r WHERE r.scope = 'user' AND r.subject = $1
              UNION SELECT l.wallet_id FROM wallet.limits l WHERE strpos(l.subject, $1) > 0 OR strpos(l.subject, $4) > 0
              UNION SELECT a.wallet_id FROM wallet.allowances a WHERE strpos(a.subject, $1) > 0 OR strpos(a.subject, $4) > 0
              UNION SELECT h.wallet_id FROM wallet.reservations h WHERE h.user_id = $1
              UNION SELECT l.wallet_id FROM wallet.ledger l WHERE l.user_id = $1
              UNION SELECT l.wallet_id FROM wallet.ledger_archive l WHERE l.user_id = $1) w
      WHERE w.wallet_id <> '*' AND ($3::text[] IS NULL OR w.wallet_id = ANY ($3)) AND num_nonnulls($2, $5) = 2
      ORDER BY (WITH RECURSIVE up (parent, depth) AS (
                    SELECT a.parent, 0 FROM wallet.wallets a WHERE a.wallet_id = w.wallet_id
                    UNION ALL
                    SELECT a.parent, u.depth + 1 FROM up u JOIN wallet.wallets a ON a.wallet_id = u.parent
                )
                SELECT max(u.depth) FROM up u) DESC NULLS LAST, w.wallet_id COLLATE \"C\""
);

statement!(
    /// Fingerprints of calls that may name the person are hashes that would confirm a guess.
    FORGET_FINGERPRINTS,
    [TEXTARRAYOID],
    "UPDATE wallet.requests r SET fingerprint = NULL
      WHERE (r.wallet_id = '*' OR r.wallet_id = ANY ($1)) AND r.fingerprint IS NOT NULL
        AND r.call IN ('set_member', 'set_members', 'drop_member', 'create_key', 'create_keys', 'set_limit', 'set_limits',
                       'set_model_rules', 'set_plan', 'set_chargeback_rule', 'fund')"
);

statement!(
    /// An erasure in one wallet leaves the plan as it is, because the plan is of all wallets. The
    /// wallet then takes its version over again, so that the rules are those of the plan.
    FOLLOW_PLAN,
    [TEXTOID, TEXTOID, TEXTARRAYOID, TEXTOID, TEXTOID],
    "UPDATE wallet.wallets w SET plan_version = NULL
       FROM wallet.plan_versions p
      WHERE w.wallet_id = ANY ($3) AND p.plan = w.plan AND p.version = w.plan_version
        AND (strpos(p.definition::text, $4) > 0 OR strpos(p.definition::text, $5) > 0) AND num_nonnulls($1, $2) = 2"
);

statement!(
    WITHOUT,
    [JSONBOID, TEXTOID, TEXTOID],
    "SELECT wallet.without_person($1::text, $2, $3, 'metadata')::jsonb"
);

/// Numbers of rows by table, or by column.
pub type Counts = Vec<(String, i64)>;

/// The result of an erasure.
pub struct Erased {
    /// The pseudonym. `None` if there was nothing to erase.
    pub pseudonym: Option<String>,
    /// The number of changed rows by table.
    pub places: Counts,
    /// The number of rows by column that still have the identifier, because they cannot change.
    pub kept: Counts,
    /// True if an earlier call with the same key did the work.
    pub replayed: bool,
}

/// Erases the person, or returns the first result of the key.
pub fn erase(person: &Person<'_>, act: &Act<'_>, call: IdempotentCall<'_>) -> Result<Erased> {
    let wallets = concerned(person)?;
    for wallet in &wallets {
        lock::wait(wallet, lock::ARCHIVE);
    }
    let mut places = entries::erase(person)?.to_vec();
    for wallet in &wallets {
        lock_wallet(wallet)?;
        config::lock_to_change(wallet)?;
    }
    for (place, since) in places.iter_mut().zip(entries::erase(person)?) {
        place.1 += since.1;
    }
    places.extend(fields::erase(person)?);
    places.push(("entry_lists", entries::erase_in_lists(person)?));
    places.push(("limits", limits::erase_limits(person)?));
    places.push(("allowances", limits::erase_windows(person)?));
    FORGET_FINGERPRINTS.run(&[Value::OptTexts(Some(&wallets))])?;
    for wallet in &wallets {
        limits::recount(wallet, person)?;
        note_known(wallet)?;
        FOLLOW_PLAN.run(&person.values())?;
        move_epoch(wallet)?;
    }
    finish(person, act, call, places)
}

fn concerned(person: &Person<'_>) -> Result<Vec<String>> {
    let found = CONCERNED.run(&person.values())?;
    (0..found.len()).map(|row| found.need(row, 0)).collect()
}

/// Records what was done, and answers.
fn finish(
    person: &Person<'_>,
    act: &Act<'_>,
    call: IdempotentCall<'_>,
    places: Vec<(&'static str, i64)>,
) -> Result<Erased> {
    let changed = places.into_iter().filter(|(_, count)| *count > 0);
    let places: Counts = changed
        .map(|(table, count)| (table.to_owned(), count))
        .collect();
    let is_nothing = places.is_empty();
    if let Some(answer) = call.answered()? {
        return match is_nothing {
            true => first_answer(answer.result().ok_or_else(lost)?),
            false => Err(other_person(call.key.unwrap_or_default())),
        };
    }
    let erased = Erased {
        pseudonym: (!is_nothing).then(|| person.pseudonym.clone()),
        places,
        kept: kept::of(person)?,
        replayed: false,
    };
    if !is_nothing {
        note(person, act, &erased.places)?;
    }
    call.remember(Some(answer(&erased)))?;
    Ok(erased)
}

/// Writes the audit row, which does not have the identifier.
fn note(person: &Person<'_>, act: &Act<'_>, places: &Counts) -> Result<()> {
    let metadata = match act.metadata {
        Some(given) => {
            let names = [Value::Text(person.id), Value::Text(&person.pseudonym)];
            Some(WITHOUT.run(&[Value::Jsonb(given), names[0], names[1]])?)
        }
        None => None,
    };
    let actor = act.actor.map(|actor| person.without(actor));
    let act = Act {
        wallet: act.wallet,
        action: act.action,
        actor: actor.as_deref(),
        metadata: metadata
            .as_ref()
            .and_then(|rows| rows.datum(0, 0))
            .map(Jsonb),
    };
    note_down(&act, &person.pseudonym, object(places))
}

/// An object with the counts.
pub fn object(counts: &Counts) -> Jsonb {
    let mut json = Builder::default();
    json.begin_object();
    for (place, count) in counts {
        json.decimal(place, (*count).into());
    }
    json.finish_object()
}

const PSEUDONYM: &str = "pseudonym";
const PLACE: &str = "place ";
const KEPT: &str = "kept ";

/// The answer for a replay.
fn answer(erased: &Erased) -> Jsonb {
    let mut json = Builder::default();
    json.begin_object();
    json.text(PSEUDONYM, erased.pseudonym.as_deref());
    for (mark, counts) in [(PLACE, &erased.places), (KEPT, &erased.kept)] {
        for (place, count) in counts {
            json.text(&format!("{mark}{place}"), Some(&count.to_string()));
        }
    }
    json.finish_object()
}

fn first_answer(answer: Jsonb) -> Result<Erased> {
    let json = answer.reread("result")?;
    let mut erased = Erased {
        pseudonym: None,
        places: Counts::new(),
        kept: Counts::new(),
        replayed: true,
    };
    for (name, value) in json.as_object().ok_or_else(lost)? {
        let Json::String(text) = value else {
            continue;
        };
        if name == PSEUDONYM {
            erased.pseudonym = Some(text.clone());
        }
        let count = || text.parse().map_err(|_| lost());
        if let Some(place) = name.strip_prefix(PLACE) {
            erased.places.push((place.to_owned(), count()?));
        }
        if let Some(place) = name.strip_prefix(KEPT) {
            erased.kept.push((place.to_owned(), count()?));
        }
    }
    Ok(erased)
}

/// The error 22023 for a key that names the person whom the call erases.
pub fn check_key(person: &str, key: Option<&str>) -> Result<()> {
    match key {
        Some(key) if key.contains(person) => Err(Error::argument(
            "idempotency_key contains the identifier to erase",
        )
        .detail("The key is stored permanently.")
        .hint("Use a key that does not name the person, such as a random one.")
        .about("idempotency_key")),
        _ => Ok(()),
    }
}

fn other_person(key: &str) -> Error {
    // The identifier has no fingerprint, so this is all that can be told.
    Error::new(
        Code::IdempotencyConflict,
        format!("idempotency key {} was used by another erasure", quoted(key)),
    )
    .detail("There are rows with this identifier, which the first call did not have or would have erased.")
    .hint("Use a new key to erase them.")
    .constraint("requests", "requests_pkey")
}
