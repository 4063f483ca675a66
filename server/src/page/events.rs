//! The balance as it changes, by server-sent events.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;

use super::account::SignedIn;
use super::failure::Failure;
use super::followers::Place;
use super::state::Pages;
use crate::config::Secret;
use crate::db::Call;

const BALANCE: &str = "SELECT pg_catalog.json_build_object('available', b.available::text, 'balance', b.balance::text, \
       'held', b.held::text)::text \
  FROM wallet.key_owner($1) o JOIN wallet.balances b ON b.wallet = o.wallet \
 WHERE NOT EXISTS (SELECT FROM wallet.member_list m WHERE m.wallet = o.wallet AND m.user_id = o.user_id AND m.blocked)";
/// A watcher looks so often whether walletd stops.
const STEP: Duration = Duration::from_millis(500);
/// After so long a browser must connect again, which checks its session.
const LONGEST: Duration = Duration::from_secs(900);

struct Watcher {
    pages: Pages,
    key: Secret,
    last: Option<serde_json::Value>,
    begun: tokio::time::Instant,
    _slot: OwnedSemaphorePermit,
    _place: Place,
}

/// The events. A browser that finds no place shows the figures of when the page was loaded.
pub async fn events(State(pages): State<Pages>, person: SignedIn) -> Result<Response, Failure> {
    let full = || {
        let text = "Too many browsers follow the balance.";
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_watchers", text)
    };
    let place = Place::take(&pages.followers, &person.account.key_id).ok_or_else(full)?;
    let slot = pages.watchers.clone().try_acquire_owned();
    let slot = slot.map_err(|_| full())?;
    let watcher = Watcher {
        pages,
        key: person.key,
        last: None,
        begun: tokio::time::Instant::now(),
        _slot: slot,
        _place: place,
    };
    let events = stream::unfold(watcher, |watcher| async {
        let (event, watcher) = next(watcher).await?;
        Some((Ok::<_, Infallible>(event), watcher))
    });
    Ok(Sse::new(events)
        .keep_alive(KeepAlive::default())
        .into_response())
}

/// The next event: a balance that differs from the last one. `None`: the stream ends, because the
/// key is no longer valid, its member is blocked, walletd stops, or the time is over.
async fn next(mut watcher: Watcher) -> Option<(Event, Watcher)> {
    let mut wait = match watcher.last {
        Some(_) => watcher.pages.refresh,
        None => Duration::ZERO,
    };
    loop {
        while !wait.is_zero() {
            let step = wait.min(STEP);
            tokio::time::sleep(step).await;
            wait -= step;
            let is_over = watcher.begun.elapsed() > LONGEST;
            if is_over || watcher.pages.is_stopping.load(Ordering::Relaxed) {
                return None;
            }
        }
        let call = Call::read(BALANCE, Vec::new());
        let found = watcher.pages.find(&watcher.key, call).await;
        let balance: serde_json::Value = match found {
            Ok(Some(balance)) => balance,
            Ok(None) => return None,
            Err(failure) if failure.status.is_server_error() => {
                wait = watcher.pages.refresh;
                continue;
            }
            Err(_) => return None,
        };
        if watcher.last.as_ref() != Some(&balance) {
            let event = Event::default().event("balance").data(balance.to_string());
            watcher.last = Some(balance);
            return Some((event, watcher));
        }
        wait = watcher.pages.refresh;
    }
}
