//! What the fds and addresses in a call's argument stand for: objects, and memories, by the order of their coming.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr::NonNull;

use zerocopy::FromBytes;

use super::objects::Tag;
use super::trace::{Field, Scope, fields};

/// The objects that were opened, and the memories that were mapped.
#[derive(Debug, Default)]
pub(crate) struct Places {
    fds: Vec<RawFd>,
    memories: Vec<Memory>,
}

#[derive(Debug)]
struct Memory {
    start: usize,
    len: usize,
    is_there: bool,
}

impl Places {
    /// A new object: its number is how many there were before.
    pub(crate) fn opened(&mut self, fd: BorrowedFd<'_>) {
        self.fds.push(fd.as_raw_fd());
    }

    /// A new memory, likewise.
    pub(crate) fn mapped(&mut self, addr: NonNull<u8>, len: usize) {
        self.memories.push(Memory {
            start: addr.addr().get(),
            len,
            is_there: true,
        });
    }

    /// The memory that starts there was given back.
    pub(crate) fn unmapped(&mut self, addr: NonNull<u8>) {
        let starts_there = |it: &&mut Memory| it.is_there && it.start == addr.addr().get();
        if let Some(memory) = self.memories.iter_mut().find(starts_there) {
            memory.is_there = false;
        }
    }

    /// The object with that number; the newest, for the older ones must have been closed.
    pub(crate) fn tag(&self, fd: RawFd) -> Option<Tag> {
        let found = self.fds.iter().rposition(|opened| *opened == fd)?;
        Some(found as Tag)
    }

    /// An address: `m0+0x1000`, or `m0` where the place in it is left out, for it can differ from run to run; `nowhere` for that of nothing, `?` for one that is not known.
    pub(crate) fn address(&self, addr: u64, scope: Scope) -> String {
        if addr == 0 {
            return "nowhere".to_owned();
        }
        let offset_in = |memory: &Memory| {
            let offset = usize::try_from(addr).ok()?.checked_sub(memory.start)?;
            (memory.is_there && offset < memory.len).then_some(offset)
        };
        let mut places = self.memories.iter().enumerate();
        let found = places.find_map(|(n, memory)| Some((n, offset_in(memory)?)));
        let Some((n, offset)) = found else {
            return "?".to_owned();
        };
        match scope {
            Scope::Everything => format!("m{n}"),
            Scope::Public => format!("m{n}+{offset:#x}"),
        }
    }

    /// What the masked parts of an argument stand for, in their order.
    pub(crate) fn names(&self, call: &str, bytes: &[u8], scope: Scope) -> Vec<String> {
        let fields = fields(call, bytes);
        let name = |field: &Field| {
            let value = &bytes[field.place(bytes)?];
            Some(match field {
                Field::Address(_) => self.address(u64::read_from_bytes(value).ok()?, scope),
                Field::Fd(_) => match self.tag(RawFd::read_from_bytes(value).ok()?) {
                    Some(tag) => format!("#{tag}"),
                    None => "?".to_owned(),
                },
            })
        };
        fields.iter().filter_map(name).collect()
    }
}
