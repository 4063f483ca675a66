//! `fund`: money in, without ever waiting for a charge.
//!
//! Fundings of one wallet queue on the wallet's row. A funding then takes whatever lane is free;
//! when none is, it puts the money into a spare lane and has the next charge fetch it.
//!
//! Thresholds that the money may re-arm are decided at once when every lane is free. When some are
//! busy, the lanes at hand raise their watermarks by what they can guarantee, whatever the busy
//! ones still spend; what cannot be guaranteed is left to the next charge, which looks at all.

use crate::allowance::cut::active;
use crate::allowance::lanes::{changed_underneath, range};
use crate::allowance::outbox;
use crate::allowance::thresholds::{Crossing, Kind, State, Threshold, cross};
use crate::allowance::whole::{
    Free, Whole, lock_free, read_thresholds, watermark_for, write_thresholds,
};
use crate::error::{Code, Error, Result, quoted};
use crate::ledger::once::Once;
use crate::ledger::replay::{by_key, conflict};
use crate::ledger::request::Fingerprint;
use crate::ledger::rules::{self, Rules};
use crate::money::Amount;
use crate::statement;
use crate::storage::clock::{self, Timestamp};
use crate::storage::plan::{Run, Value};
use crate::storage::rows::{Call, Document, Entry, Kind as EntryKind, Lane, link};
use crate::storage::{invalidation, lock, store};

statement!(
    LOCK_WALLET,
    [TEXTOID],
    "SELECT 1 FROM wallet.wallets WHERE wallet_id = $1 FOR NO KEY UPDATE"
);

statement!(
    FUNDING_BOUNDS,
    [TEXTOID],
    "SELECT funding_min, funding_max FROM wallet.wallets WHERE wallet_id = $1"
);

statement!(
    ATTENTION,
    [TEXTOID],
    "UPDATE wallet.wallets SET attention = attention + 1 WHERE wallet_id = $1"
);

statement!(
    BY_REFERENCE,
    [TEXTOID, TEXTOID, TEXTOID],
    "SELECT f.entry_id, f.amount, coalesce(l.balance, l.lane_balance)
       FROM wallet.funding_requests f
       JOIN wallet.ledger l ON l.wallet_id = f.wallet_id AND l.entry_id = f.entry_id
      WHERE f.wallet_id = $1 AND f.method = $2 AND f.reference = $3"
);

statement!(
    RECORD,
    [
        TEXTOID,
        UUIDOID,
        NUMERICOID,
        TEXTOID,
        TEXTOID,
        TIMESTAMPTZOID
    ],
    "INSERT INTO wallet.funding_requests
        (wallet_id, entry_id, amount, method, reference, status, created_at)
     VALUES ($1, $2, $3, $4, $5, 'settled', $6)"
);

/// A checked funding.
pub struct Funding<'a> {
    /// The wallet.
    pub wallet: &'a str,
    /// How much, above zero.
    pub amount: Amount,
    /// How it was paid.
    pub method: &'a str,
    /// The payment provider's reference.
    pub reference: Option<&'a str>,
    /// Currency, if it was given.
    pub currency: Option<&'a str>,
    /// Idempotency key.
    pub key: Option<&'a str>,
    /// Who acts.
    pub actor: Option<&'a str>,
    /// The caller's own data.
    pub metadata: Option<Document>,
}

/// What `fund` returns.
pub struct Funded {
    /// The entry.
    pub entry_id: [u8; 16],
    /// What was credited.
    pub amount: Amount,
    /// The wallet's currency.
    pub currency: String,
    /// The wallet's balance after it.
    pub balance: Amount,
    /// True when an earlier call made the entry.
    pub replayed: bool,
}

impl Funding<'_> {
    fn fingerprint(&self) -> [u8; 16] {
        let mut fingerprint = Fingerprint::new(Call::Fund as u8);
        fingerprint.field("amount", Some(&self.amount.to_fixed()));
        fingerprint.field("method", Some(self.method));
        fingerprint.field("reference", self.reference);
        fingerprint.field("currency", self.currency);
        fingerprint.finish()
    }
}

/// Locks the wallet's row: calls that change its money from outside or its rules queue on it.
pub fn lock_wallet(wallet: &str) -> Result<()> {
    if LOCK_WALLET.run(&[Value::Text(wallet)])?.is_empty() {
        return Err(Error::wallet_not_found(wallet));
    }
    Ok(())
}

