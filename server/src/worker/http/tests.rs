//! Requests against a receiver of this process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::connect::Resolve;
use super::*;

const MOST: Duration = Duration::from_secs(5);

fn web(networks: &[&str]) -> Web {
    let config = Worker {
        allowed_networks: networks.iter().map(|text| text.parse().unwrap()).collect(),
        ..Worker::default()
    };
    Web::new(&config, Guard::new(&config))
}

/// A receiver that gives every connection the same answer. Returns its address and the number of
/// connections.
async fn receiver(answer: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                tokio::time::sleep(Duration::from_secs(3)).await;
            });
        }
    });
    (address, count)
}

#[tokio::test]
async fn an_address_of_this_machine_is_refused_in_every_spelling() {
    let (address, count) = receiver("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let port = address.port();
    for host in [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
    ] {
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://{host}:{port}/");
            let refused = web(&[]).post(&url, &[], String::new(), MOST).await;
            assert!(refused.is_err(), "{url}");
        }
    }
    assert_eq!(count.load(Ordering::SeqCst), 0, "a connection was made");
    let url = format!("http://127.0.0.1:{port}/");
    let web = web(&["127.0.0.0/8"]);
    let answer = web.post(&url, &[], String::new(), MOST).await;
    assert_eq!(answer.unwrap().status, 200);
}

#[tokio::test]
async fn a_name_that_changes_its_address_does_not_help() {
    let (address, count) = receiver("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    // The first time it has an allowed address, where nobody listens, and then that of a service.
    let names: Resolve = Arc::new(move |_, _| {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        let ip = if first {
            [127, 0, 0, 2]
        } else {
            [127, 0, 0, 1]
        };
        let found = vec![SocketAddr::from((ip, address.port()))];
        Box::pin(async move { Ok(found) })
    });
    let mut web = web(&["127.0.0.2/32"]);
    web.connector = web.connector.with_names(names);
    let url = format!("http://rebinding.example:{}/", address.port());
    let first = web.post(&url, &[], String::new(), MOST).await;
    assert!(matches!(first, Err(Trouble::Failed(_))), "{first:?}");
    // One request asks once, and connects to what it was told.
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let second = web.post(&url, &[], String::new(), MOST).await;
    assert!(matches!(second, Err(Trouble::NotAllowed(_))), "{second:?}");
    assert_eq!(count.load(Ordering::SeqCst), 0, "a connection was made");
}

#[tokio::test]
async fn of_several_addresses_only_allowed_ones_are_tried() {
    let (address, count) = receiver("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let port = address.port();
    let names: Resolve = Arc::new(move |_, _| {
        let of = |ip: [u8; 4]| SocketAddr::from((ip, port));
        let found = vec![of([127, 0, 0, 1]), of([127, 0, 0, 2])];
        Box::pin(async move { Ok(found) })
    });
    let mut web = web(&["127.0.0.2/32"]);
    web.connector = web.connector.with_names(names);
    let url = format!("http://both.example:{port}/");
    let answer = web.post(&url, &[], String::new(), MOST).await;
    assert!(matches!(answer, Err(Trouble::Failed(_))), "{answer:?}");
    assert_eq!(count.load(Ordering::SeqCst), 0, "a connection was made");
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_a_proxy_is_not_asked() {
    let redirect =
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    let (address, count) = receiver(redirect).await;
    let answer = web(&["127.0.0.0/8"])
        .post(&format!("http://{address}/"), &[], String::new(), MOST)
        .await;
    assert_eq!(answer.unwrap().status, 302);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_answer_without_an_end_counts_by_its_status() {
    let endless = "HTTP/1.1 503 No\r\nretry-after: 7\r\ncontent-length: 999999999\r\n\r\nx";
    let (address, _) = receiver(endless).await;
    let answer = web(&["127.0.0.0/8"])
        .post(&format!("http://{address}/"), &[], String::new(), MOST)
        .await
        .unwrap();
    assert_eq!(answer.status, 503);
    assert_eq!(answer.retry_after, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_receiver_that_says_nothing_or_nonsense_fails() {
    let (silent, _) = receiver("").await;
    let (garbled, _) = receiver("220 mail.example ESMTP\r\n").await;
    for address in [silent, garbled] {
        let url = format!("http://{address}/");
        let web = web(&["127.0.0.0/8"]);
        let answer = web.post(&url, &[], String::new(), Duration::from_secs(1));
        assert!(matches!(answer.await, Err(Trouble::Failed(_))));
    }
}
