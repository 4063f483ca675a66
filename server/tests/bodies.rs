//! Bodies that are too large, too slow, cut off, or not what they should be.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::{World, with, with_settings};

/// Sends bytes as they are, and returns what comes until the server closes.
fn raw(world: &World, bytes: &[u8], close: bool) -> String {
    let mut stream = TcpStream::connect(world.walletd.http).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    // The server may refuse before all has arrived.
    let _ = stream.write_all(bytes);
    if close {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn head(world: &World, length: usize) -> String {
    let key = world.acme.key.as_deref().unwrap();
    format!(
        "POST /v1/charges HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
}

#[test]
fn a_body_that_cannot_be_read_says_where() {
    with(|world| {
        for (body, status, name, told) in [
            ("", 400, "bad_request", "EOF"),
            ("{", 400, "bad_request", "EOF"),
            ("nonsense", 400, "bad_request", "line 1"),
            ("{} {}", 400, "bad_request", "after its end"),
            ("[]", 422, "invalid_body", "struct"),
            ("null", 422, "invalid_body", "null"),
            (r#"{"amount": 1}"#, 422, "invalid_body", "at amount"),
            (
                r#"{"amount": 1.5}"#,
                422,
                "invalid_body",
                "string of digits",
            ),
            (r#"{"amount": "1e3"}"#, 422, "invalid_body", "at amount"),
            (r#"{"amount": "NaN"}"#, 422, "invalid_body", "at amount"),
            (
                r#"{"amount": "1", "amount": "2"}"#,
                422,
                "invalid_body",
                "duplicate field",
            ),
            (
                r#"{"amuont": "1"}"#,
                422,
                "invalid_body",
                "unknown field `amuont`",
            ),
            (
                r#"{"amount": "1", "user_id": 7}"#,
                422,
                "invalid_body",
                "at user_id",
            ),
            (
                r#"{"amount": "1", "tags": []}"#,
                422,
                "invalid_body",
                "at tags",
            ),
            (
                r#"{"amount": "1", "event_at": "today"}"#,
                422,
                "invalid_body",
                "at event_at",
            ),
            (
                r#"{"amount": "1", "cost_from": "me"}"#,
                422,
                "invalid_body",
                "at cost_from",
            ),
            (
                r#"{"amount": "1", "user_id": "a\u0000b"}"#,
                422,
                "invalid_data",
                "0x00",
            ),
            (
                r#"{"usage": {"model": "gpt-4o", "x": "\u0000"}}"#,
                422,
                "invalid_data",
                "u0000",
            ),
        ] {
            let answer = world.acme.post("/v1/charges", body).problem(status, name);
            assert!(answer.text.contains(told), "{body}: {}", answer.text);
        }
        let deep = format!(
            "{{\"usage\": {{\"a\": {}{}}}}}",
            "[".repeat(9000),
            "]".repeat(9000)
        );
        world
            .acme
            .post("/v1/charges", &deep)
            .problem(400, "bad_request");
        for form in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonx",
            "",
        ] {
            let headers = [("content-type", form)];
            let answer = world.acme.send("POST", "/v1/charges", &headers, Some("{}"));
            answer.problem(415, "unsupported_media_type");
        }
        let headers = [("content-type", "Application/JSON; charset=utf-8")];
        world
            .acme
            .send("POST", "/v1/charges", &headers, Some(r#"{"amount": "1"}"#))
            .expect(201);
        assert_eq!(world.charges("acme"), 1);
    });
}

#[test]
fn a_large_body_is_refused_and_one_at_the_limit_is_read() {
    with_settings(&[("WALLETD_HTTP__BODY_LIMIT", "10 KiB")], |world| {
        let body = |size: usize| {
            let frame = r#"{"amount": "1", "metadata": {"x": ""}}"#;
            frame.replace("\"\"", &format!("\"{}\"", "x".repeat(size - frame.len())))
        };
        assert_eq!(body(10 * 1024).len(), 10 * 1024);
        world.acme.post("/v1/charges", &body(10 * 1024)).expect(201);
        world
            .acme
            .post("/v1/charges", &body(10 * 1024 + 1))
            .problem(413, "body_too_large");
        // Neither a length that is a lie nor pieces without one get around the limit.
        let answer = raw(world, head(world, usize::MAX / 2).as_bytes(), true);
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
        let mut pieces = head(world, 0).replace("content-length: 0", "transfer-encoding: chunked");
        for _ in 0..50 {
            pieces.push_str("400\r\n");
            pieces.push_str(&" ".repeat(1024));
            pieces.push_str("\r\n");
        }
        let answer = raw(world, pieces.as_bytes(), false);
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        assert_eq!(world.charges("acme"), 1);
    });
}

#[test]
fn a_body_that_stops_is_refused_in_time() {
    let settings = [
        ("WALLETD_HTTP__TIMEOUT", "1500ms"),
        ("WALLETD_DATABASE__STATEMENT_TIMEOUT", "500ms"),
        ("WALLETD_DATABASE__WAIT_TIMEOUT", "500ms"),
    ];
    with_settings(&settings, |world| {
        let begun = std::time::Instant::now();
        let mut slow = head(world, 100);
        slow.push_str("{\"amo");
        let answer = raw(world, slow.as_bytes(), false);
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        let cut = raw(world, slow.as_bytes(), true);
        assert!(cut.is_empty() || cut.starts_with("HTTP/1.1 400"), "{cut}");
        // A header that never ends is cut off too.
        let key = world.acme.key.as_deref().unwrap();
        let header = format!("GET /v1/wallet HTTP/1.1\r\nauthorization: Bearer {key}\r\nx: ");
        let answer = raw(world, header.as_bytes(), false);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
        assert!(begun.elapsed() < Duration::from_secs(15));
        assert_eq!(world.charges("acme"), 0);
    });
}

#[test]
fn a_request_that_is_smuggled_or_garbled_is_refused() {
    with(|world| {
        let two = head(world, 4).replace(
            "content-length: 4",
            "content-length: 4\r\ncontent-length: 5",
        );
        let both = head(world, 4).replace(
            "content-length: 4",
            "content-length: 4\r\ntransfer-encoding: x",
        );
        for text in [
            two,
            both,
            "\0\0\0\0\r\n\r\n".to_owned(),
            "GET / HTTP/9.9\r\n\r\n".to_owned(),
        ] {
            let answer = raw(world, text.as_bytes(), true);
            assert!(
                answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
                "{text:?}: {answer}"
            );
        }
        let huge = format!(
            "GET /v1/wallet HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n",
            "y".repeat(200_000)
        );
        let answer = raw(world, huge.as_bytes(), false);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
            "{answer}"
        );
        assert_eq!(world.charges("acme"), 0);
        world.acme.get("/v1/wallet").expect(200);
    });
}
