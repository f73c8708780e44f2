//! What the model knows: copies, the old writer, takeovers, mergers; and which rule is broken on purpose.

/// Highest number of an object in the model; slot 0 stands for number 1.
pub(crate) const NUMBERS: usize = 4;
/// Slots: the numbers, and room for the fence after them.
pub(crate) const SLOTS: usize = NUMBERS + 1;
pub(crate) const COPIES: usize = 3;
pub(crate) const TAKERS: usize = 2;
pub(crate) const MERGERS: usize = 2;

/// A rule of the protocol that a run can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A takeover needs fences in n − k + 1 copies; broken: in k.
    FenceEnoughCopies,
    /// … and in more than half; broken: n − k + 1 are enough.
    FenceMoreThanHalf,
    /// Fences are never deleted; broken: collection takes them before the next epoch's first object is there.
    FencesStay,
    /// A fence counts once neither a merged object nor a note covers its number; broken: as soon as it is there.
    FenceIsLookedAtAgain,
    /// The end of an epoch is looked for after what is merged or expired; broken: from number 1 on.
    EndIsFoundPastMerged,
    /// A lost answer is read back; broken: it is a failure, and other bytes get the number.
    LostAnswersAreReadBack,
    /// An ack counts once the copy has shown it; broken: once the request is sent.
    AckNeedsProof,
    /// Parts go once the merged object is in the same copy; broken: once home has it.
    MergedBeforePartsGo,
    /// Whoever finds a merged number taken plans anew; broken: takes the next number for the same parts.
    MergedNumberIsPlannedAgain,
    /// The newest batch is never merged nor expired; broken: it is.
    NewestStays,
    /// A note says what goes before it goes; broken: no note.
    NoteBeforeDeletion,
}

/// How far the model goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) copies: u8,
    pub(crate) needed: u8,
    pub(crate) takers: u8,
    pub(crate) mergers: u8,
    /// Batches that the old writer seals.
    pub(crate) numbers: u8,
    /// Answers that get lost, in all.
    pub(crate) losses: u8,
    /// Times that the old writer or a takeover dies and begins again.
    pub(crate) crashes: u8,
    pub(crate) retention: bool,
    pub(crate) broken: Option<Rule>,
}

impl Bounds {
    pub(crate) fn keeps(&self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }

    /// Copies that a takeover must have fenced itself.
    pub(crate) fn fences(&self) -> usize {
        let (n, k) = (usize::from(self.copies), usize::from(self.needed));
        let stop = if self.keeps(Rule::FenceEnoughCopies) { n - k + 1 } else { k };
        let half = n / 2 + 1;
        if self.keeps(Rule::FenceMoreThanHalf) && self.keeps(Rule::FenceEnoughCopies) {
            stop.max(half)
        } else {
            stop
        }
    }

    pub(crate) fn copies(&self) -> std::ops::Range<usize> {
        0..usize::from(self.copies)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Slot {
    #[default]
    Empty,
    /// A batch with one of two contents: one number must never have both.
    Batch(bool),
    /// The fence of a takeover.
    Fence(u8),
}

/// What one store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Copy {
    pub(crate) slots: [Slot; SLOTS],
    /// Merged objects by number: first and last part; (0, 0) if there is none.
    pub(crate) merged: [(u8, u8); 2],
    /// The note: numbers up to this one are expired.
    pub(crate) expired: u8,
    /// Whose first object of the next epoch is there.
    pub(crate) begun: Option<u8>,
    /// A request of the writer that may land yet: number and content.
    pub(crate) late_batch: Option<(u8, bool)>,
    /// A fence that may land yet: number and takeover.
    pub(crate) late_fence: Option<(u8, u8)>,
}

impl Copy {
    pub(crate) fn at(&self, number: u8) -> Slot {
        self.slots[usize::from(number) - 1]
    }

    /// Put if absent.
    pub(crate) fn create(&mut self, number: u8, what: Slot) {
        let slot = &mut self.slots[usize::from(number) - 1];
        if *slot == Slot::Empty {
            *slot = what;
        }
    }

    /// The last number that merged objects or the note speak for.
    pub(crate) fn covered(&self) -> u8 {
        self.merged.iter().map(|(_, last)| *last).max().unwrap_or(0).max(self.expired)
    }

    pub(crate) fn is_merged(&self, number: u8) -> bool {
        self.merged.iter().any(|(first, last)| (*first..=*last).contains(&number))
    }

    pub(crate) fn has(&self, number: u8) -> bool {
        matches!(self.at(number), Slot::Batch(_)) || number > 0 && self.is_merged(number)
    }

