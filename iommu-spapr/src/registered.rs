//! The memory that is registered: pinned whole host pages, which mappings use.

use std::collections::BTreeMap;

use vfio_core::address::HostRange;
use vfio_core::{Error, ErrorKind, Result};

use crate::CONTEXT;

/// The registered blocks by their address, each with how many mappings use it. No two overlap: the kernel
/// knows a block only by the exact range that was registered.
#[derive(Debug, Default)]
pub(crate) struct Registered(BTreeMap<usize, Block>);

#[derive(Debug)]
struct Block {
    range: HostRange,
    users: usize,
}

impl Registered {
    /// Counts one more mapping of `memory`; where no block holds it, `register` is called for a new one.
    /// Answers the block.
    pub(crate) fn acquire(
        &mut self,
        memory: HostRange,
        host_page: usize,
        register: impl FnOnce(HostRange) -> Result<()>,
    ) -> Result<HostRange> {
        let wanted = whole_pages(memory, host_page)?;
        let overlapping = self
            .0
            .range_mut(..=wanted.last())
            .next_back()
            .map(|(_, block)| block)
            .filter(|block| block.range.overlaps(wanted));
        match overlapping {
            Some(block) if block.range.contains(wanted) => {
                block.users += 1;
                Ok(block.range)
            }
            Some(block) => Err(
                Error::new(ErrorKind::Overlap, "register memory in", CONTEXT)
                    .of_memory(wanted)
                    .because(format!(
                        "a part of it is registered as {}, and a block is registered whole",
                        block.range
                    )),
            ),
            None => {
                register(wanted)?;
                let block = Block {
                    range: wanted,
                    users: 1,
                };
                self.0.insert(wanted.addr(), block);
                Ok(wanted)
            }
        }
    }

    /// Counts one mapping less; with the last, `unregister` is called.
    pub(crate) fn release(
        &mut self,
        block: HostRange,
        unregister: impl FnOnce(HostRange) -> Result<()>,
    ) -> Result<()> {
        let Some(found) = self.0.get_mut(&block.addr()) else {
            return Ok(());
        };
        found.users = found.users.saturating_sub(1);
        if found.users > 0 {
            return Ok(());
        }
        unregister(block)?;
        self.0.remove(&block.addr());
        Ok(())
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

    #[test]
    fn whole_host_pages_are_registered_once_and_unregistered_with_the_last_user() {
        let mut registered = Registered::default();
        let mut calls = Vec::new();
        let mut acquire = |registered: &mut Registered, addr, len| {
            registered.acquire(memory(addr, len), 0x10000, |block| {
                calls.push(block);
                Ok(())
            })
        };
        let block = acquire(&mut registered, 0x5_1000, 0x1000).unwrap();
        assert_eq!(block, memory(0x5_0000, 0x1_0000));
        assert_eq!(acquire(&mut registered, 0x5_f000, 0x1000).unwrap(), block);
        let error = acquire(&mut registered, 0x5_f000, 0x2000).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overlap);
        acquire(&mut registered, 0x6_0000, 0x1000).unwrap();
        assert_eq!(calls, [block, memory(0x6_0000, 0x1_0000)]);

        registered
            .release(block, |_| panic!("another mapping uses it"))
            .unwrap();
        let mut gone = None;
        registered
            .release(block, |block| {
                gone = Some(block);
                Ok(())
            })
            .unwrap();
        assert_eq!(gone, Some(block));
    }

    #[test]
    fn a_block_that_was_not_registered_is_not_remembered() {
        let mut registered = Registered::default();
        let refuse = |_| Err(Error::new(ErrorKind::Exhausted, "test", "memory"));
        assert!(registered.acquire(memory(0, 1), 0x10000, refuse).is_err());
        let mut asked = false;
        registered
            .acquire(memory(0, 1), 0x10000, |_| {
                asked = true;
                Ok(())
            })
            .unwrap();
        assert!(asked);
    }
}
