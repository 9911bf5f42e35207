//! Which registered memory each TCE leads to.

use vfio_core::address::{Iova, IovaRange};
use vfio_core::iommu::Ranges;
use vfio_core::{Error, ErrorKind, Result};

use crate::CONTEXT;

/// The ranges whose TCEs are set, each with the block of registered memory that it leads to.
///
/// The kernel would not say that TCEs lead to memory that is unregistered (H3): this knows.
#[derive(Debug, Default)]
pub(super) struct Tces(Ranges<Target>);

/// Where TCEs lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// To a part of a block that was registered for any mapping: the block's first address.
    Shared(usize),
    /// To memory for which the mapping answers as a whole: the block's first address.
    Own(usize),
}

impl Tces {
    /// They are set now.
    ///
    /// # Errors
    /// Some of them were before.
    #[inline]
    pub(super) fn set(
        &mut self,
        range: IovaRange,
        target: Target,
    ) -> std::result::Result<(), IovaRange> {
        self.0.insert(range, target)
    }

    /// Where those lead that were set at once.
    #[inline]
    pub(super) fn target(&mut self, range: IovaRange) -> Option<Target> {
        self.0.get_mut(range).copied()
    }

    /// What was set at once has gone.
    #[inline]
    pub(super) fn forget(&mut self, range: IovaRange) {
        self.0.remove(range);
    }

    /// Whether any of them is.
    pub(super) fn is_set(&self, range: IovaRange) -> bool {
        self.0.overlapping(range).is_some()
    }

    /// Refuses to clear a part of what can only go as a whole.
    pub(super) fn check_clear(&mut self, range: IovaRange) -> Result<()> {
        let parts = self.overlapping(range).into_iter();
        let mut parts = parts.filter(|(_, target)| matches!(target, Target::Own(_)));
        match parts.find(|(whole, _)| !range.contains(*whole)) {
            None => Ok(()),
            Some((whole, _)) => Err(
                Error::new(ErrorKind::Unsupported, "unmap a part in", CONTEXT)
                    .at(range)
                    .because(format!("the memory of {whole} was registered for it alone")),
            ),
        }
    }

    /// Refuses what was registered for one mapping alone.
    pub(super) fn check_shared(&mut self, range: IovaRange) -> Result<()> {
        let mut there = self.overlapping(range).into_iter();
        match there.find(|(_, target)| matches!(target, Target::Own(_))) {
            None => Ok(()),
            Some((whole, _)) => Err(Error::new(ErrorKind::Unsupported, "hand over", CONTEXT)
                .at(whole)
                .because("its memory was registered for it alone")),
        }
    }

    /// They are clear now, but for what is whole: answers the ranges of those, which are for the caller to
    /// [forget](Self::forget), and how many runs there are more or fewer that lead to each shared block.
    pub(super) fn clear(&mut self, range: IovaRange) -> Cleared {
        let mut cleared = Cleared::default();
        for (run, target) in self.overlapping(range) {
            let block = match target {
                Target::Own(block) => {
                    cleared.own.push((run, block));
                    continue;
                }
                Target::Shared(block) => block,
            };
            self.0.remove(run);
            let mut change = -1;
            let before = range.first().0.checked_sub(1).map(Iova);
            let before = before.and_then(|last| IovaRange::inclusive(run.first(), last));
            let after = range.last().0.checked_add(1).map(Iova);
            let after = after.and_then(|first| IovaRange::inclusive(first, run.last()));
            for rest in before.into_iter().chain(after) {
                // Nothing is in the way: it was all one.
                change += isize::from(self.0.insert(rest, target).is_ok());
            }
            cleared.shared.push((block, change));
        }
        cleared
    }

    /// The runs that have an address in a range, the lowest first.
    fn overlapping(&mut self, range: IovaRange) -> Vec<(IovaRange, Target)> {
        let edge = IovaRange::new(range.first(), 1);
        let before = edge.and_then(|edge| self.0.overlapping(edge));
        let before = before.filter(|it| it.first() < range.first());
        let before = before.and_then(|run| Some((run, *self.0.get_mut(run)?)));
        let inside = self.0.starting_in(range).into_iter();
        let inside = inside.map(|(run, target)| (run, *target));
        before.into_iter().chain(inside).collect()
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
        tces.set(pages(4, 8), Target::Shared(7)).unwrap();
        tces.set(pages(12, 1), Target::Shared(9)).unwrap();
        assert_eq!(tces.clear(pages(0, 4)).shared, []);
        assert_eq!(tces.clear(pages(6, 2)).shared, [(7, 1)], "two of one");
        assert_eq!(tces.clear(pages(6, 2)).shared, []);
        assert_eq!(tces.clear(pages(4, 1)).shared, [(7, 0)]);
        assert_eq!(tces.clear(pages(11, 2)).shared, [(7, 0), (9, -1)]);
        assert_eq!(tces.clear(pages(0, 64)).shared, [(7, -1), (7, -1)]);
        assert!(tces.0.is_empty());
        tces.set(pages(4, 8), Target::Shared(7)).unwrap();
        assert_eq!(tces.clear(pages(4, 8)).shared, [(7, -1)]);
        assert!(tces.0.is_empty());
    }

    #[test]
    fn what_is_whole_is_cleared_as_a_whole() {
        let mut tces = Tces::default();
        tces.set(pages(4, 8), Target::Own(7)).unwrap();
        tces.set(pages(20, 1), Target::Own(9)).unwrap();
        for part in [pages(4, 1), pages(11, 1), pages(5, 2), pages(11, 10)] {
            let error = tces.check_clear(part).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        }
        for whole in [pages(4, 8), pages(0, 30), pages(12, 8), pages(12, 9)] {
            tces.check_clear(whole).unwrap();
        }
        assert_eq!(tces.clear(pages(4, 8)).own, [(pages(4, 8), 7)]);
        let both = tces.clear(pages(0, 30));
        assert_eq!(both.own, [(pages(4, 8), 7), (pages(20, 1), 9)]);
        tces.forget(pages(4, 8));
        assert_eq!(tces.clear(pages(4, 8)).own, []);
    }
}
