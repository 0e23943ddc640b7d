//! Roll-outs: in which order devices are given a release, and who stops that.

use axum::extract::State;
use lightship_api::{Name, NewRollout, Role, Rollout, RolloutOrder, RolloutPhase, Wave, WaveWho};
use lightship_director as director;

use super::caller::Caller;
use super::extract::{Json, Path};
use super::failure::{Answer, Failure};
use super::releases::{find, record};
use crate::specs::Specs;
use crate::{App, db, direct};

/// Plan the roll-out of a draft; it starts when the release is finalized.
#[utoipa::path(put, path = "/api/v1/fleets/{fleet}/releases/{release}/rollout", operation_id = "planRollout", tag = "rollouts", params(("fleet" = Name, Path, description = "The fleet's name"), ("release" = u64, Path, description = "The release's number")), responses((status = 200, description = "Planned", body = Rollout)))]
pub(super) async fn plan(
    State(app): State<App>,
    caller: Caller,
    Path((fleet, number)): Path<(Name, u64)>,
    Json(new): Json<NewRollout>,
) -> Answer<Json<Rollout>> {
    caller.require(&app, &fleet, Role::Operator).await?;
    let mut stored = find(&app, &fleet, number).await?;
    if stored.state != lightship_api::ReleaseState::Draft {
        return Err(Failure::conflict(
            "a roll-out is planned while the release is a draft",
        ));
    }
    let plan = planned(&new);
    plan.check()
        .map_err(|bad| Failure::invalid("waves", bad.to_string()))?;
    let mut tx = app.db.write().await?;
    db::releases::set_plan(&mut tx, &fleet, number, &plan).await?;
    record(
        &mut tx,
        &caller,
        &fleet,
        number,
        "rollout.planned",
        format!("{} waves", plan.waves.len()),
    )
    .await?;
    tx.commit().await?;
    stored.plan = Some(plan);
    let facts = direct::release_facts(&Specs::of(&app, &fleet), &stored).await;
    app.tell(&fleet, director::Event::Release(number, facts))
        .await?;
    shown(&app, &fleet, number).await
}

/// How far a roll-out is.
#[utoipa::path(get, path = "/api/v1/fleets/{fleet}/releases/{release}/rollout", operation_id = "showRollout", tag = "rollouts", params(("fleet" = Name, Path, description = "The fleet's name"), ("release" = u64, Path, description = "The release's number")), responses((status = 200, description = "The roll-out", body = Rollout)))]
pub(super) async fn show(
    State(app): State<App>,
    caller: Caller,
    Path((fleet, number)): Path<(Name, u64)>,
) -> Answer<Json<Rollout>> {
    caller.require(&app, &fleet, Role::Viewer).await?;
    shown(&app, &fleet, number).await
}

/// Pause, resume, hurry or abort a roll-out.
#[utoipa::path(post, path = "/api/v1/fleets/{fleet}/releases/{release}/rollout", operation_id = "orderRollout", tag = "rollouts", params(("fleet" = Name, Path, description = "The fleet's name"), ("release" = u64, Path, description = "The release's number")), responses((status = 200, description = "Done", body = Rollout)))]
pub(super) async fn order(
    State(app): State<App>,
    caller: Caller,
    Path((fleet, number)): Path<(Name, u64)>,
    Json(order): Json<RolloutOrder>,
) -> Answer<Json<Rollout>> {
    caller.require(&app, &fleet, Role::Operator).await?;
    find(&app, &fleet, number).await?;
    let told = match order {
        RolloutOrder::Pause => director::Order::Pause,
        RolloutOrder::Resume => director::Order::Resume,
        RolloutOrder::Advance => director::Order::Advance,
        RolloutOrder::Abort { revert } => director::Order::Abort { revert },
    };
    app.tell(&fleet, director::Event::Ordered(number, told))
        .await?;
    let mut tx = app.db.write().await?;
    record(
        &mut tx,
        &caller,
        &fleet,
        number,
        "rollout.ordered",
        format!("{order:?}"),
    )
    .await?;
    tx.commit().await?;
    shown(&app, &fleet, number).await
}

async fn shown(app: &App, fleet: &Name, number: u64) -> Answer<Json<Rollout>> {
    let stored = find(app, fleet, number).await?;
    let plan = stored.plan.ok_or_else(|| Failure::not_found("roll-out"))?;
    let progressed = app.progress(fleet, number).await?;
    let phase = progressed
        .as_ref()
        .map_or(RolloutPhase::Planned, |progressed| {
            phase(progressed.progress.phase)
        });
    let tallies = progressed
        .map(|progressed| progressed.waves)
        .unwrap_or_default();
    let mut waves = Vec::new();
    for (position, wave) in plan.waves.iter().enumerate() {
        let tally = tallies.get(position).copied().unwrap_or_default();
        waves.push(Wave {
            who: who(&wave.who),
            soak_s: wave.soak_s,
            waiting: tally.waiting,
            told: tally.told,
            succeeded: tally.succeeded,
            failed: tally.failed,
        });
    }
    Ok(Json(Rollout {
        release: number,
        phase,
        waves,
    }))
}

fn planned(new: &NewRollout) -> director::Plan {
    let waves = new.waves.iter().map(|wave| director::Wave {
        who: match &wave.who {
            WaveWho::Percent { percent } => director::Who::Percent(*percent),
            WaveWho::Tag { key, value } => director::Who::Tag {
                key: key.clone(),
                value: value.clone(),
            },
        },
        soak_s: wave.soak_s,
    });
    let threshold = director::Threshold {
        percent: new.halt_percent,
        at_least: new.halt_at_least,
    };
    director::Plan {
        waves: waves.collect(),
        threshold,
        revert: new.revert,
    }
}

fn who(who: &director::Who) -> WaveWho {
    match who {
        director::Who::Percent(percent) => WaveWho::Percent { percent: *percent },
        director::Who::Tag { key, value } => WaveWho::Tag {
            key: key.clone(),
            value: value.clone(),
        },
    }
}

fn phase(phase: director::Phase) -> RolloutPhase {
    match phase {
        director::Phase::Running => RolloutPhase::Running,
        director::Phase::Paused => RolloutPhase::Paused,
        director::Phase::Halted { .. } => RolloutPhase::Halted,
        director::Phase::Aborted { .. } => RolloutPhase::Aborted,
        director::Phase::Completed => RolloutPhase::Completed,
    }
}
