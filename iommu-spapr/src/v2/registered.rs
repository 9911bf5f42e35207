//! The memory that is registered: pinned whole host pages, which mappings use.

use std::collections::BTreeMap;

use vfio_core::address::{HostRange, Iova};
use vfio_core::{Error, ErrorKind, Result};

use crate::CONTEXT;

/// The registered blocks by their address. No two overlap: the kernel knows a block only by the exact range
/// that was registered.
///
/// The kernel translates into the pages that were there when a block was registered, whatever the process
/// has put at those addresses since. Only a live mapping promises that the memory below it is still the
/// same; so a block is used again only for memory that lies inside that of one live mapping.
#[derive(Debug, Default)]
pub(crate) struct Registered(BTreeMap<usize, Block>);

#[derive(Debug)]
struct Block {
    range: HostRange,
    /// The whole host pages below each mapping that answers for its memory itself, by the mapping's first address.
    users: BTreeMap<Iova, HostRange>,
    /// Those that somebody has registered as a whole, as often.
    held: Vec<HostRange>,
    /// How many runs of TCEs lead to what is held. Where there is none, nor a user, nor anybody who holds it, the kernel did
    /// not take the block back.
    runs: usize,
}

impl Block {
    fn is_unused(&self) -> bool {
        self.users.is_empty() && self.held.is_empty() && self.runs == 0
    }

    fn is_held(&self, pages: HostRange) -> bool {
        self.held.iter().any(|it| it.contains(pages))
    }

    /// Whether somebody promises that all of this memory is what was registered.
    fn serves(&self, pages: HostRange) -> bool {
        self.is_held(pages) || self.users.values().any(|it| it.contains(pages))
    }
}

impl Registered {
    /// The block of memory that is held as a whole.
    #[inline]
    pub(crate) fn held(&self, memory: HostRange, host_page: usize) -> Option<usize> {
        let (_, block) = self.0.range(..=memory.addr()).next_back()?;
        let is_held =
            block.range.contains(memory) && block.is_held(whole_pages(memory, host_page).ok()?);
        is_held.then_some(block.range.addr())
    }

    /// So many more runs of TCEs lead to what is held of a block, or fewer.
    #[inline]
    pub(crate) fn count(&mut self, block: usize, change: isize) {
        if let Some(block) = self.0.get_mut(&block) {
            block.runs = block.runs.saturating_add_signed(change);
        }
    }

    /// Makes the mapping that starts at `user` a user of `memory`; where no block holds it, `register` is
    /// called for a new one. Where a block that nobody uses is in the way, `unregister` is tried again.
    /// Answers the block.
    pub(crate) fn acquire(
        &mut self,
        user: Iova,
        memory: HostRange,
        host_page: usize,
        register: impl FnOnce(HostRange) -> Result<()>,
        unregister: impl FnMut(HostRange) -> Result<()>,
    ) -> Result<HostRange> {
        let wanted = whole_pages(memory, host_page)?;
        let block = self.block_for(wanted, register, unregister)?;
        block.users.insert(user, wanted);
        Ok(block.range)
    }

    /// Registers memory as a whole, so that parts of it can be mapped, as they come.
    pub(crate) fn hold(
        &mut self,
        memory: HostRange,
        host_page: usize,
        register: impl FnOnce(HostRange) -> Result<()>,
        unregister: impl FnMut(HostRange) -> Result<()>,
    ) -> Result<()> {
        let wanted = whole_pages(memory, host_page)?;
        let block = self.block_for(wanted, register, unregister)?;
        block.held.push(wanted);
        Ok(())
    }

    /// Undoes [`hold`](Self::hold) of the same memory once, as [`release`](Self::release) does of a mapping; not while TCEs
    /// lead there, which the kernel would not say (H3).
    pub(crate) fn let_go(
        &mut self,
        memory: HostRange,
        host_page: usize,
        unregister: impl FnOnce(HostRange) -> Result<()>,
    ) -> Result<()> {
        let held = whole_pages(memory, host_page)?;
        let Some(block) = self.overlapping(held) else {
            return Ok(());
        };
        let is_last = block.held.len() == 1;
        if is_last && block.runs > 0 {
            return Err(Error::new(ErrorKind::Busy, "unregister memory in", CONTEXT)
                .of_memory(held)
                .because(format!("{} ranges of TCEs lead there", block.runs)));
        }
        if let Some(at) = block.held.iter().position(|it| *it == held) {
            block.held.swap_remove(at);
        }
        let range = block.range;
        self.give_back(range, unregister)
    }

