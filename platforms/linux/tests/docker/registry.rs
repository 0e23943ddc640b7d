//! A registry on the loopback with one image: busybox, linked statically.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use lightshipd::store::Digest;

use crate::daemon::find;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

type Shelf = Arc<BTreeMap<String, (String, Vec<u8>)>>;

/// A registry that serves until the test ends.
pub(crate) struct Registry {
    shelf: BTreeMap<String, (String, Vec<u8>)>,
}

impl Registry {
    pub(crate) fn new() -> Self {
        let shelf = BTreeMap::new();
        Self { shelf }
    }

    fn put(&mut self, kind: &str, bytes: Vec<u8>) -> (Digest, usize) {
        let digest = Digest::of(&bytes);
        let length = bytes.len();
        self.shelf
            .insert(digest.to_string(), (kind.to_owned(), bytes));
        (digest, length)
    }

    /// An image with busybox and its applets; `note` tells images apart.
    pub(crate) fn image(&mut self, architecture: &str, note: &str) -> Digest {
        let layer = layer();
        let diff_id = Digest::of(&layer);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&layer).unwrap();
        let (layer, layer_size) = self.put("layer", gzip.finish().unwrap());
        let config = serde_json::json!({
            "architecture": architecture, "os": "linux",
            "config": {"Env": ["PATH=/bin", "FROM_IMAGE=1"], "Cmd": ["sh"], "Labels": {"note": note}},
            "rootfs": {"type": "layers", "diff_ids": [diff_id.to_string()]},
        });
        let (config, config_size) = self.put("config", config.to_string().into_bytes());
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config.to_string(), "size": config_size},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": layer.to_string(), "size": layer_size}],
        });
        self.put(MANIFEST, manifest.to_string().into_bytes()).0
    }

    pub(crate) async fn serve(self) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:5000")
            .await
            .unwrap();
        let routes = Router::new()
            .route("/v2/", get(|| async { "{}" }))
            .route("/v2/{name}/{kind}/{digest}", get(serve))
            .with_state(Arc::new(self.shelf));
        tokio::spawn(async move { axum::serve(listener, routes).await });
    }
}

async fn serve(
    State(shelf): State<Shelf>,
    Path((_, _, digest)): Path<(String, String, String)>,
) -> Response {
    match shelf.get(&digest) {
        Some((kind, bytes)) => {
            let headers = [
                (header::CONTENT_TYPE, kind.clone()),
                (header::ETAG, digest.clone()),
            ];
            let digest = [("docker-content-digest", digest)];
            (headers, digest, bytes.clone()).into_response()
        }
        None => (
            StatusCode::NOT_FOUND,
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
        )
            .into_response(),
    }
}

fn layer() -> Vec<u8> {
    const APPLETS: [&str; 14] = [
        "sh", "cat", "env", "httpd", "sleep", "id", "wget", "hostname", "ls", "touch", "mkdir",
        "nc", "mv", "stat",
    ];
    let mut archive = tar::Builder::new(Vec::new());
    let header = |kind, mode, size| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header
    };
    for folder in [
        "bin/", "etc/", "tmp/", "www/", "proc/", "sys/", "dev/", "run/", "data/",
    ] {
        let mut folder_header = header(tar::EntryType::Directory, 0o755, 0);
        archive
            .append_data(&mut folder_header, folder, std::io::empty())
            .unwrap();
    }
    let busybox = std::fs::read(find("busybox").unwrap()).unwrap();
    let mut file = header(tar::EntryType::Regular, 0o755, busybox.len() as u64);
    archive
        .append_data(&mut file, "bin/busybox", busybox.as_slice())
        .unwrap();
    for applet in APPLETS {
        let mut link = header(tar::EntryType::Symlink, 0o777, 0);
        archive
            .append_link(&mut link, format!("bin/{applet}"), "busybox")
            .unwrap();
    }
    for (path, text) in [
        ("etc/passwd", "root:x:0:0::/:/bin/sh\n"),
        ("www/ok", "fine\n"),
        ("data/from-image", "image\n"),
    ] {
        let mut file = header(tar::EntryType::Regular, 0o644, text.len() as u64);
        archive
            .append_data(&mut file, path, text.as_bytes())
            .unwrap();
    }
    archive.into_inner().unwrap()
}
