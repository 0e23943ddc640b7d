//! Devices as people work with them.

use axum::extract::State;
use axum::http::StatusCode;
use lightship_api::{Command, Device, DevicePatch, Locks, Move, Name, NewDevice, Pin, Role};
use lightship_core::id::Uuid;
use lightship_core::wire::Order;
use lightship_director as director;

use super::caller::Caller;
use super::check;
use super::extract::{Json, Path, Query};
use super::failure::{Answer, Failure};
use super::page::Page;
use crate::db::{self, Entry, Tx};
use crate::device::fresh;
use crate::{App, clock, rotation};

/// The fleet's devices.
#[utoipa::path(get, path = "/api/v1/fleets/{fleet}/devices", operation_id = "listDevices", tag = "devices", params(("fleet" = Name, Path, description = "The fleet's name"), Page), responses((status = 200, description = "Devices", body = Vec<Device>)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(fleet): Path<Name>,
    Query(page): Query<Page>,
) -> Answer<Json<Vec<Device>>> {
    caller.require(&app, &fleet, Role::Viewer).await?;
    let mut devices = db::devices::list(&app.db, &fleet, page.after(), page.limit()).await?;
    devices.iter_mut().for_each(|device| live(&app, device));
    number(&app, &fleet, &mut devices).await?;
    Ok(Json(devices))
}

/// Enter a device before it registers.
#[utoipa::path(post, path = "/api/v1/fleets/{fleet}/devices", operation_id = "createDevice", tag = "devices", params(("fleet" = Name, Path, description = "The fleet's name")), responses((status = 201, description = "Entered", body = Device)))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Path(fleet): Path<Name>,
    Json(new): Json<NewDevice>,
) -> Answer<(StatusCode, Json<Device>)> {
    caller.require(&app, &fleet, Role::Operator).await?;
    check::text("name", &new.name, 128)?;
    check::tags("tags", &new.tags)?;
    let uuid: Uuid = new
        .uuid
        .parse()
        .map_err(|_| Failure::invalid("uuid", "a uuid in lower case with hyphens"))?;
    let mut device = fresh(uuid.to_string(), fleet, new.name, new.device_type);
    device.tags = new.tags;
    let mut tx = app.db.write().await?;
    if db::devices::count_of(&mut tx, &device.fleet).await?
        >= i64::from(app.config.limits.devices_per_fleet)
    {
        return Err(Failure::limit("the fleet has as many devices as it may"));
    }
    db::devices::insert(&mut tx, &device).await?;
    record(&mut tx, &caller, &device, "device.created", String::new()).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(device)))
}

/// One device.
#[utoipa::path(get, path = "/api/v1/fleets/{fleet}/devices/{device}", operation_id = "showDevice", tag = "devices", params(("fleet" = Name, Path, description = "The fleet's name"), ("device" = String, Path, description = "The device's uuid")), responses((status = 200, description = "The device", body = Device)))]
pub(super) async fn show(
    State(app): State<App>,
    caller: Caller,
    Path((fleet, device)): Path<(Name, String)>,
) -> Answer<Json<Device>> {
    caller.require(&app, &fleet, Role::Viewer).await?;
    find(&app, &fleet, &device).await.map(Json)
}

/// Rename or tag a device.
#[utoipa::path(patch, path = "/api/v1/fleets/{fleet}/devices/{device}", operation_id = "updateDevice", tag = "devices", params(("fleet" = Name, Path, description = "The fleet's name"), ("device" = String, Path, description = "The device's uuid")), responses((status = 200, description = "Changed", body = Device)))]
pub(super) async fn update(
    State(app): State<App>,
    caller: Caller,
    Path((fleet, device)): Path<(Name, String)>,
    Json(patch): Json<DevicePatch>,
) -> Answer<Json<Device>> {
    caller.require(&app, &fleet, Role::Operator).await?;
    if let Some(name) = &patch.name {
        check::text("name", name, 128)?;
    }
    if let Some(tags) = &patch.tags {
        check::tags("tags", tags)?;
    }
    if let Some(windows) = &patch.windows {
        check::windows("windows", windows)?;
    }
    if let Some(zone) = &patch.zone {
        check::zone("zone", zone)?;
    }
    let apply = |device: &mut Device| apply(device, patch);
    change(&app, &caller, &fleet, &device, "device.updated", apply).await?;
    find(&app, &fleet, &device).await.map(Json)
}

