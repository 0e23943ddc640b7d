//! What owns the wire, and when there is none.

use embassy_sync::blocking_mutex::raw::RawMutex;
use lightship_link::chunk::Asked;
use lightship_link::mailbox::{Port, Wish};
use lightship_link::{Credentials, Failure};
use rumqttc::v5::{AsyncClient, EventLoop};
use tokio::sync::mpsc;

use super::config::Config;
use super::connection::{Connection, Incident};

/// Connects when it is told to and carries messages until the connection fails. Poll it beside the agent.
#[derive(Debug)]
pub struct Runner<'a, M: RawMutex> {
    config: Config,
    port: Port<'a, M>,
    asked: Asked<'a, M>,
}

/// Why a connection is not served any more.
pub(super) enum End {
    Failed(Failure),
    Ordered(Wish),
}

impl<'a, M: RawMutex> Runner<'a, M> {
    /// A runner for one broker.
    pub fn new(config: Config, port: Port<'a, M>, asked: Asked<'a, M>) -> Self {
        Self {
            config,
            port,
            asked,
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
                None => tokio::select! {
                    (credentials, _) = self.port.idle() => credentials,
                    never = self.asked.refuse() => never,
                },
            };
            match self.serve(&credentials).await {
                End::Failed(failure) => self.port.down(failure).await,
                End::Ordered(next) => wish = Some(next),
            }
        }
    }

    /// One connection, from its first packet to its end.
    async fn serve(&mut self, credentials: &Credentials) -> End {
        let options = self.config.options(credentials);
        let (client, event_loop) = AsyncClient::new(options, self.config.requests());
        let (news, incidents) = mpsc::channel(1);
        let mut connection = Connection::new(&self.config, credentials, client, incidents);
        let end = tokio::select! {
            end = connection.carry(&mut self.port, &mut self.asked) => end,
            never = pump(event_loop, news) => never,
        };
        let failure = match &end {
            End::Failed(failure) => *failure,
            End::Ordered(_) => Failure::Closed,
        };
        self.asked.fail(failure);
        if connection.has_message_under_way() {
            self.port.unsent(failure).await;
        }
        end
    }
}

/// Polls the event loop without ever giving up a poll, because one that is dropped may lose bytes.
async fn pump(mut event_loop: EventLoop, news: mpsc::Sender<Incident>) -> ! {
    loop {
        let incident = event_loop.poll().await;
        let is_end = incident.is_err();
        // The other side of this channel lives as long as this future.
        let is_heard = news.send(incident).await.is_ok();
        if is_end || !is_heard {
            core::future::pending::<()>().await;
        }
    }
}
