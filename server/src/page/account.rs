//! The wallet of a session, and the person's part in it.

use jiff::civil::Date;
use serde::Deserialize;

use super::failure::Failure;
use super::state::Pages;
use crate::config::Secret;
use crate::db::Call;

const ACCOUNT: &str = "SELECT pg_catalog.json_build_object( \
       'wallet', o.wallet, 'currency', w.currency, 'status', w.status, 'time_zone', w.time_zone, \
       'today', (pg_catalog.now() AT TIME ZONE w.time_zone)::date, \
       'key_id', o.key_id, 'user_id', o.user_id, 'role', m.role, \
       'blocked', coalesce(m.blocked, false))::text \
  FROM wallet.key_owner($1) o \
  JOIN wallet.wallets w ON w.wallet_id = o.wallet \
  LEFT JOIN wallet.member_list m ON m.wallet = o.wallet AND m.user_id = o.user_id";

/// The wallet and the person.
#[derive(Clone, Debug, Deserialize)]
pub struct Account {
    /// The wallet.
    pub wallet: String,
    /// Its currency.
    pub currency: String,
    /// `active`, `frozen` or `closed`.
    pub status: String,
    /// The time zone of its days.
    pub time_zone: String,
    /// The day that it is there.
    pub today: Date,
    /// The key of the session.
    pub key_id: String,
    /// The user whose key it is.
    pub user_id: Option<String>,
    /// The user's role, if the user is a member.
    pub role: Option<String>,
    /// A blocked member cannot do anything.
    blocked: bool,
}

impl Account {
    /// The account of a key.
    pub async fn of(key: &Secret, pages: &Pages) -> Result<Account, Failure> {
        let found: Option<Account> = pages.find(key, Call::read(ACCOUNT, Vec::new())).await?;
        found
            .filter(|account| !account.blocked)
            .ok_or_else(Failure::signed_out)
    }

    /// Whether the person manages members, keys and limits. A key without a user, or of a user who
    /// is no member, does not: nobody gave it a role. The statements that write check it again.
    pub fn manages(&self) -> bool {
        matches!(self.role.as_deref(), Some("owner" | "admin"))
    }
}

/// A person who is signed in, with a key that is valid now.
pub struct SignedIn {
    /// The key.
    pub key: Secret,
    /// The token of forms.
    pub token: String,
    /// The wallet and the person's part in it.
    pub account: Account,
    /// Whether the person can pay money into the wallet here.
    pub can_pay: bool,
}

impl SignedIn {
    /// Fails unless the person may manage the wallet.
    pub fn manages(self) -> Result<SignedIn, Failure> {
        match self.account.manages() {
            true => Ok(self),
            false => Err(Failure::not_yours()),
        }
    }
}
