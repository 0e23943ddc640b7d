//! Blobs in a bucket: a service in this process that speaks as much of S3's language as is used.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use lightship_core::id::Digest;
use lightship_fleet::Config;

use crate::gadget::{Gadget, provisioning_key};
use crate::publisher::{Publisher, upload_blob};
use crate::registry::harbour;
use crate::site::{Database, Site, on_both_databases};

/// More than one part of a multipart upload.
const IMAGE_BYTES: usize = 6 << 20;

/// What the service holds.
#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, Bytes>,
    parts: HashMap<String, BTreeMap<u32, Bytes>>,
    uploads: u32,
}

type Shared = Arc<Mutex<Bucket>>;

/// Starts the service; returns its URL.
async fn serve(bucket: &Shared) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new()
        .fallback(answer)
        .layer(DefaultBodyLimit::disable())
        .with_state(Arc::clone(bucket));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

async fn answer(
    State(bucket): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let signed = headers["authorization"].to_str().unwrap();
    assert!(
        signed.starts_with("AWS4-HMAC-SHA256 Credential=keyid/"),
        "{signed}"
    );
    let mut bucket = bucket.lock().unwrap();
    let key = uri
        .path()
        .trim_start_matches("/blobs")
        .trim_start_matches('/')
        .to_owned();
    let query = uri.query().unwrap_or_default();
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value.to_owned())
    };
    match (method, value("uploadId")) {
        (Method::POST, None) if query.starts_with("uploads") => bucket.begin(&key),
        (Method::PUT, Some(upload)) => {
            let part = value("partNumber").unwrap().parse().unwrap();
            bucket.parts.get_mut(&upload).unwrap().insert(part, body);
            ([("etag", format!("\"{part}\""))], "").into_response()
        }
        (Method::POST, Some(upload)) => bucket.complete(key, &upload),
        (Method::POST, None) => bucket.delete_all(&String::from_utf8_lossy(&body)),
        (Method::DELETE, None) => {
            bucket.objects.remove(&key);
            StatusCode::NO_CONTENT.into_response()
        }
        (Method::GET, None) => bucket.get(&key, &headers),
        (method, _) => panic!("{method} {uri} was not expected"),
    }
}

impl Bucket {
    fn begin(&mut self, key: &str) -> Response {
        self.uploads += 1;
        let upload = self.uploads.to_string();
        self.parts.insert(upload.clone(), BTreeMap::new());
        format!("<InitiateMultipartUploadResult><Bucket>blobs</Bucket><Key>{key}</Key><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>").into_response()
    }

    fn complete(&mut self, key: String, upload: &str) -> Response {
        let parts = self.parts.remove(upload).unwrap();
        let parts: Vec<Bytes> = parts.into_values().collect();
        self.objects.insert(key, Bytes::from(parts.concat()));
        "<CompleteMultipartUploadResult><ETag>\"whole\"</ETag></CompleteMultipartUploadResult>"
            .into_response()
    }

    fn delete_all(&mut self, wanted: &str) -> Response {
        let mut answer = "<DeleteResult>".to_owned();
        for piece in wanted.split("<Key>").skip(1) {
            let (key, _) = piece.split_once("</Key>").unwrap();
            self.objects.remove(key);
            answer += &format!("<Deleted><Key>{key}</Key></Deleted>");
        }
        (answer + "</DeleteResult>").into_response()
    }

    fn get(&self, key: &str, headers: &HeaderMap) -> Response {
        let Some(object) = self.objects.get(key) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let whole = [
            ("etag", "\"whole\"".to_owned()),
            ("last-modified", "Wed, 21 Oct 2015 07:28:00 GMT".to_owned()),
        ];
        let Some(range) = headers.get("range") else {
            return (whole, object.clone()).into_response();
        };
        let range = range.to_str().unwrap().trim_start_matches("bytes=");
        let (from, to) = range.split_once('-').unwrap();
        let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
        let content = format!("bytes {from}-{to}/{}", object.len());
        let part = object.slice(from..=to);
        let answer = (
            StatusCode::PARTIAL_CONTENT,
            whole,
            [("content-range", content)],
            part,
        );
        answer.into_response()
    }
}

fn in_bucket(config: &mut Config, endpoint: String) {
    let secret = config.data.join("s3-secret");
    std::fs::create_dir_all(&config.data).unwrap();
    std::fs::write(&secret, "secret\n").unwrap();
    config.blobs = lightship_fleet::Blobs::S3 {
        bucket: "blobs".to_owned(),
        region: "nowhere-1".to_owned(),
        endpoint: Some(endpoint),
        access_key_id: "keyid".to_owned(),
        secret_access_key_file: secret,
        allow_http: true,
    };
}

on_both_databases! {
    async fn blobs_are_kept_in_a_bucket_read_in_ranges_and_collected(database: Database) {
        let bucket = Shared::default();
        let endpoint = serve(&bucket).await;
        let site = Site::start_with(database.0, |config| in_bucket(config, endpoint)).await;
        let admin = harbour(&site).await;
        let publisher = Publisher::of(&admin, "harbour").await;
        publisher.upload_root(&admin).await;
        let image: Vec<u8> = (0..IMAGE_BYTES).map(|i| (i % 251) as u8).collect();
        publisher.push(&admin, "1.0.0", &image, false).await;
        upload_blob(&admin, "harbour/web", b"needed by nothing").await;
        assert_eq!(bucket.lock().unwrap().objects.len(), 2);
        assert!(
            !site.config.data.join("blobs").exists(),
            "nothing is kept here"
        );

        let key = provisioning_key(&admin, "harbour", 1).await;
        let gadget = Gadget::registered(&site, 1, &key).await;
        let path = format!("blobs/{}", Digest::of(&image));
        let read = async |range: Option<&str>| {
            let mut request = gadget.request(reqwest::Method::GET, &path);
            if let Some(range) = range {
                request = request.header("range", range);
            }
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.bytes().await.unwrap())
        };
        let (status, whole) = read(None).await;
        assert!(status == 200 && whole == image);
        let (status, rest) = read(Some("bytes=6000000-")).await;
        assert!(status == 206 && rest == image[6_000_000..]);

        let server = site.server.as_ref().unwrap();
        let mut collected = 0;
        while collected == 0 {
            // What was touched in this very millisecond stays until the next.
            collected = server.collect(Duration::ZERO).await.unwrap();
        }
        assert_eq!(collected, 1);
        let left: Vec<String> = bucket.lock().unwrap().objects.keys().cloned().collect();
        let hex = Digest::of(&image).to_string();
        assert_eq!(left, [format!("sha256/{}/{hex}", &hex[..2])]);
    }
}
