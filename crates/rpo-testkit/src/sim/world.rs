//! The world of one run: its dice, its time, its machines and stores, what went wrong so far, and when it all stops.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::files::DiskState;
use super::store::StoreState;
use super::trace::Trace;
use super::{FaultKind, FaultPlan, Machine, Rng, Statistics};

/// What every call returns, wrapped in an [`io::Error`], once its machine has crashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crashed;

impl fmt::Display for Crashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulated machine has crashed")
    }
}

impl std::error::Error for Crashed {}

impl Crashed {
    /// Whether `error` says that the machine has crashed.
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Crashed>())
    }
}

/// Machines and stores that share one seed, one time and one fate. Cheap to clone.
///
/// Calls that change something are *steps*; [`World::crash_at`] counts in these. Meant for one thread: with several the
/// world stays sane, but a run can no longer be repeated.
#[derive(Debug, Clone)]
pub struct World {
    shared: Arc<Mutex<State>>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) core: Core,
    pub(super) machines: BTreeMap<String, MachineState>,
    pub(super) stores: BTreeMap<String, StoreState>,
}

/// What every call needs, whatever it works on.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) plan: FaultPlan,
    pub(super) chaos: Rng,
    pub(super) entropy: Rng,
    pub(super) seen: Statistics,
    pub(super) calls: u64,
    pub(super) now: Duration,
    armed: BTreeMap<FaultKind, u64>,
    trace: Trace,
    steps: u64,
    crash_at: Option<u64>,
    down: bool,
    lines: Option<Vec<String>>,
}

#[derive(Debug)]
pub(super) struct MachineState {
    pub(super) disk: DiskState,
    /// Counts processes: a handle of an earlier one is dead.
    pub(super) life: u64,
    pub(super) down: bool,
    pub(super) booted: Duration,
    pub(super) wall_offset_micros: i64,
}

/// One call, as the trace sees it.
pub(super) struct Call<'a> {
    pub(super) name: &'static str,
    pub(super) target: &'a dyn fmt::Display,
    pub(super) at: u64,
    pub(super) data: &'a [u8],
    /// Whether it changes something.
    pub(super) step: bool,
    /// What it takes, microseconds.
    pub(super) micros: u64,
}

impl Core {
    /// Whether the call being made is the last one before the crash.
    pub(super) fn is_last(&self) -> bool {
        self.down
    }

    /// Whether a fault of this kind strikes now: because a test armed it, or by the plan.
    pub(super) fn strikes(&mut self, kind: FaultKind) -> bool {
        let armed = match self.armed.get_mut(&kind) {
            Some(0) => {
                self.armed.remove(&kind);
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        let rate = self.plan.rate(kind);
        let strikes = armed || (rate > 0 && self.chaos.chance(rate));
        if strikes {
            self.seen.count(kind.name());
            self.line(|| format!("    fault: {}", kind.name()));
        }
        strikes
    }

    fn line(&mut self, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(text());
        }
    }

    pub(super) fn note(&mut self, text: &str) {
        self.trace.bytes(text.as_bytes());
        self.line(|| format!("    {text}"));
    }

    /// Counts and traces the call; true if everything stops with it.
    fn begin(&mut self, machine: &str, call: &Call<'_>) -> bool {
        self.calls += 1;
        self.now += Duration::from_micros(call.micros);
        self.trace.bytes(call.name.as_bytes());
        self.trace.bytes(call.target.to_string().as_bytes());
        self.trace.number(call.at);
        self.trace.bytes(call.data);
        let (step, time) = (self.steps, self.now);
        self.line(|| {
            let (name, target, at, len) = (call.name, call.target, call.at, call.data.len());
            format!("{step:>5} {:>10.6} {machine}: {name} {target} at {at}, {len} bytes", time.as_secs_f64())
        });
        self.steps += u64::from(call.step);
        call.step && self.crash_at.is_some_and(|at| step >= at)
    }
}

impl State {
    pub(super) fn machine(&mut self, name: &str) -> &mut MachineState {
        let now = self.core.now;
        self.machines.entry(name.to_owned()).or_insert_with(|| MachineState {
            disk: DiskState::new(),
            life: 0,
            down: false,
            booted: now,
            wall_offset_micros: 0,
        })
    }

    /// Whether the process that holds a handle of this life is dead.
    pub(super) fn is_dead(&mut self, machine: &str, life: u64) -> bool {
        let down = self.core.down;
        let state = self.machine(machine);
        down || state.down || state.life != life
    }

    /// One call on a disk or a store: traced, maybe the last one, its body run unless the machine is dead. At the
    /// crash the dice say whether the last call still had its effect; its answer is lost in any case.
    pub(super) fn call<T, E: fmt::Display>(
        &mut self,
        (machine, life): (&str, u64),
        call: &Call<'_>,
        crashed: impl Fn() -> E,
        body: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        if self.is_dead(machine, life) {
            return Err(crashed());
        }
        let last = self.core.begin(machine, call);
        if last {
            self.core.down = true;
            self.core.line(|| "    everything stops".to_owned());
            if self.core.chaos.coin() {
                return Err(crashed());
            }
        }
        if call.step {
            self.step_clocks(machine);
        }
        let result = body(self);
        if last {
            return Err(crashed());
        }
        self.core.trace.number(u64::from(result.is_ok()));
        if let Err(error) = &result {
            self.core.note(&error.to_string());
        }
        result
    }

