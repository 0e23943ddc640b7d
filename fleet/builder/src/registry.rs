//! Pulls images from registries into the layout, for those who have no container engine.
//!
//! OCI distribution specification 1.1 and Docker's token authentication. A registry is not trusted: what it
//! sends must have the digest that names it, and lengths are bounded.
//! Manifests are kept as they came, so an image has the same digest here as there.

mod answer;
mod reference;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use reqwest::{Client, Response, StatusCode};
use sha2::{Digest as _, Sha256};

use crate::config::{Descriptor, ImageConfig, Index, Manifest, Platform};
use crate::error::{At, BuildError};
use crate::guard::{Cancel, Guard, Limits};
use crate::layout::Layout;

use answer::Challenge;
use reference::Reference;

/// A manifest or index is no longer than this (distribution specification, section "Pushing Manifests").
const MAX_MANIFEST_BYTES: usize = 4 << 20;

/// A registry that says nothing for so long has gone.
const SILENCE: Duration = Duration::from_secs(60);

/// How often a blob is asked for when the connection breaks.
const TRIES: u32 = 3;

const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";

/// Pulls from any registry.
#[derive(Clone, Debug)]
pub struct Registries {
    client: Client,
    /// User and password by host.
    credentials: BTreeMap<String, (String, String)>,
    /// The only hosts that are asked; absent means any.
    only: Option<BTreeSet<String>>,
}

/// One image of one registry, being pulled.
struct Pull<'a> {
    registries: &'a Registries,
    name: &'a str,
    reference: Reference,
    /// The value of `Authorization`, once the registry asked for it.
    authorization: Option<String>,
    guard: Guard,
}

impl Registries {
    /// Pulls with these users and passwords by host; most registries need none for what is public.
    /// The program has installed a crypto provider of rustls before.
    ///
    /// # Errors
    /// When there is no TLS to be had.
    pub fn new(credentials: BTreeMap<String, (String, String)>) -> Result<Self, BuildError> {
        let client = Client::builder()
            .read_timeout(SILENCE)
            .connect_timeout(SILENCE)
            .build();
        let client = client.map_err(|error| BuildError::Engine(error.to_string()))?;
        Ok(Self {
            client,
            credentials,
            only: None,
        })
    }

    /// Pulls from these hosts alone: who builds what others wrote must not be led to any host they like.
    #[must_use]
    pub fn only(mut self, hosts: &[String]) -> Self {
        let host = |host: &String| Reference::host(host).to_owned();
        self.only = Some(hosts.iter().map(host).collect());
        self
    }

    /// Pulls the image for this platform, puts it into the layout and names it there.
    ///
    /// # Errors
    /// Why it is not there.
    pub async fn pull(
        &self,
        name: &str,
        platform: &Platform,
        layout: &Layout,
        limits: Limits,
        cancel: &Cancel,
    ) -> Result<Descriptor, BuildError> {
        let reference =
            Reference::read(name).ok_or_else(|| bad(name, "is not a reference to an image"))?;
        if let Some(only) = &self.only
            && !only.contains(&reference.host)
        {
            let what = format!(
                "is on {}, which is not among the registries that are pulled from here",
                reference.host
            );
            return Err(bad(name, what));
        }
        let mut pull = Pull {
            registries: self,
            name,
            reference,
            authorization: None,
            guard: Guard::new(limits, cancel),
        };
        let mut image = pull.manifest(platform, layout).await?;
        let bytes = layout.document(&image)?;
        let manifest: Manifest = pull.json(&bytes)?;
        for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
            pull.blob(blob, layout).await?;
        }
        let config: ImageConfig = pull.json(&layout.document(&manifest.config)?)?;
        image.platform = Some(config.platform());
        if !platform.runs(&config.platform()) {
            return Err(bad(
                name,
                format!("is for {} and not for {platform}", config.platform()),
            ));
        }
        layout.name(name, &image)?;
        Ok(image)
    }
}

fn bad(image: &str, what: impl Into<String>) -> BuildError {
    BuildError::BadImage {
        image: image.to_owned(),
        what: what.into(),
    }
}

