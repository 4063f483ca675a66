//! Many connections at once.

use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};

use postgres::Client;

use crate::Database;

/// Tests with many connections come one after the other: together they would have more than the
/// server allows.
pub fn crowd() -> MutexGuard<'static, ()> {
    static CROWD: Mutex<()> = Mutex::new(());
    // A failed test must not fail the others.
    CROWD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work` in `count` threads with a connection each, all let go at the same moment.
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
                    // Also without a connection, or the others would wait for ever.
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
