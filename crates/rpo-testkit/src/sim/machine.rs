//! A machine: a disk, clocks, entropy, and a view of the stores; with the ways in which it stops.

use std::sync::Arc;
use std::time::Duration;

use rpo_core::{Clock, Entropy, Monotonic, Timestamp};

use super::disk::SimDisk;
use super::store::SimStore;
use super::{FaultKind, World};

/// When every world begins: 2026-01-01T00:00:00Z.
const BEGINNING: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// A process on a simulated machine. All that is taken from it dies with it.
#[derive(Debug, Clone)]
pub struct Machine {
    pub(super) world: World,
    pub(super) name: Arc<str>,
    pub(super) life: u64,
}

impl Machine {
    pub(super) fn new(world: World, name: &str, life: u64) -> Self {
        Self { world, name: name.into(), life }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its disk.
    pub fn disk(&self) -> SimDisk {
        SimDisk::new(self.clone())
    }

    /// Its clocks.
    pub fn clock(&self) -> SimClock {
        SimClock { machine: self.clone() }
    }

    /// Its entropy.
    pub fn entropy(&self) -> SimEntropy {
        SimEntropy { world: self.world.clone() }
    }

    /// The store of this name, as seen from here. Stores outlive machines.
    pub fn store(&self, name: &str) -> SimStore {
        SimStore::new(self.clone(), name)
    }

    /// Cuts the line to a store, or mends it. While it is cut nothing arrives there: kind `Retry`.
    pub fn cut(&self, store: &str, cut: bool) {
        self.world.lock().store(store).cut(&self.name, cut);
    }

    /// Cuts the power and starts the machine again: unsynced sectors and names are kept, lost or torn as the seed
    /// says, locks are gone. Returns the process that starts then.
    pub fn power_cut(&self) -> Machine {
        let mut state = self.world.lock();
        let torn = state.core.plan.rate(FaultKind::TornSector);
        let state = &mut *state;
        let machine = state.machines.get_mut(&*self.name).expect("made with this handle");
        machine.disk.power_cut(&mut state.core.chaos, torn, &mut state.core.seen);
        machine.booted = state.core.now;
        machine.down = false;
        machine.life += 1;
        let life = machine.life;
        state.core.note("power cut");
        Machine { life, ..self.clone() }
    }

    /// Kills the process and starts another: locks are gone, what is cached stays cached, though pages that a failed
    /// sync gave up may leave the cache. Returns the new process.
    pub fn kill(&self) -> Machine {
        let mut state = self.world.lock();
        let evict = state.core.strikes(FaultKind::Evict);
        let machine = state.machine(&self.name);
        machine.disk.kill(evict);
        machine.down = false;
        machine.life += 1;
        let life = machine.life;
        state.core.note("killed");
        Machine { life, ..self.clone() }
    }

    /// The machine stands still, as if it had lost power, until [`Machine::power_cut`] or [`Machine::kill`].
    pub fn stop(&self) {
        self.world.lock().machine(&self.name).down = true;
    }

    /// Steps the wall clock of this machine.
    pub fn step_wall(&self, micros: i64) {
        self.world.lock().machine(&self.name).wall_offset_micros += micros;
    }
}

/// The clocks of a machine: the wall clock steps by plan, the steady one begins anew with each boot. Both stand still
/// between calls, unless [`World::advance`] moves them.
#[derive(Debug, Clone)]
pub struct SimClock {
    machine: Machine,
}

impl Clock for SimClock {
    fn wall(&self) -> Timestamp {
        let mut state = self.machine.world.lock();
        let now = state.core.now;
        let offset = state.machine(&self.machine.name).wall_offset_micros;
        Timestamp::from_micros(BEGINNING.saturating_add(now).as_micros().saturating_add(offset))
    }

    fn monotonic(&self) -> Monotonic {
        let mut state = self.machine.world.lock();
        let now = state.core.now;
        let booted = state.machine(&self.machine.name).booted;
        Monotonic::new(now.saturating_sub(booted) + Duration::from_secs(1))
    }
}

/// Entropy that is the same in every run of a seed.
#[derive(Debug, Clone)]
pub struct SimEntropy {
    world: World,
}

impl Entropy for SimEntropy {
    fn fill(&self, out: &mut [u8]) -> std::io::Result<()> {
        self.world.lock().core.entropy.fill(out);
        Ok(())
    }
}
