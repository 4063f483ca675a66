//! A mail server that keeps what it gets, and refuses recipients by their names.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// An e-mail as it arrived.
#[derive(Clone, Debug)]
pub struct Letter {
    /// The recipients of the envelope.
    pub to: Vec<String>,
    /// The header and the body.
    pub text: String,
    /// The user who signed in.
    pub signed_in: bool,
    /// Whether it came over TLS.
    pub tls: bool,
}

/// The mail server.
pub struct Smtp {
    /// Its port on localhost.
    pub port: u16,
    letters: Arc<Mutex<Vec<Letter>>>,
}

/// A session, before TLS or in it.
struct Session<S> {
    stream: S,
    letter: Letter,
    offers_tls: bool,
}

impl Smtp {
    /// A server with STARTTLS if there is a certificate. It accepts every password.
    pub fn start(tls: Option<Arc<ServerConfig>>) -> Smtp {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let letters: Arc<Mutex<Vec<Letter>>> = Arc::default();
        let port = listener.local_addr().unwrap().port();
        let kept = letters.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (kept, tls) = (kept.clone(), tls.clone());
                std::thread::spawn(move || greet(stream, &kept, tls));
            }
        });
        Smtp { port, letters }
    }

    /// The e-mails so far.
    pub fn letters(&self) -> Vec<Letter> {
        self.letters.lock().unwrap().clone()
    }
}

fn greet(stream: TcpStream, kept: &Mutex<Vec<Letter>>, tls: Option<Arc<ServerConfig>>) {
    let letter = |tls| Letter {
        to: Vec::new(),
        text: String::new(),
        signed_in: false,
        tls,
    };
    let mut session = Session {
        stream,
        letter: letter(false),
        offers_tls: tls.is_some(),
    };
    session.say("220 mail.example ESMTP");
    let wants_tls = session.talk(kept);
    if let (true, Some(config)) = (wants_tls, tls) {
        let connection = ServerConnection::new(config).unwrap();
        let mut session = Session {
            stream: StreamOwned::new(connection, session.stream),
            letter: letter(true),
            offers_tls: false,
        };
        session.talk(kept);
    }
}

impl<S: Read + Write> Session<S> {
    fn say(&mut self, text: &str) {
        let _ = self.stream.write_all(format!("{text}\r\n").as_bytes());
        let _ = self.stream.flush();
    }

    fn line(&mut self) -> Option<String> {
        let (mut line, mut byte) = (Vec::new(), [0]);
        while !line.ends_with(b"\r\n") {
            self.stream.read_exact(&mut byte).ok()?;
            line.push(byte[0]);
        }
        Some(String::from_utf8_lossy(&line[..line.len() - 2]).into_owned())
    }

    /// Talks until the end. Returns whether the client begins with TLS.
    fn talk(&mut self, kept: &Mutex<Vec<Letter>>) -> bool {
        while let Some(line) = self.line() {
            let verb: String = line.chars().take(4).collect::<String>().to_uppercase();
            match verb.as_str() {
                "EHLO" if self.offers_tls => self.say("250-mail.example\r\n250 STARTTLS"),
                "EHLO" => self.say("250-mail.example\r\n250 AUTH PLAIN"),
                "STAR" => {
                    self.say("220 begin");
                    return true;
                }
                "AUTH" => {
                    self.letter.signed_in = true;
                    self.say("235 welcome");
                }
                "RCPT" if line.contains("<nobody@") => {
                    self.say("550 5.1.1 no such user: Nobody@Example.org")
                }
                "RCPT" if line.contains("<later@") => self.say("451 4.7.1 try again later"),
                "RCPT" => {
                    self.letter.to.push(line[8..].to_owned());
                    self.say("250 ok");
                }
                "DATA" => {
                    self.say("354 go on");
                    self.letter.text.clear();
                    while let Some(line) = self.line().filter(|line| line != ".") {
                        self.letter.text.push_str(&line);
                        self.letter.text.push('\n');
                    }
                    kept.lock().unwrap().push(self.letter.clone());
                    self.say("250 kept");
                }
                "QUIT" => {
                    self.say("221 bye");
                    return false;
                }
                _ => self.say("250 ok"),
            }
        }
        false
    }
}
