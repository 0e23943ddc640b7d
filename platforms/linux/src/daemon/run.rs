//! Puts the daemon together and runs it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use lightship_core::id::Name;
use lightship_core::time::Instant;
use lightship_core::{Agent, limits};
use lightship_driver::{Clock, Driver, End, Happening};
use lightship_https::host;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, Notify, mpsc, watch};

use super::config::{Config, TunnelKind};
use super::desk::Desk;
use super::doors::{Doors, Service};
use super::journal::Journal;
use super::local::Locks;
use super::platform::Linux;
use super::records::Records;
use super::senders::Senders;
use super::shipping::Shipper;
use super::steps::Tell;
use super::sweep::Needs;
use super::tunnel::Keeper;
use super::way::{Badge, Readers, Way};
use super::{chosen, inbound, links, metrics, sweep};
use crate::engine::pull::{Access, Registries};
use crate::engine::{Engine, Error};
use crate::store::Files;

/// The most components of a release that this daemon runs.
pub(super) const COMPONENTS: usize = 32;

/// For what was said last to leave the tunnel, when that is in this process and ends with it.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The device's folders cannot be used.
    #[error("{doing}: {source}")]
    Storage {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The engine does not start.
    #[error("the container engine does not start: {0}")]
    Engine(#[from] Error),
    /// The address or the certificate of the fleet cannot be used.
    #[error("server or ca: {0}")]
    Server(#[from] host::ConfigError),
    /// There is no randomness for keys.
    #[error("the system has no randomness to make keys from: {0}")]
    Random(io::Error),
}

pub(super) fn storage(doing: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |source| RunError::Storage { doing, source }
}

/// Monotonic time since the system booted.
struct Boot;

impl Clock for Boot {
    fn now(&self) -> Instant {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let millis = u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000;
        Instant::from_millis(seconds * 1000 + millis)
    }

    async fn sleep_until(&self, moment: Instant) {
        let span = moment.since(self.now());
        tokio::time::sleep(Duration::from_millis(span.as_millis())).await;
    }
}

/// Runs until the process is asked to end, or the device restarts. Must be called within a tokio `LocalSet`.
///
/// # Errors
///
/// A [`RunError`] when it cannot begin; once it runs, it goes on.
pub async fn run(config: Config) -> Result<End, RunError> {
    lightship_link::steady(live(config)).await
}

async fn live(config: Config) -> Result<End, RunError> {
    let records = Records::open(&config.data.join("agent"), Files::default());
    let records = records.map_err(storage("opening the agent's records"))?;
    let loaded = records
        .load()
        .map_err(storage("reading the agent's records"))?;
    let doors = Doors::new(&config.run).map_err(storage("making the tunnel's doors"))?;
    let keeper = Keeper::new(config.tunnel, &config.data.join("agent"), Files::default());
    let keeper = keeper.map_err(storage("reading the time of handshakes"))?;
    let registries = Registries::new(client(&config)?, access(&config));
    let registries = registries.through(client_inside(&doors)?);
    let (tell, happenings) = mpsc::unbounded_channel();
    let desk = Desk::open(&config, &loaded.saved());
    let desk = desk.map_err(storage("opening the services' folders"))?;
    let engine = chosen::open(&config, &registries, &desk).await?;
    watch(engine.clone(), tell.clone(), desk.locks());
    let begun = desk.begin(engine.clone(), tell.clone()).await;
    begun.map_err(storage("opening the local API"))?;

    let mut memory = links::Memory::new();
    let mut between = links::Between::new(&mut memory);
    let (link, mut ends, carriers) = links::join(&mut between, fleet(&config)?, &doors);
    let (inside, inside_logs) = carriers.inside;
    let (direct, direct_logs) = carriers.direct;
    let senders = || Senders {
        inside: inside_logs.clone(),
        direct: direct_logs.clone(),
    };
    let (online, stirred) = (watch::Sender::new(false), watch::Sender::new(()));
    let needs = Needs::default();
    let logs = config.data.join("logs");
    let (shipper, flush) = Shipper::new(
        senders(),
        engine.clone(),
        logs.clone(),
        online.subscribe(),
        stirred.subscribe(),
    );
    let ship = shipper.run();
    let asked = Arc::new(Notify::new());
    let measure = metrics::tell(
        senders(),
        config.data.clone(),
        online.subscribe(),
        asked.clone(),
    );
    let sweep = sweep::sweep(engine.clone(), needs.clone(), stirred.subscribe());
    let inbound = inbound::serve(
        keeper.opened(),
        engine.clone(),
        config.tunnel_ports.clone(),
        stirred.subscribe(),
    );
    let badges: [Badge; 2] = [Box::new(inside.badge()), Box::new(direct.badge())];
    let serve = |service| doors.serve(service, keeper.opened());
    let opening = "opening the tunnel's doors";
    let http = serve(Service::Http).map_err(storage(opening))?;
    let mqtt = serve(Service::Mqtt).map_err(storage(opening))?;
    let time = keeper.keep_time();
    let way = Way {
        keeper,
        registries,
        fleet: authority(&config.server),
        badges,
        registered: false,
    };
    let mut platform = Linux {
        config: config.path.clone(),
        records,
        engine,
        blobs: Arc::new(Mutex::new(Readers { inside, direct })),
        way,
        journal: Journal::open(&logs),
        needs,
        flush,
        online,
        stirred,
        asked,
        happenings,
        tell,
        desk,
        under_way: BTreeMap::new(),
    };
    let mut agent =
        Agent::<COMPONENTS>::new(agent_config(&config), loaded.saved(), seed()?, Boot.now());
    let mut buffer = vec![0; limits::RECORD_BYTES];
    let mut driver = Driver::new(&mut agent, link, &mut platform, Boot, &mut buffer);
    let live = async {
        let end = driver.run().await;
        if end == End::Asked {
            driver.leave().await;
            tokio::time::sleep(LAST_WORDS).await;
        }
        end
    };
    tokio::select! {
        end = live => Ok(end),
        never = ends.run() => never,
        never = http => match never {},
        never = mqtt => match never {},
        never = time => match never {},
        never = ship => match never {},
        never = measure => match never {},
        never = sweep => match never {},
        never = inbound => match never {},
    }
}

/// How the fleet is reached.
fn fleet(config: &Config) -> Result<links::Fleet, RunError> {
    let transports = match config.tunnel {
        TunnelKind::Off => Vec::new(),
        TunnelKind::Auto | TunnelKind::Kernel | TunnelKind::Tun | TunnelKind::InProcess => {
            config.transports.clone()
        }
    };
    Ok(links::Fleet {
        // The name is for whoever reads the requests: connections end at the door whatever it says.
        inside: host::Config::new("http://fleet.internal", b"")?,
        direct: host::Config::new(&config.server, &config.authorities)?,
        transports,
        again: embassy_time::Duration::from_secs(config.prefer_again_s.into()),
    })
}

/// The client that pulls images through the tunnel.
fn client_inside(doors: &Doors) -> Result<reqwest::Client, RunError> {
    let client = reqwest::Client::builder()
        .unix_socket(doors.path(Service::Http))
        .redirect(reqwest::redirect::Policy::none());
    client.build().map_err(|error| RunError::Storage {
        doing: "making the client of the tunnel",
        source: io::Error::other(error),
    })
}

/// Host and port of a URL, as images name their registry.
pub(super) fn authority(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest).to_owned()
}

fn agent_config(config: &Config) -> lightship_core::Config {
    lightship_core::Config {
        device_type: config.device_type.clone(),
        product: config.product.clone(),
        name: config.name.clone(),
        root: config.root.clone(),
        provisioning_key: config.provisioning_key,
        rotation_period_s: config.rotation_period_s,
        keys_outside: false,
    }
}

fn seed() -> Result<[u8; 32], RunError> {
    let mut seed = [0; 32];
    let mut filled = 0;
    while filled < seed.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::rand::getrandom(&mut seed[filled..], flags)
            .map_err(|errno| RunError::Random(errno.into()))?;
    }
    Ok(seed)
}

