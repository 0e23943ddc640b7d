//! One connection to a broker.

use embassy_futures::select::{Either4, select4};
use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_time::{Duration, Instant, Timer};
use heapless::Deque;
use lightship_core::id::Uuid;
use lightship_core::wire::{self, Up};
use lightship_link::chunk::{self, Answer, Asked, Request};
use lightship_link::limits::UP_BYTES;
use lightship_link::mailbox::{End, Port, Turn};
use lightship_link::{Credentials, Failure, Misconduct, Secret, Unreachable};
use minimq::{
    ConnectEvent, Error, Io, Op, PeerError, Property, PubError, Publication, QoS,
    SubscriptionOptions, TopicFilter,
};

use super::failure;
use crate::topics::{self, Channel};

/// What the agent is to hear, in order.
#[derive(Clone, Copy, Debug)]
enum News {
    Up { resumed: bool },
    Sent,
    Unsent(Failure),
}

/// What came of waiting.
#[allow(
    clippy::large_enum_variant,
    reason = "there is no allocator to put the large one elsewhere"
)]
enum Step {
    Ended(End),
    Failed(Failure),
    Message(Up),
    Question(Request),
    Nothing,
}

pub(super) struct Connection<'s, 'b, S: Io> {
    mqtt: minimq::Connection<'s, 'b, S>,
    uuid: Uuid,
    is_registered: bool,
    timeout: Duration,
    news: Deque<News, 4>,
    /// Whether the agent is handling a message.
    is_shown: bool,
    subscribing: Option<Op>,
    message: Option<(Op, Instant)>,
    question_at: Option<Instant>,
    started_at: Instant,
}

impl<'s, 'b, S: Io> Connection<'s, 'b, S> {
    pub(super) fn new(
        mqtt: minimq::Connection<'s, 'b, S>,
        credentials: &Credentials,
        timeout: Duration,
    ) -> Self {
        Self {
            mqtt,
            uuid: credentials.uuid,
            is_registered: matches!(credentials.secret, Secret::Api(_)),
            timeout,
            news: Deque::new(),
            is_shown: false,
            subscribing: None,
            message: None,
            question_at: None,
            started_at: Instant::now(),
        }
    }

    pub(super) fn has_message_under_way(&self) -> bool {
        let outcome = |news: &News| matches!(news, News::Sent | News::Unsent(_));
        self.message.is_some() || self.news.iter().any(outcome)
    }

    pub(super) async fn carry<M: RawMutex, const N: usize>(
        &mut self,
        port: &mut Port<'_, M, N>,
        asked: &mut Asked<'_, M>,
    ) -> End {
        if let Err(failure) = self.subscribe().await {
            return End::Failed(failure);
        }
        loop {
            let step = match self.is_shown || !self.news.is_empty() || !port.is_handled() {
                true => self.tell(port).await,
                false => self.wait(port, asked).await,
            };
            let done = match step {
                Step::Ended(end) => return end,
                Step::Failed(failure) => Err(failure),
                Step::Message(message) => self.publish(&message).await,
                Step::Question(request) => self.ask(&request).await,
                Step::Nothing => self.settle(),
            };
            if let Err(failure) = done {
                return End::Failed(failure);
            }
        }
    }

    /// Waits until the agent has handled the last thing, and says the next.
    async fn tell<M: RawMutex, const N: usize>(&mut self, port: &mut Port<'_, M, N>) -> Step {
        match port.turn(false, true).await {
            Turn::Order(wish) => return Step::Ended(End::Ordered(wish)),
            Turn::Message(_) | Turn::Handled => {}
        }
        self.is_shown = false;
        match self.news.pop_front() {
            Some(News::Up { resumed }) => port.up(resumed).await,
            Some(News::Sent) => port.sent().await,
            Some(News::Unsent(failure)) => port.unsent(failure).await,
            None => {}
        }
        Step::Nothing
    }

    async fn wait<M: RawMutex, const N: usize>(
        &mut self,
        port: &mut Port<'_, M, N>,
        asked: &mut Asked<'_, M>,
    ) -> Step {
        let is_open = self.subscribing.is_none();
        let has_room = is_open && !self.has_message_under_way();
        let due = self.due();
        let timer = async {
            match due {
                Some(due) => Timer::at(due).await,
                None => core::future::pending().await,
            }
        };
        let question = async {
            match is_open {
                true => asked.question().await,
                false => core::future::pending().await,
            }
        };
        let turn = port.turn(has_room, false);
        let publish = match select4(self.mqtt.poll(), turn, question, timer).await {
            Either4::First(Ok(Some(publish))) => publish,
            Either4::First(Ok(None)) => return Step::Nothing,
            Either4::First(Err(error)) => {
                return declined(&error, &mut self.message, &mut self.news);
            }
            Either4::Second(Turn::Order(wish)) => return Step::Ended(End::Ordered(wish)),
            Either4::Second(Turn::Message(message)) => return Step::Message(message),
            Either4::Second(Turn::Handled) => return Step::Nothing,
            Either4::Third(request) => return Step::Question(request),
            Either4::Fourth(()) => return self.overdue(asked),
        };
        match topics::channel(self.uuid, publish.topic()) {
            Some(Channel::Message) => {
                // What the agent cannot read it is told of; it is acknowledged all the same, or it would come for ever.
                let _ = port.deliver(publish.payload()).await;
                self.is_shown = true;
            }
            Some(Channel::Blob) => {
                // An answer to no question is old news of a question that was given up.
                if let Ok(answer) = chunk::decode::<Answer<'_>>(publish.payload())
                    && asked.answer(&answer)
                {
                    self.question_at = None;
                }
            }
            None => return Step::Failed(Failure::Misbehaved(Misconduct::NotOurs)),
        }
        Step::Nothing
    }