fn apply(device: &mut Device, patch: DevicePatch) {
    if patch.fleet_windows {
        (device.windows, device.zone) = (None, None);
    }
    if let Some(name) = patch.name {
        device.name = name;
    }
    if let Some(tags) = patch.tags {
        device.tags = tags;
    }
    device.windows = patch.windows.or_else(|| device.windows.take());
    device.zone = patch.zone.or_else(|| device.zone.take());
}

/// Keep a device on one release, or let it follow its fleet again.
#[utoipa::path(put, path = "/api/v1/fleets/{fleet}/devices/{device}/pin", operation_id = "pinDevice", tag = "devices", params(("fleet" = Name, Path, description = "The fleet's name"), ("device" = String, Path, description = "The device's uuid")), responses((status = 200, description = "Pinned, or let go", body = Device)))]
pub(super) async fn pin(
    State(app): State<App>,
    caller: Caller,
    Path((fleet, device)): Path<(Name, String)>,
    Json(pin): Json<Pin>,
) -> Answer<Json<Device>> {
    caller.require(&app, &fleet, Role::Operator).await?;
    find(&app, &fleet, &device).await?;
    if let Some(number) = pin.release
        && db::releases::find(&app.db, &fleet, number).await?.is_none()
    {
        return Err(Failure::invalid("release", "the fleet has no such release"));
    }
    change(&app, &caller, &fleet, &device, "device.pinned", |device| {
        device.pinned = pin.release
    })
    .await?;
    find(&app, &fleet, &device).await.map(Json)
}

/// Move a device to another fleet that has the same trust root.
#[utoipa::path(post, path = "/api/v1/fleets/{fleet}/devices/{device}/move", operation_id = "moveDevice", tag = "devices", params(("fleet" = Name, Path, description = "The fleet's name"), ("device" = String, Path, description = "The device's uuid")), responses((status = 200, description = "Moved", body = Device)))]
pub(super) async fn move_to(
    State(app): State<App>,
    caller: Caller,
    Path((fleet, device)): Path<(Name, String)>,
    Json(to): Json<Move>,
) -> Answer<Json<Device>> {
    caller.require(&app, &fleet, Role::Operator).await?;
    caller.require(&app, &to.fleet, Role::Operator).await?;
    if db::roots::find(&app.db, &fleet, 1).await? != db::roots::find(&app.db, &to.fleet, 1).await? {
        return Err(Failure::conflict(
            "the fleets have different trust roots: the device would refuse every release of the other",
        ));
    }
    let target = to.fleet.clone();
    let moved = |device: &mut Device| {
        device.fleet = target;
        device.pinned = None;
    };
    store(&app, &caller, &fleet, &device, "device.moved", moved).await?;
    let uuid: Uuid = device.parse().map_err(|_| Failure::not_found("device"))?;
    if let Some(known) = app.roster.find(&uuid) {
        known.move_to(to.fleet.clone());
        app.told(&fleet, director::Event::Removed(uuid)).await;
        app.end_director(&to.fleet);
    }
    app.refresh(&to.fleet, &device).await?;
    find(&app, &to.fleet, &device).await.map(Json)
}

/// Have a device try the release again that it rejected.
#[utoipa::path(post, path = "/api/v1/fleets/{fleet}/devices/{device}/retry", operation_id = "retryDevice", tag = "devices", params(("fleet" = Name, Path, description = "The fleet's name"), ("device" = String, Path, description = "The device's uuid")), responses((status = 200, description = "It is told to try again", body = Device)))]
pub(super) async fn retry(
    State(app): State<App>,
    caller: Caller,
    Path((fleet, device)): Path<(Name, String)>,
) -> Answer<Json<Device>> {
    caller.require(&app, &fleet, Role::Operator).await?;
    let shown = find(&app, &fleet, &device).await?;
    let mut tx = app.db.write().await?;
    db::devices::raise_attempt(&mut tx, &device).await?;
    record(&mut tx, &caller, &shown, "device.retried", String::new()).await?;
    tx.commit().await?;
    app.refresh(&fleet, &device).await?;
    find(&app, &fleet, &device).await.map(Json)
}

