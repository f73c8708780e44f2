use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use rpo_core::{Clock, Disk, Entropy};
use rpo_storage::{Key, Storage};

use super::super::{Case, Crashed, FaultKind, FaultPlan, World, block_on, hunt, run_seeds};
use super::at;

/// A bit of everything; ends when the machine crashes.
fn busy(world: &World) -> std::io::Result<()> {
    let machine = world.machine("a");
    let mut salt = [0; 8];
    machine.entropy().fill(&mut salt)?;
    let file = machine.disk().create_new(at("/f"))?;
    for n in 0..20_u64 {
        for result in [file.write_at(&salt, n * 300), file.sync(), machine.disk().sync_dir(at("/"))] {
            if let Err(error) = result
                && Crashed::is(&error)
            {
                return Err(error);
            }
        }
        let key = Key::new(format!("k/{n}")).expect("a key");
        let _ = block_on(machine.store("eu").create(&key, Bytes::copy_from_slice(&salt)));
        world.note(&machine.clock().wall().to_string());
    }
    Ok(())
}

#[test]
fn the_same_seed_twice_is_the_same_run() {
    for seed in 0..50 {
        let runs = [(), ()].map(|()| {
            let world = World::new(seed);
            let _ = busy(&world);
            world.reboot();
            (world.trace(), world.seen(), world.machine("a").disk().cached_bytes(at("/f")).ok())
        });
        assert_eq!(runs[0], runs[1], "seed {seed}");
    }
}

#[test]
fn another_seed_is_another_run() {
    let trace = |seed| {
        let world = World::with_plan(seed, FaultPlan::calm());
        let _ = busy(&world);
        world.trace()
    };
    assert_ne!(trace(1), trace(2));
}

#[test]
fn a_crash_comes_at_its_step_and_stops_everything() {
    let whole = World::with_plan(7, FaultPlan::calm());
    busy(&whole).unwrap();
    for step in 0..whole.steps() {
        let world = World::with_plan(7, FaultPlan::calm());
        world.crash_at(step);

        let _ = busy(&world);

        assert!(world.is_down());
        assert_eq!(world.steps(), step + 1);
        assert!(Crashed::is(&world.machine("a").disk().list(at("/")).unwrap_err()));
        world.reboot();
        assert!(world.machine("a").disk().list(at("/")).is_ok());
    }
}

#[test]
fn the_wall_clock_steps_and_the_steady_one_does_not() {
    let world = World::with_plan(3, FaultPlan::calm().with(FaultKind::ClockBack, 500));
    let clock = world.machine("a").clock();
    let (mut back, mut wall, mut steady) = (0, clock.wall(), clock.monotonic());
    for n in 0..100 {
        let _ = world.machine("a").disk().create_dir(at(&format!("/{n}")));
        world.advance(Duration::from_micros(1));
        assert!(clock.monotonic() > steady);
        back += u32::from(clock.wall() < wall);
        (wall, steady) = (clock.wall(), clock.monotonic());
    }
    assert!(back > 10, "{back}");
}

#[test]
fn plans_leave_whole_kinds_out() {
    // Those that are in no plan unless a scenario asks for them, and the one that is in all.
    let apart = |kind: &FaultKind| {
        use FaultKind::{ReadError, SyncErrorNothing, SyncErrorWhole, TornSector};
        matches!(kind, ReadError | TornSector | SyncErrorNothing | SyncErrorWhole)
    };
    for kind in FaultKind::ALL.iter().filter(|kind| !apart(kind)) {
        let on = (0..100).filter(|seed| FaultPlan::draw(*seed).rate(*kind) > 0).count();
        assert!((25..75).contains(&on), "{}: {on}", kind.name());
    }
    assert_eq!(FaultPlan::calm().with(FaultKind::Stall, 5).to_string(), "stall 5/1000");
}

#[test]
fn a_failure_names_its_seed_and_how_to_see_it_again() {
    let scenario = |case: &mut Case| {
        let world = case.world();
        let _ = busy(&world);
        if case.seed() == 4 { Err("promise 2 broken".to_owned()) } else { Ok(()) }
    };

    let failure = hunt(0..10, scenario).expect("seed 4 fails");

    assert_eq!(failure.seed, 4);
    let text = failure.to_string();
    assert!(text.contains("promise 2 broken") && text.contains("cargo xtask sim --seed 4"), "{text}");
    assert!(!failure.lines.is_empty());
}

#[test]
#[should_panic(expected = "drawn from outside")]
fn a_run_that_cannot_be_repeated_is_refused() {
    let outside = Cell::new(0);
    run_seeds(0..1, |case| {
        outside.set(outside.get() + 1);
        case.world().note(&outside.get().to_string());
        Ok(())
    });
}
