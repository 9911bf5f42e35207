//! Which registered memory each TCE leads to.

use std::collections::BTreeMap;

use vfio_core::address::{Iova, IovaRange};
use vfio_core::{Error, ErrorKind, Result};

use crate::CONTEXT;

/// The ranges whose TCEs are set, by their first address, each with the block of registered memory that it leads to.
///
/// The kernel would not say that TCEs lead to memory that is unregistered (H3): this knows.
#[derive(Debug, Default)]
pub(super) struct Tces(BTreeMap<Iova, Run>);

#[derive(Debug, Clone, Copy)]
struct Run {
    last: Iova,
    target: Target,
}

/// Where TCEs lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// To a part of a block that was registered for any mapping: the block's first address.
    Shared(usize),
    /// To memory for which the mapping answers as a whole: the block's first address.
    Own(usize),
}

impl Tces {
    /// They are set now. They were not before.
    pub(super) fn set(&mut self, range: IovaRange, target: Target) {
        let last = range.last();
        self.0.insert(range.first(), Run { last, target });
    }

    /// Refuses to clear a part of what can only go as a whole.
    pub(super) fn check_clear(&self, range: IovaRange) -> Result<()> {
        let parts = self.overlapping(range);
        let mut parts = parts.filter(|(_, run)| matches!(run.target, Target::Own(_)));
        match parts.find(|(first, run)| *first < range.first() || run.last > range.last()) {
            None => Ok(()),
            Some((first, run)) => {
                let whole = format!("[{first}-{}]", run.last);
                Err(
                    Error::new(ErrorKind::Unsupported, "unmap a part in", CONTEXT)
                        .at(range)
                        .because(format!("the memory of {whole} was registered for it alone")),
                )
            }
        }
    }

    /// They are clear now, but for what is whole: answers the ranges of those, which are for the caller to
    /// [forget](Self::forget), and how many runs there are more or fewer that lead to each shared block.
    pub(super) fn clear(&mut self, range: IovaRange) -> Cleared {
        let mut cleared = Cleared::default();
        // The usual way: exactly what was set.
        if let Some(run) = self.0.get(&range.first()) {
            if run.last == range.last() {
                match run.target {
                    Target::Own(block) => cleared.own.push((range, block)),
                    Target::Shared(block) => {
                        self.0.remove(&range.first());
                        cleared.shared.push((block, -1));
                    }
                }
                return cleared;
            }
        }
        let inside: Vec<_> = self.overlapping(range).collect();
        for (first, run) in inside {
            let block = match run.target {
                Target::Own(block) => {
                    let own = IovaRange::inclusive(first, run.last);
                    cleared.own.extend(own.map(|own| (own, block)));
                    continue;
                }
                Target::Shared(block) => block,
            };
            self.0.remove(&first);
            let mut change = -1;
            let before = range.first().0.checked_sub(1).map(Iova);
            if let Some(last) = before.filter(|_| first < range.first()) {
                self.0.insert(first, Run { last, ..run });
                change += 1;
            }
            let after = range.last().0.checked_add(1).map(Iova);
            if let Some(after) = after.filter(|_| run.last > range.last()) {
                self.0.insert(after, run);
                change += 1;
            }
            cleared.shared.push((block, change));
        }
        cleared
    }

    /// What goes as a whole has gone.
    pub(super) fn forget(&mut self, own: IovaRange) {
        self.0.remove(&own.first());
    }

    /// The runs that have an address in a range, the highest first.
    fn overlapping(&self, range: IovaRange) -> impl Iterator<Item = (Iova, Run)> {
        let until = self.0.range(..=range.last()).rev();
        let until = until.map(|(first, run)| (*first, *run));
        until.take_while(move |(_, run)| run.last >= range.first())
    }
}

/// What came of clearing.
#[derive(Debug, Default)]
pub(super) struct Cleared {
    /// What was registered for one mapping alone, and its block.
    pub(super) own: Vec<(IovaRange, usize)>,
    /// Blocks, and how many runs more lead there.
    pub(super) shared: Vec<(usize, isize)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(first: u64, count: u64) -> IovaRange {
        IovaRange::new(Iova(first << 12), count << 12).unwrap()
    }

    #[test]
    fn what_is_shared_is_cleared_in_parts() {
        let mut tces = Tces::default();
        tces.set(pages(4, 8), Target::Shared(7));
        tces.set(pages(12, 1), Target::Shared(9));
        assert_eq!(tces.clear(pages(0, 4)).shared, []);
        assert_eq!(tces.clear(pages(6, 2)).shared, [(7, 1)], "two of one");
        assert_eq!(tces.clear(pages(6, 2)).shared, []);
        assert_eq!(tces.clear(pages(4, 1)).shared, [(7, 0)]);
        assert_eq!(tces.clear(pages(11, 2)).shared, [(9, -1), (7, 0)]);
        assert_eq!(tces.clear(pages(0, 64)).shared, [(7, -1), (7, -1)]);
        assert_eq!(tces.0.len(), 0);
        tces.set(pages(4, 8), Target::Shared(7));
        assert_eq!(tces.clear(pages(4, 8)).shared, [(7, -1)]);
        assert_eq!(tces.0.len(), 0);
    }

    #[test]
    fn what_is_whole_is_cleared_as_a_whole() {
        let mut tces = Tces::default();
        tces.set(pages(4, 8), Target::Own(7));
        tces.set(pages(20, 1), Target::Own(9));
        for part in [pages(4, 1), pages(11, 1), pages(5, 2), pages(11, 10)] {
            let error = tces.check_clear(part).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        }
        for whole in [pages(4, 8), pages(0, 30), pages(12, 8), pages(12, 9)] {
            tces.check_clear(whole).unwrap();
        }
        assert_eq!(tces.clear(pages(4, 8)).own, [(pages(4, 8), 7)]);
        let both = tces.clear(pages(0, 30));
        assert_eq!(both.own, [(pages(20, 1), 9), (pages(4, 8), 7)]);
        tces.forget(pages(4, 8));
        assert_eq!(tces.clear(pages(4, 8)).own, []);
    }
}
