//! The result, as Markdown that goes into the book as it is, or as JSON.

use std::fmt::Write as _;

use rpo_benches::wal::{Case, Measured, Place, Work};
use serde_json::{Value, json};

use crate::goals::{Bound, median};
use crate::plan::{MATRIX, Plan, SIZES, WRITERS, in_matrix};
use crate::rounds::Results;

pub(crate) fn markdown(plan: &Plan, results: &Results) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}\n", host(plan, results));
    goals(&mut out, plan, results);
    if plan.matrix {
        for (place, title) in
            [(Place::Disk, "On the disk"), (Place::FixedSync, "In memory, every sync takes 1 ms")]
        {
            let _ = writeln!(out, "\n**{title}**: durable records per second, by writers and size\n");
            matrix(&mut out, place, results);
        }
    }
    let _ = writeln!(out, "\n**Behind the ratios**\n");
    details(&mut out, results);
    for (case, why) in &results.failures {
        let _ = writeln!(out, "\nFAILED: {} ({:?}, {:?}): {why}", case.engine.name(), case.work, case.place);
    }
    out
}

/// What the numbers were measured on, and under which load.
fn host(plan: &Plan, results: &Results) -> String {
    let (cpus, loads) = (processors(), sorted_loads(results));
    let (low, high) = (loads.first().copied().unwrap_or(f64::NAN), loads.last().copied().unwrap_or(f64::NAN));
    let scheduling = if plan.realtime { "SCHED_RR 1" } else { "normal priority" };
    let noise = match (is_busy(results), plan.realtime) {
        (false, _) => "",
        (true, true) => "; **the host was busy: trust the ratios, not the numbers**",
        (true, false) => {
            "; **the host was busy: not even the ratios of the disk can be trusted, run again with --realtime**"
        }
    };
    let quick = if plan.quick { "; **quick: shows that it works, not how fast**" } else { "" };
    format!(
        "{cpus} processors; {} round(s), medians, best in brackets; {scheduling}; load of the host {:.1} (median), {low:.1} \
         to {high:.1}{noise}{quick}.",
        plan.rounds,
        median(&loads)
    )
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

fn sorted_loads(results: &Results) -> Vec<f64> {
    let mut loads = results.loads.clone();
    loads.sort_by(f64::total_cmp);
    loads
}

/// More wanted to run than there are processors.
fn is_busy(results: &Results) -> bool {
    median(&sorted_loads(results)) > processors() as f64
}

fn goals(out: &mut String, plan: &Plan, results: &Results) {
    if plan.goals.is_empty() {
        return;
    }
    let doubt = if is_busy(results) && !plan.realtime { " (busy host)" } else { "" };
    out.push_str("| row | what | goal | measured (best) | |\n|---|---|---|---|---|\n");
    for goal in &plan.goals {
        let bound = match goal.bound {
            Bound::AtLeast(least) => format!("≥ {least:.2}"),
            Bound::AtMost(most) => format!("≤ {most:.2}"),
            Bound::None => String::new(),
        };
        let (measured, verdict) = match goal.judge(results) {
            None => ("not measured".to_owned(), "**unknown**".to_owned()),
            Some(verdict) => {
                let holds = match verdict.holds {
                    Some(true) => format!("holds{doubt}"),
                    Some(false) => format!("**misses**{doubt}"),
                    None => String::new(),
                };
                (format!("{:.2} ({:.2})", verdict.median, verdict.best), holds)
            }
        };
        let _ = writeln!(out, "| {} | {} | {bound} | {measured} | {verdict} |", goal.row, goal.claim);
    }
}

fn matrix(out: &mut String, place: Place, results: &Results) {
    let columns: Vec<(u32, u32)> =
        WRITERS.iter().flat_map(|writers| SIZES.map(|bytes| (*writers, bytes))).collect();
    let seen = |engine, (writers, bytes)| results.measured.get(&Case::durable(engine, place, writers, bytes));
    let columns: Vec<_> =
        columns.into_iter().filter(|c| MATRIX.iter().any(|engine| seen(*engine, *c).is_some())).collect();
    out.push_str("| |");
    for (writers, bytes) in &columns {
        let _ = write!(out, " {writers} × {} |", size(*bytes));
    }
    out.push_str("\n|---|");
    out.push_str(&"---|".repeat(columns.len()));
    out.push('\n');
    for engine in MATRIX {
        if !WRITERS.iter().any(|writers| in_matrix(engine, place, *writers)) {
            continue;
        }
        let _ = write!(out, "| {} |", engine.name());
        for column in &columns {
            let cell = seen(engine, *column).map_or("–".to_owned(), |rounds| {
                let rates: Vec<f64> = rounds.values().map(Measured::rate).collect();
                with_best(rates)
            });
            let _ = write!(out, " {cell} |");
        }
        out.push('\n');
    }
}

fn details(out: &mut String, results: &Results) {
    out.push_str("| | work | records/s (best) | p50 / p99 µs | records/sync | µs processor/record |\n");
    out.push_str("|---|---|---|---|---|---|\n");
    let mut cases: Vec<_> = results.measured.iter().filter(|(case, _)| told(case)).collect();
    cases.sort_by_key(|(case, _)| (case.work, case.place, case.writers, case.record_bytes, case.engine));
    for (case, rounds) in cases {
        let of = |number: fn(&Measured) -> f64| {
            let mut all: Vec<f64> = rounds.values().map(number).collect();
            all.sort_by(f64::total_cmp);
            median(&all)
        };
        let rate = with_best(rounds.values().map(Measured::rate).collect());
        let latency = match (of(|m| m.p50_us), of(|m| m.p99_us)) {
            (0.0, _) => "–".to_owned(),
            (p50, p99) => format!("{p50:.0} / {p99:.0}"),
        };
        let per_sync = match of(|m| m.records as f64 / m.syncs.max(1) as f64) {
            shown if case.work.is_durable() => format!("{shown:.1}"),
            _ => "–".to_owned(),
        };
        let cpu = of(|m| m.cpu_us_per_record);
        let _ = writeln!(
            out,
            "| {} | {} | {rate} | {latency} | {per_sync} | {cpu:.2} |",
            case.engine.name(),
            work(case)
        );
    }
}

/// The matrix shows the other cases.
fn told(case: &Case) -> bool {
    case.work != Work::Durable || case.record_bytes == 1 << 10 || case.record_bytes == 4 << 10
}

fn work(case: &Case) -> String {
    let (writers, bytes) = (case.writers, size(case.record_bytes));
    let place = match case.place {
        Place::Disk => "disk",
        Place::Memory => "memory",
        Place::FixedSync => "1 ms",
    };
    match case.work {
        Work::Durable => format!("{writers} × {bytes}, {place}"),
        Work::Async => format!("{writers} async × {bytes}, {place}"),
        Work::Buffered => format!("buffered {bytes}, {place}"),
        Work::Prepare => format!("writes {bytes}, {place}"),
        Work::Replay => format!("replay {bytes}, {place}"),
        Work::Paced { archive: false } => format!("{writers} × {bytes}, 20 MB/s, archive off"),
        Work::Paced { archive: true } => format!("{writers} × {bytes}, 20 MB/s, archive on"),
        Work::Saturated => format!("{writers} × {bytes}, archive on"),
    }
}

fn size(bytes: u32) -> String {
    if bytes.is_multiple_of(1024) { format!("{} KiB", bytes / 1024) } else { format!("{bytes} B") }
}

fn with_best(mut rates: Vec<f64>) -> String {
    rates.sort_by(f64::total_cmp);
    let best = rates.last().copied().unwrap_or(f64::NAN);
    if rates.len() == 1 { short(best) } else { format!("{} ({})", short(median(&rates)), short(best)) }
}

fn short(rate: f64) -> String {
    match rate {
        r if r >= 1e6 => format!("{:.2} M", r / 1e6),
        r if r >= 1e5 => format!("{:.0} k", r / 1e3),
        r if r >= 1e4 => format!("{:.1} k", r / 1e3),
        r => format!("{r:.0}"),
    }
}

pub(crate) fn json(plan: &Plan, results: &Results) -> Value {
    let goals = plan.goals.iter().map(|goal| {
        let verdict = goal.judge(results);
        let bound = match goal.bound {
            Bound::AtLeast(least) => json!({ "at-least": least }),
            Bound::AtMost(most) => json!({ "at-most": most }),
            Bound::None => Value::Null,
        };
        json!({
            "row": goal.row,
            "claim": goal.claim,
            "bound": bound,
            "median": verdict.as_ref().map(|v| v.median),
            "best": verdict.as_ref().map(|v| v.best),
            "rounds": verdict.as_ref().map(|v| v.rounds),
            "holds": verdict.as_ref().and_then(|v| v.holds),
        })
    });
    let measured = results.measured.iter().map(|(case, rounds)| json!({ "case": case, "rounds": rounds }));
    let failures = results.failures.iter().map(|(case, why)| json!({ "case": case, "why": why }));
    json!({
        "host": host(plan, results),
        "busy": is_busy(results),
        "loads": results.loads,
        "goals": goals.collect::<Vec<_>>(),
        "measured": measured.collect::<Vec<_>>(),
        "failures": failures.collect::<Vec<_>>(),
    })
}
