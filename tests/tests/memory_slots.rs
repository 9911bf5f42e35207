//! Mapped BARs in the memory of a VM: what its guest sees, and for how long.
#![allow(clippy::unwrap_used)] // a test that cannot be set up must fail

use std::any::Any;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Barrier};
use std::thread;

use proptest::prelude::*;
use vfio_core::device::{RegionIndex, RegionMap};
use vfio_core::iommu::Registry;
use vfio_core::kernel::{Errno, Kernel};
use vfio_core::kvm::{MemorySlot, MemorySlots, create_vm};
use vfio_core::{Answer, Device, ErrorKind, Vfio};
use vfio_sim::machine::Device as Described;
use vfio_sim::wrap::{FailNth, Mode, Watched};
use vfio_sim::{GuestAccess, Machine, Rights, SimKernel};

// Linked in to be chosen.
use iommu_spapr as _;
use iommu_type1 as _;

const BDF: &str = "0000:00:04.0";
/// Where the guest sees the first BAR.
const GUEST: u64 = 0x4000_0000;
/// The size of what is mapped in the tests that map no whole BAR: a page of every host.
const PART: u64 = 0x1_0000;

struct Host {
    sim: SimKernel,
    kernel: Arc<dyn Kernel>,
    failing: Arc<FailNth>,
    vm: OwnedFd,
    device: Device,
}

impl Host {
    fn new(machine: Machine) -> Self {
        let machine = machine.with_devices([Described::assorted(BDF)]);
        let sim = SimKernel::new(machine.with_kvm());
        let failing = Arc::new(FailNth::default());
        let kernel: Arc<dyn Kernel> = Arc::new(sim.clone());
        let kernel: Arc<dyn Kernel> = Arc::new(Watched::new(kernel, failing.clone()));
        let vfio = Vfio::on(Arc::clone(&kernel), Registry::linked().unwrap());
        let device = vfio.open(BDF.parse().unwrap()).unwrap();
        // So that its BARs answer.
        let config = pci_device::ConfigSpace::of(&device).unwrap();
        config.enable(pci_device::Command::MEMORY).unwrap();
        Self {
            vm: create_vm(&kernel).unwrap(),
            device,
            sim,
            kernel,
            failing,
        }
    }

    /// Its BAR of memory.
    fn memory(&self) -> Arc<RegionMap> {
        let region = self.device.region(RegionIndex::Bar(2)).unwrap();
        Arc::new(region.map_part(0, PART).unwrap())
    }

    fn slots(&self, numbers: Range<u32>) -> MemorySlots {
        MemorySlots::new(&self.kernel, self.vm.try_clone().unwrap(), numbers).unwrap()
    }

    /// The slots that have something, and where the guest sees it.
    fn seen(&self) -> Vec<(u32, u64)> {
        let slots = self.sim.guest_memory().into_iter();
        slots.map(|it| (it.slot, it.guest)).collect()
    }

    /// The next of the VM's calls fail.
    fn fail(&self, answer: impl Into<Answer>, mode: Mode) {
        self.failing.arm(0, answer.into(), mode);
    }
}

/// A guest reads what is in all of its memory: everything is there.
fn reads_all(sim: &SimKernel, vm: &OwnedFd) {
    for slot in sim.guest_memory() {
        let mut all = vec![0; usize::try_from(slot.size).unwrap()];
        let read = sim.guest_read(vm.as_fd(), slot.guest, &mut all);
        assert_eq!(read, Ok(GuestAccess::Done), "{slot:x?}");
    }
}

