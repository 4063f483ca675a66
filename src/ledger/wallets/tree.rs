//! Trees of wallets: `set_parent`.
//!
//! A wallet may have a parent. With the share `pool` the parent pays for its use; `passed.rs` says
//! how. With the share `own` the wallet keeps its own money, and only those who may read the parent
//! may read it too.
//!
//! All changes of trees queue on one lock, so that two of them never make a cycle together, and no
//! wallet is closed while it gets a child. A change locks the wallet, not its parent: a use takes
//! from the parent only after it has locked a lane of the child, whose epoch tells of the change.

use crate::access::rights::ALL_WALLETS;
use crate::error::{Code, Error, Result, quoted};
use crate::idempotency::call::IdempotentCall;
use crate::ledger::balance::locked::LockedBalance;
use crate::ledger::grants::due;
use crate::ledger::holds::expiry_charge::charge_expired;
use crate::ledger::wallets::branches::MAX_LEVELS;
use crate::ledger::wallets::config::{self, Basis};
use crate::ledger::wallets::following;
use crate::ledger::wallets::obstacles::{Obstacles, require_done};
use crate::ledger::wallets::settings::{BalanceDatum, once, split_lanes};
use crate::money::Amount;
use crate::pg::invalidation;
use crate::storage::lock;
use crate::storage::plan::{Rows, Run, Value, statement};
use crate::storage::rows::POOL;

statement!(
    /// The wallet and those above it, from below.
    UPWARDS,
    [TEXTOID, INT4OID],
    "WITH RECURSIVE up (level, wallet_id, parent, currency, status) AS (
         SELECT 1, w.wallet_id, w.parent, w.currency, w.status FROM wallet.wallets w WHERE w.wallet_id = $1
          UNION ALL
         SELECT u.level + 1, w.wallet_id, w.parent, w.currency, w.status
           FROM up u JOIN wallet.wallets w ON w.wallet_id = u.parent
          WHERE u.level <= $2
     )
     SELECT u.wallet_id, u.currency, u.status FROM up u ORDER BY u.level"
);

statement!(
    /// The number of levels from the wallet down.
    HEIGHT,
    [TEXTOID, INT4OID],
    "WITH RECURSIVE down (level, wallet_id) AS (
         SELECT 1, $1
          UNION ALL
         SELECT d.level + 1, w.wallet_id
           FROM down d JOIN wallet.wallets w ON w.parent = d.wallet_id
          WHERE d.level <= $2
     )
     SELECT max(d.level) FROM down d"
);

statement!(
    CHILD,
    [TEXTOID],
    "SELECT w.wallet_id FROM wallet.wallets w WHERE w.parent = $1 AND w.status <> 'closed' ORDER BY 1 LIMIT 1"
);

statement!(
    /// The first of the wallets below for which the wallet passes uses on, and which have charges
    /// without a price, with their number.
    UNPRICED_BELOW,
    [TEXTOID, INT4OID],
    "WITH RECURSIVE down (level, wallet_id) AS (
         SELECT 1, $1
          UNION ALL
         SELECT d.level + 1, w.wallet_id
           FROM down d JOIN wallet.wallets w ON w.parent = d.wallet_id AND w.share = 'pool'
          WHERE d.level <= $2
     )
     SELECT d.wallet_id, count(*)
       FROM down d JOIN wallet.unpriced_charges u ON u.wallet_id = d.wallet_id
      WHERE d.level > 1 AND u.priced_id IS NULL
      GROUP BY d.wallet_id ORDER BY 1 LIMIT 1"
);

statement!(
    /// The rules that bring money into a wallet.
    SOURCES,
    [TEXTOID],
    "SELECT w.credit_limit,
            EXISTS (SELECT FROM wallet.recurring_grants r WHERE r.wallet_id = $1),
            EXISTS (SELECT FROM wallet.topup_rules t WHERE t.wallet_id = $1)
       FROM wallet.wallets w WHERE w.wallet_id = $1"
);

