//! A proxy between walletd and PostgreSQL that loses answers.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Passes everything on. After [`Proxy::lose`], so many connections get no answer to their next
/// message: it is passed on, the server's answer is awaited and dropped, and the connection is cut.
pub struct Proxy {
    /// The port on 127.0.0.1.
    pub port: u16,
    losses: Arc<AtomicU32>,
}

impl Proxy {
    /// A proxy to the private server.
    pub fn start() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let losses = Arc::new(AtomicU32::new(0));
        let shared = losses.clone();
        let host = std::env::var("PGHOST").unwrap();
        let socket = format!("{host}/.s.PGSQL.{}", std::env::var("PGPORT").unwrap());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = UnixStream::connect(&socket).unwrap();
                pass(client, server, &shared);
            }
        });
        Proxy { port, losses }
    }

    /// Loses the answers to the next messages of so many connections.
    pub fn lose(&self, connections: u32) {
        self.losses.store(connections, Ordering::SeqCst);
    }
}

/// Starts the two directions of a connection.
fn pass(client: TcpStream, server: UnixStream, losses: &Arc<AtomicU32>) {
    let (mut from_client, mut to_server) =
        (client.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Both);
    });
    let (mut from_server, mut to_client) = (server, client);
    let losses = losses.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(read) = from_server.read(&mut buffer) {
            if read == 0 {
                break;
            }
            let lose =
                losses.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
            if lose.is_ok() {
                // All four messages of a request arrive at once; the server works on them all.
                std::thread::sleep(std::time::Duration::from_millis(300));
                break;
            }
            if to_client.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = to_client.shutdown(Shutdown::Both);
        let _ = from_server.shutdown(Shutdown::Both);
    });
}
