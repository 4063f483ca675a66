//! A connection that waits for notifications of events.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::poll_fn;
use tokio::sync::Notify;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::conninfo::Target;
use super::pool::SetupError;
use super::tls;
use crate::config::{Database, Secret};

const LISTEN: &str = "LISTEN wallet_events";
/// The pauses between attempts to connect grow to this.
const PAUSE: Duration = Duration::from_secs(30);

/// Waits for notifications on a connection of its own.
pub struct Listener {
    target: Target,
}

impl Listener {
    /// For a connection string. Connects to nothing yet.
    pub fn new(url: &Secret, config: &Database) -> Result<Listener, SetupError> {
        let mut target = Target::read(url)?;
        target.driver.connect_timeout(config.connect_timeout.get());
        // Nothing is sent for hours, so only this notices that the server is gone.
        target.driver.keepalives_idle(Duration::from_secs(60));
        Ok(Listener { target })
    }

    /// Wakes the worker for each notification, and after each new connection, because it may have
    /// missed some. Never ends. Drop it to close the connection.
    pub async fn wake(self, worker: Arc<Notify>) {
        let mut failures = 0_u32;
        loop {
            let ended = match self.target.has_no_tls() {
                true => self.listen(NoTls, &worker, &mut failures).await,
                false => match tls::client(&self.target) {
                    Ok(client) => {
                        let tls = MakeRustlsConnect::new(client);
                        self.listen(tls, &worker, &mut failures).await
                    }
                    Err(error) => error.to_string(),
                },
            };
            tracing::warn!(reason = ended, "not listening: the worker looks by itself");
            let longest = Duration::from_millis(500) * 2_u32.pow(failures.min(6));
            failures = failures.saturating_add(1);
            tokio::time::sleep(longest.min(PAUSE).mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        }
    }

    /// Listens until the connection breaks. Returns the reason.
    async fn listen<T>(&self, tls: T, worker: &Notify, failures: &mut u32) -> String
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
    {
        let (client, mut connection) = match self.target.driver.connect(tls).await {
            Ok(pair) => pair,
            Err(error) => return error.to_string(),
        };
        let mut messages = poll_fn(move |context| connection.poll_message(context));
        let mut listening = std::pin::pin!(client.batch_execute(LISTEN));
        let mut is_listening = false;
        loop {
            tokio::select! {
                listened = &mut listening, if !is_listening => match listened {
                    Ok(()) => {
                        (is_listening, *failures) = (true, 0);
                        worker.notify_one();
                    }
                    Err(error) => return error.to_string(),
                },
                message = messages.next() => match message {
                    Some(Ok(AsyncMessage::Notification(_))) => worker.notify_one(),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return error.to_string(),
                    None => return "the server closed the connection".to_owned(),
                },
            }
        }
    }
}
