//! Making, opening and copying repositories: what is refused, and how it is told.

mod site;

use std::sync::Arc;

use bytes::Bytes;
use rpo_core::ErrorKind;
use rpo_crypto::{ObjectType, Secret, SlotParams};
use rpo_repository::config::Encryption;
use rpo_repository::{InitOptions, Repository, RepositoryError, layout};
use rpo_storage::{ListRequest, LocalStorage, MemoryStorage, Storage};
use rpo_testkit::storage::{FaultyStorage, Operation};
use site::{kind, memory, options, parts, repository, scripted, secret};

async fn read(store: &dyn Storage, key: &rpo_storage::Key) -> Vec<u8> {
    store.read_all(key, 1 << 20).await.expect("it is there").to_vec()
}

/// Puts other bytes in place of an object, as rot or an attacker does.
async fn replace(store: &dyn Storage, key: &rpo_storage::Key, bytes: Vec<u8>) {
    store.delete(key).await.expect("deleted");
    store.create(key, Bytes::from(bytes)).await.expect("created");
}

#[tokio::test]
async fn a_repository_opens_with_its_secret_and_tells_everything_else_apart() {
    let parts = memory();
    assert_eq!(kind(Repository::open(parts.clone(), Some(&secret())).await), ErrorKind::NotFound);
    let made = repository(parts.clone()).await;

    let opened = Repository::open(parts.clone(), Some(&secret())).await.unwrap();

    assert_eq!((opened.id(), opened.config()), (made.id(), made.config()));
    assert_eq!(opened.keys().mac(b"x"), made.keys().mac(b"x"));
    let wrong = Secret::passphrase("correct hors");
    assert_eq!(kind(Repository::open(parts.clone(), Some(&wrong)).await), ErrorKind::Key);
    assert_eq!(kind(Repository::open(parts.clone(), None).await), ErrorKind::Key);
    assert!(matches!(Repository::init(parts, options()).await, Err(RepositoryError::Exists { .. })));
}

#[tokio::test]
async fn a_repository_in_a_directory_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Arc::new(LocalStorage::open(dir.path(), Arc::new(rpo_os::OsDisk::new())).unwrap());
    let made = repository(parts(open())).await;
    let opened = Repository::open(parts(open()), Some(&secret())).await.unwrap();
    assert_eq!(opened.id(), made.id());
}

#[tokio::test]
async fn a_missing_repository_is_told_with_its_address_and_what_to_do() {
    let error = Repository::open(memory(), Some(&secret())).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("memory://") && text.contains("init"), "{text}");
}

#[tokio::test]
async fn no_error_and_no_debug_text_shows_a_secret() {
    let parts = memory();
    let made = repository(parts.clone()).await;
    let wrong = Secret::passphrase("canary-passphrase");
    let error = Repository::open(parts, Some(&wrong)).await.unwrap_err();
    let told = format!("{error} {error:?} {made:?} {:?}", options());
    assert!(!told.contains("canary") && !told.contains("correct horse"), "{told}");
}

#[tokio::test]
async fn an_unencrypted_repository_exists_only_by_explicit_choice_and_is_not_opened_with_a_secret() {
    let parts = memory();
    let made = Repository::init(parts.clone(), InitOptions::unencrypted()).await.unwrap();
    assert_eq!(made.config().encryption, Encryption::None);
    assert!(!Repository::open(parts.clone(), None).await.unwrap().keys().is_encrypted());
    // A secret says "mine is encrypted": an attacker's replacement must not be taken for it.
    assert_eq!(kind(Repository::open(parts, Some(&secret())).await), ErrorKind::Refused);
}

#[tokio::test]
async fn damage_is_told_with_the_name_of_the_object_never_as_a_wrong_passphrase() {
    for key in [layout::config(1), layout::key_slot(1)] {
        let parts = memory();
        repository(parts.clone()).await;
        let good = read(&*parts.storage, &key).await;
        for at in (0..good.len()).step_by(7) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            replace(&*parts.storage, &key, bad).await;
            let error = Repository::open(parts.clone(), Some(&secret())).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{key}, byte {at}: {error}");
            assert!(error.to_string().contains(key.as_str()), "{error}");
        }
    }
}