/// Credits the wallet, or replays.
pub fn fund(funding: &Funding<'_>) -> Result<Funded> {
    let wallet = funding.wallet;
    lock_wallet(wallet)?;
    let rules = rules::read(wallet)?;
    if let Some(funded) = replay(funding, &rules)? {
        return Ok(funded);
    }
    check(funding, &rules)?;
    let outcome = match free_active_lane(wallet, &rules)? {
        None => into_spare(funding, &rules)?,
        Some(lane) => {
            // With an active lane in hand nobody else can move the thresholds.
            let thresholds = read_thresholds(wallet, rules.credit_limit)?;
            if thresholds
                .iter()
                .all(|threshold| threshold.state == State::Armed)
            {
                into_lane(funding, &rules, lane)?
            } else {
                let free = lock_free(wallet, rules.lanes)?;
                if free.whole {
                    into_all(funding, &rules, free.all)?
                } else {
                    into_some(funding, &rules, free, thresholds)?
                }
            }
        }
    };
    let (entry_id, balance, created_at) = outcome;
    RECORD.run(&[
        Value::Text(wallet),
        Value::Uuid(entry_id),
        Value::Amount(funding.amount),
        Value::Text(funding.method),
        Value::OptText(funding.reference),
        Value::Time(created_at),
    ])?;
    Ok(Funded {
        entry_id,
        amount: funding.amount,
        currency: rules.currency.clone(),
        balance,
        replayed: false,
    })
}

/// The first answer to this key, or to this payment: the provider's reference is credited once
/// whatever the key says.
fn replay(funding: &Funding<'_>, rules: &Rules) -> Result<Option<Funded>> {
    let funded = |entry_id, amount, balance| {
        let currency = rules.currency.clone();
        Some(Funded {
            entry_id,
            amount,
            currency,
            balance,
            replayed: true,
        })
    };
    if let Some(rows) = by_key(funding.wallet, funding.key, Call::Fund)? {
        if rows.need::<[u8; 16]>(0, 1)? != funding.fingerprint() {
            let same = rows.amount(0, 2)? == funding.amount;
            let field = if same {
                "method, reference or currency"
            } else {
                "amount"
            };
            return Err(conflict(funding.key.unwrap_or_default(), field));
        }
        return Ok(funded(
            rows.need(0, 0)?,
            rows.amount(0, 2)?,
            rows.amount(0, 3)?,
        ));
    }
    // A key that came with a payment credited before has no entry of its own.
    let once = Once {
        wallet: funding.wallet,
        call: "fund",
        key: funding.key,
        fingerprint: funding.fingerprint(),
    };
    let answered = once.answered()?.is_some();
    let Some(reference) = funding.reference else {
        return Ok(None);
    };
    let values = [funding.wallet, funding.method, reference].map(Value::Text);
    let rows = BY_REFERENCE.run(&values)?;
    if rows.is_empty() {
        return Ok(None);
    }
    let amount = rows.amount(0, 1)?;
    if amount != funding.amount {
        return Err(Error::new(
            Code::IdempotencyConflict,
            format!(
                "payment {} was credited with another amount",
                quoted(reference)
            ),
        )
        .detail(format!(
            "It was credited with {amount}; this call says {}.",
            funding.amount
        ))
        .hint("Check the reference: every payment of a method has its own.")
        .rule("funding_requests", "funding_reference"));
    }
    if !answered {
        once.remember(None)?;
    }
    Ok(funded(rows.need(0, 0)?, amount, rows.amount(0, 2)?))
}

fn check(funding: &Funding<'_>, rules: &Rules) -> Result<()> {
    rules.require_open(funding.wallet)?;
    if let Some(currency) = funding.currency
        && currency != rules.currency
    {
        return Err(Error::new(
            Code::FeatureNotSupported,
            format!(
                "cannot fund wallet {} in {}",
                quoted(funding.wallet),
                quoted(currency)
            ),
        )
        .detail(format!("The wallet's currency is {}.", rules.currency))
        .hint("Convert the amount into the wallet's currency."));
    }
    let bounds = FUNDING_BOUNDS.run(&[Value::Text(funding.wallet)])?;
    let outside = |bound: &str, limit: Amount| {
        Error::new(
            Code::InvalidAmount,
            format!("amount is {bound} the wallet allows"),
        )
        .detail(format!(
            "The amount is {}; the bound is {limit}.",
            funding.amount
        ))
        .hint("Change funding_min or funding_max with update_wallet().")
    };
    if let Some(min) = bounds.opt_amount(0, 0)?
        && funding.amount < min
    {
        return Err(outside("less than", min));
    }
    if let Some(max) = bounds.opt_amount(0, 1)?
        && funding.amount > max
    {
        return Err(outside("more than", max));
    }
    Ok(())
}

