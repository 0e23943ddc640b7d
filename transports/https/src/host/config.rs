//! Where the fleet is and whom to believe that it is the fleet.

use std::path::{Path, PathBuf};
use std::string::String;
use std::sync::Arc;
use std::time::Duration;
use std::vec::Vec;

use reqwest::Url;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Default seconds that a server is asked to hold a request: below the five minutes after which many routers forget a quiet connection.
const WAIT: Duration = Duration::from_secs(240);
/// Default time for an answer that is not held.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Default time between requests to a server that does not hold them.
const POLL: Duration = Duration::from_secs(60);

/// Where the fleet is, and how patient to be.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) base: Url,
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) socket: Option<PathBuf>,
    /// How long the server is asked to hold a request for the target, in whole seconds.
    pub wait: Duration,
    /// How long an answer may take beyond that.
    pub timeout: Duration,
    /// Time between two requests when the server does not hold them.
    pub poll: Duration,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not a URL with `https` or `http`, or one with more than an origin and a path.
    #[error("not an http or https URL without user, query and fragment: {0}")]
    Url(String),
    /// `https` without an authority to believe.
    #[error("https needs the certificate of the fleet's authority")]
    NoAuthority,
    /// The authority's certificate cannot be read.
    #[error("the authority's certificate is not PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// The authority's certificate is not one.
    #[error("the authority's certificate cannot be used: {0}")]
    Authority(#[from] rustls::Error),
}

impl Config {
    /// A fleet at `url`, whose certificate is signed by one of the authorities in `authorities` (PEM).
    ///
    /// With `http` there is no TLS and no authority: for the inside of a tunnel.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] that says what is wrong.
    pub fn new(url: &str, authorities: &[u8]) -> Result<Self, ConfigError> {
        let base = base(url)?;
        // Without authorities nobody is believed, which is right for `http`: it has no use for TLS.
        let roots = roots(authorities)?;
        if roots.is_empty() && base.scheme() == "https" {
            return Err(ConfigError::NoAuthority);
        }
        Ok(Self {
            base,
            tls: Arc::new(tls(roots)?),
            socket: None,
            wait: WAIT,
            timeout: TIMEOUT,
            poll: POLL,
        })
    }

    /// The same, but every connection is made to this unix socket, behind which the fleet is, in the tunnel of a registered device: nobody registers here.
    #[must_use]
    pub fn through(mut self, socket: &Path) -> Self {
        self.socket = Some(socket.to_path_buf());
        self
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        self.base
            .join(path)
            .expect("a relative path joins any base that was checked")
    }
}

fn base(url: &str) -> Result<Url, ConfigError> {
    let wrong = || ConfigError::Url(url.into());
    let mut base = Url::parse(url).map_err(|_| wrong())?;
    let is_web = matches!(base.scheme(), "http" | "https") && base.has_host();
    let is_plain = base.username().is_empty() && base.password().is_none();
    if !is_web || !is_plain || base.query().is_some() || base.fragment().is_some() {
        return Err(wrong());
    }
    let path = base.path().trim_end_matches('/');
    let path = std::format!("{path}/device/v1/");
    base.set_path(&path);
    Ok(base)
}

fn roots(authorities: &[u8]) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(authorities).collect::<Result<_, _>>()?;
    for certificate in certificates {
        roots.add(certificate)?;
    }
    Ok(roots)
}

fn tls(roots: RootCertStore) -> Result<ClientConfig, ConfigError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = [&b"h2"[..], b"http/1.1"].map(<[u8]>::to_vec).to_vec();
    Ok(tls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_origin_and_a_path_make_a_fleet() {
        for bad in [
            "",
            "fleet",
            "ftp://x",
            "https:",
            "http://a:b@x",
            "http://x/?y",
            "http://x/#y",
        ] {
            assert!(
                matches!(Config::new(bad, b""), Err(ConfigError::Url(_))),
                "{bad}"
            );
        }
        let config = Config::new("http://x/lightship/", b"").unwrap();
        assert_eq!(
            config.url("target").as_str(),
            "http://x/lightship/device/v1/target"
        );
    }

    #[test]
    fn https_without_an_authority_is_refused() {
        assert!(matches!(
            Config::new("https://x", b""),
            Err(ConfigError::NoAuthority)
        ));
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(
            Config::new("https://x", broken),
            Err(ConfigError::Authority(_))
        ));
    }
}
