//! The rules of a wallet.

use crate::error::Result;
use crate::pg::jsonb::Jsonb;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::{Home, LimitRow, PlanRow, RuleRows, WalletRow, Wanted, weights_of};

// One statement and therefore one snapshot, because rules and epoch must be consistent.
statement!(
    RULES,
    [TEXTOID, BOOLOID],
    "SELECT w.currency, w.credit_limit, w.status, w.status_reason, w.lanes, w.price_list,
            w.recheck_requested, l.epoch, l.recheck_done,
            r.limit_id, r.scope, r.subject, r.period, r.max, r.time_zone,
            w.unknown_price, r.anchor, r.metric, r.mode, r.warn_at, r.paused, r.raised_by,
            r.raised_until, w.grants_due, w.members_only, w.guarded, w.scoped, w.archived,
            w.lanes = 1 AND EXISTS (
                SELECT FROM wallet.allowances o
                 WHERE o.wallet_id = w.wallet_id AND o.allowance_id = l.allowance_id
                   AND o.lane <> l.lane AND o.allotted <> o.spent),
            coalesce(l.armed, false), w.keeps, w.unread_usage = 'reject',
            (extract(epoch FROM r.anchor_time) * 1000000)::bigint, r.rollover_max, r.weights,
            r.carry_from, w.time_zone, w.defaults_from, w.plan, w.plan_version, w.next_plan_at,
            CASE WHEN w.share = 'pool' THEN w.parent END, w.closed_until
       FROM wallet.wallets w
       JOIN wallet.allowances l
         ON l.wallet_id = w.wallet_id
        AND l.allowance_id = '00000000-0000-0000-0000-000000000000'
        AND l.lane = CASE WHEN w.lanes = 1 THEN 0 ELSE 1 END
       LEFT JOIN wallet.limits r ON r.wallet_id = CASE WHEN $2 THEN $1 END
      WHERE w.wallet_id = $1"
);

/// Reads all that a charge must know of a wallet, with its limits only if requested. `None` if
/// there is no wallet with that name.
pub fn read_rules(wallet: &str, wanted: Wanted) -> Result<Option<RuleRows>> {
    let rows = RULES.run(&[Value::Text(wallet), Value::Bool(wanted != Wanted::Basis)])?;
    if rows.is_empty() {
        return Ok(None);
    }
    let has_limits = rows.get::<[u8; 16]>(0, 9).is_some();
    let limit = |row: usize| -> Result<LimitRow> {
        Ok(LimitRow {
            id: rows.need(row, 9)?,
            scope: rows.need(row, 10)?,
            subject: rows.need(row, 11)?,
            period: rows.need(row, 12)?,
            max: rows.amount(row, 13)?,
            time_zone: rows.need(row, 14)?,
            anchor: rows.get(row, 16),
            metric: rows.need(row, 17)?,
            mode: rows.need(row, 18)?,
            warn_at: rows.amounts(row, 19)?,
            paused: rows.need(row, 20)?,
            raised_by: rows.amounts(row, 21)?,
            raised_until: rows.times(row, 22),
            anchor_time: rows.get(row, 32),
            rollover_max: rows.opt_amount(row, 33)?,
            carry_from: rows.get(row, 35),
            weights: weights_of(rows.datum(row, 34).map(Jsonb))?,
        })
    };
    let limits = if has_limits { rows.len() } else { 0 };
    Ok(Some(RuleRows {
        wallet: WalletRow {
            currency: rows.need(0, 0)?,
            credit_limit: rows.amount(0, 1)?,
            status: rows.need(0, 2)?,
            status_reason: rows.get(0, 3),
            lanes: rows.need(0, 4)?,
            price_list: rows.need(0, 5)?,
            unknown_price: rows.need(0, 15)?,
            rejects_unread: rows.need(0, 31)?,
            recheck_requested: rows.need(0, 6)?,
            grants_due: rows.get(0, 23),
            members_only: rows.need(0, 24)?,
            guarded: rows.need(0, 25)?,
            scoped: rows.need(0, 26)?,
            archived: rows.need(0, 27)?,
            keeps: rows.need(0, 30)?,
            plan: PlanRow::of(rows.get(0, 38), rows.get(0, 39), rows.get(0, 40)),
            pool: rows.get(0, 41),
            closed_until: rows.get(0, 42),
        },
        epoch: rows.need(0, 7)?,
        recheck_done: rows.need(0, 8)?,
        lane: None,
        has_other_money: rows.need(0, 28)?,
        armed: rows.need(0, 29)?,
        limits: (0..limits).map(limit).collect::<Result<_>>()?,
        home: match wanted {
            Wanted::LimitsAndHome => Some(Home {
                time_zone: rows.need(0, 36)?,
                since: rows.need(0, 37)?,
            }),
            _ => None,
        },
    }))
}
