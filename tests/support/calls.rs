//! The calls that most tests make, with exact numbers.

use postgres::types::ToSql;
use postgres::{Error, GenericClient, Row};
use rust_decimal::Decimal;
use serde_json::Value;
use uuid::Uuid;

/// What `charge` returned.
#[derive(Clone, Debug, PartialEq)]
pub struct Charged {
    pub entry_id: Uuid,
    pub cost: Decimal,
    pub balance: Decimal,
    pub lines: Option<Value>,
    pub replayed: bool,
}

/// What `fund` returned.
#[derive(Clone, Debug, PartialEq)]
pub struct Funded {
    pub entry_id: Uuid,
    pub amount: Decimal,
    pub balance: Decimal,
    pub replayed: bool,
}

/// The arguments of a charge by amount.
#[derive(Clone, Copy, Debug, Default)]
pub struct Charge<'a> {
    pub amount: Decimal,
    pub user: Option<&'a str>,
    pub key: Option<&'a str>,
}

fn charged(row: &Row) -> Charged {
    Charged {
        entry_id: row.get("entry_id"),
        cost: row.get("cost"),
        balance: row.get("balance"),
        lines: row.get("lines"),
        replayed: row.get("replayed"),
    }
}

impl Charge<'_> {
    /// Makes the call.
    pub fn on(&self, client: &mut impl GenericClient, wallet: &str) -> Result<Charged, Error> {
        let values: [&(dyn ToSql + Sync); 4] = [&wallet, &self.amount, &self.user, &self.key];
        client
            .query_one(
                "SELECT * FROM wallet.charge($1, amount => $2, user_id => $3, idempotency_key => $4)",
                &values,
            )
            .map(|row| charged(&row))
    }
}

/// Charges an amount.
pub fn charge(
    client: &mut impl GenericClient,
    wallet: &str,
    amount: Decimal,
) -> Result<Charged, Error> {
    let charge = Charge {
        amount,
        ..Charge::default()
    };
    charge.on(client, wallet)
}

/// Charges usage.
pub fn usage(
    client: &mut impl GenericClient,
    wallet: &str,
    usage: &Value,
) -> Result<Charged, Error> {
    client
        .query_one("SELECT * FROM wallet.charge($1, $2)", &[&wallet, usage])
        .map(|row| charged(&row))
}

/// Funds a wallet.
pub fn fund(
    client: &mut impl GenericClient,
    wallet: &str,
    amount: Decimal,
) -> Result<Funded, Error> {
    client
        .query_one("SELECT * FROM wallet.fund($1, $2)", &[&wallet, &amount])
        .map(|row| Funded {
            entry_id: row.get("entry_id"),
            amount: row.get("amount"),
            balance: row.get("balance"),
            replayed: row.get("replayed"),
        })
}

/// Creates a wallet and funds it.
pub fn create(
    client: &mut impl GenericClient,
    wallet: &str,
    lanes: i32,
    low_balance: &[Decimal],
    money: Decimal,
) {
    client
        .query_one(
            "SELECT wallet.create_wallet($1, lanes => $2, low_balance => $3)",
            &[&wallet, &lanes, &low_balance],
        )
        .expect("create_wallet");
    if !money.is_zero() {
        fund(client, wallet, money).expect("fund");
    }
}

/// Sets a limit for each user and returns its id.
pub fn limit(
    client: &mut impl GenericClient,
    wallet: &str,
    max: Decimal,
    period: &str,
    zone: &str,
) -> Uuid {
    client
        .query_one(
            "SELECT wallet.set_limit($1, $2, $3, scope => 'user', time_zone => $4)",
            &[&wallet, &max, &period, &zone],
        )
        .expect("set_limit")
        .get(0)
}

/// Sets a price per unit.
pub fn price(client: &mut impl GenericClient, model: &str, meter: &str, unit: Decimal) {
    client
        .query_one(
            "SELECT wallet.set_price($1, $2, $3)",
            &[&model, &meter, &unit],
        )
        .expect("set_price");
}

/// The balance as the view shows it.
pub fn balance(client: &mut impl GenericClient, wallet: &str) -> Decimal {
    client
        .query_one(
            "SELECT balance FROM wallet.balances WHERE wallet = $1",
            &[&wallet],
        )
        .expect("balances")
        .get(0)
}

/// The number of entries of any kind.
pub fn entries(client: &mut impl GenericClient, wallet: &str) -> i64 {
    client
        .query_one(
            "SELECT count(*) FROM wallet.entries WHERE wallet = $1",
            &[&wallet],
        )
        .expect("entries")
        .get(0)
}

/// Archives what has been booked so far, at most this many entries. Returns the number.
pub fn archive(
    client: &mut impl GenericClient,
    wallet: &str,
    most: Option<i64>,
) -> Result<i64, Error> {
    client
        .query_one(
            "SELECT archived FROM wallet.archive($1, statement_timestamp(), $2)",
            &[&wallet, &most],
        )
        .map(|row| row.get(0))
}