/// The client that pulls images: it believes the fleet's authority and nobody else.
fn client(config: &Config) -> Result<reqwest::Client, RunError> {
    let wrong = |error: reqwest::Error| RunError::Storage {
        doing: "reading the fleet's authority",
        source: io::Error::other(error),
    };
    let authorities = reqwest::Certificate::from_pem_bundle(&config.authorities).map_err(wrong)?;
    let client = reqwest::Client::builder().tls_certs_only(authorities);
    client.build().map_err(wrong)
}

fn access(config: &Config) -> BTreeMap<String, Access> {
    let plain = config.plain_registries.iter();
    plain
        .map(|host| {
            let access = Access {
                credentials: None,
                plain_http: true,
            };
            (host.clone(), access)
        })
        .collect()
}

/// Tells of changes of containers, and when the process is to end.
fn watch<E: Engine + 'static>(engine: Option<Arc<E>>, tell: Tell, locks: Arc<Locks>) {
    let ended = tell.clone();
    tokio::task::spawn_local(async move {
        let (Ok(mut term), Ok(mut int)) = (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
        ) else {
            return;
        };
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        let _ = ended.send(Happening::Ended);
    });
    let Some(engine) = engine else {
        return;
    };
    tokio::task::spawn_local(async move {
        loop {
            match engine.changed().await {
                Ok(instance) => {
                    locks.poke();
                    if let Ok(name) = Name::new(&instance.name) {
                        let _ = tell.send(Happening::Changed(name));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "changes of containers are not heard of for a moment");
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
            }
        }
    });
}
