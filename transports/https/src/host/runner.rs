//! What owns the wire: one request for the target and one message at a time.

use std::boxed::Box;
use std::pin::Pin;
use std::string::String;
use std::sync::Arc;
use std::time::Duration;

use embassy_sync::blocking_mutex::raw::RawMutex;
use lightship_core::wire::Up;
use lightship_link::mailbox::{Port, Wish, Work};
use lightship_link::{Credentials, Failure, Known, Misconduct, Unreachable};
use reqwest::Client;
use tokio::time::{Instant, sleep_until};

use super::client::{self, Access};
use super::config::Config;
use super::message::{self, Reply};
use super::target::{self, Answer};
use crate::protocol::Seen;

type Asking = Pin<Box<dyn Future<Output = Result<Answer, Failure>> + Send>>;

/// Connects when it is told to and carries messages until the connection fails. Poll it beside the agent.
#[derive(Debug)]
pub struct Runner<'a, M: RawMutex> {
    config: Arc<Config>,
    access: Arc<Access>,
    port: Port<'a, M>,
}

/// One connection.
struct Connection {
    client: Client,
    bearer: Option<String>,
    seen: Seen,
    asked_at: Instant,
}

/// Why a connection is not served any more.
enum End {
    Failed(Failure),
    Ordered(Wish),
}

impl<'a, M: RawMutex> Runner<'a, M> {
    pub(super) fn new(config: Arc<Config>, access: Arc<Access>, port: Port<'a, M>) -> Self {
        Self {
            config,
            access,
            port,
        }
    }

    /// Runs for ever.
    pub async fn run(&mut self) -> ! {
        let mut wish = None;
        loop {
            let (credentials, known) = match wish.take() {
                Some(Wish::Connect(credentials, known)) => (credentials, known),
                Some(Wish::Disconnect) => {
                    self.port.down(Failure::Closed).await;
                    continue;
                }
                None => self.port.idle().await,
            };
            match self.serve(&credentials, known).await {
                End::Failed(failure) => self.port.down(failure).await,
                End::Ordered(next) => wish = Some(next),
            }
        }
    }

    async fn serve(&mut self, credentials: &Credentials, known: Known) -> End {
        self.access.show(credentials);
        let mut connection = Connection {
            client: client::client(&self.config),
            bearer: self.access.bearer(),
            seen: Seen::new(known),
            asked_at: Instant::now(),
        };
        // Behind the socket is a tunnel, and there is none before the device is registered.
        if connection.bearer.is_none() && self.config.socket.is_some() {
            let failure = Failure::Unreachable(Unreachable::NotConnected);
            return End::Failed(failure);
        }
        // The first answer says whether the credentials are good, so it is not to be held.
        let mut asking = connection.ask(&self.config, Duration::ZERO);
        let first = tokio::select! {
            answer = &mut asking => answer,
            wish = self.port.order() => return End::Ordered(wish),
        };
        match first {
            // Who shows nothing is let in nowhere; but a fleet is there, and a registration proves itself.
            Ok(_) | Err(Failure::Refused { .. } | Failure::Declined)
                if connection.bearer.is_none() =>
            {
                self.register(&mut connection).await
            }
            Ok(answer) => {
                self.port.up(false).await;
                self.carry(&mut connection, answer).await
            }
            Err(failure) => End::Failed(failure),
        }
    }

    /// Only registrations: without an API key there is no target to ask for.
    async fn register(&mut self, connection: &mut Connection) -> End {
        self.port.up(false).await;
        loop {
            match self.port.work().await {
                Work::Order(wish) => return End::Ordered(wish),
                Work::Message(message) => {
                    if let Err(end) = self.send(connection, &message).await {
                        return end;
                    }
                }
            }
        }
    }

    async fn carry(&mut self, connection: &mut Connection, first: Answer) -> End {
        if let Err(failure) = self.hand_over(connection, first).await {
            return End::Failed(failure);
        }
        let mut asking = connection.ask(&self.config, self.config.wait);
        loop {
            tokio::select! {
                answer = &mut asking => {
                    let answer = match answer {
                        Ok(answer) => answer,
                        Err(failure) => return End::Failed(failure),
                    };
                    asking = match self.hand_over(connection, answer).await {
                        Ok(pause) => connection.ask_after(&self.config, pause),
                        Err(failure) => return End::Failed(failure),
                    };
                }
                work = self.port.work() => match work {
                    Work::Order(wish) => return End::Ordered(wish),
                    Work::Message(message) => {
                        if let Err(end) = self.send(connection, &message).await {
                            return end;
                        }
                    }
                },
            }
        }
    }

    /// Gives the agent what came and waits until it was handled, because the next request acknowledges it. Returns how long to pause before that.
    async fn hand_over(
        &mut self,
        connection: &mut Connection,
        answer: Answer,
    ) -> Result<Duration, Failure> {
        let tag = match &answer {
            Answer::Unchanged => return Ok(connection.pause(&self.config)),
            Answer::Message(tag, _) | Answer::Rejected(tag, _) => *tag,
        };
        if !connection.seen.note(tag) {
            return Err(Failure::Misbehaved(Misconduct::Sequence));
        }
        match answer {
            // What the agent cannot read it is told of; there is nothing to do here.
            Answer::Message(_, message) => drop(self.port.deliver(&message).await),
            Answer::Rejected(_, rejection) => self.port.rejected(rejection).await,
            Answer::Unchanged => {}
        }
        self.port.handled().await;
        Ok(Duration::ZERO)
    }

    async fn send(&mut self, connection: &mut Connection, message: &Up) -> Result<(), End> {
        if let Up::Report(report) = message {
            connection.seen.trusts(report.root);
        }
        let bearer = connection.bearer.as_deref();
        let reply = tokio::select! {
            reply = message::post(&connection.client, &self.config, bearer, message) => reply,
            wish = self.port.order() => {
                self.port.unsent(Failure::Closed).await;
                return Err(End::Ordered(wish));
            }
        };
        match reply {
            Ok(reply) => {
                self.port.sent().await;
                match reply {
                    Reply::Taken => {}
                    Reply::Message(message) => drop(self.port.deliver(&message).await),
                    Reply::Rejected(rejection) => self.port.rejected(rejection).await,
                }
                Ok(())
            }
            Err(failure) => {
                self.port.unsent(failure).await;
                match failure {
                    Failure::Declined | Failure::TooLarge | Failure::Busy { .. } => Ok(()),
                    Failure::Refused { .. }
                    | Failure::Unreachable(_)
                    | Failure::Untrusted
                    | Failure::TakenOver
                    | Failure::Misbehaved(_)
                    | Failure::Closed => Err(End::Failed(failure)),
                }
            }
        }
    }
}

impl Connection {
    fn ask(&mut self, config: &Arc<Config>, wait: Duration) -> Asking {
        self.asked_at = Instant::now();
        Box::pin(target::ask(
            self.client.clone(),
            config.clone(),
            self.bearer.clone(),
            self.seen.clone(),
            wait,
        ))
    }

    fn ask_after(&mut self, config: &Arc<Config>, pause: Duration) -> Asking {
        let at = Instant::now() + pause;
        let asking = self.ask(config, config.wait);
        self.asked_at = at;
        Box::pin(async move {
            sleep_until(at).await;
            asking.await
        })
    }

    /// A server that holds requests may be asked again at once, one that does not, later.
    fn pause(&self, config: &Config) -> Duration {
        if self.asked_at.elapsed() >= config.wait / 2 {
            Duration::ZERO
        } else {
            config.poll
        }
    }
}
