//! Evaluates a wallet's top-up rule: whether it requests money now, and if not, why and until when.
//!
//! The rule is evaluated whenever all lanes of the wallet are locked. So two evaluations never run
//! at once, and at most one top-up is open. If a charge crosses the rule's threshold, the rule is
//! evaluated in that charge.
//!
//! A request may be blocked until a time (a cooldown, a pause after a decline, a period whose cap
//! is used up) or until an event (the open top-up is done). A time is stored in every lane
//! (`evaluate_at`), and the first charge after it locks all lanes. The end of a top-up makes the
//! next charge do the same with the wallet's recheck counter. So no program has to run in between.

use crate::allowance::lanes::range;
use crate::currency::Currency;
use crate::error::Result;
use crate::money::{AMOUNT_SCALE, Amount};
use crate::outbox::{Event, Field, Name, emit_event};
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::storage::plan::{Rows, Run, Value, statement};

statement!(
    STATE,
    [TEXTOID, TIMESTAMPTZOID],
    "SELECT r.threshold, r.amount, r.target_balance, r.method, w.currency,
            w.status = 'active', w.debt, w.funding_max,
            r.max_count::bigint, r.max_amount, r.refused, r.next_at,
            coalesce(r.next_at <= $2, false)
                OR coalesce(last.status = 'failed' AND last.cause = 'interval', false),
            coalesce(last.status = 'requested', false),
            f.declines >= r.max_declines,
            CASE WHEN f.declines > 0
                 THEN f.last_at + least(r.back_off * 2 ^ least(f.declines - 1, 20), interval '1 day') END,
            (SELECT max(t.finished_at) FROM wallet.topup_requests t
              WHERE t.wallet_id = $1 AND t.status = 'succeeded') + r.cooldown,
            p.used, p.money, p.ends
       FROM wallet.topup_rules r
       JOIN wallet.wallets w ON w.wallet_id = r.wallet_id
       LEFT JOIN LATERAL (
            SELECT t.status, t.cause FROM wallet.topup_requests t
             WHERE t.wallet_id = $1 AND t.created_at >= r.created_at OR t.wallet_id = $1 AND t.status = 'requested'
             ORDER BY t.topup_id DESC LIMIT 1) last ON true
      CROSS JOIN LATERAL (
            SELECT count(*) AS declines, max(t.finished_at) AS last_at
              FROM wallet.topup_requests t
             WHERE t.wallet_id = $1 AND t.status = 'failed' AND t.finished_at >= r.created_at
               AND t.finished_at > coalesce(
                       (SELECT max(s.finished_at) FROM wallet.topup_requests s
                         WHERE s.wallet_id = $1 AND s.status = 'succeeded'), '-infinity')) f
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
             WHERE t.wallet_id = $1 AND t.status <> 'failed' AND t.created_at >= b.begins) p
      WHERE r.wallet_id = $1"
);

statement!(
    REQUEST,
    [
        TEXTOID,
        UUIDOID,
        NUMERICOID,
        TEXTOID,
        TEXTOID,
        TIMESTAMPTZOID
    ],
    "INSERT INTO wallet.topup_requests
        (wallet_id, topup_id, amount, method, cause, status, created_at)
     VALUES ($1, $2, $3, $4, $5, 'requested', $6)"
);

// Months are counted from the rule's beginning, so that the 31st does not permanently become the
// 28th.
statement!(
    LOOKED,
    [TEXTOID, TEXTOID, TIMESTAMPTZOID, BOOLOID, TIMESTAMPTZOID],
    "UPDATE wallet.topup_rules r
        SET refused = $2,
            evaluate_at = $3,
            next_at = CASE WHEN $4 THEN (
                SELECT min(due)
                  FROM wallet.wallets w,
                       generate_series(1, 2 + (extract(epoch FROM $5 - r.created_at)
                                               / extract(epoch FROM r.step))::int * 2) n,
                       timezone(w.time_zone, timezone(w.time_zone, r.created_at) + n * r.step) due
                 WHERE w.wallet_id = $1 AND due > $5)
            ELSE next_at END
      WHERE wallet_id = $1
     RETURNING next_at"
);

statement!(
    LOOK_WHEN_DUE,
    [TEXTOID],
    "UPDATE wallet.topup_rules SET evaluate_at = next_at WHERE wallet_id = $1"
);

