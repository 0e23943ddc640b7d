//! What the fleet is told: only what changed, at a bounded rate, and never more than is saved.

use heapless::Vec;

use crate::codec::{Encode, Writer, fields};
use crate::id::Digest;
use crate::limits::{REPORT_COMPONENTS, REPORT_INTERVAL};
use crate::plan::Presence;
use crate::reconcile::Reconcile;
use crate::record::Clock;
use crate::table::{Track, Verb};
use crate::time::{Duration, Instant};
use crate::trust::{Offence, TrustState};
use crate::wire::{ComponentReport, ComponentState, Phase, RejectedReport, Report, TrialReport};

/// Shortest time between reports of something that cannot wait: a commit, a rejection, an offence.
const URGENT_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Reporter {
    sequence: u32,
    /// What was said last; when it is no longer so, there is something to say.
    said: Option<[u8; HEAD_BYTES]>,
    last_at: Option<Instant>,
    pub(crate) offence: Option<Offence>,
    pub(crate) frozen: bool,
}

/// Most bytes of a [`Head`]: two numbers, a digest, two with a reason, an offence with its content, a flag.
const HEAD_BYTES: usize = 10 + 5 + 34 + 2 * 35 + 3 + 1;

/// The part of a report that is about the whole device.
struct Head {
    counter: u64,
    root: u32,
    committed: Option<Digest>,
    trial: Option<TrialReport>,
    rejected: Option<RejectedReport>,
    offence: Option<Offence>,
    frozen: bool,
}

fields!(Head {
    counter,
    root,
    committed,
    trial,
    rejected,
    offence,
    frozen
});

impl Head {
    /// As it is written, with zeros after it: bytes take less to keep and to compare.
    fn written(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        self.encode(&mut Writer::new(&mut bytes));
        bytes
    }
}

impl Reporter {
    pub(crate) const fn new() -> Self {
        Self {
            sequence: 0,
            said: None,
            last_at: None,
            offence: None,
            frozen: false,
        }
    }

    /// Everything has to be said again.
    pub(crate) fn forget<const N: usize>(&mut self, reconcile: &mut Reconcile<N>) {
        self.said = None;
        for row in 0..3 * N {
            reconcile.table.track_mut(row).report_due = true;
        }
    }

    fn head<const N: usize>(&self, trust: &TrustState, reconcile: &Reconcile<N>) -> Head {
        let state = &reconcile.state;
        Head {
            counter: trust.counter,
            root: trust.root.version,
            committed: state.committed.as_ref().map(|target| target.release),
            trial: state.trial.as_ref().map(|trial| TrialReport {
                release: trial.target.release,
                phase: match (reconcile.is_held(), trial.started) {
                    (true, _) => Phase::Held,
                    (false, true) => Phase::Trying,
                    (false, false) => Phase::Preparing,
                },
            }),
            rejected: state.rejected.map(|rejected| RejectedReport {
                release: rejected.release,
                reason: rejected.reason,
            }),
            offence: self.offence,
            frozen: self.frozen,
        }
    }

    /// When a report should be sent; never while there is nothing to say.
    pub(crate) fn due<const N: usize>(
        &self,
        trust: &TrustState,
        reconcile: &Reconcile<N>,
    ) -> Instant {
        let urgent = self.said != Some(self.head(trust, reconcile).written());
        let changed = lines(reconcile).any(|(_, track, _)| track.report_due);
        let interval = match (urgent, changed) {
            (true, _) => URGENT_INTERVAL,
            (false, true) => REPORT_INTERVAL,
            (false, false) => return Instant::NEVER,
        };
        self.last_at.map_or(Instant::BOOT, |last| last + interval)
    }

    /// The report, with as many changed components as fit; they count as said.
    pub(crate) fn make<const N: usize>(
        &mut self,
        now: Instant,
        clock: &Clock,
        trust: &TrustState,
        reconcile: &mut Reconcile<N>,
        unsaved: bool,
    ) -> Report {
        let head = self.head(trust, reconcile);
        let mut components = Vec::<ComponentReport, REPORT_COMPONENTS>::new();
        let mut said = Vec::<usize, REPORT_COMPONENTS>::new();
        for (row, track, line) in lines(reconcile) {
            if track.report_due && components.push(line).is_ok() {
                said.push(row).expect("as long as the lines");
            }
        }
        for row in said {
            // Progress is worth a line each time a report goes out.
            let track = reconcile.table.track_mut(row);
            track.report_due = matches!(track.busy, Some((_, Verb::Fetch)));
        }
        self.said = Some(head.written());
        self.last_at = Some(now);
        self.sequence = self.sequence.wrapping_add(1);
        let committed = reconcile.state.committed.as_ref();
        Report {
            sequence: self.sequence,
            boot: clock.boots,
            counter: head.counter,
            root: head.root,
            committed: head.committed,
            version: committed.map(|target| target.version.clone()),
            trial: head.trial,
            rejected: head.rejected,
            offence: head.offence,
            frozen: head.frozen,
            unsaved,
            components,
        }
    }
}

/// One line for each component of the goal that has an instance.
fn lines<const N: usize>(
    reconcile: &Reconcile<N>,
) -> impl Iterator<Item = (usize, &Track, ComponentReport)> {
    reconcile.goal().iter().filter_map(|part| {
        let row = reconcile.table.row_of(part)?;
        let component = &part.component;
        let track = reconcile.table.track(row);
        let presence = reconcile.table.instance(row)?.presence;
        let line = ComponentReport {
            name: component.name.clone(),
            artifact: component.artifact.digest,
            state: state(presence),
            fetched: (presence == Presence::Missing && track.fetched > 0).then_some(track.fetched),
        };
        Some((row, track, line))
    })
}

const fn state(presence: Presence) -> ComponentState {
    match presence {
        Presence::Missing => ComponentState::Fetching,
        Presence::Fetched | Presence::Staged => ComponentState::Ready,
        Presence::RolledBack => ComponentState::Stopped,
        Presence::Starting => ComponentState::Starting,
        Presence::Healthy => ComponentState::Healthy,
        Presence::Unhealthy => ComponentState::Unhealthy,
        Presence::Exited => ComponentState::Exited,
        Presence::Completed => ComponentState::Completed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Malformation;
    use crate::wire::Reason;

    #[test]
    fn the_longest_head_is_written_whole() {
        let release = Digest([0xff; 32]);
        let head = Head {
            counter: u64::MAX,
            root: u32::MAX,
            committed: Some(release),
            trial: Some(TrialReport {
                release,
                phase: Phase::Held,
            }),
            rejected: Some(RejectedReport {
                release,
                reason: Reason::Unseen,
            }),
            offence: Some(Offence::Components(Malformation::WaitsForService)),
            frozen: true,
        };
        let mut bytes = [0; HEAD_BYTES];
        let mut to = Writer::new(&mut bytes);
        head.encode(&mut to);
        assert_eq!(to.end(), Some(HEAD_BYTES));
        assert_eq!(head.written(), bytes);
    }
}
