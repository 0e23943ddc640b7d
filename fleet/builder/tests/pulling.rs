//! Images pulled from a registry on the loopback that wants a token and may lie.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use lightship_builder::build::{Request, build};
use lightship_builder::dockerfile::Dockerfile;
use lightship_builder::{
    Cancel, Descriptor, Index, Layout, Limits, Manifest, Platform, Registries,
};
use tempfile::TempDir;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// What it has, by the last part of the path, with the media type.
type Shelf = BTreeMap<String, (String, Vec<u8>)>;

struct Shop {
    shelf: Shelf,
    host: String,
}

async fn serve(shelf: Shelf) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let shop = Arc::new(Shop {
        shelf,
        host: host.clone(),
    });
    let routes = Router::new()
        .route("/token", get(token))
        .route("/v2/team/{name}/{kind}/{what}", get(content))
        .with_state(shop);
    tokio::spawn(async move { axum::serve(listener, routes).await });
    host
}

async fn token(Query(asked): Query<BTreeMap<String, String>>, headers: HeaderMap) -> Response {
    assert_eq!(asked["service"], "shop");
    // `user:password` in base64.
    let known = headers
        .get(header::AUTHORIZATION)
        .is_some_and(|v| v == "Basic dXNlcjpwYXNzd29yZA==");
    if asked["scope"] == "repository:team/app:pull" && known {
        return r#"{"token":"yes"}"#.into_response();
    }
    StatusCode::UNAUTHORIZED.into_response()
}

async fn content(
    State(shop): State<Arc<Shop>>,
    Path((_, _, what)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    if headers
        .get(header::AUTHORIZATION)
        .is_none_or(|value| value != "Bearer yes")
    {
        let challenge = format!(
            "Bearer realm=\"http://{}/token\",service=\"shop\"",
            shop.host
        );
        return (
            StatusCode::UNAUTHORIZED,
            [(header::WWW_AUTHENTICATE, challenge)],
        )
            .into_response();
    }
    match shop.shelf.get(&what) {
        Some((kind, bytes)) => {
            ([(header::CONTENT_TYPE, kind.clone())], bytes.clone()).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn platform(text: &str) -> Platform {
    Platform::read(text).unwrap()
}

fn layout(folder: &TempDir, name: &str) -> Layout {
    Layout::open(&folder.path().join(name)).unwrap()
}

fn build_one(folder: &TempDir, layout: &Layout, text: &str, on: &str) -> Descriptor {
    let context = folder.path().join("context");
    std::fs::create_dir_all(&context).unwrap();
    std::fs::write(context.join("file"), "content\n").unwrap();
    let dockerfile = Dockerfile::read("Dockerfile", text).unwrap();
    let request = Request {
        context: &context,
        file: "Dockerfile",
        text,
        dockerfile: &dockerfile,
        args: &BTreeMap::new(),
        target: None,
        labels: &BTreeMap::new(),
        platform: &platform(on),
        layout,
        limits: Limits::default(),
        cancel: &Cancel::default(),
    };
    build(&request, &mut |_| ()).unwrap()
}

/// A registry's shelf with one image for two processors under the tag `1`.
fn stock(folder: &TempDir) -> (Shelf, Descriptor) {
    let source = layout(folder, "source");
    let mut shelf = Shelf::new();
    let mut index = Index {
        schema_version: 2,
        media_type: INDEX.to_owned(),
        manifests: Vec::new(),
    };
    for on in ["linux/arm/v7", "linux/amd64"] {
        let image = build_one(
            folder,
            &source,
            "FROM scratch\nARG TARGETARCH\nLABEL for=$TARGETARCH\nCOPY file /file\n",
            on,
        );
        let bytes = source.document(&image).unwrap();
        let manifest: Manifest = serde_json::from_slice(&bytes).unwrap();
        for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
            let bytes = std::fs::read(source.blob(&blob.digest).unwrap()).unwrap();
            shelf.insert(
                blob.digest.clone(),
                ("application/octet-stream".to_owned(), bytes),
            );
        }
        shelf.insert(image.digest.clone(), (image.media_type.clone(), bytes));
        index.manifests.push(image);
    }
    let first = index.manifests[0].clone();
    shelf.insert(
        "1".to_owned(),
        (INDEX.to_owned(), serde_json::to_vec(&index).unwrap()),
    );
    (shelf, first)
}

struct Pulled {
    folder: TempDir,
    host: String,
}

impl Pulled {
    async fn from(shelf: Shelf) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let host = serve(shelf).await;
        Self { folder, host }
    }

    async fn pull(&self, what: &str, on: &str, password: &str) -> Result<Descriptor, String> {
        let known = (("user").to_owned(), password.to_owned());
        let registries = Registries::new(BTreeMap::from([(self.host.clone(), known)])).unwrap();
        let name = format!("{}/team/{what}", self.host);
        let layout = layout(&self.folder, "target");
        let (on, cancel) = (platform(on), Cancel::default());
        let pulled = registries.pull(&name, &on, &layout, Limits::default(), &cancel);
        pulled.await.map_err(|error| error.to_string())
    }
}

#[tokio::test]
async fn an_image_is_pulled_for_its_platform_and_keeps_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let (shelf, arm) = stock(&folder);
    let pulled = Pulled::from(shelf).await;
    let image = pulled
        .pull("app:1", "linux/arm/v7", "password")
        .await
        .unwrap();
    assert_eq!(image.digest, arm.digest);
    let target = layout(&pulled.folder, "target");
    let name = format!("{}/team/app:1", pulled.host);
    assert_eq!(
        target
            .resolve(&name, &platform("linux/arm/v7"))
            .unwrap()
            .digest,
        arm.digest
    );
    // What was pulled can be built upon.
    build_one(
        &pulled.folder,
        &target,
        &format!("FROM {name}\nCOPY file /more\n"),
        "linux/arm/v7",
    );
    let by_digest = pulled
        .pull(&format!("app@{}", arm.digest), "linux/arm/v7", "password")
        .await;
    assert_eq!(by_digest.unwrap().digest, arm.digest);
}

#[tokio::test]
async fn what_is_not_there_or_not_allowed_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (shelf, _) = stock(&folder);
    let pulled = Pulled::from(shelf).await;
    let told = |result: Result<Descriptor, String>| result.unwrap_err();
    let missing = told(pulled.pull("app:2", "linux/amd64", "password").await);
    assert!(missing.ends_with("app:2 is not there"), "{missing}");
    let platform = told(pulled.pull("app:1", "linux/s390x", "password").await);
    assert!(
        platform.ends_with("is not there for linux/s390x; it is for linux/arm/v7, linux/amd64"),
        "{platform}"
    );
    let refused = told(pulled.pull("app:1", "linux/amd64", "wrong").await);
    assert!(refused.ends_with("refuses access"), "{refused}");
    let refused = told(pulled.pull("other:1", "linux/amd64", "password").await);
    assert!(refused.ends_with("refuses access"), "{refused}");
    let malformed = told(pulled.pull("app:?", "linux/amd64", "password").await);
    assert!(
        malformed.ends_with("is not a reference to an image"),
        "{malformed}"
    );
}

