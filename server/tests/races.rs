//! Many requests at once.

use std::collections::BTreeSet;
use std::sync::Barrier;

use crate::support::{Answer, Client, with};

/// Sends the same requests from many threads at the same moment.
fn at_once(number: usize, send: impl Fn(usize) -> Answer + Sync) -> Vec<Answer> {
    let barrier = Barrier::new(number);
    std::thread::scope(|scope| {
        let start = |index| {
            let (barrier, send) = (&barrier, &send);
            scope.spawn(move || {
                barrier.wait();
                send(index)
            })
        };
        let threads: Vec<_> = (0..number).map(start).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

fn statuses(answers: &[Answer], status: u16) -> usize {
    answers
        .iter()
        .filter(|answer| answer.status == status)
        .count()
}

#[test]
fn one_key_sent_many_times_at_once_books_once() {
    with(|world| {
        let answers = at_once(16, |_| {
            world
                .acme
                .post_once("/v1/charges", "one", r#"{"amount": "1.5"}"#)
        });
        assert_eq!((statuses(&answers, 201), statuses(&answers, 200)), (1, 15));
        let entries: BTreeSet<_> = answers
            .iter()
            .map(|answer| answer.json["entry_id"].to_string())
            .collect();
        assert_eq!((entries.len(), world.charges("acme")), (1, 1));
        assert_eq!(
            world.acme.get("/v1/wallet").expect(200).json["balance"],
            "98.50"
        );
    });
}

#[test]
fn the_last_money_is_spent_once() {
    with(|world| {
        world.sql("SELECT wallet.set_lanes('globex', 4)");
        // 50 is enough for seven of them.
        let answers = at_once(24, |_| {
            world.globex.post("/v1/charges", r#"{"amount": "7"}"#)
        });
        assert_eq!((statuses(&answers, 201), statuses(&answers, 402)), (7, 17));
        assert_eq!(
            world.globex.get("/v1/wallet").expect(200).json["balance"],
            "1.00"
        );
        world.verify();
    });
}

#[test]
fn of_many_settlements_and_releases_one_wins() {
    with(|world| {
        for _ in 0..5 {
            let held = world
                .acme
                .post("/v1/holds", r#"{"amount": "2"}"#)
                .expect(201);
            let path = format!("/v1/holds/{}", held.json["hold_id"].as_str().unwrap());
            let send = |index: usize| match index % 2 {
                0 => world
                    .acme
                    .post(&format!("{path}/settle"), r#"{"amount": "1"}"#),
                _ => world.acme.post(&format!("{path}/void"), "{}"),
            };
            let answers = at_once(8, send);
            assert_eq!((statuses(&answers, 201), statuses(&answers, 409)), (1, 7));
        }
        assert_eq!(
            world.acme.get("/v1/wallet").expect(200).json["held"],
            "0.00"
        );
        world.verify();
    });
}

#[test]
fn deadlocks_run_again_until_they_succeed() {
    with(|world| {
        // Two sessions of SQL and the API lock the same lanes in different orders.
        world.sql("SELECT wallet.set_lanes('acme', 2)");
        let clients: Vec<Client> = (0..6).map(|_| world.acme.clone()).collect();
        let answers = at_once(12, |index| match index {
            0..6 => clients[index].post("/v1/charges", r#"{"amount": "9"}"#),
            _ => clients[index - 6].post("/v1/holds", r#"{"amount": "7", "ttl_seconds": 60}"#),
        });
        // 6 * 9 + 6 * 7 is less than 100: nobody may be refused, and no conflict is seen.
        assert_eq!(statuses(&answers, 201), 12, "{answers:?}");
        world.verify();
    });
}
