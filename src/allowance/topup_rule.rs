//! Evaluates a wallet's top-up rules: whether they request money now, and if not, why and until
//! when.
//!
//! The rules are evaluated whenever all lanes of the wallet are locked. So two evaluations never
//! run at once, and each rule has at most one open top-up. If a charge crosses the threshold of a
//! rule, the rules are evaluated in that charge.
//!
//! The amounts that open top-ups will bring count as if they were there: a rule whose threshold
//! they reach is *covered* and requests nothing. Rules whose time has come are evaluated first,
//! because they request money in any case, then the rules with the highest threshold, whose
//! threshold a falling balance crosses first. A covered rule must be evaluated again as soon as the
//! open top-ups are no longer enough. For that moment the wallet has a threshold of its own.
//!
//! A request may be blocked until a time (a cooldown, a pause after a decline, a period whose cap
//! is used up) or until an event (the open top-up is done). A time is stored in every lane
//! (`evaluate_at`), and the first charge after it locks all lanes. The end of a top-up makes the
//! next charge do the same with the wallet's recheck counter. So no program has to run in between.

use crate::allowance::lanes::range;
use crate::allowance::topup_decision::{Decision, Money, Reason, State, decide};
use crate::error::Result;
use crate::money::Amount;
use crate::outbox::{Event, Field, Name, emit_event};
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::storage::plan::{Rows, Run, Value, statement};

statement!(
    STATE,
    [TEXTOID, TIMESTAMPTZOID],
    "SELECT r.name, r.threshold, r.amount, r.target_balance, r.method, w.currency,
            w.status = 'active', w.debt, w.funding_max,
            r.max_count::bigint, r.max_amount, r.refused, r.next_at,
            coalesce(r.next_at <= $2, false)
                OR coalesce(last.status = 'failed' AND last.cause = 'interval', false),
            coalesce(last.status = 'requested', false),
            f.declines >= r.max_declines,
            CASE WHEN f.declines > 0
                 THEN f.last_at + least(r.back_off * 2 ^ least(f.declines - 1, 20), interval '1 day') END,
            (SELECT max(t.finished_at) FROM wallet.topup_requests t
              WHERE t.wallet_id = $1 AND t.rule_name = r.name AND t.status = 'succeeded') + r.cooldown,
            p.used, p.money, p.ends,
            (SELECT coalesce(sum(t.amount), 0) FROM wallet.topup_requests t
              WHERE t.wallet_id = $1 AND t.status = 'requested')
       FROM wallet.topup_rules r
       JOIN wallet.wallets w ON w.wallet_id = r.wallet_id
       LEFT JOIN LATERAL (
            SELECT t.status, t.cause FROM wallet.topup_requests t
             WHERE t.wallet_id = $1 AND t.rule_name = r.name AND (t.created_at >= r.created_at OR t.status = 'requested')
             ORDER BY t.topup_id DESC LIMIT 1) last ON true
      CROSS JOIN LATERAL (
            SELECT count(*) AS declines, max(t.finished_at) AS last_at
              FROM wallet.topup_requests t
             WHERE t.wallet_id = $1 AND t.rule_name = r.name AND t.status = 'failed' AND t.finished_at >= r.created_at
               AND t.finished_at > coalesce(
                       (SELECT max(s.finished_at) FROM wallet.topup_requests s
                         WHERE s.wallet_id = $1 AND s.rule_name = r.name AND s.status = 'succeeded'), '-infinity')) f
      CROSS JOIN LATERAL (
            SELECT CASE WHEN r.period = 'lifetime' THEN '-infinity'::timestamptz
                        ELSE date_trunc(r.period, $2, w.time_zone) END AS begins) b
      CROSS JOIN LATERAL (
            SELECT count(*) AS used, coalesce(sum(t.amount), 0) AS money,
                   CASE WHEN r.period <> 'lifetime'
                        THEN timezone(w.time_zone, timezone(w.time_zone, b.begins)
                             + CASE r.period WHEN 'quarter' THEN interval '3 months'
                                             ELSE ('1 ' || r.period)::interval END) END AS ends
              FROM wallet.topup_requests t
             WHERE t.wallet_id = $1 AND t.rule_name = r.name AND t.status <> 'failed' AND t.created_at >= b.begins) p
      WHERE r.wallet_id = $1
      ORDER BY r.threshold DESC NULLS LAST, r.name"
);

statement!(
    REQUEST,
    [
        TEXTOID,
        UUIDOID,
        TEXTOID,
        NUMERICOID,
        TEXTOID,
        TEXTOID,
        TIMESTAMPTZOID
    ],
    "INSERT INTO wallet.topup_requests
        (wallet_id, topup_id, rule_name, amount, method, cause, status, created_at)
     VALUES ($1, $2, $3, $4, $5, $6, 'requested', $7)"
);