/// Decide whether the update locks of a device's applications count.
#[utoipa::path(put, path = "/api/v1/fleets/{fleet}/devices/{device}/locks", operation_id = "overrideLocks", tag = "devices", params(("fleet" = Name, Path, description = "The fleet's name"), ("device" = String, Path, description = "The device's uuid")), responses((status = 200, description = "Decided", body = Device)))]
pub(super) async fn locks(
    State(app): State<App>,
    caller: Caller,
    Path((fleet, device)): Path<(Name, String)>,
    Json(locks): Json<Locks>,
) -> Answer<Json<Device>> {
    caller.require(&app, &fleet, Role::Operator).await?;
    let shown = find(&app, &fleet, &device).await?;
    let mut tx = app.db.write().await?;
    db::devices::override_locks(&mut tx, &device, locks.overridden).await?;
    let detail = format!("overridden: {}", locks.overridden);
    record(&mut tx, &caller, &shown, "device.locks", detail).await?;
    tx.commit().await?;
    app.refresh(&fleet, &device).await?;
    find(&app, &fleet, &device).await.map(Json)
}

/// Ask a device to do something at once.
#[utoipa::path(post, path = "/api/v1/fleets/{fleet}/devices/{device}/commands", operation_id = "commandDevice", tag = "devices", params(("fleet" = Name, Path, description = "The fleet's name"), ("device" = String, Path, description = "The device's uuid")), responses((status = 202, description = "Asked; it does so when it hears of it within the hour")))]
pub(super) async fn command(
    State(app): State<App>,
    caller: Caller,
    Path((fleet, device)): Path<(Name, String)>,
    Json(command): Json<Command>,
) -> Answer<StatusCode> {
    caller.require(&app, &fleet, Role::Operator).await?;
    let shown = find(&app, &fleet, &device).await?;
    let orders = match &command {
        Command::Reboot => vec![Order::Reboot],
        Command::Identify => vec![Order::Identify],
        Command::Report => vec![Order::Report],
        Command::Rotate => rotation::ORDERS.to_vec(),
        Command::Restart { service } => {
            let service = service
                .parse()
                .map_err(|_| Failure::invalid("service", "not the name of a service"))?;
            vec![Order::Restart(service)]
        }
    };
    let mut newest = 0;
    let mut tx = app.db.write().await?;
    for order in &orders {
        newest = db::commands::insert(&mut tx, &device, order).await?;
    }
    record(
        &mut tx,
        &caller,
        &shown,
        "device.commanded",
        format!("{orders:?}"),
    )
    .await?;
    tx.commit().await?;
    if let Ok(uuid) = device.parse() {
        app.commanded(uuid, newest);
        if matches!(command, Command::Rotate) {
            app.rotate_preshared(&uuid).await?;
        }
    }
    Ok(StatusCode::ACCEPTED)
}

