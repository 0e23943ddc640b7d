//! Roll-outs: in which order devices are given a release.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A roll-out to be planned.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRollout {
    /// One after the other; a device belongs to the first that it matches, and the last is 100 percent.
    #[schema(min_items = 1, max_items = 32)]
    pub waves: Vec<NewWave>,
    /// Halt when more than this share failed of those who succeeded or failed.
    #[serde(default = "halt_percent")]
    pub halt_percent: u8,
    /// And at least so many.
    #[serde(default = "halt_at_least")]
    pub halt_at_least: u32,
    /// Take back those who have the release when it is halted.
    #[serde(default)]
    pub revert: bool,
}

fn halt_percent() -> u8 {
    10
}

fn halt_at_least() -> u32 {
    2
}

/// One step to be planned.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWave {
    /// Who is in it.
    pub who: WaveWho,
    /// Seconds between its first success and the opening of the next.
    #[serde(default)]
    pub soak_s: u32,
}

/// Who is in a wave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", tag = "by")]
pub enum WaveWho {
    /// A share of the fleet, counted from its beginning: 10, 50, 100 are waves of 10, 40 and 50.
    Percent {
        /// 1 to 100.
        percent: u8,
    },
    /// Devices with a tag.
    Tag {
        /// The tag.
        key: String,
        /// Its value; absent means any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<String>,
    },
}

/// A roll-out and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rollout {
    /// The release's number.
    pub release: u64,
    /// Whether it goes on.
    pub phase: RolloutPhase,
    /// Its steps, with their counts.
    pub waves: Vec<Wave>,
}

/// Whether a roll-out goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RolloutPhase {
    /// The release is not final yet.
    Planned,
    /// Opens wave after wave.
    Running,
    /// A person stopped it for now.
    Paused,
    /// Too many failed.
    Halted,
    /// A person stopped it for good.
    Aborted,
    /// Every wave was opened and has soaked.
    Completed,
}

/// One step of a roll-out with its counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Wave {
    /// Who is in it.
    pub who: WaveWho,
    /// Seconds between its first success and the opening of the next.
    pub soak_s: u32,
    /// Devices that were not told yet.
    pub waiting: u32,
    /// Devices that were told, and nothing is known of how it went.
    pub told: u32,
    /// Devices that committed the release.
    pub succeeded: u32,
    /// Devices that tried the release and gave it up.
    pub failed: u32,
}

/// What a person decides on a roll-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", tag = "order")]
pub enum RolloutOrder {
    /// Give the release to nobody new.
    Pause,
    /// Go on after a pause or a halt.
    Resume,
    /// Open the next wave without waiting any longer.
    Advance,
    /// Stop for good.
    Abort {
        /// Whether those who have the release are taken back.
        #[serde(default)]
        revert: bool,
    },
}
