//! Every `sslmode` against servers that prove who they are, and servers that do not.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConnection, Connection, ServerConfig, ServerConnection};

use super::*;
use crate::config::Secret;

/// An authority, and a certificate of it for one host.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Authority(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// A server whose certificate names a host.
    fn server(&self, host: &str) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap()
    }
}

/// Whether a client of `db.example` accepts a server.
fn accepts(client: ClientConfig, server: ServerConfig) -> bool {
    let name = ServerName::try_from("db.example").unwrap();
    let client = ClientConnection::new(Arc::new(client), name).unwrap();
    let server = ServerConnection::new(Arc::new(server)).unwrap();
    let (mut client, mut server) = (Connection::from(client), Connection::from(server));
    for _ in 0..10 {
        for turn in 0..2 {
            let (from, to) = match turn {
                0 => (&mut client, &mut server),
                _ => (&mut server, &mut client),
            };
            let mut sent = Vec::new();
            while from.wants_write() {
                from.write_tls(&mut sent).unwrap();
            }
            let mut rest = sent.as_slice();
            while !rest.is_empty() {
                to.read_tls(&mut rest).unwrap();
                if to.process_new_packets().is_err() {
                    return false;
                }
            }
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    true
}

#[test]
fn each_mode_accepts_the_servers_that_libpq_accepts() {
    let (known, unknown) = (Authority::new(), Authority::new());
    let file = std::env::temp_dir().join(format!("walletd_ca_{}.pem", std::process::id()));
    std::fs::write(&file, known.0.pem()).unwrap();
    let root = format!("sslrootcert={}", file.display());
    // Right authority and name; right authority and another name; another authority.
    for (options, right, other_name, other_authority) in [
        ("sslmode=prefer", true, true, true),
        ("sslmode=require", true, true, true),
        (&format!("sslmode=require {root}"), true, true, false),
        (&format!("sslmode=verify-ca {root}"), true, true, false),
        (&format!("sslmode=verify-full {root}"), true, false, false),
    ] {
        let check = |server: ServerConfig| {
            let text = Secret::new(format!("host=db.example {options}"));
            let target = Target::read(&text).unwrap();
            assert!(!target.has_no_tls());
            accepts(client(&target).unwrap(), server)
        };
        let found = [
            check(known.server("db.example")),
            check(known.server("other.example")),
            check(unknown.server("db.example")),
        ];
        assert_eq!(found, [right, other_name, other_authority], "{options}");
    }
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_file_without_authorities_is_refused() {
    let file = std::env::temp_dir().join(format!("walletd_no_ca_{}.pem", std::process::id()));
    std::fs::write(&file, "nothing").unwrap();
    for path in [file.display().to_string(), "/nonexistent.pem".to_owned()] {
        let text = format!("host=db.example sslmode=verify-full sslrootcert={path}");
        let target = Target::read(&Secret::new(text)).unwrap();
        assert!(client(&target).is_err(), "{path}");
    }
    std::fs::remove_file(&file).unwrap();
}
