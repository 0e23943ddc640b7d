//! Where the broker is and whom to believe that it is the broker.

use std::path::{Path, PathBuf};
use std::string::String;
use std::sync::Arc;
use std::time::Duration;

use lightship_link::limits::SESSION_EXPIRY_S;
use lightship_link::{Credentials, Secret};
use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectProperties, LastWill, LastWillProperties};
use rumqttc::{TlsConfiguration, Transport};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::limits::{PACKET_BYTES, RECEIVE_MAXIMUM, WILL_DELAY_S};
use crate::{keep_alive_s, topics};

/// Bytes a month for keep-alives: what the design allows an idle device in the tunnel.
const BUDGET: u32 = 1_000_000;
/// What a packet costs in a WireGuard tunnel over IPv4: IP, UDP, header, tag and padding.
const TUNNEL_OVERHEAD: u16 = 75;
/// Default time for an answer of the broker.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Packets that wait to be written: acknowledgements of messages and of blobs, a message, a question, subscriptions, presence.
const REQUESTS: u16 = 4 * RECEIVE_MAXIMUM + 6;

/// Where the broker is, and how patient to be.
#[derive(Clone, Debug)]
pub struct Config {
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    socket: Option<PathBuf>,
    /// Seconds between signs of life; [`keep_alive_s`] finds them for a budget. Below 5, 5 is used.
    pub keep_alive_s: u16,
    /// Whether each connection begins a session of its own: for a fleet that says everything again to a device that connects.
    /// Then nothing depends on what the broker kept of a connection that a loss of power has ended.
    pub clean_start: bool,
    /// How long the broker may take to answer anything.
    pub timeout: Duration,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// TLS without an authority to believe.
    #[error("TLS needs the certificate of the fleet's authority")]
    NoAuthority,
    /// The authority's certificate cannot be read.
    #[error("the authority's certificate is not PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// The authority's certificate is not one.
    #[error("the authority's certificate cannot be used: {0}")]
    Authority(#[from] rustls::Error),
}

impl Config {
    /// A broker without TLS, for the inside of a tunnel.
    pub fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            tls: None,
            socket: None,
            keep_alive_s: keep_alive_s(BUDGET, TUNNEL_OVERHEAD),
            clean_start: false,
            timeout: TIMEOUT,
        }
    }

    /// A broker behind a unix socket, for the inside of a tunnel that has no network interface.
    pub fn on_socket(path: &Path) -> Self {
        Self {
            socket: Some(path.to_path_buf()),
            ..Self::new("", 0)
        }
    }

    /// The same with TLS, where the broker's certificate is signed by one of these authorities (PEM).
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] that says what is wrong.
    pub fn with_tls(mut self, authorities: &[u8]) -> Result<Self, ConfigError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authorities) {
            roots.add(certificate?)?;
        }
        if roots.is_empty() {
            return Err(ConfigError::NoAuthority);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        self.tls = Some(Arc::new(tls));
        Ok(self)
    }

    pub(super) fn options(&self, credentials: &Credentials) -> MqttOptions {
        let uuid = credentials.uuid;
        let name = uuid.to_text();
        // The client takes the path of a socket in the place of the host.
        let path = self.socket.as_ref().and_then(|path| path.to_str());
        let host = path.unwrap_or(&self.host);
        let mut options = MqttOptions::new(name.as_str(), host, self.port);
        if path.is_some() {
            options.set_transport(Transport::Unix);
        }
        if let Some(tls) = &self.tls {
            let tls = TlsConfiguration::Rustls(tls.clone());
            options.set_transport(Transport::Tls(tls));
        }
        options
            .set_credentials(
                name.as_str(),
                topics::password(&credentials.secret).as_str(),
            )
            .set_keep_alive(Duration::from_secs(self.keep_alive_s.max(5).into()))
            .set_connection_timeout(self.timeout.as_secs().max(1))
            .set_clean_start(self.clean_start)
            .set_manual_acks(true)
            .set_outgoing_inflight_upper_limit(REQUESTS)
            .set_connect_properties(properties());
        if let Secret::Api(_) = credentials.secret {
            options.set_last_will(will(&topics::topic(uuid, "presence")));
        }
        options
    }

    pub(super) fn requests(&self) -> usize {
        REQUESTS.into()
    }
}

fn properties() -> ConnectProperties {
    ConnectProperties {
        session_expiry_interval: Some(SESSION_EXPIRY_S),
        receive_maximum: Some(RECEIVE_MAXIMUM),
        max_packet_size: u32::try_from(PACKET_BYTES).ok(),
        ..ConnectProperties::new()
    }
}

fn will(topic: &str) -> LastWill {
    let properties = LastWillProperties {
        delay_interval: Some(WILL_DELAY_S),
        payload_format_indicator: None,
        message_expiry_interval: None,
        content_type: None,
        response_topic: None,
        correlation_data: None,
        user_properties: std::vec::Vec::new(),
    };
    LastWill::new(topic, [0], QoS::AtLeastOnce, true, Some(properties))
}
