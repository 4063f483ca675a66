//! Every column of an entry is hashed in the form that plain SQL prints.

use wallet_tests::{Database, archive, audit, charge, create, dec};

/// Characters that JSON escapes, or that might be expected to be escaped.
const ODD: &str = "quote \" backslash \\ slash / tab \t line \n return \r bell \u{7} \u{8} \u{c} \
                   delete \u{7f} \u{85} \u{2028} é 漢 🪙 %s $1 '";

/// The same without characters that the name of a wallet must not contain.
const WALLET: &str = "quote \" backslash \\ slash / é 漢 🪙 %s $1 '";

#[test]
fn the_chain_verifies_with_odd_characters_in_every_column() {
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, WALLET, 2, &[], dec("0"));
    // Times before 1970 are hashed, too.
    client
        .batch_execute("SET wallet.event_at_min = '1900-01-01'")
        .unwrap();
    client
        .query_one(
            "SELECT wallet.set_price($1, 'input_tokens', 0.000001, effective_from => '1900-01-01')",
            &[&ODD],
        )
        .unwrap();
    let document = serde_json::json!({"a": ODD, ODD: [1, 1.50, null, true, {"x": 1e-9}]});
    let tags = serde_json::json!({"a": ODD, ODD: "1.50", "": ""});
    client
        .query_one(
            "SELECT wallet.fund($3, 100, $1, $1, 'USD', idempotency_key => $1, actor => $1,
                                metadata => $2)",
            &[&ODD, &document, &WALLET],
        )
        .unwrap();
    client
        .query_one(
            "SELECT wallet.charge($4, amount => 1.000000000001, user_id => $1, team => $1,
                        model => $1, service => $1, region => $1, service_tier => $1, tags => $3,
                        event_at => '1999-12-31 23:59:59.999999+00', device => $1,
                        idempotency_key => $1, actor => $1, metadata => $2)",
            &[&ODD, &document, &tags, &WALLET],
        )
        .unwrap();
    let usage = serde_json::json!({"model": ODD, "input_tokens": 3, "note": ODD});
    for event_at in ["1970-01-01 00:00+00", "1901-02-03 04:05:06.789+00"] {
        client
            .query_one(
                "SELECT wallet.charge($1, $2, tags => '{}', event_at => $3::text::timestamptz)",
                &[&WALLET, &usage, &event_at],
            )
            .unwrap();
    }
    audit(&mut client, WALLET);
}

#[test]
fn the_chain_verifies_with_amounts_of_every_size() {
    let database = Database::new();
    let mut client = database.connect();
    let most = "9999999999999999.999999999999";
    create(&mut client, "acme", 3, &[], dec(most));
    for amount in ["0", "0.000000000001", "1e0", "123456789.123456789012"] {
        client
            .query_one(
                "SELECT wallet.charge('acme', amount => $1::text::numeric)",
                &[&amount],
            )
            .unwrap();
    }
    charge(&mut client, "acme", dec("9999999876543209.876543210986")).unwrap();
    assert_eq!(wallet_tests::balance(&mut client, "acme"), dec("0"));
    audit(&mut client, "acme");
}

/// The check detects an entry that a superuser has changed behind the triggers.
#[test]
fn a_changed_entry_is_found() {
    let sql = include_str!("../../docs/verify_chain.sql").replace(":'wallet'", "'acme'");
    for (change, problem) in [
        (
            "UPDATE wallet.ledger SET user_id = 'mallory' WHERE seq = 2",
            "hash",
        ),
        (
            "UPDATE wallet.ledger SET fingerprint = NULL WHERE seq = 2",
            "hash",
        ),
        (
            "UPDATE wallet.ledger SET reference = 'other' WHERE seq = 2",
            "hash",
        ),
        (
            "UPDATE wallet.ledger SET person_proof = NULL WHERE seq = 2",
            "hash",
        ),
        (
            "UPDATE wallet.ledger SET person_proof = sha256(person_proof) WHERE seq = 2",
            "hash",
        ),
        (
            "UPDATE wallet.ledger SET amount = amount + 1 WHERE seq = 2",
            "running total",
        ),
        ("DELETE FROM wallet.ledger WHERE seq = 2", "missing"),
        ("DELETE FROM wallet.ledger WHERE seq = 3", "seq"),
        ("UPDATE wallet.allowances SET booked = booked + 1", "total"),
        ("UPDATE wallet.allowances SET hash = '\\x00'", "hash"),
    ] {
        for table in ["ledger", "ledger_archive"] {
            let database = Database::new();
            let mut client = database.connect();
            create(&mut client, "acme", 1, &[], dec("10"));
            client
                .batch_execute(
                    "SELECT wallet.charge('acme', amount => 1, user_id => 'ann', idempotency_key => 'k')",
                )
                .unwrap();
            charge(&mut client, "acme", dec("2")).unwrap();
            if table != "ledger" {
                assert_eq!(archive(&mut client, "acme", None).unwrap(), 3);
            }
            audit(&mut client, "acme");
            let change = change.replace("wallet.ledger", &format!("wallet.{table}"));
            client
                .batch_execute(&format!("SET session_replication_role = replica; {change}"))
                .unwrap();
            let row = client.query_one(&sql, &[]).unwrap();
            assert!(!row.get::<_, bool>("ok"), "{change}");
            let found: String = row.get("problem");
            assert!(found.contains(problem), "{change}: {found}");
        }
    }
}

