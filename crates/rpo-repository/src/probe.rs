//! Tries whether a store keeps what it claims: a key is created once, and what was absent is readable once created.

use bytes::Bytes;
use rpo_core::{Entropy, ErrorKind};
use rpo_storage::StorageError;

use crate::store::Store;
use crate::{RepositoryError, layout};

/// How often the probe begins anew, under another name, when an answer was lost.
const ATTEMPTS: u32 = 4;

/// Creates a random key twice and reads it before and after. Deletes it if the store can; else it stays as rubbish.
///
/// # Errors
/// `StoreRefused` says what the store does not keep.
pub(crate) async fn probe(store: &Store, entropy: &dyn Entropy) -> Result<(), RepositoryError> {
    let refused =
        |why: &str| RepositoryError::StoreRefused { store: store.name.clone(), why: why.to_owned() };
    if !store.storage.capabilities().create_is_exclusive {
        return Err(refused(
            "it cannot create an object only if there is none, so two writers could overwrite each other",
        ));
    }
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match attempt(store, entropy).await? {
            Verdict::Keeps => return Ok(()),
            Verdict::Breaks(why) => return Err(refused(why)),
            Verdict::NoAnswer(error) => last = Some(error),
        }
    }
    Err(last.expect("each attempt that did not return left its error").into())
}

enum Verdict {
    Keeps,
    Breaks(&'static str),
    NoAnswer(StorageError),
}

/// Kinds after which another attempt can tell more.
fn inconclusive(error: &StorageError) -> bool {
    matches!(error.kind(), ErrorKind::Retry | ErrorKind::Unknown)
}

async fn attempt(store: &Store, entropy: &dyn Entropy) -> Result<Verdict, RepositoryError> {
    let mut random = [0; 48];
    entropy.fill(&mut random)?;
    let (id, content) = random.split_at(16);
    let key = layout::probe(id.try_into().expect("16 of 48 bytes"));
    let first =
        Bytes::from([b"rpo probe, may be deleted: ", hex::encode(content).as_bytes(), b"\n"].concat());
    let second = Bytes::from([first.as_ref(), b"a second create\n"].concat());
    let storage = &store.storage;

    macro_rules! answer {
        ($call:expr) => {
            match $call.await {
                Err(error) if inconclusive(&error) => return Ok(Verdict::NoAnswer(error)),
                answer => answer,
            }
        };
    }
    match answer!(storage.read_all(&key, first.len() as u64 * 2)) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Ok(_) => return Ok(Verdict::Breaks("it shows an object under a random name that nobody created")),
        Err(error) => return Err(error.into()),
    }
    answer!(storage.create(&key, first.clone()))?;
    let found = answer!(storage.read_all(&key, first.len() as u64 * 2));
    if !found.is_ok_and(|found| found == first) {
        return Ok(Verdict::Breaks("what was created is not what is read right after it"));
    }
    match answer!(storage.create(&key, second)) {
        Err(error) if error.kind() == ErrorKind::Exists => {}
        Ok(()) => return Ok(Verdict::Breaks("it let a second create of the same object win")),
        Err(error) => return Err(error.into()),
    }
    if !answer!(storage.read_all(&key, first.len() as u64 * 2)).is_ok_and(|found| found == first) {
        return Ok(Verdict::Breaks("a refused create changed the object"));
    }
    if storage.capabilities().delete
        && let Err(error) = storage.delete(&key).await
    {
        tracing::debug!(%key, %error, "the probe's object stays"); // a writer without the right to delete is fine
    }
    Ok(Verdict::Keeps)
}
