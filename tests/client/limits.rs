//! Limits hold when everybody spends at once.

use wallet_tests::{
    Charge, Database, Decimal, Seed, audit, create, crowd, dec, limit, noon, state_of, together,
};

#[test]
fn nobody_passes_a_limit() {
    let _turn = crowd();
    let seed = Seed::of("limit");
    for lanes in [1, 16] {
        let database = Database::new();
        let mut client = database.connect();
        create(&mut client, "acme", lanes, &[], dec("100000"));
        limit(&mut client, "acme", dec("100"), "day", &noon());
        // Nobody has used the user before: the window is made by the first of them.
        let results = together(&database, 32, |number, client| {
            let mut seed = seed.thread(number);
            let mut spent = Decimal::ZERO;
            for _ in 0..12 {
                let amount = seed.cents(7, 90);
                let charge = Charge {
                    amount,
                    user: Some("ann"),
                    key: None,
                };
                match charge.on(client, "acme") {
                    Ok(charged) => spent += charged.cost,
                    Err(error) => {
                        assert_eq!(state_of(&error), "WL002", "{error:?}");
                        let used: Decimal = client
                            .query_one(
                                "SELECT used FROM wallet.check_limits('acme', 'ann') WHERE scope = 'user'",
                                &[],
                            )
                            .unwrap()
                            .get(0);
                        assert!(
                            used + amount > dec("100"),
                            "{used} + {amount} would have fitted"
                        );
                    }
                }
            }
            spent
        });
        let total: Decimal = results.into_iter().sum();
        assert!(total <= dec("100"), "{total} was spent");
        assert!(total > dec("99"), "{total} is less than fits");
        audit(&mut client, "acme");
    }
}
