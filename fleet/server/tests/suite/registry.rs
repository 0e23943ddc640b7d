//! The registry as image tools use it.

use std::time::Duration;

use lightship_core::id::Digest;
use reqwest::Method;
use serde_json::{Value, json};

use crate::publisher::{Publisher, upload_blob};
use crate::site::{Person, Site, on_both_databases};

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", Digest::of(bytes))
}

pub(crate) async fn harbour(site: &Site) -> Person {
    let admin = site.admin().await;
    admin
        .ok(
            Method::POST,
            "/api/v1/fleets",
            Some(json!({"name": "harbour"})),
        )
        .await;
    admin
}

async fn put_manifest(person: &Person, repository: &str, reference: &str, manifest: &Value) -> u16 {
    let request = person.request(
        Method::PUT,
        &format!("/v2/{repository}/manifests/{reference}"),
    );
    request
        .header("content-type", "application/vnd.oci.image.manifest.v1+json")
        .body(manifest.to_string())
        .send()
        .await
        .unwrap()
        .status()
        .as_u16()
}

fn manifest(layer: &[u8]) -> Value {
    json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": [{"mediaType": "x", "digest": digest(layer), "size": layer.len()}]})
}

on_both_databases! {
    async fn an_upload_that_breaks_off_goes_on_even_after_a_restart(site: Site) {
        let admin = harbour(&site).await;
        let started = admin.request(Method::POST, "/v2/harbour/web/blobs/uploads/").send().await.unwrap();
        assert_eq!(started.status(), 202);
        let place = started.headers()["location"].to_str().unwrap().to_owned();
        let first = admin.request(Method::PATCH, &place).body("hello ").send().await.unwrap();
        assert_eq!((first.status().as_u16(), first.headers()["range"].to_str().unwrap()), (202, "0-5"));
        site.restart().await;
        let admin = site.with_token(admin.token.as_deref().unwrap());
        let asked = admin.request(Method::GET, &place).send().await.unwrap();
        assert_eq!((asked.status().as_u16(), asked.headers()["range"].to_str().unwrap()), (204, "0-5"));
        let gap = admin.request(Method::PATCH, &place).header("content-range", "9-13").body("world");
        assert_eq!(gap.send().await.unwrap().status(), 416);
        let other = place.replace("harbour/web", "harbour/db");
        assert_eq!(admin.status(Method::GET, &other, None).await, 404, "another repository's upload");
        let end = admin.request(Method::PUT, &format!("{place}?digest={}", digest(b"hello world"))).body("world");
        assert_eq!(end.send().await.unwrap().status(), 201);
        let read = admin.request(Method::GET, &format!("/v2/harbour/web/blobs/{}", digest(b"hello world")));
        assert_eq!(read.send().await.unwrap().text().await.unwrap(), "hello world");
    }

    async fn bytes_without_their_digest_are_not_stored(site: Site) {
        let admin = harbour(&site).await;
        let path = format!("/v2/harbour/web/blobs/uploads/?digest={}", digest(b"one"));
        let sent = admin.request(Method::POST, &path).body("two").send().await.unwrap();
        assert_eq!(sent.status(), 400);
        assert_eq!(sent.json::<Value>().await.unwrap()["errors"][0]["code"], "DIGEST_INVALID");
        let missing = put_manifest(&admin, "harbour/web", "latest", &manifest(b"one")).await;
        assert_eq!(missing, 404, "a manifest of what is not there");
        assert_eq!(put_manifest(&admin, "harbour/web", "-tag", &manifest(b"one")).await, 400);
    }

    async fn tags_come_in_pages_and_referrers_are_found(site: Site) {
        let admin = harbour(&site).await;
        upload_blob(&admin, "harbour/web", b"layer").await;
        for tag in ["a", "b", "c"] {
            assert_eq!(put_manifest(&admin, "harbour/web", tag, &manifest(b"layer")).await, 201);
        }
        let page = admin.request(Method::GET, "/v2/harbour/web/tags/list?n=2").send().await.unwrap();
        assert_eq!(page.headers()["link"], "</v2/harbour/web/tags/list?n=2&last=b>; rel=\"next\"");
        assert_eq!(page.json::<Value>().await.unwrap()["tags"], json!(["a", "b"]));
        assert_eq!(admin.ok(Method::GET, "/v2/harbour/web/tags/list?last=b", None).await["tags"], json!(["c"]));
        let subject = digest(manifest(b"layer").to_string().as_bytes());
        let mut signature = manifest(b"layer");
        signature["subject"] = json!({"digest": subject, "size": 1, "mediaType": "x"});
        signature["artifactType"] = json!("application/signature");
        assert_eq!(put_manifest(&admin, "harbour/web", &digest(signature.to_string().as_bytes()), &signature).await, 201);
        let path = format!("/v2/harbour/web/referrers/{subject}?artifactType=application/signature");
        let found = admin.ok(Method::GET, &path, None).await;
        assert_eq!(found["manifests"].as_array().unwrap().len(), 1);
    }

    async fn what_nothing_needs_is_collected_and_what_a_release_needs_is_not(site: Site) {
        let admin = harbour(&site).await;
        let publisher = Publisher::of(&admin, "harbour").await;
        publisher.upload_root(&admin).await;
        publisher.push(&admin, "1.0.0", b"firmware", false).await;
        upload_blob(&admin, "harbour/web", b"kept by a tag").await;
        upload_blob(&admin, "harbour/web", b"kept by nothing").await;
        upload_blob(&admin, "harbour/web", b"kept by an untagged manifest").await;
        assert_eq!(put_manifest(&admin, "harbour/web", "latest", &manifest(b"kept by a tag")).await, 201);
        let untagged = manifest(b"kept by an untagged manifest");
        assert_eq!(put_manifest(&admin, "harbour/web", &digest(untagged.to_string().as_bytes()), &untagged).await, 201);
        let server = site.server.as_ref().unwrap();
        assert_eq!(server.collect(Duration::from_secs(3600)).await, Ok(0), "what is new stays");
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(server.collect(Duration::ZERO).await, Ok(2));
        let status = async |repository: &str, bytes: &[u8]| admin.status(Method::HEAD, &format!("/v2/{repository}/blobs/{}", digest(bytes)), None).await;
        assert_eq!(status("harbour/web", b"kept by a tag").await, 200);
        assert_eq!(status("harbour", b"firmware").await, 200);
        assert_eq!(status("harbour/web", b"kept by nothing").await, 404);
        assert_eq!(status("harbour/web", b"kept by an untagged manifest").await, 404);
    }
}
