//! Making, rotating and uploading trust roots.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use lightship_api::sign::{Holders, NewRoot, holders, root_payload, sign};
use lightship_api::{DirectorKey, Name};
use lightship_core::id::PublicKey;
use lightship_core::time::UnixTime;
use lightship_core::trust::{Compact, Role, Root, Trust, TrustState};
use reqwest::Method;

use super::document::{self, believed};
use super::{Passphrase, file, offence};
use crate::client::Client;
use crate::failure::{Code, Failure};
use crate::output::Output;
use crate::place::Place;

/// Make keys for a new fleet, and its first trust root, and upload the root.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Days until the root must have been replaced.
    #[arg(long, default_value_t = 365)]
    days: u32,
    #[command(flatten)]
    passphrase: Passphrase,
}

/// Make the first trust root of a fleet.
#[derive(Debug, Args)]
pub(crate) struct Make {
    #[command(flatten)]
    holders: NewHolders,
    /// The director's public key; asked of the server by default.
    #[arg(long, value_name = "KEY")]
    director: Option<String>,
    /// The lowest security version that devices accept.
    #[arg(long, default_value_t = 0)]
    floor: u32,
    /// Days until it must have been replaced.
    #[arg(long, default_value_t = 365)]
    days: u32,
    /// Where to write it.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Names or files of private keys to sign it with now.
    #[arg(long)]
    sign: Vec<String>,
    #[command(flatten)]
    passphrase: Passphrase,
}

/// Make the next trust root of a fleet; what is not given stays as it was.
#[derive(Debug, Args)]
pub(crate) struct Rotate {
    /// The root before.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    #[command(flatten)]
    holders: NewHolders,
    /// The director's public keys, all of them.
    #[arg(long, value_name = "KEY")]
    director: Vec<String>,
    /// The lowest security version that devices accept.
    #[arg(long)]
    floor: Option<u32>,
    /// Days until it must have been replaced.
    #[arg(long, default_value_t = 365)]
    days: u32,
    /// Where to write it.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Names or files of private keys to sign it with now.
    #[arg(long)]
    sign: Vec<String>,
    #[command(flatten)]
    passphrase: Passphrase,
}

/// Keys are named by their 64 hexadecimal digits, their name on this machine, or their file.
#[derive(Debug, Args)]
pub(crate) struct NewHolders {
    /// Public keys that sign roots, all of them.
    #[arg(long, value_name = "KEY")]
    root: Vec<String>,
    /// How many of them must sign.
    #[arg(long, value_name = "N")]
    root_threshold: Option<u8>,
    /// Public keys that sign releases, all of them.
    #[arg(long, value_name = "KEY")]
    release: Vec<String>,
    /// How many of them must sign.
    #[arg(long, value_name = "N")]
    release_threshold: Option<u8>,
}

pub(crate) async fn init(init: Init, place: &Place, output: &Output) -> Result<(), Failure> {
    let client = place.client()?;
    let fleet = place.fleet(&client).await?;
    let director = director_key(&client).await?;
    let names = [format!("{fleet}-root"), format!("{fleet}-release")];
    let mut publics = Vec::new();
    for name in &names {
        publics.push(file::create(place, name, &init.passphrase)?);
    }
    let one = |key| Holders {
        keys: vec![key],
        threshold: 1,
    };
    let new = NewRoot {
        version: 1,
        issued: now(),
        expires: in_days(init.days),
        floor: 0,
        root: one(publics[0]),
        release: one(publics[1]),
        director: one(director),
    };
    let path = place.keys().join(format!("{fleet}.root"));
    let document = signed(&new, &names[..1], place, &init.passphrase)?;
    document::write(&path, &document, false)?;
    upload(&document, &client, &fleet).await?;
    let result =
        serde_json::json!({ "root": path, "root_key": publics[0], "release_key": publics[1] });
    output.show(&result, |_| {
        format!("made keys {} and {} and trust root {}\nkeep the root key offline, with a copy: without it, the keys of this fleet cannot be replaced", names[0], names[1], path.display())
    });
    Ok(())
}

pub(crate) async fn make(make: Make, place: &Place, output: &Output) -> Result<(), Failure> {
    let director = match &make.director {
        Some(key) => file::read_public(place, key)?,
        None => director_key(&place.client()?).await?,
    };
    let new = NewRoot {
        version: 1,
        issued: now(),
        expires: in_days(make.days),
        floor: make.floor,
        root: held(place, &make.holders.root, make.holders.root_threshold, None)?,
        release: held(
            place,
            &make.holders.release,
            make.holders.release_threshold,
            None,
        )?,
        director: Holders {
            keys: vec![director],
            threshold: 1,
        },
    };
    let document = signed(&new, &make.sign, place, &make.passphrase)?;
    document::write(&make.out, &document, false)?;
    document::show(&make.out, None, output)
}