#[test]
fn a_guest_reaches_the_bar() {
    for machine in [Machine::x86_64(), Machine::aarch64(), Machine::pseries()] {
        let host = Host::new(machine);
        let (vm, sim) = (host.vm.as_fd(), &host.sim);
        let memory = host.memory();
        let slot = host.slots(3..4).insert(GUEST, &memory, false).unwrap();
        assert_eq!(slot.guest(), GUEST..GUEST + PART);
        assert_eq!(host.seen(), [(3, GUEST)]);

        memory.write(0x1238, 0x0123_4567_u32).unwrap();
        let mut bytes = [0; 4];
        let read = sim.guest_read(vm, GUEST + 0x1238, &mut bytes);
        assert_eq!(read, Ok(GuestAccess::Done));
        assert_eq!(u32::from_ne_bytes(bytes), 0x0123_4567);
        let written = sim.guest_write(vm, GUEST + PART - 8, &[9; 8]);
        assert_eq!(written, Ok(GuestAccess::Done));
        let last = usize::try_from(PART).unwrap() - 8;
        assert_eq!(memory.read::<u64>(last).unwrap(), 0x0909_0909_0909_0909);

        drop(slot);
        let read = sim.guest_read(vm, GUEST, &mut bytes);
        assert_eq!(read, Ok(GuestAccess::Mmio));
        let Host {
            sim, device, vm, ..
        } = host;
        drop((memory, device, vm));
        assert!(sim.is_idle(), "{:?}", sim.open_objects());
    }
}

#[test]
fn a_guest_only_reads_what_it_shall_not_write() {
    let host = Host::new(Machine::x86_64());
    let memory = host.memory();
    let _slot = host.slots(0..1).insert(GUEST, &memory, true).unwrap();
    let vm = host.vm.as_fd();
    assert_eq!(host.sim.guest_write(vm, GUEST, &[1]), Ok(GuestAccess::Mmio));
    assert_eq!(
        host.sim.guest_read(vm, GUEST, &mut [1]),
        Ok(GuestAccess::Done)
    );
    assert_eq!(memory.read::<u8>(0).unwrap(), 0);

    // Not where there is no such memory.
    let host = Host::new(Machine::pseries());
    let error = host.slots(0..1).insert(GUEST, &host.memory(), true);
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("only reads"), "{error}");
}

/// Whatever is dropped first, the guest reads what it sees until its slot has gone, and then nothing is left.
#[test]
fn drops_in_any_order_take_nothing_from_a_guest() {
    const HELD: usize = 5;
    let orders =
        (0..HELD.pow(4)).map(|n| [1, HELD, HELD.pow(2), HELD.pow(3)].map(|k| n / k % HELD));
    for order in orders {
        let host = Host::new(Machine::x86_64());
        let (sim, vm) = (host.sim.clone(), host.vm.try_clone().unwrap());
        let memory = host.memory();
        let slots = host.slots(0..2);
        let slot = slots.insert(GUEST, &memory, false).unwrap();
        let mut held: Vec<Option<Box<dyn Any>>> = vec![
            Some(Box::new(slot)),
            Some(Box::new(memory)),
            Some(Box::new(slots)),
            Some(Box::new(host.vm)),
            Some(Box::new(host.device)),
        ];
        for place in order {
            held[place] = None;
            assert_eq!(
                sim.guest_memory().is_empty(),
                held[0].is_none(),
                "{order:?}"
            );
            reads_all(&sim, &vm);
        }
        drop((held, vm));
        assert!(sim.is_idle(), "{order:?}: {:?}", sim.open_objects());
    }
}

