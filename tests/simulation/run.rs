//! Runs a business in the database and in the model at the same time.

use std::collections::{BTreeMap, BTreeSet};

use postgres::{Client, SimpleQueryMessage, SimpleQueryRow};
use wallet_tests::{Seed, state_of};

use crate::act::{Act, Event, Place, Use};
use crate::calendar::At;
use crate::clock::Clock;
use crate::compare::{Difference, Look, amount, rows, text};
use crate::model::{Wallet, prices};
use crate::units::decimal;

/// A difference, and the act at which it appeared.
#[derive(Clone, Debug)]
pub struct Finding {
    pub place: Place,
    /// The wallet.
    pub of: Option<usize>,
    pub area: String,
    pub message: String,
}

/// The result of a forecast.
struct Forecast {
    figures: String,
    /// Seconds since 1970.
    times: Vec<Option<f64>>,
    shown: String,
}

impl Forecast {
    fn of(row: Option<&SimpleQueryRow>) -> Forecast {
        let field = |name: &str| row.and_then(|row| text(row, name));
        Forecast {
            figures: field("figures").unwrap_or_default().to_owned(),
            times: ["out", "early", "late"]
                .map(|name| field(name).map(|text| text.parse().expect("a number")))
                .to_vec(),
            shown: ["runs_out_at", "earliest", "latest"]
                .map(|name| field(name).unwrap_or("never"))
                .join(", "),
        }
    }

    fn agrees(&self, other: &Forecast) -> bool {
        let near = |one: &Option<f64>, two: &Option<f64>| match (one, two) {
            (Some(one), Some(two)) => (one - two).abs() <= 1.0,
            (one, two) => one.is_none() && two.is_none(),
        };
        self.figures == other.figures
            && self
                .times
                .iter()
                .zip(&other.times)
                .all(|(one, two)| near(one, two))
    }
}

/// A run.
pub struct Run<'a> {
    clock: &'a Clock,
    client: Client,
    pub wallets: Vec<Wallet>,
    /// Wallets whose model and database have diverged. Their later results mean nothing.
    pub apart: BTreeSet<usize>,
    ids: BTreeMap<Place, String>,
    pub findings: Vec<Finding>,
}

