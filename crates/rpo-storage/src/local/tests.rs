//! Stories of one directory as a store.

use std::path::PathBuf;

use rpo_os::OsDisk;

use super::*;

fn scene() -> (tempfile::TempDir, LocalStorage) {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStorage::open(dir.path().join("store"), Arc::new(OsDisk::new())).unwrap();
    (dir, store)
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn files(store: &LocalStorage) -> Vec<PathBuf> {
    let uploads = store.root().join(upload::FOLDER).join("slot-0");
    std::fs::read_dir(uploads).map(|dir| dir.map(|e| e.unwrap().path()).collect()).unwrap_or_default()
}

#[tokio::test]
async fn an_object_is_the_file_of_its_name() {
    let (_dir, store) = scene();

    store.create(&key("packs/0f/one"), Bytes::from_static(b"content")).await.unwrap();

    assert_eq!(std::fs::read(store.root().join("packs/0f/one")).unwrap(), b"content");
    assert!(files(&store).is_empty(), "the temporary file is gone");
}

#[tokio::test]
async fn looking_into_a_store_that_does_not_exist_does_not_make_it() {
    let (_dir, store) = scene();

    assert!(store.list(ListRequest::default()).await.unwrap().objects.is_empty());
    assert!(store.stat(&key("a")).await.is_err());
    store.delete(&key("a")).await.unwrap();

    assert!(!store.root().exists());
}

#[tokio::test]
async fn what_a_dead_process_left_is_swept_and_what_a_living_one_writes_is_not() {
    let (_dir, store) = scene();
    store.create(&key("a"), Bytes::new()).await.unwrap(); // takes slot 0
    let dead = store.root().join(upload::FOLDER).join("slot-1");
    std::fs::create_dir(&dead).unwrap();
    std::fs::write(dead.join("0000000000000000"), b"half").unwrap();
    let living = store.root().join(upload::FOLDER).join("slot-0/0000000000000007");
    std::fs::write(&living, b"half").unwrap();

    let second = LocalStorage::open(store.root(), Arc::new(OsDisk::new())).unwrap();

    assert!(!dead.join("0000000000000000").exists());
    assert!(living.exists());
    second.create(&key("b"), Bytes::new()).await.unwrap(); // beside the first
    drop((store, second));
    let third = LocalStorage::open(living.ancestors().nth(3).unwrap(), Arc::new(OsDisk::new())).unwrap();
    assert!(!living.exists(), "its process is gone now");
    assert_eq!(third.list(ListRequest::default()).await.unwrap().objects.len(), 2);
}

#[tokio::test]
async fn directories_that_somebody_removed_are_made_again() {
    let (_dir, store) = scene();
    store.create(&key("checkpoints/a/1"), Bytes::from_static(b"one")).await.unwrap();

    std::fs::remove_dir_all(store.root().join("checkpoints")).unwrap();
    store.create(&key("checkpoints/a/2"), Bytes::from_static(b"two")).await.unwrap();
    std::fs::remove_dir_all(store.root().join(upload::FOLDER)).unwrap();
    store.create(&key("checkpoints/a/3"), Bytes::from_static(b"three")).await.unwrap();

    assert!(store.stat(&key("checkpoints/a/1")).await.is_err());
    assert_eq!(store.stat(&key("checkpoints/a/3")).await.unwrap().len, 5);
}

#[tokio::test]
async fn a_store_whose_disk_is_gone_is_not_begun_anew_on_the_disk_below() {
    let (dir, store) = scene();
    store.create(&key("a"), Bytes::new()).await.unwrap();
    let reopened = LocalStorage::open(store.root(), Arc::new(OsDisk::new())).unwrap();
    std::fs::rename(store.root(), dir.path().join("elsewhere")).unwrap();

    for store in [&store, &reopened] {
        let error = store.create(&key("b"), Bytes::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(error.to_string().contains("gone"), "{error}");
        assert!(!store.root().exists());
    }

    std::fs::rename(dir.path().join("elsewhere"), store.root()).unwrap();
    store.create(&key("b"), Bytes::new()).await.unwrap();
}

#[tokio::test]
async fn files_of_others_are_no_objects() {
    let (_dir, store) = scene();
    store.create(&key("a/b"), Bytes::from_static(b"ours")).await.unwrap();
    std::fs::write(store.root().join("a/Read Me.TXT"), b"not ours").unwrap();
    std::fs::write(store.root().join(".hidden"), b"not ours").unwrap();
    std::fs::create_dir(store.root().join("lost+found")).unwrap();
    std::os::unix::fs::symlink("/etc", store.root().join("etc")).unwrap();

    let page = store.list(ListRequest::default()).await.unwrap();

    assert_eq!(page.objects.iter().map(|o| o.key.as_str()).collect::<Vec<_>>(), ["a/b"]);
}

#[tokio::test]
async fn a_key_beside_a_directory_of_its_name_is_refused_by_name() {
    let (_dir, store) = scene();
    store.create(&key("a/b"), Bytes::new()).await.unwrap();
    store.create(&key("c"), Bytes::new()).await.unwrap();

    for taken in ["a", "c/d"] {
        let error = store.create(&key(taken), Bytes::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
}

#[tokio::test]
async fn two_stores_on_one_device_can_be_told() {
    let (_dir, store) = scene();
    let (_other_dir, other) = scene();
    assert!(store.identity().device.is_some());
    assert_eq!(store.identity().device, other.identity().device);
    assert_ne!(store.identity().url, other.identity().url);
}

#[test]
fn a_root_that_is_a_file_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = LocalStorage::open(file.path(), Arc::new(OsDisk::new())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}
