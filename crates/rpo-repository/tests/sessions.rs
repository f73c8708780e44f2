//! A session ends once: committed or fenced, whoever is first.

mod site;

use rpo_core::ErrorKind;
use rpo_crypto::ObjectType;
use rpo_repository::{Bill, Repository, RepositoryError, SessionEnd, layout};
use rpo_testkit::storage::{Fault, Operation};
use site::{docs, kind, memory, repository, scripted, secret};

#[tokio::test]
async fn a_committed_session_is_a_checkpoint_that_no_fence_takes_back() {
    let repository = repository(memory()).await;
    let session = repository.begin_session(&docs(), "nightly").await.unwrap();
    assert_eq!(session.checkpoint().to_string(), "docs@1");
    assert_eq!(session.outcome().await.unwrap(), None);

    let receipt = session.commit(&[b"root", b"rest"]).await.unwrap();

    assert_eq!(session.outcome().await.unwrap(), Some(SessionEnd::Committed(receipt.clone())));
    assert_eq!(repository.fence_session(&docs(), 1).await.unwrap(), SessionEnd::Committed(receipt.clone()));
    assert_eq!(repository.get(ObjectType::Manifest, &receipt.key).await.unwrap(), [&b"root"[..], b"rest"]);
    assert_eq!(repository.session(&docs(), 1).await.unwrap().unwrap().note, "nightly");
}

#[tokio::test]
async fn a_fenced_session_cannot_commit() {
    let repository = repository(memory()).await;
    let session = repository.begin_session(&docs(), "").await.unwrap();
    assert_eq!(repository.fence_session(&docs(), 1).await.unwrap(), SessionEnd::Fenced);

    let error = session.commit(&[b"root"]).await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    assert_eq!(session.outcome().await.unwrap(), Some(SessionEnd::Fenced));
    assert_eq!(repository.fence_session(&docs(), 1).await.unwrap(), SessionEnd::Fenced, "twice is once");
    assert_eq!(kind(repository.get(ObjectType::Manifest, &session.commit_key()).await), ErrorKind::Corrupt);
}

#[tokio::test]
async fn of_a_commit_and_a_fence_at_once_exactly_one_wins_and_both_are_told_the_same() {
    for _ in 0..20 {
        let repository = repository(memory()).await;
        let session = repository.begin_session(&docs(), "").await.unwrap();
        let other = repository.clone();
        let fence = tokio::spawn(async move { other.fence_session(&docs(), 1).await.unwrap() });
        match session.commit(&[b"root"]).await {
            Ok(receipt) => assert_eq!(fence.await.unwrap(), SessionEnd::Committed(receipt)),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Fenced);
                assert_eq!(fence.await.unwrap(), SessionEnd::Fenced);
            }
        }
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_committed_once() {
    let (store, parts) = scripted();
    let repository = repository(parts).await;
    let session = repository.begin_session(&docs(), "").await.unwrap();
    store.next(Operation::Create, Fault::LostAnswer);
    for _ in 0..5 {
        store.next(Operation::Stat, Fault::Refused); // the read-back fails as long as it is tried
    }
    for _ in 0..4 {
        store.next(Operation::Create, Fault::Vanished);
    }
    assert_eq!(kind(session.commit(&[b"root"]).await), ErrorKind::Unknown);

    let receipt = session.commit(&[b"root"]).await.unwrap(); // sealed again, so other bytes: recognised by content

    assert_eq!(session.outcome().await.unwrap(), Some(SessionEnd::Committed(receipt)));
    assert_eq!(kind(session.commit(&[b"another root"]).await), ErrorKind::Exists);
}

#[tokio::test]
async fn numbers_are_dense_also_with_many_writers_and_lost_answers() {
    let (store, parts) = scripted();
    let repository = repository(parts.clone()).await;
    for fault in [Fault::LostAnswer, Fault::None, Fault::Vanished] {
        store.next(Operation::Create, fault);
    }
    let mut writers = Vec::new();
    for _ in 0..8 {
        // Each an opening of its own: they share nothing but the store.
        let repository = Repository::open_copy(parts.clone(), &repository).await.unwrap();
        writers
            .push(tokio::spawn(async move { repository.begin_session(&docs(), "").await.unwrap().number() }));
    }
    let mut numbers = Vec::new();
    for writer in writers {
        numbers.push(writer.await.unwrap());
    }
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(repository.sessions(&docs()).await.unwrap(), 1..=8);
}

#[tokio::test]
async fn the_end_of_the_numbers_is_found_by_name() {
    let parts = memory();
    let repository = repository(parts.clone()).await;
    assert!(repository.sessions(&docs()).await.unwrap().is_empty());
    for number in 1..=20 {
        assert_eq!(repository.begin_session(&docs(), "").await.unwrap().number(), number);
        let fresh = Repository::open_read_only(parts.clone(), Some(&secret())).await.unwrap();
        assert_eq!(*fresh.sessions(&docs()).await.unwrap().end(), number);
    }
}

