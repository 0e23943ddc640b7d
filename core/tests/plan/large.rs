//! Releases of up to twelve components, with random strategies, dependencies, locks and failures.

use crate::model::{Wish, check, depend, fail, instance, part, succeed};
use lightship_core::id::Name;
use lightship_core::plan::{Instance, Lock, Locks, Presence, Step, is_settled, steps};
use lightship_core::target::{Condition, Kind, Strategy};
use proptest::prelude::*;
use proptest::strategy::Strategy as _;

#[derive(Clone, Debug)]
struct Scene {
    components: Vec<(Strategy, Presence, Option<Presence>, Vec<usize>)>,
    /// A component that is in the old release alone, and one that is in both, unchanged.
    locked: Vec<Option<usize>>,
    keep_old: bool,
    unchanged: usize,
    /// Which step to take next, and whether it fails, again and again.
    chances: Vec<(u8, u8)>,
}

fn strategy() -> impl proptest::strategy::Strategy<Value = Strategy> {
    prop_oneof![
        Just(Strategy::DownloadThenKill),
        Just(Strategy::KillThenDownload),
        Just(Strategy::DeleteThenDownload),
        Just(Strategy::HandOver),
    ]
}

fn presence() -> impl proptest::strategy::Strategy<Value = Presence> {
    prop_oneof![
        Just(Presence::Missing),
        Just(Presence::Fetched),
        Just(Presence::Staged),
        Just(Presence::Starting),
        Just(Presence::Healthy),
        Just(Presence::Unhealthy),
        Just(Presence::Exited),
    ]
}

fn scene() -> impl proptest::strategy::Strategy<Value = Scene> {
    let component = (
        strategy(),
        presence(),
        prop::option::of(presence()),
        prop::collection::vec(0..12usize, 0..3),
    );
    (
        prop::collection::vec(component, 1..12),
        prop::collection::vec(prop::option::of(0..12usize), 0..3),
        any::<bool>(),
        0..12usize,
        prop::collection::vec(any::<(u8, u8)>(), 200),
    )
        .prop_map(|(components, locked, keep_old, unchanged, chances)| Scene {
            components,
            locked,
            keep_old,
            unchanged,
            chances,
        })
}

fn stage(scene: &Scene) -> (Wish, Vec<Option<Instance>>) {
    let mut goal = Vec::new();
    let mut old = Vec::new();
    let mut instances = Vec::new();
    for (i, (strategy, new, before, after)) in scene.components.iter().enumerate() {
        let mut wanted = part(i, 2, *strategy, Kind::Container);
        // Dependencies point backwards, so there is no cycle.
        for on in after.iter().filter(|on| **on < i) {
            depend(&mut wanted, *on, Condition::Healthy);
        }
        if i == scene.unchanged {
            old.push(wanted.clone());
        } else if let Some(before) = before {
            let was = part(i, 1, *strategy, Kind::Container);
            instances.push(Some(instance(&was, *before)));
            old.push(was);
        }
        if *new != Presence::Missing {
            instances.push(Some(instance(&wanted, *new)));
        }
        goal.push(wanted);
    }
    let gone = part(90, 1, Strategy::DownloadThenKill, Kind::Container);
    instances.push(Some(instance(&gone, Presence::Healthy)));
    old.push(gone);
    instances.resize(3 * 12, None);
    let mut locks = Locks::new();
    for (i, covers) in scene.locked.iter().enumerate() {
        let lock = Lock {
            owner: Name::new(&format!("app{i}")).unwrap(),
            covers: covers.map(|c| Name::new(&format!("c{c}")).unwrap()),
            expires: None,
        };
        locks.take(lock).unwrap();
    }
    let wish = Wish {
        goal,
        old,
        keep_old: scene.keep_old,
        on_trial: scene.keep_old,
        locks,
    };
    (wish, instances)
}

/// Takes every step that there is, in the order that chance says, until there is none.
fn run_to_rest(wish: &Wish, instances: &mut [Option<Instance>], chances: &[(u8, u8)]) -> usize {
    for round in 0..1000 {
        let (pick, _) = chances[round % chances.len()];
        let allowed: Vec<Step> = steps(&wish.situation(instances)).collect();
        for step in &allowed {
            check(wish, instances, *step);
        }
        if allowed.is_empty() {
            let mut recovered = false;
            for i in instances.iter_mut().flatten() {
                let of_goal = wish.goal.iter().any(|part| i.is(part));
                if of_goal && matches!(i.presence, Presence::Starting | Presence::Unhealthy) {
                    i.presence = Presence::Healthy;
                    recovered = true;
                }
            }
            if !recovered {
                return round;
            }
            continue;
        }
        succeed(wish, instances, allowed[usize::from(pick) % allowed.len()]);
    }
    panic!("does not come to rest: {wish:#?}\nwith {instances:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_large_release_converges_whatever_fails_and_however_it_is_locked(scene in scene()) {
        let (mut wish, mut instances) = stage(&scene);
        // First everything may fail, exit and be stopped by a loss of power.
        for (pick, luck) in &scene.chances {
            let allowed: Vec<Step> = steps(&wish.situation(&instances)).collect();
            for step in &allowed {
                check(&wish, &instances, *step);
            }
            match (luck % 8, allowed.get(usize::from(*pick) % allowed.len().max(1))) {
                (0, _) => {
                    for i in instances.iter_mut().flatten() {
                        if i.presence.is_active() {
                            i.presence = Presence::Staged;
                        }
                    }
                }
                (1, _) => {
                    if let Some(i) = instances.iter_mut().flatten().nth(usize::from(*pick) % 3)
                        && i.presence.is_running()
                    {
                        i.presence = Presence::Exited;
                    }
                }
                (2 | 3, Some(step)) => fail(&wish, &mut instances, *step, *pick),
                (_, Some(step)) => succeed(&wish, &mut instances, *step),
                (_, None) => {}
            }
        }
        // Then nothing does.
        run_to_rest(&wish, &mut instances, &scene.chances);
        wish.locks = Locks::new();
        run_to_rest(&wish, &mut instances, &scene.chances);
        prop_assert!(is_settled(&wish.situation(&instances)), "{wish:#?}\nwith {instances:#?}");
    }
}
