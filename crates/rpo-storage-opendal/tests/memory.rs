//! The conformance suite on OpenDAL's memory service, with and without conditions.

use rpo_storage_opendal::OpendalStorage;
use rpo_storage_opendal::opendal::{Operator, services};

fn store(root: &str) -> OpendalStorage {
    OpendalStorage::new(
        Operator::new(services::Memory::default().root(root)).expect("memory needs no configuration"),
    )
}

rpo_testkit::storage_conformance!(async { store("/") });

/// Below a prefix nothing of it shows.
mod below_a_prefix {
    rpo_testkit::storage_conformance!(async { super::store("/some/prefix") });
}

/// The weaker protocol keeps every rule but the race.
mod without_conditions {
    rpo_testkit::storage_conformance!(async { super::store("/").without_create_conditions() });
}