    /// The block that serves these pages; a new one, if nothing is in the way.
    fn block_for(
        &mut self,
        wanted: HostRange,
        register: impl FnOnce(HostRange) -> Result<()>,
        mut unregister: impl FnMut(HostRange) -> Result<()>,
    ) -> Result<&mut Block> {
        let in_the_way = |why: String| {
            Error::new(ErrorKind::Overlap, "register memory in", CONTEXT)
                .of_memory(wanted)
                .because(why)
        };
        let at = loop {
            let Some(block) = self.overlapping(wanted) else {
                register(wanted)?;
                break wanted.addr();
            };
            let range = block.range;
            if block.is_unused() {
                unregister(range).map_err(|error| {
                    in_the_way(format!(
                        "what was there before is still registered as {range}, and the kernel does not \
                         take that back"
                    ))
                    .caused_by(vec![error])
                })?;
                self.0.remove(&range.addr());
            } else if block.serves(wanted) {
                break range.addr();
            } else {
                return Err(in_the_way(format!(
                    "a part of it is registered as {range}, and no one mapping that uses this holds all \
                     that is wanted, which may have been replaced since"
                )));
            }
        };
        Ok(self.0.entry(at).or_insert_with(|| Block {
            range: wanted,
            users: BTreeMap::new(),
            held: Vec::new(),
            runs: 0,
        }))
    }

    /// Takes a user away; with the last, `unregister` is called. If that fails the block stays without
    /// users, and the same call tries again.
    pub(crate) fn release(
        &mut self,
        user: Iova,
        block: usize,
        unregister: impl FnOnce(HostRange) -> Result<()>,
    ) -> Result<()> {
        let Some(found) = self.0.get_mut(&block) else {
            return Ok(());
        };
        found.users.remove(&user);
        let range = found.range;
        self.give_back(range, unregister)
    }

    /// Unregisters a block that nobody uses.
    fn give_back(
        &mut self,
        block: HostRange,
        unregister: impl FnOnce(HostRange) -> Result<()>,
    ) -> Result<()> {
        if self.0.get(&block.addr()).is_some_and(Block::is_unused) {
            unregister(block)?;
            self.0.remove(&block.addr());
        }
        Ok(())
    }

    /// A block that overlaps `wanted`: of those, the last.
    fn overlapping(&mut self, wanted: HostRange) -> Option<&mut Block> {
        self.0
            .range_mut(..=wanted.last())
            .next_back()
            .map(|(_, block)| block)
            .filter(|block| block.range.overlaps(wanted))
    }
}

