use rpo_core::SourceId;
use rpo_repository::{Bill, Receipt, layout};
use rpo_storage::{Key, ObjectMeta};

use super::ledger::{Ledger, Listed};
use super::{Audited, Lost, Whole};

fn source(name: &str) -> SourceId {
    SourceId::new(name).unwrap()
}

fn pack(number: u8) -> Key {
    layout::pack(&[number; 16])
}

/// Bill after bill: whose session, and the numbers of its packs, each 100 bytes long.
fn ledger(bills: &[(&str, u64, &[u8])]) -> Ledger {
    let mut ledger = Ledger::default();
    for (name, session, packs) in bills {
        let receipt = |number: &u8| Receipt { key: pack(*number), len: 100, sha256: [0; 32] };
        ledger.note(Some(Bill {
            source: source(name),
            session: *session,
            part: 1,
            objects: packs.iter().map(receipt).collect(),
            commit_key: layout::checkpoint(&source(name), *session),
        }));
    }
    ledger
}

fn listed(ends: &[(&str, u64)], packs: &[(u8, u64)]) -> Listed {
    let mut listed = Listed::default();
    let mut note = |key, len| listed.note(&ObjectMeta { key, len, created: None });
    ends.iter().for_each(|(name, number)| note(layout::checkpoint(&source(name), *number), 10));
    packs.iter().for_each(|(number, len)| note(pack(*number), *len));
    listed
}

fn unlisted(ledger: &Ledger, listed: &Listed) -> Vec<Key> {
    ledger.unlisted(listed).map(|expected| expected.key).collect()
}

#[test]
fn a_copy_claims_what_was_billed_up_to_its_newest_end_and_nothing_after() {
    let ledger = ledger(&[("docs", 1, &[1]), ("docs", 2, &[2]), ("docs", 3, &[3])]);

    assert!(unlisted(&ledger, &listed(&[], &[])).is_empty(), "an empty copy claims nothing");
    assert_eq!(unlisted(&ledger, &listed(&[("docs", 2)], &[(2, 100)])), [pack(1)]);
    assert!(unlisted(&ledger, &listed(&[("docs", 2)], &[(1, 100), (2, 100)])).is_empty());
}

#[test]
fn an_open_session_between_is_claimed_with_what_came_after_it() {
    // Session 1 never ended; what it stored may be shared by session 2.
    let ledger = ledger(&[("docs", 1, &[1]), ("docs", 2, &[2])]);

    assert_eq!(unlisted(&ledger, &listed(&[("docs", 2)], &[(2, 100)])), [pack(1)]);
}

#[test]
fn another_length_is_as_good_as_missing() {
    let ledger = ledger(&[("docs", 1, &[1])]);

    assert_eq!(unlisted(&ledger, &listed(&[("docs", 1)], &[(1, 99)])), [pack(1)]);
}

#[test]
fn what_was_billed_wholly_before_the_first_lost_object_is_unharmed() {
    let ledger = ledger(&[("docs", 1, &[1]), ("photos", 1, &[2]), ("docs", 2, &[3]), ("docs", 3, &[4])]);
    let listed = listed(&[("docs", 1), ("docs", 2), ("docs", 3), ("photos", 1)], &[]);

    assert_eq!(ledger.unharmed(&source("docs"), &listed, 4), [2, 1]);
    assert_eq!(ledger.unharmed(&source("docs"), &listed, 2), [1]);
    assert!(ledger.unharmed(&source("docs"), &listed, 1).is_empty());
    assert!(ledger.unharmed(&source("photos"), &listed, 2).is_empty(), "sources share what they store");
}

fn audited(lost: usize, newest: Option<u64>, trouble: Option<&str>) -> Audited {
    let lost = (0..lost).map(|at| Lost { bill: 1, key: pack(at as u8), found: None }).collect();
    let whole = Whole { newest, trouble: trouble.map(str::to_owned), cost: None };
    Audited { lost, more: false, sources: [(source("docs"), whole)].into() }
}

#[test]
fn a_damaged_copy_counts_up_to_what_is_whole_and_a_sound_one_all_the_way() {
    let docs = source("docs");
    assert_eq!(audited(0, Some(3), None).counts(&docs, Some(5)), Some(5), "what came after the audit, too");
    assert_eq!(audited(1, Some(3), None).counts(&docs, Some(5)), Some(3));
    assert_eq!(audited(1, None, None).counts(&docs, Some(5)), None);
    assert_eq!(audited(0, Some(3), Some("docs@5 is gone")).counts(&docs, Some(5)), Some(3));
    assert_eq!(audited(1, Some(3), None).counts(&source("new"), Some(1)), None, "of which nothing is known");
}

#[test]
fn damage_is_told_with_a_count_and_an_example() {
    let docs = source("docs");
    assert_eq!(audited(0, Some(1), None).damage(&docs), None);
    let text = audited(2, None, None).damage(&docs).unwrap();
    assert_eq!(text, format!("damaged: 2 objects missing, e.g. {}", pack(0)));
    assert!(!audited(1, None, None).is_sound());
}
