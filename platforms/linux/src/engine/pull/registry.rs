//! Requests to registries: one place for addresses, authorisation, time limits and errors.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, RANGE, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode};
use tokio::sync::Mutex;

use super::token;
use crate::engine::Error;
use crate::engine::image::{MANIFEST_TYPES, Reference};
use crate::store::Digest;

/// A manifest, an index or a configuration may not be larger (distribution specification, 4 MiB).
const MAX_SMALL_BYTES: usize = 4 * 1024 * 1024;

/// A registry that is silent for this long is gone.
pub(super) const SILENCE: Duration = Duration::from_secs(60);

/// A user name and password for a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub user: String,
    /// Password or token.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// How one registry is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Absent means anonymous.
    pub credentials: Option<Credentials>,
    /// Without TLS: a registry inside the tunnel, or on the loopback.
    pub plain_http: bool,
}

/// All registries.
#[derive(Clone, Debug)]
pub struct Registries {
    client: reqwest::Client,
    access: Arc<BTreeMap<String, Access>>,
    /// The fleet's own registry and what the device shows there, and nowhere else.
    own: Arc<RwLock<Option<(String, Credentials)>>>,
    /// Reaches the fleet's own registry without leaving the tunnel; fails at once when there is none.
    inside: Option<reqwest::Client>,
    tokens: Arc<Mutex<BTreeMap<Reference, String>>>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    Manifest,
    Blob { from: u64 },
}

impl Registries {
    /// Uses `client` for every request; hosts that `access` does not name are asked anonymously over TLS.
    pub fn new(client: reqwest::Client, access: BTreeMap<String, Access>) -> Self {
        Self {
            client,
            access: Arc::new(access),
            own: Arc::default(),
            inside: None,
            tokens: Arc::default(),
        }
    }

    /// Asks the fleet's own registry through `inside` first, without TLS: a client all of whose connections end at the fleet, in the tunnel.
    #[must_use]
    pub fn through(mut self, inside: reqwest::Client) -> Self {
        self.inside = Some(inside);
        self
    }

    /// Says what the device shows at the fleet's own registry, `host` or `host:port`, from now on.
    pub fn authorise(&self, host: &str, credentials: Credentials) {
        let mut own = self.own.write().unwrap_or_else(PoisonError::into_inner);
        *own = Some((host.to_owned(), credentials));
    }

    /// What the device shows at a registry.
    pub fn credentials(&self, host: &str) -> Option<Credentials> {
        self.access_to(host).credentials
    }

    /// A manifest or an index, verified.
    pub(super) async fn manifest(
        &self,
        from: &Reference,
        digest: &Digest,
    ) -> Result<Vec<u8>, Error> {
        self.small(from, digest, Wanted::Manifest).await
    }

    /// A blob that is small by its nature, verified.
    pub(super) async fn small_blob(
        &self,
        from: &Reference,
        digest: &Digest,
    ) -> Result<Vec<u8>, Error> {
        self.small(from, digest, Wanted::Blob { from: 0 }).await
    }

    async fn small(
        &self,
        from: &Reference,
        digest: &Digest,
        wanted: Wanted,
    ) -> Result<Vec<u8>, Error> {
        let mut response = self.open(from, digest, wanted).await?;
        let bytes = read(&mut response, MAX_SMALL_BYTES, &from.host).await?;
        if Digest::of(&bytes) != *digest {
            let found = Digest::of(&bytes).to_string();
            return Err(Error::DigestMismatch {
                wanted: *digest,
                found,
            });
        }
        Ok(bytes)
    }

