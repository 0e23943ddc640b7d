//! One connection to a broker.

use std::boxed::Box;
use std::collections::VecDeque;
use std::vec;

use bytes::Bytes;
use embassy_sync::blocking_mutex::raw::RawMutex;
use lightship_core::id::Uuid;
use lightship_core::wire::{self, Up};
use lightship_link::chunk::{self, Answer, Asked, Request};
use lightship_link::limits::UP_BYTES;
use lightship_link::mailbox::{Port, Turn};
use lightship_link::{Credentials, Failure, Misconduct, Secret, Unreachable};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Filter, Packet, PubAck, Publish, PublishProperties, SubAck, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::config::Config;
use super::failure;
use super::runner::End;
use crate::limits::{ACKNOWLEDGEMENTS, WAITING};
use crate::topics::{self, Channel};

/// What the event loop reports.
pub(super) type Incident = Result<Event, ConnectionError>;

/// What was published and is not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cargo {
    Presence,
    Message,
    Question,
}

/// What the agent is to hear, in order.
enum News {
    Up { resumed: bool },
    Message(Box<Publish>),
    Sent,
    Unsent(Failure),
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The broker has not answered.
    Greeting,
    /// The broker has taken the credentials and was asked for the topics.
    Subscribing { resumed: bool },
    /// Messages flow.
    Open,
}

pub(super) struct Connection<'c> {
    config: &'c Config,
    uuid: Uuid,
    is_registered: bool,
    client: AsyncClient,
    incidents: mpsc::Receiver<Incident>,
    phase: Phase,
    news: VecDeque<News>,
    /// The message that the agent is handling.
    shown: Option<Box<Publish>>,
    /// Published, in order, without a packet identifier yet.
    queued: VecDeque<Cargo>,
    /// Published under an identifier.
    unacknowledged: VecDeque<(u16, Cargo)>,
    /// Acknowledgements that wait to be written.
    acknowledgements: usize,
    /// When the broker must have answered what it was asked last.
    deadline: Option<Instant>,
    ping_deadline: Option<Instant>,
    /// When the fleet must have answered a question for a piece.
    question_deadline: Option<Instant>,
}

impl<'c> Connection<'c> {
    pub(super) fn new(
        config: &'c Config,
        credentials: &Credentials,
        client: AsyncClient,
        incidents: mpsc::Receiver<Incident>,
    ) -> Self {
        Self {
            config,
            uuid: credentials.uuid,
            is_registered: matches!(credentials.secret, Secret::Api(_)),
            client,
            incidents,
            phase: Phase::Greeting,
            news: VecDeque::new(),
            shown: None,
            queued: VecDeque::new(),
            unacknowledged: VecDeque::new(),
            acknowledgements: 0,
            deadline: Some(Instant::now() + config.timeout),
            ping_deadline: None,
            question_deadline: None,
        }
    }

    pub(super) fn has_message_under_way(&self) -> bool {
        let unsaid = |news: &News| matches!(news, News::Sent | News::Unsent(_));
        self.carries(Cargo::Message) || self.news.iter().any(unsaid)
    }

    /// Whether the agent was told that the connection is up, or is told next.
    fn is_told(&self) -> bool {
        match self.phase {
            Phase::Greeting => false,
            // What a broker kept comes before its answer, and more of it than can wait.
            Phase::Subscribing { resumed } => resumed,
            Phase::Open => true,
        }
    }

    fn carries(&self, cargo: Cargo) -> bool {
        let under_way = self.unacknowledged.iter().map(|(_, cargo)| cargo);
        under_way.chain(&self.queued).any(|other| *other == cargo)
    }

