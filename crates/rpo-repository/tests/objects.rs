//! Objects are stored once; an answer that was lost is read back.

mod site;

use bytes::Bytes;
use rpo_core::ErrorKind;
use rpo_crypto::ObjectType;
use rpo_repository::{Receipt, RepositoryError, layout};
use rpo_storage::Storage;
use rpo_testkit::storage::{Fault, Operation};
use site::{kind, memory, repository, scripted};

#[tokio::test]
async fn what_was_put_is_what_is_got_whole_and_frame_by_frame() {
    let repository = repository(memory()).await;
    let key = layout::pack(&[1; 16]);
    let frames: [&[u8]; 3] = [b"one", b"two", b"three"];
    let sealed = repository.seal(ObjectType::Pack, &key, &frames).unwrap();
    let receipt = repository.put_bytes(&key, sealed.bytes.clone()).await.unwrap();

    assert_eq!(repository.get(ObjectType::Pack, &key).await.unwrap(), frames);
    for (number, span) in sealed.frames.iter().enumerate() {
        let frame = repository.get_frame(ObjectType::Pack, &key, number as u64, span.clone()).await.unwrap();
        assert_eq!(frame, frames[number]);
    }
    assert_eq!(repository.fetch(&receipt).await.unwrap(), sealed.bytes);
    let too_far = repository.get_frame(ObjectType::Pack, &key, 0, 0..1 << 20).await;
    assert_eq!(kind(too_far), ErrorKind::Corrupt);
    assert_eq!(kind(repository.get(ObjectType::Pack, &layout::pack(&[2; 16])).await), ErrorKind::NotFound);
}

#[tokio::test]
async fn an_object_stored_under_another_name_or_asked_for_as_another_type_is_refused() {
    let repository = repository(memory()).await;
    let (here, there) = (layout::pack(&[1; 16]), layout::pack(&[2; 16]));
    let sealed = repository.seal(ObjectType::Pack, &here, &[b"chunks"]).unwrap();
    repository.put_bytes(&there, sealed.bytes).await.unwrap();
    assert_eq!(kind(repository.get(ObjectType::Pack, &there).await), ErrorKind::Corrupt);
    assert_eq!(kind(repository.get(ObjectType::Index, &there).await), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_lost_answer_is_read_back_and_told_as_done() {
    let (store, parts) = scripted();
    let repository = repository(parts).await;
    let key = layout::pack(&[1; 16]);
    store.next(Operation::Create, Fault::LostAnswer);
    let receipt = repository.put(ObjectType::Pack, &key, &[b"chunks"]).await.unwrap();
    assert!(repository.fetch(&receipt).await.is_ok());
}

#[tokio::test]
async fn an_object_that_vanished_is_sent_again() {
    let (store, parts) = scripted();
    let repository = repository(parts).await;
    let key = layout::pack(&[1; 16]);
    for fault in [Fault::Vanished, Fault::Refused, Fault::LostAnswer] {
        store.next(Operation::Create, fault);
    }
    store.next(Operation::Stat, Fault::None);
    store.next(Operation::Stat, Fault::Refused); // the look fails too
    let receipt = repository.put(ObjectType::Pack, &key, &[b"chunks"]).await.unwrap();
    assert_eq!(repository.fetch(&receipt).await.unwrap().len() as u64, receipt.len);
}

#[tokio::test]
async fn without_any_certain_answer_it_is_told_as_unknown_and_never_as_done() {
    let (store, parts) = scripted();
    let repository = repository(parts).await;
    for _ in 0..5 {
        store.next(Operation::Create, Fault::Vanished);
    }
    let answer = repository.put(ObjectType::Pack, &layout::pack(&[1; 16]), &[b"chunks"]).await;
    assert!(matches!(answer, Err(RepositoryError::Lost { attempts: 5, .. })));
    for _ in 0..5 {
        store.next(Operation::Create, Fault::Refused);
    }
    let answer = repository.put(ObjectType::Pack, &layout::pack(&[2; 16]), &[b"chunks"]).await;
    assert_eq!(kind(answer), ErrorKind::Retry, "it certainly did not happen");
}

#[tokio::test]
async fn other_bytes_under_the_name_are_a_conflict_and_stay_untouched() {
    let (store, parts) = scripted();
    let repository = repository(parts).await;
    let key = layout::pack(&[1; 16]);
    let first = repository.put(ObjectType::Pack, &key, &[b"first"]).await.unwrap();
    for fault in [Fault::None, Fault::Vanished] {
        store.next(Operation::Create, fault);
        // The same content sealed again is other bytes: every object has its own salt.
        assert!(matches!(
            repository.put(ObjectType::Pack, &key, &[b"first"]).await,
            Err(RepositoryError::Conflict { .. })
        ));
    }
    let bytes = repository.fetch(&first).await.unwrap();
    assert!(repository.put_bytes(&key, bytes).await.is_ok(), "the same bytes again are done");
}

#[tokio::test]
async fn a_receipt_finds_rot_and_truncation_without_a_key() {
    let repository = repository(memory()).await;
    let key = layout::pack(&[1; 16]);
    let Receipt { len, sha256, .. } = repository.put(ObjectType::Pack, &key, &[b"chunks"]).await.unwrap();
    let good = repository.get_bytes(&key, 1 << 20).await.unwrap().unwrap();
    let mut rotten = good.to_vec();
    rotten[100] ^= 1;
    for bad in [rotten, good[..good.len() - 1].to_vec()] {
        repository.storage().delete(&key).await.unwrap();
        repository.storage().create(&key, Bytes::from(bad)).await.unwrap();
        let error = repository.fetch(&Receipt { key: key.clone(), len, sha256 }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(key.as_str()), "{error}");
    }
}

#[tokio::test]
async fn names_are_found_without_listing_every_object() {
    let repository = repository(memory()).await;
    for name in ["a", "a-b", "a.b", "b", "zz"] {
        let source = rpo_core::SourceId::new(name).unwrap();
        for _ in 0..3 {
            repository.begin_session(&source, "").await.unwrap();
        }
    }
    let names: Vec<String> = repository.sources().await.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["a", "a-b", "a.b", "b", "zz"]);
    assert_eq!(repository.streams().await.unwrap(), []);
}
