//! What a device on a rig has to go through.

use std::time::{Duration, Instant};

use lightship_api::Device as Shown;

use super::device::{Device, NAME, RELEASE_KEY};
use super::file::Rig;
use super::shore::Shore;
use crate::client::Client;
use crate::demo::FLEET;
use crate::failure::{Code, Failure};

/// Time between two looks at the server.
const LOOK: Duration = Duration::from_millis(200);

/// One thing to go through.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Enrolment,
    Update,
    Broken,
    CutWhilePreparing,
    CutInTrial,
    CutsInARow,
    MissedUpdate,
    Rotation,
}

/// All of them; the first makes the device that the others need.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "enrolment",
        what: "a device from the factory registers and is reached through its tunnel",
        kind: Kind::Enrolment,
    },
    Scenario {
        name: "update",
        what: "a release is tried and committed",
        kind: Kind::Update,
    },
    Scenario {
        name: "broken-release",
        what: "a release that does not become healthy is reverted, and the old one runs",
        kind: Kind::Broken,
    },
    Scenario {
        name: "power-cut-preparing",
        what: "the power fails while a release is being fetched; it is committed all the same",
        kind: Kind::CutWhilePreparing,
    },
    Scenario {
        name: "power-cut-in-trial",
        what: "the power fails in a trial; the device rests with one whole release and says which",
        kind: Kind::CutInTrial,
    },
    Scenario {
        name: "power-cuts-in-a-row",
        what: "the power fails at five moments of an update; the device rests as above",
        kind: Kind::CutsInARow,
    },
    Scenario {
        name: "missed-update",
        what: "a device without power finds the release that was pushed meanwhile",
        kind: Kind::MissedUpdate,
    },
    Scenario {
        name: "rotation",
        what: "API key and tunnel key are replaced, and an update arrives afterwards",
        kind: Kind::Rotation,
    },
];

/// The device, its server, and what was pushed so far.
pub(super) struct Bench<'r> {
    rig: &'r Rig,
    client: Client,
    shore: Shore,
    device: Device,
    /// Releases made so far.
    made: u32,
}

/// A release that was pushed, and what ran before.
struct Pushed {
    number: u64,
    ran: Option<String>,
}

impl<'r> Bench<'r> {
    pub(super) fn new(rig: &'r Rig, shore: Shore, device: Device) -> Result<Self, Failure> {
        Ok(Self {
            rig,
            client: shore.desk.client()?,
            shore,
            device,
            made: 0,
        })
    }

    pub(super) async fn run(&mut self, scenario: &Scenario) -> Result<(), Failure> {
        match scenario.kind {
            Kind::Enrolment => self.enrol().await,
            Kind::Update => {
                let pushed = self.push(false).await?;
                self.until_committed(&pushed).await
            }
            Kind::Broken => {
                let pushed = self.push(true).await?;
                self.until("the way back", |shown| is_back(shown, &pushed))
                    .await
            }
            Kind::CutWhilePreparing => self.cut_in("preparing", true).await,
            Kind::CutInTrial => self.cut_in("trying", false).await,
            Kind::CutsInARow => self.cuts_in_a_row().await,
            Kind::MissedUpdate => {
                self.device.cut().await?;
                let pushed = self.push(false).await?;
                self.device.switch_on().await?;
                self.until_committed(&pushed).await
            }
            Kind::Rotation => self.rotate().await,
        }
    }

    async fn enrol(&mut self) -> Result<(), Failure> {
        self.device.switch_on().await?;
        let reached = |shown: &Shown| shown.online && shown.last_handshake_at.is_some();
        self.until("registration through the tunnel", reached).await
    }

    /// Cuts the power as soon as the device is in this state, or is beyond it already.
    async fn cut_in(&mut self, state: &str, must_commit: bool) -> Result<(), Failure> {
        let pushed = self.push(false).await?;
        let beyond = ["trying", "committed", "rejected"];
        let is_there = |shown: &Shown| {
            let seen = shown.state.as_deref().unwrap_or_default();
            shown.target == Some(pushed.number)
                && (seen == state || beyond.contains(&seen))
                && shown.running == pushed.ran
        };
        self.until(state, is_there).await?;
        self.device.cut().await?;
        self.device.switch_on().await?;
        match must_commit {
            true => self.until_committed(&pushed).await,
            false => self.until_at_rest(&pushed).await,
        }
    }

