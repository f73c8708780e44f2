//! The external journal: every line that the bank printed, as the demo heard it.

use rpo::core::{HumanDuration, Timestamp};
use serde::Deserialize;

/// The level of a transfer that must survive the loss of the region.
pub(super) const PROTECTED: &str = "protected(region)";

/// What was heard from one run of the bank, up to its end.
#[derive(Debug, Clone, Default)]
pub(super) struct Journal {
    /// Where the bank stood when it was open: its commits so far.
    pub(super) opened: Option<Opened>,
    /// Acknowledgements, in the order heard.
    pub(super) acks: Vec<Ack>,
    /// Reports on the region, in the order heard.
    pub(super) reports: Vec<Said>,
    /// Moments that got a name.
    pub(super) tags: Vec<Tag>,
    /// True once the bank said that it has stopped.
    pub(super) stopped: bool,
    /// Whole lines that are none of what is expected.
    pub(super) strange: Vec<String>,
}

/// The bank is open.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Opened {
    pub(super) epoch: u32,
    pub(super) position: Stand,
}

/// Where a bank stands in its log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Stand {
    pub(super) sequence: u64,
}

/// A client was told that its transfer is done.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Ack {
    /// The transfer.
    #[serde(flatten)]
    pub(super) transfer: Booked,
    /// Its place in the log: the number of commits up to and with it.
    pub(super) seq: u64,
    /// When it was committed.
    pub(super) time: Timestamp,
    /// What was promised.
    pub(super) level: String,
    /// When it was told, by the bank's word, or when it was heard if that is earlier.
    pub(super) told: Timestamp,
}

/// A transfer, as the bank prints and stores it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Booked {
    pub(super) id: u64,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) amount: i64,
}

/// A moment that got a name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Tag {
    pub(super) name: String,
    /// Commits before it.
    pub(super) seq: u64,
}

/// What was said about the loss of the region: a bound, as of `taken_at`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Said {
    pub(super) taken_at: Timestamp,
    pub(super) window: Window,
    pub(super) commits_at_risk: Option<u64>,
    /// The independence of the copies it rests on is declared and not shown.
    pub(super) declared: bool,
}

/// How old the oldest commit is that would be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Window {
    None,
    Age(HumanDuration),
    Unknown { bound: Option<HumanDuration> },
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Opened(Opened),
    Ack(Ack),
    Report(Report),
    Tagged(Tag),
    Stopped {},
}

#[derive(Deserialize)]
struct Report {
    region: Option<Said>,
}

impl Ack {
    /// Whether it was promised to survive the loss of the region.
    pub(super) fn is_protected(&self) -> bool {
        self.level == PROTECTED
    }
}

impl Journal {
    /// Takes down one whole line. (A line that the kill cut off told nobody anything, and is not given here.)
    pub(super) fn hear(&mut self, line: &str, heard: Timestamp) {
        match serde_json::from_str(line) {
            Ok(Line::Opened(opened)) => self.opened = Some(opened),
            Ok(Line::Ack(ack)) => self.acks.push(Ack { told: ack.told.min(heard), ..ack }),
            Ok(Line::Report(report)) => self.reports.extend(report.region),
            Ok(Line::Tagged(tag)) => self.tags.push(tag),
            Ok(Line::Stopped {}) => self.stopped = true,
            Err(error) => self.strange.push(format!("{error}: {line}")),
        }
    }

    /// Transfers that were promised to survive the loss of the region.
    pub(super) fn protected(&self) -> impl Iterator<Item = &Ack> {
        self.acks.iter().filter(|ack| ack.is_protected())
    }
}