#[test]
fn what_is_refused_is_said_in_words() {
    let host = Host::new(Machine::x86_64());
    let (memory, slots) = (host.memory(), host.slots(0..1));
    let page = host.kernel.page_size() as u64;
    let registers = host.device.region(RegionIndex::Bar(4)).unwrap();
    let areas = registers.mappable_areas().unwrap();
    let registers = registers.map_part(areas[0].offset, areas[0].size).unwrap();
    let registers = Arc::new(registers);

    for (memory, guest, kind, words) in [
        (&registers, GUEST, ErrorKind::Unsupported, "no address"),
        (&memory, GUEST + page / 2, ErrorKind::Invalid, "no page"),
        (
            &memory,
            0_u64.wrapping_sub(page),
            ErrorKind::Invalid,
            "that high",
        ),
    ] {
        let error = slots.insert(guest, memory, false).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(
            error
                .to_string()
                .contains(&format!("of {BDF} at {guest:#x}")),
            "{error}"
        );
        assert_eq!(error.errno(), None, "the kernel need not be asked: {error}");
    }
    let other = host.slots(1..3);
    let slot = slots.insert(GUEST, &memory, false).unwrap();
    let error = slots.insert(GUEST + PART, &memory, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
    for guest in [GUEST, GUEST + PART - page, GUEST - PART + page] {
        let error = other.insert(guest, &memory, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overlap, "{error}");
        assert!(error.to_string().contains("slot 1 of a VM"), "{error}");
        assert_eq!(error.errno(), Some(Errno::EXIST));
    }
    // A number that is not ours alone.
    let another = host.memory();
    let error = host.slots(0..1).insert(GUEST + PART, &another, false);
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("somebody else"), "{error}");
    assert_eq!(host.seen(), [(0, GUEST)]);
    drop(slot);

    for (errno, kind, words) in [
        (Errno::NOMEM, ErrorKind::Exhausted, "no memory"),
        (Errno::IO, ErrorKind::Kernel, "another process"),
        (Errno::FAULT, ErrorKind::Invalid, "that high"),
    ] {
        host.fail(errno, Mode::Once);
        let error = slots.insert(GUEST, &memory, false).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.device(), Some(host.device.bdf()));
    }
    assert_eq!(host.seen(), []);
    assert!(
        slots.insert(GUEST, &memory, false).is_ok(),
        "each gave its number back"
    );
}

#[test]
fn what_is_no_vm_or_has_no_such_slots_is_refused() {
    let host = Host::new(Machine::x86_64());
    let new = |kernel, fd, numbers| MemorySlots::new(kernel, fd, numbers).unwrap_err();
    let vm = || host.vm.try_clone().unwrap();

    let error = new(&host.kernel, host.kernel.eventfd().unwrap(), 0..1);
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let error = new(&host.kernel, vm(), 0..0x7ffd);
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("32764"), "{error}");
    drop(host.slots(0..0x7ffc));
    let other: Arc<dyn Kernel> = Arc::new(host.sim.process(Rights::ROOT));
    let error = new(&other, vm(), 0..1);
    assert!(error.to_string().contains("another process"), "{error}");

    host.fail(Answer::Returned(0), Mode::AndAllLater);
    let error = new(&host.kernel, vm(), 0..1);
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}

#[test]
fn what_cannot_be_removed_stays_mapped_and_keeps_its_number() {
    let host = Host::new(Machine::x86_64());
    let slots = host.slots(0..1);
    let mut slot = slots.insert(GUEST, &host.memory(), false).unwrap();
    host.fail(Errno::NOMEM, Mode::AndAllLater);
    let error = slot.remove().unwrap_err();
    assert_eq!(error.errno(), Some(Errno::NOMEM));
    assert!(error.to_string().contains("may see it still"), "{error}");
    host.failing.disarm();
    // It is there as before, and can be removed after all: once.
    reads_all(&host.sim, &host.vm);
    slot.remove().unwrap();
    assert_eq!(host.seen(), []);
    slot.remove().unwrap();
    assert_eq!(host.failing.seen().len(), 1);

    let slot = slots.insert(GUEST, &host.memory(), false).unwrap();
    host.fail(Errno::NOMEM, Mode::Once);
    drop(slot);
    assert_eq!(host.seen(), [(0, GUEST)]);
    reads_all(&host.sim, &host.vm);
    let error = slots
        .insert(GUEST + PART, &host.memory(), false)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
    // The mapping holds its device.
    let (sim, bdf) = (host.sim.clone(), host.device.bdf());
    drop((slots, host));
    let held = sim.open_objects();
    assert!(
        held.iter()
            .any(|it| it.to_string().contains(&bdf.to_string())),
        "{held:?}"
    );
}