    async fn cuts_in_a_row(&mut self) -> Result<(), Failure> {
        const MOMENTS_MS: [u64; 5] = [350, 1_900, 800, 2_700, 1_200];
        let pushed = self.push(false).await?;
        for moment in MOMENTS_MS {
            tokio::time::sleep(Duration::from_millis(moment)).await;
            self.device.cut().await?;
            self.device.switch_on().await?;
        }
        self.until_at_rest(&pushed).await
    }

    async fn rotate(&mut self) -> Result<(), Failure> {
        let before = self.shown().await?;
        self.shore.desk.type_in(&["device", "rotate", NAME]).await?;
        let is_new = |shown: &Shown| {
            shown.online
                && shown.api_key_changed_at > before.api_key_changed_at
                && shown.tunnel_key_changed_at > before.tunnel_key_changed_at
        };
        self.until("new keys", is_new).await?;
        let pushed = self.push(false).await?;
        self.until_committed(&pushed).await
    }

    /// Makes the next version and pushes it.
    async fn push(&mut self, is_broken: bool) -> Result<Pushed, Failure> {
        self.made += 1;
        let version = format!("1.{}.0", self.made);
        let make = if is_broken {
            &self.rig.make_broken
        } else {
            &self.rig.make
        };
        self.device.order(make, &version).await?;
        let ran = self.shown().await?.running;
        let mut words: Vec<String> = ["push", "--release", &version, "--yes", "--key", RELEASE_KEY]
            .map(str::to_owned)
            .into();
        words.extend(self.device.words_for(&self.rig.push, &version));
        let release = self.shore.desk.type_in(&words).await?;
        let number = release["number"].as_u64();
        let number =
            number.ok_or_else(|| Failure::new(Code::Failed, "the release has no number"))?;
        Ok(Pushed { number, ran })
    }

    async fn until_committed(&self, pushed: &Pushed) -> Result<(), Failure> {
        self.until("the commit", |shown| is_committed(shown, pushed))
            .await
    }

    async fn until_at_rest(&self, pushed: &Pushed) -> Result<(), Failure> {
        let is_at_rest = |shown: &Shown| is_committed(shown, pushed) || is_back(shown, pushed);
        self.until("rest", is_at_rest).await
    }

    async fn until(&self, what: &str, done: impl Fn(&Shown) -> bool) -> Result<(), Failure> {
        let end = Instant::now() + Duration::from_secs(self.rig.patience_s);
        loop {
            let shown = self.find().await?;
            if shown.as_ref().is_some_and(&done) {
                return Ok(());
            }
            if Instant::now() > end {
                let seen = shown.map_or_else(|| "not registered".to_owned(), seen);
                let message = format!(
                    "{what}: not within {} s; the device is {seen}",
                    self.rig.patience_s
                );
                return Err(Failure::new(Code::Failed, message));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn shown(&self) -> Result<Shown, Failure> {
        let shown = self.find().await?;
        shown.ok_or_else(|| Failure::new(Code::Failed, "the device has not registered"))
    }

    async fn find(&self) -> Result<Option<Shown>, Failure> {
        let path = format!("/api/v1/fleets/{FLEET}/devices");
        let all: Vec<Shown> = self.client.get(&path).await?;
        match all.first() {
            Some(device) => self
                .client
                .get(&format!("{path}/{}", device.uuid))
                .await
                .map(Some),
            None => Ok(None),
        }
    }

    /// Whether the device cannot be used by further scenarios.
    pub(super) async fn is_lost(&mut self) -> bool {
        let again = async {
            self.device.cut().await?;
            self.device.switch_on().await?;
            self.until("the device", |shown| shown.online).await
        };
        again.await.is_err()
    }

    pub(super) fn last_lines(&self) -> String {
        self.device.last_lines()
    }
}

fn is_committed(shown: &Shown, pushed: &Pushed) -> bool {
    shown.online
        && shown.target == Some(pushed.number)
        && shown.state.as_deref() == Some("committed")
        && shown.running.is_some()
        && shown.running != pushed.ran
}

fn is_back(shown: &Shown, pushed: &Pushed) -> bool {
    shown.online
        && shown.target == Some(pushed.number)
        && shown.state.as_deref() == Some("rejected")
        && shown.running == pushed.ran
}

fn seen(shown: Shown) -> String {
    let state = shown.state.unwrap_or_else(|| "registered".to_owned());
    let online = if shown.online { "online" } else { "offline" };
    format!("{online} and {state}")
}
