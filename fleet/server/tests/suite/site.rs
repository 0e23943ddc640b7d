//! A server to talk to, and the people who do.

use lightship_fleet::{Config, Handle, Server};
use reqwest::{Certificate, Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The administrator's password.
pub(crate) const PASSWORD: &str = "a password for tests";

/// A running server in a folder of its own.
pub(crate) struct Site {
    pub(crate) server: Option<Handle>,
    pub(crate) config: Config,
    pub(crate) client: Client,
    pub(crate) url: String,
    _folder: TempDir,
}

/// Somebody with a token, or without.
#[derive(Clone)]
pub(crate) struct Person {
    client: Client,
    url: String,
    pub(crate) token: Option<String>,
}

/// The URL of a database for a server that is configured by the test itself; SQLite without one.
pub(crate) struct Database(pub(crate) Option<String>);

/// What a test is given: a server on a database, or the database.
pub(crate) trait Given {
    async fn on(database: Option<String>) -> Self;
}

impl Given for Site {
    async fn on(database: Option<String>) -> Self {
        Self::start(database).await
    }
}

impl Given for Database {
    async fn on(database: Option<String>) -> Self {
        Self(database)
    }
}

/// Runs each test on SQLite and on PostgreSQL.
macro_rules! on_both_databases {
    ($($(#[$meta:meta])* async fn $name:ident($given:ident: $kind:ty) $body:block)*) => {
        $(mod $name {
            use super::*;

            async fn test(#[allow(unused_mut)] mut $given: $kind) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                test(<$kind as crate::site::Given>::on(None).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                match crate::postgres::database() {
                    Ok(url) => test(<$kind as crate::site::Given>::on(Some(url)).await).await,
                    Err(why) => eprintln!("SKIPPED: {why}"),
                }
            }
        })*
    };
}
pub(crate) use on_both_databases;

impl Site {
    pub(crate) async fn start(database: Option<String>) -> Self {
        Self::start_with(database, |_| {}).await
    }

    pub(crate) async fn start_with(
        database: Option<String>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::on_free_ports(folder.path());
        config.database.url = database;
        config.admin.password = Some(PASSWORD.to_owned());
        config.limits.failures_per_minute = 100_000;
        change(&mut config);
        let server = Server::start(config.clone()).await.unwrap();
        let (client, url) = (client(&server), server.url());
        Self {
            server: Some(server),
            config,
            client,
            url,
            _folder: folder,
        }
    }

    /// Stops the server and starts it again on the same state; its ports may change.
    pub(crate) async fn restart(&mut self) {
        self.server.take().unwrap().stop().await;
        self.start_again().await;
    }

    /// Starts the server that was stopped.
    pub(crate) async fn start_again(&mut self) {
        let server = Server::start(self.config.clone()).await.unwrap();
        self.client = client(&server);
        self.url = server.url();
        self.server = Some(server);
    }

    pub(crate) fn nobody(&self) -> Person {
        Person {
            client: self.client.clone(),
            url: self.url.clone(),
            token: None,
        }
    }

    pub(crate) fn with_token(&self, token: &str) -> Person {
        self.nobody().with_token(token)
    }

    pub(crate) async fn log_in(&self, name: &str, password: &str) -> Person {
        let login = json!({"name": name, "password": password});
        let made = self
            .nobody()
            .ok(Method::POST, "/api/v1/session", Some(login))
            .await;
        self.with_token(made["secret"].as_str().unwrap())
    }

    pub(crate) async fn admin(&self) -> Person {
        self.log_in("admin", PASSWORD).await
    }

    /// A new user who is logged in.
    pub(crate) async fn user(&self, name: &str) -> Person {
        let user = json!({"name": name, "password": PASSWORD});
        self.admin()
            .await
            .ok(Method::POST, "/api/v1/users", Some(user))
            .await;
        self.log_in(name, PASSWORD).await
    }
}

fn client(server: &Handle) -> Client {
    let authority = Certificate::from_pem(server.authority_pem().as_bytes()).unwrap();
    Client::builder()
        .tls_certs_only([authority])
        .build()
        .unwrap()
}

impl Person {
    pub(crate) fn new(client: Client, url: String, token: Option<String>) -> Self {
        Self { client, url, token }
    }

    /// The same person, logged in.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self {
            token: Some(token.to_owned()),
            ..self.clone()
        }
    }

    /// The same, without the token.
    pub(crate) fn anonymous(&self) -> Self {
        Self {
            token: None,
            ..self.clone()
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Response {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.unwrap()
    }

    /// What a request that must succeed returns.
    pub(crate) async fn ok(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let response = self.send(method.clone(), path, body).await;
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{method} {path}: {status} {text}");
        if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap()
        }
    }

    /// The problem that a request must meet.
    pub(crate) async fn refused(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let response = self.send(method.clone(), path, body).await;
        let status = response.status();
        let kind = response
            .headers()
            .get("content-type")
            .map(|kind| kind.to_str().unwrap().to_owned());
        let text = response.text().await.unwrap();
        assert!(!status.is_success(), "{method} {path}: {status} {text}");
        assert_eq!(
            kind.as_deref(),
            Some("application/problem+json"),
            "{method} {path}: {status} {text}"
        );
        let problem: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(problem["status"], status.as_u16());
        (status, problem)
    }

    /// What a stream says until it has said `what`.
    pub(crate) async fn hears(stream: &mut Response, what: &str) -> String {
        let mut text = String::new();
        while !text.contains(what) {
            let piece = stream.chunk().await.unwrap();
            let piece = piece.unwrap_or_else(|| panic!("it ended without {what}: {text}"));
            text += std::str::from_utf8(&piece).unwrap();
        }
        text
    }

    /// What a stream says until it ends.
    pub(crate) async fn hears_the_end(stream: &mut Response) -> String {
        let mut text = String::new();
        while let Some(piece) = stream.chunk().await.unwrap() {
            text += std::str::from_utf8(&piece).unwrap();
        }
        text
    }

    /// The status of a request, whatever it is.
    pub(crate) async fn status(&self, method: Method, path: &str, body: Option<Value>) -> u16 {
        self.send(method, path, body).await.status().as_u16()
    }
}
