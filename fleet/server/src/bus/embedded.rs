//! The broker within this process: mqtt5 with every default that is not ours changed.
//!
//! It keeps nothing on disk. What must not be lost is in the database, and is sent again to
//! whoever connects; a device keeps its own state and knows a message that it has had.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use lightship_core::id::Uuid;
use mqtt5::QoS;
use mqtt5::broker::config::StorageBackend;
use mqtt5::broker::events::{
    BrokerEventHandler, ClientConnectEvent, ClientDisconnectEvent, ClientPublishEvent,
    PublishAction,
};
use mqtt5::broker::resource_monitor::ResourceLimits;
use mqtt5::broker::router::MessageRouter;
use mqtt5::broker::server::BrokerShutdownHandle;
use mqtt5::broker::{AuthProvider, AuthResult, BrokerConfig, MqttBroker};
use mqtt5::packet::connect::ConnectPacket;
use mqtt5::packet::publish::PublishPacket;
use mqtt5::types::ReasonCode;
use tokio::task::JoinHandle;

use super::{Bus, Message, Sending, inbound, may_publish, may_subscribe};
use crate::config::Mqtt;
use crate::http::peer::Peer;
use crate::{App, Shared};

/// Longest packet: a target with its topic and properties.
const PACKET_BYTES: usize = 16 * 1024;
/// Messages that wait for a device that is away.
const QUEUED: usize = 32;
/// How long the broker may take to listen, or to stop.
const PATIENCE: Duration = Duration::from_secs(10);

type Future<'a, T> = Pin<Box<dyn std::future::Future<Output = T> + Send + 'a>>;

/// Why the broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The broker itself says no.
    #[error("MQTT broker: {0}")]
    Broker(String),
    /// It did not listen in time.
    #[error("the MQTT broker does not listen")]
    Silent,
}

/// The running broker.
pub(crate) struct Embedded {
    router: Arc<MessageRouter>,
    stop: BrokerShutdownHandle,
    task: Mutex<Option<JoinHandle<()>>>,
    local: SocketAddr,
}

/// What the broker asks us; the app is there before the first device is.
struct Host {
    /// Not kept by it: the app has the broker, and what it holds goes with the last who use it.
    app: OnceLock<Weak<Shared>>,
    local: OnceLock<SocketAddr>,
    /// Devices whose target is retained in this broker.
    pub(super) retained: Mutex<HashSet<Uuid>>,
}

impl Embedded {
    /// Starts a broker that serves the app's devices.
    pub(crate) async fn start(app: &App) -> Result<Arc<Self>, StartError> {
        let host = Arc::new(Host {
            app: OnceLock::new(),
            local: OnceLock::new(),
            retained: Mutex::default(),
        });
        let config = config(&app.config.mqtt, Arc::clone(&host));
        let failed = |error: mqtt5::MqttError| StartError::Broker(error.to_string());
        let broker = MqttBroker::with_config(config).await.map_err(failed)?;
        let mut broker = broker.with_auth_provider(Arc::clone(&host) as Arc<dyn AuthProvider>);
        let (stop, router, mut ready) = (
            broker.shutdown_handle(),
            broker.router(),
            broker.ready_receiver(),
        );
        broker
            .resource_monitor()
            .update_limits(limits(&app.config.mqtt));
        let local = broker.local_addr().ok_or(StartError::Silent)?;
        let _ = host.local.set(local);
        let _ = host.app.set(app.downgrade());
        let task = tokio::spawn(async move {
            if let Err(error) = broker.run().await {
                tracing::error!(%error, "the MQTT broker ended");
            }
        });
        let broker = Arc::new(Self {
            router,
            stop,
            task: Mutex::new(Some(task)),
            local,
        });
        let listening = tokio::time::timeout(PATIENCE, ready.wait_for(|ready| *ready));
        let is_listening = matches!(listening.await, Ok(Ok(_)));
        if !is_listening {
            broker.stop().await;
            return Err(StartError::Silent);
        }
        Ok(broker)
    }

    /// Where it listens without TLS.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Says goodbye to all devices.
    pub(crate) async fn stop(&self) {
        self.stop.shutdown();
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(mut task) = task
            && tokio::time::timeout(PATIENCE, &mut task).await.is_err()
        {
            task.abort();
        }
    }
}

fn config(mqtt: &Mqtt, host: Arc<Host>) -> BrokerConfig {
    let mut config = BrokerConfig {
        bind_addresses: vec![mqtt.listen],
        max_clients: mqtt.max_clients,
        max_packet_size: PACKET_BYTES,
        session_expiry_interval: Duration::from_secs(
            lightship_link::limits::SESSION_EXPIRY_S.into(),
        ),
        maximum_qos: 1,
        topic_alias_maximum: 0,
        wildcard_subscription_available: false,
        shared_subscription_available: false,
        subscription_identifier_available: false,
        max_subscriptions_per_client: super::SUBSCRIBES.len(),
        sys_topics_enabled: false,
        event_handler: Some(host),
        ..BrokerConfig::default()
    };
    // Without password files the broker insists on this; our provider takes the place of the
    // default one and refuses whoever has no key.
    config.auth_config.allow_anonymous = true;
    // Its lock-out counts addresses, and a whole fleet may be behind one; ours counts them too, and lets go.
    config.auth_config.rate_limit.enabled = false;
    config.storage_config.backend = StorageBackend::Memory;
    config.storage_config.enable_persistence = true;
    config.storage_config.max_queued_messages_per_client = QUEUED;
    config.storage_config.max_queued_bytes_per_client = QUEUED * PACKET_BYTES;
    config
}

