//! The address of a client, also behind proxies.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address: that of the connection, unless a trusted proxy says whose request it
/// passes on. Only what trusted proxies wrote is believed, from the last entry on. `None`: there is
/// no address where a trusted proxy must have written one.
pub fn client_of(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let mut client = peer.to_canonical();
    let values: Vec<_> = headers.get_all(FORWARDED_FOR).iter().collect();
    let entries = values
        .iter()
        .rev()
        .flat_map(|value| value.as_bytes().rsplit(|b| *b == b','));
    for entry in entries {
        if !is_trusted(client) {
            break;
        }
        client = address(entry)?;
    }
    Some(client)
}

/// An address, with or without a port.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok();
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str], trusted: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, value.parse().unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        let client = client_of(peer.parse().unwrap(), &headers, &trusted);
        client.map(|client| client.to_string())
    }

    #[test]
    fn only_trusted_proxies_say_who_the_client_is() {
        let proxies = ["10.0.0.0/8", "::1/128"];
        for (peer, forwarded, trusted, expected) in [
            (
                "192.0.2.1",
                &["198.51.100.7"][..],
                &[][..],
                Some("192.0.2.1"),
            ),
            ("192.0.2.1", &["198.51.100.7"], &proxies, Some("192.0.2.1")),
            (
                "10.0.0.1",
                &["198.51.100.7"],
                &proxies,
                Some("198.51.100.7"),
            ),
            ("10.0.0.1", &[], &proxies, Some("10.0.0.1")),
            // The client wrote the first entry, the proxies the others.
            (
                "10.0.0.1",
                &["10.9.9.9, 198.51.100.7, 10.0.0.2"],
                &proxies,
                Some("198.51.100.7"),
            ),
            (
                "10.0.0.1",
                &["1.1.1.1", "198.51.100.7"],
                &proxies,
                Some("198.51.100.7"),
            ),
            (
                "10.0.0.1",
                &["nonsense, 198.51.100.7:4711"],
                &proxies,
                Some("198.51.100.7"),
            ),
            ("::1", &["[2001:db8::7]:443"], &proxies, Some("2001:db8::7")),
            (
                "::ffff:10.0.0.1",
                &["[2001:db8::7]"],
                &proxies,
                Some("2001:db8::7"),
            ),
            ("10.0.0.1", &["unknown"], &proxies, None),
            ("10.0.0.1", &[""], &proxies, None),
        ] {
            assert_eq!(
                client(peer, forwarded, trusted).as_deref(),
                expected,
                "{peer} {forwarded:?}"
            );
        }
    }
}
