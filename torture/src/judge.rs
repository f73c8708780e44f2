//! The judge: what the victim was promised, against what a new process finds. Works on text alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::child::{Place, Run, spawn};

/// What a log says that takes nothing more. (One that could not prepare a segment fails a commit, and goes on.)
const FOR_GOOD: [&str; 2] = ["may or may not survive", "refuses writes since a failure"];

type Commit = (u64, u64, u64);

/// What one directory's victims tried and were promised so far.
#[derive(Debug, Default, Clone)]
pub struct Journal {
    tried: BTreeSet<Commit>,
    promised: BTreeSet<Commit>,
    /// Promised below `durable`, but written to the operating system.
    soft: BTreeSet<Commit>,
    released: bool,
    /// This life was told that its log takes nothing more.
    failed: bool,
    /// Tried after that.
    after: BTreeSet<Commit>,
    false_acks: u64,
}

/// How the log ended, as opening saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// After a whole frame.
    Clean,
    /// In a write that was cut short.
    Torn,
    /// Before frames that reached the disk out of order.
    Unordered,
}

/// What the judge found.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// Promised, and not there.
    pub lost: Vec<String>,
    /// There, and wrong: never tried, twice, out of order, with a gap, or other bytes.
    pub wrong: Vec<String>,
    /// Opening refused, with its words.
    pub refused: Option<String>,
    /// Opening or reading did not end.
    pub hung: Option<String>,
    /// How it ended.
    pub tail: Option<Tail>,
}

impl Verdict {
    /// Whether everything is as promised.
    pub fn is_good(&self) -> bool {
        self.lost.is_empty() && self.wrong.is_empty() && self.refused.is_none() && self.hung.is_none()
    }
}

/// The words of a whole line; a line without its full stop was cut by a kill.
fn words(line: &str) -> Option<(&str, Vec<&str>)> {
    let mut words = line.strip_suffix(" .")?.split(' ');
    Some((words.next()?, words.collect()))
}

fn commit(words: &[&str]) -> Option<Commit> {
    let [life, writer, number] = words else { return None };
    Some((life.parse().ok()?, writer.parse().ok()?, number.parse().ok()?))
}

impl Journal {
    /// Takes down what a victim said.
    pub fn hear(&mut self, out: &str) {
        let lines = out.lines().filter_map(|line| words(line).map(|(word, rest)| (line, word, rest)));
        for (line, word, rest) in lines {
            match (word, commit(&rest)) {
                ("UP", _) => self.failed = false,
                ("ERR", _) => self.failed |= FOR_GOOD.iter().any(|words| line.contains(words)),
                ("TRY", Some(commit)) => {
                    self.tried.insert(commit);
                    if self.failed {
                        self.after.insert(commit);
                    }
                }
                ("ACK", Some(commit)) => {
                    self.false_acks += u64::from(self.after.contains(&commit));
                    self.promised.insert(commit);
                }
                ("SOFT", Some(commit)) if commit.2 % 7 == 5 => drop(self.soft.insert(commit)),
                ("RELEASE", _) => {
                    self.promised.clear();
                    self.soft.clear();
                    self.released = true;
                }
                _ => {}
            }
        }
    }

    /// How many commits were promised.
    pub fn promises(&self) -> usize {
        self.promised.len()
    }

    /// How many promises were given for commits that came after the log had failed.
    pub fn false_acks(&self) -> u64 {
        self.false_acks
    }

    /// Opens the log as a new process, and compares. `killed_only`: nothing but the process died, so what reached the
    /// operating system must be there too.
    ///
    /// # Errors
    /// The judge's process did not start.
    pub fn judge(&mut self, place: &Place, dir: &Path, killed_only: bool) -> anyhow::Result<Verdict> {
        let clean = Place { plant: None, ..place.clone() };
        let run = spawn(clean.victim("judge", dir, 0, &[]))?.finish()?;
        Ok(self.compare(&run, killed_only))
    }

    fn compare(&mut self, run: &Run, killed_only: bool) -> Verdict {
        let mut verdict = Verdict { hung: run.hung.clone(), ..Verdict::default() };
        if run.code != Some(0) || !run.out.ends_with("END .\n") {
            verdict.refused = Some(run.err.trim().to_owned());
            return verdict;
        }
        let mut found: BTreeSet<Commit> = BTreeSet::new();
        let mut last: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        for line in run.out.lines() {
            if let Some(("OPEN", rest)) = words(line) {
                verdict.tail = match rest.first() {
                    Some(&"clean") => Some(Tail::Clean),
                    Some(&"torn") => Some(Tail::Torn),
                    _ => Some(Tail::Unordered),
                };
            }
            let Some(text) = line.strip_prefix("GOT ") else { continue };
            let parts: Vec<&str> = text.splitn(4, ' ').collect();
            let Some(at) = parts.get(..3).and_then(commit).filter(|at| self.tried.contains(at)) else {
                verdict.wrong.push(format!("never appended: {}", &text[..text.len().min(40)]));
                continue;
            };
            let letter = char::from(b'a' + ((at.0 * 7 + at.1 * 3 + at.2) % 26) as u8);
            let fill = parts.get(3).unwrap_or(&"");
            if fill.len() as u64 != at.2 * 131 % 1500 || fill.chars().any(|c| c != letter) {
                verdict.wrong.push(format!("other bytes in {at:?}"));
            }
            let expected = last.get(&(at.0, at.1)).map_or(at.2, |last| last + 1);
            if at.2 != expected || (!self.released && !last.contains_key(&(at.0, at.1)) && at.2 != 0) {
                verdict.wrong.push(format!("gap, order or repetition at {at:?}"));
            }
            last.insert((at.0, at.1), at.2);
            found.insert(at);
        }
        let soft = self.soft.iter().filter(|_| killed_only);
        verdict.lost = self
            .promised
            .iter()
            .chain(soft)
            .filter(|c| !found.contains(c))
            .map(|c| format!("{c:?}"))
            .collect();
        // What was read once stays; only a power cut may still take what nobody was promised, and none follows here.
        self.promised.extend(found);
        verdict
    }
}

#[cfg(test)]
mod tests;