    /// When the broker must have answered what it was asked.
    fn due(&self) -> Option<Instant> {
        let subscribing = self.subscribing.is_some().then_some(self.started_at);
        let message = self.message.as_ref().map(|(_, at)| *at);
        let since = [subscribing, message, self.question_at]
            .into_iter()
            .flatten()
            .min();
        since.map(|at| at + self.timeout)
    }

    /// A broker that is silent is gone; a fleet that does not answer a question may answer the next.
    fn overdue<M: RawMutex>(&mut self, asked: &mut Asked<'_, M>) -> Step {
        let silent = Failure::Unreachable(Unreachable::Silent);
        match self.question_at {
            Some(at) if at + self.timeout <= Instant::now() => {
                self.question_at = None;
                asked.fail(silent);
                Step::Nothing
            }
            Some(_) | None => Step::Failed(silent),
        }
    }

    /// Notices what the broker has acknowledged.
    fn settle(&mut self) -> Result<(), Failure> {
        if let Some(op) = &self.subscribing
            && !self.mqtt.is_pending(op)
        {
            self.subscribing = None;
            self.news(News::Up { resumed: false })?;
        }
        if let Some((op, _)) = &self.message
            && !self.mqtt.is_pending(op)
        {
            let is_complete = self.mqtt.is_complete(op);
            self.message = None;
            self.news(match is_complete {
                true => News::Sent,
                false => News::Unsent(Failure::Unreachable(Unreachable::Broken)),
            })?;
        }
        Ok(())
    }

    fn news(&mut self, news: News) -> Result<(), Failure> {
        // Up and one outcome fit, and there is never more.
        self.news
            .push_back(news)
            .map_err(|_| Failure::Misbehaved(Misconduct::Sequence))
    }

    /// Subscribes, also when the session is resumed: that brings the retained target.
    async fn subscribe(&mut self) -> Result<(), Failure> {
        let names = ["down", "target", "blob/data"].map(|name| topics::topic(self.uuid, name));
        let options = SubscriptionOptions::default().maximum_qos(QoS::AtLeastOnce);
        let filters = names
            .each_ref()
            .map(|name| TopicFilter::new(name).options(options));
        let count = if self.is_registered { filters.len() } else { 1 };
        let subscribed = self.mqtt.subscribe(&filters[..count], &[]).await;
        let op = subscribed.map_err(|error| failure::of(&error))?;
        match self.mqtt.connect_event() {
            // What was kept may come before the answer, so the agent must know.
            ConnectEvent::Reconnected => self.news(News::Up { resumed: true })?,
            ConnectEvent::Connected => self.subscribing = Some(op),
        }
        if self.is_registered {
            let topic = topics::topic(self.uuid, "presence");
            // At most once: a session keeps what is not acknowledged, and connections that follow one another quickly would fill it with old presence for ever.
            // Should the connection break before this arrives, the last will says so.
            let presence = Publication::bytes(&topic, &[1]).retain();
            published(self.mqtt.publish(presence).await)?;
        }
        Ok(())
    }

    async fn publish(&mut self, message: &Up) -> Result<(), Failure> {
        let mut out = [0; UP_BYTES];
        let Ok(bytes) = wire::encode(message, &mut out) else {
            return self.news(News::Unsent(Failure::TooLarge));
        };
        let topic = topics::topic(self.uuid, "up");
        let publication = Publication::bytes(&topic, bytes).qos(QoS::AtLeastOnce);
        match published(self.mqtt.publish(publication).await) {
            Ok(Some(op)) => self.message = Some((op, Instant::now())),
            Ok(None) => {}
            Err(failure) => {
                self.news(News::Unsent(failure))?;
                return Err(failure);
            }
        }
        Ok(())
    }

    async fn ask(&mut self, request: &Request) -> Result<(), Failure> {
        let mut out = [0; chunk::REQUEST_BYTES];
        let bytes = chunk::encode(request, &mut out).map_err(|_| Failure::TooLarge)?;
        let (topic, answers) = (
            topics::topic(self.uuid, "blob/get"),
            topics::topic(self.uuid, "blob/data"),
        );
        let id = request.id.to_be_bytes();
        let properties = [Property::ResponseTopic(&answers)];
        let publication = Publication::bytes(&topic, bytes)
            .properties(&properties)
            .correlate(&id)
            .qos(QoS::AtLeastOnce);
        published(self.mqtt.publish(publication).await)?;
        self.question_at = Some(Instant::now());
        Ok(())
    }
}

fn published<E>(outcome: Result<Option<Op>, PubError<(), E>>) -> Result<Option<Op>, Failure> {
    outcome.map_err(|error| match error {
        PubError::Session(error) => failure::of(&error),
        PubError::Payload(()) => Failure::TooLarge,
    })
}

/// A broker that declines a message is still there; any other error ends the connection.
fn declined<E>(
    error: &Error<E>,
    message: &mut Option<(Op, Instant)>,
    news: &mut Deque<News, 4>,
) -> Step {
    match error {
        Error::Peer(PeerError::Rejected(_)) if message.take().is_some() => {
            match news.push_back(News::Unsent(Failure::Declined)) {
                Ok(()) => Step::Nothing,
                Err(_) => Step::Failed(Failure::Declined),
            }
        }
        Error::Peer(PeerError::Rejected(_)) => Step::Failed(Failure::Refused {
            retry_after_s: None,
        }),
        other => Step::Failed(failure::of(other)),
    }
}
