//! Memory is there before it is mapped.
#![allow(unsafe_code)] // memory that nobody can write

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ptr;
use std::thread;

use rustix::mm::{MapFlags, ProtFlags};
use vfio_core::address::HostRange;
use vfio_core::guest::{Block, Population, Progress, Section};

use crate::rig::{Asked, MIB, PAGE, Rig, absent, place, ram, read, write};

fn populated(asked: &[Asked]) -> Vec<HostRange> {
    let memory = asked.iter().filter_map(|it| match it {
        Asked::Populate(memory, ..) => Some(*memory),
        _ => None,
    });
    memory.collect()
}

fn bytes(memory: &[HostRange]) -> usize {
    memory.iter().map(|it| it.len()).sum()
}

fn is_about_memory(asked: &Asked) -> bool {
    !matches!(asked, Asked::Ioctl(_))
}

#[test]
fn memory_is_there_before_it_is_mapped_and_is_what_it_was() {
    let rig = Rig::new();
    let (ram_block, other) = (rig.block(49 * MIB + PAGE), rig.block(PAGE));
    let offset = fastrand::usize(..ram_block.range().len());
    let byte = fastrand::u8(1..);
    write(ram_block.range(), offset, byte);
    rig.want(ram_block.range());
    rig.want(other.range());
    let edit = rig.space.edit().insert(ram(1, &ram_block));
    let _ = edit.insert(ram(4, &other)).commit().unwrap();
    assert_eq!(rig.missing(), 0);
    assert_eq!(read(ram_block.range(), offset), byte);
    assert_eq!(rig.sim.mappings().len(), 2);
    let asked = rig.take();
    let first = asked.iter().position(|it| !is_about_memory(it)).unwrap();
    assert!(!asked[first..].iter().any(is_about_memory), "{asked:?}");
    let written = asked
        .iter()
        .all(|it| !matches!(it, Asked::Populate(_, false, _)));
    assert!(written, "{asked:?}");
}

#[test]
fn what_is_only_read_is_populated_so() {
    let rig = Rig::new();
    let len = 40 * MIB;
    // SAFETY: no address is asked for, so that nothing of this process is replaced.
    let start = unsafe {
        rustix::mm::mmap_anonymous(ptr::null_mut(), len, ProtFlags::READ, MapFlags::PRIVATE)
    };
    let memory = HostRange::new(start.unwrap() as usize, len).unwrap();
    // SAFETY: it is never unmapped.
    let block = unsafe { Block::new(memory, ()) };
    rig.want(memory);
    let rom = Section::rom(place(1, &block), &block, 0).unwrap();
    let _ = rig.space.edit().insert(rom).commit().unwrap();
    assert_eq!(rig.missing(), 0);
    let asked = rig.take();
    assert_eq!(bytes(&populated(&asked)), len);
    let only_read = asked
        .iter()
        .all(|it| !matches!(it, Asked::Populate(_, true, _)));
    assert!(only_read, "{asked:?}");
    assert_eq!(rig.sim.mappings().len(), 1);
}

#[test]
fn what_is_there_is_left_alone() {
    let rig = Rig::new();
    let block = rig.block(64 * MIB);
    let memory = block.range();
    for offset in (0..memory.len()).step_by(PAGE) {
        write(memory, offset, 1);
    }
    let _ = rig.space.edit().insert(ram(1, &block)).commit().unwrap();
    let asked = rig.take();
    assert_eq!(populated(&asked), []);
    // Nothing is worth another thread.
    let me = thread::current().id();
    let others = asked
        .iter()
        .any(|it| matches!(it, Asked::Resident(_, thread) if *thread != me));
    assert!(!others, "{asked:?}");
    // A device that joins finds it there too.
    let _ = rig.space.unfollow(rig.device.domain());
    let _ = rig.space.follow(rig.device.domain()).unwrap();
    assert_eq!(populated(&rig.take()), []);
    let _ = rig.space.edit().remove(place(1, &block)).commit().unwrap();

    // One page went away: its huge page is populated, and no other.
    let page = fastrand::usize(..memory.len() / PAGE);
    let start = ptr::without_provenance_mut(memory.addr() + page * PAGE);
    // SAFETY: memory of this test, whose bytes nobody needs any more.
    unsafe { rustix::mm::madvise(start, PAGE, rustix::mm::Advice::LinuxDontNeed) }.unwrap();
    let _ = rig.space.edit().insert(ram(1, &block)).commit().unwrap();
    let only = populated(&rig.take());
    assert_eq!(only.len(), 1, "{only:?}");
    assert!(
        only[0].len() <= 2 * MIB && only[0].contains(HostRange::new(start as usize, PAGE).unwrap())
    );
    assert_eq!(absent(memory), BTreeSet::new());
}

