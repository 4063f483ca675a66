//! Compares the views and reports with the model.

mod books;
mod money;
mod usage;

use std::collections::BTreeMap;
use std::fmt::Debug;

use postgres::{Client, SimpleQueryMessage, SimpleQueryRow};
use wallet_tests::{Seed, state_of};

use crate::act::{Place, name};
use crate::calendar::At;
use crate::model::Wallet;
use crate::units::units;

/// A difference: the view or report, and the two values.
#[derive(Clone, Debug)]
pub struct Difference {
    pub area: String,
    pub message: String,
}

/// A comparison of one wallet.
pub struct Look<'a> {
    pub client: &'a mut Client,
    pub wallet: &'a Wallet,
    pub ids: &'a BTreeMap<Place, String>,
    pub now: At,
    /// The step before or after which it takes place.
    pub phase: &'static str,
    pub seed: Seed,
    pub found: Vec<Difference>,
}

/// A column as text. `None` for NULL.
pub fn text<'r>(row: &'r SimpleQueryRow, column: &str) -> Option<&'r str> {
    row.try_get(column)
        .unwrap_or_else(|_| panic!("no column {column}"))
}

/// An amount.
pub fn amount(row: &SimpleQueryRow, column: &str) -> i128 {
    text(row, column).map_or(0, units)
}

/// A count or a moment.
pub fn number(row: &SimpleQueryRow, column: &str) -> i64 {
    text(row, column).map_or(0, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{column} is {text}"))
    })
}

/// The rows of a query, or the SQLSTATE and message of its error.
pub fn rows(client: &mut Client, sql: &str) -> Result<Vec<SimpleQueryRow>, String> {
    let answered = client.simple_query(sql);
    let messages = answered.map_err(|error| {
        let message = error.as_db_error().map(|db| db.message().to_owned());
        format!("{} {}", state_of(&error), message.unwrap_or_default())
    })?;
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    Ok(rows.collect())
}

impl Look<'_> {
    /// Compares everything.
    pub fn all(mut self) -> Vec<Difference> {
        self.balances();
        self.holds();
        self.fundings();
        self.grants();
        self.payments();
        self.limits();
        self.balance_at();
        self.statement();
        self.journal();
        self.page();
        self.usage();
        self.chargeback();
        self.focus();
        self.verify();
        self.found
    }

    fn name(&self) -> String {
        name(self.wallet.of)
    }

    fn rows(&mut self, area: &str, sql: &str) -> Option<Vec<SimpleQueryRow>> {
        match rows(self.client, sql) {
            Ok(rows) => Some(rows),
            Err(error) => {
                self.differs(area, format!("{sql}\n  fails with {error}"));
                None
            }
        }
    }

    fn differs(&mut self, area: &str, message: String) {
        if self.found.iter().all(|found| found.area != area) {
            let message = format!("{} {}: {message}", self.name(), self.phase);
            self.found.push(Difference {
                area: area.to_owned(),
                message,
            });
        }
    }

    fn same<T: Debug + PartialEq>(&mut self, area: &str, what: &str, got: T, expected: T) {
        if got != expected {
            self.differs(area, format!("{what}: expected {expected:?}, got {got:?}"));
        }
    }

    /// Compares two amounts.
    fn equal(&mut self, area: &str, what: &str, got: i128, expected: i128) {
        if got != expected {
            let (got, expected) = (crate::units::decimal(got), crate::units::decimal(expected));
            self.differs(area, format!("{what}: expected {expected}, got {got}"));
        }
    }

    fn verify(&mut self) {
        let sql = format!(
            "SELECT \"check\", detail FROM wallet.verify('{}') WHERE NOT ok",
            self.name()
        );
        for row in self.rows("verify", &sql).unwrap_or_default() {
            let detail = format!("{:?} {:?}", text(&row, "check"), text(&row, "detail"));
            self.differs("verify", detail);
        }
    }
}
