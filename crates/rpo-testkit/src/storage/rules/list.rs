//! Listing: sorted, complete once things are calm, in pages.

use std::sync::Arc;

use rpo_storage::{ListRequest, Storage};

use super::{below, bytes, create, key, keys};

/// Names that sort differently by bytes, by name within directories, and by people: sorted by bytes.
const TRICKY: [&str; 10] =
    ["a-b", "a.b", "a/b", "a/b-c", "a/b.c", "a/bb/c", "a0", "a_b", "aa", "b/0000000000000002"];

async fn scene(store: &dyn Storage) {
    // Created in another order than listed.
    for name in TRICKY.iter().rev().step_by(2).chain(TRICKY.iter().rev().skip(1).step_by(2)) {
        create(store, name, bytes(1, 3)).await;
    }
}

/// Objects come in the order of their keys' bytes, whatever they have below them.
pub async fn list_is_sorted_by_bytes(store: Arc<dyn Storage>) {
    scene(&store).await;
    assert_eq!(keys(&store, below("")).await, TRICKY);
}

/// A prefix is a beginning of the text, not a directory.
pub async fn list_prefix_needs_no_slash(store: Arc<dyn Storage>) {
    scene(&store).await;
    for (prefix, expected) in [
        ("a", &TRICKY[0..9]),
        ("a/", &TRICKY[2..6]),
        ("a/b", &TRICKY[2..6]),
        ("a/b-", &TRICKY[3..4]),
        ("a/bb", &TRICKY[5..6]),
        ("a/bb/", &TRICKY[5..6]),
        ("a_b", &TRICKY[7..8]),
        ("b/00000000", &TRICKY[9..10]),
        ("c", &[]),
        ("a/c", &[]),
        ("a-b/", &[]),
    ] {
        assert_eq!(keys(&store, below(prefix)).await, expected, "prefix {prefix:?}");
    }
}

/// `start_after` leaves out everything up to that key, which need not exist.
pub async fn list_starts_after_the_key(store: Arc<dyn Storage>) {
    scene(&store).await;
    for (after, prefix, expected) in [
        ("a-b", "", &TRICKY[1..]),
        ("a/b", "", &TRICKY[3..]),
        ("a/b", "a/", &TRICKY[3..6]),
        ("a/ba", "", &TRICKY[5..]),
        ("0", "", &TRICKY[..]),
        ("aa", "a", &[]),
        ("zz", "", &[]),
        ("b/0000000000000001", "b/", &TRICKY[9..]),
        ("b/0000000000000002", "b/", &[]),
        ("a", "b", &TRICKY[9..]),
    ] {
        let request = ListRequest { start_after: Some(key(after)), ..below(prefix) };
        assert_eq!(keys(&store, request).await, expected, "after {after:?}, prefix {prefix:?}");
    }
}

/// Pages hold at most `limit` objects, say whether there is more, and together show everything once.
pub async fn list_pages_show_everything_once(store: Arc<dyn Storage>) {
    scene(&store).await;
    for limit in [1, 2, 3, 9, 10, 11] {
        let mut seen: Vec<String> = Vec::new();
        let mut start_after = None;
        loop {
            let request = ListRequest { start_after: start_after.clone(), limit: Some(limit), ..below("") };
            let page = store.list(request).await.unwrap_or_else(|e| panic!("limit {limit}: {e}"));
            assert!(page.objects.len() <= limit, "limit {limit}, got {}", page.objects.len());
            seen.extend(page.objects.iter().map(|o| o.key.to_string()));
            if !page.more {
                break;
            }
            let last =
                page.objects.last().unwrap_or_else(|| panic!("limit {limit}: an empty page that has more"));
            start_after = Some(last.key.clone());
        }
        assert_eq!(seen, TRICKY, "limit {limit}");
    }
    let all = store.list(ListRequest { limit: Some(10), ..below("") }).await.expect("ten of ten");
    assert!(!all.more, "nothing comes after the last page");
}

/// An empty store, and a prefix that nobody used, list as empty.
pub async fn list_of_nothing_is_empty(store: Arc<dyn Storage>) {
    for prefix in ["", "a", "a/", "deep/er/"] {
        let page = store.list(below(prefix)).await.unwrap_or_else(|e| panic!("prefix {prefix:?}: {e}"));
        assert!(page.objects.is_empty() && !page.more, "prefix {prefix:?}: {page:?}");
    }
}

/// A listing tells each object's length.
pub async fn list_tells_lengths(store: Arc<dyn Storage>) {
    for len in [0, 1, 5_000] {
        create(&store, &format!("len/{len:04}"), bytes(1, len)).await;
    }
    let page = store.list(below("len/")).await.expect("listed");
    assert_eq!(page.objects.iter().map(|o| o.len).collect::<Vec<_>>(), [0, 1, 5_000]);
}