/// The reason why a rule requests no money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A top-up is open.
    Open,
    /// The wallet is frozen or closed.
    NotActive,
    /// Too many top-ups were declined.
    Stopped,
    /// A top-up was declined recently.
    BackOff,
    /// A top-up succeeded recently.
    Cooldown,
    /// The period's maximum number of top-ups is reached.
    MaxCount,
    /// The period's maximum amount is reached.
    MaxAmount,
    /// The amount exceeds the wallet's maximum for one funding.
    FundingMax,
}

impl Reason {
    /// The reason as the event states it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Open => "topup_open",
            Reason::NotActive => "wallet_not_active",
            Reason::Stopped => "rule_stopped",
            Reason::BackOff => "back_off",
            Reason::Cooldown => "cooldown",
            Reason::MaxCount => "max_count",
            Reason::MaxAmount => "max_amount",
            Reason::FundingMax => "funding_max",
        }
    }
}

/// The state on which a decision depends.
#[derive(Clone, Debug)]
struct State {
    threshold: Option<Amount>,
    amount: Option<Amount>,
    target: Option<Amount>,
    currency: String,
    active: bool,
    debt: Amount,
    funding_max: Option<Amount>,
    max_count: Option<i64>,
    max_amount: Option<Amount>,
    due: bool,
    open: bool,
    stopped: bool,
    back_off: Option<Timestamp>,
    cooldown: Option<Timestamp>,
    used: i64,
    money: Amount,
    ends: Option<Timestamp>,
}

impl State {
    fn of(rows: &Rows) -> Result<State> {
        Ok(State {
            threshold: rows.opt_amount(0, 0)?,
            amount: rows.opt_amount(0, 1)?,
            target: rows.opt_amount(0, 2)?,
            currency: rows.need(0, 4)?,
            active: rows.need(0, 5)?,
            debt: rows.amount(0, 6)?,
            funding_max: rows.opt_amount(0, 7)?,
            max_count: rows.get(0, 8),
            max_amount: rows.opt_amount(0, 9)?,
            due: rows.need(0, 12)?,
            open: rows.need(0, 13)?,
            stopped: rows.need(0, 14)?,
            back_off: rows.get(0, 15),
            cooldown: rows.get(0, 16),
            used: rows.need(0, 17)?,
            money: rows.amount(0, 18)?,
            ends: rows.get(0, 19),
        })
    }
}

/// The result of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Decision {
    /// No money is needed.
    Nothing,
    /// Request this amount, in the wallet's currency.
    Request(Amount),
    /// Money is needed, but cannot be requested now. Evaluate again at the time, if there is one.
    Refuse(Reason, Option<Timestamp>),
}

/// Decides whether to request money. Pure.
fn decide(state: &State, low: bool, available: Amount, now: Timestamp) -> Result<Decision> {
    if !low && !state.due {
        return Ok(Decision::Nothing);
    }
    let refuse = |reason, until| Ok(Decision::Refuse(reason, until));
    if state.open {
        return refuse(Reason::Open, None);
    }
    if !state.active {
        return refuse(Reason::NotActive, None);
    }
    if state.stopped {
        return refuse(Reason::Stopped, None);
    }
    if let Some(until) = state.back_off.filter(|until| *until > now) {
        return refuse(Reason::BackOff, Some(until));
    }
    if let Some(until) = state.cooldown.filter(|until| *until > now) {
        return refuse(Reason::Cooldown, Some(until));
    }
    if state.max_count.is_some_and(|max| state.used >= max) {
        return refuse(Reason::MaxCount, state.ends);
    }
    let amount = gap(state, low, available)?;
    if amount.is_zero() {
        return Ok(Decision::Nothing);
    }
    if state.funding_max.is_some_and(|max| amount > max) {
        return refuse(Reason::FundingMax, None);
    }
    let money = state.money.plus(amount).map_err(range)?;
    if state.max_amount.is_some_and(|max| money > max) {
        // A later period does not help if one top-up exceeds the cap.
        let helps = state.max_amount.is_some_and(|max| amount <= max);
        return refuse(Reason::MaxAmount, state.ends.filter(|_| helps));
    }
    Ok(Decision::Request(amount))
}

