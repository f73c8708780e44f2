//! What can happen next.

use crate::state::{Bounds, Copy, Fencing, Phase, Rule, SLOTS, Slot, State};

/// Takes the next state and how to name the step that leads there.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(State, &dyn Fn() -> String);

/// How a request fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    /// It was carried out, and its answer got lost.
    AnswerLost,
    /// Its answer got lost; it lands later, or never.
    Late,
}

const FATES: [Fate; 3] = [Fate::Answered, Fate::AnswerLost, Fate::Late];

pub(crate) fn next_states(state: &State, bounds: &Bounds, sink: Sink<'_>) {
    write(state, bounds, sink);
    for at in bounds.copies() {
        ship(state, bounds, at, sink);
        land_late(state, at, sink);
        collect(state, bounds, at, sink);
    }
    for taker in 0..usize::from(bounds.takers) {
        take_over(state, bounds, taker, sink);
    }
    for merger in 0..usize::from(bounds.mergers) {
        merge(state, bounds, merger, sink);
    }
}

fn write(state: &State, bounds: &Bounds, sink: Sink<'_>) {
    if state.writer.fenced {
        return;
    }
    if state.writer.sealed < bounds.numbers {
        let mut next = state.clone();
        next.writer.sealed += 1;
        let number = next.writer.sealed;
        sink(next, &|| format!("the writer seals {number}"));
    }
    if state.crashes < bounds.crashes && state.writer.lanes.iter().any(|lane| lane.next > 0) {
        let mut next = state.clone();
        next.crashes += 1;
        next.writer.lanes = Default::default();
        sink(next, &|| "the writer dies and begins again with its spool".to_owned());
    }
}

/// The old writer's exchange with one copy.
fn ship(state: &State, bounds: &Bounds, at: usize, sink: Sink<'_>) {
    let (writer, lane, copy) = (&state.writer, state.writer.lanes[at], state.copies[at]);
    if writer.fenced {
        return;
    }
    if lane.next == 0 {
        let (end, fenced) = copy.end(bounds);
        let mut next = state.clone();
        next.writer.fenced = fenced;
        next.writer.lanes[at].next = end;
        acked(&mut next, bounds, at, end - 1 - u8::from(fenced));
        return sink(next, &|| format!("the writer finds that copy {at} ends before {end}"));
    }
    if lane.next > writer.sealed {
        return;
    }
    let content = writer.contents[usize::from(lane.next) - 1];
    if lane.lost {
        let mut next = state.clone();
        next.writer.lanes[at].lost = false;
        if bounds.keeps(Rule::LostAnswersAreReadBack) {
            met(&mut next, bounds, at);
        } else {
            next.writer.contents[usize::from(lane.next) - 1] = !content;
        }
        return sink(next, &|| format!("the writer resolves the lost answer of {} at copy {at}", lane.next));
    }
    for fate in FATES {
        let mut next = state.clone();
        if !lose(&mut next, bounds, fate) || fate == Fate::Late && copy.late_batch.is_some() {
            continue;
        }
        match fate {
            Fate::Answered => {
                next.copies[at].create(lane.next, Slot::Batch(content));
                met(&mut next, bounds, at);
            }
            Fate::AnswerLost => {
                next.copies[at].create(lane.next, Slot::Batch(content));
                next.writer.lanes[at].lost = true;
            }
            Fate::Late => {
                next.copies[at].late_batch = Some((lane.next, content));
                next.writer.lanes[at].lost = true;
            }
        }
        if fate != Fate::Answered && !bounds.keeps(Rule::AckNeedsProof) {
            acked(&mut next, bounds, at, lane.next);
        }
        sink(next, &|| format!("the writer sends {} to copy {at}: {fate:?}", lane.next));
    }
}

/// The writer looks at what stands where its batch belongs.
fn met(state: &mut State, bounds: &Bounds, at: usize) {
    let number = state.writer.lanes[at].next;
    let content = state.writer.contents[usize::from(number) - 1];
    match state.copies[at].at(number) {
        Slot::Batch(found) if found == content => {
            state.writer.lanes[at].next = number + 1;
            acked(state, bounds, at, number);
        }
        Slot::Batch(_) | Slot::Fence(_) => state.writer.fenced = true,
        Slot::Empty => {} // the same bytes are sent again
    }
}

fn acked(state: &mut State, bounds: &Bounds, at: usize, number: u8) {
    let lanes = &mut state.writer.lanes;
    lanes[at].acked = lanes[at].acked.max(number);
    let mut all: Vec<u8> = bounds.copies().map(|at| lanes[at].acked).collect();
    all.sort_unstable_by(|a, b| b.cmp(a));
    state.writer.told = state.writer.told.max(all[usize::from(bounds.needed) - 1]);
}

