//! Signatures of the Standard Webhooks specification: <https://www.standardwebhooks.com/>.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::config::Secret;

/// The beginning of a secret.
const PREFIX: &str = "whsec_";

/// The value of the header `webhook-signature`: one signature per secret. During a rotation there
/// are two, and a receiver that knows one of the secrets accepts the request. `None` if a secret
/// has another form.
pub fn signatures(secrets: &[Secret], id: &str, timestamp: i64, body: &str) -> Option<String> {
    let signed = format!("{id}.{timestamp}.{body}");
    let sign = |secret: &Secret| {
        let key = STANDARD
            .decode(secret.expose().strip_prefix(PREFIX)?)
            .ok()?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let signature = hmac::sign(&key, signed.as_bytes());
        Some(format!("v1,{}", STANDARD.encode(signature)))
    };
    let signatures: Option<Vec<String>> = secrets.iter().map(sign).collect();
    signatures
        .filter(|all| !all.is_empty())
        .map(|all| all.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn sign(secrets: &[&str]) -> Option<String> {
        let secrets: Vec<Secret> = secrets
            .iter()
            .map(|text| Secret::new((*text).to_owned()))
            .collect();
        let body = r#"{"test": 2432232314}"#;
        signatures(
            &secrets,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            body,
        )
    }

    #[test]
    fn the_example_of_the_specification_has_its_signature() {
        assert_eq!(sign(&[SECRET]).as_deref(), Some(SIGNATURE));
    }

    #[test]
    fn each_secret_signs() {
        let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let both = sign(&[other, SECRET]).unwrap();
        let parts: Vec<&str> = both.split(' ').collect();
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[1], SIGNATURE);
        assert!(parts[0].starts_with("v1,") && parts[0] != SIGNATURE);
    }

    #[test]
    fn nothing_goes_out_unsigned() {
        assert_eq!(sign(&[]), None);
        assert_eq!(sign(&[SECRET, "hunter2"]), None);
        assert_eq!(sign(&["whsec_???"]), None);
    }
}
