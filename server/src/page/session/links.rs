//! One-time links. A link has two encrypted keys: that of the person, and a *guard* without a user.
//! To use the link is to rotate the guard, which happens once, whoever asks first.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config::{Config, Secret};
use crate::db::{Connections, DbError};
use crate::page::cookies::{Cookies, after};
use crate::page::failure::Failure;
use crate::page::state::Pages;

/// The name that is authenticated with the text of a link.
const NAME: &str = "sign-in-link";

/// The keys last as long as the session, the guard as long as the link.
const MAKE: &str = "SELECT p.secret, g.secret \
  FROM wallet.create_key($1, $2, 'sign-in link', \
                         expires_at => pg_catalog.now() + pg_catalog.make_interval(secs => $3)) p, \
       wallet.create_key($1, NULL, 'guard of a sign-in link', \
                         expires_at => pg_catalog.now() + pg_catalog.make_interval(secs => $4)) g";
/// A guard is only rotated once: another attempt is the replay of the first.
const USE: &str = "SELECT pg_catalog.to_json(NOT r.replayed)::text \
  FROM wallet.key_owner($1) o, \
       wallet.rotate_key(o.wallet, o.key_id, overlap => '0', idempotency_key => $2) r";

/// The text of a link.
#[derive(Deserialize, Serialize)]
struct Link {
    key: Secret,
    guard: Secret,
    id: Uuid,
    ends: i64,
}

/// A link that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The keys could not be made.
    #[error("{0}")]
    Refused(String),
    /// The connection.
    #[error("the database could not be reached: {0:?}")]
    Database(DbError),
    /// The text could not be encrypted.
    #[error("the link could not be encrypted")]
    Cipher,
}

/// A link with which a person signs in, once.
pub async fn make_link(
    config: &Config,
    connections: &Connections,
    wallet: &str,
    user: Option<&str>,
) -> Result<String, LinkError> {
    let page = &config.page;
    let client = connections.get().await.map_err(LinkError::Database)?;
    let (session, link) = (
        page.session.get().as_secs_f64(),
        page.link.get().as_secs_f64(),
    );
    let row = client
        .query_one(MAKE, &[&wallet, &user, &session, &link])
        .await;
    let row = row.map_err(|error| {
        let text = error
            .as_db_error()
            .map(|error| format!("{}: {}", error.code().code(), error.message()));
        LinkError::Refused(text.unwrap_or_else(|| error.to_string()))
    })?;
    let secret = |column| {
        let text = row.try_get(column).map(Secret::new);
        text.map_err(|error| LinkError::Refused(error.to_string()))
    };
    let sealed = Link {
        key: secret(0)?,
        guard: secret(1)?,
        id: Uuid::new_v4(),
        ends: after(page.link.get()),
    };
    let text = Cookies::new(page, false)
        .seal(NAME, &sealed)
        .ok_or(LinkError::Cipher)?;
    let query = serde_urlencoded::to_string([("link", text)]).map_err(|_| LinkError::Cipher)?;
    Ok(format!("{}/sign-in?{query}", config.page_url()))
}

/// Uses a link. Returns the key of the person.
pub async fn use_link(text: &str, pages: &Pages) -> Result<Option<Secret>, Failure> {
    let link: Option<Link> = pages.cookies.open(NAME, text);
    let Some(link) = link.filter(|link| link.ends > Timestamp::now().as_second()) else {
        return Ok(None);
    };
    let arguments = vec![Some(link.id.to_string())];
    // Not repeatable: a repetition would be told that the link was used.
    let call = crate::db::Call::write(USE, arguments, false);
    match pages.find(&link.guard, call).await {
        Ok(Some(true)) => Ok(Some(link.key)),
        Ok(_) => Ok(None),
        Err(failure) if failure.has_no_key => Ok(None),
        Err(failure) => Err(failure),
    }
}
