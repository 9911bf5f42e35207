//! Memory that is made present, and asked for.
#![allow(unsafe_code)] // Gives memory back.

use std::ptr::NonNull;

use vfio_core::address::HostRange;
use vfio_core::kernel::{Errno, Kernel, Linux};
use vfio_sim::{Machine, SimKernel};

const PAGES: usize = 4;

#[test]
fn pages_are_there_once_they_are_populated() {
    let machines = [Machine::x86_64(), Machine::powernv9()].map(SimKernel::new);
    for kernel in machines
        .iter()
        .map(|it| it as &dyn Kernel)
        .chain([&Linux as _])
    {
        let page = kernel.page_size();
        let start = kernel.mmap(PAGES * page).unwrap();
        let pages = |first, count| {
            HostRange::new(start.as_ptr() as usize + first * page, count * page).unwrap()
        };
        let resident = || {
            let mut there = [0; PAGES];
            kernel.resident(pages(0, PAGES), &mut there).unwrap();
            there.map(|page| page & 1)
        };
        assert_eq!(resident(), [0; PAGES]);
        kernel.populate(pages(1, 1), true).unwrap();
        kernel.populate(pages(3, 1), false).unwrap();
        assert_eq!(resident(), [0, 1, 0, 1]);
        let few = kernel.resident(pages(0, PAGES), &mut [0; PAGES - 1]);
        assert_eq!(few, Err(Errno::INVAL));
        give_back(kernel, start, PAGES * page);
    }
}

#[test]
fn a_page_of_the_machine_is_there_when_all_of_it_is() {
    let sim = SimKernel::new(Machine::powernv9());
    let page = sim.page_size();
    let start = sim.mmap(page).unwrap();
    let there = || {
        let mut pages = [0];
        let memory = HostRange::new(start.as_ptr() as usize, page).unwrap();
        sim.resident(memory, &mut pages).unwrap();
        pages[0]
    };
    let host_page = Linux.page_size();
    for offset in (0..page).step_by(host_page) {
        assert_eq!(there(), 0);
        let memory = HostRange::new(start.as_ptr() as usize + offset, host_page).unwrap();
        sim.populate(memory, true).unwrap();
    }
    assert_eq!(there(), 1);
    give_back(&sim, start, page);
}

/// The first page of a process is never mapped.
#[test]
fn where_nothing_is_mapped_it_fails() {
    let nothing = HostRange::new(0, Linux.page_size()).unwrap();
    assert_eq!(Linux.populate(nothing, false), Err(Errno::NOMEM));
    assert_eq!(Linux.resident(nothing, &mut [0]), Err(Errno::NOMEM));
}

fn give_back(kernel: &dyn Kernel, start: NonNull<u8>, len: usize) {
    // SAFETY: what `mmap` gave; nobody refers to it.
    unsafe { kernel.munmap(start, len) }.unwrap();
}
