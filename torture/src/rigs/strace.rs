//! Rigs that kill at, or fail, every system call of a script on one thread, with strace.

use std::process::Command;
use std::time::Duration;

use super::{Options, close, each, fresh, heard};
use crate::child::{Place, spawn};
use crate::judge::Journal;
use crate::summary::Summary;

/// What changes files, also what the log does not call today; `write` is where the victim tells.
const CHANGING: [&str; 15] = [
    "openat",
    "pwrite64",
    "pwritev",
    "fdatasync",
    "fsync",
    "rename",
    "renameat2",
    "link",
    "linkat",
    "unlink",
    "mkdir",
    "ftruncate",
    "fallocate",
    "flock",
    "write",
];
const READING: [&str; 4] = ["pread64", "getdents64", "statx", "close"];

/// How often the script makes each call, or why that cannot be seen.
fn sites(
    place: &Place,
    commits: u64,
    calls: &[&'static str],
) -> anyhow::Result<Result<Vec<(&'static str, u64)>, String>> {
    if Command::new("strace").arg("-V").output().is_err() {
        return Ok(Err("strace is not installed".to_owned()));
    }
    let dir = fresh(place, "sites")?;
    let trace = dir.join("trace");
    let wrap =
        ["strace", "-f", "-qq", "-o", &trace.to_string_lossy(), "-e", &format!("trace={}", calls.join(","))]
            .map(str::to_owned);
    let run = spawn(place.wrapped(&wrap, "script", &dir.join("log"), 1, &[1, commits]))?.finish()?;
    if run.code != Some(0) {
        return Ok(Err(format!("strace cannot trace here: {}", run.err.trim())));
    }
    let trace = std::fs::read_to_string(trace)?;
    let count = |call: &str| trace.lines().filter(|l| l.contains(&format!(" {call}("))).count() as u64;
    std::fs::remove_dir_all(dir)?;
    Ok(Ok(calls.iter().map(|call| (*call, count(call))).collect()))
}

fn inject(
    place: &Place,
    what: &str,
    options: &Options,
    commits: u64,
    cases: &[(&'static str, u64, String)],
) -> anyhow::Result<Summary> {
    // In an order that spreads: what ends early has been everywhere. (A prime, so that each case comes once.)
    let all = cases.len() as u64;
    let spread = if all.is_multiple_of(7_919) { 1 } else { 7_919 };
    each(options.cycles(60, all).min(all), options, |index| {
        let (call, n, fault) = &cases[(index * spread % all.max(1)) as usize];
        let again =
            format!("again: --rig {what}: strace -f -e trace={call} -e inject={call}:{fault}:when={n}");
        let dir = fresh(place, &format!("{what}-{call}-{n}-{}", fault.replace(['=', ':'], "-")))?;
        let (mut sum, mut journal) = (Summary::default(), Journal::default());
        let (seen, trace) = (dir.join("trace"), format!("trace={call},write"));
        let rule = format!("inject={call}:{fault}:when={n}");
        let wrap = ["strace", "-f", "-qq", "-y", "-o", &seen.to_string_lossy(), "-e", &trace, "-e", &rule];
        // Faster, since what is not traced does not stop; but strace 6.1 sends no signals so.
        let fast = if fault.starts_with("signal") { None } else { Some("--seccomp-bpf") };
        let wrap: Vec<String> = wrap.into_iter().chain(fast).map(str::to_owned).collect();
        // The odd ones strike a log that was killed before: opening is swept as well.
        if index % 2 == 1 {
            let mut child = spawn(place.victim("load", &dir.join("log"), 7, &[1]))?;
            std::thread::sleep(Duration::from_millis(15));
            child.kill();
            heard(&mut sum, &mut journal, &child.finish()?, &again);
        }
        let run = spawn(place.wrapped(&wrap, "script", &dir.join("log"), 1, &[1, commits]))?.finish()?;
        heard(&mut sum, &mut journal, &run, &again);
        let seen = std::fs::read_to_string(seen).unwrap_or_default();
        sum.faults += u64::from(run.signal == Some(9) || seen.contains("(INJECTED)"));
        sum.false_acks += acks_after_failed_sync(&seen, fault);
        if sum.false_acks > 0 {
            sum.fail(format!("a promise after a failed sync of the log; {again}"));
        }
        close(place, &dir, &mut journal, fault.starts_with("signal"), &mut sum, &again)?;
        Ok(sum)
    })
}

/// Promises given after a sync of a segment failed: a later sync that succeeds proves nothing of what the failed one
/// should have saved. (EINTR is another matter: nothing was tried.)
fn acks_after_failed_sync(trace: &str, fault: &str) -> u64 {
    if fault.ends_with("EINTR") {
        return 0;
    }
    let failed =
        |line: &str| line.contains("(INJECTED)") && line.contains(" fdatasync(") && line.contains(".rwal>");
    let after = trace.lines().skip_while(|line| !failed(line));
    after.filter(|line| line.contains(" write(1<") && line.contains("\"ACK ")).count() as u64
}

/// SIGKILL at every system call of the script.
pub(super) fn syscalls(place: &Place, options: &Options) -> anyhow::Result<Summary> {
    let commits = 60;
    let sites = match sites(place, commits, &CHANGING)? {
        Ok(sites) => sites,
        Err(why) => return Ok(Summary { skipped: Some(why), ..Summary::default() }),
    };
    let each_call =
        sites.iter().flat_map(|(call, count)| (1..=*count).map(|n| (*call, n, "signal=SIGKILL".to_owned())));
    inject(place, "syscalls", options, commits, &each_call.collect::<Vec<_>>())
}

/// Every error at every system call of the script.
pub(super) fn errno(place: &Place, options: &Options) -> anyhow::Result<Summary> {
    let commits = if options.quick { 60 } else { 240 };
    // Not `write`: the log makes none, and a victim that cannot tell cannot be judged.
    let calls: Vec<_> = CHANGING.iter().filter(|call| **call != "write").chain(&READING).copied().collect();
    let sites = match sites(place, commits, &calls)? {
        Ok(sites) => sites,
        Err(why) => return Ok(Summary { skipped: Some(why), ..Summary::default() }),
    };
    let errors = ["EIO", "ENOSPC", "EINTR", "EDQUOT", "EROFS", "EACCES", "EMFILE", "ENOMEM"];
    let mut cases: Vec<_> = sites
        .iter()
        .flat_map(|(call, count)| (1..=*count).map(move |n| (*call, n)))
        .flat_map(|(call, n)| errors.map(|error| (call, n, format!("error={error}"))))
        .collect();
    // Done-nothing-and-said-so is a short write as a lying kernel gives it only for the part that is reported missing: a
    // return of 0 bytes makes the caller go on or fail, and never lies about bytes.
    let writes = sites.iter().find(|(call, _)| *call == "pwrite64").map_or(0, |(_, count)| *count);
    cases.extend((1..=writes).map(|n| ("pwrite64", n, "retval=0".to_owned())));
    inject(place, "errno", options, commits, &cases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_after_a_failed_sync_of_a_segment_is_false_and_one_before_or_after_another_fault_is_not() {
        let ack = "7 write(1<pipe:[1]>, \"ACK 1 0 0 .\\n\", 12) = 12\n";
        let sync = "7 fdatasync(5</x/0000-01.rwal>) = -1 EIO (Input/output error) (INJECTED)\n";
        let spare = "7 fdatasync(5</x/spare-1.tmp>) = -1 EIO (Input/output error) (INJECTED)\n";
        let count = |parts: &[&str], fault| acks_after_failed_sync(&parts.concat(), fault);
        assert_eq!(count(&[ack, sync], "error=EIO"), 0);
        assert_eq!(count(&[ack, sync, ack, ack], "error=EIO"), 2);
        assert_eq!(count(&[spare, ack], "error=EIO"), 0);
        assert_eq!(count(&[sync, ack], "error=EINTR"), 0);
    }
}
