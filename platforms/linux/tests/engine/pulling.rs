//! Pulls from registries that are honest, forgetful, broken and hostile.

use std::sync::Arc;

use lightshipd::engine::image::Platform;
use lightshipd::engine::pull::{OnProgress, Progress, Puller};
use lightshipd::engine::{Error, Reason};
use lightshipd::store::{Digest, Files, Store};

use crate::archive::{Archive, Image, architecture, image, image_of};
use crate::registry::{Lie, Registry};
use crate::scratch;

fn two_layers() -> Image {
    let noise: Vec<u8> = (0..200_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let first = Archive::default()
        .folder("bin/")
        .program("bin/app", b"one")
        .file("data", &noise)
        .finish();
    let second = Archive::default().program("bin/app", b"two").finish();
    image(architecture(), &[first, second], "{}")
}

fn quiet() -> OnProgress {
    Arc::new(|_| {})
}

fn puller(store: &Store, registry: &Registry) -> Puller {
    Puller::new(
        store.clone(),
        registry.access(None),
        Platform::host(),
        scratch::ownership(),
    )
}

struct Setting {
    registry: Registry,
    store: Store,
    puller: Puller,
    _folder: tempfile::TempDir,
}

impl Setting {
    async fn new() -> Self {
        let folder = scratch::folder();
        let registry = Registry::start().await;
        let store = Store::open(&folder.path().join("store"), Files::default()).unwrap();
        let puller = puller(&store, &registry);
        Self {
            registry,
            store,
            puller,
            _folder: folder,
        }
    }

    async fn pull(&self, artifact: &Digest) -> Result<lightshipd::engine::pull::Image, Error> {
        self.puller
            .pull(&self.registry.repository(), artifact, quiet())
            .await
    }
}

#[tokio::test]
async fn an_image_is_pulled_once_and_its_layers_are_shared() {
    let setting = Setting::new().await;
    let image = two_layers();
    setting.registry.add(&image);
    let pulled = setting.pull(&image.artifact).await.unwrap();
    let app = setting.store.layer(&pulled.layers[1]).join("bin/app");
    assert_eq!(std::fs::read(app).unwrap(), b"two");
    assert_eq!(setting.registry.requests().len(), 4);
    setting.pull(&image.artifact).await.unwrap();
    assert!(setting.registry.requests().is_empty());
}

#[tokio::test]
async fn services_that_share_an_image_fetch_its_layers_once_though_they_fetch_at_the_same_time() {
    let setting = Setting::new().await;
    let image = two_layers();
    setting.registry.add(&image);
    let pull = || setting.pull(&image.artifact);
    let (one, two, three) = tokio::join!(pull(), pull(), pull());
    for pulled in [one, two, three] {
        assert_eq!(pulled.unwrap().layers.len(), 2);
    }
    let requests = setting.registry.requests();
    for layer in &image.layers {
        let times = requests
            .iter()
            .filter(|asked| asked.contains(&layer.to_string()));
        assert_eq!(times.count(), 1, "{requests:?}");
    }
}

#[tokio::test]
async fn progress_ends_at_the_total() {
    let setting = Setting::new().await;
    let image = two_layers();
    setting.registry.add(&image);
    let last = Arc::new(std::sync::Mutex::new(Progress::default()));
    let seen = Arc::clone(&last);
    let on_progress: OnProgress = Arc::new(move |progress| *seen.lock().unwrap() = progress);
    setting
        .puller
        .pull(&setting.registry.repository(), &image.artifact, on_progress)
        .await
        .unwrap();
    let last = *last.lock().unwrap();
    assert_eq!(last.done_bytes, last.total_bytes);
    assert!(last.total_bytes > 0);
}

#[tokio::test]
async fn an_index_leads_to_the_image_of_this_machine() {
    let setting = Setting::new().await;
    let image = two_layers();
    setting.registry.add(&image);
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"m","digest":"{}","size":1,"platform":{{"os":"linux","architecture":"{}"}}}}]}}"#,
        image.artifact,
        architecture()
    );
    let index = setting.registry.add_blob(index.as_bytes());
    let pulled = setting.pull(&index).await.unwrap();
    assert_eq!(pulled.layers.len(), 2);
    assert!(setting.puller.local(&index).await.unwrap().is_some());
}

