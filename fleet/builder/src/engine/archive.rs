//! An image as engines export it (`docker save`) into the layout.
//!
//! `manifest.json` names the configuration and the layers by their paths in the archive; layers that are
//! equal may be links to each other. Layers are compressed here, the same bytes each time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::config::{CONFIG, Descriptor, ImageConfig, LAYER_GZIP, MANIFEST, Manifest};
use crate::context::clean;
use crate::error::{At, BuildError};
use crate::guard::Guard;
use crate::layout::Layout;

/// The documents of an export are small.
const MAX_DOCUMENT_BYTES: u64 = 4 << 20;

const MAX_LINKS: usize = 10;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    layers: Vec<String>,
}

pub(super) fn unpack(
    path: &Path,
    layout: &Layout,
    guard: &Guard,
) -> Result<Descriptor, BuildError> {
    let bad = |what: &str| BuildError::Engine(format!("its export cannot be read: {what}"));
    let (documents, links) = survey(path, guard)?;
    let manifest = documents
        .get("manifest.json")
        .ok_or_else(|| bad("no manifest.json"))?;
    let saved: Vec<Saved> = serde_json::from_slice(manifest).map_err(|e| bad(&e.to_string()))?;
    let [saved] = saved.as_slice() else {
        return Err(bad("it holds more than one image"));
    };
    let config = documents
        .get(&clean(&saved.config))
        .ok_or_else(|| bad("no configuration"))?;
    let parsed: ImageConfig = serde_json::from_slice(config).map_err(|e| bad(&e.to_string()))?;
    let layers: Vec<String> = saved
        .layers
        .iter()
        .map(|layer| follow(&clean(layer), &links))
        .collect();
    let blobs = store_layers(path, &layers, layout, guard)?;
    let mut all = Vec::new();
    let mut diff_ids = parsed.rootfs.diff_ids.iter();
    for layer in &layers {
        let (blob, diff_id) = blobs.get(layer).ok_or_else(|| bad("a layer is missing"))?;
        if diff_ids.next() != Some(diff_id) {
            return Err(bad("a layer is not the one that the configuration names"));
        }
        all.push(blob.clone());
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST.to_owned(),
        config: layout.put(CONFIG, config)?,
        layers: all,
    };
    let bytes = serde_json::to_vec(&manifest).expect("maps of a manifest have text keys");
    let mut image = layout.put(MANIFEST, &bytes)?;
    image.platform = Some(parsed.platform());
    Ok(image)
}

type Survey = (BTreeMap<String, Vec<u8>>, BTreeMap<String, String>);

/// The small files of the archive, and its links.
fn survey(path: &Path, guard: &Guard) -> Result<Survey, BuildError> {
    let mut documents = BTreeMap::new();
    let mut links = BTreeMap::new();
    let mut archive = tar::Archive::new(File::open(path).at(path)?);
    for entry in archive.entries().at(path)? {
        guard.check()?;
        let mut entry = entry.at(path)?;
        let name = clean(&entry.path().at(path)?.to_string_lossy());
        if let Some(target) = entry.link_name().at(path)? {
            let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
            links.insert(
                name.clone(),
                clean(&format!("{folder}/{}", target.to_string_lossy())),
            );
        } else if is_document(&name, entry.size()) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).at(path)?;
            documents.insert(name, bytes);
        }
    }
    Ok((documents, links))
}

/// Layers may be small as well, but never begin with a brace.
fn is_document(name: &str, size: u64) -> bool {
    let is_layer = name.ends_with(".tar");
    !is_layer && size > 0 && size <= MAX_DOCUMENT_BYTES
}

fn follow(name: &str, links: &BTreeMap<String, String>) -> String {
    let mut name = name;
    for _ in 0..MAX_LINKS {
        match links.get(name) {
            Some(target) => name = target,
            None => break,
        }
    }
    name.to_owned()
}

/// The wanted layers as blobs, each with the digest that it had before it was compressed.
fn store_layers(
    path: &Path,
    wanted: &[String],
    layout: &Layout,
    guard: &Guard,
) -> Result<BTreeMap<String, (Descriptor, String)>, BuildError> {
    let wanted: BTreeSet<&String> = wanted.iter().collect();
    let mut blobs = BTreeMap::new();
    let mut archive = tar::Archive::new(File::open(path).at(path)?);
    for entry in archive.entries().at(path)? {
        let mut entry = entry.at(path)?;
        let name = clean(&entry.path().at(path)?.to_string_lossy());
        if wanted.contains(&name) && entry.link_name().at(path)?.is_none() {
            blobs.insert(name, store_layer(&mut entry, path, layout, guard)?);
        }
    }
    Ok(blobs)
}

fn store_layer(
    content: &mut impl Read,
    path: &Path,
    layout: &Layout,
    guard: &Guard,
) -> Result<(Descriptor, String), BuildError> {
    let mut gzip = GzEncoder::new(layout.new_blob()?, Compression::new(6));
    let mut hash = Sha256::new();
    let mut bytes = 0_u64;
    let mut piece = vec![0; 64 * 1024];
    loop {
        guard.check()?;
        let length = match content.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).at(path),
        };
        bytes += length as u64;
        if bytes > guard.limits.layer_bytes {
            return Err(BuildError::Limit(
                "a layer is larger than allowed".to_owned(),
            ));
        }
        hash.update(&piece[..length]);
        gzip.write_all(&piece[..length]).at(path)?;
    }
    let diff_id = format!("sha256:{}", hex::encode(hash.finalize()));
    let blob = gzip.finish().at(path)?.finish(LAYER_GZIP)?;
    Ok((blob, diff_id))
}
