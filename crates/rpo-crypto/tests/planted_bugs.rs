//! Negative control: the tests of the envelope find the bug they are there for.

use rpo_core::RepositoryId;
use rpo_crypto::planted::{Bug, plant};
use rpo_crypto::{KeyRing, ObjectType, RootKey, open, seal};
use rpo_os::OsEntropy;

/// True if an object that was moved to another name is refused there, and opens where it belongs.
fn names_are_bound(keys: &KeyRing) -> bool {
    let sealed = seal(keys, ObjectType::Pack, "packs/aa", &[b"chunks"], &OsEntropy::new()).expect("sealed");
    open(keys, ObjectType::Pack, "packs/aa", &sealed).is_ok()
        && open(keys, ObjectType::Pack, "packs/bb", &sealed).is_err()
}

#[test]
fn binding_nothing_is_found() {
    let id = RepositoryId::from_bytes([7; 16]);
    for keys in [KeyRing::new(RootKey::from_bytes([1; 32]), id, 1), KeyRing::unencrypted(id)] {
        assert!(names_are_bound(&keys));
        plant(Some(Bug::NothingBound));
        let found = !names_are_bound(&keys);
        plant(None);
        assert!(found, "the planted bug went unseen");
    }
}
