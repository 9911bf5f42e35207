//! B18 to B35, H7 and H8: type1.

mod attach;
mod dirty;
mod dirty_bits;
mod extension;
mod forget;
mod info;
mod last_page;
mod limit;
mod map;
mod pin;
mod reach;
mod release;
mod renew;
mod structs;
mod unmap;
mod unmap_v1;

use vfio_core::kernel::{Errno, Result};

use crate::conformance::clause::Clause;
use crate::conformance::host::Host;
use crate::conformance::memory::Memory;
use crate::conformance::raw::{BOTH, map, unmap};
use crate::conformance::rig::Rig;

pub(super) const CLAUSES: &[&[Clause]] = &[
    extension::CLAUSES,
    attach::CLAUSES,
    structs::CLAUSES,
    map::CLAUSES,
    limit::CLAUSES,
    pin::CLAUSES,
    unmap::CLAUSES,
    unmap_v1::CLAUSES,
    forget::CLAUSES,
    renew::CLAUSES,
    info::CLAUSES,
    dirty::CLAUSES,
    dirty_bits::CLAUSES,
    release::CLAUSES,
    last_page::CLAUSES,
];

/// A group in a container of version 2, and so many pages of memory.
fn rig(host: &Host, pages: usize) -> (Rig, Memory) {
    (host.rig(), host.memory(pages))
}

/// Maps so many bytes of memory from its start on, to be read and written.
fn put(rig: &Rig, iova: u64, memory: &Memory, size: u64) -> Result<u32> {
    map(
        rig.kernel(),
        &rig.container,
        (iova, memory.at(), size),
        BOTH,
    )
}

/// Unmaps with these flags.
fn take(rig: &Rig, range: (u64, u64), flags: u32) -> (Result<u32>, u64) {
    unmap(rig.kernel(), &rig.container, range, flags)
}

/// What an unmap that is refused answers: the size in the struct stays.
fn refused(size: u64) -> (Result<u32>, u64) {
    (Err(Errno::INVAL), size)
}

/// How many mappings can still be made.
fn entries_left(rig: &Rig) -> u32 {
    info::Info::of(rig).entries_left()
}
