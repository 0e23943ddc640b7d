//! Starting and stopping.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::certificate::{Certificate, CertificateError};
use crate::db::lead::Lead;
use crate::doors::Doors;
use crate::http::failure::Failure;
use crate::http::peer::Rate;
use crate::{
    App, Config, Shared, builds, bus, clock, db, device, direct, doors, files, folder, http, logs,
    metrics, openapi, registry, roster, rotation, secret, signer, standby, store, tunnel,
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
    Database(#[from] db::Error),
    /// The servers that worked on the database before have another secret.
    #[error(
        "this database belongs to servers with another `secret.key`: copy that file from the data folder of one of them, or give this server a database of its own"
    )]
    Stranger,
    /// Another server leads by now, or nobody knows who does.
    #[error(
        "this server leads no more: another one does, or the database is out of reach; started again, it stands by"
    )]
    Superseded,
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
    /// The keys that servers on one database share could not be stored.
    #[error("keys in the database: {0}")]
    Keys(String),
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
    tasks: Vec<JoinHandle<()>>,
    /// Among several servers on one database, this one leads.
    lead: Option<Leading>,
}

/// What keeps the lead, and what gives it up.
struct Leading {
    holds: JoinHandle<()>,
    give_up: CancellationToken,
}

impl Server {
    /// Starts everything the configuration asks for; when this returns, it is served.
    ///
    /// Of several servers on one PostgreSQL database, one works: this waits until it is the one, and
    /// says so to whoever asks in the meantime.
    ///
    /// # Errors
    /// When a folder, key, database or address cannot be used; the message says which.
    pub async fn start(mut config: Config) -> Result<Handle, StartError> {
        files::fit(&mut config);
        let data = |source| StartError::Data {
            path: config.data.clone(),
            source,
        };
        folder::make(&config.data).map_err(data)?;
        let key = folder::keep(&config.data.join("secret.key"), || {
            secret::random::<32>().to_vec()
        })
        .map_err(data)?;
        let secrets = secret::Secrets::new(&key);
        let doors = Doors::bind(&config)?;
        let url = config
            .database
            .url
            .clone()
            .unwrap_or_else(|| sqlite_url(&config));
        let lead = if db::is_sqlite(&url) {
            None
        } else {
            Some(standby::lead(&url, &config, &secrets, &doors).await?)
        };
        let certificate = Certificate::load(&config.data, &config.https)?;
        let (events, _) = broadcast::channel(EVENTS);
        let db = db::Db::open(&url, events.clone(), lead.as_ref().map(Lead::fence)).await?;
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
            secrets,
            events,
            failures: Rate::new(config.limits.failures_per_minute),
            metrics: metrics::Metrics::default(),
            authority_pem: certificate.authority_pem.as_str().into(),
            hashing: Semaphore::new(2),
            stop: CancellationToken::new(),
            config,
        }));
        let lead = lead.map(|lead| Leading::hold(lead, &app.stop));
        work(app, &certificate, &doors, waiting, lead).await
    }
}

/// Serves until `ended`, and says when it begins to.
///
/// # Errors
/// When it does not start, or has to stop by itself: then the process is to end and be started
/// again, which leaves nothing of the former lead behind.
pub async fn serve(
    config: Config,
    ended: impl Future<Output = ()>,
    serving: impl FnOnce(&Handle),
) -> Result<(), StartError> {
    let mut ended = std::pin::pin!(ended);
    let handle = tokio::select! {
        () = &mut ended => return Ok(()),
        started = Server::start(config) => started?,
    };
    serving(&handle);
    let result = tokio::select! {
        () = &mut ended => Ok(()),
        () = handle.stopped() => Err(StartError::Superseded),
    };
    handle.stop().await;
    result
}

impl Drop for Leading {
    fn drop(&mut self) {
        self.give_up.cancel();
    }
}

impl Leading {
    fn hold(lead: Lead, stop: &CancellationToken) -> Self {
        let give_up = CancellationToken::new();
        let holds = tokio::spawn(lead.hold(stop.clone(), give_up.clone()));
        Self { holds, give_up }
    }
}