statement!(
    SET,
    [TEXTOID, TEXTOID, TEXTOID],
    "UPDATE wallet.wallets SET parent = $2, share = $3 WHERE wallet_id = $1"
);

/// How a wallet and its parent share money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// The parent pays.
    Pool,
    /// Each has its own money.
    Own,
}

impl Share {
    /// All of them.
    pub const ALL: &'static [Share] = &[Share::Pool, Share::Own];

    /// The name in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Share::Pool => POOL,
            Share::Own => "own",
        }
    }
}

/// The error WL016 for a call that the wallet's place in a tree does not allow.
fn refused(message: String) -> Error {
    Error::new(Code::NotInThisTree, message)
}

/// Changes of trees, and the closing of a wallet, queue here.
pub fn lock_trees() {
    lock::wait(ALL_WALLETS, lock::TREES);
}

/// WL016 if a wallet that is not closed has the wallet as its parent.
pub fn require_childless(wallet: &str) -> Result<()> {
    let rows = CHILD.read_latest(&[Value::Text(wallet)])?;
    let Some(child) = rows.get::<String>(0, 0) else {
        return Ok(());
    };
    Err(refused(format!("wallet {} has children", quoted(wallet)))
        .detail(format!("One of them is wallet {}.", quoted(&child)))
        .hint("Close its children first, or give them another parent with set_parent()."))
}

/// The parent that a wallet shall get; `None` if it shall have none.
pub type NewParent<'a> = Option<(&'a str, Share)>;

/// Gives a wallet a parent, or takes its parent away.
pub fn set_parent(
    wallet: &str,
    new: NewParent<'_>,
    call: IdempotentCall<'_>,
) -> Result<BalanceDatum> {
    once(call, || {
        lock_trees();
        following::follow(wallet)?;
        let (rules, _) = config::lock_to_change(wallet)?;
        rules.require_open(wallet)?;
        if let Some((parent, share)) = new {
            require_place(wallet, &rules, parent, share)?;
        }
        let pool = match new {
            Some((parent, Share::Pool)) => Some(parent),
            _ => None,
        };
        if rules.pool.as_deref() != pool {
            require_no_money(wallet, &rules, pool.is_some())?;
        }
        SET.run(&[
            Value::Text(wallet),
            Value::OptText(new.map(|(parent, _)| parent)),
            Value::OptText(new.map(|(_, share)| share.as_str())),
        ])?;
        invalidation::announce_wallets();
        split_lanes(wallet, rules.credit_limit)?;
        match (&rules.pool, pool) {
            // The plan's grants and top-up rules return.
            (Some(_), None) => following::restore(wallet, rules.has_plan),
            _ => Ok(()),
        }
    })
}

/// Checks that the wallet may be below the parent.
fn require_place(wallet: &str, rules: &Basis, parent: &str, share: Share) -> Result<()> {
    let most = Value::Int4(MAX_LEVELS as i32);
    let above = UPWARDS.read_latest(&[Value::Text(parent), most])?;
    if above.is_empty() {
        return Err(Error::wallet_not_found(parent));
    }
    let name = |row: usize| above.need::<String>(row, 0);
    for row in 0..above.len() {
        if name(row)? == wallet {
            return Err(
                refused(format!("wallet {} cannot be below itself", quoted(wallet)))
                    .detail(path(&above, row)?)
                    .hint("Choose a parent that is not below the wallet."),
            );
        }
    }
    if above.need::<String>(0, 2)? == "closed" {
        config::read_basis(parent)?.require_open(parent)?;
    }
    let currency: String = above.need(0, 1)?;
    if share == Share::Pool && currency != *rules.currency {
        return Err(Error::argument("the wallets have different currencies")
            .detail(format!(
                "Wallet {} has {}, wallet {} has {currency}.",
                quoted(wallet),
                rules.currency,
                quoted(parent),
            ))
            .hint("Pass share => 'own', or choose a parent with the wallet's currency.")
            .about("parent"));
    }
    let below: i32 = HEIGHT
        .read_latest(&[Value::Text(wallet), most])?
        .need(0, 0)?;
    let levels = above.len() + usize::try_from(below).unwrap_or(MAX_LEVELS);
    if levels > MAX_LEVELS {
        return Err(refused(format!("the tree would have more than {MAX_LEVELS} levels"))
            .detail(format!(
                "Wallet {} has {} levels from the top down to it, and wallet {} has {below} from itself down.",
                quoted(parent),
                above.len(),
                quoted(wallet)
            ))
            .hint("Choose a parent further up."));
    }
    Ok(())
}