    pub(super) async fn carry<M: RawMutex>(
        &mut self,
        port: &mut Port<'_, M>,
        asked: &mut Asked<'_, M>,
    ) -> End {
        loop {
            let has_news = self.shown.is_some() || !self.news.is_empty();
            let has_news = has_news && self.is_told() && self.acknowledgements < ACKNOWLEDGEMENTS;
            let has_room = self.phase == Phase::Open && !self.has_message_under_way();
            let due = [self.deadline, self.ping_deadline, self.question_deadline];
            let due = due.into_iter().flatten().min();
            // A broker that sends more than it may waits in its socket, and its signs of life with it.
            let can_hear = self.news.len() < WAITING;
            if !can_hear && self.acknowledgements >= ACKNOWLEDGEMENTS {
                // Acknowledgements leave only while more is heard, and there is no room for more.
                return End::Failed(out_of_turn());
            }
            let step = tokio::select! {
                Some(incident) = self.incidents.recv(), if can_hear => self.hear(incident, asked),
                turn = port.turn(has_room, has_news) => match turn {
                    Turn::Order(wish) => return End::Ordered(wish),
                    Turn::Message(message) => self.publish(&message),
                    Turn::Handled => self.tell(port).await,
                },
                request = asked.question(), if self.phase == Phase::Open => self.ask(&request),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.overdue(asked)
                }
            };
            if let Err(failure) = step {
                return End::Failed(failure);
            }
        }
    }

    /// A broker that is silent is gone; a fleet that does not answer a question may answer the next.
    fn overdue<M: RawMutex>(&mut self, asked: &mut Asked<'_, M>) -> Result<(), Failure> {
        let silent = Failure::Unreachable(Unreachable::Silent);
        match self.question_deadline {
            Some(deadline) if deadline <= Instant::now() => {
                self.question_deadline = None;
                asked.fail(silent);
                Ok(())
            }
            Some(_) | None => Err(silent),
        }
    }

    /// Says the next thing to the agent, which has handled the last.
    async fn tell<M: RawMutex>(&mut self, port: &mut Port<'_, M>) -> Result<(), Failure> {
        if let Some(publish) = self.shown.take() {
            self.acknowledge(&publish)?;
        }
        match self.news.pop_front() {
            Some(News::Up { resumed }) => port.up(resumed).await,
            Some(News::Sent) => port.sent().await,
            Some(News::Unsent(failure)) => port.unsent(failure).await,
            Some(News::Message(publish)) => {
                // What the agent cannot read it is told of; it is acknowledged all the same, or it would come for ever.
                let _ = port.deliver(&publish.payload).await;
                self.shown = Some(publish);
            }
            None => {}
        }
        Ok(())
    }

    fn hear<M: RawMutex>(
        &mut self,
        incident: Incident,
        asked: &mut Asked<'_, M>,
    ) -> Result<(), Failure> {
        let is_connected = self.phase != Phase::Greeting;
        match incident.map_err(|error| failure::of(&error, is_connected))? {
            Event::Incoming(Packet::ConnAck(answer)) => self.subscribe(answer.session_present),
            Event::Incoming(Packet::SubAck(answer)) => self.open(&answer),
            Event::Incoming(Packet::Publish(publish)) => self.take(publish, asked),
            Event::Incoming(Packet::PubAck(answer)) => {
                self.acknowledged(&answer);
                Ok(())
            }
            Event::Incoming(Packet::PingResp(_)) => {
                self.ping_deadline = None;
                Ok(())
            }
            Event::Outgoing(Outgoing::PingReq) => {
                self.ping_deadline = Some(Instant::now() + self.config.timeout);
                Ok(())
            }
            Event::Outgoing(Outgoing::PubAck(_)) => {
                self.acknowledgements = self.acknowledgements.saturating_sub(1);
                Ok(())
            }
            Event::Outgoing(Outgoing::Publish(id)) => {
                let cargo = self.queued.pop_front().ok_or(out_of_turn())?;
                self.unacknowledged.push_back((id, cargo));
                Ok(())
            }
            Event::Incoming(_) | Event::Outgoing(_) => Ok(()),
        }
    }

    fn subscribe(&mut self, resumed: bool) -> Result<(), Failure> {
        if self.phase != Phase::Greeting {
            return Err(out_of_turn());
        }
        // Also when the session is resumed: subscribing brings the retained target.
        let names: &[&str] = match self.is_registered {
            true => &["target", "down", "blob/data"],
            false => &["down"],
        };
        let filter =
            |name: &&str| Filter::new(topics::topic(self.uuid, name).as_str(), QoS::AtLeastOnce);
        let filters = names.iter().map(filter);
        self.client
            .try_subscribe_many(filters)
            .map_err(|_| broken())?;
        self.phase = Phase::Subscribing { resumed };
        if resumed {
            self.news.push_back(News::Up { resumed });
        }
        if self.is_registered {
            self.send(
                "presence",
                Bytes::from_static(&[1]),
                (true, None),
                Cargo::Presence,
            )?;
        }
        Ok(())
    }

    fn open(&mut self, answer: &SubAck) -> Result<(), Failure> {
        let Phase::Subscribing { resumed } = self.phase else {
            return Err(out_of_turn());
        };
        let taken = |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
        if !answer.return_codes.iter().all(taken) {
            return Err(Failure::Refused {
                retry_after_s: None,
            });
        }
        self.phase = Phase::Open;
        if !resumed {
            self.news.push_front(News::Up { resumed });
        }
        self.deadline = self.next_deadline();
        Ok(())
    }

    fn take<M: RawMutex>(
        &mut self,
        publish: Publish,
        asked: &mut Asked<'_, M>,
    ) -> Result<(), Failure> {
        let channel = topics::channel(self.uuid, &publish.topic);
        match channel.ok_or(Failure::Misbehaved(Misconduct::NotOurs))? {
            Channel::Message => {
                self.news.push_back(News::Message(Box::new(publish)));
                Ok(())
            }
            Channel::Blob => {
                // An answer to no question is old news of a question that was given up.
                if let Ok(answer) = chunk::decode::<Answer<'_>>(&publish.payload)
                    && asked.answer(&answer)
                {
                    self.question_deadline = None;
                }
                self.acknowledge(&publish)
            }
        }
    }

    fn acknowledge(&mut self, publish: &Publish) -> Result<(), Failure> {
        self.acknowledgements += 1;
        self.client.try_ack(publish).map_err(|_| broken())
    }

    fn acknowledged(&mut self, answer: &PubAck) {
        let position = self
            .unacknowledged
            .iter()
            .position(|(id, _)| *id == answer.pkid);
        let Some((_, cargo)) = position.and_then(|at| self.unacknowledged.remove(at)) else {
            return;
        };
        if cargo == Cargo::Message {
            self.news.push_back(match failure::declined(answer.reason) {
                None => News::Sent,
                Some(failure) => News::Unsent(failure),
            });
        }
        self.deadline = self.next_deadline();
    }

    /// The broker answers everything in time or is gone; while nothing is open, pings find out.
    fn next_deadline(&self) -> Option<Instant> {
        let is_open = !self.queued.is_empty() || !self.unacknowledged.is_empty();
        is_open.then(|| Instant::now() + self.config.timeout)
    }

    fn publish(&mut self, message: &Up) -> Result<(), Failure> {
        let mut out = vec![0; UP_BYTES];
        match wire::encode(message, &mut out) {
            Ok(bytes) => {
                let payload = Bytes::copy_from_slice(bytes);
                self.send("up", payload, (false, None), Cargo::Message)
            }
            Err(_) => {
                self.news.push_back(News::Unsent(Failure::TooLarge));
                Ok(())
            }
        }
    }

    fn ask(&mut self, request: &Request) -> Result<(), Failure> {
        let mut out = [0; chunk::REQUEST_BYTES];
        let bytes = chunk::encode(request, &mut out).map_err(|_| Failure::TooLarge)?;
        let properties = PublishProperties {
            response_topic: Some(topics::topic(self.uuid, "blob/data").as_str().into()),
            correlation_data: Some(Bytes::copy_from_slice(&request.id.to_be_bytes())),
            ..PublishProperties::default()
        };
        let payload = Bytes::copy_from_slice(bytes);
        self.question_deadline = Some(Instant::now() + self.config.timeout);
        self.send(
            "blob/get",
            payload,
            (false, Some(properties)),
            Cargo::Question,
        )
    }

    fn send(
        &mut self,
        name: &str,
        payload: Bytes,
        (retain, properties): (bool, Option<PublishProperties>),
        cargo: Cargo,
    ) -> Result<(), Failure> {
        let topic = topics::topic(self.uuid, name);
        let (topic, qos) = (topic.as_str(), QoS::AtLeastOnce);
        let taken = match properties {
            Some(properties) => {
                let client = &self.client;
                client.try_publish_with_properties(topic, qos, retain, payload, properties)
            }
            None => self.client.try_publish(topic, qos, retain, payload),
        };
        taken.map_err(|_| broken())?;
        self.queued.push_back(cargo);
        self.deadline = Some(Instant::now() + self.config.timeout);
        Ok(())
    }
}

fn out_of_turn() -> Failure {
    Failure::Misbehaved(Misconduct::Sequence)
}

/// The event loop takes no more: the connection is as good as gone.
fn broken() -> Failure {
    Failure::Unreachable(Unreachable::Broken)
}