    /// The next number, by name alone, and whether a fence stands before it.
    pub(crate) fn end(&self, bounds: &Bounds) -> (u8, bool) {
        let floor = if bounds.keeps(Rule::EndIsFoundPastMerged) { self.covered() } else { 0 };
        let mut next = floor + 1;
        while usize::from(next) <= SLOTS && self.at(next) != Slot::Empty {
            next += 1;
        }
        (next, next > floor + 1 && matches!(self.at(next - 1), Slot::Fence(_)))
    }

    /// The highest batch under its own name.
    pub(crate) fn newest(&self) -> u8 {
        (1..=SLOTS as u8).rev().find(|number| matches!(self.at(*number), Slot::Batch(_))).unwrap_or(0)
    }
}

/// The old writer's exchange with one copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Lane {
    /// The number it sends next; 0 until it has looked.
    pub(crate) next: u8,
    /// The answer to sending it got lost.
    pub(crate) lost: bool,
    pub(crate) acked: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Writer {
    /// Batches sealed and spooled; their contents.
    pub(crate) sealed: u8,
    pub(crate) contents: [bool; NUMBERS],
    pub(crate) lanes: [Lane; COPIES],
    pub(crate) fenced: bool,
    /// The highest number it was ever told to be protected.
    pub(crate) told: u8,
}

/// How far a takeover is with one copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Fencing {
    #[default]
    Unasked,
    /// It will create its fence at this number.
    At(u8),
    /// The answer to creating it got lost.
    Lost(u8),
    /// A fence is there; whether it counts is looked at next. True if it is its own.
    Placed(u8, bool),
    Fenced(u8, bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Phase {
    #[default]
    Fencing,
    /// It has fenced enough: the history ends with this number.
    Beginning(u8),
    /// The next epoch is its own.
    Done(u8),
    /// Another was quicker.
    GivenUp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Taker {
    pub(crate) copies: [Fencing; COPIES],
    pub(crate) phase: Phase,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct State {
    pub(crate) copies: [Copy; COPIES],
    pub(crate) writer: Writer,
    pub(crate) takers: [Taker; TAKERS],
    /// What each merger is about to put at home: number of the merged object (from 1), first and last part.
    pub(crate) plans: [Option<(u8, u8, u8)>; MERGERS],
    pub(crate) losses: u8,
    pub(crate) crashes: u8,
}

impl State {
    /// What is wrong with this state, if something is.
    pub(crate) fn judge(&self, bounds: &Bounds) -> Option<String> {
        let told = self.writer.told;
        let ends = self.takers.iter().filter_map(|taker| match taker.phase {
            Phase::Done(end) => Some(end),
            _ => None,
        });
        for (index, end) in ends.enumerate() {
            if index > 0 {
                return Some("two takeovers own one epoch".to_owned());
            }
            if told > end {
                return Some(format!(
                    "{told} was told to be protected, the history that goes on ends with {end}"
                ));
            }
        }
        for number in 1..=SLOTS as u8 {
            let held = |content| self.copies.iter().any(|copy| copy.at(number) == Slot::Batch(content));
            if held(true) && held(false) {
                return Some(format!("number {number} has two contents"));
            }
        }
        for number in 1..=told {
            let safe = |at: &usize| self.copies[*at].has(number) || self.copies[*at].expired >= number;
            let copies = bounds.copies().filter(safe).count();
            if copies < usize::from(bounds.needed) {
                return Some(format!("{number} was told to be protected, {copies} copies have it"));
            }
        }
        bounds.copies().find_map(|at| self.judge_copy(at, bounds))
    }

    /// A reader of this copy alone gets every object up to the last one there is, and each once.
    fn judge_copy(&self, at: usize, bounds: &Bounds) -> Option<String> {
        let copy = &self.copies[at];
        let overlap = copy.merged[0].1 >= copy.merged[1].0 && copy.merged[1].0 > 0;
        if overlap {
            return Some(format!("copy {at}: merged objects overlap: {:?}", copy.merged));
        }
        let (next, fenced) = copy.end(bounds);
        let end = if fenced { next - 1 } else { next };
        if let Some(short) = (end..=SLOTS as u8).find(|number| copy.has(*number)) {
            return Some(format!("copy {at}: a reader stops before {end}, and {short} is there"));
        }
        let hole = (copy.expired + 1..end).find(|number| !copy.has(*number));
        hole.map(|number| format!("copy {at}: {number} is missing while later ones exist"))
    }
}
