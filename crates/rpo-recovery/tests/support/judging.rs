//! Restores held against the oracle.

use std::sync::Arc;

use rpo_checkpoint::{Cancel, NoProgress};
use rpo_core::target::{Bound, RestorePoint, Target};
use rpo_core::{Position, Sequence};
use rpo_recovery::{Outcome, Plan, PlanOptions, Recovery, RecoveryError, Refusal};
use rpo_testkit::sim::Rng;

use super::ledger::{LedgerRestorer, State};
use super::oracle::Oracle;

/// Plans and restores; what came out, as bytes.
pub(crate) async fn restore(
    recovery: &Recovery,
    target: &Target,
    bound: Bound,
    options: PlanOptions,
) -> Result<(Plan, Outcome, Vec<u8>), RecoveryError> {
    let plan = recovery.plan(target, bound, options).await?;
    let restorer = Arc::new(LedgerRestorer::default());
    let outcome = recovery.execute(&plan, restorer.clone(), &NoProgress, &Cancel::new()).await;
    let published = restorer.published();
    match outcome {
        Ok(outcome) => Ok((plan, outcome, published.expect("a restore that worked is in place"))),
        Err(error) => {
            assert!(published.is_none(), "a restore that failed is in place");
            Err(error)
        }
    }
}

/// Holds one restore against the oracle; what differs, for people.
pub(crate) async fn judge(
    recovery: &Recovery,
    oracle: &Oracle,
    target: &Target,
    bound: Bound,
    replay: bool,
) -> Result<(), String> {
    let wanted = oracle.count(target, bound).expect("a target that exists");
    let wanted = match (replay, target) {
        (true, _) | (_, Target::Checkpoint(_)) => wanted,
        (false, _) => match oracle.base_before(wanted) {
            Some(base) => base,
            None => {
                let refused =
                    restore(recovery, target, bound, PlanOptions { replay, ..PlanOptions::default() }).await;
                return match refused {
                    Err(RecoveryError::Refused(_)) => Ok(()),
                    other => Err(format!("{target} {bound} without a base gave {other:?}")),
                };
            }
        },
    };
    let what = format!("{target} {bound}, replay {replay}: {wanted} commits");
    let (plan, outcome, bytes) =
        restore(recovery, target, bound, PlanOptions { replay, ..PlanOptions::default() })
            .await
            .map_err(|e| format!("{what}: {e}"))?;
    let expected = oracle.state(wanted).encode();
    if bytes != expected {
        let got = State::decode(&bytes).map_or(0, |state| state.commits);
        return Err(format!("{what}: got {got} commits by\n{plan}"));
    }
    let reached = plan.reached.position.and_then(|p| p.sequence).map(Sequence::get);
    if reached != Some(wanted as u64)
        || outcome.position.and_then(|p| p.sequence) != Some(Sequence::new(wanted as u64))
    {
        return Err(format!("{what}: the plan says {reached:?}, the outcome {outcome:?}"));
    }
    let base = plan.base.as_ref().and_then(|b| b.position?.sequence).map_or(0, Sequence::get);
    if base > wanted as u64 {
        return Err(format!("{what}: the base holds {base} commits"));
    }
    let left = oracle.issued.len() - wanted;
    if plan.commits_after != Some(left as u64) {
        return Err(format!("{what}: {left} commits are left out, the plan says {:?}", plan.commits_after));
    }
    let again = restore(recovery, target, bound, PlanOptions { replay, ..PlanOptions::default() })
        .await
        .map_err(|e| format!("{what}: {e}"))?;
    if again.2 != bytes { Err(format!("{what}: the second time gave other bytes")) } else { Ok(()) }
}

/// Random targets held against the oracle; the first that differs.
pub(crate) async fn judge_random(
    recovery: &Recovery,
    oracle: &Oracle,
    rng: &mut Rng,
    targets: usize,
) -> Result<(), String> {
    for _ in 0..targets {
        let (target, bound) = oracle.random_target(rng);
        // Before everything there is the empty beginning, which has no place in the text of a time or an LSN.
        if oracle.count(&target, bound).is_none() {
            continue;
        }
        judge(recovery, oracle, &target, bound, rng.below(4) > 0).await?;
    }
    Ok(())
}

/// The refusal of a target; that it names points which can themselves be restored is checked by restoring them.
pub(crate) async fn refused(recovery: &Recovery, oracle: &Oracle, target: &str) -> Refusal {
    let target: Target = target.parse().unwrap();
    let refusal = match recovery.plan(&target, Bound::Inclusive, PlanOptions::default()).await {
        Err(RecoveryError::Refused(refusal)) => refusal,
        other => panic!("{target} was not refused: {other:?}"),
    };
    for nearest in [&refusal.nearest_before, &refusal.nearest_after].into_iter().flatten() {
        restore_point(recovery, oracle, nearest).await;
    }
    refusal
}

async fn restore_point(recovery: &Recovery, oracle: &Oracle, point: &RestorePoint) {
    let position: Position = point.position.unwrap();
    let count = position.sequence.unwrap().get() as usize;
    let target = match &point.checkpoint {
        Some(id) => Target::Checkpoint(id.clone()),
        None => Target::Sequence(Sequence::new(count as u64)),
    };
    let (_, _, bytes) = restore(recovery, &target, Bound::Inclusive, PlanOptions::default()).await.unwrap();
    assert_eq!(bytes, oracle.state(count).encode(), "the nearest point {point}");
}