/// An active lane that nobody else has locked, now locked by us.
fn free_active_lane(wallet: &str, rules: &Rules) -> Result<Option<Lane>> {
    for lane in active(rules.lanes) {
        if lane == 0 {
            return store::try_lane(wallet, 0);
        }
        if lock::attempt(wallet, lane) == lock::Attempt::Acquired {
            return store::read_lane(wallet, lane);
        }
    }
    Ok(None)
}

type Outcome = ([u8; 16], Amount, Timestamp);

/// The wallet's balance with this funding, busy lanes as last committed.
fn balance_after(funding: &Funding<'_>, rules: &Rules) -> Result<Amount> {
    store::others_credited(funding.wallet, i16::MIN)?
        .minus(rules.credit_limit)
        .and_then(|balance| balance.plus(funding.amount))
        .map_err(range)
}

fn entry<'a>(funding: &'a Funding<'_>, contra: &'a str) -> Entry<'a> {
    Entry {
        entry_id: uuid::Uuid::now_v7().into_bytes(),
        created_at: clock::now(),
        event_at: None,
        wallet: funding.wallet,
        kind: EntryKind::Funding,
        call: Call::Fund,
        amount: funding.amount,
        key: funding.key,
        fingerprint: funding.key.map(|_| funding.fingerprint()),
        related_id: None,
        user_id: None,
        team: None,
        provider: None,
        model: None,
        service: None,
        region: None,
        service_tier: None,
        lines: None,
        usage: None,
        tags: None,
        contra: Some(contra),
        reference: funding.reference,
        reason: None,
        actor: funding.actor,
        metadata: funding.metadata.clone(),
    }
}

/// Books the entry at the end of the lane's chain and raises what the lane may spend.
fn book(funding: &Funding<'_>, lane: &mut Lane, balance: Amount) -> Result<Outcome> {
    let contra = format!("funding:{}", funding.method);
    let entry = entry(funding, &contra);
    let booked = lane.booked.plus(funding.amount).map_err(range)?;
    let link = link(&entry, lane, booked, balance);
    lane.allotted = lane.allotted.plus(funding.amount).map_err(range)?;
    lane.booked = booked;
    lane.seq = link.seq;
    lane.hash = Some(link.hash);
    // Fundings of the wallet queue on its row, where the key was looked up.
    if !store::append(&entry, &link)? {
        return Err(changed_underneath(funding.wallet));
    }
    Ok((entry.entry_id, balance, entry.created_at))
}

fn write(wallet: &str, lane: &Lane) -> Result<()> {
    if store::write_lane(wallet, lane)? {
        Ok(())
    } else {
        Err(changed_underneath(wallet))
    }
}

/// All thresholds are armed: any lane will do, and nothing can cross.
fn into_lane(funding: &Funding<'_>, rules: &Rules, mut lane: Lane) -> Result<Outcome> {
    let balance = balance_after(funding, rules)?;
    let outcome = book(funding, &mut lane, balance)?;
    write(funding.wallet, &lane)?;
    Ok(outcome)
}

/// Every lane is ours: the exact total decides.
fn into_all(funding: &Funding<'_>, rules: &Rules, lanes: Vec<Lane>) -> Result<Outcome> {
    let credit = rules.credit_limit;
    let mut whole = Whole::new(funding.wallet, lanes, credit)?;
    let before = whole.room()?;
    let balance = whole.balance(credit)?.plus(funding.amount).map_err(range)?;
    let outcome = book(funding, whole.booking_lane(rules.lanes)?, balance)?;
    let crossings = whole.settle(before, rules.cut())?;
    whole.write()?;
    outbox::emit(funding.wallet, &crossings)?;
    Ok(outcome)
}

