//! `lightship keys`: root and release keys, made and used on this machine alone (design, section 3.3).
//!
//! The server is never sent a private key. A document that needs more keys than are here is signed elsewhere: `keys sign` on another machine, `keys attach` on this one.

mod document;
mod file;
mod root;

use std::path::PathBuf;

use clap::Subcommand;
use lightship_api::sign::{attach, merge};
use lightship_core::id::{KeyId, PublicKey};
use lightship_core::trust::Offence;

use crate::failure::{Code, Failure};
use crate::output::{Output, table};
use crate::place::Place;

pub(crate) use document::{describe_release, time};
pub(crate) use file::{Passphrase, read as read_key};
pub(crate) use root::{newest as newest_root, now};

/// Root and release keys, made and used on this machine alone.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make keys for a new fleet, and its first trust root, and upload the root.
    Init(root::Init),
    /// Make one key pair.
    New {
        /// What the key is called: the name of its files.
        name: String,
        #[command(flatten)]
        passphrase: Passphrase,
    },
    /// The key pairs on this machine.
    List,
    /// Make the first trust root of a fleet.
    Root(root::Make),
    /// Make the next trust root of a fleet: other keys, other thresholds, another end.
    Rotate(root::Rotate),
    /// Sign a document; more keys may have to sign it elsewhere.
    Sign {
        /// The document.
        file: PathBuf,
        /// Names or files of keys.
        #[arg(long, required = true)]
        key: Vec<String>,
        #[command(flatten)]
        passphrase: Passphrase,
    },
    /// Take the signatures over from copies of a document that were signed elsewhere.
    Attach {
        /// The document.
        file: PathBuf,
        /// The copies.
        #[arg(required = true)]
        copies: Vec<PathBuf>,
    },
    /// What a document says, who signed it and who still has to.
    Show {
        /// The document.
        file: PathBuf,
        /// The root that it follows or is judged by.
        #[arg(long, value_name = "FILE")]
        root: Option<PathBuf>,
    },
    /// Upload a trust root that enough keys signed.
    Publish {
        /// The document.
        file: PathBuf,
    },
}

pub(crate) async fn run(keys: Keys, place: &Place, output: &Output) -> Result<(), Failure> {
    match keys {
        Keys::Init(init) => root::init(init, place, output).await,
        Keys::New { name, passphrase } => {
            let public = file::create(place, &name, &passphrase)?;
            let made =
                serde_json::json!({ "name": name, "public_key": public, "id": KeyId::of(&public) });
            output.show(&made, |_| format!("made key {name}\n{public}"));
            Ok(())
        }
        Keys::List => list(place, output),
        Keys::Root(make) => root::make(make, place, output).await,
        Keys::Rotate(rotate) => root::rotate(rotate, place, output),
        Keys::Sign {
            file,
            key,
            passphrase,
        } => {
            let mut document = document::read(&file)?;
            for name in &key {
                let signer = file::read(place, name, &passphrase)?;
                document = attach(&document, &signer).map_err(offence)?;
            }
            document::write(&file, &document, true)?;
            document::show(&file, None, output)
        }
        Keys::Attach { file, copies } => {
            let mut document = document::read(&file)?;
            for copy in &copies {
                document = merge(&document, &document::read(copy)?).map_err(offence)?;
            }
            document::write(&file, &document, true)?;
            document::show(&file, None, output)
        }
        Keys::Show { file, root } => document::show(&file, root.as_deref(), output),
        Keys::Publish { file } => root::publish(&file, place, output).await,
    }
}

fn list(place: &Place, output: &Output) -> Result<(), Failure> {
    let all = file::list(place)?;
    let named = |(name, public): &(String, PublicKey)| serde_json::json!({ "name": name, "public_key": public, "id": KeyId::of(public) });
    let json: Vec<_> = all.iter().map(named).collect();
    output.show(&json, |_| {
        let rows = all.iter().map(|(name, public)| {
            vec![
                name.clone(),
                KeyId::of(public).to_string(),
                public.to_string(),
            ]
        });
        table(&["KEY", "ID", "PUBLIC KEY"], &rows.collect::<Vec<_>>())
    });
    Ok(())
}

/// A root document in a file, if enough of its own keys signed it.
pub(crate) fn read_root(path: &std::path::Path) -> Result<Vec<u8>, Failure> {
    let document = document::read(path)?;
    document::believed(&document)?;
    Ok(document)
}

/// What is wrong with a document, in words.
pub(crate) fn offence(offence: Offence) -> Failure {
    let words = match offence {
        Offence::TooLarge => "the document is too large",
        Offence::Undecodable => "this is no signed document",
        Offence::TrailingBytes => "bytes follow the end of the document",
        Offence::UnknownVersion => "the document is of a version that is not known here",
        Offence::WrongRole => "the document is of another kind",
        Offence::TooManySignatures => "the document has too many signatures",
        Offence::UnderThreshold => "not enough keys signed the document",
        Offence::ImpossibleThreshold => "a threshold of the root cannot be met",
        Offence::RootOutOfOrder => {
            "the root does not follow the one before: its version must be one higher"
        }
        Offence::RootExpired => "the root has expired",
        Offence::OtherRelease => "these are not copies of the same document",
        Offence::TooManyComponents => "there are more components than fit a release",
        Offence::Components(malformation) => {
            return Failure::new(
                Code::Signature,
                format!("the components cannot be a release: {malformation:?}"),
            );
        }
        Offence::OtherDevice
        | Offence::CounterReplayed
        | Offence::CounterReused
        | Offence::AssignmentExpired
        | Offence::OtherDeviceType
        | Offence::OtherProduct
        | Offence::BelowFloor
        | Offence::StraySettings => {
            return Failure::new(
                Code::Signature,
                format!("a device would refuse the document: {offence:?}"),
            );
        }
    };
    Failure::new(Code::Signature, words)
}