/// The amount of one payment that closes the whole gap, including the debt that it pays first. It
/// reaches the target, or is the multiple of the rule's amount that reaches the threshold.
fn gap(state: &State, low: bool, available: Amount) -> Result<Amount> {
    let below = |level: Amount| -> Result<i128> {
        let missing = level.minus(available).and_then(|m| m.plus(state.debt));
        Ok(missing.map_err(range)?.units().max(0))
    };
    let units = match (state.target, state.amount) {
        (Some(target), _) => {
            let unit =
                10_i128.pow(AMOUNT_SCALE - Currency::of_row(&state.currency)?.minor_digits());
            below(target)?.div_ceil_to(unit)
        }
        (None, Some(amount)) => match state.threshold.filter(|_| low) {
            Some(threshold) => below(threshold)?.max(1).div_ceil_to(amount.units()),
            None => amount.units(),
        },
        (None, None) => 0,
    };
    Amount::from_units(units).map_err(range)
}

trait CeilTo {
    /// The next multiple of a step, at or above the value.
    fn div_ceil_to(self, step: i128) -> i128;
}

impl CeilTo for i128 {
    fn div_ceil_to(self, step: i128) -> i128 {
        (self + step - 1) / step * step
    }
}

/// An event of an evaluation, emitted after the crossings that caused it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// `topup_requested`
    Requested {
        /// The id of the top-up.
        topup_id: [u8; 16],
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
                    ],
                },
            ),
            Notice::Refused {
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
                    ],
                },
            ),
        }
    }
}

/// The result of an evaluation of the top-up rule.
#[derive(Debug, Default)]
pub struct Looked {
    /// The event that it caused. `None` if there is none.
    pub notice: Option<Notice>,
    /// The time at which a charge must evaluate the rule again. `None` if time changes nothing.
    pub evaluate_at: Option<Timestamp>,
}

/// Stores a requested top-up and returns its event.
fn request(
    wallet: &str,
    state: &State,
    amount: Amount,
    method: String,
    cause: &'static str,
    now: Timestamp,
) -> Result<Notice> {
    let topup_id = uuid::Uuid::now_v7().into_bytes();
    REQUEST.run(&[
        Value::Text(wallet),
        Value::Uuid(topup_id),
        Value::Amount(amount),
        Value::Text(&method),
        Value::Text(cause),
        Value::Time(now),
    ])?;
    Ok(Notice::Requested {
        topup_id,
        amount,
        currency: state.currency.clone(),
        method,
        cause,
        threshold: state.threshold,
    })
}

