//! Long lists on the page for people, and who follows the balance there.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use regex::Regex;

use crate::support::{Visitor, World, with, with_settings};

/// A session of an owner of acme.
fn owner(world: &World) -> Visitor {
    world.sql("SELECT wallet.set_member('acme', 'olga', 'owner')");
    let key = world.new_key("acme", ", 'olga', 'owner key', actor => 'olga'");
    Visitor::with_key(world.walletd.http, &key)
}

/// Reads a list page by page. Returns the first column of its rows, and the number of pages.
fn walk(person: &mut Visitor, address: &str, cell: &str) -> (Vec<String>, usize) {
    let cell = Regex::new(cell).unwrap();
    let next = Regex::new("rel=\"next\" href=\"([^\"]+)\"").unwrap();
    let (mut found, mut pages) = (Vec::new(), 0);
    let mut address = Some(address.to_owned());
    while let Some(here) = address.take() {
        let text = person.get(&here).expect(200).text;
        let rows: Vec<String> = cell
            .captures_iter(&text)
            .map(|row| row[1].to_owned())
            .collect();
        assert!(rows.len() <= 100, "{} rows", rows.len());
        assert_eq!(text.contains("First page"), pages > 0, "{here}");
        found.extend(rows);
        pages += 1;
        let link = next.captures(&text);
        address = link.map(|link| link[1].replace("&amp;", "&"));
    }
    (found, pages)
}

#[test]
fn long_lists_have_pages_with_every_row_once() {
    with(|world| {
        let mut olga = owner(world);
        world.sql(
            "SELECT wallet.set_member('acme', 'ü & \"' || n, 'member', actor => 'olga') FROM generate_series(1, 219) n;
             SELECT wallet.create_key('acme', name => 'k' || n, actor => 'olga') FROM generate_series(1, 210) n;
             SELECT wallet.set_limit('acme', n, 'day', scope => 'user', subject => 's' || n, actor => 'olga')
               FROM generate_series(1, 200) n",
        );
        let cell = "<th scope=\"row\">([^<]*)";
        let ids = "name=\"id\" value=\"([^\"]+)\"><button class=\"danger\"";
        for (address, cell, query, pages) in [
            (
                "/members",
                cell,
                "SELECT count(*) FROM wallet.member_list WHERE wallet = 'acme'",
                3,
            ),
            (
                "/keys",
                ids,
                "SELECT count(*) FROM wallet.keys WHERE wallet = 'acme'",
                3,
            ),
            (
                "/limits",
                ids,
                "SELECT count(*) FROM wallet.limits_status WHERE wallet = 'acme'",
                2,
            ),
        ] {
            let (found, seen) = walk(&mut olga, address, cell);
            assert_eq!(found.len().to_string(), world.value(query), "{address}");
            let different: BTreeSet<_> = found.iter().collect();
            assert_eq!(different.len(), found.len(), "{address}");
            assert_eq!(seen, pages, "{address}");
        }
        for wrong in ["/keys?from=x", "/limits?from=x", "/limits?from=x:y"] {
            olga.get(wrong).expect(400);
        }
        // A key of another wallet is no place in the list.
        let other = world.value("SELECT key_id FROM wallet.keys WHERE wallet = 'globex'");
        let page = olga.get(&format!("/keys?from={other}")).expect(200);
        assert!(!page.text.contains("name=\"id\""), "{}", page.text);
    });
}

/// A browser that follows the balance.
fn follow(world: &World, person: &Visitor) -> TcpStream {
    let mut stream = TcpStream::connect(world.walletd.http).unwrap();
    let timeout = Some(Duration::from_secs(15));
    stream.set_read_timeout(timeout).unwrap();
    let request = format!(
        "GET /events HTTP/1.1\r\nhost: x\r\ncookie: {}\r\n\r\n",
        person.cookie
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// The answer as far as this text.
#[track_caller]
fn read_to(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains(end) {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "it ended: {text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    text
}

#[test]
fn a_blocked_member_follows_the_balance_no_longer() {
    with_settings(&[("WALLETD_PAGE__REFRESH", "1s")], |world| {
        let mut olga = owner(world);
        world.sql("SELECT wallet.set_member('acme', 'alice', 'member', actor => 'olga')");
        let key = world.acme.key.clone().unwrap();
        let alice = Visitor::with_key(world.walletd.http, &key);
        let (mut hers, mut other) = (follow(world, &alice), follow(world, &olga));
        for stream in [&mut hers, &mut other] {
            assert!(read_to(stream, "data:").contains("text/event-stream"));
        }
        let block = [
            ("user", "alice"),
            ("role", "member"),
            ("team", ""),
            ("blocked", "true"),
        ];
        olga.post("/members", &block).expect(303);
        // The last chunk has no bytes.
        read_to(&mut hers, "0\r\n\r\n");
        world.sql("SELECT wallet.charge('acme', amount => 7)");
        assert!(read_to(&mut other, "93.00").contains("balance"));
    });
}

#[test]
fn one_key_leaves_places_to_others() {
    with(|world| {
        let olga = owner(world);
        let mut streams: Vec<TcpStream> = (0..8).map(|_| follow(world, &olga)).collect();
        for stream in &mut streams {
            read_to(stream, "data:");
        }
        let mut refused = follow(world, &olga);
        read_to(&mut refused, "503");
        let key = world.acme.key.clone().unwrap();
        let alice = Visitor::with_key(world.walletd.http, &key);
        read_to(&mut follow(world, &alice), "data:");
    });
}
