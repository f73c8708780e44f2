//! Judging and telling: rules over what was observed, a state machine per alert, sinks that tell people.
//!
//! - **Promises**: [`Alerts::step`] is pure: the same moments and samples give the same notices. A rise is told at once;
//!   what eases or repeats is told at most once per [`Settings::repeat_min`]. What should be observed and is not,
//!   becomes *unknown*, never calm. A sink that fails holds up no other.
//! - **Knows nothing of** where numbers come from, of writes, copies or stores; it never holds anything up.
//! - **Start at** [`Alerts`]; [`Rule`] is what can be watched, [`Sink`] how it is told.
//! - **Units**: durations as people write them, shares in whole percent, `now` a
//!   [`Moment`](rpo_core::window::Moment) of the caller's clock.
//!
//! ```
//! use std::time::Duration;
//!
//! use rpo_alerts::{Alerts, MemorySink, Observation, Rule, Sample, Settings, Turn, Watch, deliver};
//! use rpo_core::window::Moment;
//! use rpo_core::{Limit, Monotonic, SourceId, Status, Timestamp};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let at = |s: u64| Moment::new(Timestamp::from_micros(s as i64 * 1_000_000), Monotonic::new(Duration::from_secs(s)));
//! let orders = SourceId::new("orders")?;
//! let rule = Rule::CheckpointLate { limit: Limit::new(Duration::from_secs(100)) };
//! let mut alerts = Alerts::new(vec![Watch::new(orders.clone(), rule)], Settings::default())?;
//! let age = |s: u64| vec![Sample::new(orders.clone(), Observation::CheckpointAge { age: Some(Duration::from_secs(s).into()) })];
//!
//! assert!(alerts.step(at(0), &age(40)).is_empty());
//! let notices = alerts.step(at(70), &age(110));
//! assert_eq!((notices[0].turn, notices[0].status), (Turn::Raised, Status::Breached));
//!
//! let memory = MemorySink::new("memory");
//! let failures = futures::executor::block_on(deliver(&[&memory], &notices));
//! assert!(failures.is_empty());
//! assert!(memory.told()[0].to_string().contains("orders checkpoint-late: breached, 1m50s"));
//! # Ok(())
//! # }
//! ```

mod alerts;
mod notice;
mod rule;
mod settings;
mod sink;

#[cfg(test)]
mod tests;

pub use alerts::Alerts;
pub use notice::{AlertKey, Incident, Notice, Turn};
pub use rule::{Observation, Reading, Rule, Sample, Verdict, Watch};
pub use settings::Settings;
pub use sink::{DeliveryFailure, LogSink, MemorySink, Sink, SinkError, deliver};