/// Some lanes are busy: what the free ones can guarantee is armed.
fn into_some(
    funding: &Funding<'_>,
    rules: &Rules,
    free: Free,
    stored: Vec<Threshold>,
) -> Result<Outcome> {
    let wallet = funding.wallet;
    let credit = rules.credit_limit;
    let balance = balance_after(funding, rules)?;
    let Free {
        ours: mut free,
        all,
        ..
    } = free;
    let payee = free
        .iter_mut()
        .find(|lane| active(rules.lanes).contains(&lane.lane))
        .ok_or_else(|| changed_underneath(wallet))?;
    let outcome = book(funding, payee, balance)?;

    // Busy lanes never go below their watermarks without all lanes' locks, and those are fixed
    // while we hold one: the sum of the watermarks plus our slack is certain to be there.
    let certain: i128 = all.iter().map(|lane| lane.watermark.units()).sum::<i128>()
        + free
            .iter()
            .map(|lane| lane.room().units() - lane.watermark.units())
            .sum::<i128>();
    let certain = Amount::from_units(certain)
        .and_then(|c| c.minus(credit))
        .map_err(range)?;
    let mut thresholds = stored.clone();
    let crossings: Vec<Crossing> = cross_upwards(&mut thresholds, certain);

    let wanted = watermark_for(&thresholds, credit)?.units();
    let mut missing = wanted - all.iter().map(|lane| lane.watermark.units()).sum::<i128>();
    for lane in free
        .iter_mut()
        .filter(|lane| active(rules.lanes).contains(&lane.lane))
    {
        let raise = missing
            .min(lane.room().units() - lane.watermark.units())
            .max(0);
        lane.watermark = Amount::from_units(lane.watermark.units() + raise).map_err(range)?;
        missing -= raise;
    }
    for lane in &free {
        let unchanged = all.contains(lane);
        if !unchanged {
            write(wallet, lane)?;
        }
    }
    write_thresholds(wallet, &stored, &thresholds)?;
    outbox::emit(wallet, &crossings)?;
    if thresholds
        .iter()
        .any(|threshold| threshold.state != State::Armed)
        || missing > 0
    {
        ask_for_attention(wallet)?;
    }
    Ok(outcome)
}

/// Has the next charge, of whatever backend, look at all lanes.
fn ask_for_attention(wallet: &str) -> Result<()> {
    ATTENTION.run(&[Value::Text(wallet)])?;
    invalidation::announce_wallets();
    Ok(())
}

/// Arms what an amount that is certainly available reaches, and fires nothing.
fn cross_upwards(thresholds: &mut [Threshold], certain: Amount) -> Vec<Crossing> {
    let mut reached: Vec<Threshold> = thresholds
        .iter()
        .filter(|t| match t.kind {
            Kind::Low => certain >= t.at,
            Kind::Depleted => certain > t.at,
        })
        .cloned()
        .collect();
    let crossings = cross(&mut reached, certain, certain);
    for threshold in thresholds {
        if let Some(now) = reached
            .iter()
            .find(|r| (r.kind, r.at) == (threshold.kind, threshold.at))
        {
            *threshold = now.clone();
        }
    }
    crossings
}

/// Every active lane is busy: the money goes to a spare lane, and the next charge fetches it.
fn into_spare(funding: &Funding<'_>, rules: &Rules) -> Result<Outcome> {
    let wallet = funding.wallet;
    let balance = balance_after(funding, rules)?;
    let all = store::read_lanes(wallet)?;
    let is_spare = |lane: &&Lane| lane.lane != 0 && !active(rules.lanes).contains(&lane.lane);
    let free = all
        .iter()
        .filter(is_spare)
        .map(|lane| lane.lane)
        .find(|lane| lock::attempt(wallet, *lane) == lock::Attempt::Acquired);
    let number = match free {
        Some(lane) => lane,
        None => {
            let last = all.iter().map(|lane| lane.lane).max().unwrap_or(0);
            let number = last.max(rules.lanes) + 1;
            lock::wait(wallet, number);
            store::new_lane(wallet, number, rules.epoch)?;
            number
        }
    };
    let mut lane = store::read_lane(wallet, number)?.ok_or_else(|| changed_underneath(wallet))?;
    let outcome = book(funding, &mut lane, balance)?;
    write(wallet, &lane)?;
    ask_for_attention(wallet)?;
    Ok(outcome)
}