/// Spends a loss; false if none is left.
fn lose(state: &mut State, bounds: &Bounds, fate: Fate) -> bool {
    if fate == Fate::Answered {
        return true;
    }
    state.losses += 1;
    state.losses <= bounds.losses
}

fn land_late(state: &State, at: usize, sink: Sink<'_>) {
    if let Some((number, content)) = state.copies[at].late_batch {
        let mut next = state.clone();
        next.copies[at].late_batch = None;
        next.copies[at].create(number, Slot::Batch(content));
        sink(next, &|| format!("the late request for {number} lands at copy {at}"));
    }
    if let Some((number, taker)) = state.copies[at].late_fence {
        let mut next = state.clone();
        next.copies[at].late_fence = None;
        next.copies[at].create(number, Slot::Fence(taker));
        sink(next, &|| format!("the late fence of takeover {taker} lands at {number} of copy {at}"));
    }
}

fn take_over(state: &State, bounds: &Bounds, taker: usize, sink: Sink<'_>) {
    let me = &state.takers[taker];
    match me.phase {
        Phase::Fencing => {
            for at in bounds.copies() {
                fence(state, bounds, taker, at, sink);
            }
            decide(state, bounds, taker, sink);
        }
        Phase::Beginning(end) => {
            for at in bounds.copies() {
                begin(state, bounds, taker, at, end, sink);
            }
        }
        Phase::Done(_) | Phase::GivenUp => {}
    }
}

fn fence(state: &State, bounds: &Bounds, taker: usize, at: usize, sink: Sink<'_>) {
    let copy = &state.copies[at];
    let mut to = |fencing: Fencing, name: &dyn Fn() -> String| {
        let mut next = state.clone();
        next.takers[taker].copies[at] = fencing;
        sink(next, name);
    };
    match state.takers[taker].copies[at] {
        Fencing::Unasked => {
            let (end, fenced) = copy.end(bounds);
            let (found, own) =
                if fenced { (end - 1, copy.at(end - 1) == Slot::Fence(taker as u8)) } else { (end, false) };
            let fencing = if fenced { Fencing::Placed(found, own) } else { Fencing::At(found) };
            to(fencing, &|| format!("takeover {taker} finds that copy {at} ends before {end}"));
        }
        Fencing::At(number) if usize::from(number) > SLOTS => {}
        Fencing::At(number) => create_fence(state, bounds, taker, at, number, sink),
        Fencing::Lost(number) => {
            let found = look(copy, taker, number);
            to(found, &|| format!("takeover {taker} reads back its fence at {number} of copy {at}"));
        }
        Fencing::Placed(number, own) => {
            let void = copy.covered() >= number && bounds.keeps(Rule::FenceIsLookedAtAgain);
            let found = if void { Fencing::At(copy.covered() + 1) } else { Fencing::Fenced(number, own) };
            to(found, &|| {
                format!("takeover {taker} looks again: the fence at {number} of copy {at} is void: {void}")
            });
        }
        Fencing::Fenced(..) => {}
    }
}

fn create_fence(state: &State, bounds: &Bounds, taker: usize, at: usize, number: u8, sink: Sink<'_>) {
    for fate in FATES {
        let mut next = state.clone();
        if !lose(&mut next, bounds, fate) || fate == Fate::Late && state.copies[at].late_fence.is_some() {
            continue;
        }
        if fate == Fate::Late {
            next.copies[at].late_fence = Some((number, taker as u8));
        } else {
            next.copies[at].create(number, Slot::Fence(taker as u8));
        }
        next.takers[taker].copies[at] = if fate == Fate::Answered {
            look(&next.copies[at], taker, number)
        } else {
            Fencing::Lost(number)
        };
        sink(next, &|| format!("takeover {taker} fences copy {at} at {number}: {fate:?}"));
    }
}

/// A takeover looks at what stands where its fence belongs.
fn look(copy: &Copy, taker: usize, number: u8) -> Fencing {
    match copy.at(number) {
        Slot::Fence(whose) => Fencing::Placed(number, usize::from(whose) == taker),
        Slot::Batch(_) => Fencing::At(number + 1),
        Slot::Empty => Fencing::At(number),
    }
}

