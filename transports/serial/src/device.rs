//! The device's half of a line.

mod connection;

use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_time::Timer;
use embedded_io_async::{Read, Write};
use lightship_core::limits::MESSAGE_BYTES;
use lightship_link::chunk::Asked;
use lightship_link::mailbox::{Port, Wish};
use lightship_link::{Credentials, Failure};

use crate::frame::{Head, Kind, encoded_bytes};
use crate::limits::{DEVICE_BYTES, DOWN_BYTES, FRAME_OVERHEAD, TRIES};
use crate::line::{Line, Patience, silent};
use crate::session::{Hello, SESSION_BYTES, Sorry, Welcome};
use connection::Connection;

type DeviceLine<P> = Line<P, { DOWN_BYTES + FRAME_OVERHEAD }, { encoded_bytes(DEVICE_BYTES) }>;

/// Asks for a session when it is told to connect, and carries messages until the line is down. Poll it beside the agent.
pub struct Runner<'a, P, M: RawMutex> {
    line: DeviceLine<P>,
    patience: Patience,
    port: Port<'a, M, MESSAGE_BYTES>,
    asked: Asked<'a, M>,
    /// Tells answers to this hello from answers to an earlier one.
    hellos: u8,
}

/// Why a session is not served any more.
enum End {
    Failed(Failure),
    Ordered(Wish),
}

impl<'a, P: Read + Write, M: RawMutex> Runner<'a, P, M> {
    /// A runner on one serial port.
    pub fn new(serial: P, patience: Patience, port: Port<'a, M>, asked: Asked<'a, M>) -> Self {
        Self {
            line: Line::new(serial),
            patience,
            port,
            asked,
            hellos: 0,
        }
    }

    /// Runs for ever.
    pub async fn run(&mut self) -> ! {
        let mut wish = None;
        loop {
            let credentials = match wish.take() {
                Some(Wish::Connect(credentials, _)) => credentials,
                Some(Wish::Disconnect) => {
                    self.port.down(Failure::Closed).await;
                    continue;
                }
                None => match select(self.port.idle(), self.asked.refuse()).await {
                    Either::First((credentials, _)) => credentials,
                    Either::Second(never) => never,
                },
            };
            match self.serve(&credentials).await {
                End::Failed(failure) => self.port.down(failure).await,
                End::Ordered(next) => wish = Some(next),
            }
        }
    }

    async fn serve(&mut self, credentials: &Credentials) -> End {
        let greeted = match select(
            greet(&mut self.line, self.patience, &mut self.hellos, credentials),
            self.port.order(),
        )
        .await
        {
            Either::First(greeted) => greeted,
            Either::Second(wish) => return End::Ordered(wish),
        };
        let (session, welcome) = match greeted {
            Ok(greeted) => greeted,
            Err(failure) => return End::Failed(failure),
        };
        let mut connection = Connection::new(session, welcome, self.patience);
        let end = connection
            .carry(&mut self.line, &mut self.port, &mut self.asked)
            .await;
        let failure = match &end {
            End::Failed(failure) => *failure,
            End::Ordered(_) => {
                // The other side would find out by itself, later.
                let _ = self.line.send(connection.head(Kind::Bye, 0), &[]).await;
                Failure::Closed
            }
        };
        self.asked.fail(failure);
        if connection.has_message_under_way() {
            self.port.unsent(failure).await;
        }
        end
    }
}

impl<P, M: RawMutex> core::fmt::Debug for Runner<'_, P, M> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Runner").finish_non_exhaustive()
    }
}

/// Says hello until there is an answer.
async fn greet<P: Read + Write>(
    line: &mut DeviceLine<P>,
    patience: Patience,
    hellos: &mut u8,
    credentials: &Credentials,
) -> Result<(u8, Welcome), Failure> {
    let longest = u16::try_from(DOWN_BYTES).unwrap_or(u16::MAX);
    let mut out = [0; SESSION_BYTES];
    let hello = postcard::to_slice(&Hello::new(credentials, longest), &mut out);
    let hello: &[u8] = hello.expect("the longest hello fits");
    *hellos = hellos.wrapping_add(1);
    let head = Head {
        kind: Kind::Hello,
        session: 0,
        sequence: *hellos,
    };
    for _ in 0..TRIES {
        line.send(head, hello).await?;
        let answer = select(answer(line, head.sequence), Timer::after(patience.answer)).await;
        if let Either::First(answer) = answer {
            return answer;
        }
    }
    Err(silent())
}

async fn answer<P: Read + Write>(
    line: &mut DeviceLine<P>,
    hello: u8,
) -> Result<(u8, Welcome), Failure> {
    loop {
        line.receive().await?;
        let Some(frame) = line.frame().filter(|frame| frame.head.sequence == hello) else {
            continue;
        };
        match frame.head.kind {
            Kind::Welcome => {
                if let Ok(welcome) = postcard::from_bytes::<Welcome>(frame.payload) {
                    return Ok((frame.head.session, welcome));
                }
            }
            Kind::Sorry => {
                if let Ok(sorry) = postcard::from_bytes::<Sorry>(frame.payload) {
                    return Err(sorry.failure());
                }
            }
            // What is left of an earlier session.
            Kind::Hello
            | Kind::Message
            | Kind::Acknowledgement
            | Kind::Rejection
            | Kind::BlobRequest
            | Kind::BlobAnswer
            | Kind::Ping
            | Kind::Pong
            | Kind::Bye
            | Kind::Wait => {}
        }
    }
}
