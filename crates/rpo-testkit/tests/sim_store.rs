//! The simulated store, when nothing goes wrong, keeps every rule that a real one must.

use rpo_testkit::sim::{FaultPlan, World};

rpo_testkit::storage_conformance!(async { World::with_plan(1, FaultPlan::calm()).machine("a").store("eu") });
