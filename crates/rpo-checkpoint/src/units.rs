//! What a restore reads: needs sorted by where they are, one unit of work per pack, frames near each other read at once.

use crate::locate::{Located, Location};
use crate::store::FrameSpot;

/// Frames closer than this are read together; what is between them is thrown away.
const GAP_BYTES: u64 = 128 << 10;
/// Most bytes read at once: with one frame, all that a worker holds.
const RUN_BYTES: u64 = 8 << 20;

/// One place in one file that a chunk belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    pub(crate) chunk: u32,
    pub(crate) file: u32,
    pub(crate) offset: u64,
}

/// Needs sorted by place, cut into one unit of work per pack.
pub(crate) struct Units {
    pub(crate) needs: Vec<Need>,
    /// Pack and range of `needs`; in the order in which their first file comes.
    pub(crate) packs: Vec<(u32, std::ops::Range<usize>)>,
    /// Needs without a place.
    pub(crate) lost: Vec<Need>,
}

impl Units {
    pub(crate) fn plan(needs: Vec<Need>, located: &Located) -> Self {
        let place = |need: &Need| located.places[need.chunk as usize];
        let (mut needs, lost): (Vec<_>, Vec<_>) = needs.into_iter().partition(|need| place(need).is_some());
        let key = |need: &Need| place(need).map(|Location { pack, frame, offset }| (pack, frame, offset));
        needs.sort_by_key(key);
        let mut packs = Vec::new();
        let mut at = 0;
        for run in needs.chunk_by(|a, b| place(a).map(|a| a.pack) == place(b).map(|b| b.pack)) {
            let pack = place(&run[0]).expect("needs without a place were set aside").pack;
            let first_file = run.iter().map(|need| need.file).min().unwrap_or(0);
            packs.push((first_file, pack, at..at + run.len()));
            at += run.len();
        }
        packs.sort_by_key(|(first_file, pack, _)| (*first_file, *pack));
        Self { needs, packs: packs.into_iter().map(|(_, pack, range)| (pack, range)).collect(), lost }
    }
}

/// Frames that are read at once: close to each other and not too many.
pub(crate) fn runs<'a, 'b>(
    frames: &'a [(FrameSpot, &'b [Need])],
) -> impl Iterator<Item = &'a [(FrameSpot, &'b [Need])]> {
    let mut rest = frames;
    std::iter::from_fn(move || {
        let (first, _) = rest.first()?;
        let mut count = 1;
        while let Some((next, _)) = rest.get(count)
            && next.offset - rest[count - 1].0.range().end <= GAP_BYTES
            && next.range().end - first.offset <= RUN_BYTES
        {
            count += 1;
        }
        let (run, after) = rest.split_at(count);
        rest = after;
        Some(run)
    })
}
