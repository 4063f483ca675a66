//! Imports of whole published feeds: LiteLLM's price file and the central bank's exchange rates.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::time::Instant;

use postgres::Client;
use rust_decimal::Decimal;
use serde_json::{Map, Value};
use wallet_tests::{Database, together};

const FEED: &[u8] = include_bytes!("../data/litellm_model_prices.json.gz");
const PRICE_WORDS: &[&str] = &["cost", "price", "pricing", "multiplier", "surcharge"];

fn feed() -> Map<String, Value> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(FEED)
        .read_to_string(&mut text)
        .unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Action, model, meter and note of each row.
fn import(client: &mut Client, feed: &Map<String, Value>, at: &str) -> Vec<[String; 4]> {
    import_or_try(client, feed, at, false)
}

fn import_or_try(
    client: &mut Client,
    feed: &Map<String, Value>,
    at: &str,
    dry_run: bool,
) -> Vec<[String; 4]> {
    let rows = client
        .query(
            "SELECT action, model, meter, note
               FROM wallet.import_prices('litellm', $1, effective_from => $2::text::timestamptz, dry_run => $3)",
            &[&Value::Object(feed.clone()), &at, &dry_run],
        )
        .unwrap();
    rows.iter()
        .map(|row| [0, 1, 2, 3].map(|n| row.get(n)))
        .collect()
}

fn counts(rows: &[[String; 4]]) -> HashMap<&str, usize> {
    let mut counts = HashMap::new();
    for [action, ..] in rows {
        *counts.entry(action.as_str()).or_default() += 1;
    }
    counts
}

#[test]
fn every_price_field_is_imported_or_skipped_with_a_reason() {
    let database = Database::new();
    let mut client = database.connect();
    let feed = feed();
    let tried = import_or_try(&mut client, &feed, "2026-01-01Z", true);
    let began = Instant::now();
    let rows = import(&mut client, &feed, "2026-01-01Z");
    assert!(tried == rows, "a dry run shows the same rows");
    println!("import of {} models: {:?}", feed.len(), began.elapsed());
    let mut said: HashMap<&str, HashSet<&str>> = HashMap::new();
    for [action, model, meter, note] in &rows {
        let fields = said.entry(model).or_default();
        if action == "skipped" {
            assert!(!note.is_empty(), "{model} {meter} has no reason");
            fields.insert(meter.split('.').next().unwrap());
        }
        let words = note.split([' ', ',']);
        fields.extend(words.filter_map(|word| word.split('.').next()));
    }
    let mut fields = HashSet::new();
    for (model, entry) in &feed {
        for (field, value) in entry.as_object().unwrap() {
            if value.is_null() || !PRICE_WORDS.iter().any(|word| field.contains(word)) {
                continue;
            }
            fields.insert(field.as_str());
            // Values of such a field that are not prices, such as flags, are not imported.
            let known = said
                .get(model.as_str())
                .is_some_and(|said| said.contains(field.as_str()));
            assert!(known, "nothing is said of {field} of {model}");
        }
    }
    println!("{} price fields", fields.len());
    assert_eq!(fields.len(), 88);
    let again = import(&mut client, &feed, "2026-01-02Z");
    assert_eq!(
        counts(&again).keys().copied().collect::<HashSet<_>>(),
        HashSet::from(["unchanged", "skipped"])
    );
}

#[test]
fn two_imports_at_once_add_each_price_once() {
    let database = Database::new();
    let feed = Value::Object(feed().into_iter().take(300).collect());
    let added = together(&database, 4, |_, client| {
        let sql = "SELECT count(*) FROM wallet.import_prices('litellm', $1) WHERE action = 'added'";
        client.query_one(sql, &[&feed]).unwrap().get::<_, i64>(0)
    });
    let rows: i64 = database
        .connect()
        .query_one("SELECT count(*) FROM wallet.prices", &[])
        .unwrap()
        .get(0);
    assert_eq!(added.iter().sum::<i64>(), rows, "{added:?}");
    assert_eq!(
        added.iter().filter(|count| **count > 0).count(),
        1,
        "{added:?}"
    );
}

/// An import that waits for another one, which began later and runs first, finds its prices.
#[test]
fn an_import_that_waited_adds_nothing_again() {
    let database = Database::new();
    let mut first = database.connect();
    first
        .batch_execute("BEGIN; LOCK TABLE wallet.prices IN SHARE ROW EXCLUSIVE MODE")
        .unwrap();
    let feed = Value::Object(feed().into_iter().take(20).collect());
    let added = |client: &mut Client| -> i64 {
        let sql = "SELECT count(*) FROM wallet.import_prices('litellm', $1) WHERE action = 'added'";
        client.query_one(sql, &[&feed]).unwrap().get(0)
    };
    let mut late = database.connect();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| added(&mut late));
        std::thread::sleep(std::time::Duration::from_millis(500));
        assert!(added(&mut first) > 0);
        first.batch_execute("COMMIT").unwrap();
        assert_eq!(waiting.join().expect("the thread ends"), 0);
    });
}