/// A JSON array of strings and nulls, as PostgreSQL prints it.
fn array(values: &[Option<String>]) -> Vec<u8> {
    let print = |value: &Option<String>| match value {
        None => "null".to_owned(),
        Some(text) => serde_json::to_string(text).unwrap(),
    };
    let all: Vec<String> = values.iter().map(print).collect();
    format!("[{}]", all.join(", ")).into_bytes()
}

fn sha256(parts: &[&[u8]]) -> Vec<u8> {
    use sha2::Digest;
    sha2::Sha256::digest(parts.concat()).to_vec()
}

/// Form 1 of docs/ledger.md, written by hand, for a lane. Returns the number of entries.
fn recompute(client: &mut postgres::Client, wallet: &str, lane: i16) -> usize {
    let rows = client
        .query(
            "SELECT hash, person_proof, payload_proof, replace(fingerprint::text, '-', ''),
                    ARRAY[user_id, actor],
                    ARRAY[usage::text, tags::text, metadata::text, reference, reason],
                    ARRAY[wallet_id, lane::text, seq::text, entry_id::text, kind::text, call::text,
                          amount::text, lane_balance::text, balance::text,
                          (extract(epoch FROM created_at) * 1000000)::bigint::text,
                          (extract(epoch FROM event_at) * 1000000)::bigint::text,
                          idempotency_key, related_id::text, key_id::text, team, provider, model,
                          service, region, service_tier, encode(lines, 'hex'), contra]
               FROM wallet.ledger_all WHERE wallet_id = $1 AND lane = $2 ORDER BY seq",
            &[&wallet, &lane],
        )
        .unwrap();
    let mut previous = vec![0; 32];
    for row in &rows {
        let digest = |proof: Option<Vec<u8>>, rest: &[u8]| match proof {
            None => vec![0; 32],
            Some(salt) if salt.len() == 16 => sha256(&[&salt, rest]),
            Some(digest) => digest,
        };
        let fingerprint: Option<String> = row.get(3);
        let fingerprint = u128::from_str_radix(&fingerprint.unwrap_or_default(), 16).unwrap_or(0);
        let person = [
            &fingerprint.to_be_bytes()[..],
            &array(&row.get::<_, Vec<_>>(4)),
        ]
        .concat();
        let person = digest(row.get(1), &person);
        let payload = digest(row.get(2), &array(&row.get::<_, Vec<_>>(5)));
        let rest = array(&row.get::<_, Vec<_>>(6));
        let hash: Vec<u8> = row.get(0);
        assert_eq!(hash, sha256(&[&previous, &person, &payload, &rest]));
        previous = hash;
    }
    rows.len()
}

#[test]
fn another_program_recomputes_the_chain() {
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", 1, &[], dec("10"));
    charge(&mut client, "acme", dec("1")).unwrap();
    client
        .batch_execute(
            "SELECT wallet.charge('acme', amount => 1, user_id => 'ann', tags => '{\"run\": \"é\"}',
                                  idempotency_key => 'a', actor => 'proxy', metadata => '{\"a\": [1.50]}');
             SELECT wallet.refund('acme', (SELECT entry_id FROM wallet.entries WHERE user_id = 'ann'), 0.5,
                                  reason => 'late');
             SELECT wallet.create_wallet('other'); SELECT wallet.transfer('acme', 'other', 1)",
        )
        .unwrap();
    assert_eq!(recompute(&mut client, "acme", 0), 5);
    assert_eq!(recompute(&mut client, "other", 0), 1);
    archive(&mut client, "acme", None).unwrap();
    assert_eq!(recompute(&mut client, "acme", 0), 5);
}