/// Remove a device; its key opens nothing any more.
#[utoipa::path(delete, path = "/api/v1/fleets/{fleet}/devices/{device}", operation_id = "deleteDevice", tag = "devices", params(("fleet" = Name, Path, description = "The fleet's name"), ("device" = String, Path, description = "The device's uuid")), responses((status = 204, description = "Removed")))]
pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path((fleet, device)): Path<(Name, String)>,
) -> Answer<StatusCode> {
    caller.require(&app, &fleet, Role::Operator).await?;
    let shown = find(&app, &fleet, &device).await?;
    let placed = db::places::find_placed(&app.db, fleet.as_str(), &device).await?;
    let mut tx = app.db.write().await?;
    db::variables::delete_of_device(
        &mut tx,
        db::variables::Of {
            fleet: &fleet,
            device: &device,
        },
    )
    .await?;
    if !db::devices::delete(&mut tx, &fleet, &device).await? {
        return Err(Failure::not_found("device"));
    }
    record(&mut tx, &caller, &shown, "device.deleted", String::new()).await?;
    tx.commit().await?;
    if let Ok(uuid) = device.parse() {
        app.roster.remove(&uuid);
        if let (Some(tunnel), Some(placed)) = (app.tunnel(), placed) {
            tunnel.dismiss(placed.address);
        }
        app.bus().disconnect(&uuid).await;
        app.told(&fleet, director::Event::Removed(uuid)).await;
        if app.tunnel().is_some() {
            app.finish_rotation().await?;
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

/// A device with what only the memory knows.
async fn find(app: &App, fleet: &Name, uuid: &str) -> Answer<Device> {
    let device = db::devices::find(&app.db, fleet, uuid).await?;
    let mut device = device.ok_or_else(|| Failure::not_found("device"))?;
    live(app, &mut device);
    number(app, fleet, std::slice::from_mut(&mut device)).await?;
    if let Some(tunnel) = app.tunnel()
        && let Some(placed) = db::places::find_placed(&app.db, fleet.as_str(), uuid).await?
        && let Some(ago) = tunnel.last_handshake(placed.address)
    {
        let at_ms = clock::now_ms() - i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        device.last_handshake_at = Some(lightship_api::Timestamp::from_millis(at_ms));
    }
    Ok(device)
}

/// Says which release devices run; a fleet runs few, so few are looked up.
async fn number(app: &App, fleet: &Name, devices: &mut [Device]) -> Answer<()> {
    let mut known = std::collections::HashMap::new();
    for device in devices {
        let Some(digest) = &device.running else {
            continue;
        };
        if !known.contains_key(digest) {
            let number = db::releases::number_of(&app.db, fleet, digest).await?;
            known.insert(digest.clone(), number);
        }
        device.running_release = known[digest];
    }
    Ok(())
}

fn live(app: &App, device: &mut Device) {
    let Some(known) = device
        .uuid
        .parse()
        .ok()
        .and_then(|uuid| app.roster.find(&uuid))
    else {
        return;
    };
    device.transport = known.transport();
    device.online = device.transport.is_some();
    let seen = known
        .last_seen_ms()
        .map(lightship_api::Timestamp::from_millis);
    device.last_seen_at = device.last_seen_at.max(seen);
}

/// Changes a device, and tells the director.
async fn change(
    app: &App,
    caller: &Caller,
    fleet: &Name,
    uuid: &str,
    what: &'static str,
    apply: impl FnOnce(&mut Device),
) -> Answer<()> {
    store(app, caller, fleet, uuid, what, apply).await?;
    app.refresh(fleet, uuid).await
}

async fn store(
    app: &App,
    caller: &Caller,
    fleet: &Name,
    uuid: &str,
    what: &'static str,
    apply: impl FnOnce(&mut Device),
) -> Answer<()> {
    let mut tx = app.db.write().await?;
    let found = db::devices::find_in(&mut tx, uuid).await?;
    let found = found
        .map(|(device, _)| device)
        .filter(|device| device.fleet == *fleet);
    let mut device = found.ok_or_else(|| Failure::not_found("device"))?;
    apply(&mut device);
    db::devices::update(&mut tx, &device).await?;
    let detail = device.pinned.map_or_else(String::new, |release| {
        format!("pinned to release {release}")
    });
    record(&mut tx, caller, &device, what, detail).await?;
    Ok(tx.commit().await?)
}

async fn record(
    tx: &mut Tx<'_>,
    caller: &Caller,
    device: &Device,
    what: &'static str,
    detail: String,
) -> Answer<()> {
    let by = caller.by();
    tx.record(Entry {
        by: &by,
        fleet: Some(&device.fleet),
        what,
        subject: &device.uuid,
        detail,
    })
    .await?;
    Ok(())
}

/// Keeps when devices were last heard of.
pub(crate) async fn flush_last_seen(app: &App) -> Answer<()> {
    let heard = app.roster.heard();
    let recent = clock::now_ms() - FLUSH_MS;
    let mut tx = app.db.write().await?;
    for (uuid, at_ms) in heard.into_iter().filter(|(_, at_ms)| *at_ms > recent) {
        db::devices::set_last_seen(&mut tx, &uuid, at_ms).await?;
    }
    Ok(tx.commit().await?)
}

/// Those who were heard of within this time are stored; it is longer than the time between two flushes.
const FLUSH_MS: i64 = 2 * 300_000;
