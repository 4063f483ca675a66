//! A receiver of webhooks: a small HTTP server that keeps every request and answers as a test says.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A request.
#[derive(Clone, Debug)]
pub struct Hook {
    /// The path.
    pub path: String,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Hook {
    /// A header, or an empty text.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// The id of the event.
    pub fn id(&self) -> String {
        self.header("webhook-id").to_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    header: String,
    after: Duration,
}

impl Reply {
    /// A status without headers.
    pub fn status(status: u16) -> Reply {
        Reply {
            status,
            header: String::new(),
            after: Duration::ZERO,
        }
    }

    /// The same, with a header.
    pub fn with(self, name: &str, value: &str) -> Reply {
        let header = format!("{name}: {value}\r\n");
        Reply { header, ..self }
    }

    /// The same, after a pause.
    pub fn after(self, after: Duration) -> Reply {
        Reply { after, ..self }
    }
}

type Answer = dyn Fn(&Hook) -> Reply + Send + Sync;

/// The receiver.
pub struct Receiver {
    /// Its address.
    pub address: SocketAddr,
    hooks: Arc<Mutex<Vec<Hook>>>,
    answer: Arc<Mutex<Arc<Answer>>>,
}

impl Receiver {
    /// A receiver that answers 204.
    pub fn start() -> Receiver {
        Receiver::listen(None)
    }

    /// The same, with TLS.
    pub fn with_tls(config: Arc<ServerConfig>) -> Receiver {
        Receiver::listen(Some(config))
    }

    fn listen(tls: Option<Arc<ServerConfig>>) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let accept: Arc<Answer> = Arc::new(|_| Reply::status(204));
        let receiver = Receiver {
            address: listener.local_addr().unwrap(),
            hooks: Arc::default(),
            answer: Arc::new(Mutex::new(accept)),
        };
        let (hooks, answer) = (receiver.hooks.clone(), receiver.answer.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (hooks, answer, tls) = (hooks.clone(), answer.clone(), tls.clone());
                std::thread::spawn(move || match tls {
                    None => attend(stream, &hooks, &answer),
                    Some(config) => {
                        let connection = ServerConnection::new(config).unwrap();
                        attend(StreamOwned::new(connection, stream), &hooks, &answer);
                    }
                });
            }
        });
        receiver
    }

    /// Answers so from now on.
    pub fn answers(&self, answer: impl Fn(&Hook) -> Reply + Send + Sync + 'static) {
        *self.answer.lock().unwrap() = Arc::new(answer);
    }

    /// A URL of it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The requests so far, in the order in which they arrived.
    pub fn hooks(&self) -> Vec<Hook> {
        self.hooks.lock().unwrap().clone()
    }

    /// Waits until so many requests have arrived.
    #[track_caller]
    pub fn wait(&self, number: usize, most: Duration) -> Vec<Hook> {
        let begun = Instant::now();
        loop {
            let hooks = self.hooks();
            if hooks.len() >= number {
                return hooks;
            }
            assert!(
                begun.elapsed() < most,
                "{} requests: {hooks:?}",
                hooks.len()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// One request per connection, as walletd makes them.
fn attend(mut stream: impl Read + Write, hooks: &Mutex<Vec<Hook>>, answer: &Mutex<Arc<Answer>>) {
    let Some(hook) = read(&mut stream) else {
        return;
    };
    let answer = answer.lock().unwrap().clone();
    let reply = answer(&hook);
    hooks.lock().unwrap().push(hook);
    std::thread::sleep(reply.after);
    let head = format!(
        "HTTP/1.1 {} x\r\n{}content-length: 0\r\nconnection: close\r\n\r\n",
        reply.status, reply.header
    );
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.flush();
}

fn read(stream: &mut impl Read) -> Option<Hook> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    let end = loop {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = head.split("\r\n");
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let pairs = lines.filter_map(|line| line.split_once(':'));
    let headers: Vec<(String, String)> = pairs
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        body.extend_from_slice(&buffer[..read]);
    }
    Some(Hook {
        path,
        headers,
        body: String::from_utf8(body).ok()?,
    })
}
