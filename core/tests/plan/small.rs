//! Every state of three components, and every step from each.
//!
//! For each combination of strategies, locks, dependencies and phases, all states of three components are the nodes of a graph, and a step that succeeds is an edge.
//! Three things are shown of each graph:
//! - no edge breaks a rule ([`check`](crate::model::check));
//! - there is no cycle, so carrying out steps ends, in whatever order they are carried out;
//! - where it ends, the goal runs and nothing else does, or a lock holds it.
//!
//! A step that fails leads to another node of the same graph, so all this holds with any number of failures at any time.

use crate::model::{Wish, check, depend, instance, part, succeed};
use lightship_core::id::Name;
use lightship_core::plan::{Instance, Lock, Locks, Presence, Step, is_held, is_settled, steps};
use lightship_core::target::{Condition, Kind, Mode, Part, Strategy};

const COUNT: usize = 3;
const STRATEGIES: [Strategy; 4] = [
    Strategy::DownloadThenKill,
    Strategy::KillThenDownload,
    Strategy::DeleteThenDownload,
    Strategy::HandOver,
];
/// What can be known of the new instance of a component.
const NEW: [(Presence, bool); 8] = [
    (Presence::Missing, false),
    (Presence::Missing, true),
    (Presence::Fetched, false),
    (Presence::Staged, false),
    (Presence::Starting, false),
    (Presence::Healthy, false),
    (Presence::Unhealthy, false),
    (Presence::Exited, false),
];
/// What can be known of the old one.
const OLD: [Option<Presence>; 4] = [
    None,
    Some(Presence::Staged),
    Some(Presence::Healthy),
    Some(Presence::Exited),
];
const STATES: usize = NEW.len() * OLD.len();
const NODES: usize = STATES * STATES * STATES;

#[derive(Clone, Copy, Debug)]
enum Shape {
    /// Nobody waits for anybody.
    Free,
    /// The second waits for the first to be healthy, the third for the second to be started.
    Chain,
    /// The second and third wait for a job, the first, to be completed.
    Job,
    /// The first is firmware; the second waits for the third to be healthy.
    Firmware,
}

fn wish(strategies: [Strategy; COUNT], shape: Shape, keep_old: bool, locks: Locks) -> Wish {
    let kind = |i| match (shape, i) {
        (Shape::Firmware, 0) => Kind::Firmware,
        _ => Kind::Container,
    };
    let make = |version| -> Vec<Part> {
        let all = strategies.iter().enumerate();
        all.map(|(i, s)| part(i, version, *s, kind(i))).collect()
    };
    let (old, mut goal) = (make(1), make(2));
    match shape {
        Shape::Free => {}
        Shape::Chain => {
            depend(&mut goal[1], 0, Condition::Healthy);
            depend(&mut goal[2], 1, Condition::Started);
        }
        Shape::Job => {
            goal[0].component.mode = Mode::Job;
            depend(&mut goal[1], 0, Condition::Completed);
            depend(&mut goal[2], 0, Condition::Completed);
        }
        Shape::Firmware => depend(&mut goal[1], 2, Condition::Healthy),
    }
    Wish {
        goal,
        old,
        keep_old,
        on_trial: keep_old,
        locks,
    }
}

fn lock(covers: Option<&str>) -> Locks {
    let mut locks = Locks::new();
    let lock = Lock {
        owner: Name::new("app").unwrap(),
        covers: covers.map(|name| Name::new(name).unwrap()),
        expires: None,
    };
    locks.take(lock).unwrap();
    locks
}

/// The instances of a node: new ones in rows 0 to 2, old ones in rows 3 to 5.
fn unfold(wish: &Wish, node: usize) -> [Option<Instance>; 2 * COUNT] {
    let mut instances = [const { None }; 2 * COUNT];
    let mut rest = node;
    for i in 0..COUNT {
        let (presence, no_space) = NEW[rest % NEW.len()];
        rest /= NEW.len();
        let mut new = instance(&wish.goal[i], done(wish, i, presence));
        new.no_space = no_space;
        instances[i] = Some(new);
        instances[COUNT + i] = OLD[rest % OLD.len()].map(|p| instance(&wish.old[i], p));
        rest /= OLD.len();
    }
    instances
}

/// A job is never healthy: it completes.
fn done(wish: &Wish, i: usize, presence: Presence) -> Presence {
    match (wish.goal[i].component.mode, presence) {
        (Mode::Job, Presence::Healthy) => Presence::Completed,
        (_, presence) => presence,
    }
}

fn fold(instances: &[Option<Instance>; 2 * COUNT]) -> usize {
    let mut node = 0;
    for i in (0..COUNT).rev() {
        let old = instances[COUNT + i].as_ref().map(|old| old.presence);
        let old = OLD.iter().position(|p| *p == old).expect("a known state");
        let new = instances[i].as_ref().expect("new ones are never removed");
        let presence = match new.presence {
            Presence::Completed => Presence::Healthy,
            presence => presence,
        };
        let is = |known: &(Presence, bool)| *known == (presence, new.no_space);
        let new = NEW.iter().position(is).expect("a known state");
        node = (node * OLD.len() + old) * NEW.len() + new;
    }
    node
}

