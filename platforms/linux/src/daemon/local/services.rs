//! The services that were started, and what each was given: folders for locks, doors, tokens, variables.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lightship_core::id::Uuid;
use lightship_spec::container::{Feature, NetworkMode};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::token::{Dialect, Secret, same};
use crate::daemon::Config;
use crate::engine::{Grant, Provide, Starting};
use crate::store::{InstanceId, is_read_only};

/// In the container.
const LOCKS: &str = "/run/lightship";
/// In the container: the folder of the socket.
const API: &str = "/run/lightship/api";
/// Where balena's applications put their locks.
const BALENA_LOCKS: [&str; 2] = ["/tmp/balena", "/tmp/resin"];

/// What is known of the device before it is registered.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) name: String,
    pub(crate) device_type: String,
    pub(crate) product: String,
}

impl Facts {
    /// As the configuration has them.
    pub(crate) fn of(config: &Config) -> Self {
        let name = config
            .name
            .as_ref()
            .map_or_else(hostname, ToString::to_string);
        Self {
            name,
            device_type: config.device_type.to_string(),
            product: config.product.to_string(),
        }
    }
}

fn hostname() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// A service that was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Service {
    pub(super) application: String,
    pub(super) name: String,
    /// Whether it has the local API at all.
    pub(super) has_api: bool,
    /// Whether it may do what concerns more than itself.
    pub(super) has_control: bool,
    /// Whether it speaks as balena's applications do.
    pub(super) is_balena: bool,
}

/// Who asks, and in which way of speaking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) id: InstanceId,
    pub(super) service: Service,
    pub(super) dialect: Dialect,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Services {
    /// One folder for each instance, for what lasts until the device restarts.
    run: PathBuf,
    /// One folder for each instance, in which the service writes.
    data: PathBuf,
    secret: Secret,
    facts: Facts,
    address: Option<SocketAddr>,
    state: Mutex<State>,
    /// For whoever looks after locks.
    pub(super) changed: Notify,
    /// For whoever answers at doors.
    pub(super) doors: Notify,
    /// For whoever answers at the address.
    pub(super) address_wanted: Notify,
}

#[derive(Debug, Default)]
struct State {
    uuid: Option<Uuid>,
    known: BTreeMap<InstanceId, Service>,
    /// Doors that nobody answers at yet.
    opened: Vec<(InstanceId, UnixListener)>,
}