#[tokio::test]
async fn a_config_written_without_the_key_is_refused() {
    let (mine, other) = (memory(), memory());
    repository(mine.clone()).await;
    repository(other.clone()).await;
    // Another repository's config over my slots: my secret opens no slot of that identity.
    let config = read(&*other.storage, &layout::config(1)).await;
    replace(&*mine.storage, &layout::config(1), config).await;
    assert_eq!(kind(Repository::open(mine, Some(&secret())).await), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_store_that_lets_a_second_create_win_is_refused_at_init_and_at_open() {
    let lying = Arc::new(FaultyStorage::ignoring_create_conditions(MemoryStorage::new()));
    let error = Repository::init(parts(lying), options()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("second create"), "{error}");

    let honest = memory();
    repository(honest.clone()).await;
    let turned = FaultyStorage::ignoring_create_conditions(MemoryStorage::new());
    let listed = honest.storage.list(ListRequest::default()).await.unwrap();
    for object in listed.objects {
        let bytes = honest.storage.read_all(&object.key, 1 << 20).await.unwrap();
        turned.inner().create(&object.key, bytes).await.unwrap();
    }
    let turned = parts(Arc::new(turned));
    assert_eq!(kind(Repository::open(turned.clone(), Some(&secret())).await), ErrorKind::Refused);
    assert!(Repository::open_read_only(turned, Some(&secret())).await.is_ok(), "restoring is still possible");
}

#[tokio::test]
async fn the_probe_leaves_nothing_behind_and_survives_lost_answers() {
    use rpo_testkit::storage::Fault;
    let (store, parts) = scripted();
    store.next(Operation::Create, Fault::LostAnswer);
    store.next(Operation::Create, Fault::Vanished);
    repository(parts.clone()).await;
    assert_eq!(store.injected(), 2);
    let listed =
        parts.storage.list(ListRequest { prefix: "probe/".into(), ..ListRequest::default() }).await.unwrap();
    assert!(listed.objects.len() <= 1, "only the attempt whose answer was lost: {listed:?}");
    Repository::open(parts.clone(), Some(&secret())).await.unwrap();
    let after =
        parts.storage.list(ListRequest { prefix: "probe/".into(), ..ListRequest::default() }).await.unwrap();
    assert_eq!(after, listed);
}

#[tokio::test]
async fn two_inits_at_once_make_one_repository() {
    let parts = memory();
    let both =
        futures_join(Repository::init(parts.clone(), options()), Repository::init(parts.clone(), options()))
            .await;
    let made: Vec<_> = [both.0, both.1].into_iter().filter_map(Result::ok).collect();
    assert_eq!(made.len(), 1);
    assert_eq!(Repository::open(parts, Some(&secret())).await.unwrap().id(), made[0].id());
}

async fn futures_join<A: Send + 'static>(
    one: impl Future<Output = A> + Send + 'static,
    two: impl Future<Output = A> + Send + 'static,
) -> (A, A) {
    let (one, two) = (tokio::spawn(one), tokio::spawn(two));
    (one.await.expect("no panic"), two.await.expect("no panic"))
}

#[tokio::test]
async fn an_init_that_stopped_before_its_config_can_be_repeated() {
    let parts = memory();
    repository(parts.clone()).await;
    parts.storage.delete(&layout::config(1)).await.unwrap(); // as if the power had gone just before it

    let made = repository(parts.clone()).await;

    assert_eq!(Repository::open(parts, Some(&secret())).await.unwrap().id(), made.id());
}

#[tokio::test]
async fn every_slot_opens_the_repository_and_the_last_cannot_be_taken_away() {
    let parts = memory();
    let made = repository(parts.clone()).await;
    let file = Secret::KeyFile([5; 32]);
    assert_eq!(made.add_key_slot(&file, "robot", SlotParams::weak_for_tests()).await.unwrap(), 2);
    assert!(Repository::open(parts.clone(), Some(&file)).await.is_ok());

    made.remove_key_slot(1).await.unwrap();

    assert_eq!(kind(Repository::open(parts.clone(), Some(&secret())).await), ErrorKind::Key);
    assert!(Repository::open(parts.clone(), Some(&file)).await.is_ok(), "slot 2 is found past the gap");
    assert_eq!(kind(made.remove_key_slot(2).await), ErrorKind::Refused);
    assert_eq!(kind(made.remove_key_slot(9).await), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_damaged_slot_does_not_hide_a_good_one() {
    let parts = memory();
    let made = repository(parts.clone()).await;
    let other = Secret::passphrase("battery staple");
    made.add_key_slot(&other, "second", SlotParams::weak_for_tests()).await.unwrap();
    replace(&*parts.storage, &layout::key_slot(1), b"rubbish".to_vec()).await;
    assert!(Repository::open(parts.clone(), Some(&other)).await.is_ok());
    assert_eq!(kind(Repository::open(parts, Some(&secret())).await), ErrorKind::Corrupt);
}

#[tokio::test]
async fn the_highest_config_holds_and_an_older_rpo_refuses_it() {
    let parts = memory();
    let made = repository(parts.clone()).await;
    let amended = made.amend_config(|config| config.minimum.writer = 9).await.unwrap();
    assert_eq!(amended.config().number, 2);

    let error = Repository::open(parts.clone(), Some(&secret())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("writer version 9, this one has 0"), "{error}");
    assert_eq!(
        kind(amended.put(ObjectType::Pack, &layout::pack(&[1; 16]), &[b"x"]).await),
        ErrorKind::Unsupported
    );
    let reader = Repository::open_read_only(parts.clone(), Some(&secret())).await.unwrap();
    assert_eq!(reader.config().number, 2, "it may still be read");

    amended.amend_config(|config| config.minimum.reader = 9).await.unwrap_err(); // this rpo may not write there
}

#[tokio::test]
async fn a_reader_writes_nothing() {
    let parts = memory();
    repository(parts.clone()).await;
    let before = parts.storage.list(ListRequest::default()).await.unwrap();
    let reader = Repository::open_read_only(parts.clone(), Some(&secret())).await.unwrap();
    assert_eq!(
        kind(reader.put(ObjectType::Pack, &layout::pack(&[1; 16]), &[b"x"]).await),
        ErrorKind::Refused
    );
    assert_eq!(kind(reader.begin_session(&site::docs(), "").await), ErrorKind::Refused);
    assert_eq!(parts.storage.list(ListRequest::default()).await.unwrap(), before);
}

#[tokio::test]
async fn a_copy_has_the_same_identity_and_keys_and_opens_alone() {
    let (home, away) = (memory(), memory());
    let made = repository(home).await;
    made.add_key_slot(&Secret::KeyFile([5; 32]), "robot", SlotParams::weak_for_tests()).await.unwrap();
    let made = made.amend_config(|config| config.formats.pack = 0).await.unwrap();

    let copy = Repository::init_copy(away.clone(), &made).await.unwrap();

    assert_eq!((copy.id(), copy.config()), (made.id(), made.config()));
    let again = Repository::init_copy(away.clone(), &made).await.unwrap();
    assert_eq!(again.id(), made.id(), "repeated after a crash it does no harm");
    assert_eq!(Repository::open_copy(away.clone(), &made).await.unwrap().id(), made.id());
    for secret in [secret(), Secret::KeyFile([5; 32])] {
        assert_eq!(Repository::open(away.clone(), Some(&secret)).await.unwrap().id(), made.id());
    }
    let sealed = made.seal(ObjectType::Pack, &layout::pack(&[1; 16]), &[b"chunk"]).unwrap();
    let receipt = copy.put_bytes(&layout::pack(&[1; 16]), sealed.bytes).await.unwrap();
    assert_eq!(copy.get(ObjectType::Pack, &receipt.key).await.unwrap(), [&b"chunk"[..]]);
}

#[tokio::test]
async fn a_store_with_another_repository_is_no_copy_and_stays_untouched() {
    let (home, foreign) = (memory(), memory());
    let made = repository(home).await;
    let other = repository(foreign.clone()).await;
    let before = foreign.storage.list(ListRequest::default()).await.unwrap();
    for answer in [
        Repository::init_copy(foreign.clone(), &made).await,
        Repository::open_copy(foreign.clone(), &made).await,
    ] {
        assert!(matches!(answer, Err(RepositoryError::OtherRepository { found, .. }) if found == other.id()));
    }
    assert_eq!(foreign.storage.list(ListRequest::default()).await.unwrap(), before);
}
