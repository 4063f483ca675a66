//! Runs work on many connections at once.

use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};

use postgres::Client;

use crate::Database;

/// Serializes the tests with many connections: together they would exceed max_connections.
pub fn crowd() -> MutexGuard<'static, ()> {
    static CROWD: Mutex<()> = Mutex::new(());
    // A failed test must not fail the others.
    CROWD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work` in `count` threads with one connection each, all started at the same moment.
pub fn together<T: Send>(
    database: &Database,
    count: usize,
    work: impl Fn(usize, &mut Client) -> T + Sync,
) -> Vec<T> {
    let start = Barrier::new(count);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|number| {
                let (start, work) = (&start, &work);
                scope.spawn(move || {
                    let client = std::panic::catch_unwind(|| database.connect());
                    // Wait even if the connection failed, or the other threads would wait forever.
                    start.wait();
                    work(number, &mut client.expect("a connection"))
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no thread panics"))
            .collect()
    })
}
