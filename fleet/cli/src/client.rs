//! Requests to the server, and what went wrong with them.

mod events;

use std::time::Duration;

use lightship_api::Problem;
use reqwest::{Certificate, Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::{Code, Failure};

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer that is read into memory.
const ANSWER_BYTES: usize = 64 << 20;

/// A server, and who talks to it.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    server: String,
    token: Option<String>,
}

impl Client {
    /// `authority` is pinned when it is given: no other is believed then.
    pub(crate) fn new(
        server: &str,
        token: Option<String>,
        authority: Option<&str>,
    ) -> Result<Self, Failure> {
        let server = server.trim_end_matches('/').to_owned();
        if !server.starts_with("https://") && !is_loopback_http(&server) {
            let failure = Failure::new(Code::Usage, format!("{server} is not an https:// URL"));
            return Err(failure.help(
                "plain HTTP is for 127.0.0.1 alone: it would show your token to the network",
            ));
        }
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none());
        if let Some(pem) = authority {
            let certificate = Certificate::from_pem(pem.as_bytes());
            let certificate = certificate.map_err(|error| {
                Failure::new(
                    Code::Usage,
                    format!("the server's authority is no PEM certificate: {error}"),
                )
            })?;
            builder = builder.tls_certs_only([certificate]);
        }
        let http = builder
            .build()
            .map_err(|error| Failure::new(Code::Failed, format!("TLS: {error}")))?;
        Ok(Self {
            http,
            server,
            token,
        })
    }

    /// A client that believes any certificate, to fetch the one that is then shown to a person.
    pub(crate) async fn unverified_authority(server: &str) -> Result<String, Failure> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .tls_danger_accept_invalid_certs(true)
            .build();
        let http = http.map_err(|error| Failure::new(Code::Failed, format!("TLS: {error}")))?;
        let server = server.trim_end_matches('/').to_owned();
        let client = Self {
            http,
            server,
            token: None,
        };
        let response = client.send(client.request(Method::GET, "/ca.pem")).await?;
        response
            .text()
            .await
            .map_err(|error| client.unreachable(&error))
    }

    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// `host:port`, as image names begin.
    pub(crate) fn registry(&self) -> &str {
        let (_, rest) = self.server.split_once("://").unwrap_or(("", &self.server));
        rest
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}{path}", self.server)
        };
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends, and makes a failure of every answer that is not a success.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        Err(match serde_json::from_str::<Problem>(&text) {
            Ok(problem) => problem.into(),
            Err(_) => Problem {
                kind: "about:blank".to_owned(),
                title: format!("the server answered {status}"),
                status: status.as_u16(),
                detail: None,
                field: None,
            }
            .into(),
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        let failure = Failure::new(Code::Unreachable, format!("{}: {cause}", self.server));
        if cause.to_string().contains("certificate") {
            failure.help("the server's certificate is not trusted: run `lightship login` again, or pass --ca")
        } else {
            failure.help("is the server running, and the address right?")
        }
    }

    async fn decode<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        let bytes = response
            .bytes()
            .await
            .map_err(|error| self.unreachable(&error))?;
        if bytes.len() > ANSWER_BYTES {
            return Err(Failure::new(
                Code::Failed,
                "the server's answer is too large",
            ));
        }
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::new(
                Code::Failed,
                format!("the server's answer is not understood: {error}"),
            )
            .help("is the server of the same version? compare `lightship --version`")
        })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let response = self.send(self.request(Method::GET, path)).await?;
        self.decode(response).await
    }

    /// Sends a body and reads the answer.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let response = self.send(self.request(method, path).json(body)).await?;
        self.decode(response).await
    }

    /// Sends a body; the answer does not matter.
    pub(crate) async fn tell(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<(), Failure> {
        self.send(self.request(method, path).json(body))
            .await
            .map(|_| ())
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<(), Failure> {
        self.send(self.request(Method::DELETE, path))
            .await
            .map(|_| ())
    }

    /// All entries of a list that comes in pages; `after` names the entry to go on from.
    pub(crate) async fn all<T: DeserializeOwned>(
        &self,
        path: &str,
        after: impl Fn(&T) -> String,
    ) -> Result<Vec<T>, Failure> {
        const PAGE: usize = 1000;
        let mut all: Vec<T> = Vec::new();
        loop {
            let from = all.last().map(&after).unwrap_or_default();
            let page: Vec<T> = self
                .get(&format!("{path}?limit={PAGE}&after={from}"))
                .await?;
            let whole = page.len() == PAGE;
            all.extend(page);
            if !whole {
                return Ok(all);
            }
        }
    }
}

fn is_loopback_http(server: &str) -> bool {
    let host = server.strip_prefix("http://").unwrap_or_default();
    ["127.0.0.1", "localhost", "[::1]"].iter().any(|loopback| {
        host.strip_prefix(loopback)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    })
}