    fn step_clocks(&mut self, machine: &str) {
        let back = self.core.strikes(FaultKind::ClockBack);
        let forward = self.core.strikes(FaultKind::ClockForward);
        if !back && !forward {
            return;
        }
        // From 10 ms to about 2 h, small and large steps alike.
        let scale = 10_000_i64 << self.core.chaos.below(20);
        let jitter = i64::try_from(self.core.chaos.below(400_000)).unwrap_or_default();
        let micros = if back { -scale - jitter } else { scale + jitter };
        self.machine(machine).wall_offset_micros += micros;
    }
}

impl World {
    /// A world whose faults are drawn from the seed.
    pub fn new(seed: u64) -> Self {
        Self::with_plan(seed, FaultPlan::draw(seed))
    }

    /// A world with this plan; the seed decides when and how.
    pub fn with_plan(seed: u64, plan: FaultPlan) -> Self {
        let core = Core {
            plan,
            chaos: Rng::named(seed, "chaos"),
            entropy: Rng::named(seed, "entropy"),
            seen: Statistics::default(),
            calls: 0,
            now: Duration::ZERO,
            armed: BTreeMap::new(),
            trace: Trace::new(seed),
            steps: 0,
            crash_at: None,
            down: false,
            lines: None,
        };
        let state = State { core, machines: BTreeMap::new(), stores: BTreeMap::new() };
        Self { shared: Arc::new(Mutex::new(state)) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere (a failing test) leaves the state usable: it is only looked at afterwards.
        self.shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The machine of this name, with an empty disk when it is first asked for. Its handles are those of one process:
    /// they die when it is killed or loses power, and new ones must be taken.
    pub fn machine(&self, name: &str) -> Machine {
        let life = self.lock().machine(name).life;
        Machine::new(self.clone(), name, life)
    }

    /// The plan of this world.
    pub fn plan(&self) -> FaultPlan {
        self.lock().core.plan.clone()
    }

    /// Replaces the plan, say by a calm one once faults shall stop; what was armed is disarmed.
    pub fn set_plan(&self, plan: FaultPlan) {
        let core = &mut self.lock().core;
        core.plan = plan;
        core.armed.clear();
    }

    /// Makes a fault of this kind strike at its next opportunity but `skip`, whatever the plan says.
    pub fn arm(&self, kind: FaultKind, skip: u64) {
        self.lock().core.armed.insert(kind, skip);
    }

    /// Steps so far: calls that change something. (A crash between two of them is a crash at the second.)
    pub fn steps(&self) -> u64 {
        self.lock().core.steps
    }

    /// Everything stops at step number `step`: that step has its effect or not, nobody hears of it, and every call
    /// from then on returns [`Crashed`], until [`World::reboot`].
    pub fn crash_at(&self, step: u64) {
        self.lock().core.crash_at = Some(step);
    }

    /// Whether everything has stopped.
    pub fn is_down(&self) -> bool {
        self.lock().core.down
    }

    /// Cuts the power of all machines, if that has not happened yet, and starts them again. What a store was told to
    /// do still happens there.
    pub fn reboot(&self) {
        let names: Vec<String> = self.lock().machines.keys().cloned().collect();
        {
            let mut state = self.lock();
            state.core.crash_at = None;
            state.core.down = false;
        }
        for name in names {
            self.machine(&name).power_cut();
        }
    }

    /// Kills all processes, if they do not stand still already, and starts the machines' processes again: what is
    /// cached stays cached.
    pub fn restart(&self) {
        let names: Vec<String> = self.lock().machines.keys().cloned().collect();
        {
            let mut state = self.lock();
            state.core.crash_at = None;
            state.core.down = false;
        }
        for name in names {
            self.machine(&name).kill();
        }
    }

    /// Time since the world began, by the only clock that is always right. Oracles measure on this one.
    pub fn now(&self) -> Duration {
        self.lock().core.now
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.lock().core.now += by;
    }

    /// Folds something that the scenario saw into the trace.
    pub fn note(&self, text: &str) {
        self.lock().core.note(text);
    }

    /// Counts something that must happen *sometimes*, or the scenario proves nothing.
    pub fn sometimes(&self, what: &str) {
        self.lock().core.seen.count(what);
    }

    /// What was counted so far: faults that struck, what crashes did, and the scenario's own.
    pub fn seen(&self) -> Statistics {
        self.lock().core.seen.clone()
    }

    /// All calls, arguments and outcomes so far as one number.
    pub fn trace(&self) -> u64 {
        self.lock().core.trace.value()
    }

    /// Keeps a line per call from now on.
    pub fn keep_lines(&self) {
        self.lock().core.lines.get_or_insert_default();
    }

    /// The lines kept.
    pub fn lines(&self) -> Vec<String> {
        self.lock().core.lines.clone().unwrap_or_default()
    }
}
