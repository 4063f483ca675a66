//! The pass over a wallet's entries.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::attribution::{Attribution, UseContext};
use crate::currency::Currency;
use crate::error::{Error, Result, quoted};
use crate::ledger::proof::chain::{Chains, Head};
use crate::ledger::proof::found::Proof;
use crate::ledger::proof::item::item;
use crate::ledger::proof::lines::{self, Lines};
use crate::ledger::proof::tree;
use crate::ledger::proof::windows::Windows;
use crate::limits::limit::Spending;
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::document::Document;
use crate::pg::jsonb::Jsonb;
use crate::storage::cursor::{Columns, walk};
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::{Call, Kind};

macro_rules! entries_query {
    ($table:literal) => {
        concat!(
            "SELECT entry_id, created_at, event_at, lane, seq, kind, call, amount, lane_balance, balance, hash,
                    idempotency_key, fingerprint, related_id, key_id, user_id, team, provider, model, service,
                    region, service_tier, lines, usage, tags, contra, reference, reason, actor, metadata, person_proof,
                    payload_proof, used_at
               FROM wallet.",
            $table,
            " WHERE wallet_id = $1 ORDER BY entry_id"
        )
    };
}
statement!(ARCHIVED, [TEXTOID], entries_query!("ledger_archive"));
statement!(BOOKED, [TEXTOID], entries_query!("ledger"));

statement!(
    CURRENCY,
    [TEXTOID],
    "SELECT currency FROM wallet.wallets WHERE wallet_id = $1"
);

statement!(
    HEADS,
    [TEXTOID],
    "SELECT lane, seq, booked, hash FROM wallet.allowances
      WHERE wallet_id = $1 AND allowance_id = '00000000-0000-0000-0000-000000000000'"
);

statement!(
    CARRIED,
    [TEXTOID],
    "SELECT lane, seq, amount, hash FROM wallet.carried_forward WHERE wallet_id = $1"
);

statement!(
    KEPT,
    [TEXTOID, JSONBOID],
    "SELECT k.key::integer, (k.value ->> 'seq')::bigint, k.value ->> 'hash'
       FROM jsonb_each($2 -> 'wallets' -> $1) k"
);

statement!(
    REFUNDS,
    [TEXTOID],
    "SELECT entry_id, refunded FROM wallet.refunds WHERE wallet_id = $1 ORDER BY entry_id"
);

// Describe the error, if the pass could not prove that there is none.
statement!(
    WRONG_CHAIN,
    [TEXTOID],
    "SELECT format('lane %s, entry %s: %s', c.lane, coalesce(c.at_seq, c.entries), c.problem)
       FROM wallet.verify_chain($1) c WHERE NOT c.ok ORDER BY c.lane LIMIT 1"
);
statement!(
    WRONG_REFUND,
    [TEXTOID],
    "SELECT format('charge %s: %s refunded, the ledger has %s', coalesce(r.entry_id, e.related_id), coalesce(r.refunded, 0), coalesce(e.amount, 0))
       FROM (SELECT * FROM wallet.refunds WHERE wallet_id = $1) r
       FULL JOIN (SELECT l.related_id, sum(l.amount) AS amount FROM wallet.ledger_all l
                   WHERE l.wallet_id = $1 AND l.kind = 'r' GROUP BY 1) e ON e.related_id = r.entry_id
      WHERE r.refunded IS DISTINCT FROM e.amount LIMIT 1"
);

/// How often a long pass reports its progress.
const SAY_EVERY: Duration = Duration::from_secs(3);

/// Refunded charges that are kept in memory. If there are more, a query compares them.
const MOST_REFUNDED: usize = 100_000;

/// A row of `carried_forward`, compared with the entry that it names.
struct Carried {
    amount: Amount,
    hash: Vec<u8>,
    /// Whether the entry matches the row. `None` if there is no such entry.
    is_same: Option<bool>,
}

struct Kept {
    seq: i64,
    hash: Option<String>,
    is_same: Option<bool>,
}

