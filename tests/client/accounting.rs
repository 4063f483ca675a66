//! hledger and beancount accept the journals, which end with the balance of the lanes.

use std::process::Command;

use wallet_tests::{Database, charge, create, dec, fund, usage};

fn check(program: &[&str], text: &str, extension: &str, database: &Database) -> Result<(), String> {
    let file = std::env::temp_dir().join(format!("{}.{extension}", database.name()));
    std::fs::write(&file, text).unwrap();
    let output = Command::new(program[0])
        .args(&program[1..])
        .arg(&file)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; make setup installs it", program[0]));
    std::fs::remove_file(&file).unwrap();
    let said = [output.stdout, output.stderr].concat();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&said).into_owned())
    }
}

#[test]
fn hledger_and_beancount_agree_with_the_lanes() {
    let database = Database::new();
    let mut client = database.connect();
    let wallets = ["acme", "Acme", "a \"b\"; ü", "credits.x"];
    for wallet in wallets {
        if wallet == "credits.x" {
            client
                .batch_execute(
                    "SELECT wallet.create_wallet('credits.x', currency => 'credits_1', time_zone => 'Asia/Tokyo');
                     SELECT wallet.set_fx_rate('USD', 'credits_1', 100, now() - interval '3 days')",
                )
                .unwrap();
            fund(&mut client, wallet, dec("1000.5")).unwrap();
        } else {
            create(&mut client, wallet, 4, &[], dec("100"));
        }
        client
            .execute(
                "SELECT wallet.fund($1, 12.34, method => 'bank \"transfer\"', reference => E'r;1\\n2')",
                &[&wallet],
            )
            .unwrap();
        // Scoped credit is in the same account.
        let given = "SELECT wallet.fund($1, 0.01, scope => '{\"models\": [\"gpt-4o\", \"m\"]}'),
                            wallet.fund($1, 2, scope => '{\"services\": [\"images\"]}')";
        client.execute(given, &[&wallet]).unwrap();
        wallet_tests::price(&mut client, "gpt-4o", "input_tokens", dec("0.0000012345"));
        // The price is in dollars: a wallet in another currency pays it at the exchange rate.
        let rate = "SELECT wallet.set_fx_rate('USD', currency, 98.7654321) FROM wallet.balances WHERE wallet = $1 AND currency <> 'USD'";
        client.execute(rate, &[&wallet]).unwrap();
        for number in 1..20 {
            charge(&mut client, wallet, dec("1.000000000001")).unwrap();
            let used = serde_json::json!({"model": "gpt-4o", "input_tokens": 1000 + number});
            usage(&mut client, wallet, &used).unwrap();
        }
    }
    for (format, program) in [
        ("hledger", &["hledger", "check", "-f"][..]),
        ("beancount", &["bean-check"]),
    ] {
        let mut all = String::new();
        for wallet in wallets {
            let sql =
                "SELECT wallet.journal($1, NULL, NULL, $2), wallet.journal($1, now(), NULL, $2),
                              wallet.journal($1, NULL, now() - interval '1 day', $2)";
            let row = client.query_one(sql, &[&wallet, &format]).unwrap();
            for column in 0..3 {
                let text: String = row.get(column);
                let checked = check(program, &text, format, &database);
                assert_eq!(checked, Ok(()), "{text}");
            }
            all += &row.get::<_, String>(0);
        }
        // The journals of several wallets in one file.
        assert_eq!(check(program, &all, format, &database), Ok(()), "{all}");
        // A journal with a missing amount is refused.
        let cut = all.replacen("1.000000000001 ", "1.000000000002 ", 2);
        assert_ne!(cut, all);
        assert!(check(program, &cut, format, &database).is_err());
    }
}
