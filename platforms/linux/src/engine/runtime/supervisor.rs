//! Decides about one container: when it is started again, tested, asked to stop, killed.
//!
//! Pure: time and what happened come in, orders come out. After each [`handle`](Supervisor::handle) the
//! shim calls [`poll`](Supervisor::poll) until it says [`Order::Wait`].

use lightship_spec::container::{Health, HealthTest, Restart, Run};
use serde::{Deserialize, Serialize};

/// The wait before the first start after an end; it doubles each time.
const FIRST_WAIT_MS: u64 = 100;

/// The longest wait.
const LONGEST_WAIT_MS: u64 = 60_000;

/// A container that ran for this long starts over with the shortest wait.
const SETTLED_MS: u64 = 10_000;

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit status, or 128 and the number of the signal that killed it.
    pub status: i32,
    /// Whether the kernel killed something in it for lack of memory.
    pub out_of_memory: bool,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happened {
    Started,
    Ended(Exit),
    Tested { passed: bool },
    StopAsked,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Start,
    Test,
    /// Give up a test that takes too long; it counts as failed, without being reported.
    EndTest,
    AskToStop,
    Kill,
    /// It has ended for good.
    Finish,
    Wait {
        until_ms: Option<u64>,
    },
}

/// Where a container stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// About to be started for the first time, or again.
    Waiting,
    /// Runs; health as far as it is known.
    Running(Verdict),
    /// Was asked to stop.
    Stopping,
    /// Ended by itself, for good.
    Ended,
    /// Ended because it was asked to.
    Stopped,
}

/// What the tests say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Not tested yet.
    Unknown,
    /// Passes, or is not tested.
    Healthy,
    /// Failed as often as it takes.
    Unhealthy,
}

/// One container's rules and state.
#[derive(Debug)]
pub(super) struct Supervisor {
    run: Run,
    restart: Restart,
    health: Option<Health>,
    grace_ms: u64,
    phase: Phase,
    started_ms: u64,
    ends_in_a_row: u32,
    starts: u32,
    last_exit: Option<Exit>,
    /// When the next thing is due: a start, a test, the end of a test, a kill.
    due_ms: Option<u64>,
    testing: bool,
    failures: u32,
    order: Option<Order>,
}

