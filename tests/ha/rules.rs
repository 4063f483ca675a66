//! A session that is opened on the standby and kept while the standby becomes the primary. It has
//! cached the rules as they were.

use postgres::{Client, NoTls};
use wallet_tests::{dec, state_of};

use crate::client::{Answer, Call};
use crate::cluster::{Cluster, wait_for};
use crate::workload::{Book, charge};

pub struct Kept {
    client: Client,
    /// Makes the names of this scene.
    number: usize,
}

const USAGE: &str = r#"{"model": "ha", "input_tokens": 1000}"#;

/// The wallets of these sessions: created once per scene, by these names.
const RULED: [&str; 8] = [
    "ruled0", "ruled1", "ruled2", "ruled3", "ruled4", "ruled5", "ruled6", "ruled7",
];
const FROZEN: [&str; 8] = [
    "ice0", "ice1", "ice2", "ice3", "ice4", "ice5", "ice6", "ice7",
];

fn price(client: &mut Client, wallet: &str) -> String {
    let sql = "SELECT cost::text FROM wallet.price_usage($1::text::jsonb, $2)";
    client
        .query_one(sql, &[&USAGE, &wallet])
        .expect("a price")
        .get(0)
}

fn attempt(client: &mut Client, call: &Call) -> Result<Answer, String> {
    call.on(client).map_err(|error| state_of(&error))
}

impl Kept {
    /// Opens the session, which reads the rules. Then they change on the primary.
    pub fn open(cluster: &Cluster, number: usize) -> Kept {
        let (ruled, frozen) = (RULED[number], FROZEN[number]);
        let mut primary = cluster.administrator();
        primary
            .batch_execute(&format!(
                "SELECT wallet.create_wallet('{ruled}'), wallet.create_wallet('{frozen}');
                 SELECT wallet.fund('{ruled}', 100), wallet.fund('{frozen}', 100);
                 SELECT wallet.set_price('ha', 'input_tokens', 0.001)"
            ))
            .expect("rules");
        let (_, standby) = cluster.roles();
        let mut client = standby.config("app").connect(NoTls).expect("the standby");
        let admitted = "SELECT count(*) FROM wallet.check_limits($1, amount => 5) WHERE allowed";
        for wallet in [ruled, frozen] {
            let arrived = wait_for("the wallet arrives", || {
                client.query_one(admitted, &[&wallet]).ok()
            });
            assert_eq!(arrived.get::<_, i64>(0), 1, "{wallet} may spend");
        }
        wait_for("the price arrives", || {
            (price(&mut client, ruled) == "1.00").then_some(())
        });
        let refused = attempt(&mut client, &charge(ruled, dec("1"), "on-the-standby"));
        assert_eq!(refused.expect_err("a standby"), "25006");
        primary
            .batch_execute(&format!(
                "SELECT wallet.set_price('ha', 'input_tokens', 0.003);
                 SELECT wallet.set_limit('{ruled}', 4, 'lifetime');
                 SELECT wallet.freeze_wallet('{frozen}')"
            ))
            .expect("other rules");
        Kept { client, number }
    }

    /// After the promotion, on the same session.
    pub fn follows_the_last_rules(mut self, book: &Book) {
        let client = &mut self.client;
        let (ruled, frozen) = (RULED[self.number], FROZEN[self.number]);
        let recovers = "SELECT pg_is_in_recovery()";
        wait_for("the standby is promoted", || {
            let recovers: bool = client.query_one(recovers, &[]).expect("the session").get(0);
            (!recovers).then_some(())
        });
        assert_eq!(price(client, ruled), "3.00", "the last price");
        let key = |what: &str| format!("{what}-{}", self.number);
        let beyond = attempt(client, &charge(ruled, dec("5"), &key("beyond")));
        assert_eq!(beyond.expect_err("the last limit"), "WL002");
        let cold = attempt(client, &charge(frozen, dec("1"), &key("frozen")));
        assert_eq!(cold.expect_err("the freeze"), "WL004");
        let call = charge(ruled, dec("3"), &key("within"));
        let answer = attempt(client, &call).expect("a charge within the limit");
        book.add(call, answer);
    }
}
