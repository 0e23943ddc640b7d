//! The server's own certificate authority, made on first start, and the TLS it serves with.
//!
//! The authority's certificate goes into each device's configuration, so a device needs no
//! other root of trust and no domain name. The leaf is made again at each start;
//! the authority stays.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::{Duration, OffsetDateTime};

use crate::config::Https;
use crate::folder;

/// How long the authority is valid: longer than the devices that pin it.
const AUTHORITY_LIFE: Duration = Duration::days(25 * 365);
/// How long a leaf is valid: what clients accept at most.
const LEAF_LIFE: Duration = Duration::days(397);

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file could not be read or written.
    #[error("certificate file: {0}")]
    File(#[from] io::Error),
    /// A certificate could not be made.
    #[error("making a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// A file holds no usable PEM.
    #[error("reading PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// Certificate and key do not serve TLS together.
    #[error("serving TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// `certificate` and `key` go together.
    #[error("https.certificate and https.key must be given together")]
    Half,
}

/// What TLS is served with.
pub(crate) struct Certificate {
    /// The authority's certificate, PEM: what clients pin.
    pub(crate) authority_pem: String,
    /// The chain that is served, PEM.
    pub(crate) chain_pem: Vec<u8>,
    /// Its private key, PEM.
    pub(crate) key_pem: Vec<u8>,
}

impl Certificate {
    /// Reads what the configuration names, else makes and keeps an authority and a leaf in `data`.
    pub(crate) fn load(data: &Path, https: &Https) -> Result<Self, CertificateError> {
        match (&https.certificate, &https.key) {
            (Some(certificate), Some(key)) => {
                let chain_pem = std::fs::read(certificate)?;
                let authority_pem = String::from_utf8_lossy(&chain_pem).into_owned();
                Ok(Self {
                    authority_pem,
                    chain_pem,
                    key_pem: std::fs::read(key)?,
                })
            }
            (None, None) => Self::own(data, &https.names),
            (Some(_), None) | (None, Some(_)) => Err(CertificateError::Half),
        }
    }

    fn own(data: &Path, names: &[String]) -> Result<Self, CertificateError> {
        let authority = Authority::keep(data)?;
        let (key_path, chain_path) = (data.join("tls.key"), data.join("tls.pem"));
        let leaf_key = KeyPair::generate()?;
        let params = leaf_params(names)?;
        let leaf = params.signed_by(&leaf_key, &authority.issuer)?;
        let chain_pem = format!("{}{}", leaf.pem(), authority.pem).into_bytes();
        let key_pem = leaf_key.serialize_pem().into_bytes();
        // Read by people and by the broker; the next start makes a new pair, so no order matters.
        folder::replace(&key_path, &key_pem)?;
        folder::replace(&chain_path, &chain_pem)?;
        Ok(Self {
            authority_pem: authority.pem,
            chain_pem,
            key_pem,
        })
    }

    /// What rustls serves, to peers that speak this protocol or do not say what they speak.
    pub(crate) fn server_config(
        &self,
        protocol: &[u8],
    ) -> Result<Arc<ServerConfig>, CertificateError> {
        let chain =
            CertificateDer::pem_slice_iter(&self.chain_pem).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(&self.key_pem)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(Arc::new(config))
    }
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// The key is stored before the certificate: a certificate without its key would be of no use.
    fn keep(data: &Path) -> Result<Self, CertificateError> {
        let made = KeyPair::generate()?;
        let key_pem = folder::keep(&data.join("ca.key"), || made.serialize_pem().into_bytes())?;
        let key = KeyPair::from_pem(&String::from_utf8_lossy(&key_pem))?;
        let made = authority_params().self_signed(&key)?;
        let pem = folder::keep(&data.join("ca.pem"), || made.pem().into_bytes())?;
        let pem = String::from_utf8_lossy(&pem).into_owned();
        Ok(Self {
            pem,
            issuer: Issuer::new(authority_params(), key),
        })
    }
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "Lightship fleet authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let now = OffsetDateTime::now_utc();
    // A device whose clock is a little behind must not refuse us on the first day.
    params.not_before = now - Duration::days(2);
    params.not_after = now + AUTHORITY_LIFE;
    params
}

fn leaf_params(names: &[String]) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names.to_vec())?;
    let first = names.iter().find(|name| name.parse::<IpAddr>().is_err());
    params.distinguished_name.push(
        DnType::CommonName,
        first.map_or("lightship", String::as_str),
    );
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::days(2);
    params.not_after = now + LEAF_LIFE;
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_outlives_restarts_and_the_leaf_serves_tls() {
        let data = tempfile::tempdir().unwrap();
        let first = Certificate::load(data.path(), &Https::default()).unwrap();
        let second = Certificate::load(data.path(), &Https::default()).unwrap();
        assert_eq!(first.authority_pem, second.authority_pem);
        second.server_config(b"http/1.1").unwrap();
    }

    #[test]
    fn a_certificate_without_its_key_is_refused() {
        let https = Https {
            certificate: Some("a.pem".into()),
            ..Https::default()
        };
        let data = tempfile::tempdir().unwrap();
        assert!(matches!(
            Certificate::load(data.path(), &https),
            Err(CertificateError::Half)
        ));
    }
}