impl Supervisor {
    pub(super) fn new(run: Run, restart: Restart, health: Option<Health>, grace_ms: u64) -> Self {
        let health = health.filter(|health| health.test != HealthTest::None);
        Self {
            run,
            restart,
            health,
            grace_ms,
            phase: Phase::Waiting,
            started_ms: 0,
            ends_in_a_row: 0,
            starts: 0,
            last_exit: None,
            due_ms: Some(0),
            testing: false,
            failures: 0,
            order: None,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn starts(&self) -> u32 {
        self.starts
    }

    pub(super) fn last_exit(&self) -> Option<Exit> {
        self.last_exit
    }

    /// Takes in what happened.
    pub(super) fn handle(&mut self, now_ms: u64, happened: Happened) {
        match happened {
            Happened::Started => self.started(now_ms),
            Happened::Ended(exit) => self.ended(now_ms, exit),
            Happened::Tested { passed } if self.testing => self.tested(now_ms, passed),
            Happened::Tested { .. } => {}
            Happened::StopAsked => self.stop_asked(now_ms),
        }
    }

    /// What to do now.
    pub(super) fn poll(&mut self, now_ms: u64) -> Order {
        if let Some(order) = self.order.take() {
            return order;
        }
        if self.due_ms.is_none_or(|due_ms| due_ms > now_ms) {
            return Order::Wait {
                until_ms: self.due_ms,
            };
        }
        self.due_ms = None;
        match self.phase {
            Phase::Waiting => Order::Start,
            Phase::Running(_) if self.testing => {
                self.tested(now_ms, false);
                Order::EndTest
            }
            Phase::Running(_) => {
                self.testing = true;
                self.due_ms = self
                    .health
                    .as_ref()
                    .map(|health| now_ms.saturating_add(health.timeout_ms));
                Order::Test
            }
            Phase::Stopping => Order::Kill,
            Phase::Ended | Phase::Stopped => Order::Wait { until_ms: None },
        }
    }

    fn started(&mut self, now_ms: u64) {
        self.starts += 1;
        self.started_ms = now_ms;
        self.testing = false;
        self.failures = 0;
        let verdict = if self.health.is_some() {
            Verdict::Unknown
        } else {
            Verdict::Healthy
        };
        self.phase = Phase::Running(verdict);
        self.due_ms = self.next_test_ms(now_ms);
    }

    fn ended(&mut self, now_ms: u64, exit: Exit) {
        self.last_exit = Some(exit);
        self.testing = false;
        self.due_ms = None;
        if now_ms.saturating_sub(self.started_ms) >= SETTLED_MS {
            self.ends_in_a_row = 0;
        }
        self.ends_in_a_row = self.ends_in_a_row.saturating_add(1);
        if self.phase == Phase::Stopping {
            self.phase = Phase::Stopped;
            self.order = Some(Order::Finish);
        } else if self.starts_again(exit) {
            self.phase = Phase::Waiting;
            let doublings = (self.ends_in_a_row - 1).min(16);
            let wait_ms = (FIRST_WAIT_MS << doublings).min(LONGEST_WAIT_MS);
            self.due_ms = Some(now_ms.saturating_add(wait_ms));
        } else {
            self.phase = Phase::Ended;
            self.order = Some(Order::Finish);
        }
    }

    fn starts_again(&self, exit: Exit) -> bool {
        let failed = exit.status != 0;
        match (self.run, self.restart) {
            (_, Restart::No) => false,
            // A job that reached its end is done, whatever the policy says.
            (Run::Job, _) if !failed => false,
            (_, Restart::Always | Restart::UnlessStopped) => true,
            (_, Restart::OnFailure { attempts }) => {
                failed && attempts.is_none_or(|attempts| self.ends_in_a_row <= attempts)
            }
        }
    }

    fn tested(&mut self, now_ms: u64, passed: bool) {
        self.testing = false;
        let Some(health) = &self.health else { return };
        let starting = now_ms.saturating_sub(self.started_ms) < health.start_period_ms;
        let retries = health.retries.max(1);
        let Phase::Running(verdict) = self.phase else {
            return;
        };
        let verdict = match (passed, verdict) {
            (true, _) => {
                self.failures = 0;
                Verdict::Healthy
            }
            (false, Verdict::Unknown) if starting => Verdict::Unknown,
            (false, before) => {
                self.failures = self.failures.saturating_add(1);
                if self.failures >= retries {
                    Verdict::Unhealthy
                } else {
                    before
                }
            }
        };
        self.phase = Phase::Running(verdict);
        self.due_ms = self.next_test_ms(now_ms);
    }

    fn next_test_ms(&self, now_ms: u64) -> Option<u64> {
        let health = self.health.as_ref()?;
        let starting = now_ms.saturating_sub(self.started_ms) < health.start_period_ms
            && self.phase == Phase::Running(Verdict::Unknown);
        let interval_ms = if starting {
            health.start_interval_ms
        } else {
            health.interval_ms
        };
        Some(now_ms.saturating_add(interval_ms.max(1)))
    }

    fn stop_asked(&mut self, now_ms: u64) {
        match self.phase {
            Phase::Waiting => {
                self.phase = Phase::Stopped;
                self.due_ms = None;
                self.order = Some(Order::Finish);
            }
            Phase::Running(_) => {
                self.phase = Phase::Stopping;
                self.testing = false;
                self.due_ms = Some(now_ms.saturating_add(self.grace_ms));
                self.order = Some(Order::AskToStop);
            }
            Phase::Stopping | Phase::Ended | Phase::Stopped => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        Health {
            test: HealthTest::Tcp { port: 80 },
            interval_ms: 1000,
            timeout_ms: 300,
            start_period_ms: 5000,
            start_interval_ms: 200,
            retries: 2,
        }
    }

    fn running(restart: Restart, health: Option<Health>) -> Supervisor {
        let mut supervisor = Supervisor::new(Run::Service, restart, health, 10_000);
        assert_eq!(supervisor.poll(0), Order::Start);
        supervisor.handle(0, Happened::Started);
        supervisor
    }

    fn exit(status: i32) -> Happened {
        Happened::Ended(Exit {
            status,
            out_of_memory: false,
        })
    }

    #[test]
    fn waits_double_up_to_a_minute_and_start_over_after_a_settled_run() {
        let mut supervisor = running(Restart::Always, None);
        let (mut now, mut waits) = (0, Vec::new());
        for _ in 0..12 {
            supervisor.handle(now, exit(1));
            let Order::Wait {
                until_ms: Some(until),
            } = supervisor.poll(now)
            else {
                panic!("it is not to start at once")
            };
            waits.push(until - now);
            now = until;
            assert_eq!(supervisor.poll(now), Order::Start);
            supervisor.handle(now, Happened::Started);
        }
        assert_eq!(
            waits,
            [
                100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000
            ]
        );
        now += SETTLED_MS;
        supervisor.handle(now, exit(0));
        assert_eq!(
            supervisor.poll(now),
            Order::Wait {
                until_ms: Some(now + FIRST_WAIT_MS)
            }
        );
    }

    #[test]
    fn each_policy_ends_where_compose_says() {
        let cases = [
            (Run::Service, Restart::No, 1, false),
            (Run::Service, Restart::Always, 0, true),
            (Run::Service, Restart::UnlessStopped, 1, true),
            (
                Run::Service,
                Restart::OnFailure { attempts: None },
                0,
                false,
            ),
            (Run::Service, Restart::OnFailure { attempts: None }, 1, true),
            (
                Run::Service,
                Restart::OnFailure { attempts: Some(0) },
                1,
                false,
            ),
            (Run::Job, Restart::Always, 0, false),
            (Run::Job, Restart::Always, 1, true),
            (Run::Job, Restart::No, 1, false),
        ];
        for (run, restart, status, again) in cases {
            let mut supervisor = Supervisor::new(run, restart, None, 0);
            assert_eq!(supervisor.poll(0), Order::Start);
            supervisor.handle(0, Happened::Started);
            supervisor.handle(1, exit(status));
            let expected = if again { Phase::Waiting } else { Phase::Ended };
            assert_eq!(supervisor.phase(), expected, "{run:?} {restart:?} {status}");
        }
    }

    #[test]
    fn attempts_are_counted_in_a_row() {
        let mut supervisor = running(Restart::OnFailure { attempts: Some(2) }, None);
        for _ in 0..2 {
            supervisor.handle(0, exit(1));
            assert_eq!(supervisor.phase(), Phase::Waiting);
            supervisor.handle(0, Happened::Started);
        }
        supervisor.handle(0, exit(1));
        assert_eq!(supervisor.poll(0), Order::Finish);
    }

    #[test]
    fn a_stop_asks_waits_out_the_grace_and_kills() {
        let mut supervisor = running(Restart::Always, None);
        supervisor.handle(50, Happened::StopAsked);
        assert_eq!(supervisor.poll(50), Order::AskToStop);
        assert_eq!(
            supervisor.poll(10_049),
            Order::Wait {
                until_ms: Some(10_050)
            }
        );
        assert_eq!(supervisor.poll(10_050), Order::Kill);
        supervisor.handle(10_060, exit(137));
        assert_eq!(supervisor.poll(10_060), Order::Finish);
        assert_eq!(supervisor.phase(), Phase::Stopped);
    }

    #[test]
    fn a_stop_while_it_waits_ends_it_at_once() {
        let mut supervisor = running(Restart::Always, None);
        supervisor.handle(0, exit(1));
        supervisor.handle(1, Happened::StopAsked);
        assert_eq!(supervisor.poll(1), Order::Finish);
        assert_eq!(supervisor.poll(1_000_000), Order::Wait { until_ms: None });
    }

    #[test]
    fn failures_count_after_the_start_period_and_one_success_forgives_them() {
        let mut supervisor = running(Restart::Always, Some(health()));
        let mut now = 0;
        let mut test = |supervisor: &mut Supervisor, passed| {
            let Order::Wait {
                until_ms: Some(until),
            } = supervisor.poll(now)
            else {
                panic!("a test is due later")
            };
            now = until;
            assert_eq!(supervisor.poll(now), Order::Test);
            supervisor.handle(now, Happened::Tested { passed });
            (now, supervisor.phase())
        };
        for at in (200..5000).step_by(200) {
            assert_eq!(
                test(&mut supervisor, false),
                (at, Phase::Running(Verdict::Unknown))
            );
        }
        assert_eq!(
            test(&mut supervisor, false),
            (5000, Phase::Running(Verdict::Unknown))
        );
        assert_eq!(
            test(&mut supervisor, false),
            (6000, Phase::Running(Verdict::Unhealthy))
        );
        assert_eq!(
            test(&mut supervisor, true),
            (7000, Phase::Running(Verdict::Healthy))
        );
        assert_eq!(
            test(&mut supervisor, false),
            (8000, Phase::Running(Verdict::Healthy))
        );
        assert_eq!(
            test(&mut supervisor, false),
            (9000, Phase::Running(Verdict::Unhealthy))
        );
    }

    #[test]
    fn a_test_that_takes_too_long_has_failed() {
        let mut supervisor = running(
            Restart::Always,
            Some(Health {
                start_period_ms: 0,
                retries: 1,
                ..health()
            }),
        );
        assert_eq!(supervisor.poll(1000), Order::Test);
        assert_eq!(supervisor.poll(1300), Order::EndTest);
        assert_eq!(supervisor.phase(), Phase::Running(Verdict::Unhealthy));
        supervisor.handle(1310, Happened::Tested { passed: true });
        assert_eq!(supervisor.phase(), Phase::Running(Verdict::Unhealthy));
    }
}