struct Pass<'a> {
    wallet: &'a str,
    chains: Chains,
    entries: i64,
    archived: i64,
    /// The sum of the entries. `None` if one of them has no valid amount.
    booked: Option<i128>,
    windows: Windows<'a>,
    lines: Lines,
    /// The refunded amount by charge. `None` once there are too many.
    refunds: Option<HashMap<[u8; 16], i128>>,
    carried: BTreeMap<(i16, i64), Carried>,
    /// The last number that was carried forward, by lane.
    carried_to: HashMap<i16, i64>,
    /// By lane, the first entry in the wrong table: in the archive, and in the ledger.
    beyond: [BTreeMap<i16, i64>; 2],
    kept: BTreeMap<i32, Kept>,
    pooled: i64,
    progress: Progress,
}

/// Reports the progress of a pass from time to time.
struct Progress {
    all: i64,
    said: Instant,
}

impl Progress {
    /// True if a report is due.
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = now.duration_since(self.said) >= SAY_EVERY;
        if is_due {
            self.said = now;
        }
        is_due
    }
}

/// Checks all stored rows of a wallet, under the snapshot of the running query.
pub fn prove(wallet: &str, digest: Option<Jsonb>) -> Result<Proof> {
    let rows = CURRENCY.read(&[Value::Text(wallet)])?;
    if rows.is_empty() {
        return Err(Error::wallet_not_found(wallet));
    }
    let currency = Currency::of_row(&rows.need::<String>(0, 0)?)?;
    drop(rows);
    let heads = heads(wallet)?;
    let (carried, carried_to) = carried(wallet)?;
    let mut pass = Pass {
        wallet,
        chains: Chains::default(),
        entries: 0,
        archived: 0,
        booked: Some(0),
        windows: Windows::of(wallet)?,
        lines: Lines::of(currency),
        refunds: Some(HashMap::new()),
        carried,
        carried_to,
        beyond: Default::default(),
        kept: kept(wallet, digest)?,
        pooled: 0,
        progress: Progress {
            all: heads.values().map(|head| head.seq).sum(),
            said: Instant::now(),
        },
    };
    // The beginning of a lane is in the archive.
    for (statement, is_archive) in [(&ARCHIVED, true), (&BOOKED, false)] {
        let state = std::cell::RefCell::new(&mut pass);
        walk(
            statement,
            &[Value::Text(wallet)],
            |columns| state.borrow_mut().entry(columns, is_archive),
            || {
                let pass = &mut *state.borrow_mut();
                if pass.progress.is_due(Instant::now()) {
                    pgrx::notice!(
                        "verified {} of {} entries of wallet {}",
                        pass.entries,
                        pass.progress.all,
                        quoted(wallet)
                    );
                }
                Ok(())
            },
        )?;
    }
    pass.judge(&heads)
}

fn heads(wallet: &str) -> Result<BTreeMap<i16, Head>> {
    let rows = HEADS.read(&[Value::Text(wallet)])?;
    let head = |row: usize| {
        let head = Head {
            seq: rows.need(row, 1)?,
            booked: rows.amount(row, 2)?.units(),
            hash: rows.get(row, 3).unwrap_or_default(),
        };
        Ok((rows.need(row, 0)?, head))
    };
    (0..rows.len()).map(head).collect()
}

type CarriedForward = (BTreeMap<(i16, i64), Carried>, HashMap<i16, i64>);

fn carried(wallet: &str) -> Result<CarriedForward> {
    let rows = CARRIED.read(&[Value::Text(wallet)])?;
    let (mut carried, mut last) = (BTreeMap::new(), HashMap::new());
    for row in 0..rows.len() {
        let (lane, seq): (i16, i64) = (rows.need(row, 0)?, rows.need(row, 1)?);
        let to = last.entry(lane).or_insert(seq);
        *to = seq.max(*to);
        carried.insert(
            (lane, seq),
            Carried {
                amount: rows.amount(row, 2)?,
                hash: rows.need(row, 3)?,
                is_same: None,
            },
        );
    }
    Ok((carried, last))
}

fn kept(wallet: &str, digest: Option<Jsonb>) -> Result<BTreeMap<i32, Kept>> {
    let Some(digest) = digest else {
        return Ok(BTreeMap::new());
    };
    let rows = KEPT.read(&[Value::Text(wallet), Value::Jsonb(digest)])?;
    let kept = |row: usize| {
        let kept = Kept {
            seq: rows.get(row, 1).unwrap_or(0),
            hash: rows.get(row, 2),
            is_same: None,
        };
        Ok((rows.need(row, 0)?, kept))
    };
    (0..rows.len()).map(kept).collect()
}