// Months are counted from the rule's beginning, so that the 31st does not permanently become the
// 28th.
statement!(
    LOOKED,
    [
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TIMESTAMPTZOID,
        BOOLOID,
        TIMESTAMPTZOID
    ],
    "UPDATE wallet.topup_rules r
        SET refused = $3,
            evaluate_at = $4,
            next_at = CASE WHEN $5 THEN (
                SELECT min(due)
                  FROM wallet.wallets w,
                       generate_series(1, 2 + (extract(epoch FROM $6 - r.created_at)
                                               / extract(epoch FROM r.step))::int * 2) n,
                       timezone(w.time_zone, timezone(w.time_zone, r.created_at) + n * r.step) due
                 WHERE w.wallet_id = $1 AND due > $6)
            ELSE next_at END
      WHERE wallet_id = $1 AND name = $2
     RETURNING next_at"
);

statement!(
    LOOK_WHEN_DUE,
    [TEXTOID, TEXTOID],
    "UPDATE wallet.topup_rules SET evaluate_at = next_at WHERE wallet_id = $1 AND name = $2"
);

/// The state of a rule.
fn state_of(rows: &Rows, row: usize) -> Result<State> {
    Ok(State {
        name: rows.need(row, 0)?,
        threshold: rows.opt_amount(row, 1)?,
        amount: rows.opt_amount(row, 2)?,
        target: rows.opt_amount(row, 3)?,
        method: rows.need(row, 4)?,
        currency: rows.need(row, 5)?,
        active: rows.need(row, 6)?,
        debt: rows.amount(row, 7)?,
        funding_max: rows.opt_amount(row, 8)?,
        max_count: rows.get(row, 9),
        max_amount: rows.opt_amount(row, 10)?,
        refused: rows.get(row, 11),
        next_at: rows.get(row, 12),
        due: rows.need(row, 13)?,
        open: rows.need(row, 14)?,
        stopped: rows.need(row, 15)?,
        back_off: rows.get(row, 16),
        cooldown: rows.get(row, 17),
        used: rows.need(row, 18)?,
        money: rows.amount(row, 19)?,
        ends: rows.get(row, 20),
    })
}

/// An event of an evaluation, emitted after the crossings that caused it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// `topup_requested`
    Requested {
        /// The id of the top-up.
        topup_id: [u8; 16],
        /// The name of the rule.
        rule: String,
        /// The requested amount, in the wallet's currency.
        amount: Amount,
        /// The wallet's currency.
        currency: String,
        /// The payment method of the rule.
        method: String,
        /// `threshold` if the balance is low, `interval` if the request is made by time.
        cause: &'static str,
        /// The rule's threshold. `None` if the rule has none.
        threshold: Option<Amount>,
    },
    /// `topup_failed`, if no money was requested.
    Refused {
        /// The name of the rule.
        rule: String,
        /// The reason for the refusal.
        reason: Reason,
        /// The end of the refusal. `None` if time does not help.
        until: Option<Timestamp>,
        /// The rule's threshold. `None` if the rule has none.
        threshold: Option<Amount>,
    },
}

impl Notice {
    /// Writes the event.
    pub fn emit(&self, wallet: &str) -> Result<()> {
        match self {
            Notice::Requested {
                topup_id,
                rule,
                amount,
                currency,
                method,
                cause,
                threshold,
            } => emit_event(
                wallet,
                &Event {
                    name: Name::TopupRequested,
                    threshold: *threshold,
                    payload: &[
                        ("topup_id", Field::Id(*topup_id)),
                        ("amount", Field::Amount(*amount)),
                        ("currency", Field::Text(currency)),
                        ("method", Field::Text(method)),
                        ("cause", Field::Text(cause)),
                        ("rule_name", Field::Text(rule)),
                    ],
                },
            ),
            Notice::Refused {
                rule,
                reason,
                until,
                threshold,
            } => emit_event(
                wallet,
                &Event {
                    name: Name::TopupFailed,
                    threshold: *threshold,
                    payload: &[
                        ("reason", Field::Text(reason.as_str())),
                        ("retry_at", Field::Time(*until)),
                        ("rule_name", Field::Text(rule)),
                    ],
                },
            ),
        }
    }
}

/// The result of an evaluation of the top-up rules.
#[derive(Debug, Default)]
pub struct Looked {
    /// The events that it caused.
    pub notices: Vec<Notice>,
    /// The time at which a charge must evaluate the rules again. `None` if time changes nothing.
    pub evaluate_at: Option<Timestamp>,
    /// The available amounts below which open top-ups no longer cover a rule.
    pub covered_at: Vec<Amount>,
}

