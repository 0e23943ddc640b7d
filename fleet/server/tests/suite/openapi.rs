//! The committed OpenAPI document is the one that the routes make.

use crate::site::Site;
use reqwest::Method;

#[test]
fn the_committed_document_is_what_the_routes_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../api/openapi.json");
    let made = lightship_fleet::openapi_json();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == made,
        "run with UPDATE_EXPECT=1 to write {path}"
    );
}

#[tokio::test]
async fn the_document_is_served_and_every_response_has_a_description() {
    let site = Site::start(None).await;
    let document = site
        .nobody()
        .ok(Method::GET, "/api/v1/openapi.json", None)
        .await;
    let made: serde_json::Value = serde_json::from_str(&lightship_fleet::openapi_json()).unwrap();
    assert_eq!(document, made);
    let operations = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|path| path.as_object().unwrap());
    for (_, operation) in operations.filter(|(_, operation)| operation.is_object()) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            assert!(
                !response["description"].as_str().unwrap().is_empty(),
                "{} {status}",
                operation["operationId"]
            );
        }
    }
}
