//! Creating: once, whole, and visible when it is told.

use std::sync::Arc;

use rpo_storage::Storage;

use super::{assert_taken, at_once, below, bytes, create, key, keys, stream, whole};

/// What `create` was given is what `read` gives.
pub async fn what_was_created_is_read_back(store: Arc<dyn Storage>) {
    let sent = bytes(1, 70_000);
    create(&store, "packs/0f/one", sent.clone()).await;
    assert_eq!(whole(&store, "packs/0f/one").await, sent);
}

/// After a look that found nothing, and then `create`, every way of looking finds it: no answer is cached.
pub async fn what_was_created_is_visible_at_once(store: Arc<dyn Storage>) {
    for round in 0..5 {
        let name = format!("logs/s/{round:016x}");
        super::assert_invisible(&store, &name).await;
        create(&store, &name, bytes(round, 100)).await;
        assert_eq!(store.stat(&key(&name)).await.expect("stat sees it").len, 100);
        assert_eq!(whole(&store, &name).await, bytes(round, 100));
        assert!(keys(&store, below("logs/")).await.contains(&name));
    }
}

/// A taken key is refused as `AlreadyExists`, whatever the bytes and the way of sending; the stored bytes stay.
pub async fn create_refuses_an_existing_key(store: Arc<dyn Storage>) {
    let first = bytes(1, 1_000);
    create(&store, "a/b", first.clone()).await;
    for other in [bytes(2, 1_000), bytes(3, 10), bytes(4, 0), first.clone()] {
        assert_taken(store.create(&key("a/b"), other).await, "a/b");
        assert_eq!(whole(&store, "a/b").await, first, "the stored bytes are untouched");
    }
}

/// Of several writers that create one key at the same moment exactly one is told `Ok`, the others `AlreadyExists`, and
/// the bytes are the winner's. Not asked of a store that does not declare `create_is_exclusive`.
pub async fn racing_creates_have_exactly_one_winner(store: Arc<dyn Storage>) {
    race(store, false).await;
}

/// As for `create`, when the objects are sent as streams.
pub async fn racing_streams_have_exactly_one_winner(store: Arc<dyn Storage>) {
    race(store, true).await;
}

async fn race(store: Arc<dyn Storage>, streaming: bool) {
    if !store.capabilities().create_is_exclusive {
        crate::storage::note("not asked: this store declares that its create is not exclusive");
        return;
    }
    for round in 0..6_u64 {
        let name = format!("race/{round}");
        let outcomes = at_once(8, |writer| {
            let (store, key, bytes) =
                (Arc::clone(&store), key(&name), bytes(round * 100 + writer as u64, 2_000));
            async move {
                if streaming {
                    let parts = stream(vec![bytes.slice(..700), bytes.slice(700..)]);
                    store.create_streaming(&key, parts).await
                } else {
                    store.create(&key, bytes).await
                }
            }
        })
        .await;
        let winners: Vec<_> = (0..8_u64).zip(&outcomes).filter(|(_, o)| o.is_ok()).map(|(w, _)| w).collect();
        assert_eq!(winners.len(), 1, "round {round}: exactly one of eight writers wins: {outcomes:?}");
        for outcome in outcomes.into_iter().filter(Result::is_err) {
            assert_taken(outcome, &name);
        }
        assert_eq!(whole(&store, &name).await, bytes(round * 100 + winners[0], 2_000), "the winner's bytes");
    }
}

/// Writers of different keys do not disturb each other.
pub async fn creates_beside_each_other_all_land(store: Arc<dyn Storage>) {
    let outcomes = at_once(24, |writer| {
        let (store, key) = (Arc::clone(&store), key(&format!("p/{:x}/{writer}", writer % 3)));
        async move { store.create(&key, bytes(writer as u64, 5_000)).await }
    })
    .await;
    for (writer, outcome) in outcomes.into_iter().enumerate() {
        outcome.unwrap_or_else(|e| panic!("writer {writer}: {e}"));
        let name = format!("p/{:x}/{writer}", writer % 3);
        assert_eq!(whole(&store, &name).await, bytes(writer as u64, 5_000));
    }
    assert_eq!(keys(&store, below("p/")).await.len(), 24);
}

/// An object without bytes is an object.
pub async fn objects_may_be_empty(store: Arc<dyn Storage>) {
    create(&store, "nothing", bytes(0, 0)).await;
    assert_eq!(store.stat(&key("nothing")).await.expect("it is there").len, 0);
    assert!(whole(&store, "nothing").await.is_empty());
    assert_eq!(keys(&store, below("")).await, ["nothing"]);
    assert_taken(store.create(&key("nothing"), bytes(0, 0)).await, "nothing");
}

/// 24 MiB in one call arrive whole, and parts from the middle can be read.
pub async fn large_objects_keep_every_byte(store: Arc<dyn Storage>) {
    let sent = bytes(24, 24 << 20);
    create(&store, "large", sent.clone()).await;
    assert!(whole(&store, "large").await == sent, "24 MiB must be read back as sent");
    let middle = (11 << 20) + 5..(17 << 20) + 9;
    let part =
        store.read(&key("large"), middle.start as u64..middle.end as u64).await.expect("a part is read");
    assert!(part == sent.slice(middle), "6 MiB from the middle must be read as sent");
}

/// Whatever [`Key`](rpo_storage::Key) allows can be created, read, listed and deleted. (Not asked: a key beside keys
/// below it, `a` and `a/b`, which a file system cannot hold and no format uses.)
pub async fn odd_but_legal_keys_are_kept(store: Arc<dyn Storage>) {
    let long_part = "l".repeat(255);
    let long_key = format!("{}/{}", "a".repeat(255), "z".repeat(256 - 1));
    let deep = vec!["d"; 60].join("/");
    let mut odd = vec![
        "-",
        "_",
        "0",
        "a",
        "a..b",
        "b.",
        "con",
        "nul.txt",
        "x.tmp",
        "x.lock",
        "00/0/0",
        "--/-/_",
        "config.json",
        "list",
        "a-b_c.d/e",
        &long_part,
        &long_key,
        &deep,
    ];
    odd.sort_unstable();
    for (number, name) in odd.iter().enumerate() {
        create(&store, name, bytes(number as u64, 10 + number)).await;
    }
    for (number, name) in odd.iter().enumerate() {
        assert_eq!(whole(&store, name).await, bytes(number as u64, 10 + number), "{name}");
    }
    assert_eq!(keys(&store, below("")).await, odd);
    for name in &odd {
        store.delete(&key(name)).await.unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    assert!(keys(&store, below("")).await.is_empty());
}