/// The thresholds of rules that are crossed: before a change of the available amount, and after it.
pub struct Low {
    /// Before.
    pub before: Vec<Amount>,
    /// After.
    pub after: Vec<Amount>,
}

/// Stores a requested top-up and returns its event.
fn request(
    wallet: &str,
    state: &State,
    amount: Amount,
    cause: &'static str,
    now: Timestamp,
) -> Result<Notice> {
    let topup_id = uuid::Uuid::now_v7().into_bytes();
    REQUEST.run(&[
        Value::Text(wallet),
        Value::Uuid(topup_id),
        Value::Text(&state.name),
        Value::Amount(amount),
        Value::Text(&state.method),
        Value::Text(cause),
        Value::Time(now),
    ])?;
    Ok(Notice::Requested {
        topup_id,
        rule: state.name.clone(),
        amount,
        currency: state.currency.clone(),
        method: state.method.clone(),
        cause,
        threshold: state.threshold,
    })
}

/// Evaluates the rules of a wallet whose lanes are all locked.
pub fn look(wallet: &str, low: &Low, available: Amount) -> Result<Looked> {
    let now = clock::now();
    let rows = STATE.run(&[Value::Text(wallet), Value::Time(now)])?;
    let mut looked = Looked::default();
    if rows.is_empty() {
        return Ok(looked);
    }
    let mut money = Money {
        available,
        pending: rows.amount(0, 21)?,
    };
    let mut states = (0..rows.len())
        .map(|row| state_of(&rows, row))
        .collect::<Result<Vec<State>>>()?;
    states.sort_by_key(|state| !state.due);
    let mut covered = Vec::new();
    for state in &states {
        let among = |list: &[Amount]| state.threshold.is_some_and(|at| list.contains(&at));
        let is_low = among(&low.after);
        let decision = decide(state, is_low, money, now)?;
        let crossed = is_low && !among(&low.before);
        let decided = act(wallet, state, &decision, is_low, crossed, now)?;
        looked.notices.extend(decided.notice);
        looked.evaluate_at = looked
            .evaluate_at
            .into_iter()
            .chain(decided.evaluate_at)
            .min();
        match decision {
            Decision::Request(amount) => {
                money.pending = money.pending.plus(amount).map_err(range)?;
            }
            Decision::Covered => covered.push(state),
            Decision::Nothing | Decision::Refuse(..) => {}
        }
    }
    for state in covered {
        looked.covered_at.extend(state.covered_at(money.pending)?);
    }
    Ok(looked)
}

/// The consequences of a decision.
struct Acted {
    notice: Option<Notice>,
    evaluate_at: Option<Timestamp>,
}

/// Does what was decided about a rule, and stores what the next evaluation needs.
fn act(
    wallet: &str,
    state: &State,
    decision: &Decision,
    low: bool,
    crossed: bool,
    now: Timestamp,
) -> Result<Acted> {
    let mut evaluate_at = state.next_at.filter(|at| *at > now);
    let mut notice = None;
    let mut reason = None;
    match decision {
        Decision::Nothing | Decision::Covered => {}
        Decision::Refuse(why, until) => {
            reason = Some(why.as_str());
            evaluate_at = evaluate_at.into_iter().chain(*until).min();
            // An open top-up is the wanted state, unless the balance fell again.
            let news = *why != Reason::Open && state.refused.as_deref() != reason;
            if crossed || news {
                notice = Some(Notice::Refused {
                    rule: state.name.clone(),
                    reason: *why,
                    until: *until,
                    threshold: state.threshold,
                });
            }
        }
        Decision::Request(amount) => {
            let cause = if low { "threshold" } else { "interval" };
            notice = Some(request(wallet, state, *amount, cause, now)?);
        }
    }
    // A scheduled top-up is done once it was requested or was not needed.
    let advance = state.due && reason.is_none() && state.next_at.is_some_and(|at| at <= now);
    let changed = state.refused.as_deref() != reason;
    if advance || changed || evaluate_at.is_some() || notice.is_some() {
        let rows = LOOKED.run(&[
            Value::Text(wallet),
            Value::Text(&state.name),
            Value::OptText(reason),
            Value::OptTime(evaluate_at),
            Value::Bool(advance),
            Value::Time(now),
        ])?;
        if advance {
            evaluate_at = rows.get(0, 0);
            LOOK_WHEN_DUE.run(&[Value::Text(wallet), Value::Text(&state.name)])?;
        }
    }
    Ok(Acted {
        notice,
        evaluate_at,
    })
}