/// Devices in the tunnel all come from this machine's own address, and after a cut all come at once:
/// the broker's bounds on one address and on connections a second would shut a large fleet out.
fn limits(mqtt: &Mqtt) -> ResourceLimits {
    let usual = BrokerConfig::default();
    ResourceLimits {
        max_connections: mqtt.max_clients,
        max_connections_per_ip: mqtt.max_clients,
        max_message_rate_per_client: usual.max_message_rate_per_client,
        max_bandwidth_per_client: usual.max_bandwidth_per_client,
        max_connection_rate: u32::try_from(mqtt.max_clients).unwrap_or(u32::MAX),
        rate_limit_window: Duration::from_secs(1),
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.stop.shutdown();
    }
}

impl Bus for Embedded {
    fn send(&self, message: Message) -> Sending<'_> {
        Box::pin(async move {
            let mut packet = PublishPacket::new(message.topic, message.payload, QoS::AtLeastOnce)
                .with_retain(message.retain);
            if let Some(seconds) = message.expiry_s {
                packet = packet.with_message_expiry_interval(seconds);
            }
            if let Some(correlation) = message.correlation {
                packet = packet.with_correlation_data(correlation);
            }
            self.router.route_message(&packet, None).await;
        })
    }

    fn disconnect<'a>(&'a self, device: &'a Uuid) -> Sending<'a> {
        Box::pin(async move { self.router.disconnect_client(&device.to_text()).await })
    }
}

impl Host {
    fn app(&self) -> Option<App> {
        App::upgrade(self.app.get()?)
    }

    fn device(&self, client: &str) -> Option<(App, Arc<crate::roster::Known>)> {
        let app = self.app()?;
        let known = app.roster.find(&client.parse().ok()?)?;
        Some((app, known))
    }

    /// Whether a connection came through a tunnel or through TLS, and was carried here by this process:
    /// one device's wrong keys must not keep the others out, and keys of 32 random bytes are not guessed.
    fn is_of_this_machine(&self, from: SocketAddr) -> bool {
        let own = self.local.get().map(SocketAddr::ip);
        from.ip().is_loopback() || Some(from.ip()) == own
    }
}

impl AuthProvider for Host {
    fn authenticate<'a>(
        &'a self,
        connect: &'a ConnectPacket,
        from: SocketAddr,
    ) -> Future<'a, mqtt5::Result<AuthResult>> {
        Box::pin(async move {
            let Some(app) = self.app() else {
                return Ok(AuthResult::fail(ReasonCode::ServerUnavailable));
            };
            let peer = (!self.is_of_this_machine(from)).then(|| Peer::from(from.ip()));
            if peer.is_some_and(|peer| app.failures.check(&peer).is_err()) {
                return Ok(AuthResult::fail(ReasonCode::ConnectionRateExceeded));
            }
            let user = connect.username.as_deref().unwrap_or_default();
            let password = connect
                .password
                .as_deref()
                .and_then(|password| std::str::from_utf8(password).ok());
            let known = match password {
                Some(password) if user == connect.client_id => {
                    app.authenticate(user, password).await
                }
                _ => Ok(None),
            };
            Ok(match known {
                Ok(Some(_)) => AuthResult::success_with_user(user),
                Ok(None) => {
                    if let Some(peer) = &peer {
                        app.failures.count(peer);
                    }
                    app.metrics
                        .refused_devices
                        .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    AuthResult::fail(ReasonCode::BadUsernameOrPassword)
                }
                Err(_) => AuthResult::fail(ReasonCode::ServerUnavailable),
            })
        })
    }

    fn authorize_publish<'a>(
        &'a self,
        client: &str,
        user: Option<&'a str>,
        topic: &'a str,
    ) -> Future<'a, bool> {
        let allowed = user.is_some_and(|user| user == client && may_publish(topic, user));
        Box::pin(async move { allowed })
    }

    fn authorize_subscribe<'a>(
        &'a self,
        client: &str,
        user: Option<&'a str>,
        filter: &'a str,
    ) -> Future<'a, bool> {
        let allowed = user.is_some_and(|user| user == client && may_subscribe(filter, user));
        Box::pin(async move { allowed })
    }
}

impl BrokerEventHandler for Host {
    fn on_client_connect<'a>(&'a self, event: ClientConnectEvent) -> Future<'a, ()> {
        Box::pin(async move {
            let Some((app, known)) = self.device(&event.client_id) else {
                return;
            };
            let first = self
                .retained
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(known.uuid);
            inbound::came(&app, &known, first);
        })
    }

    fn on_client_publish<'a>(&'a self, event: ClientPublishEvent) -> Future<'a, PublishAction> {
        Box::pin(async move {
            if let Some((app, known)) = self.device(&event.client_id) {
                let correlation = event.correlation_data.as_deref();
                inbound::heard(&app, &known, &event.topic, &event.payload, correlation).await;
            }
            // Whatever devices send is for us; no message goes from one client to another.
            PublishAction::Handled
        })
    }

    fn on_client_disconnect<'a>(&'a self, event: ClientDisconnectEvent) -> Future<'a, ()> {
        Box::pin(async move {
            if let Some((app, known)) = self.device(&event.client_id) {
                inbound::went(&app, &known);
            }
        })
    }
}
