//! Starting and stopping.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, broadcast};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::certificate::{Certificate, CertificateError};
use crate::http::failure::Failure;
use crate::http::listener::Incoming;
use crate::http::peer::{Peer, Rate};
use crate::{
    App, Config, Shared, builds, bus, clock, db, device, direct, folder, http, logs, metrics,
    openapi, registry, roster, rotation, secret, signer, store, tunnel,
};

/// Events that a slow listener may fall behind.
const EVENTS: usize = 4096;
/// How long requests may take to finish after the server was told to stop.
const GRACE: Duration = Duration::from_secs(10);
/// How often it is stored when devices were last heard of, and looked for what has expired.
const SWEEP: Duration = Duration::from_secs(300);
/// How long what nothing needs is kept in the registry: longer than any push takes.
const GRACE_OF_BLOBS: Duration = Duration::from_secs(24 * 3600);

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be used.
    #[error("data folder {path}: {source}")]
    Data {
        /// The folder.
        path: std::path::PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database cannot be opened or brought up to date.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// Another server works on the database.
    #[error(
        "another server works on this database: stop it first, or give this one a database of its own"
    )]
    Taken,
    /// TLS cannot be served.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// An address cannot be listened on.
    #[error("listening on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The MQTT broker does not start.
    #[error(transparent)]
    Bus(#[from] bus::StartError),
    /// The tunnel hub does not start.
    #[error(transparent)]
    Tunnel(#[from] tunnel::TunnelError),
    /// The first administrator could not be made.
    #[error("first administrator: {0}")]
    Admin(String),
}

/// The fleet server.
pub struct Server;

/// A running server; dropped, it stops without waiting.
pub struct Handle {
    app: App,
    https: SocketAddr,
    http: Option<SocketAddr>,
    mqtt: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts everything the configuration asks for; when this returns, it is served.
    ///
    /// # Errors
    /// When a folder, key, database or address cannot be used; the message says which.
    pub async fn start(config: Config) -> Result<Handle, StartError> {
        let data = |source| StartError::Data {
            path: config.data.clone(),
            source,
        };
        folder::make(&config.data).map_err(data)?;
        let key = folder::keep(&config.data.join("secret.key"), || {
            secret::random::<32>().to_vec()
        })
        .map_err(data)?;
        let certificate = Certificate::load(&config.data, &config.https)?;
        let (events, _) = broadcast::channel(EVENTS);
        let url = config
            .database
            .url
            .clone()
            .unwrap_or_else(|| sqlite_url(&config));
        let alone = if url.starts_with("sqlite:") {
            None
        } else {
            let alone = db::alone::Alone::take(&url).await?;
            Some(alone.ok_or(StartError::Taken)?)
        };
        let db = db::Db::open(&url, events.clone()).await?;
        let (reports, waiting) = device::reports();
        let app = App(Arc::new(Shared {
            signer: signer::Signer::keep(&config.data).map_err(data)?,
            store: store::Store::open(&config).map_err(data)?,
            builds: builds::Builds::open(&config.data, &config.builder).map_err(data)?,
            uploads: registry::Uploads::open(&config.data).map_err(data)?,
            registrations: Rate::new(config.limits.registrations_per_minute),
            roster: roster::Roster::default(),
            directors: direct::Directors::default(),
            collection: tokio::sync::RwLock::new(()),
            reports,
            log_lines: logs::live(),
            outbox: bus::Outbox::default(),
            bus: std::sync::OnceLock::new(),
            tunnel: std::sync::OnceLock::new(),
            db,
            secrets: secret::Secrets::new(&key),
            events,
            failures: Rate::new(config.limits.failures_per_minute),
            metrics: metrics::Metrics::default(),
            authority_pem: certificate.authority_pem.as_str().into(),
            hashing: Semaphore::new(2),
            stop: CancellationToken::new(),
            config,
        }));
        app.first_admin()
            .await
            .map_err(|failure| StartError::Admin(failure.text().to_owned()))?;
        for credentials in db::devices::credentials(&app.db).await? {
            app.roster.put(credentials);
        }
        let broker = bus::Embedded::start(&app, &app.config.data).await?;
        let _ = app.bus.set(Arc::clone(&broker));
        if let Some(listen) = app.config.tunnel.listen {
            let hub = tunnel::Tunnel::start(
                &app.config.tunnel,
                listen,
                &app.config.data,
                app.secrets.clone(),
            )
            .await?;
            let _ = app.tunnel.set(hub);
        }
        app.fail_left_behind(&app.builds.server).await?;
        app.start_directors().await?;
        let mut handle = serve(app.clone(), &certificate).await?;
        handle.mqtt = broker.local();
        if let Some(alone) = alone {
            let held = alone.hold(app.stop.clone());
            handle.tasks.push(tokio::spawn(held));
        }
        handle
            .tasks
            .extend(tunnel::serve(&app, broker.local()).await?);
        handle
            .tasks
            .push(tokio::spawn(device::store_reports(app.clone(), waiting)));
        handle.tasks.push(tokio::spawn(rotation::run(app.clone())));
        handle
            .tasks
            .push(tokio::spawn(builds::wind_up(app.clone())));
        handle.tasks.push(tokio::spawn(bus::run_outbox(app)));
        Ok(handle)
    }
}

fn sqlite_url(config: &Config) -> String {
    format!(
        "sqlite://{}?mode=rwc",
        config.data.join("lightship.db").display()
    )
}

async fn serve(app: App, certificate: &Certificate) -> Result<Handle, StartError> {
    let tls = TlsAcceptor::from(certificate.server_config()?);
    let places = Arc::new(Semaphore::new(app.config.limits.connections));
    let router = http::router(app.clone());
    let mut tasks = Vec::new();
    let mut listen =
        async |address: SocketAddr, tls: Option<TlsAcceptor>| -> Result<SocketAddr, StartError> {
            let failed = |source| StartError::Listen { address, source };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            let local = listener.local_addr().map_err(failed)?;
            let incoming = Incoming::start(listener, tls, Arc::clone(&places), app.stop.clone())
                .map_err(failed)?;
            let service = router.clone().into_make_service_with_connect_info::<Peer>();
            let stop = app.stop.clone().cancelled_owned();
            let served = axum::serve(incoming, service).with_graceful_shutdown(stop);
            tasks.push(tokio::spawn(async move {
                // The only error is one of accepting, and that our listener deals with itself.
                let _ = served.await;
            }));
            Ok(local)
        };
    let https = listen(app.config.https.listen, Some(tls)).await?;
    let http = match app.config.http {
        Some(address) => Some(listen(address, None).await?),
        None => None,
    };
    tasks.push(tokio::spawn(sweep(app.clone())));
    tracing::info!(%https, "serving");
    let mqtt = SocketAddr::from(([0, 0, 0, 0], 0));
    Ok(Handle {
        app,
        https,
        http,
        mqtt,
        tasks,
    })
}

/// Clears away what has expired.
async fn sweep(app: App) {
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
        if let Err(failure) = sweep_once(&app).await {
            tracing::warn!(cause = failure.text(), "clearing away what has expired");
        }
    }
}

