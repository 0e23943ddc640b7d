//! Blobs by range.

use std::format;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use lightship_core::id::Digest;
use lightship_link::{BlobFailure, Blobs, Credentials, Failure, Misconduct};
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Client, Method, Response, StatusCode};

use super::client::{self, Access, header};
use super::config::Config;
use super::failure;
use crate::protocol;

/// Reads blobs; a read that goes on where the last one ended uses the same answer.
#[derive(Debug)]
pub struct Reader {
    config: Arc<Config>,
    access: Arc<Access>,
    client: Client,
    open: Option<Open>,
}

/// An answer that is being read.
#[derive(Debug)]
struct Open {
    digest: Digest,
    /// Offset of the first byte of `rest`.
    offset: u64,
    response: Response,
    rest: Bytes,
}

impl Reader {
    pub(super) fn new(config: Arc<Config>, access: Arc<Access>) -> Self {
        Self {
            client: client::client(&config),
            config,
            access,
            open: None,
        }
    }

    /// Says what is shown from now on, on this reader and on the logs beside it; for when another transport carries the messages.
    pub fn badge(&self) -> impl Fn(&Credentials) + use<> {
        let access = self.access.clone();
        move |credentials| access.show(credentials)
    }

    async fn open(&mut self, digest: &Digest, offset: u64) -> Result<Option<Open>, BlobFailure> {
        let path = format!("blobs/{}", Hex(digest));
        let bearer = self.access.bearer();
        let mut request = client::request(
            &self.client,
            &self.config,
            (Method::GET, &path),
            bearer.as_deref(),
        );
        if offset > 0 {
            request = request.header(RANGE, format!("bytes={offset}-"));
        }
        let answer = tokio::time::timeout(self.config.timeout, request.send()).await;
        let response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(BlobFailure::Link(failure::of(&error))),
            Err(_) => return Err(silent()),
        };
        let start = match response.status() {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT => start(&response).ok_or(misplaced())?,
            StatusCode::RANGE_NOT_SATISFIABLE => return Ok(None),
            StatusCode::NOT_FOUND | StatusCode::GONE => return Err(BlobFailure::Absent),
            _ => return Err(BlobFailure::Link(client::judge(&response))),
        };
        if start != offset && start != 0 {
            return Err(misplaced());
        }
        Ok(Some(Open {
            digest: *digest,
            offset: start,
            response,
            rest: Bytes::new(),
        }))
    }

    /// Makes bytes at `offset` available; false at the end of the blob.
    async fn fill(&mut self, digest: &Digest, offset: u64) -> Result<bool, BlobFailure> {
        if !self
            .open
            .as_ref()
            .is_some_and(|open| open.is_at(digest, offset))
        {
            self.open = None;
            self.open = self.open(digest, offset).await?;
        }
        let Some(open) = &mut self.open else {
            return Ok(false);
        };
        // A server may ignore the range and begin at the beginning.
        while open.rest.is_empty() || open.offset < offset {
            let skip = usize::try_from(offset - open.offset).unwrap_or(usize::MAX);
            let skip = skip.min(open.rest.len());
            open.rest.advance(skip);
            open.offset += skip as u64;
            if !open.rest.is_empty() {
                continue;
            }
            match tokio::time::timeout(self.config.timeout, open.response.chunk()).await {
                Ok(Ok(Some(chunk))) => open.rest = chunk,
                Ok(Ok(None)) => return Ok(false),
                Ok(Err(error)) => return Err(BlobFailure::Link(failure::of(&error))),
                Err(_) => return Err(silent()),
            }
        }
        Ok(true)
    }
}

impl Blobs for Reader {
    async fn read(
        &mut self,
        digest: &Digest,
        offset: u64,
        into: &mut [u8],
    ) -> Result<usize, BlobFailure> {
        match self.fill(digest, offset).await {
            Ok(true) => {}
            Ok(false) => return Ok(0),
            Err(failure) => {
                // Whatever was half done is given up, and the connection with it.
                self.open = None;
                self.client = client::client(&self.config);
                return Err(failure);
            }
        }
        let open = self.open.as_mut().expect("an answer was filled");
        let len = into.len().min(open.rest.len());
        open.rest.split_to(len).copy_to_slice(&mut into[..len]);
        open.offset += len as u64;
        Ok(len)
    }
}

impl Open {
    fn is_at(&self, digest: &Digest, offset: u64) -> bool {
        self.digest == *digest && self.offset == offset
    }
}

fn start(response: &Response) -> Option<u64> {
    header(response, CONTENT_RANGE).and_then(protocol::range_start)
}

fn misplaced() -> BlobFailure {
    BlobFailure::Link(Failure::Misbehaved(Misconduct::Sequence))
}

fn silent() -> BlobFailure {
    BlobFailure::Link(Failure::Unreachable(lightship_link::Unreachable::Silent))
}

struct Hex<'a>(&'a Digest);

impl core::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
