use bytes::Bytes;
use rpo_core::ErrorKind;
use rpo_storage::{Key, ListRequest, Storage};

use super::super::{FaultKind, FaultPlan, SimStore, World, block_on};
use super::calm;

fn key(n: u32) -> Key {
    Key::new(format!("k/{n:04}")).unwrap()
}

fn store_with(kind: FaultKind, seed: u64) -> (World, SimStore) {
    let world = World::with_plan(seed, FaultPlan::calm().with(kind, 1000));
    let store = world.machine("a").store("eu");
    (world, store)
}

fn create(store: &SimStore, n: u32, bytes: &'static [u8]) -> Result<(), ErrorKind> {
    block_on(store.create(&key(n), Bytes::from_static(bytes))).map_err(|error| error.kind())
}

#[test]
fn an_object_is_never_overwritten() {
    let (_, machine) = calm(1);
    let store = machine.store("eu");
    assert_eq!(create(&store, 1, b"first"), Ok(()));
    assert_eq!(create(&store, 1, b"second"), Err(ErrorKind::Exists));
    assert_eq!(block_on(store.read(&key(1), 0..5)).unwrap(), "first");
    assert_eq!(block_on(store.read(&key(1), 2..6)).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(block_on(store.stat(&key(2))).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_lost_answer_means_done_or_not_done() {
    let mut done = 0;
    for seed in 0..100 {
        let (_, store) = store_with(FaultKind::LostAnswer, seed);
        assert_eq!(create(&store, 1, b"x"), Err(ErrorKind::Unknown));
        done += store.objects().len();
    }
    assert!((1..100).contains(&done), "{done}");
}

#[test]
fn a_late_request_lands_later_unless_somebody_was_faster() {
    for seed in 0..50 {
        let (world, store) = store_with(FaultKind::LateLanding, seed);
        assert_eq!(create(&store, 1, b"late"), Err(ErrorKind::Unknown));
        assert!(store.objects().is_empty(), "not yet");
        assert_eq!(create(&store, 2, b"late"), Err(ErrorKind::Unknown));
        world.set_plan(FaultPlan::calm());
        let faster = create(&store, 2, b"mine");

        for _ in 0..50 {
            let _ = block_on(store.stat(&key(9)));
        }

        let objects = store.objects();
        assert_eq!(objects[&key(1)], "late");
        assert_eq!(objects[&key(2)], if faster.is_ok() { "mine" } else { "late" });
    }
}

#[test]
fn a_refusal_left_nothing_behind() {
    let (_, store) = store_with(FaultKind::StoreRetry, 1);
    assert_eq!(create(&store, 1, b"x"), Err(ErrorKind::Retry));
    assert!(store.objects().is_empty());
}

#[test]
fn a_stall_takes_time_and_then_answers() {
    let (world, store) = store_with(FaultKind::Stall, 1);
    let before = world.now();
    assert_eq!(create(&store, 1, b"x"), Ok(()));
    assert!((world.now() - before).as_secs() >= 2);
}

#[test]
fn a_listing_may_lag_but_a_read_may_not() {
    let (_, store) = store_with(FaultKind::ListLag, 1);
    let listed =
        || block_on(store.list(ListRequest { prefix: "k/".into(), ..Default::default() })).unwrap().objects;
    assert_eq!(create(&store, 1, b"x"), Ok(()));
    assert!(listed().is_empty());
    assert!(block_on(store.read(&key(1), 0..1)).is_ok());
    for _ in 0..60 {
        listed();
    }
    assert_eq!(listed().len(), 1);
}

#[test]
fn listings_are_sorted_and_paged() {
    let (_, machine) = calm(1);
    let store = machine.store("eu");
    for n in [3, 1, 2] {
        create(&store, n, b"x").unwrap();
    }
    let page = |start_after| {
        let request = ListRequest { prefix: "k/".into(), start_after, limit: Some(2) };
        block_on(store.list(request)).unwrap()
    };
    let first = page(None);
    assert!(first.more);
    assert_eq!(first.objects.iter().map(|meta| meta.key.clone()).collect::<Vec<_>>(), [key(1), key(2)]);
    let second = page(Some(key(2)));
    assert!(!second.more);
    assert_eq!(second.objects[0].key, key(3));
}

#[test]
fn a_cut_line_cuts_one_machine_off_one_store() {
    let (world, a) = calm(1);
    let b = world.machine("b");
    a.cut("eu", true);
    assert_eq!(create(&a.store("eu"), 1, b"x"), Err(ErrorKind::Retry));
    assert_eq!(create(&a.store("us"), 1, b"x"), Ok(()));
    assert_eq!(create(&b.store("eu"), 2, b"x"), Ok(()));
    a.cut("eu", false);
    assert_eq!(create(&a.store("eu"), 1, b"x"), Ok(()));
}

#[test]
fn stores_outlive_machines() {
    let (_, machine) = calm(1);
    create(&machine.store("eu"), 1, b"x").unwrap();

    let machine = machine.power_cut();

    assert_eq!(block_on(machine.store("eu").read(&key(1), 0..1)).unwrap(), "x");
}
