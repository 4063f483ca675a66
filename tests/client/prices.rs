//! Properties of every price, for random prices and random usages: the lines add up to the cost,
//! splitting a request saves nothing, and more usage never costs less.

use postgres::Client;
use wallet_tests::{Database, Seed, scale};

const METERS: &str = "{input_tokens,output_tokens,cache_read_tokens,cache_write_tokens,reasoning_tokens,images,audio_seconds,requests}";

/// Random prices of twenty models, some with a threshold of input tokens above which everything
/// costs more. Random usages in pairs, and each with at least one more unit of one meter.
fn setup(client: &mut Client, seed: &mut Seed, usages: usize) {
    let seed = (seed.below(2_000_001) as f64 - 1_000_000.0) / 1_000_000.0;
    let meters = format!("'{METERS}'::text[]");
    client
        .batch_execute(&format!(
            "SELECT setseed({seed});
             CREATE TEMP TABLE price AS
             SELECT 'm' || m AS model, meter, trunc((random() * 10 ^ (4 * random()))::numeric, 4) AS unit_price,
                    (ARRAY[1, 60, 1000, 1000000])[1 + floor(random() * 4)::int] AS per
               FROM generate_series(1, 20) m, unnest({meters}) meter;
             SELECT count(wallet.set_price(model, meter, unit_price, per, effective_from => '2020-01-01Z')) FROM price;
             SELECT count(wallet.set_price(model, meter, unit_price * 2, per, above_input_tokens => 5000000, effective_from => '2020-01-01Z'))
               FROM price WHERE substr(model, 2)::int % 2 = 0;
             CREATE TEMP TABLE use AS
             SELECT n, 'm' || 1 + n % 20 AS model, more.meter AS more,
                    jsonb_object_agg(u.meter, a.q) AS a, jsonb_object_agg(u.meter, b.q) AS b,
                    jsonb_object_agg(u.meter, a.q + b.q) AS both,
                    jsonb_object_agg(u.meter, a.q + CASE WHEN u.meter = more.meter THEN 1 + b.q ELSE 0 END) AS a_more
               FROM generate_series(1, {usages}) n
              CROSS JOIN LATERAL (SELECT ({meters})[1 + floor(random() * 8)::int + n * 0] AS meter) more
              CROSS JOIN LATERAL unnest({meters}) u (meter)
              CROSS JOIN LATERAL (SELECT floor(random() * 10 ^ (6 * random()))::int + n * 0 AS q) a
              CROSS JOIN LATERAL (SELECT floor(random() * 10 ^ (6 * random()))::int + n * 0 AS q) b
              GROUP BY n, more.meter"
        ))
        .expect("prices and usages");
}

/// Fails if the query returns rows, and shows the first few.
fn none(client: &mut Client, what: &str, query: &str) {
    let rows = client
        .query(
            &format!("SELECT row_to_json(x)::text FROM ({query}) x LIMIT 3"),
            &[],
        )
        .expect(what);
    let rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert!(rows.is_empty(), "{what}: {rows:#?}");
}

#[test]
fn every_cost_adds_up_and_neither_splitting_nor_more_use_saves() {
    let mut seed = Seed::of("every_cost_adds_up_and_neither_splitting_nor_more_use_saves");
    let database = Database::new();
    let mut client = database.connect();
    setup(&mut client, &mut seed, scale(3_000));
    none(
        &mut client,
        "lines that do not add up",
        "SELECT use.*, p.cost, p.lines FROM use, LATERAL wallet.price_usage(a, model => use.model) p
          WHERE p.cost <> (SELECT coalesce(sum((line ->> 'amount')::numeric), 0) FROM jsonb_array_elements(p.lines) line)",
    );
    // Each line is rounded once, at twelve decimals: adding before rounding can save only that
    // much.
    none(
        &mut client,
        "cheaper when split",
        "SELECT use.*, a.cost, b.cost, both_.cost
           FROM use, LATERAL wallet.price_usage(a, model => use.model) a, LATERAL wallet.price_usage(b, model => use.model) b,
                LATERAL wallet.price_usage(\"both\", model => use.model) both_
          WHERE (\"both\" ->> 'input_tokens')::int < 4000000
            AND a.cost + b.cost < both_.cost - 8 * 0.000000000001",
    );
    none(
        &mut client,
        "cheaper with more",
        "SELECT use.*, a.cost, more_.cost
           FROM use, LATERAL wallet.price_usage(a, model => use.model) a, LATERAL wallet.price_usage(a_more, model => use.model) more_
          WHERE more_.cost < a.cost",
    );
    let costs: i64 = client
        .query_one("SELECT count(DISTINCT p.cost) FROM use, LATERAL wallet.price_usage(a, model => use.model) p", &[])
        .expect("costs")
        .get(0);
    assert!(
        costs as usize > scale(3_000) / 2,
        "only {costs} different costs"
    );
}