/// The DETAIL that says how the wallet is above the parent.
fn path(above: &Rows, to: usize) -> Result<String> {
    let names = (0..=to)
        .map(|row| Ok(quoted(&above.need::<String>(row, 0)?)))
        .collect::<Result<Vec<_>>>()?;
    Ok(match to {
        0 => "The parent is the wallet itself.".to_owned(),
        _ => format!("From the parent upwards: {}.", names.join(", ")),
    })
}

/// WL016 while the wallet has money, owes some or waits for some; if it is to be pooled, also while
/// a rule brings it money.
fn require_no_money(wallet: &str, rules: &Basis, is_to_be_pooled: bool) -> Result<()> {
    charge_expired(wallet, i64::MAX)?;
    due::sweep(wallet)?;
    let mut locked = LockedBalance::open(wallet)?;
    locked.sweep()?;
    locked.close()?;
    let name = quoted(wallet);
    let message = match is_to_be_pooled {
        true => format!("wallet {name} cannot be pooled yet"),
        false => format!("wallet {name} cannot leave the pool yet"),
    };
    require_done(
        wallet,
        rules,
        &Obstacles {
            code: Code::NotInThisTree,
            message: message.clone(),
        },
    )?;
    require_priced_below(wallet, &message)?;
    if !is_to_be_pooled {
        return Ok(());
    }
    let rows = SOURCES.run(&[Value::Text(wallet)])?;
    let credit: Amount = rows.amount(0, 0)?;
    let (has, hint) = match (credit.is_zero(), rows.need(0, 1)?, rows.need(0, 2)?) {
        (false, ..) => (
            format!("a credit limit of {credit} {}", rules.currency),
            "Set credit_limit to 0 with update_wallet(); the credit of a pool is the parent's.",
        ),
        (_, true, _) => (
            "a recurring grant".to_owned(),
            "Stop it with set_recurring_grant() and the amount 0, or end the plan that sets it with assign_plan().",
        ),
        (_, _, true) => (
            "a top-up rule".to_owned(),
            "Drop it with set_topup_rule() and the rule NULL, or end the plan that sets it with assign_plan().",
        ),
        _ => return Ok(()),
    };
    Err(refused(message).detail(format!("It has {has}.")).hint(hint))
}

/// WL016 while a wallet below has charges without a price: the payer of the time of use pays their
/// late price. No such charge is added meanwhile, because each locks a lane of this wallet.
fn require_priced_below(wallet: &str, message: &str) -> Result<()> {
    let most = Value::Int4(MAX_LEVELS as i32);
    let rows = UNPRICED_BELOW.read_latest(&[Value::Text(wallet), most])?;
    let Some(below) = rows.get::<String>(0, 0) else {
        return Ok(());
    };
    let count: i64 = rows.need(0, 1)?;
    let charges = if count == 1 { "charge" } else { "charges" };
    Err(refused(message.to_owned())
        .detail(format!(
            "Wallet {}, for which it passes uses on, has {count} {charges} without a price.",
            quoted(&below)
        ))
        .hint("Set the missing prices, and book the charges with price_unpriced()."))
}
