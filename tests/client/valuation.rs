//! hledger and beancount value the journals of wallets in other currencies at the end of a day of
//! the wallet. The values agree with `balances_in`, `convert_amount`, and plain numbers.

use std::process::Command;

use postgres::Client;
use wallet_tests::{Database, Decimal, Seed, dec, expect, python_with};

/// Wallets, their currencies and time zones.
const WALLETS: [(&str, &str, &str); 3] = [
    ("euro", "EUR", "Europe/Zurich"),
    ("dollar", "USD", "America/New_York"),
    ("coins", "credits_1", "Asia/Tokyo"),
];

/// Pairs, the approximate value of a unit, and the day in March 2026 from which there is a rate, 0
/// for always. One pair first has a rate in the opposite direction.
const PAIRS: [(&str, &str, &str, u64); 7] = [
    ("EUR", "CHF", "0.93", 0),
    ("CHF", "USD", "1.24", 0),
    ("credits_1", "CHF", "0.008", 0),
    ("SEK", "EUR", "0.09", 0),
    ("EUR", "SEK", "11.1", 12),
    ("USD", "SEK", "9.4", 9),
    ("SEK", "credits_1", "12", 20),
];

/// The first of March and of May 2026, in seconds.
const MARCH: i64 = 1_772_323_200;
const MAY: i64 = 1_777_593_600;
const DAY: i64 = 86_400;

/// The value of a journal at the ends of days, to twelve digits.
const BEANCOUNT: &str = "
import datetime, decimal, sys
from beancount import loader
from beancount.core import convert, data, inventory, prices
entries, errors, _ = loader.load_file(sys.argv[1])
assert not errors, errors
price_map = prices.build_price_map(entries)
for wanted in sys.argv[2:]:
    day, currency = wanted.split()
    day = datetime.date.fromisoformat(day)
    held = inventory.Inventory()
    for entry in data.filter_txns(entries):
        for posting in entry.postings:
            if entry.date <= day and posting.account.startswith('Assets:'):
                held.add_position(posting)
    worth = held.reduce(convert.convert_position, currency, price_map, day).get_currency_units(currency)
    print(worth.number.quantize(decimal.Decimal('1e-12'), decimal.ROUND_HALF_EVEN))
";

/// A rate as it was set.
struct Quote {
    from: &'static str,
    to: &'static str,
    rate: Decimal,
    at: i64,
}

/// Sets random rates, several of them on one day.
fn quote(client: &mut Client, seed: &mut Seed) -> Vec<Quote> {
    let mut quotes = Vec::new();
    for (from, to, about, since) in PAIRS {
        let first = match since {
            0 => MARCH - 30 * DAY,
            day => MARCH + day.cast_signed() * DAY + seed.below(86_400).cast_signed(),
        };
        let mut times = vec![first];
        for _ in 0..14 {
            let at = first + seed.below((MAY - first).unsigned_abs() / 60).cast_signed() * 60;
            // Also when a day begins in one of the zones, and twice on one day.
            times.push(match seed.below(3) {
                0 => at - at.rem_euclid(DAY) + [0, -9, 4, -1][seed.below(4) as usize] * 3600,
                1 => times[times.len() - 1] + 3600,
                _ => at,
            });
        }
        for at in times.into_iter().filter(|at| *at >= first) {
            let part = Decimal::new(900_000 + seed.below(200_000).cast_signed(), 6);
            let rate = (dec(about) * part).normalize();
            client
                .execute(
                    "SELECT wallet.set_fx_rate($1, $2, $3, to_timestamp($4::bigint))",
                    &[&from, &to, &rate, &at],
                )
                .unwrap();
            quotes.push(Quote { from, to, rate, at });
        }
    }
    quotes
}

/// The value of an amount at a time, in microseconds, by the rule of the reference: the latest rate
/// of the pair, otherwise the inverse of the latest rate of the opposite pair.
fn worth(quotes: &[Quote], amount: Decimal, own: &str, other: &str, at: i64) -> Option<Decimal> {
    // Of several rates for the same time, the one that was set last.
    let latest = |from: &str, to: &str| {
        let of_pair = quotes
            .iter()
            .filter(|quote| quote.from == from && quote.to == to && quote.at * 1_000_000 <= at);
        of_pair.max_by_key(|quote| quote.at).map(|quote| quote.rate)
    };
    let exact = match latest(own, other) {
        Some(rate) => amount * rate,
        None => amount / latest(other, own)?,
    };
    Some(exact.round_dp(12))
}

