//! Runs a scenario for many seeds, each twice, and says how to see a failure again.

use std::fmt;
use std::ops::Range;

use super::{FaultPlan, Rng, Statistics, World};

/// Lines of the trace shown with a failure.
const LINES_SHOWN: usize = 60;

/// One run of a scenario with one seed.
#[derive(Debug)]
pub struct Case {
    seed: u64,
    rng: Rng,
    worlds: Vec<World>,
    lines: bool,
}

impl Case {
    /// The case of this seed, for use without a runner.
    pub fn new(seed: u64) -> Self {
        Self { seed, rng: Rng::named(seed, "scenario"), worlds: Vec::new(), lines: false }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The scenario's own dice: faults do not draw from them.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// A world with the faults of this seed. Each one made in a case is the same until it is treated otherwise.
    pub fn world(&mut self) -> World {
        self.world_with(FaultPlan::draw(self.seed))
    }

    /// A world with these faults.
    pub fn world_with(&mut self, plan: FaultPlan) -> World {
        let world = World::with_plan(self.seed, plan);
        if self.lines {
            world.keep_lines();
        }
        self.worlds.push(world.clone());
        world
    }

    fn outcome(&self) -> (u64, Statistics) {
        let mut seen = Statistics::default();
        let mut trace = self.seed;
        for world in &self.worlds {
            trace = trace.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ world.trace();
            seen.merge(&world.seen());
        }
        (trace, seen)
    }
}

/// A seed with which a promise was broken.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// Which promise, and how.
    pub message: String,
    /// The last calls before it.
    pub lines: Vec<String>,
    /// The plan of the last world.
    pub plan: FaultPlan,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "{}", self.message)?;
        writeln!(f, "seed {}, faults: {}", self.seed, self.plan)?;
        write!(f, "again: cargo xtask sim --seed {}", self.seed)
    }
}

/// Says which seed it was when the product itself panics.
struct Witness(u64);

impl Drop for Witness {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("panicked with seed {0}; again: cargo xtask sim --seed {0}", self.0);
        }
    }
}

type Outcome = (Result<(), String>, u64, Statistics);

fn run(seed: u64, lines: bool, scenario: &impl Fn(&mut Case) -> Result<(), String>) -> (Outcome, Case) {
    let _witness = Witness(seed);
    let mut case = Case { lines, ..Case::new(seed) };
    let result = scenario(&mut case);
    let (trace, seen) = case.outcome();
    ((result, trace, seen), case)
}

/// Runs the scenario with each seed until one breaks a promise.
pub fn hunt(seeds: Range<u64>, scenario: impl Fn(&mut Case) -> Result<(), String>) -> Option<Failure> {
    seeds.into_iter().find_map(|seed| {
        let ((result, ..), _) = run(seed, false, &scenario);
        result.err().map(|message| failure(seed, message, &scenario))
    })
}

/// The same once more, with lines this time.
fn failure(seed: u64, message: String, scenario: &impl Fn(&mut Case) -> Result<(), String>) -> Failure {
    let (_, case) = run(seed, true, scenario);
    let last = case.worlds.last();
    let all = last.map(World::lines).unwrap_or_default();
    let shown = std::env::var("RPO_SIM_LINES").ok().and_then(|n| n.parse().ok()).unwrap_or(LINES_SHOWN);
    let lines = all[all.len().saturating_sub(shown)..].to_vec();
    Failure { seed, message, lines, plan: last.map_or_else(FaultPlan::calm, World::plan) }
}

/// The seeds to run: those given, unless the environment says otherwise. `RPO_SIM_SEED=17` runs that one alone,
/// `RPO_SIM_SEEDS=5000` as many from the first, `RPO_SIM_SEEDS=100..200` these.
///
/// # Panics
/// When a variable is set to something else.
pub fn seeds(default: Range<u64>) -> Range<u64> {
    let number = |text: &str| text.trim().parse::<u64>();
    if let Ok(text) = std::env::var("RPO_SIM_SEED") {
        let seed = number(&text).expect("RPO_SIM_SEED is a number");
        return seed..seed + 1;
    }
    match std::env::var("RPO_SIM_SEEDS") {
        Ok(text) => match text.split_once("..") {
            Some((from, to)) => {
                let bound = |text| number(text).expect("RPO_SIM_SEEDS is a count or FROM..TO");
                bound(from)..bound(to)
            }
            None => {
                default.start..default.start + number(&text).expect("RPO_SIM_SEEDS is a count or FROM..TO")
            }
        },
        Err(_) => default,
    }
}

/// Runs the scenario with each seed, twice. Returns what happened sometimes.
///
/// # Panics
/// When a promise is broken, or two runs of one seed differ; the message shows the last calls and how to run it again.
pub fn run_seeds(default: Range<u64>, scenario: impl Fn(&mut Case) -> Result<(), String>) -> Statistics {
    let mut total = Statistics::default();
    for seed in seeds(default) {
        let ((first, trace, seen), _) = run(seed, false, &scenario);
        if let Err(message) = first {
            panic!("{}", failure(seed, message, &scenario));
        }
        let ((_, again, _), _) = run(seed, false, &scenario);
        assert!(
            trace == again,
            "two runs of seed {seed} differ: something is drawn from outside the simulation"
        );
        total.merge(&seen);
    }
    total
}

/// Asserts that each of these happened at least once. Skipped when the environment chooses the seeds.
///
/// # Panics
/// When one never happened: the scenario is green and meaningless.
pub fn assert_seen(seen: &Statistics, expected: &[&str]) {
    let chosen = ["RPO_SIM_SEED", "RPO_SIM_SEEDS"].iter().any(|name| std::env::var_os(name).is_some());
    let missing = seen.missing(expected);
    assert!(chosen || missing.is_empty(), "never happened: {missing:?}\n{seen}");
}