/// Time passes: what was started becomes healthy, what was unhealthy recovers.
fn recoveries(wish: &Wish, instances: &[Option<Instance>; 2 * COUNT]) -> Vec<usize> {
    let mut next = Vec::new();
    for i in 0..COUNT {
        let presence = instances[i].as_ref().map(|new| new.presence);
        let restarts = wish.goal[i].component.kind.restarts_device();
        let recovers = match presence {
            Some(Presence::Starting | Presence::Unhealthy) => true,
            // Firmware that exits is a device that restarts.
            Some(Presence::Exited) => restarts,
            _ => false,
        };
        if recovers {
            let mut after = instances.clone();
            after[i] = Some(instance(&wish.goal[i], done(wish, i, Presence::Healthy)));
            next.push(fold(&after));
        }
    }
    next
}

/// One device runs one firmware.
fn is_possible(wish: &Wish, node: usize) -> bool {
    let instances = unfold(wish, node);
    let firmware = instances.iter().flatten();
    let firmware = firmware.filter(|i| i.kind.restarts_device() && i.presence.is_active());
    firmware.count() <= 1
}

struct Graph<'a> {
    wish: &'a Wish,
    /// 0 not seen, 1 on the path, 2 done.
    colour: Vec<u8>,
    steps: u64,
}

impl Graph<'_> {
    fn successors(&mut self, node: usize) -> Vec<usize> {
        let instances = unfold(self.wish, node);
        let situation = self.wish.situation(&instances);
        let taken: Vec<Step> = steps(&situation).collect();
        let mut next = Vec::with_capacity(taken.len());
        for step in taken {
            self.steps += 1;
            check(self.wish, &instances, step);
            let mut after = instances.clone();
            succeed(self.wish, &mut after, step);
            next.push(fold(&after));
        }
        next.extend(recoveries(self.wish, &instances));
        if next.is_empty() {
            assert!(
                is_settled(&situation) || is_held(&situation),
                "stuck: {:#?}\nwith {instances:#?}",
                self.wish
            );
        }
        next
    }

    /// Depth-first search that looks for a way back to a node on the path.
    fn explore(&mut self) {
        for start in 0..NODES {
            if self.colour[start] != 0 || !is_possible(self.wish, start) {
                continue;
            }
            self.colour[start] = 1;
            let mut path = vec![(start, self.successors(start))];
            while let Some((node, next)) = path.last_mut() {
                let Some(successor) = next.pop() else {
                    self.colour[*node] = 2;
                    path.pop();
                    continue;
                };
                match self.colour[successor] {
                    0 => {
                        self.colour[successor] = 1;
                        let next = self.successors(successor);
                        path.push((successor, next));
                    }
                    1 => panic!(
                        "steps go in a circle: {:#?}\nwith {:#?}",
                        self.wish,
                        unfold(self.wish, successor)
                    ),
                    _ => {}
                }
            }
        }
    }
}

fn explore(wish: &Wish) -> (u64, u64) {
    let mut graph = Graph {
        wish,
        colour: vec![0; NODES],
        steps: 0,
    };
    graph.explore();
    let visited = graph.colour.iter().filter(|colour| **colour == 2).count();
    (visited as u64, graph.steps)
}

/// All choices of strategies; where the components are alike, only those in rising order.
fn choices(alike: bool) -> Vec<[Strategy; COUNT]> {
    let mut all = Vec::new();
    for (a, first) in STRATEGIES.into_iter().enumerate() {
        for (b, second) in STRATEGIES.into_iter().enumerate() {
            for (c, third) in STRATEGIES.into_iter().enumerate() {
                if !alike || (a <= b && b <= c) {
                    all.push([first, second, third]);
                }
            }
        }
    }
    all
}

fn explore_all(shape: Shape, locks: &[Locks], alike: bool) {
    let (mut nodes, mut taken) = (0, 0);
    for strategies in choices(alike) {
        for keep_old in [true, false] {
            for locks in locks {
                let wish = wish(strategies, shape, keep_old, locks.clone());
                let (n, t) = explore(&wish);
                nodes += n;
                taken += t;
            }
        }
    }
    eprintln!("plan, {shape:?}: {nodes} states visited, {taken} steps checked");
    assert!(nodes > 1_000_000);
}

#[test]
fn every_state_of_independent_components_converges() {
    explore_all(
        Shape::Free,
        &[Locks::new(), lock(Some("c0")), lock(Some("c2")), lock(None)],
        true,
    );
}

#[test]
fn every_state_of_a_chain_converges() {
    explore_all(Shape::Chain, &[Locks::new()], false);
}

#[test]
fn every_state_behind_a_job_converges() {
    explore_all(Shape::Job, &[Locks::new()], false);
}

#[test]
fn every_state_beside_firmware_converges() {
    explore_all(Shape::Firmware, &[Locks::new(), lock(Some("c1"))], false);
}