/// Evaluates the rule of a wallet whose lanes are all locked. `low` is true if available is below
/// the rule's threshold, and `crossed` if it just fell below.
pub fn look(wallet: &str, low: bool, crossed: bool, available: Amount) -> Result<Looked> {
    let now = clock::now();
    let rows = STATE.run(&[Value::Text(wallet), Value::Time(now)])?;
    if rows.is_empty() {
        return Ok(Looked::default());
    }
    let state = State::of(&rows)?;
    let refused: Option<String> = rows.get(0, 10);
    let next_at: Option<Timestamp> = rows.get(0, 11);
    let decision = decide(&state, low, available, now)?;
    let mut evaluate_at = next_at.filter(|at| *at > now);
    let mut notice = None;
    let mut reason = None;
    match decision {
        Decision::Nothing => {}
        Decision::Refuse(why, until) => {
            reason = Some(why.as_str());
            evaluate_at = evaluate_at.into_iter().chain(until).min();
            // An open top-up is the wanted state, unless the balance fell again.
            let news = why != Reason::Open && refused.as_deref() != reason;
            if crossed || news {
                let threshold = state.threshold;
                notice = Some(Notice::Refused {
                    reason: why,
                    until,
                    threshold,
                });
            }
        }
        Decision::Request(amount) => {
            let cause = if low { "threshold" } else { "interval" };
            let method = rows.need(0, 3)?;
            notice = Some(request(wallet, &state, amount, method, cause, now)?);
        }
    }
    // A scheduled top-up is done once it was requested or was not needed.
    let advance = state.due && reason.is_none() && next_at.is_some_and(|at| at <= now);
    if advance || refused.as_deref() != reason || evaluate_at.is_some() || notice.is_some() {
        let rows = LOOKED.run(&[
            Value::Text(wallet),
            Value::OptText(reason),
            Value::OptTime(evaluate_at),
            Value::Bool(advance),
            Value::Time(now),
        ])?;
        if advance {
            evaluate_at = rows.get(0, 0);
            LOOK_WHEN_DUE.run(&[Value::Text(wallet)])?;
        }
    }
    Ok(Looked {
        notice,
        evaluate_at,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn amount(value: i128) -> Amount {
        Amount::from_units(value * 10_i128.pow(AMOUNT_SCALE)).unwrap()
    }

    fn state() -> State {
        State {
            threshold: Some(amount(20)),
            amount: Some(amount(100)),
            target: None,
            currency: "USD".to_owned(),
            active: true,
            debt: Amount::ZERO,
            funding_max: None,
            max_count: None,
            max_amount: None,
            due: false,
            open: false,
            stopped: false,
            back_off: None,
            cooldown: None,
            used: 0,
            money: Amount::ZERO,
            ends: None,
        }
    }

    const NOW: Timestamp = Timestamp(1_000);

    fn decided(state: &State, available: i128) -> Decision {
        decide(state, true, amount(available), NOW).unwrap()
    }

    #[test]
    fn a_topup_is_requested_when_low_or_due_and_not_otherwise() {
        assert_eq!(decided(&state(), 19), Decision::Request(amount(100)));
        let high = decide(&state(), false, amount(50), NOW).unwrap();
        assert_eq!(high, Decision::Nothing);
        let due = State {
            due: true,
            ..state()
        };
        let due = decide(&due, false, amount(50), NOW).unwrap();
        assert_eq!(due, Decision::Request(amount(100)));
    }

    /// All obstacles are there at first. Each is removed once it was named, so the next must
    /// follow.
    #[test]
    fn obstacles_are_named_in_this_order() {
        let (past, later) = (Some(Timestamp(1_000)), Some(Timestamp(1_001)));
        let mut state = State {
            open: true,
            active: false,
            stopped: true,
            back_off: later,
            cooldown: later,
            max_count: Some(2),
            used: 2,
            funding_max: Some(amount(99)),
            max_amount: Some(amount(150)),
            money: amount(51),
            ends: later,
            ..state()
        };
        let refused = |state: &State| match decided(state, 0) {
            Decision::Refuse(reason, until) => (reason, until),
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(&state), (Reason::Open, None));
        state.open = false;
        assert_eq!(refused(&state), (Reason::NotActive, None));
        state.active = true;
        assert_eq!(refused(&state), (Reason::Stopped, None));
        state.stopped = false;
        assert_eq!(refused(&state), (Reason::BackOff, later));
        state.back_off = past;
        assert_eq!(refused(&state), (Reason::Cooldown, later));
        state.cooldown = past;
        assert_eq!(refused(&state), (Reason::MaxCount, later));
        state.used = 1;
        assert_eq!(refused(&state), (Reason::FundingMax, None));
        state.funding_max = None;
        assert_eq!(refused(&state), (Reason::MaxAmount, later));
        state.max_amount = Some(amount(99));
        assert_eq!(
            refused(&state),
            (Reason::MaxAmount, None),
            "no period helps"
        );
        state.max_amount = Some(amount(151));
        assert_eq!(decided(&state, 0), Decision::Request(amount(100)));
    }

    proptest! {
        /// One payment closes the gap, debt included, and is no larger than necessary.
        #[test]
        fn one_payment_closes_the_gap(
            available in -1_000_000_i128..20_000_000, debt in 0_i128..1_000_000, step in 1_i128..5_000_000,
            target in prop::option::of(20_000_000_i128..900_000_000),
        ) {
            let cents = |units: i128| Amount::from_units(units * 1_000).unwrap();
            let mut state = state();
            state.amount = Some(cents(step));
            state.threshold = Some(cents(20_000_000));
            state.target = target.map(cents);
            state.debt = cents(debt);
            let paid = gap(&state, true, cents(available)).unwrap();
            let after = cents(available).plus(paid).unwrap().minus(cents(debt)).unwrap();
            let level = state.target.or(state.threshold).unwrap();
            prop_assert!(after >= level);
            let unit = match target {
                Some(_) => Amount::from_units(10_i128.pow(AMOUNT_SCALE - 2)).unwrap(),
                None => cents(step),
            };
            prop_assert!(after.minus(unit).unwrap() < level);
            prop_assert_eq!(paid.units() % unit.units(), 0);
        }
    }

    #[test]
    fn targets_are_rounded_up_to_what_can_be_paid() {
        let mut state = state();
        state.target = Some(amount(100));
        let available = Amount::from_units(amount(19).units() + 1).unwrap();
        state.currency = "JPY".to_owned();
        assert_eq!(gap(&state, true, available).unwrap(), amount(81));
        state.currency = "USD".to_owned();
        assert_eq!(gap(&state, true, available).unwrap(), amount(81));
        state.currency = "KWD".to_owned();
        assert_eq!(gap(&state, true, amount(99)).unwrap(), amount(1));
    }
}
