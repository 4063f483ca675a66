//! Stores the digest of all wallets where nobody who can write to the database can write.
//!
//! In a directory, each digest is a file with the time in its name, as `examples/store_digest.sh`
//! writes and reads them. A file is never changed: it gets its name when it is complete and on the
//! disk, and only if no file has that name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::http::{Guard, Web};
use super::outcome::Outcome;
use super::sign;
use crate::config;
use crate::db::Worker;

/// Where digests go.
#[derive(Clone)]
pub enum Store {
    /// Files in a directory.
    Directory(PathBuf),
    /// Requests to a URL.
    Url {
        /// The URL, which may have a password.
        url: config::Secret,
        /// The secrets that sign them. None: they are not signed.
        secrets: Vec<config::Secret>,
        /// Makes them.
        web: Box<Web>,
    },
}

impl Store {
    /// The store of the settings. `None`: digests are not stored.
    pub fn new(config: &config::Worker) -> Option<Store> {
        let to = config.digest_to.expose();
        if to.is_empty() {
            return None;
        }
        let is_url = to.starts_with("https://") || to.starts_with("http://");
        Some(match is_url {
            // The operator set the URL, so it may lead into the operator's own network.
            true => Store::Url {
                url: config.digest_to.clone(),
                secrets: config.digest_secrets.clone(),
                web: Box::new(Web::new(config, Guard::none())),
            },
            false => Store::Directory(PathBuf::from(to)),
        })
    }

    /// Stores the present digest.
    pub async fn store(&self, database: &Worker) -> Result<(), String> {
        // Before the question: everything that was booked until then is in the answer.
        let asked = Timestamp::now();
        let digest = database.digest().await;
        let digest = digest.map_err(|error| format!("{error:?}"))?;
        match self {
            Store::Directory(directory) => {
                let directory = directory.clone();
                let wrote =
                    tokio::task::spawn_blocking(move || write(&directory, asked, &digest)).await;
                let wrote = wrote.map_err(|error| error.to_string())?;
                wrote.map_err(|error| format!("the digest cannot be written: {error}"))
            }
            Store::Url { url, secrets, web } => {
                let headers = headers(secrets, asked, &digest)?;
                let posted = web.post(url.expose(), &headers, digest, Duration::MAX);
                match Outcome::of(posted.await) {
                    Outcome::Delivered => Ok(()),
                    Outcome::CutOff => Err("walletd stops".to_owned()),
                    Outcome::Again { reason, .. } | Outcome::Dead { reason } => Err(reason),
                }
            }
        }
    }

    /// Whether a digest could be stored. A URL is not asked: a request would store something.
    pub fn look(&self) -> Result<String, String> {
        let Store::Directory(directory) = self else {
            return Ok("is a URL, which check does not call".to_owned());
        };
        let failed = |error: io::Error| format!("cannot be written to: {error}");
        let path = temporary(directory);
        fs::create_dir_all(directory).map_err(failed)?;
        File::create_new(&path).map_err(failed)?;
        fs::remove_file(&path).map_err(failed)?;
        Ok("can be written to".to_owned())
    }
}

/// The headers of a request, signed as webhooks are. The signed time is that of the question: a
/// digest that somebody sends again later has its old one.
fn headers(
    secrets: &[config::Secret],
    asked: Timestamp,
    digest: &str,
) -> Result<Vec<(&'static str, String)>, String> {
    let mut headers = vec![("x-wallet-digest-time", asked.to_string())];
    if !secrets.is_empty() {
        let (id, time) = (Uuid::now_v7().to_string(), asked.as_second());
        let signature = sign::signatures(secrets, &id, time, digest)
            .ok_or("worker.digest_secrets have another form than whsec_ and base64")?;
        headers.extend([
            ("webhook-id", id),
            ("webhook-timestamp", time.to_string()),
            ("webhook-signature", signature),
        ]);
    }
    Ok(headers)
}

fn temporary(directory: &Path) -> PathBuf {
    directory.join(format!("new.{:016x}", fastrand::u64(..)))
}

/// Adds a file, unless the last one has the same digest.
fn write(directory: &Path, asked: Timestamp, digest: &str) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let text = format!("{digest}\n");
    if let Some(last) = last(directory)?
        && fs::read_to_string(&last)? == text
    {
        return Ok(());
    }
    let path = temporary(directory);
    let name = asked.strftime("digest-%Y-%m-%dT%H-%M-%SZ.json").to_string();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)?;
    let complete = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        // Fails if there is a file of that name.
        .and_then(|()| fs::hard_link(&path, directory.join(name)));
    let removed = fs::remove_file(&path);
    complete?;
    removed?;
    // The name is on the disk too.
    File::open(directory)?.sync_all()
}

/// The last file with a digest.
fn last(directory: &Path) -> io::Result<Option<PathBuf>> {
    let mut last: Option<PathBuf> = None;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let is_digest =
            name.is_some_and(|name| name.starts_with("digest-") && name.ends_with(".json"));
        if is_digest && last.as_ref().is_none_or(|last| *last < path) {
            last = Some(path);
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(directory: &Path) -> Vec<(String, String)> {
        let mut files: Vec<(String, String)> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read_to_string(path).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    #[test]
    fn files_are_added_and_never_changed() {
        let directory = std::env::temp_dir().join(format!("walletd-{:x}", fastrand::u64(..)));
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        write(&directory, at("2026-03-01T02:03:04Z"), "{1}").unwrap();
        write(&directory, at("2026-03-02T02:03:04Z"), "{1}").unwrap();
        write(&directory, at("2026-03-03T02:03:04Z"), "{2}").unwrap();
        let expected = [
            ("digest-2026-03-01T02-03-04Z.json", "{1}\n"),
            ("digest-2026-03-03T02-03-04Z.json", "{2}\n"),
        ]
        .map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(files(&directory), expected);
        // Another digest of the same second is refused, and leaves nothing behind.
        assert!(write(&directory, at("2026-03-03T02:03:04Z"), "{3}").is_err());
        assert_eq!(files(&directory), expected);
        fs::remove_dir_all(&directory).unwrap();
    }
}
