//! The signature of an event: `Stripe-Signature: t=SECONDS,v1=HEX`, an HMAC with SHA-256 of the
//! time, a point and the body.

use axum::http::HeaderMap;
use ring::hmac;

use crate::config::Secret;
use crate::payments::provider::EventError;

/// The longest header that is read. Stripe sends one signature per secret of the endpoint.
const HEADER_MAX: usize = 2048;

/// Whether one of the secrets signed this body, not longer ago than the tolerance in seconds.
pub fn verify(
    headers: &HeaderMap,
    body: &[u8],
    secrets: &[Secret],
    now: i64,
    tolerance: u64,
) -> Result<(), EventError> {
    let mut values = headers.get_all("stripe-signature").iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(EventError::NoSignature);
    };
    let text = value.to_str().ok().filter(|text| text.len() <= HEADER_MAX);
    let (time, signatures) = text.and_then(read).ok_or(EventError::NoSignature)?;
    let signed = [time.as_bytes(), b".", body].concat();
    let is_signed = secrets.iter().any(|secret| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        let mut known = signatures.iter();
        known.any(|one| hmac::verify(&key, &signed, one).is_ok())
    });
    if !is_signed {
        return Err(EventError::WrongSignature);
    }
    let seconds: i64 = time.parse().map_err(|_| EventError::NoSignature)?;
    match seconds.abs_diff(now) <= tolerance {
        true => Ok(()),
        false => Err(EventError::WrongTime),
    }
}

/// The time as it was signed, and the signatures of the scheme v1. Other schemes are ignored.
fn read(header: &str) -> Option<(&str, Vec<Vec<u8>>)> {
    let (mut time, mut signatures) = (None, Vec::new());
    for part in header.split(',') {
        match part.trim().split_once('=')? {
            ("t", value) if time.is_none() => time = Some(value),
            ("t", _) => return None,
            ("v1", value) => signatures.push(hex(value)?),
            _ => {}
        }
    }
    let time = time.filter(|time| time.bytes().all(|byte| byte.is_ascii_digit()))?;
    (!time.is_empty() && !signatures.is_empty()).then_some((time, signatures))
}

fn hex(text: &str) -> Option<Vec<u8>> {
    // from_str_radix would accept a sign.
    let are_digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !are_digits || !text.len().is_multiple_of(2) {
        return None;
    }
    let bytes = (0..text.len()).step_by(2);
    bytes
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"id":"evt_1"}"#;
    const SECRET: &str = "whsec_test_secret";

    fn sign(secret: &str, time: &str, body: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = hmac::sign(&key, &[time.as_bytes(), b".", body].concat());
        tag.as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    fn check(header: &str, body: &[u8], now: i64) -> Result<(), EventError> {
        let mut headers = HeaderMap::new();
        headers.insert("stripe-signature", header.parse().unwrap());
        let secrets = ["whsec_the_new_one", SECRET].map(|text| Secret::new(text.to_owned()));
        verify(&headers, body, &secrets, now, 300)
    }

    #[test]
    fn only_the_signed_body_at_about_its_time_is_believed() {
        let right = sign(SECRET, "1000", BODY);
        let new = sign("whsec_the_new_one", "1000", BODY);
        let wrong = sign("whsec_of_another", "1000", BODY);
        let header = format!("t=1000,v1={right}");
        assert_eq!(check(&header, BODY, 1000), Ok(()));
        assert_eq!(check(&format!("t=1000,v1={new}"), BODY, 1000), Ok(()));
        assert_eq!(
            check(&format!("t=1000,v1={wrong},v1={right},v0=00"), BODY, 1000),
            Ok(())
        );
        assert_eq!(check(&header, BODY, 1300), Ok(()));
        assert_eq!(check(&header, BODY, 1301), Err(EventError::WrongTime));
        assert_eq!(check(&header, BODY, 699), Err(EventError::WrongTime));
        let changed = br#"{"id":"evt_2"}"#;
        assert_eq!(
            check(&header, changed, 1000),
            Err(EventError::WrongSignature)
        );
        let moved = format!("t=1200,v1={right}");
        assert_eq!(check(&moved, BODY, 1200), Err(EventError::WrongSignature));
        assert_eq!(
            check(&format!("t=1000,v1={wrong}"), BODY, 1000),
            Err(EventError::WrongSignature)
        );
    }

    #[test]
    fn a_header_that_cannot_be_read_is_no_signature() {
        let right = sign(SECRET, "1000", BODY);
        for header in [
            String::new(),
            "t=1000".to_owned(),
            format!("v1={right}"),
            format!("t=,v1={right}"),
            format!("t=-1000,v1={right}"),
            format!("t=1000,t=1000,v1={right}"),
            format!("t=1000,v0={right}"),
            "t=1000,v1=xyz".to_owned(),
            "t=1000,v1=+1".to_owned(),
            "nonsense".to_owned(),
            format!("t=1000,v1={right},{}", "v0=0,".repeat(1000)),
        ] {
            assert_eq!(
                check(&header, BODY, 1000),
                Err(EventError::NoSignature),
                "{header}"
            );
        }
        let none = verify(&HeaderMap::new(), BODY, &[], 1000, 300);
        assert_eq!(none, Err(EventError::NoSignature));
    }
}
