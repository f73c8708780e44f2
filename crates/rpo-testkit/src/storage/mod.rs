//! Conformance rules for stores, each one documented function and one named test; and a store that fails on purpose.
//!
//! A backend crate puts this into its `tests/` folder and is held to every rule:
//!
//! ```
//! use rpo_storage::MemoryStorage;
//!
//! rpo_testkit::storage_conformance!(async { MemoryStorage::new() });
//! # fn main() {}
//! ```
//!
//! What the block gives is taken afresh for each rule: a store, or a [`Scratch`] if something must live as long as the
//! store does (a temporary directory) or if the store is not to be had here.

mod faulty;
pub mod rules;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;

use rpo_storage::Storage;

pub use faulty::{Fault, Faults, FaultyStorage, Operation};

/// A rule as a value: takes a fresh, empty store, panics if the store breaks the rule.
pub type Rule = fn(Arc<dyn Storage>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// All rules with their names, for runners of one's own. Tests are better made by [`storage_conformance!`](crate::storage_conformance).
pub const RULES: &[(&str, Rule)] = crate::storage_conformance!(@rules table ());

/// Makes one `#[test]` per rule. The block is evaluated anew for each and gives an empty store, or a [`Scratch`].
#[macro_export]
macro_rules! storage_conformance {
    (@rules $form:ident ($($argument:tt)*)) => {
        $crate::storage_conformance! { @$form ($($argument)*)
            what_was_created_is_read_back
            what_was_created_is_visible_at_once
            create_refuses_an_existing_key
            racing_creates_have_exactly_one_winner
            racing_streams_have_exactly_one_winner
            creates_beside_each_other_all_land
            objects_may_be_empty
            large_objects_keep_every_byte
            odd_but_legal_keys_are_kept
            read_returns_exactly_the_range
            read_past_the_end_fails
            empty_ranges_are_read
            what_is_missing_is_not_found
            stat_tells_key_and_length
            list_is_sorted_by_bytes
            list_prefix_needs_no_slash
            list_starts_after_the_key
            list_pages_show_everything_once
            list_of_nothing_is_empty
            list_tells_lengths
            delete_is_idempotent
            deleted_objects_are_gone
            delete_leaves_the_neighbours
            streams_keep_the_order_of_their_parts
            streams_refuse_an_existing_key
            streams_are_invisible_until_done
            streams_that_fail_leave_nothing
            streams_that_are_dropped_leave_nothing
            large_streams_keep_every_byte
            streams_may_be_empty
            capabilities_are_honest
            identity_is_a_url_without_credentials
            errors_name_store_and_key
            read_all_keeps_its_limit
        }
    };
    (@tests ($fresh:expr) $($rule:ident)*) => { $(
        #[test]
        fn $rule() {
            $crate::storage::check(stringify!($rule), async { $fresh.await }, $crate::storage::rules::$rule);
        }
    )* };
    (@table () $($rule:ident)*) => {
        &[$((stringify!($rule), |store| Box::pin($crate::storage::rules::$rule(store)))),*]
    };
    ($fresh:expr) => { $crate::storage_conformance! { @rules tests ($fresh) } };
}

/// A fresh store for one rule, and what must live as long.
pub struct Scratch {
    store: Result<Arc<dyn Storage>, String>,
    _kept: Option<Box<dyn Any + Send>>,
}

impl Scratch {
    /// A store, and a guard that is dropped after it.
    pub fn keeping(store: impl Storage, guard: impl Any + Send) -> Self {
        Self { store: Ok(Arc::new(store)), _kept: Some(Box::new(guard)) }
    }

    /// The store cannot be had here. The rule is not checked, which is said on standard error past the capture of tests.
    /// With `RPO_TEST_REQUIRED` set in the environment it is a failure.
    pub fn skipped(why: impl Into<String>) -> Self {
        Self { store: Err(why.into()), _kept: None }
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").field("store", &self.store).finish()
    }
}

impl<S: Storage> From<S> for Scratch {
    fn from(store: S) -> Self {
        Self { store: Ok(Arc::new(store)), _kept: None }
    }
}

/// Runs one rule against a fresh store, on a runtime of its own. What [`storage_conformance!`](crate::storage_conformance) expands to.
///
/// # Panics
/// If the rule is broken, or the store is skipped although `RPO_TEST_REQUIRED` is set.
pub fn check<S, R>(name: &str, fresh: impl Future<Output = S>, rule: impl FnOnce(Arc<dyn Storage>) -> R)
where
    S: Into<Scratch>,
    R: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime needs two threads and a poll handle");
    runtime.block_on(async {
        let scratch: Scratch = fresh.await.into();
        match &scratch.store {
            Ok(store) => rule(Arc::clone(store)).await,
            Err(why) => {
                assert!(
                    std::env::var_os("RPO_TEST_REQUIRED").is_none(),
                    "{name} must not be skipped, but: {why}"
                );
                note(&format!("SKIPPED {name}: {why}"));
            }
        }
    });
}

/// Says something that the capture of tests does not swallow.
pub(crate) fn note(text: &str) {
    // A closed standard error is no reason to fail a test.
    let _ = writeln!(std::io::stderr(), "{text}");
}
