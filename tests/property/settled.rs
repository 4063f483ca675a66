//! A hold carries everything that pricing, limits and attribution need: `hold` and then `settle`
//! with only the usage books what `charge` books for the same arguments, in cost, lines and entry.

use wallet_tests::{Database, Seed, scale};

fn maybe(seed: &mut Seed, argument: &str, values: &[&str]) -> Option<(String, String)> {
    let place = seed.below(values.len() as u64 + 1) as usize;
    let value = values.get(place)?;
    Some((argument.to_owned(), format!("'{value}'")))
}

/// What a usage object contains besides its meters. Each word is in the hold or in the settlement,
/// too.
fn words(seed: &mut Seed) -> Vec<(&'static str, String)> {
    let mut words = Vec::new();
    for (key, values) in [
        ("model", vec!["m", "n"]),
        ("provider", vec!["p"]),
        ("region", vec!["eu", "us"]),
        ("service_tier", vec!["flex", "priority"]),
        ("quality", vec!["hd"]),
    ] {
        let place = seed.below(values.len() as u64 + 1) as usize;
        if let Some(value) = values.get(place) {
            words.push((key, (*value).to_owned()));
        }
    }
    if !words.iter().any(|(key, _)| *key == "model") {
        words.push(("model", "m".to_owned()));
    }
    words
}

fn object(words: &[(&str, String)], tokens: u64) -> String {
    let words: Vec<String> = words
        .iter()
        .map(|(key, value)| format!("\"{key}\": \"{value}\""))
        .chain([
            format!("\"input_tokens\": {tokens}"),
            format!("\"images\": {}", tokens % 3),
        ])
        .collect();
    format!("'{{{}}}'", words.join(", "))
}

/// A provider's response, which names the version that answered.
fn response(words: &[(&str, String)], version: &str, tokens: u64) -> String {
    let words: String = words
        .iter()
        .filter(|(key, _)| *key != "model")
        .map(|(key, value)| format!(", \"{key}\": \"{value}\""))
        .collect();
    format!(
        "'{{\"model\": \"{version}\", \"usage\": {{\"prompt_tokens\": {tokens}, \"completion_tokens\": 0, \"total_tokens\": {tokens}}}{words}}}'"
    )
}

#[test]
fn a_settlement_books_what_a_charge_would() {
    let mut seed = Seed::of("a_settlement_books_what_a_charge_would");
    let database = Database::new();
    let mut client = database.connect();
    let mut price = 1;
    for model in ["m", "n"] {
        for (provider, region, tier) in [
            ("NULL", "NULL", "NULL"),
            ("'p'", "NULL", "NULL"),
            ("NULL", "'eu'", "NULL"),
            ("NULL", "'us'", "NULL"),
            ("NULL", "NULL", "'flex'"),
            ("NULL", "'eu'", "'priority'"),
        ] {
            price += 2;
            for (meter, conditions) in [
                ("input_tokens", "{}"),
                ("images", "{}"),
                ("images", "{\"quality\": \"hd\"}"),
            ] {
                let from = match conditions.len() {
                    2 => "2018-01-01",
                    _ => "2020-01-01",
                };
                let sql = format!(
                    "SELECT wallet.set_price('{model}', '{meter}', {price}.{}, per => 1000, provider => {provider},
                        region => {region}, service_tier => {tier}, effective_from => '{from}',
                        conditions => '{conditions}')",
                    conditions.len()
                );
                client.batch_execute(&sql).expect("a price");
            }
        }
    }
    client
        .batch_execute(
            "SELECT wallet.create_wallet('w'), wallet.create_wallet('x');
             SELECT wallet.fund('w', 1000000), wallet.fund('x', 1000000);
             SELECT wallet.set_limit('w', 100000, 'day', scope => 'user'), wallet.set_limit('x', 100000, 'day', scope => 'user')",
        )
        .expect("wallets");
    let look = "SELECT to_jsonb(e) - '{wallet,entry_id,created_at,event_at,effective_at,seq,hash,lane_balance,related_id,usage}'::text[]
                  || jsonb_build_object('at', CASE WHEN e.event_at <> e.created_at THEN e.event_at END)
                  FROM wallet.entries e WHERE e.wallet = $1 ORDER BY seq DESC LIMIT 1";
    for _ in 0..scale(400) {
        let words = words(&mut seed);
        let mut arguments: Vec<(String, String)> = [
            maybe(&mut seed, "user_id", &["ann", "bob"]),
            maybe(&mut seed, "team", &["sales"]),
            maybe(&mut seed, "service", &["chat"]),
            maybe(&mut seed, "tags", &["{\"job\": \"night\"}"]),
            maybe(
                &mut seed,
                "event_at",
                &["2026-03-04 05:06Z", "2019-03-04 05:06Z"],
            ),
        ]
        .into_iter()
        .flatten()
        .collect();
        // Region and tier as arguments instead.
        let mut said = Vec::new();
        for (key, value) in &words {
            match *key {
                "region" | "service_tier" | "model" if seed.below(2) == 0 => {
                    arguments.push(((*key).to_owned(), format!("'{value}'")));
                }
                _ => said.push((*key, value.clone())),
            }
        }
        let list: String = arguments
            .iter()
            .map(|(name, value)| format!(", {name} => {value}"))
            .collect();
        let tokens = seed.below(5000);
        // The settlement repeats some of what the usage of the hold said.
        let again: Vec<_> = said
            .iter()
            .filter(|_| seed.below(2) == 0)
            .cloned()
            .collect();
        let estimate = object(&said, seed.below(6000));
        let version = ["m", "n"][seed.below(2) as usize];
        let (actual, charge) = match seed.below(3) {
            0 => (
                response(&again, version, tokens),
                response(&said, version, tokens),
            ),
            _ => (object(&again, tokens), object(&said, tokens)),
        };
        let charge =
            format!("SELECT cost::text, lines::text FROM wallet.charge('w', {charge}{list})");
        let charged = client.query_one(&charge, &[]).expect("a charge");
        let hold = format!("SELECT hold_id FROM wallet.hold('x', usage => {estimate}{list})");
        let hold: uuid::Uuid = client.query_one(&hold, &[]).expect("a hold").get(0);
        let settle =
            format!("SELECT cost::text, lines::text FROM wallet.settle('x', $1, {actual})");
        let settled = client.query_one(&settle, &[&hold]).expect("a settlement");
        let story = format!("hold {estimate}{list}, settle {actual}");
        for column in 0..2 {
            assert_eq!(
                charged.get::<_, Option<String>>(column),
                settled.get::<_, Option<String>>(column),
                "{story}"
            );
        }
        let entries: Vec<serde_json::Value> = ["w", "x"]
            .iter()
            .map(|wallet| client.query_one(look, &[wallet]).expect("an entry").get(0))
            .collect();
        assert_eq!(entries[0], entries[1], "{story}");
    }
    // The region, tier and conditions in the ledger match the price.
    for wallet in ["w", "x"] {
        let difference: String = client
            .query_one(
                "SELECT coalesce(sum(abs(difference)), 0)::numeric(10, 2)::text FROM wallet.reprice($1)",
                &[&wallet],
            )
            .expect("reprice")
            .get(0);
        assert_eq!(difference, "0.00", "{wallet}");
    }
}
