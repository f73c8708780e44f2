//! Negative control: the test of lost answers finds the bug it is there for.

mod site;

use rpo_core::ErrorKind;
use rpo_crypto::ObjectType;
use rpo_repository::planted::{Bug, plant};
use rpo_repository::{Repository, RepositoryError, layout};
use rpo_testkit::storage::{Fault, Operation};
use site::{repository, scripted};

/// True if what was told as stored is there.
async fn honest(store: &site::Scripted, repository: &Repository, id: u8) -> bool {
    store.next(Operation::Create, Fault::Vanished);
    let answer = repository.put(ObjectType::Pack, &layout::pack(&[id; 16]), &[b"chunks"]).await;
    match answer {
        Ok(receipt) => repository.fetch(&receipt).await.is_ok(),
        Err(error) => error.kind() == ErrorKind::Unknown,
    }
}

#[tokio::test]
async fn taking_a_lost_answer_for_done_is_found() {
    let (store, parts) = scripted();
    let repository = repository(parts).await;
    assert!(honest(&store, &repository, 1).await);

    plant(Some(Bug::LostAnswerIsDone));
    let found = !honest(&store, &repository, 2).await;
    let second = repository.put(ObjectType::Pack, &layout::pack(&[1; 16]), &[b"other"]).await;
    plant(None);

    assert!(found, "the planted bug went unseen");
    assert!(second.is_ok(), "with the bug a conflict goes unseen too");
    let second = repository.put(ObjectType::Pack, &layout::pack(&[1; 16]), &[b"other"]).await;
    assert!(matches!(second, Err(RepositoryError::Conflict { .. })));
}
