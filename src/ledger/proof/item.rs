//! An entry as it is read from the ledger, in the form that its hash covers.

use crate::attribution::{Attribution, UseContext};
use crate::ledger::proof::chain::Item;
use crate::pg::document::Document;
use crate::storage::cursor::Columns;
use crate::storage::entry_form::form;
use crate::storage::entry_proof::Proof;
use crate::storage::rows::{Call, Entry, Kind, Link};

/// The entry for its chain. `None` if its form cannot be built.
pub fn item(
    wallet: &str,
    columns: &Columns<'_>,
    (kind, call): (u8, u8),
    hash: &[u8],
    tags: Option<&Document>,
) -> Option<Item> {
    // A text that cannot be read is not NULL.
    let text = |column: usize| match columns.text(column) {
        None if !columns.is_null(column) => None,
        text => Some(text),
    };
    let lane_balance = columns.amount(8)?;
    let balance = match columns.is_null(9) {
        true => lane_balance,
        // The stored balance is NULL if it equals the lane's.
        false => columns
            .amount(9)
            .filter(|balance| *balance != lane_balance)?,
    };
    let entry = Entry {
        entry_id: columns.uuid(0)?,
        created_at: columns.time(1)?,
        event_at: columns.time(2),
        used_at: columns.time(32),
        wallet,
        kind: Kind::of(kind)?,
        call: Call::of(call)?,
        amount: columns.amount(7)?,
        key: text(11)?,
        fingerprint: columns.uuid(12),
        related_id: columns.uuid(13),
        attribution: Attribution {
            key_id: columns.uuid(14),
            user_id: text(15)?,
            team: text(16)?,
        },
        context: UseContext {
            provider: text(17)?,
            model: text(18)?,
            service: text(19)?,
            region: text(20)?,
            service_tier: text(21)?,
            tags,
        },
        lines: columns.bytes(22),
        usage: columns.jsonb(23).map(Document::of),
        contra: text(25)?,
        reference: text(26)?,
        reason: text(27)?,
        actor: text(28)?,
        metadata: columns.jsonb(29).map(Document::of),
    };
    let link = Link {
        lane: columns.int2(3).ok()?,
        seq: columns.int8(4).ok()?,
        lane_balance,
        balance,
        hash: hash.try_into().ok()?,
        person_proof: Proof::stored(columns.bytes(30))?,
        payload_proof: Proof::stored(columns.bytes(31))?,
    };
    Some(Item {
        seq: link.seq,
        amount: entry.amount.units(),
        lane_balance: lane_balance.units(),
        hash: link.hash,
        form: form(&entry, &link)?,
    })
}