/// Books random entries in March and April. Returns their times and amounts.
fn book(client: &mut Client, seed: &mut Seed, wallet: &str) -> Vec<(i64, Decimal)> {
    let mut booked = vec![(
        // It is the first of March in every zone.
        MARCH + 21_600 + seed.below(28_800).cast_signed(),
        dec("5000.123456789012"),
    )];
    client
        .execute("SELECT wallet.fund($1, $2)", &[&wallet, &booked[0].1])
        .unwrap();
    for _ in 0..25 {
        let amount = Decimal::new(1 + seed.below(100_000_000_000_000).cast_signed(), 12);
        client
            .execute(
                "SELECT wallet.charge($1, amount => $2)",
                &[&wallet, &amount],
            )
            .unwrap();
        let at = booked[booked.len() - 1].0 + seed.below(3 * DAY as u64).cast_signed();
        booked.push((at, -amount));
    }
    // Only a test can book in the past.
    let times: Vec<i64> = booked.iter().map(|(at, _)| *at).collect();
    let mut transaction = client.transaction().unwrap();
    transaction
        .batch_execute("SET LOCAL session_replication_role = replica")
        .unwrap();
    transaction
        .execute(
            "UPDATE wallet.ledger SET created_at = to_timestamp(($2::bigint[])[seq]) WHERE wallet_id = $1",
            &[&wallet, &times],
        )
        .unwrap();
    transaction
        .execute(
            "UPDATE wallet.wallets SET created_at = to_timestamp($2::bigint) WHERE wallet_id = $1",
            &[&wallet, &(MARCH - 5 * DAY)],
        )
        .unwrap();
    transaction.commit().unwrap();
    booked
}