#[test]
fn an_import_applies_after_one_that_began_later_but_finished_first() {
    let database = Database::new();
    let mut late = database.connect();
    late.batch_execute("BEGIN; SELECT now()").unwrap();
    let count = |client: &mut Client, price: &str, action: &str| -> i64 {
        let feed = serde_json::json!({"m": {"litellm_provider": "p", "mode": "chat",
            "input_cost_per_token": serde_json::from_str::<Value>(price).unwrap()}});
        let sql = "SELECT count(*) FROM wallet.import_prices('litellm', $1) WHERE action = $2";
        client.query_one(sql, &[&feed, &action]).unwrap().get(0)
    };
    assert_eq!(count(&mut database.connect(), "1e-06", "added"), 1);
    assert_eq!(count(&mut late, "1e-06", "unchanged"), 1);
    assert_eq!(count(&mut late, "2e-06", "changed"), 1);
    late.batch_execute("COMMIT").unwrap();
    let cost: Decimal = late
        .query_one(
            "SELECT cost FROM wallet.price_usage('{\"model\":\"m\",\"input_tokens\":1000000}')",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(cost, Decimal::TWO);
}

#[test]
fn a_changed_feed_touches_no_old_row() {
    let database = Database::new();
    let mut client = database.connect();
    let mut feed = feed();
    import(&mut client, &feed, "2026-01-01Z");
    let rows =
        "SELECT count(*), md5(string_agg(p::text, '' ORDER BY p.price_id)) FROM wallet.prices p
                 WHERE effective_from = '2026-01-01Z'";
    let before = client.query_one(rows, &[]).unwrap();
    feed["gpt-4o"]["input_cost_per_token"] = serde_json::from_str("2e-06").unwrap();
    feed.remove("whisper-1").unwrap();
    let changed = import(&mut client, &feed, "2026-02-01Z");
    assert!(
        changed
            .iter()
            .any(|[action, model, ..]| action == "ended" && model == "whisper-1")
    );
    let kept: Vec<_> = changed
        .iter()
        .filter(|[action, model, ..]| action == "changed" && model != "gpt-4o")
        .collect();
    assert!(kept.is_empty(), "{kept:?}");
    let after = client.query_one(rows, &[]).unwrap();
    assert_eq!(before.get::<_, i64>(0), after.get::<_, i64>(0));
    assert_eq!(before.get::<_, String>(1), after.get::<_, String>(1));
    let mut cost = |model: &str, meter: &str, at: &str| -> Result<Decimal, postgres::Error> {
        let usage = serde_json::json!({ "model": model, meter: 1000 });
        let sql = "SELECT cost FROM wallet.price_usage($1, at => $2::text::timestamptz)";
        client
            .query_one(sql, &[&usage as &(dyn postgres::types::ToSql + Sync), &at])
            .map(|row| row.get(0))
    };
    let exact = |text: &str| text.parse::<Decimal>().unwrap();
    assert_eq!(
        cost("gpt-4o", "input_tokens", "2026-01-15Z").unwrap(),
        exact("0.0025")
    );
    assert_eq!(
        cost("gpt-4o", "input_tokens", "2026-02-15Z").unwrap(),
        exact("0.002")
    );
    assert_eq!(
        cost("whisper-1", "audio_seconds", "2026-01-15Z").unwrap(),
        exact("0.1")
    );
    assert!(cost("whisper-1", "audio_seconds", "2026-02-15Z").is_err());
}

/// The recipe for the rates of the European Central Bank, run like its cron job. Returns psql's
/// output.
fn feed_rates(database: &Database, xml: &str) -> String {
    let recipe = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/ecb_rates.sql");
    let output = std::process::Command::new("psql")
        .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
        .args(["-v", &format!("xml={xml}"), "-d", database.name()])
        .args(["-f", recipe])
        .output()
        .expect("psql runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A euro is 1.0850 dollars from four in the afternoon in Frankfurt. Another run in the same
/// evening adds nothing, and a run on the next working day does.
#[test]
fn the_rates_of_a_central_bank_are_added_once_per_day() {
    let xml = include_str!("../data/ecb_eurofxref_daily.xml");
    let database = Database::new();
    let mut client = database.connect();
    assert_eq!(feed_rates(&database, xml).trim(), "2026-03-27|29|29");
    assert_eq!(feed_rates(&database, xml).trim(), "2026-03-27|29|0");
    let monday = xml
        .replace("2026-03-27", "2026-03-30")
        .replace("1.0850", "1.0900");
    assert_eq!(feed_rates(&database, &monday).trim(), "2026-03-30|29|29");
    let mut converted = |amount: &str, from: &str, to: &str, at: &str| {
        let sql = format!(
            "SELECT amount::text FROM wallet.convert_amount({amount}, '{from}', '{to}', '{at}')"
        );
        client
            .query_one(&sql, &[])
            .map(|row| row.get::<_, String>(0))
    };
    // Summer time begins between the two days: 16:00 is 15:00 UTC on the first, and 14:00 on the
    // second.
    assert!(converted("100", "EUR", "USD", "2026-03-27 14:59:59Z").is_err());
    for (amount, from, to, at, worth) in [
        ("100", "EUR", "USD", "2026-03-27 15:00Z", "108.50"),
        ("100", "EUR", "JPY", "2026-03-27 15:00Z", "16420.00"),
        ("100", "EUR", "USD", "2026-03-30 13:59:59Z", "108.50"),
        ("100", "EUR", "USD", "2026-03-30 14:00Z", "109.00"),
        ("109", "USD", "EUR", "2026-03-30 14:00Z", "100.00"),
    ] {
        assert_eq!(converted(amount, from, to, at).unwrap(), worth, "{at}");
    }
}