/// Reads what is stored and begins to serve; what has begun when something cannot is stopped again.
async fn work(
    app: App,
    certificate: &Certificate,
    doors: &Doors,
    waiting: mpsc::Receiver<device::Waiting>,
    lead: Option<Leading>,
) -> Result<Handle, StartError> {
    let local = |source| StartError::Listen {
        address: app.config.https.listen,
        source,
    };
    let mut handle = Handle {
        https: doors.https().map_err(local)?,
        http: doors.http().map_err(local)?,
        app,
        tasks: Vec::new(),
        lead,
    };
    match handle.begin(certificate, doors, waiting).await {
        Ok(()) => {
            tracing::info!(https = %handle.https, "serving");
            Ok(handle)
        }
        Err(error) => {
            handle.stop().await;
            Err(error)
        }
    }
}

fn sqlite_url(config: &Config) -> String {
    format!(
        "sqlite://{}?mode=rwc",
        config.data.join("lightship.db").display()
    )
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
    /// Begins one thing after the other; what stays is in `self` as soon as it runs.
    async fn begin(
        &mut self,
        certificate: &Certificate,
        doors: &Doors,
        waiting: mpsc::Receiver<device::Waiting>,
    ) -> Result<(), StartError> {
        let app = self.app.clone();
        let admin = |failure: Failure| StartError::Admin(failure.text().to_owned());
        app.first_admin().await.map_err(admin)?;
        for credentials in db::devices::credentials(&app.db).await? {
            app.roster.put(credentials);
        }
        let broker = bus::Embedded::start(&app).await?;
        let _ = app.bus.set(Arc::clone(&broker));
        if let Some(listen) = app.config.tunnel.listen {
            let (config, data) = (&app.config.tunnel, &app.config.data);
            let hub = tunnel::Tunnel::start(config, listen, data, app.secrets.clone()).await?;
            let _ = app.tunnel.set(hub);
        }
        // Before anybody is shown what is made with them.
        app.keep_keys_made()
            .await
            .map_err(|failure| StartError::Keys(failure.text().to_owned()))?;
        app.fail_left_behind().await?;
        app.start_directors().await?;
        if let Some(address) = app.config.mqtt.tls_listen {
            let listener = doors::bind(address)?;
            let tls = certificate.server_config(b"mqtt")?.into();
            let failed = |source| StartError::Listen { address, source };
            let served = bus::outside::serve(&app, listener, tls, broker.local());
            self.tasks.extend(served.map_err(failed)?);
        }
        let doors = doors.serve(&http::router(app.clone()), certificate, &app.stop)?;
        self.tasks.extend(doors);
        self.tasks
            .extend(tunnel::serve(&app, broker.local()).await?);
        self.tasks.extend([
            tokio::spawn(sweep(app.clone())),
            tokio::spawn(device::store_reports(app.clone(), waiting)),
            tokio::spawn(rotation::run(app.clone())),
            tokio::spawn(builds::wind_up(app.clone())),
            tokio::spawn(bus::run_outbox(app)),
        ]);
        Ok(())
    }

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
    ///
    /// # Panics
    /// Never: a server that is handed out serves it.
    #[must_use]
    pub fn mqtt(&self) -> SocketAddr {
        let broker = self.app.bus.get();
        broker.expect("a server that is handed out has one").local()
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

    /// Returns when the server stops by itself: another one leads by now, or the database is out of reach.
    pub async fn stopped(&self) {
        self.app.stop.cancelled().await;
    }

    /// Stops taking work, lets what is under way finish, and closes the database.
    pub async fn stop(mut self) {
        self.app.stop.cancel();
        let end = tokio::time::Instant::now() + GRACE;
        for mut task in std::mem::take(&mut self.tasks) {
            if tokio::time::timeout_at(end, &mut task).await.is_err() {
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
        if let Some(mut lead) = self.lead.take() {
            // Only now is there nothing left that another server would have to know of.
            lead.give_up.cancel();
            let _ = (&mut lead.holds).await;
        }
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