fn said(mut program: Command) -> String {
    let output = program
        .output()
        .unwrap_or_else(|error| panic!("{program:?}: {error}; make setup installs it"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// hledger's value of the wallet's account at the end of a day.
fn by_hledger(file: &str, next_day: &str, currency: &str) -> Decimal {
    let commodity = match currency.contains('_') {
        true => format!("\"{currency}\""),
        false => currency.to_owned(),
    };
    let mut hledger = Command::new("hledger");
    hledger.args(["-f", file, "bal", "-N", "-e", next_day, "-X", currency]);
    hledger.args(["-c", &format!("1000.000000000000 {commodity}"), "Assets"]);
    let said = said(hledger);
    let words: Vec<&str> = said.split_whitespace().collect();
    assert!(words.len() == 3 && words[1] == commodity, "{said}");
    dec(words[0])
}

/// Each line of a statement is valued at the rate of its time, and usage at the rate of the last
/// moment of the period.
fn check_reports(client: &mut Client, quotes: &[Quote], wallet: &str, own: &str) {
    let rows = client
        .query(
            "SELECT (extract(epoch FROM s.at) * 1000000)::bigint, o.amount, o.balance, s.amount, s.balance
               FROM wallet.statement($1, currency => 'CHF') s JOIN wallet.statement($1) o USING (line)",
            &[&wallet],
        )
        .unwrap();
    assert!(rows.len() > 5, "{} lines", rows.len());
    for row in rows {
        let at: i64 = row.get(0);
        for column in [1, 2] {
            let own_figure: Option<Decimal> = row.get(column);
            let expected = own_figure.map(|figure| match figure.is_zero() {
                true => figure,
                false => worth(quotes, figure, own, "CHF", at).unwrap(),
            });
            assert_eq!(
                row.get::<_, Option<Decimal>>(column + 2),
                expected,
                "{wallet} at {at}"
            );
        }
    }
    let rows = client
        .query(
            "SELECT (extract(epoch FROM b.last) * 1000000)::bigint - 1, o.cost, o.cost / o.requests, u.cost, u.average_cost, o.share = u.share
               FROM (SELECT wallet.day_begins(d, time_zone) AS last, d FROM wallet.wallets, generate_series(10, 40, 10) n, LATERAL (SELECT date '2026-03-01' + n) x(d) WHERE wallet_id = $1) b,
                    LATERAL wallet.usage_by($1, 'day', to_day => b.d, currency => 'CHF') u,
                    LATERAL (SELECT * FROM wallet.usage_by($1, 'day', to_day => b.d) o WHERE o.value = u.value) o",
            &[&wallet],
        )
        .unwrap();
    assert!(rows.len() > 5, "{} days", rows.len());
    for row in rows {
        let at: i64 = row.get(0);
        let cost = worth(quotes, row.get(1), own, "CHF", at);
        assert_eq!(
            row.get::<_, Option<Decimal>>(3),
            cost,
            "{wallet} before {at}"
        );
        let average = worth(quotes, row.get(2), own, "CHF", at).unwrap();
        let difference = (row.get::<_, Decimal>(4) - average).abs();
        assert!(difference <= dec("0.000000000001") && row.get::<_, bool>(5));
    }
}

#[test]
fn hledger_and_beancount_value_journals_as_the_wallet_does() {
    let mut seed = Seed::of("hledger_and_beancount_value_journals_as_the_wallet_does");
    let database = Database::new();
    let mut client = database.connect();
    let quotes = quote(&mut client, &mut seed);
    let mut books = Vec::new();
    for (wallet, currency, zone) in WALLETS {
        client
            .execute(
                "SELECT wallet.create_wallet($1, $2, time_zone => $3)",
                &[&wallet, &currency, &zone],
            )
            .unwrap();
        books.push(book(&mut client, &mut seed, wallet));
    }
    let (mut figures, mut without) = (0, 0);
    for ((wallet, own, zone), booked) in WALLETS.iter().zip(&books) {
        check_reports(&mut client, &quotes, wallet, own);
        for first in [None, Some(15)] {
            let mut wanted = Vec::new();
            for number in 0..8 {
                // Includes the first day, on which not every pair has a rate.
                let later = if number == 0 { 0 } else { seed.below(40) };
                let day = first.unwrap_or(1) + later.cast_signed();
                let row = client
                    .query_one(
                        "SELECT d.day::text, (d.day + 1)::text, extract(epoch FROM (d.day + 1)::timestamp AT TIME ZONE $2)::bigint
                           FROM (SELECT date '2026-02-28' + $1::bigint::integer AS day) d",
                        &[&day, zone],
                    )
                    .unwrap();
                let (day, next, end): (String, String, i64) = (row.get(0), row.get(1), row.get(2));
                let balance: Decimal = booked
                    .iter()
                    .filter(|(at, _)| *at < end)
                    .map(|(_, amount)| *amount)
                    .sum();
                let last = end * 1_000_000 - 1;
                let in_francs = worth(&quotes, balance, own, "CHF", last);
                let row = client
                    .query_one(
                        "SELECT own_balance, balance FROM wallet.balances_in('CHF', to_timestamp($2::bigint) - interval '1 microsecond') WHERE wallet = $1",
                        &[wallet, &end],
                    )
                    .unwrap();
                assert_eq!(row.get::<_, Decimal>(0), balance, "{wallet} on {day}");
                assert_eq!(
                    row.get::<_, Option<Decimal>>(1),
                    in_francs,
                    "{wallet} on {day}"
                );
                wanted.push((day.clone(), next.clone(), "CHF", in_francs.unwrap()));
                let converted = client.query_one(
                    "SELECT amount FROM wallet.convert_amount($1, $2, 'SEK', to_timestamp($3::bigint) - interval '1 microsecond')",
                    &[&balance, own, &end],
                );
                match worth(&quotes, balance, own, "SEK", last) {
                    Some(in_crowns) => {
                        assert_eq!(
                            converted.unwrap().get::<_, Decimal>(0),
                            in_crowns,
                            "{wallet} on {day}"
                        );
                        wanted.push((day, next, "SEK", in_crowns));
                    }
                    None => {
                        expect(converted, "WL015");
                        without += 1;
                    }
                }
            }
            let path = |format: &str| {
                std::env::temp_dir().join(format!("{}.{wallet}.{format}", database.name()))
            };
            let files = ["hledger", "beancount"].map(|format| {
                let sql = "SELECT wallet.journal($1, format => $2, from_day => date '2026-02-28' + $3::bigint::integer)";
                let text: String = client
                    .query_one(sql, &[wallet, &format, &first])
                    .unwrap()
                    .get(0);
                std::fs::write(path(format), &text).unwrap();
                path(format).to_str().unwrap().to_owned()
            });
            let mut beancount = Command::new(python_with("beancount"));
            beancount.args(["-c", BEANCOUNT, &files[1]]);
            for (day, _, currency, _) in &wanted {
                beancount.arg(format!("{day} {currency}"));
            }
            let by_beancount: Vec<Decimal> = said(beancount).lines().map(dec).collect();
            assert_eq!(by_beancount.len(), wanted.len());
            for ((day, next, currency, expected), said) in wanted.iter().zip(by_beancount) {
                let what = format!("{wallet} in {currency} on {day}, from {first:?}");
                assert_eq!(said, *expected, "beancount: {what}");
                assert_eq!(
                    by_hledger(&files[0], next, currency),
                    *expected,
                    "hledger: {what}"
                );
                figures += 1;
            }
            for file in files {
                std::fs::remove_file(file).unwrap();
            }
        }
    }
    println!("{figures} figures, {without} without a rate");
    assert!(figures > 60 && without > 0, "{figures}, {without}");
}
