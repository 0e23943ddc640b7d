//! The same exchanges as plain JSON over a TLS connection that is opened for each: TLS 1.3 by rustls, one certificate of the shortest kind, no resumption.

use std::borrow::ToOwned;
use std::format;
use std::string::String;
use std::sync::Arc;
use std::vec;
use std::vec::Vec;

use lightship_core::wire::{Down, json};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::super::certificate::{Authority, Identity};
use super::super::{Way, report as sample_report, soon, target as sample_target};
use super::sample;

pub(super) async fn registration() -> f64 {
    let asked = text(&sample::register());
    let answered = text(&Down::Registered(sample::registered()));
    exchange(&post("register", &asked), &ok(&answered)).await
}

pub(super) async fn report() -> f64 {
    let said = post("report", &text(&sample_report(1)));
    exchange(&said, "HTTP/1.1 204 No Content\r\n\r\n").await
}

pub(super) async fn target() -> f64 {
    let (assignment, release) = sample::documents();
    let answered = text(&sample_target(&assignment, &release));
    exchange(&get(), &ok(&answered)).await
}

/// Nothing new.
pub(super) async fn poll() -> f64 {
    exchange(&get(), "HTTP/1.1 304 Not Modified\r\n\r\n").await
}

fn text(message: &impl Serialize) -> String {
    let mut out = vec![0; json::TEXT_BYTES];
    json::encode(message, &mut out).expect("it fits").to_owned()
}

/// What every request says.
const COMMON: &str = "HTTP/1.1\r\nHost: fleet.example\r\nAuthorization: Bearer 5a5a5a5a-5a5a-4a5a-9a5a-5a5a5a5a5a5a.0101010101010101010101010101010101010101010101010101010101010101\r\n";

fn post(path: &str, body: &str) -> String {
    format!(
        "POST /device/v1/{path} {COMMON}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn get() -> String {
    format!("GET /device/v1/target {COMMON}If-None-Match: \"7\"\r\n\r\n")
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: \"8\"\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Bytes of a new connection, both ways, until both have closed it.
async fn exchange(request: &str, answer: &str) -> f64 {
    let authority = Authority::new();
    let acceptor = acceptor(&authority.issue("localhost", 2100));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = listener.local_addr().expect("an address");
    let (way, address) = Way::tcp(server).await.expect("a way");
    let (len, answer) = (request.len(), answer.to_owned());
    let serving = async move {
        let (stream, _) = listener.accept().await.expect("a client");
        let mut stream = acceptor.accept(stream).await.expect("a handshake");
        let mut asked = vec![0; len];
        stream.read_exact(&mut asked).await.expect("a request");
        stream
            .write_all(answer.as_bytes())
            .await
            .expect("an answer");
        stream.shutdown().await.expect("an end");
        let _ = stream.read(&mut asked).await;
    };
    let asking = async {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let name = ServerName::try_from("localhost").expect("a name");
        let connecting = connector(&authority).connect(name, stream);
        let mut stream = connecting.await.expect("a handshake");
        let written = stream.write_all(request.as_bytes()).await;
        written.expect("a request");
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.expect("an answer");
        stream.shutdown().await.expect("an end");
    };
    soon("the exchange", async { tokio::join!(serving, asking) }).await;
    way.passed() as f64
}

fn acceptor(identity: &Identity) -> TlsAcceptor {
    let chain = vec![identity.certificate.der.clone().into()];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key.der.clone()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has what it needs")
        .with_no_client_auth()
        .with_single_cert(chain, key);
    TlsAcceptor::from(Arc::new(
        config.expect("key and certificate belong together"),
    ))
}

fn connector(authority: &Authority) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let pem = authority.pem();
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    roots.add(certificate).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has what it needs")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}