impl Pull<'_> {
    fn bad(&self, what: impl Into<String>) -> BuildError {
        bad(self.name, what)
    }

    fn json<T: serde::de::DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, BuildError> {
        serde_json::from_slice(bytes).map_err(|error| self.bad(error.to_string()))
    }

    /// The manifest for the platform, through an index where there is one.
    async fn manifest(
        &mut self,
        platform: &Platform,
        layout: &Layout,
    ) -> Result<Descriptor, BuildError> {
        let target = self.reference.target.clone();
        let (kind, bytes) = self.document(&target).await?;
        if !kind.contains("index") && !kind.contains("list") {
            return layout.put(&kind, &bytes);
        }
        let index: Index = self.json(&bytes)?;
        let rank = |found: &&Descriptor| {
            let theirs = found.platform.as_ref()?;
            platform
                .runs(theirs)
                .then(|| platform.rank(theirs))
                .flatten()
        };
        let best = index
            .manifests
            .iter()
            .filter(|m| rank(m).is_some())
            .max_by_key(rank);
        let Some(best) = best else {
            let all = index.manifests.iter().filter_map(|m| m.platform.as_ref());
            let all: Vec<String> = all.map(ToString::to_string).collect();
            return Err(self.bad(format!(
                "is not there for {platform}; it is for {}",
                all.join(", ")
            )));
        };
        let (kind, bytes) = self.document(&best.digest).await?;
        layout.put(&kind, &bytes)
    }

    /// A manifest or index with its media type.
    async fn document(&mut self, target: &str) -> Result<(String, Vec<u8>), BuildError> {
        let mut response = self.get(&format!("manifests/{target}"), MANIFESTS).await?;
        let kind = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let kind = kind
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned();
        if !MANIFESTS.split(", ").any(|known| known == kind) {
            return Err(self.bad(format!("the registry sent {kind:?} for a manifest")));
        }
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|e| self.broken(&e))? {
            self.guard.check()?;
            bytes.extend_from_slice(&piece);
            if bytes.len() > MAX_MANIFEST_BYTES {
                return Err(self.bad(format!(
                    "a manifest of more than {MAX_MANIFEST_BYTES} bytes"
                )));
            }
        }
        let found = format!("sha256:{}", hex::encode(Sha256::digest(&bytes)));
        if target.starts_with("sha256:") && found != target {
            return Err(self.bad(format!("{target} was asked for, {found} came")));
        }
        Ok((kind, bytes))
    }

    async fn blob(&mut self, blob: &Descriptor, layout: &Layout) -> Result<(), BuildError> {
        let path = layout.blob(&blob.digest);
        let path = path.ok_or_else(|| self.bad(format!("{:?} is not a digest", blob.digest)))?;
        // A blob that is there is right: it got its name when it was whole.
        if path.exists() {
            return Ok(());
        }
        if blob.size > self.guard.limits.layer_bytes {
            return Err(BuildError::Limit(format!(
                "{}: a layer of {} bytes",
                self.name, blob.size
            )));
        }
        let mut tries = 0;
        loop {
            tries += 1;
            match self.blob_once(blob, layout).await {
                Err(BuildError::Network { .. }) if tries < TRIES => self.guard.check()?,
                done => return done,
            }
        }
    }

    async fn blob_once(&mut self, blob: &Descriptor, layout: &Layout) -> Result<(), BuildError> {
        let mut response = self.get(&format!("blobs/{}", blob.digest), "*/*").await?;
        let mut new = layout.new_blob()?;
        let mut left = blob.size;
        while let Some(piece) = response.chunk().await.map_err(|e| self.broken(&e))? {
            self.guard.check()?;
            left = left.checked_sub(piece.len() as u64).ok_or_else(|| {
                self.bad(format!("{} is longer than the manifest says", blob.digest))
            })?;
            new.write_all(&piece).at(self.name.as_ref())?;
        }
        match new.finish_as(&blob.digest, &blob.media_type)? {
            Some(_) => Ok(()),
            None => Err(self.bad(format!(
                "{} was asked for, something else came",
                blob.digest
            ))),
        }
    }

    /// Asks, and asks again with a token when the registry wants one.
    async fn get(&mut self, path: &str, accept: &str) -> Result<Response, BuildError> {
        let url = format!(
            "{}/v2/{}/{path}",
            self.reference.url(),
            self.reference.repository
        );
        for _ in 0..2 {
            self.guard.check()?;
            let mut request = self.registries.client.get(&url).header(ACCEPT, accept);
            if let Some(authorization) = &self.authorization {
                request = request.header(AUTHORIZATION, authorization);
            }
            let response = request.send().await.map_err(|error| self.broken(&error))?;
            match response.status() {
                StatusCode::OK => return Ok(response),
                StatusCode::UNAUTHORIZED if self.authorization.is_none() => {
                    let challenge = response.headers().get(WWW_AUTHENTICATE);
                    let challenge = challenge
                        .and_then(|value| value.to_str().ok())
                        .unwrap_or_default();
                    self.authorization = Some(self.authorize(challenge).await?);
                }
                StatusCode::NOT_FOUND => {
                    return Err(BuildError::MissingImage(self.name.to_owned()));
                }
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => break,
                status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                    return Err(self.network(format!("it answers {status}")));
                }
                status => return Err(self.bad(format!("the registry answers {status}"))),
            }
        }
        Err(self.bad(format!("{} refuses access", self.reference.host)))
    }

    /// What `Authorization` must say to satisfy the challenge.
    async fn authorize(&self, challenge: &str) -> Result<String, BuildError> {
        let known = self.registries.credentials.get(&self.reference.host);
        match Challenge::read(challenge) {
            Some(Challenge::Basic) => match known {
                Some((user, password)) => Ok(answer::basic(user, password)),
                None => Err(self.bad(format!(
                    "{} wants a user and a password",
                    self.reference.host
                ))),
            },
            Some(Challenge::Bearer { realm, service }) => {
                // A password goes to the registry's own host or over TLS, never elsewhere in the clear.
                let is_safe =
                    realm.starts_with("https://") || realm.starts_with(&self.reference.url());
                if !is_safe {
                    return Err(self.bad(format!("the registry wants a token from {realm}")));
                }
                let scope = format!("repository:{}:pull", self.reference.repository);
                let mut request = self.registries.client.get(&realm);
                request = request.query(&[("service", &service), ("scope", &scope)]);
                if let Some((user, password)) = known {
                    request = request.header(AUTHORIZATION, answer::basic(user, password));
                }
                let response = request.send().await.map_err(|error| self.broken(&error))?;
                if !response.status().is_success() {
                    return Err(self.bad(format!("{} refuses access", self.reference.host)));
                }
                let bytes = response
                    .bytes()
                    .await
                    .map_err(|error| self.broken(&error))?;
                let token = answer::token(&bytes);
                let token = token.ok_or_else(|| self.bad("the registry gave no token"))?;
                Ok(format!("Bearer {token}"))
            }
            None => Err(self.bad("the registry wants a way of authentication that is not known")),
        }
    }

    fn broken(&self, error: &reqwest::Error) -> BuildError {
        let mut why = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(inner) = source {
            why = format!("{why}: {inner}");
            source = inner.source();
        }
        self.network(why)
    }

    fn network(&self, why: String) -> BuildError {
        BuildError::Network {
            host: self.reference.host.clone(),
            why,
        }
    }
}
