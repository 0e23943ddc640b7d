//! Server-sent events as they come (WHATWG HTML, section 9.2).

use std::collections::VecDeque;
use std::marker::PhantomData;

use reqwest::{RequestBuilder, Response};
use serde::de::DeserializeOwned;

use super::Client;
use crate::failure::{Code, Failure};

/// Longest event that is put together from pieces.
const EVENT_BYTES: usize = 1 << 20;

/// A stream of events whose data are `T`.
pub(crate) struct Events<T> {
    response: Response,
    unread: Unread,
    ready: VecDeque<String>,
    of: PhantomData<T>,
}

impl Client {
    /// Asks for a stream of events.
    pub(crate) async fn events<T>(&self, request: RequestBuilder) -> Result<Events<T>, Failure> {
        Ok(Events {
            response: self.send(request).await?,
            unread: Unread::default(),
            ready: VecDeque::new(),
            of: PhantomData,
        })
    }
}

impl<T: DeserializeOwned> Events<T> {
    /// The next one; nothing when the server has ended the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<T>, Failure> {
        loop {
            if let Some(data) = self.ready.pop_front() {
                let event = serde_json::from_str(&data);
                return event.map(Some).map_err(|error| {
                    let what = format!("the server's answer is not understood: {error}");
                    Failure::new(Code::Failed, what)
                });
            }
            let piece = self.response.chunk().await.map_err(|error| {
                Failure::new(Code::Unreachable, format!("the stream broke off: {error}"))
            })?;
            let Some(piece) = piece else {
                return Ok(None);
            };
            self.ready.extend(self.unread.take(&piece)?);
        }
    }
}

/// The beginning of an event whose end has not come yet.
#[derive(Default)]
struct Unread(Vec<u8>);

impl Unread {
    /// The data of the events that end in this piece.
    fn take(&mut self, piece: &[u8]) -> Result<Vec<String>, Failure> {
        self.0.extend_from_slice(piece);
        let mut all = Vec::new();
        while let Some(end) = self.0.windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<u8> = self.0.drain(..end + 2).collect();
            let event = String::from_utf8_lossy(&event);
            let data = event.lines().filter_map(|line| line.strip_prefix("data:"));
            let data: Vec<&str> = data
                .map(|data| data.strip_prefix(' ').unwrap_or(data))
                .collect();
            if !data.is_empty() {
                all.push(data.join("\n"));
            }
        }
        if self.0.len() > EVENT_BYTES {
            return Err(Failure::new(
                Code::Failed,
                "the server sent an event that does not end",
            ));
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_put_together_however_they_are_cut() {
        let whole = b": hello\n\nevent: line\ndata: {\"a\":\ndata: 1}\n\ndata:2\n\n";
        for cut in 0..whole.len() {
            let mut unread = Unread::default();
            let mut all = unread.take(&whole[..cut]).unwrap();
            all.extend(unread.take(&whole[cut..]).unwrap());
            assert_eq!(all, ["{\"a\":\n1}", "2"], "cut at {cut}");
        }
        let mut unread = Unread::default();
        assert!(unread.take(&vec![b'x'; EVENT_BYTES + 1]).is_err());
    }
}
