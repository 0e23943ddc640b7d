//! What devices say over the bus, and that they come and go.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use lightship_api::Event;
use lightship_core::wire::{self, Down, Up};
use lightship_link::chunk::{self, Piece};
use lightship_link::limits::{CHUNK_BYTES, UP_BYTES};

use super::{Message, own, topic};
use crate::App;
use crate::blob::Found;
use crate::device::Declined;
use crate::roster::Known;
use crate::store::Part;

/// A device connected; without its target in the broker, that is put there.
pub(super) fn came(app: &App, known: &Arc<Known>, without_target: bool) {
    presence(app, known, true);
    app.outbox.greet(known.uuid, without_target);
}

/// A device is gone.
pub(super) fn went(app: &App, known: &Known) {
    presence(app, known, false);
}

fn presence(app: &App, known: &Known, online: bool) {
    if known.linked(online) {
        app.metrics
            .devices_online
            .fetch_add(if online { 1 } else { -1 }, Ordering::Relaxed);
        let event = Event::Presence {
            device: known.uuid.to_string(),
            online,
        };
        // Nobody listening is no failure.
        let _ = app.events.send((known.fleet(), event));
    }
}

/// Does what a message asks; the broker acknowledges it when this returns.
pub(super) async fn heard(
    app: &App,
    known: &Known,
    on: &str,
    payload: &[u8],
    correlation: Option<&[u8]>,
) {
    known.seen();
    let uuid = known.uuid.to_text();
    match own(on, &uuid) {
        Some("up") if payload.len() <= UP_BYTES => {
            if let Ok(message) = wire::decode_up(payload) {
                up(app, known, message).await;
            }
        }
        Some("blob/get") => {
            if let Ok(request) = chunk::decode::<chunk::Request>(payload) {
                answer(app, known, &request, correlation).await;
            }
        }
        // That it is here is known from the connection itself. But it says so after it has subscribed,
        // and what was sent before that a session that is new has not got.
        Some("presence") if payload == [1] => app.outbox.greet(known.uuid, false),
        // Anything else was refused before.
        Some(_) | None => {}
    }
}

async fn up(app: &App, known: &Known, message: Up) {
    match message {
        Up::Report(report) => {
            let behind = report.root < known.head().borrow().root;
            let next = report.root.saturating_add(1);
            if app.report(known, report).await.is_err() {
                // Not stored, so not to be acknowledged: the device sends it again when it is back.
                app.bus().disconnect(&known.uuid).await;
            } else if behind {
                app.outbox.root(known.uuid, next);
            }
        }
        Up::ProposeKey(new) => match app.propose(known, &new).await {
            Ok(accepted) => down(app, known, &Down::KeyAccepted(accepted)).await,
            Err(Declined::Refused(refused)) => down(app, known, &Down::Refused(refused)).await,
            Err(Declined::Failure(_)) => app.bus().disconnect(&known.uuid).await,
        },
        Up::Register(asked) => match app.register(&asked).await {
            Ok(registered) if registered.uuid == known.uuid => {
                down(app, known, &Down::Registered(registered)).await
            }
            Err(Declined::Refused(refused)) => down(app, known, &Down::Refused(refused)).await,
            Ok(_) | Err(Declined::Failure(_)) => app.bus().disconnect(&known.uuid).await,
        },
    }
}

/// Sends what is not a target.
pub(super) async fn down(app: &App, known: &Known, message: &Down<'_>) {
    let mut out = vec![0; lightship_core::limits::MESSAGE_BYTES];
    let Ok(payload) = wire::encode(message, &mut out) else {
        return;
    };
    let (topic, payload) = (topic(&known.uuid, "down"), payload.to_vec());
    app.bus()
        .send(Message {
            topic,
            payload,
            retain: false,
            expiry_s: None,
            correlation: None,
        })
        .await;
}

async fn answer(app: &App, known: &Known, request: &chunk::Request, correlation: Option<&[u8]>) {
    let mut bytes = Vec::new();
    let piece = match piece(app, known, request, &mut bytes).await {
        Ok(true) => Piece::Bytes(&bytes),
        Ok(false) => Piece::Absent,
        Err(_) => Piece::Busy,
    };
    let mut out = [0; chunk::ANSWER_BYTES];
    let Ok(payload) = chunk::encode(
        &chunk::Answer {
            id: request.id,
            piece,
        },
        &mut out,
    ) else {
        return;
    };
    let message = Message {
        topic: topic(&known.uuid, "blob/data"),
        payload: payload.to_vec(),
        retain: false,
        expiry_s: Some(60),
        correlation: correlation.map(<[u8]>::to_vec),
    };
    app.bus().send(message).await;
}

/// Reads the piece that is asked for; false when there is no such blob for this device.
async fn piece(
    app: &App,
    known: &Known,
    request: &chunk::Request,
    out: &mut Vec<u8>,
) -> std::io::Result<bool> {
    use futures_util::TryStreamExt;
    let most = u64::from(request.max).min(CHUNK_BYTES as u64);
    let found = app
        .blob_of(known, &request.digest)
        .await
        .map_err(|failure| std::io::Error::other(failure.text().to_owned()))?;
    match found {
        None => return Ok(false),
        Some(Found::Bytes(bytes)) => {
            let from = usize::try_from(request.offset)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            let len = usize::try_from(most)
                .unwrap_or(usize::MAX)
                .min(bytes.len() - from);
            out.extend_from_slice(&bytes[from..from + len]);
        }
        Some(Found::Stored { digest, size }) => {
            let from = request.offset.min(size);
            let mut pieces = app
                .store
                .read(
                    &digest,
                    Part {
                        from,
                        len: most.min(size - from),
                    },
                )
                .await?;
            while let Some(piece) = pieces.try_next().await? {
                out.extend_from_slice(&piece);
            }
        }
    }
    Ok(true)
}