impl Pass<'_> {
    fn entry(&mut self, columns: &Columns<'_>, is_archive: bool) -> Result<()> {
        let (lane, seq) = (columns.int2(3)?, columns.int8(4)?);
        let (kind, call) = (columns.letter(5)?, columns.letter(6)?);
        let hash = columns.bytes(10).unwrap_or_default();
        let tags = columns.jsonb(24).map(Document::of);
        self.entries += 1;
        self.archived += i64::from(is_archive);
        self.place(columns, (lane, seq), hash, is_archive);
        let Some(amount) = columns.amount(7).map(Amount::units) else {
            self.booked = None;
            self.chains.fail();
            return Ok(());
        };
        self.booked = self.booked.and_then(|booked| booked.checked_add(amount));
        match item(self.wallet, columns, (kind, call), hash, tags.as_ref()) {
            Some(item) => self.chains.add(lane, item),
            None => self.chains.fail(),
        }
        if let (Some(lines), Some(id)) = (columns.bytes(22), columns.uuid(0)) {
            self.lines.add(&lines::Charge {
                id,
                call,
                cost: -amount,
                lines,
                reason: columns.text(27),
                at: columns
                    .time(2)
                    .or(columns.time(1))
                    .unwrap_or(Timestamp(i64::MAX)),
            })?;
        }
        self.count(columns, (kind, call), amount, tags.as_ref())
    }

    /// Checks whether the entry is in the right table, and compares it with the digest.
    fn place(
        &mut self,
        columns: &Columns<'_>,
        (lane, seq): (i16, i64),
        hash: &[u8],
        is_archive: bool,
    ) {
        let to = self.carried_to.get(&lane).copied().unwrap_or(0);
        if (seq > to) == is_archive {
            let first = self.beyond[usize::from(!is_archive)]
                .entry(lane)
                .or_insert(seq);
            *first = seq.min(*first);
        }
        if is_archive && let Some(carried) = self.carried.get_mut(&(lane, seq)) {
            carried.is_same =
                Some(hash == carried.hash && columns.amount(8) == Some(carried.amount));
        }
        if let Some(kept) = self.kept.get_mut(&i32::from(lane))
            && kept.seq == seq
        {
            let text: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            kept.is_same = Some(kept.hash.as_deref() == Some(&text));
        }
    }

    /// Counts the entry in limits and refunds.
    fn count(
        &mut self,
        columns: &Columns<'_>,
        (kind, call): (u8, u8),
        amount: i128,
        tags: Option<&Document>,
    ) -> Result<()> {
        let related = columns.uuid(13);
        let is_reached = columns.time(1).is_some_and(|at| self.windows.reach(at));
        self.pooled += i64::from(Call::of(call).is_some_and(Call::is_pooled));
        let is_lent = Call::of(call).is_some_and(Call::is_lent);
        let is_returned = call == Call::Return as u8 && amount > 0;
        if is_returned && let Some(charge) = related {
            // Lent money that a child's refund returned. The child has the refund.
            if is_reached {
                self.windows.refund(charge, amount)?;
            }
        } else if kind == Kind::Refund as u8 {
            let Some(charge) = related else {
                // The entry is no refund of a charge. The query finds the error.
                self.refunds = None;
                return Ok(());
            };
            if let Some(refunds) = &mut self.refunds {
                *refunds.entry(charge).or_default() += amount;
                if refunds.len() > MOST_REFUNDED {
                    self.refunds = None;
                }
            }
            if is_reached {
                self.windows.refund(charge, amount)?;
            }
        } else if (kind == Kind::Charge as u8 || is_lent) && is_reached {
            let spending = Spending {
                attribution: Attribution {
                    key_id: columns.uuid(14),
                    user_id: columns.text(15),
                    team: columns.text(16),
                },
                context: UseContext {
                    model: columns.text(18),
                    service: columns.text(19),
                    tags,
                    ..UseContext::default()
                },
                ..Spending::default()
            };
            match related {
                Some(hold) if [Call::Settle as u8, Call::LendSettled as u8].contains(&call) => {
                    self.windows.settlement(&spending, hold, -amount)?;
                }
                _ => {
                    if let Some(at) = columns.time(1) {
                        self.windows.charge(&spending, at, -amount);
                    }
                }
            }
        }
        Ok(())
    }

    /// A query names the wrong entry only if the pass found a chain or refund to be wrong, or had
    /// too many refunds to keep. The queries read the ledger again.
    fn judge(mut self, heads: &BTreeMap<i16, Head>) -> Result<Proof> {
        let wallet = [Value::Text(self.wallet)];
        let chain = match self.chains.end_at(heads) {
            true => None,
            false => WRONG_CHAIN.read(&wallet)?.get(0, 0),
        };
        let refunds = match self.are_refunds_right()? {
            true => None,
            false => WRONG_REFUND.read(&wallet)?.get(0, 0),
        };
        let archive = self.archive_problem();
        let digest = self
            .kept
            .iter()
            .filter(|(_, kept)| kept.seq > 0)
            .find_map(|(lane, kept)| match kept.is_same {
                Some(true) => None,
                Some(false) => Some(format!(
                    "lane {lane}, entry {} is not what it was",
                    kept.seq
                )),
                None => Some(format!(
                    "lane {lane} ended at entry {}, which is gone",
                    kept.seq
                )),
            });
        let booked = self
            .booked
            .and_then(|booked| Amount::from_units(booked).ok());
        let booked = match booked {
            _ if self.entries == 0 => "0".to_owned(),
            Some(booked) => booked.to_fixed(),
            None => "NaN".to_owned(),
        };
        let tree = match self.pooled {
            0 => None,
            _ => tree::problem(self.wallet)?,
        };
        let (windows, limits) = self.windows.judge()?;
        Ok(Proof {
            entries: self.entries,
            lanes: self.chains.count_lanes(heads),
            booked,
            chain,
            limits,
            windows,
            refunds,
            lines: self.lines.wrong,
            lines_count: self.lines.count,
            archived: self.archived,
            archive,
            digest,
            kept: self.kept.len() as i64,
            pooled: self.pooled,
            tree,
        })
    }

    /// True if every charge was refunded the amount that the ledger states. False also if there are
    /// too many to compare.
    fn are_refunds_right(&mut self) -> Result<bool> {
        let Some(mut refunds) = self.refunds.take() else {
            return Ok(false);
        };
        let mut is_right = true;
        walk(
            &REFUNDS,
            &[Value::Text(self.wallet)],
            |columns| {
                let found = columns.uuid(0).and_then(|charge| refunds.remove(&charge));
                is_right &= found.is_some() && found == columns.amount(1).map(Amount::units);
                Ok(())
            },
            || Ok(()),
        )?;
        Ok(is_right && refunds.is_empty())
    }

    fn archive_problem(&self) -> Option<String> {
        let carried =
            self.carried
                .iter()
                .find_map(|((lane, seq), carried)| match carried.is_same {
                    Some(true) => None,
                    Some(false) => Some(format!(
                        "lane {lane}: what was carried forward is not entry {seq}"
                    )),
                    None => Some(format!(
                        "lane {lane}: entry {seq} was carried forward and is not there"
                    )),
                });
        let [archived, booked] = self.beyond.each_ref().map(BTreeMap::first_key_value);
        carried
            .or_else(|| {
                archived.map(|(lane, seq)| {
                    format!("lane {lane}: entry {seq} is there and was not carried forward")
                })
            })
            .or_else(|| {
                booked.map(|(lane, seq)| {
                    format!(
                        "lane {lane}: entry {seq} was carried forward and is still in the ledger"
                    )
                })
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_pass_says_so_every_few_seconds() {
        let begun = Instant::now();
        let mut progress = Progress {
            all: 10,
            said: begun,
        };
        let said: Vec<u64> = (0..10)
            .filter(|second| progress.is_due(begun + Duration::from_secs(*second)))
            .collect();
        assert_eq!(said, [3, 6, 9]);
    }
}