#[test]
fn little_memory_and_what_nobody_maps_is_left_alone() {
    let rig = Rig::new();
    let small = rig.block(32 * MIB - PAGE);
    let _ = rig.space.edit().insert(ram(1, &small)).commit().unwrap();
    let large = rig.block(64 * MIB);
    let nothing = Population::nothing();
    let edit = rig.space.edit().insert(ram(2, &large)).populated(nothing);
    let _ = edit.commit().unwrap();
    let _ = rig.space.edit().remove(place(2, &large)).commit().unwrap();
    assert!(!rig.take().iter().any(is_about_memory));

    let rig = Rig::alone();
    let block = rig.block(64 * MIB);
    let _ = rig.space.edit().insert(ram(1, &block)).commit().unwrap();
    let asked = rig.take();
    assert!(!asked.iter().any(is_about_memory), "{asked:?}");
    let _ = rig.space.follow(rig.device.domain()).unwrap();
    assert_eq!(bytes(&populated(&rig.take())), 64 * MIB);
}

#[test]
fn a_kernel_that_cannot_do_it_maps_all_the_same() {
    for refused in ["populate", "resident"] {
        let rig = Rig::new();
        let block = rig.block(100 * MIB);
        rig.refuse(refused);
        let reports = RefCell::new(Vec::new());
        let report = |progress| reports.borrow_mut().push(progress);
        let alone = Population::default().by_threads(1).reporting(&report);
        let edit = rig.space.edit().insert(ram(1, &block)).populated(alone);
        let _ = edit.commit().unwrap();
        assert_eq!(rig.sim.mappings().len(), 1);
        let asked = rig.take();
        let tries = asked.iter().filter(|it| is_about_memory(it)).count();
        assert!(tries <= 2, "{asked:?}");
        assert_eq!(reports.into_inner(), []);
    }
}

#[test]
fn no_more_threads_than_said_and_the_caller_is_told_how_far_it_is() {
    let me = thread::current().id();
    for most in [1, 2, 16] {
        let rig = Rig::new();
        let block = rig.block(200 * MIB);
        let (reports, here) = (RefCell::new(Vec::new()), RefCell::new(BTreeSet::new()));
        let report = |progress| {
            reports.borrow_mut().push(progress);
            here.borrow_mut()
                .insert(format!("{:?}", thread::current().id()));
        };
        let population = Population::default().by_threads(most).reporting(&report);
        let edit = rig
            .space
            .edit()
            .insert(ram(1, &block))
            .populated(population);
        let _ = edit.commit().unwrap();
        let asked = rig.take();
        let threads = asked.iter().filter_map(|it| match it {
            Asked::Populate(_, _, thread) => Some(format!("{thread:?}")),
            _ => None,
        });
        let threads: BTreeSet<_> = threads.collect();
        let processors = thread::available_parallelism().unwrap().get();
        assert!(threads.len() <= most.min(processors), "{threads:?}");
        assert_eq!(here.into_inner(), [format!("{me:?}")].into());
        let reports = reports.into_inner();
        let all = 200 * MIB as u64;
        assert!(reports.is_sorted_by(|a, b| a.done < b.done), "{reports:?}");
        if most == 1 {
            assert!(reports.len() > 5, "{reports:?}");
        }
        assert_eq!(reports.last(), Some(&Progress { done: all, all }));
        // Each byte once.
        let mut populated = populated(&asked);
        populated.sort_by_key(|it| it.addr());
        assert!(
            populated
                .windows(2)
                .all(|pair| pair[0].last() < pair[1].addr())
        );
        assert_eq!(bytes(&populated), block.range().len());
    }
}