fn decide(state: &State, bounds: &Bounds, taker: usize, sink: Sink<'_>) {
    let fenced = state.takers[taker].copies.iter().filter_map(|copy| match copy {
        Fencing::Fenced(number, own) => Some((number - 1, *own)),
        _ => None,
    });
    let fenced: Vec<(u8, bool)> = fenced.collect();
    if fenced.iter().filter(|(_, own)| *own).count() >= bounds.fences() {
        let end = fenced.iter().map(|(end, _)| *end).max().unwrap_or(0);
        let mut next = state.clone();
        next.takers[taker].phase = Phase::Beginning(end);
        sink(next, &|| format!("takeover {taker} has fenced enough: the history ends with {end}"));
    }
}

/// The first object of the next epoch, put if absent in one copy after the other.
fn begin(state: &State, bounds: &Bounds, taker: usize, at: usize, end: u8, sink: Sink<'_>) {
    let mine = Some(taker as u8);
    if state.copies[at].begun == mine {
        return;
    }
    let mut next = state.clone();
    if next.copies[at].begun.is_some() {
        next.takers[taker].phase = Phase::GivenUp;
        return sink(next, &|| format!("takeover {taker} finds another's epoch in copy {at}"));
    }
    next.copies[at].begun = mine;
    if bounds.copies().filter(|at| next.copies[*at].begun == mine).count() >= bounds.fences() {
        next.takers[taker].phase = Phase::Done(end);
    }
    sink(next, &|| format!("takeover {taker} puts the next epoch's first object into copy {at}"));
}

/// Home decides what is merged; a plan may be old when it is carried out.
fn merge(state: &State, bounds: &Bounds, merger: usize, sink: Sink<'_>) {
    let home = &state.copies[0];
    if let Some((number, first, last)) = state.plans[merger] {
        let mut next = state.clone();
        let slot = usize::from(number) - 1;
        if home.merged.get(slot).is_some_and(|taken| *taken == (0, 0)) {
            next.copies[0].merged[slot] = (first, last);
            next.plans[merger] = None;
        } else if !bounds.keeps(Rule::MergedNumberIsPlannedAgain) && slot == 0 {
            next.plans[merger] = Some((number + 1, first, last));
        } else {
            next.plans[merger] = None;
        }
        return sink(next, &|| {
            format!("merger {merger} puts {first}..={last} as merged {number}, unless it is taken")
        });
    }
    let Some(number) = home.merged.iter().position(|merged| *merged == (0, 0)) else { return };
    let first = home.covered() + 1;
    let stays = u8::from(bounds.keeps(Rule::NewestStays));
    for last in first + 1..=home.newest().saturating_sub(stays) {
        if (first..=last).all(|number| matches!(home.at(number), Slot::Batch(_))) {
            let mut next = state.clone();
            next.plans[merger] = Some((number as u8 + 1, first, last));
            sink(next, &|| format!("merger {merger} plans to merge {first}..={last}"));
        }
    }
}

/// Merged objects reach the other copies; what they hold, and what is expired, goes.
fn collect(state: &State, bounds: &Bounds, at: usize, sink: Sink<'_>) {
    let copy = &state.copies[at];
    for (number, (first, last)) in state.copies[0].merged.into_iter().enumerate() {
        // Also to one that lacks the parts, or has a fence among them: it gets them this way.
        let in_order = number == 0 || copy.merged[0] != (0, 0);
        if copy.merged[number] == (0, 0) && first > 0 && in_order {
            let mut next = state.clone();
            next.copies[at].merged[number] = (first, last);
            sink(next, &|| format!("merged {} reaches copy {at}", number + 1));
        }
    }
    for number in 1..=SLOTS as u8 {
        let witness = if bounds.keeps(Rule::MergedBeforePartsGo) { copy } else { &state.copies[0] };
        let goes = match copy.at(number) {
            Slot::Batch(_) => witness.is_merged(number) || copy.expired >= number,
            Slot::Fence(_) => !bounds.keeps(Rule::FencesStay),
            Slot::Empty => false,
        };
        let unsaid = bounds.retention && !bounds.keeps(Rule::NoteBeforeDeletion) && number < copy.newest();
        if goes || unsaid && matches!(copy.at(number), Slot::Batch(_)) {
            let mut next = state.clone();
            next.copies[at].slots[usize::from(number) - 1] = Slot::Empty;
            sink(next, &|| format!("number {number} of copy {at} is deleted"));
        }
    }
    let newest = copy.newest();
    if bounds.retention && bounds.keeps(Rule::NoteBeforeDeletion) && copy.expired + 1 < newest {
        let mut next = state.clone();
        next.copies[at].expired += 1;
        let upto = next.copies[at].expired;
        sink(next, &|| format!("a note in copy {at} says that numbers up to {upto} go"));
    }
}
