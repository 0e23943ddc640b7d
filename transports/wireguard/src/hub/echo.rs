//! Answers after a silence: a device asks to be told something after so many seconds in which nothing passes, and learns from what arrives how long the NAT in front of it remembers.
//!
//! The port is inside the tunnel, so it works whoever carries the tunnel at either end, and only devices that are let in reach it.
//! Devices whose tunnel is in their process ask with one datagram outside instead (see `ping`).

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Listener;
use crate::Stream;
use crate::limits::LONGEST_PROBE_S;
use crate::ping::Ping;

/// How long the question may take to arrive, and the answer to be taken.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers until the hub ends; a device has as many questions at once as it may have connections.
pub(super) async fn serve(mut listener: Listener, mut gone: mpsc::Receiver<()>) {
    let mut echoes = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Some((stream, _)) => drop(echoes.spawn(answer(stream))),
                None => return,
            },
            Some(_) = echoes.join_next() => {}
            _ = gone.recv() => return,
        }
    }
}

async fn answer(mut stream: Stream) -> io::Result<()> {
    let mut question = [0; 7];
    timeout(PATIENCE, stream.read_exact(&mut question)).await??;
    let Some(Ping::Probe { after_s, nonce }) = Ping::decode(&question) else {
        return Ok(());
    };
    sleep(Duration::from_secs(after_s.min(LONGEST_PROBE_S).into())).await;
    stream.write_all(&Ping::Echo { nonce }.encode()).await?;
    // Until the device hangs up there is something to say again, should it be lost.
    let _ = timeout(PATIENCE, stream.read(&mut question)).await;
    Ok(())
}
