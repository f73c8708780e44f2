//! Naming many checkpoints in few words.

use rpo_core::SourceId;

/// Runs of checkpoints that are named; the others are counted.
const RUNS_NAMED_MAX: usize = 3;

/// `docs@1 – docs@4, docs@6 cannot be restored`: of checkpoints as (number, lacks something), in any order. `older`: there
/// are more, which were not looked at.
pub(super) fn cost(source: &SourceId, found: impl Iterator<Item = (u64, bool)>, older: bool) -> String {
    let mut found: Vec<_> = found.collect();
    found.sort_unstable();
    let runs: Vec<_> = found.chunk_by(|a, b| a.1 == b.1).filter(|run| run[0].1).collect();
    let unknown = if older { "; older ones were not looked at, rpo verify does" } else { "" };
    if runs.is_empty() {
        return format!("every checkpoint of {source} can be restored{unknown}");
    }
    let name = |run: &&[(u64, bool)]| match (run[0].0, run[run.len() - 1].0) {
        (first, last) if first == last => format!("{source}@{first}"),
        (first, last) => format!("{source}@{first} – {source}@{last}"),
    };
    let named: Vec<_> = runs.iter().take(RUNS_NAMED_MAX).map(name).collect();
    let unnamed: usize = runs.iter().skip(RUNS_NAMED_MAX).map(|run| run.len()).sum();
    let more = if unnamed > 0 { format!(" and {unnamed} more") } else { String::new() };
    format!("{}{more} cannot be restored{unknown}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(lacking: &[u64], all: std::ops::RangeInclusive<u64>, older: bool) -> String {
        let found = all.rev().map(|number| (number, lacking.contains(&number)));
        cost(&SourceId::new("src").unwrap(), found, older)
    }

    #[test]
    fn runs_are_named_by_their_ends_and_many_are_counted() {
        assert_eq!(said(&[1, 2, 3, 4], 1..=6, false), "src@1 – src@4 cannot be restored");
        assert_eq!(said(&[2, 4, 5], 1..=5, false), "src@2, src@4 – src@5 cannot be restored");
        assert_eq!(said(&[1, 3, 5, 7, 9], 1..=9, false), "src@1, src@3, src@5 and 2 more cannot be restored");
    }

    #[test]
    fn a_loss_that_costs_nothing_is_said_to_and_what_was_not_looked_at_is_not_vouched_for() {
        assert_eq!(said(&[], 1..=3, false), "every checkpoint of src can be restored");
        assert_eq!(
            said(&[7], 7..=9, true),
            "src@7 cannot be restored; older ones were not looked at, rpo verify does"
        );
    }
}
