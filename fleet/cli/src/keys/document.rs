//! Signed documents in files: what they say, who signed them, who still has to.

use std::path::Path;

use lightship_api::sign::{Holders, holders, signed_by};
use lightship_core::id::{Digest, KeyId, PublicKey};
use lightship_core::limits::DOCUMENT_BYTES;
use lightship_core::trust::{Codec as _, Compact, Envelope, Role, Root, TrustState};
use serde::Serialize;

use super::offence;
use crate::failure::Failure;
use crate::output::{Output, sheet};
use crate::place::write_private;

/// Components that a release is read with; as many as fit a document.
const COMPONENTS: usize = 32;

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let most = DOCUMENT_BYTES as u64 + 1;
    let file = std::fs::File::open(path).map_err(|error| Failure::file(path, &error))?;
    file.take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::file(path, &error))?;
    Ok(bytes)
}

pub(crate) fn write(path: &Path, document: &[u8], replace: bool) -> Result<(), Failure> {
    write_private(path, document, replace)
}

/// A root document, not believed yet.
pub(crate) fn root(bytes: &[u8]) -> Result<Root, Failure> {
    let envelope = Envelope::open(bytes).map_err(offence)?;
    Compact.root(envelope.payload).map_err(offence)
}

/// A root document that enough of its own keys signed.
pub(crate) fn believed(bytes: &[u8]) -> Result<Root, Failure> {
    TrustState::first_root(&Compact, bytes).map_err(offence)
}

/// Who signed, and who is needed.
#[derive(Debug, Serialize)]
struct Signed {
    /// Whose threshold.
    role: String,
    threshold: u8,
    signed: Vec<PublicKey>,
    missing: Vec<PublicKey>,
    enough: bool,
}

impl Signed {
    fn new(role: &str, document: &[u8], wanted: &Holders) -> Result<Self, Failure> {
        let signed = signed_by(document, &wanted.keys).map_err(offence)?;
        let missing = wanted.keys.iter().filter(|key| !signed.contains(key));
        Ok(Self {
            role: role.to_owned(),
            threshold: wanted.threshold,
            enough: signed.len() >= usize::from(wanted.threshold),
            missing: missing.copied().collect(),
            signed,
        })
    }

    fn describe(&self) -> String {
        let ids = |keys: &[PublicKey]| -> String {
            let ids: Vec<String> = keys.iter().map(|key| KeyId::of(key).to_string()).collect();
            ids.join(" ")
        };
        let state = if self.enough {
            "enough"
        } else {
            "not enough yet"
        };
        let rest = if self.enough {
            String::new()
        } else {
            format!("; may still sign: {}", ids(&self.missing))
        };
        format!(
            "{} of {} for {}, {state}: {}{rest}\n",
            self.signed.len(),
            self.threshold,
            self.role,
            ids(&self.signed)
        )
    }
}

/// What a document says.
#[derive(Debug, Serialize)]
struct Shown {
    kind: &'static str,
    digest: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<Root>,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<lightship_core::trust::ReleaseHead>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    components: Vec<lightship_core::target::Component>,
    signatures: Vec<Signed>,
}

/// Shows a root or release document; `judge` is the root that it follows or is judged by.
pub(crate) fn show(path: &Path, judge: Option<&Path>, output: &Output) -> Result<(), Failure> {
    let document = read(path)?;
    let payload = Envelope::open(&document).map_err(offence)?.payload;
    let judge = judge.map(|path| believed(&read(path)?)).transpose()?;
    let mut shown = Shown {
        kind: "root",
        digest: Digest::of(payload),
        root: None,
        release: None,
        components: Vec::new(),
        signatures: Vec::new(),
    };
    if let Ok(root) = Compact.root(payload) {
        shown.signatures.push(Signed::new(
            "this root",
            &document,
            &holders(&root, Role::Root),
        )?);
        if let Some(judge) = &judge {
            shown.signatures.push(Signed::new(
                "the root before",
                &document,
                &holders(judge, Role::Root),
            )?);
        }
        shown.root = Some(root);
    } else {
        let (head, reader) = Compact.release(payload).map_err(offence)?;
        shown.kind = "release";
        shown.components = reader
            .components::<COMPONENTS>()
            .map_err(offence)?
            .into_iter()
            .collect();
        if let Some(judge) = &judge {
            shown.signatures.push(Signed::new(
                "releases",
                &document,
                &holders(judge, Role::Release),
            )?);
        }
        shown.release = Some(head);
    }
    output.show(&shown, describe);
    Ok(())
}

fn describe(shown: &Shown) -> String {
    let mut text = sheet(&[
        ("document", shown.kind.to_owned()),
        ("digest", shown.digest.to_string()),
    ]);
    if let Some(root) = &shown.root {
        text.push_str(&describe_root(root));
    }
    if let Some(head) = &shown.release {
        text.push_str(&describe_release(head, &shown.components));
    }
    if shown.signatures.is_empty() {
        text.push_str("who must sign it, a root says: pass --root\n");
    }
    text.extend(shown.signatures.iter().map(Signed::describe));
    text
}

fn describe_root(root: &Root) -> String {
    let who = |role| {
        let holders = holders(root, role);
        let ids: Vec<String> = holders
            .keys
            .iter()
            .map(|key| KeyId::of(key).to_string())
            .collect();
        format!("{} of {}", holders.threshold, ids.join(" "))
    };
    sheet(&[
        ("version", root.version.to_string()),
        ("issued", time(root.issued)),
        ("expires", time(root.expires)),
        ("floor", root.floor.to_string()),
        ("root", who(Role::Root)),
        ("release", who(Role::Release)),
        ("director", who(Role::Director)),
    ])
}

/// What a person reads before signing.
pub(crate) fn describe_release(
    head: &lightship_core::trust::ReleaseHead,
    components: &[lightship_core::target::Component],
) -> String {
    let mut text = sheet(&[
        ("product", head.product.to_string()),
        ("device type", head.device_type.to_string()),
        ("version", head.version.to_string()),
        (
            "security version",
            format!("{}, floor {}", head.security_version, head.floor),
        ),
        ("issued", time(head.issued)),
        (
            "must reach the fleet",
            head.reach_fleet_s
                .map(|s| format!("within {s} s"))
                .unwrap_or_default(),
        ),
    ]);
    for component in components {
        let kind = format!("{:?}", component.kind).to_lowercase();
        text.push_str(&format!(
            "  {} ({kind}, {} bytes)\n    artifact {}\n    spec     {}\n    health   {}\n",
            component.name,
            component.artifact.size,
            component.artifact.digest,
            component.spec,
            health(&component.health)
        ));
    }
    text
}

fn health(health: &lightship_core::target::Health) -> String {
    format!(
        "within {} s, then for {} s; {} failures allowed",
        health.grace_s, health.window_s, health.failures
    )
}

pub(crate) fn time(at: lightship_core::time::UnixTime) -> String {
    let millis = i64::try_from(at.0.saturating_mul(1000)).unwrap_or(i64::MAX);
    lightship_api::Timestamp::from_millis(millis).to_string()
}