#[tokio::test]
async fn a_session_goes_on_in_another_process() {
    let parts = memory();
    let first = repository(parts.clone()).await;
    first.begin_session(&docs(), "part 1").await.unwrap();
    let second = Repository::open(parts, Some(&secret())).await.unwrap();
    second.resume_session(&docs(), 1).await.unwrap().commit(&[b"root"]).await.unwrap();
    assert!(matches!(first.session_outcome(&docs(), 1).await.unwrap(), Some(SessionEnd::Committed(_))));
}

#[tokio::test]
async fn a_session_that_was_never_begun_is_neither_resumed_nor_fenced() {
    let repository = repository(memory()).await;
    assert_eq!(kind(repository.resume_session(&docs(), 1).await), ErrorKind::Invalid);
    assert_eq!(kind(repository.fence_session(&docs(), 1).await), ErrorKind::Invalid);
    assert_eq!(repository.session(&docs(), 1).await.unwrap(), None);
    assert_eq!(kind(repository.begin_session(&docs(), &"x".repeat(2000)).await), ErrorKind::Invalid);
}

#[tokio::test]
async fn what_stands_at_a_commit_key_and_was_not_sealed_for_it_is_damage_not_an_outcome() {
    let repository = repository(memory()).await;
    let one = repository.begin_session(&docs(), "").await.unwrap();
    let two = repository.begin_session(&docs(), "").await.unwrap();
    one.commit(&[b"root"]).await.unwrap();
    let bytes = repository.get_bytes(&one.commit_key(), 1 << 20).await.unwrap().unwrap();
    repository.put_bytes(&two.commit_key(), bytes).await.unwrap();
    assert_eq!(kind(two.outcome().await), ErrorKind::Corrupt);
    assert_eq!(kind(two.commit(&[b"root"]).await), ErrorKind::Corrupt);
}

#[tokio::test]
async fn bills_are_dense_and_mirrors_read_them_by_number() {
    let (store, parts) = scripted();
    let repository = repository(parts.clone()).await;
    let pack = repository.put(ObjectType::Pack, &layout::pack(&[1; 16]), &[b"x"]).await.unwrap();
    let commit_key = layout::checkpoint(&docs(), 1);
    let bill = Bill { source: docs(), session: 1, part: 1, objects: vec![pack], commit_key };
    assert_eq!(repository.bill(1).await.unwrap(), None);

    let (one, two) = (repository.clone(), Repository::open_copy(parts, &repository).await.unwrap());
    store.next(Operation::Create, Fault::LostAnswer);
    assert_eq!(one.put_bill(bill.clone()).await.unwrap(), 1);
    assert_eq!(two.put_bill(bill.clone()).await.unwrap(), 2);
    assert_eq!(one.put_bill(bill.clone()).await.unwrap(), 3);

    for number in 1..=3 {
        assert_eq!(two.bill(number).await.unwrap().as_ref(), Some(&bill));
    }
    assert_eq!((two.bill(4).await.unwrap(), two.last_bill().await.unwrap()), (None, 3));
}

#[tokio::test]
async fn a_bill_of_another_repository_is_refused() {
    let (mine, other) = (repository(memory()).await, repository(memory()).await);
    let bill = Bill {
        source: docs(),
        session: 1,
        part: 1,
        objects: vec![],
        commit_key: layout::checkpoint(&docs(), 1),
    };
    other.put_bill(bill).await.unwrap();
    let bytes = other.get_bytes(&layout::bill(1), 1 << 20).await.unwrap().unwrap();
    mine.put_bytes(&layout::bill(1), bytes).await.unwrap();
    assert!(matches!(mine.bill(1).await, Err(RepositoryError::OtherRepository { .. })));
}

#[tokio::test]
async fn a_lost_session_record_hides_no_checkpoint_and_its_number_is_never_used_again() {
    for lost in 1..=3 {
        let parts = memory();
        let writer = repository(parts.clone()).await;
        for _ in 1..=3 {
            writer.begin_session(&docs(), "").await.unwrap().commit(&[b"root"]).await.unwrap();
        }

        parts.storage.delete(&layout::session(&docs(), lost)).await.unwrap();

        let fresh = Repository::open(parts, Some(&secret())).await.unwrap();
        assert_eq!(fresh.sessions(&docs()).await.unwrap(), 1..=3, "record {lost} lost");
        let next = fresh.begin_session(&docs(), "").await.unwrap();
        assert_eq!(next.number(), 4, "record {lost} lost");
        next.commit(&[b"newer root"]).await.unwrap();
    }
}