impl Services {
    /// Finds the services that were started before the daemon.
    pub(crate) fn open(
        run: &Path,
        data: &Path,
        facts: Facts,
        address: Option<SocketAddr>,
    ) -> io::Result<Self> {
        for folder in [run, data] {
            private(folder)?;
        }
        let services = Self {
            run: run.to_owned(),
            data: data.to_owned(),
            secret: Secret::open(&data.join("secret"))?,
            facts,
            address,
            state: Mutex::default(),
            changed: Notify::new(),
            doors: Notify::new(),
            address_wanted: Notify::new(),
        };
        for entry in fs::read_dir(run)? {
            let name = entry?.file_name();
            let Some(id) = name
                .to_str()
                .and_then(|name| name.parse::<InstanceId>().ok())
            else {
                continue;
            };
            let bytes = fs::read(services.run_of(id).join("service")).unwrap_or_default();
            if let Ok(service) = serde_json::from_slice::<Service>(&bytes) {
                services.admit(id, service)?;
            }
        }
        Ok(services)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_uuid(&self, uuid: Uuid) {
        self.state().uuid = Some(uuid);
    }

    pub(super) const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// All services.
    pub(super) fn all(&self) -> BTreeMap<InstanceId, Service> {
        self.state().known.clone()
    }

    /// The doors that were opened since this was asked last.
    pub(super) fn opened(&self) -> Vec<(InstanceId, UnixListener)> {
        std::mem::take(&mut self.state().opened)
    }

    /// Whose token it is, at the door of `at` or at any.
    pub(super) fn caller(&self, token: &str, at: Option<InstanceId>) -> Option<Caller> {
        let known = self.all();
        let here = known
            .into_iter()
            .filter(|(id, _)| at.is_none_or(|at| at == *id));
        let mut callers = here.flat_map(|(id, service)| {
            let own = service.has_api.then_some(Dialect::Own);
            let balena = service.is_balena.then_some(Dialect::Balena);
            let dialects = own.into_iter().chain(balena);
            dialects.map(move |dialect| Caller {
                id,
                service: service.clone(),
                dialect,
            })
        });
        callers.find(|caller| {
            let Service {
                application, name, ..
            } = &caller.service;
            same(&self.secret.token(caller.dialect, application, name), token)
        })
    }

    /// Where the locks of an instance are: its own, and balena's.
    pub(super) fn lock_folders(&self, id: InstanceId) -> [PathBuf; 2] {
        let on_memory = self.run_of(id).join("locks");
        let folder = match on_memory.is_dir() {
            true => on_memory,
            false => self.data.join(id.to_string()),
        };
        [folder.join("own"), folder.join("balena")]
    }

    /// Makes them: on the disk, because a service may write there; on memory where the disk takes nothing.
    fn make_lock_folders(&self, id: InstanceId) -> io::Result<[PathBuf; 2]> {
        let make = |at: &Path| {
            private(at)?;
            for name in ["own", "balena"] {
                let folder = at.join(name);
                fs::DirBuilder::new().create(&folder)?;
                // Whatever user the service runs as takes its locks there.
                fs::set_permissions(&folder, fs::Permissions::from_mode(0o1777))?;
            }
            Ok(())
        };
        let made = match is_read_only(&self.data) {
            true => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            false => make(&self.data.join(id.to_string())),
        };
        match made {
            Err(error) if is_unwritable(&error) => make(&self.run_of(id).join("locks"))?,
            made => made?,
        }
        Ok(self.lock_folders(id))
    }

    /// What lasts of an instance until the device restarts.
    pub(super) fn run_of(&self, id: InstanceId) -> PathBuf {
        self.run.join(id.to_string())
    }

    fn admit(&self, id: InstanceId, service: Service) -> io::Result<()> {
        let mut opened = None;
        if service.has_api || service.is_balena {
            opened = Some((id, bind(&self.run_of(id).join("api/socket"))?));
        }
        let mut state = self.state();
        state.opened.extend(opened);
        state.known.insert(id, service);
        drop(state);
        self.tell();
        Ok(())
    }

    fn tell(&self) {
        for each in [&self.changed, &self.doors, &self.address_wanted] {
            each.notify_one();
        }
    }

    fn variables(&self, service: &Service, network: &NetworkMode) -> BTreeMap<String, String> {
        let uuid = self.state().uuid.map(|uuid| uuid.to_string());
        let mut all = BTreeMap::new();
        let mut set = |name: &str, value: &str| all.insert(name.to_owned(), value.to_owned());
        let Facts {
            name,
            device_type,
            product,
        } = &self.facts;
        let balena = [
            (
                "LIGHTSHIP_DEVICE_NAME",
                "BALENA_DEVICE_NAME_AT_INIT",
                name.as_str(),
            ),
            ("LIGHTSHIP_DEVICE_TYPE", "BALENA_DEVICE_TYPE", device_type),
            ("LIGHTSHIP_PRODUCT", "BALENA_FLEET_NAME", product),
            (
                "LIGHTSHIP_APPLICATION",
                "BALENA_APP_NAME",
                &service.application,
            ),
            ("LIGHTSHIP_SERVICE", "BALENA_SERVICE_NAME", &service.name),
        ];
        for (own, theirs, value) in balena {
            set(own, value);
            set(theirs, value);
        }
        if let Some(uuid) = uuid {
            set("LIGHTSHIP_DEVICE_UUID", &uuid);
            // balena's are the same digits without the dashes.
            set("BALENA_DEVICE_UUID", &uuid.replace('-', ""));
            set("RESIN_DEVICE_UUID", &uuid.replace('-', ""));
        }
        set("LIGHTSHIP", "1");
        set("LIGHTSHIP_LOCK_FILE", "/run/lightship/updates.lock");
        set("BALENA", "1");
        set("BALENA_APP_ID", &number(&service.application).to_string());
        set("BALENA_DEVICE_ARCH", architecture());
        set("BALENA_APP_LOCK_PATH", "/tmp/balena/updates.lock");
        set(
            "BALENA_SERVICE_HANDOVER_COMPLETE_PATH",
            "/tmp/balena/handover-complete",
        );
        let address = self.address.filter(|_| *network != NetworkMode::None);
        let address = address.map(|address| format!("http://{address}"));
        if service.has_api {
            set("LIGHTSHIP_API_SOCKET", &format!("{API}/socket"));
            set("LIGHTSHIP_API_TOKEN", &self.token(service, Dialect::Own));
            if let Some(address) = &address {
                set("LIGHTSHIP_API_ADDRESS", address);
            }
        }
        if service.is_balena {
            set(
                "BALENA_SUPERVISOR_API_KEY",
                &self.token(service, Dialect::Balena),
            );
            if let (Some(url), Some(address)) = (&address, self.address) {
                set("BALENA_SUPERVISOR_ADDRESS", url);
                set("BALENA_SUPERVISOR_HOST", &address.ip().to_string());
                set("BALENA_SUPERVISOR_PORT", &address.port().to_string());
            }
        }
        all
    }

    fn token(&self, service: &Service, dialect: Dialect) -> String {
        self.secret
            .token(dialect, &service.application, &service.name)
    }
}

impl Provide for Services {
    fn provide(&self, starting: &Starting<'_>) -> io::Result<Grant> {
        let has = |feature| starting.spec.features.contains(&feature);
        let service = Service {
            application: starting.spec.application.clone(),
            name: starting.name.to_owned(),
            has_api: has(Feature::LocalApi) || has(Feature::DeviceControl),
            has_control: has(Feature::DeviceControl),
            is_balena: has(Feature::BalenaApi),
        };
        self.withdraw(starting.id)?;
        let run = self.run_of(starting.id);
        private(&run)?;
        fs::DirBuilder::new().mode(0o755).create(run.join("api"))?;
        let [own, balena] = self.make_lock_folders(starting.id)?;
        let mut mounts = vec![(own.clone(), LOCKS.to_owned(), false)];
        mounts.extend(BALENA_LOCKS.map(|target| (balena.clone(), target.to_owned(), false)));
        if service.has_api || service.is_balena {
            // The door is in a folder that the service cannot write in.
            fs::DirBuilder::new().mode(0o755).create(own.join("api"))?;
            mounts.push((run.join("api"), API.to_owned(), true));
        }
        let bytes = serde_json::to_vec(&service).map_err(io::Error::other)?;
        fs::write(run.join("service"), bytes)?;
        let environment = self.variables(&service, &starting.spec.network.mode);
        self.admit(starting.id, service)?;
        Ok(Grant {
            environment,
            mounts,
        })
    }

    fn withdraw(&self, id: InstanceId) -> io::Result<()> {
        let mut state = self.state();
        state.known.remove(&id);
        state.opened.retain(|(opened, _)| *opened != id);
        drop(state);
        self.tell();
        for folder in [self.run_of(id), self.data.join(id.to_string())] {
            match fs::remove_dir_all(folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound && !is_unwritable(&error) => {
                    return Err(error);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether the disk is full or read-only.
fn is_unwritable(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::ReadOnlyFilesystem || kind == io::ErrorKind::StorageFull
}

/// A folder that only root can look into.
fn private(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    // One that is as it should be is left alone: the disk may be read-only.
    match fs::metadata(folder)?.permissions().mode() & 0o7777 {
        0o700 => Ok(()),
        _ => fs::set_permissions(folder, fs::Permissions::from_mode(0o700)),
    }
}

/// A socket that whoever sees it may open: who sees it, the folders above decide.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let _ = fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// balena numbers its applications; applications only compare the number.
pub(super) fn number(application: &str) -> u32 {
    let hash = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    application.bytes().fold(0x811c_9dc5, hash) >> 1
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "arm" => "armv7hf",
        other => other,
    }
}