async fn sweep_once(app: &App) -> Result<(), Failure> {
    http::devices::flush_last_seen(app).await?;
    app.sweep_logs().await?;
    registry::collect(app, GRACE_OF_BLOBS).await?;
    let mut tx = app.db.write().await?;
    db::tokens::delete_expired(&mut tx, clock::now_ms()).await?;
    Ok(tx.commit().await?)
}

impl Handle {
    /// Where HTTPS is served.
    #[must_use]
    pub fn https(&self) -> SocketAddr {
        self.https
    }

    /// Where plain HTTP is served, if it is.
    #[must_use]
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Where MQTT is served without TLS.
    #[must_use]
    pub fn mqtt(&self) -> SocketAddr {
        self.mqtt
    }

    /// Where devices that are registered reach the tunnel hub, if there is one.
    #[must_use]
    pub fn tunnel(&self) -> Option<SocketAddr> {
        self.app.tunnel()?.listens_on()
    }

    /// Where devices reach the tunnel hub that enrol, if they can.
    #[must_use]
    pub fn enrolment(&self) -> Option<SocketAddr> {
        self.app.tunnel()?.enrolment
    }

    /// Removes what the registry keeps and nothing has needed for `grace`; returns how many blobs.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub async fn collect(&self, grace: Duration) -> Result<u64, String> {
        registry::collect(&self.app, grace)
            .await
            .map_err(|failure| failure.text().to_owned())
    }

    /// The URL people and devices use.
    #[must_use]
    pub fn url(&self) -> String {
        let configured = self.app.config.public_url.clone();
        configured.unwrap_or_else(|| format!("https://{}", self.https))
    }

    /// The certificate that clients and devices pin, PEM.
    #[must_use]
    pub fn authority_pem(&self) -> &str {
        &self.app.authority_pem
    }

    /// Stops taking work, lets what is under way finish, and closes the database.
    pub async fn stop(mut self) {
        self.app.stop.cancel();
        for mut task in std::mem::take(&mut self.tasks) {
            if tokio::time::timeout(GRACE, &mut task).await.is_err() {
                task.abort();
            }
        }
        if let Some(broker) = self.app.bus.get() {
            broker.stop().await;
        }
        if let Err(failure) = http::devices::flush_last_seen(&self.app).await {
            tracing::warn!(
                cause = failure.text(),
                "storing when devices were last heard of"
            );
        }
        self.app.db.close().await;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.app.stop.cancel();
    }
}

/// The OpenAPI document as it is served and committed.
///
/// # Panics
/// Never: a generated document is plain data.
#[must_use]
pub fn openapi_json() -> String {
    let document = openapi::finish(http::described().into_openapi());
    document
        .to_pretty_json()
        .expect("a generated document is plain data")
        + "\n"
}
