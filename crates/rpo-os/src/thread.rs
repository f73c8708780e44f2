//! Scheduling of single threads.

use std::io;

use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// Schedules the calling thread in real time (`SCHED_RR`), 1 lowest to 99 highest: on a busy host, who wakes up from a sync
/// otherwise waits for a time slice.
///
/// # Errors
/// The system refuses: it needs `CAP_SYS_NICE`, or a limit `RLIMIT_RTPRIO` that allows it. The thread goes on as it was.
pub fn run_in_real_time(priority: u8) -> io::Result<()> {
    let value = ThreadPriorityValue::try_from(priority).map_err(io::Error::other)?;
    set_thread_priority_and_policy(
        thread_native_id(),
        ThreadPriority::Crossplatform(value),
        ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin),
    )
    .map_err(|error| io::Error::other(format!("real-time scheduling was refused: {error:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_gets_its_priority_or_is_told_why_not() {
        let result = std::thread::spawn(|| run_in_real_time(1)).join().unwrap();
        if let Err(error) = result {
            assert!(error.to_string().contains("refused"), "{error}"); // not every system allows it
        }
    }
}
