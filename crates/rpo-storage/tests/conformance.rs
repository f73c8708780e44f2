//! Every store and every wrapper keeps every rule.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{local, quick_retries, retrying};
use rpo_os::OsClock;
use rpo_storage::{MemoryStorage, MeteredStorage, Registry};
use rpo_testkit::storage::{Faults, FaultyStorage};
use rpo_testkit::storage_conformance;

mod memory {
    use super::*;
    storage_conformance!(async { MemoryStorage::new() });
}

mod local_directory {
    use super::*;
    storage_conformance!(async { local() });
}

mod by_url {
    use super::*;
    storage_conformance!(async { Registry::with_defaults().open("memory://x").unwrap() });
}

mod metered {
    use super::*;
    storage_conformance!(async { MeteredStorage::new(MemoryStorage::new(), Arc::new(OsClock::new())) });
}

mod retrying_where_nothing_fails {
    use super::*;
    storage_conformance!(async { retrying(MemoryStorage::new(), quick_retries()) });
}

/// A third of all calls goes wrong, most of them without telling whether they happened; the rules hold all the same.
mod retrying_over_a_faulty_store {
    use super::*;
    storage_conformance!(async {
        let mut faults = Faults::default();
        (faults.refused, faults.vanished, faults.lost_answers) = (100, 100, 100);
        (faults.stalls, faults.stall) = (30, Duration::from_millis(1));
        retrying(FaultyStorage::new(MemoryStorage::new(), 7, faults), quick_retries())
    });
}

mod faulty_without_faults {
    use super::*;
    storage_conformance!(async { FaultyStorage::scripted(MemoryStorage::new()) });
}