#[tokio::test]
async fn a_registry_that_lies_is_found_out_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (honest, arm) = stock(&folder);
    let manifest: Manifest = serde_json::from_slice(&honest[&arm.digest].1).unwrap();
    let layer = &manifest.layers[0].digest;
    let lie = |digest: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut shelf = honest.clone();
        change(&mut shelf.get_mut(digest).unwrap().1);
        shelf
    };
    let cases = [
        (lie(layer, &|bytes| bytes[20] ^= 1), "something else came"),
        (
            lie(layer, &|bytes| bytes.push(0)),
            "longer than the manifest says",
        ),
        (
            lie(layer, &|bytes| bytes.truncate(10)),
            "something else came",
        ),
        (
            lie(&manifest.config.digest, &|bytes| bytes[0] = b' '),
            "something else came",
        ),
        (lie(&arm.digest, &|bytes| bytes.push(b' ')), "was asked for"),
        (lie("1", &|bytes| bytes.clear()), "EOF"),
    ];
    for (shelf, expected) in cases {
        let pulled = Pulled::from(shelf).await;
        let told = pulled
            .pull("app:1", "linux/arm/v7", "password")
            .await
            .unwrap_err();
        assert!(told.contains(expected), "{told}");
        let target = layout(&pulled.folder, "target");
        let name = format!("{}/team/app:1", pulled.host);
        assert!(target.resolve(&name, &platform("linux/arm/v7")).is_err());
    }
    let mut shelf = honest.clone();
    shelf.get_mut("1").unwrap().0 = CONFIG.to_owned();
    let told = Pulled::from(shelf)
        .await
        .pull("app:1", "linux/arm/v7", "password")
        .await
        .unwrap_err();
    assert!(told.contains("for a manifest"), "{told}");
}