/// The host pages that hold `memory`.
fn whole_pages(memory: HostRange, host_page: usize) -> Result<HostRange> {
    let start = memory.addr() - memory.addr() % host_page;
    memory
        .last()
        .checked_add(1)
        .and_then(|end| end.checked_next_multiple_of(host_page))
        .and_then(|end| HostRange::new(start, end - start))
        .ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "register memory in", CONTEXT)
                .of_memory(memory)
                .because("its last page is the last of the address space")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(addr: usize, len: usize) -> HostRange {
        HostRange::new(addr, len).unwrap()
    }

    fn refusal() -> Error {
        Error::new(ErrorKind::Kernel, "test", "memory")
    }

    /// The calls that were made.
    #[derive(Default)]
    struct Calls {
        registered: Vec<HostRange>,
        unregistered: Vec<HostRange>,
        refuse_unregister: bool,
    }

    impl Calls {
        fn unregister(&mut self, block: HostRange) -> Result<()> {
            self.unregistered.push(block);
            if self.refuse_unregister {
                return Err(refusal());
            }
            Ok(())
        }

        fn acquire(
            &mut self,
            registered: &mut Registered,
            user: u64,
            memory: HostRange,
        ) -> Result<HostRange> {
            let mut made = None;
            let block = registered.acquire(
                Iova(user),
                memory,
                0x10000,
                |block| {
                    made = Some(block);
                    Ok(())
                },
                |block| self.unregister(block),
            );
            self.registered.extend(made);
            block
        }

        fn release(
            &mut self,
            registered: &mut Registered,
            user: u64,
            block: HostRange,
        ) -> Result<()> {
            registered.release(Iova(user), block.addr(), |block| self.unregister(block))
        }
    }

    #[test]
    fn whole_host_pages_are_registered_once_and_unregistered_with_the_last_user() {
        let (mut registered, mut calls) = (Registered::default(), Calls::default());
        let books = &mut registered;
        let block = calls.acquire(books, 0, memory(0x5_1000, 0x1000)).unwrap();
        assert_eq!(block, memory(0x5_0000, 0x1_0000));
        let again = calls.acquire(books, 1, memory(0x5_f000, 0x1000)).unwrap();
        assert_eq!(again, block);
        let error = calls
            .acquire(books, 2, memory(0x5_f000, 0x2000))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overlap);
        calls.acquire(books, 3, memory(0x6_0000, 0x1000)).unwrap();
        assert_eq!(calls.registered, [block, memory(0x6_0000, 0x1_0000)]);

        calls.release(books, 0, block).unwrap();
        assert_eq!(calls.unregistered, []);
        calls.release(books, 1, block).unwrap();
        assert_eq!(calls.unregistered, [block]);
    }

    #[test]
    fn a_block_serves_only_memory_inside_that_of_one_live_user() {
        let (mut registered, mut calls) = (Registered::default(), Calls::default());
        let books = &mut registered;
        let (whole, half) = (memory(0x10_0000, 0x4_0000), memory(0x10_0000, 0x2_0000));
        let other_half = memory(0x12_0000, 0x2_0000);
        let block = calls.acquire(books, 0, whole).unwrap();
        for (user, memory) in [(1, half), (2, other_half), (3, whole)] {
            assert_eq!(calls.acquire(books, user, memory).unwrap(), block);
        }
        calls.release(books, 3, block).unwrap();
        calls.release(books, 2, block).unwrap();
        calls.release(books, 0, block).unwrap();
        for refused in [other_half, whole] {
            let error = calls.acquire(books, 4, refused).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Overlap, "{error}");
        }
        assert_eq!(calls.acquire(books, 4, half).unwrap(), block);
        calls.release(books, 4, block).unwrap();
        assert_eq!(calls.registered, [block]);
        assert_eq!(calls.unregistered, []);
        calls.release(books, 1, block).unwrap();
        assert_eq!(calls.unregistered, [block]);
    }

    #[test]
    fn a_block_that_was_not_taken_back_is_tried_again_before_its_place_is_used() {
        let (mut registered, mut calls) = (Registered::default(), Calls::default());
        let books = &mut registered;
        let low = calls.acquire(books, 0, memory(0x5_0000, 1)).unwrap();
        let high = calls.acquire(books, 1, memory(0x6_0000, 1)).unwrap();
        calls.refuse_unregister = true;
        calls.release(books, 0, low).unwrap_err();
        calls.release(books, 0, low).unwrap_err();
        calls.release(books, 1, high).unwrap_err();
        assert_eq!(calls.unregistered, [low, low, high]);

        let both = memory(0x5_0000, 0x2_0000);
        let error = calls.acquire(books, 2, both).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overlap);
        assert_eq!(error.causes().len(), 1);
        calls.refuse_unregister = false;
        calls.unregistered.clear();
        assert_eq!(calls.acquire(books, 2, both).unwrap(), both);
        assert_eq!(calls.unregistered, [high, low]);
        // The late second try of a user that is gone takes nothing from the new one.
        calls.release(books, 0, low).unwrap();
        assert_eq!(calls.unregistered, [high, low]);
    }

    /// H3
    #[test]
    fn a_block_to_which_tces_lead_is_not_given_back() {
        let (mut registered, mut calls) = (Registered::default(), Calls::default());
        let block = memory(0x10_0000, 0x4_0000);
        for _ in 0..2 {
            let hold = registered.hold(block, 0x10000, |_| Ok(()), |_| Ok(()));
            hold.unwrap();
        }
        let part = memory(0x11_1000, 0x1000);
        assert_eq!(registered.held(part, 0x10000), Some(block.addr()));
        for outside in [memory(0xf_f000, 0x2000), memory(0x13_f000, 0x2000)] {
            assert_eq!(registered.held(outside, 0x10000), None);
        }
        registered.count(block.addr(), 1);
        let mut let_go = |registered: &mut Registered| {
            registered.let_go(block, 0x10000, |block| calls.unregister(block))
        };
        let_go(&mut registered).unwrap(); // somebody else holds it
        let error = let_go(&mut registered).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
        registered.count(block.addr(), -1);
        let_go(&mut registered).unwrap();
        assert_eq!(calls.unregistered, [block]);
        assert_eq!(registered.held(part, 0x10000), None);
    }

    #[test]
    fn a_block_that_was_not_registered_is_not_remembered() {
        let mut registered = Registered::default();
        let refused = registered.acquire(
            Iova(0),
            memory(0, 1),
            0x10000,
            |_| Err(refusal()),
            |_| panic!("nothing was registered"),
        );
        assert!(refused.is_err());
        let mut calls = Calls::default();
        calls.acquire(&mut registered, 0, memory(0, 1)).unwrap();
        assert_eq!(calls.registered.len(), 1);
    }
}
