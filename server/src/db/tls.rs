//! TLS to PostgreSQL, as strict as `sslmode` says.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::conninfo::{SslMode, Target};

/// TLS that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file with the authorities.
    #[error("could not read the certificates in {file}: {reason}")]
    File {
        /// Its path.
        file: String,
        /// The reason.
        reason: String,
    },
    /// There is no authority that could have signed anything.
    #[error("no certificate of an authority was found: set sslrootcert")]
    NoAuthority,
    /// rustls refuses them.
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
    /// The verifier refuses them.
    #[error("{0}")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
}

/// The client's side of TLS.
pub fn client(target: &Target) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let strict = match target.ssl_mode {
        SslMode::VerifyCa | SslMode::VerifyFull => {
            let roots = Arc::new(authorities(target.root_certificates.as_deref())?);
            let builder = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
            Some(builder.build()?)
        }
        _ => None,
    };
    let verifier = Arc::new(AsStrictAsAsked {
        strict,
        checks_name: target.ssl_mode == SslMode::VerifyFull,
        provider: provider.clone(),
    });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    Ok(builder.with_no_client_auth())
}

/// The authorities in a file, or those of the system.
pub fn authorities(file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => {
            let failed = |reason: String| TlsError::File {
                file: file.display().to_string(),
                reason,
            };
            let certificates =
                CertificateDer::pem_file_iter(file).map_err(|error| failed(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| failed(error.to_string()))?;
                roots
                    .add(certificate)
                    .map_err(|error| failed(error.to_string()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    match roots.is_empty() {
        true => Err(TlsError::NoAuthority),
        false => Ok(roots),
    }
}

/// Verifies the server as far as `sslmode` asks for it. The handshake's signature is always
/// verified: the server has the key of the certificate that it shows.
#[derive(Debug)]
struct AsStrictAsAsked {
    /// Who must have signed the certificate. `None`: anybody.
    strict: Option<Arc<WebPkiServerVerifier>>,
    /// Whether the certificate must name the host.
    checks_name: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AsStrictAsAsked {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(strict) = &self.strict else {
            return Ok(ServerCertVerified::assertion());
        };
        let verified =
            strict.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The name is the last thing that is verified.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.checks_name => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests;