    /// Asks for something, and authorises itself when the registry asks back.
    pub(super) async fn open(
        &self,
        from: &Reference,
        digest: &Digest,
        wanted: Wanted,
    ) -> Result<Response, Error> {
        let token = self.tokens.lock().await.get(from).cloned();
        let response = self.send(from, digest, wanted, token).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return checked(response, from, digest);
        }
        let challenge = response.headers().get(WWW_AUTHENTICATE);
        let challenge = challenge
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let token = self.token(from, &challenge).await?;
        self.tokens.lock().await.insert(from.clone(), token.clone());
        let response = self.send(from, digest, wanted, Some(token)).await?;
        checked(response, from, digest)
    }

    async fn send(
        &self,
        from: &Reference,
        digest: &Digest,
        wanted: Wanted,
        token: Option<String>,
    ) -> Result<Response, Error> {
        let kind = match wanted {
            Wanted::Manifest => "manifests",
            Wanted::Blob { .. } => "blobs",
        };
        let address = format!("{}/v2/{}/{kind}/{digest}", from.host, from.repository);
        let dress = |mut request: reqwest::RequestBuilder| {
            match wanted {
                Wanted::Manifest => request = request.header(ACCEPT, MANIFEST_TYPES),
                Wanted::Blob { from: 0 } => {}
                Wanted::Blob { from } => request = request.header(RANGE, format!("bytes={from}-")),
            }
            match &token {
                Some(token) => request.header(AUTHORIZATION, token),
                None => request,
            }
        };
        if let Some(inside) = self.inside_for(&from.host) {
            let request = dress(inside.get(format!("http://{address}")));
            if let Ok(Ok(response)) = tokio::time::timeout(SILENCE, request.send()).await {
                return Ok(response);
            }
        }
        let scheme = match self.access_to(&from.host).plain_http {
            true => "http",
            false => "https",
        };
        let request = dress(self.client.get(format!("{scheme}://{address}")));
        let sent = tokio::time::timeout(SILENCE, request.send()).await;
        let sent = sent.map_err(|_| silent(&from.host))?;
        sent.map_err(|error| unreachable(&from.host, &error))
    }

    /// What the challenge asks for: inside the tunnel when the fleet itself gives it out, or from wherever the registry says.
    async fn token(&self, from: &Reference, challenge: &str) -> Result<String, Error> {
        let access = self.access_to(&from.host);
        if let Some(inside) = self.inside_for(&from.host) {
            let realm = format!("https://{}/", from.host);
            if challenge.contains(&format!("realm=\"{realm}")) {
                let challenge = challenge.replacen(&realm, &format!("http://{}/", from.host), 1);
                let access = Access {
                    plain_http: true,
                    ..access.clone()
                };
                if let Ok(token) = token::answer(inside, &access, from, &challenge).await {
                    return Ok(token);
                }
            }
        }
        token::answer(&self.client, &access, from, challenge).await
    }

    /// The client for the tunnel, if this host is the fleet's own registry.
    fn inside_for(&self, host: &str) -> Option<&reqwest::Client> {
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner);
        let is_own = own.as_ref().is_some_and(|(own, _)| own == host);
        self.inside.as_ref().filter(|_| is_own)
    }

    fn access_to(&self, host: &str) -> Access {
        let mut access = self.access.get(host).cloned().unwrap_or_default();
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((own, credentials)) = &*own
            && own == host
        {
            access.credentials = Some(credentials.clone());
        }
        access
    }
}

/// Reads a body that must be short.
pub(super) async fn read(
    response: &mut Response,
    most: usize,
    host: &str,
) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = next_chunk(response, host).await? {
        if bytes.len() + chunk.len() > most {
            return Err(Error::BadImage(format!(
                "{host} sends over {most} bytes for a document"
            )));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The next piece of a body, within the time limit.
pub(super) async fn next_chunk(
    response: &mut Response,
    host: &str,
) -> Result<Option<impl AsRef<[u8]> + std::ops::Deref<Target = [u8]> + use<>>, Error> {
    let chunk = tokio::time::timeout(SILENCE, response.chunk()).await;
    chunk
        .map_err(|_| silent(host))?
        .map_err(|error| unreachable(host, &error))
}

fn checked(response: Response, from: &Reference, digest: &Digest) -> Result<Response, Error> {
    let (host, repository) = (from.host.clone(), from.repository.clone());
    match response.status() {
        status if status.is_success() => Ok(response),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(Error::Unauthorised { host, repository })
        }
        StatusCode::NOT_FOUND => Err(Error::NotFound {
            host,
            repository,
            digest: *digest,
        }),
        status => {
            let seconds = response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.parse().ok());
            Err(Error::Network {
                host,
                why: format!("answers {status}"),
                retry_after_s: seconds,
            })
        }
    }
}

pub(super) fn unreachable(host: &str, error: &reqwest::Error) -> Error {
    let mut why = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        why = format!("{why}: {cause}");
        source = cause.source();
    }
    Error::Network {
        host: host.to_owned(),
        why,
        retry_after_s: None,
    }
}

fn silent(host: &str) -> Error {
    let why = format!("silent for {} s", SILENCE.as_secs());
    Error::Network {
        host: host.to_owned(),
        why,
        retry_after_s: None,
    }
}