#[tokio::test]
async fn an_image_for_another_machine_is_refused_before_its_layers_are_fetched() {
    let setting = Setting::new().await;
    let layer = Archive::default().file("a", b"a").finish();
    let image = image("s390x", &[layer], "{}");
    setting.registry.add(&image);
    let error = setting.pull(&image.artifact).await.unwrap_err();
    assert_eq!(error.reason(), Reason::WrongArchitecture, "{error}");
    assert_eq!(setting.registry.requests().len(), 2);
}

#[tokio::test]
async fn a_registry_that_asks_for_a_token_gets_one_and_only_for_the_right_password() {
    let setting = Setting::new().await;
    let image = two_layers();
    setting.registry.add(&image);
    setting.registry.ask_for_password("secret");
    let error = setting.pull(&image.artifact).await.unwrap_err();
    assert_eq!(error.reason(), Reason::Unauthorised, "{error}");
    let access = setting.registry.access(Some("secret"));
    let puller = Puller::new(
        setting.store.clone(),
        access,
        Platform::host(),
        scratch::ownership(),
    );
    puller
        .pull(&setting.registry.repository(), &image.artifact, quiet())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_lie_about_any_blob_is_found_out_and_nothing_of_it_is_kept() {
    let image = two_layers();
    for blob in &image.blobs {
        for lie in [Lie::OtherBytes, Lie::Longer] {
            let setting = Setting::new().await;
            setting.registry.add(&image);
            setting.registry.lie(&Digest::of(blob), lie);
            let error = setting.pull(&image.artifact).await.unwrap_err();
            assert_eq!(error.reason(), Reason::DigestMismatch, "{lie:?}: {error}");
            assert!(
                setting
                    .puller
                    .local(&image.artifact)
                    .await
                    .unwrap()
                    .is_none()
            );
            setting.registry.repent();
            setting.pull(&image.artifact).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_download_that_breaks_off_goes_on_where_it_stopped() {
    let setting = Setting::new().await;
    let image = two_layers();
    setting.registry.add(&image);
    setting.registry.lie(&image.layers[0], Lie::BreaksOff);
    // Each connection brings half of what is left: many, until there is less than two bytes to halve.
    let error = setting.pull(&image.artifact).await.unwrap_err();
    assert_eq!(error.reason(), Reason::Network, "{error}");
    setting.registry.repent();
    setting.registry.requests();
    setting.pull(&image.artifact).await.unwrap();
    let resumed = format!("blobs {} bytes=", image.layers[0]);
    assert!(
        setting
            .registry
            .requests()
            .iter()
            .any(|request| request.starts_with(&resumed))
    );
}

#[tokio::test]
async fn a_registry_that_breaks_off_again_and_again_is_given_up() {
    let setting = Setting::new().await;
    let image = two_layers();
    setting.registry.add(&image);
    setting.registry.lie(&image.layers[0], Lie::BreaksOff);
    setting.pull(&image.artifact).await.unwrap_err();
    let ranges = setting
        .registry
        .requests()
        .iter()
        .filter(|request| request.contains("bytes="))
        .count();
    assert!((3..64).contains(&ranges), "{ranges}");
}

#[tokio::test]
async fn a_server_without_ranges_or_with_wrong_ones_costs_a_fresh_start_only() {
    for lie in [Lie::NoRanges, Lie::OtherRange] {
        let setting = Setting::new().await;
        let image = two_layers();
        setting.registry.add(&image);
        let mut partial = setting.store.partial(&image.layers[0]).unwrap();
        partial.write(&image.blobs[0][..1000]).unwrap();
        drop(partial);
        setting.registry.lie(&image.layers[0], lie);
        let pulled = setting.pull(&image.artifact).await;
        match lie {
            Lie::NoRanges => drop(pulled.unwrap()),
            _ => assert!(matches!(pulled, Err(Error::Network { .. }))),
        }
    }
}

#[tokio::test]
async fn a_damaged_partial_download_is_fetched_again() {
    let setting = Setting::new().await;
    let image = two_layers();
    setting.registry.add(&image);
    let mut partial = setting.store.partial(&image.layers[0]).unwrap();
    partial.write(&[9; 1000]).unwrap();
    drop(partial);
    setting.pull(&image.artifact).await.unwrap();
    let requests = setting.registry.requests();
    assert!(
        requests
            .iter()
            .any(|request| request.ends_with("bytes=1000-")),
        "{requests:?}"
    );
}

#[tokio::test]
async fn a_registry_that_is_down_busy_or_empty_is_told_apart() {
    let setting = Setting::new().await;
    let image = two_layers();
    let error = setting.pull(&image.artifact).await.unwrap_err();
    assert_eq!(error.reason(), Reason::NotFound, "{error}");
    setting.registry.add(&image);
    setting.registry.lie(&image.layers[0], Lie::Status(503));
    let error = setting.pull(&image.artifact).await.unwrap_err();
    assert_eq!(error.reason(), Reason::Network, "{error}");
    let closed = setting.registry.repository();
    drop(setting.registry);
    let error = setting.puller.pull(&closed, &image.artifact, quiet()).await;
    // The connection pool may still hold a connection that only now breaks.
    assert_eq!(error.unwrap_err().reason(), Reason::Network);
}

#[tokio::test]
async fn an_image_that_does_not_fit_is_refused_before_anything_is_written() {
    let setting = Setting::new().await;
    let image = two_layers();
    let manifest = String::from_utf8(image.blobs[3].clone()).unwrap();
    let size = format!("\"size\":{}", image.blobs[0].len());
    let manifest = manifest.replace(&size, "\"size\":1152921504606846976");
    setting.registry.add(&image);
    let artifact = setting.registry.add_blob(manifest.as_bytes());
    let error = setting.pull(&artifact).await.unwrap_err();
    assert_eq!(error.reason(), Reason::NoSpace, "{error}");
}

#[tokio::test]
async fn a_layer_that_unpacks_to_something_else_is_refused() {
    let setting = Setting::new().await;
    let layer = Archive::default().file("a", b"a").finish();
    let image = image_of(
        architecture(),
        vec![crate::archive::gzip(&layer)],
        &[Digest::of(b"other")],
        "{}",
    );
    setting.registry.add(&image);
    let error = setting.pull(&image.artifact).await.unwrap_err();
    assert_eq!(error.reason(), Reason::DigestMismatch, "{error}");
    assert!(!setting.store.has_layer(&Digest::of(b"other")));
}

#[tokio::test]
async fn an_image_of_too_many_files_is_refused_however_they_are_spread_over_layers() {
    let setting = Setting::new().await;
    let many = |prefix: &str| {
        let files = (0..60).fold(Archive::default(), |archive, n| {
            archive.file(&format!("{prefix}{n}"), b"")
        });
        files.finish()
    };
    let image = image(architecture(), &[many("a"), many("b")], "{}");
    setting.registry.add(&image);
    let puller = puller(&setting.store, &setting.registry).with_max_files(100);
    let error = puller
        .pull(&setting.registry.repository(), &image.artifact, quiet())
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::BadImage, "{error}");
}

#[tokio::test]
async fn bytes_that_are_no_manifest_are_refused_by_what_is_wrong_with_them() {
    let setting = Setting::new().await;
    for text in [
        "",
        "[]",
        "{}",
        r#"{"manifests":7}"#,
        r#"{"config":{},"layers":[]}"#,
        "\u{0}",
    ] {
        let artifact = setting.registry.add_blob(text.as_bytes());
        let error = setting.pull(&artifact).await.unwrap_err();
        assert_eq!(error.reason(), Reason::BadImage, "{text}: {error}");
    }
}
