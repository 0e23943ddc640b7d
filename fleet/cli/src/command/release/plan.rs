//! Plans of roll-outs, as they are typed.

use clap::Args;
use lightship_api::{NewRollout, NewWave, WaveWho};

use crate::args::Span;
use crate::failure::{Code, Failure};

/// A staged roll-out.
#[derive(Clone, Debug, Default, Args)]
#[group(id = "staged")]
pub(crate) struct Plan {
    /// Waves, in order, each a percentage (`10%`) or a tag (`ring=canary`), with the time to soak behind a slash: `ring=canary/2h 10%/1d`. The rest of the fleet comes last.
    #[arg(long, num_args = 1.., value_name = "WAVE")]
    pub(crate) wave: Vec<String>,
    /// Halt when more than this percentage failed.
    #[arg(long, value_name = "PERCENT")]
    pub(crate) halt_percent: Option<u8>,
    /// And at least so many.
    #[arg(long, value_name = "DEVICES")]
    pub(crate) halt_at_least: Option<u32>,
    /// When it is halted, take the release back from those who have it.
    #[arg(long)]
    pub(crate) revert: bool,
}

impl Plan {
    /// The plan, if waves are given.
    pub(crate) fn request(&self) -> Result<Option<NewRollout>, Failure> {
        if self.wave.is_empty() {
            return Ok(None);
        }
        let mut waves = Vec::new();
        for text in self.wave.iter().flat_map(|waves| waves.split_whitespace()) {
            waves.push(wave(text)?);
        }
        let everyone = WaveWho::Percent { percent: 100 };
        if waves.last().is_none_or(|wave| wave.who != everyone) {
            waves.push(NewWave {
                who: everyone,
                soak_s: 0,
            });
        }
        Ok(Some(NewRollout {
            waves,
            halt_percent: self.halt_percent.unwrap_or(10),
            halt_at_least: self.halt_at_least.unwrap_or(2),
            revert: self.revert,
        }))
    }
}

fn wave(text: &str) -> Result<NewWave, Failure> {
    let bad = || {
        Failure::new(Code::Usage, format!("{text} is no wave")).help("write a percentage or a tag, and the time to soak: 10%/1d, ring=canary/2h, ring=canary")
    };
    let (who, soak) = text.split_once('/').unwrap_or((text, "0s"));
    let who = match (who.strip_suffix('%'), who.split_once('=')) {
        (Some(percent), _) => WaveWho::Percent {
            percent: percent.parse().map_err(|_| bad())?,
        },
        (None, Some((key, value))) => WaveWho::Tag {
            key: key.to_owned(),
            value: Some(value.to_owned()),
        },
        (None, None) => return Err(bad()),
    };
    let Span(soak_s) = soak.parse().map_err(|_| bad())?;
    Ok(NewWave { who, soak_s })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(waves: &[&str]) -> Result<Option<NewRollout>, Failure> {
        let plan = Plan {
            wave: waves.iter().map(|wave| (*wave).to_owned()).collect(),
            ..Plan::default()
        };
        plan.request()
    }

    #[test]
    fn waves_are_read_as_they_are_typed_and_everyone_comes_last() {
        let waves = plan(&["ring=canary/2h", "10%/1d 50%/90s"])
            .unwrap()
            .unwrap()
            .waves;
        let soaks: Vec<u32> = waves.iter().map(|wave| wave.soak_s).collect();
        assert_eq!(soaks, [7200, 86_400, 90, 0]);
        assert_eq!(waves[3].who, WaveWho::Percent { percent: 100 });
        assert!(plan(&[]).unwrap().is_none());
        assert_eq!(plan(&["100%/1h"]).unwrap().unwrap().waves.len(), 1);
        for bad in ["canary", "10", "300%", "10%/1w", "10%/", "10%/99999999d"] {
            assert_eq!(
                plan(&[bad]).err().map(|failure| failure.code),
                Some(Code::Usage),
                "{bad}"
            );
        }
    }
}