pub(crate) fn rotate(rotate: Rotate, place: &Place, output: &Output) -> Result<(), Failure> {
    let before = believed(&document::read(&rotate.from)?)?;
    let kept = |role| Some(holders(&before, role));
    let version = before.version.checked_add(1);
    let given = rotate.holders;
    let new = NewRoot {
        version: version
            .ok_or_else(|| Failure::new(Code::Signature, "there is no version after this one"))?,
        issued: now(),
        expires: in_days(rotate.days),
        floor: rotate.floor.unwrap_or(before.floor),
        root: held(place, &given.root, given.root_threshold, kept(Role::Root))?,
        release: held(
            place,
            &given.release,
            given.release_threshold,
            kept(Role::Release),
        )?,
        director: held(place, &rotate.director, None, kept(Role::Director))?,
    };
    let document = signed(&new, &rotate.sign, place, &rotate.passphrase)?;
    document::write(&rotate.out, &document, false)?;
    document::show(&rotate.out, Some(&rotate.from), output)
}

pub(crate) async fn publish(file: &Path, place: &Place, output: &Output) -> Result<(), Failure> {
    let document = document::read(file)?;
    let root = believed(&document)?;
    let client = place.client()?;
    let fleet = place.fleet(&client).await?;
    if let Some(before) = newest(&client, &fleet).await? {
        follows(before, &document)?;
    }
    upload(&document, &client, &fleet).await?;
    // New devices start with it from now on.
    document::write(&place.keys().join(format!("{fleet}.root")), &document, true)?;
    output.done(&format!("fleet {fleet} has trust root {}", root.version));
    Ok(())
}

/// Judges the root as a device would that trusts the one before.
fn follows(before: Root, document: &[u8]) -> Result<(), Failure> {
    let any = lightship_core::id::Name::new("any").expect("three letters are a name");
    let state = TrustState::new(before);
    let trust = Trust {
        codec: Compact,
        state: &state,
        device: lightship_core::id::Uuid([0; 16]),
        device_type: &any,
        product: &any,
        clock: None,
    };
    trust.accept_root(document).map(|_| ()).map_err(|wrong| offence(wrong).help("the root must be signed by enough keys of the one before *and* of its own: see `lightship keys show --root BEFORE`"))
}

/// The newest trust root that the server has.
pub(crate) async fn newest(client: &Client, fleet: &Name) -> Result<Option<Root>, Failure> {
    let roots: Vec<lightship_api::Root> =
        client.get(&format!("/api/v1/fleets/{fleet}/roots")).await?;
    let Some(newest) = roots.into_iter().max_by_key(|root| root.version) else {
        return Ok(None);
    };
    let bytes = STANDARD
        .decode(&newest.document)
        .map_err(|_| Failure::new(Code::Failed, "the server's root is not base64"))?;
    document::root(&bytes).map(Some)
}

async fn upload(document: &[u8], client: &Client, fleet: &Name) -> Result<(), Failure> {
    let new = lightship_api::NewRoot {
        document: STANDARD.encode(document),
    };
    client
        .tell(Method::POST, &format!("/api/v1/fleets/{fleet}/roots"), &new)
        .await
}

async fn director_key(client: &Client) -> Result<PublicKey, Failure> {
    let key: DirectorKey = client.get("/api/v1/director").await?;
    key.public_key
        .parse()
        .map_err(|_| Failure::new(Code::Failed, "the server's director key is no key"))
}

fn held(
    place: &Place,
    keys: &[String],
    threshold: Option<u8>,
    kept: Option<Holders>,
) -> Result<Holders, Failure> {
    let mut holders = kept.unwrap_or(Holders {
        keys: Vec::new(),
        threshold: 1,
    });
    if !keys.is_empty() {
        let read = keys.iter().map(|key| file::read_public(place, key));
        holders.keys = read.collect::<Result<_, _>>()?;
    }
    holders.threshold = threshold.unwrap_or(holders.threshold);
    Ok(holders)
}

fn signed(
    new: &NewRoot,
    names: &[String],
    place: &Place,
    passphrase: &Passphrase,
) -> Result<Vec<u8>, Failure> {
    let root = new
        .make()
        .map_err(|bad| Failure::new(Code::Usage, bad.to_string()))?;
    let payload = root_payload(&root).map_err(offence)?;
    let signers = names.iter().map(|name| file::read(place, name, passphrase));
    let signers: Vec<_> = signers.collect::<Result<_, _>>()?;
    sign(&payload, &signers).map_err(offence)
}

/// The time on this machine.
pub(crate) fn now() -> UnixTime {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixTime(now.as_secs())
}

fn in_days(days: u32) -> UnixTime {
    UnixTime(now().0 + u64::from(days) * 24 * 3600)
}