impl<'a> Run<'a> {
    /// A new database at a time. The session has a different time zone, which must not matter.
    pub fn new(clock: &'a Clock, at: At) -> Run<'a> {
        let mut client = clock.database(at);
        client
            .batch_execute("SET TimeZone = 'Asia/Kathmandu'")
            .expect("SET");
        for model in ["m1", "m2"] {
            let (input, output) = prices(model);
            for (meter, price) in [("input_tokens", input), ("output_tokens", output)] {
                let sql = format!(
                    "SELECT wallet.set_price('{model}', '{meter}', {}, effective_from => '2020-01-01')",
                    decimal(price)
                );
                client.batch_execute(&sql).expect("set_price");
            }
        }
        client
            .batch_execute(
                r#"SELECT wallet.set_metric('points', '{"requests": 1000, "tokens": 0.5}')"#,
            )
            .expect("set_metric");
        Run {
            clock,
            client,
            wallets: Vec::new(),
            apart: BTreeSet::new(),
            ids: BTreeMap::new(),
            findings: Vec::new(),
        }
    }

    fn find(&mut self, place: Place, of: Option<usize>, area: &str, message: String) {
        if self.findings.iter().all(|found| found.area != area) {
            self.findings.push(Finding {
                place,
                of,
                area: area.to_owned(),
                message,
            });
        }
    }

    /// Runs one act in both, and compares.
    pub fn act(&mut self, place: Place, event: &Event) {
        self.clock.set(event.at);
        let of = event.act.wallet();
        if of.is_some_and(|of| self.apart.contains(&of)) {
            return;
        }
        match &event.act {
            Act::Look => self.look(place, event.at),
            Act::Maintain => self.upkeep(place, "maintain", "SELECT * FROM wallet.maintain()"),
            Act::Create {
                of, zone, credit, ..
            } => {
                let Some((_, sql)) = event.act.sql(&|_| None) else {
                    return;
                };
                self.client.batch_execute(&sql).expect("create_wallet");
                while self.wallets.len() <= *of {
                    // The act was left out of a story.
                    self.apart.insert(self.wallets.len());
                    self.wallets
                        .push(Wallet::new(self.wallets.len(), zone, *credit, event.at));
                }
                self.apart.remove(of);
                self.wallets[*of] = Wallet::new(*of, zone, *credit, event.at);
            }
            act => {
                let Some(of) = of.filter(|of| *of < self.wallets.len()) else {
                    return;
                };
                let to = match act {
                    Act::Transfer { to, .. } => Some(*to),
                    _ => None,
                };
                if to.is_some_and(|to| to >= self.wallets.len() || self.apart.contains(&to)) {
                    return;
                }
                self.call(place, event, of, to);
            }
        }
    }

    fn upkeep(&mut self, place: Place, area: &str, sql: &str) {
        if let Err(error) = rows(&mut self.client, sql) {
            self.find(place, None, area, format!("{sql} fails with {error}"));
        }
    }

    /// A call, in the database and in the model.
    fn call(&mut self, place: Place, event: &Event, of: usize, to: Option<usize>) {
        let ids = self.ids.clone();
        let named = |place: Place| ids.get(&place).map(|id| format!("'{id}'"));
        let Some((id, sql)) = event.act.sql(&named) else {
            return;
        };
        let told = self.ask(place, event, of);
        let shown = self.client.simple_query(&sql);
        let shown: Result<Option<SimpleQueryRow>, String> = match shown {
            Ok(messages) => Ok(messages.into_iter().find_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            })),
            Err(error) => Err(format!(
                "{} {}",
                state_of(&error),
                error
                    .as_db_error()
                    .map(|db| format!("{} {:?}", db.message(), db.detail()))
                    .unwrap_or_default()
            )),
        };
        if told.is_some() {
            let end = if shown.is_ok() { "COMMIT" } else { "ROLLBACK" };
            self.client.batch_execute(end).expect(end);
        }
        let mut model = self.wallets[of].clone();
        let expected = match (&event.act, to) {
            (Act::Transfer { amount, .. }, Some(to)) => {
                model.advance(event.at);
                let answer = model.send(place, event.at, *amount);
                self.wallets[to].advance(event.at);
                if answer.is_ok() {
                    self.wallets[to].receive(event.at, *amount);
                }
                answer
            }
            (act, _) => model.call(place, event.at, act),
        };
        self.wallets[of] = model;
        let call = sql
            .split("wallet.")
            .nth(1)
            .and_then(|call| call.split('(').next())
            .unwrap_or("call")
            .to_owned();
        let code = shown.as_ref().err().map(|error| error[..5].to_owned());
        if code.as_deref() != expected.err() {
            let got = shown
                .as_ref()
                .err()
                .cloned()
                .unwrap_or_else(|| "it is booked".to_owned());
            let says = expected
                .err()
                .map_or("it is booked".to_owned(), str::to_owned);
            self.find(
                place,
                Some(of),
                &format!("{call} is decided"),
                format!("w{of}: {sql}\n  expected: {says}\n  got: {got}"),
            );
            self.apart.insert(of);
            self.apart.extend(to);
            return;
        }
        if let Some(told) = told {
            let allowed = code.is_none();
            let named = match told.1.as_deref() {
                None => None,
                Some("insufficient_funds") => Some("WL001"),
                Some("limit_exceeded") => Some("WL002"),
                Some("wallet_not_active") => Some("WL004"),
                Some(_) => Some("another"),
            };
            if told.0 != allowed || named != code.as_deref() {
                self.find(
                    place,
                    Some(of),
                    "check_limits and charge",
                    format!(
                        "w{of}: check_limits says {} {:?}, and {sql} is {}",
                        if told.0 { "allowed" } else { "refused" },
                        told.1,
                        code.as_deref().unwrap_or("booked")
                    ),
                );
            }
        }
        let Ok(Some(row)) = shown else { return };
        if let Some(id) = row
            .columns()
            .iter()
            .any(|column| column.name() == id)
            .then(|| text(&row, id))
            .flatten()
        {
            self.ids.insert(place, id.to_owned());
        }
        let has_balance = row
            .columns()
            .iter()
            .any(|column| column.name() == "balance");
        if let (Ok(Some(balance)), true) = (expected, has_balance) {
            let shown = amount(&row, "balance");
            if shown != balance {
                self.find(
                    place,
                    Some(of),
                    &format!("balance that {call} returns"),
                    format!(
                        "w{of}: {sql}\n  expected {}, got {}",
                        decimal(balance),
                        decimal(shown)
                    ),
                );
            }
        }
        self.prices(place, &event.act, &row);
        // The balance after every call.
        let sql = format!("SELECT balance, held FROM wallet.balances WHERE wallet = 'w{of}'");
        let shown = rows(&mut self.client, &sql).unwrap_or_default();
        if let Some(row) = shown.first() {
            let got = (amount(row, "balance"), amount(row, "held"));
            let expected = (self.wallets[of].balance(), self.wallets[of].held());
            if got != expected {
                let show =
                    |both: (i128, i128)| format!("{} and {}", decimal(both.0), decimal(both.1));
                self.find(
                    place,
                    Some(of),
                    &format!("balances after {call}"),
                    format!(
                        "w{of}: balance and held expected {}, got {}",
                        show(expected),
                        show(got)
                    ),
                );
                self.apart.insert(of);
                self.apart.extend(to);
            }
        }
    }

    /// The cost of usage by tokens is its price.
    fn prices(&mut self, place: Place, act: &Act, row: &SimpleQueryRow) {
        if let Act::Charge {
            cost: cost @ Use::Tokens(..),
            ..
        } = act
        {
            let expected = crate::model::measure(cost).0;
            let shown = amount(row, "cost");
            if shown != expected {
                self.find(
                    place,
                    act.wallet(),
                    "cost of a charge",
                    format!("expected {}, got {}", decimal(expected), decimal(shown)),
                );
            }
        }
    }

    /// The result of `check_limits` just before a charge, in its transaction: whether everything
    /// allows it, and the first reason that refuses it.
    fn ask(&mut self, place: Place, event: &Event, of: usize) -> Option<(bool, Option<String>)> {
        let question = event.act.question()?;
        self.client.batch_execute("BEGIN").expect("BEGIN");
        match rows(&mut self.client, &question) {
            Ok(rows) => {
                let refused = rows.iter().filter(|row| text(row, "allowed") != Some("t"));
                let reasons: Vec<String> = refused
                    .filter_map(|row| text(row, "reason").map(str::to_owned))
                    .collect();
                Some((reasons.is_empty(), reasons.first().cloned()))
            }
            Err(error) => {
                self.find(
                    place,
                    Some(of),
                    "check_limits",
                    format!("w{of}: {question}\n  fails with {error}"),
                );
                self.client.batch_execute("ROLLBACK").expect("ROLLBACK");
                None
            }
        }
    }

    /// Compares every wallet, before and after upkeep.
    fn look(&mut self, place: Place, now: At) {
        let mut forecasts: BTreeMap<usize, Forecast> = BTreeMap::new();
        for phase in ["before maintain()", "after maintain()", "after archive()"] {
            for of in 0..self.wallets.len() {
                if self.apart.contains(&of) {
                    continue;
                }
                self.wallets[of].advance(now);
                self.wallets[of].check();
                if phase == "after archive()" {
                    let sql =
                        format!("SELECT * FROM wallet.archive('w{of}', statement_timestamp())");
                    self.upkeep(place, "archive", &sql);
                }
                let look = Look {
                    client: &mut self.client,
                    wallet: &self.wallets[of],
                    ids: &self.ids,
                    now,
                    phase,
                    seed: Seed::of_value((place * 31 + of) as u64),
                    found: Vec::new(),
                };
                for Difference { area, message } in look.all() {
                    self.find(place, Some(of), &area, message);
                }
                self.forecast(place, of, phase, &mut forecasts);
            }
            if phase == "before maintain()" {
                self.upkeep(place, "maintain", "SELECT * FROM wallet.maintain()");
            }
        }
    }

    /// The forecast must not depend on upkeep. Shares are floating-point numbers that are added up
    /// in the order of the lots, which upkeep may change: times are compared to the second.
    fn forecast(
        &mut self,
        place: Place,
        of: usize,
        phase: &str,
        before: &mut BTreeMap<usize, Forecast>,
    ) {
        let sql = format!(
            "SELECT row(daily_burn, days_left, suggested_topup, basis)::text AS figures, runs_out_at, earliest, latest,
                    extract(epoch FROM runs_out_at) AS out, extract(epoch FROM earliest) AS early, extract(epoch FROM latest) AS late
               FROM wallet.forecast('w{of}')"
        );
        let shown = match rows(&mut self.client, &sql) {
            Ok(rows) => Forecast::of(rows.first()),
            Err(error) => return self.find(place, Some(of), "forecast", error),
        };
        match before.get(&of) {
            None => {
                before.insert(of, shown);
            }
            Some(first) if !first.agrees(&shown) => {
                let message = format!(
                    "w{of} {phase}: expected {} {}, got {} {}",
                    first.figures, first.shown, shown.figures, shown.shown
                );
                self.find(place, Some(of), "forecast", message);
            }
            Some(_) => {}
        }
    }

    /// Runs acts one after the other.
    pub fn replay(&mut self, events: &[(Place, Event)]) {
        for (place, event) in events {
            self.act(*place, event);
        }
    }
}