/// An answer that the call is not documented to have: it may have been carried out.
#[test]
fn a_slot_of_which_nobody_knows_is_emptied() {
    let host = Host::new(Machine::x86_64());
    let slots = host.slots(0..2);
    let memory = host.memory();
    host.fail(Answer::Returned(1), Mode::Once);
    let error = slots.insert(GUEST, &memory, false).unwrap_err();
    assert_eq!(error.answer(), Some(Answer::Returned(1)));
    assert_eq!(
        host.failing.seen().len(),
        2,
        "it was not asked to be emptied"
    );
    assert_eq!(host.seen(), []);
}

#[test]
fn threads_have_numbers_of_their_own() {
    const THREADS: u64 = 4;
    let host = Host::new(Machine::x86_64());
    let (slots, memory) = (host.slots(0..8), host.memory());
    let start = Barrier::new(usize::try_from(THREADS).unwrap());
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (slots, memory, start) = (&slots, &memory, &start);
            scope.spawn(move || {
                start.wait();
                for _ in 0..200 {
                    let at = GUEST + 2 * thread * PART;
                    let pair = [at, at + PART].map(|at| slots.insert(at, memory, false).unwrap());
                    let [one, other] = pair;
                    assert_ne!(one.number(), other.number());
                }
            });
        }
    });
    assert_eq!(host.seen(), []);
}

/// What is done with the slots of a VM.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Puts the BAR at a place.
    Insert(u64),
    /// Removes one of those that there are; the kernel refuses, or not.
    Remove { which: usize, refused: bool },
    /// Drops one.
    Drop { which: usize, refused: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..6_u64).prop_map(Step::Insert),
        1 => (0..4_usize, any::<bool>())
            .prop_map(|(which, refused)| Step::Remove { which, refused }),
        1 => (0..4_usize, prop::bool::weighted(0.2))
            .prop_map(|(which, refused)| Step::Drop { which, refused }),
    ]
}

const NUMBERS: Range<u32> = 5..9;

proptest! {
    /// A number is used again when its slot was emptied, and not before.
    #[test]
    fn numbers_are_those_of_no_slot(steps in prop::collection::vec(step(), 1..40)) {
        let host = Host::new(Machine::x86_64());
        let (slots, memory) = (host.slots(NUMBERS), host.memory());
        let mut live: Vec<MemorySlot> = Vec::new();
        // Slots that were dropped in vain, and the places that they have.
        let mut lost: Vec<(u32, u64)> = Vec::new();
        for step in steps {
            let (which, refused) = match step {
                Step::Insert(place) => {
                    let at = GUEST + place * PART;
                    let mut taken = live.iter().map(|it| it.guest().start);
                    let is_taken = taken.any(|it| it == at) || lost.iter().any(|it| it.1 == at);
                    let wanted = match live.len() + lost.len() {
                        used if used == NUMBERS.len() => Some(ErrorKind::Exhausted),
                        _ => is_taken.then_some(ErrorKind::Overlap),
                    };
                    match slots.insert(at, &memory, false) {
                        Ok(slot) => {
                            prop_assert_eq!(wanted, None);
                            prop_assert!(NUMBERS.contains(&slot.number()));
                            live.push(slot);
                        }
                        Err(error) => prop_assert_eq!(Some(error.kind()), wanted),
                    }
                    continue;
                }
                Step::Remove { which, refused } | Step::Drop { which, refused } => (which, refused),
            };
            if which >= live.len() {
                continue;
            }
            if refused {
                host.fail(Errno::NOMEM, Mode::AndAllLater);
            }
            if matches!(step, Step::Remove { .. }) {
                prop_assert_eq!(live[which].remove().is_err(), refused);
            }
            if !(refused && matches!(step, Step::Remove { .. })) {
                let gone = live.swap_remove(which);
                let known = (gone.number(), gone.guest().start);
                drop(gone);
                lost.extend(refused.then_some(known));
            }
            host.failing.disarm();
            let mut wanted: Vec<_> = live.iter().map(|it| (it.number(), it.guest().start)).collect();
            wanted.extend(&lost);
            wanted.sort_unstable();
            prop_assert_eq!(host.seen(), wanted);
        }
        reads_all(&host.sim, &host.vm);
    }
}
