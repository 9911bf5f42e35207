//! KVM carries out what guests write, and gives it back.
#![allow(unsafe_code)] // the memory slots of these VMs are the guest's sections

use std::os::fd::{AsFd, OwnedFd};

use iommu_spapr::guest::Refused;
use vfio_core::ErrorKind;
use vfio_core::address::{Access, Iova, IovaRange};
use vfio_core::guest::{GuestIommu, Request, Section, Translation};
use vfio_core::kernel::Errno;
use vfio_core::kvm::{KvmGroup, KvmVfio, Tce, create_vm};
use vfio_sim::wrap::Mode;
use vfio_sim::{Hypercall, Machine};
use vfio_tests::guest::Ram;
use vfio_tests::tce::{BLOCK, BLOCKS, address};

use crate::rig::{DEFAULT, DYNAMIC, HIGH, Rig, hosts};

/// A VM with the guest's memory; all devices are behind the bridge, and KVM knows them.
struct Kvm {
    rig: Rig,
    vm: OwnedFd,
    kvm: KvmVfio,
    groups: Vec<KvmGroup>,
}

impl Kvm {
    fn new(machine: Machine) -> Self {
        let [_, (_, v2), ..] = hosts();
        let mut rig = Rig::new((machine.with_kvm(), v2));
        let vm = create_vm(&rig.kernel).unwrap();
        let kvm = KvmVfio::create(&rig.kernel, vm.as_fd()).unwrap();
        let groups = rig.devices().map(|it| kvm.add(it).unwrap()).collect();
        for block in 0..BLOCKS {
            let memory = rig.block(block);
            rig.sim
                .add_guest_memory(vm.as_fd(), address(block), memory)
                .unwrap();
        }
        rig.join().unwrap();
        rig.join().unwrap();
        Self {
            rig,
            vm,
            kvm,
            groups,
        }
    }

    fn accelerate(&self, liobn: u32) -> Result<(), Refused> {
        // SAFETY: the slots are the sections, and the guest does not run.
        unsafe {
            self.rig
                .bridge
                .accelerate(liobn, &self.kvm, self.vm.as_fd())
        }
    }

    /// The guest's hypercall, as KVM sees it.
    fn guest_puts(&self, liobn: u32, ioba: u64, tce: u64) -> Hypercall {
        let vm = self.vm.as_fd();
        let sim = &self.rig.sim;
        sim.guest_put_tce(vm, liobn.into(), ioba, Tce(tce)).unwrap()
    }

    /// So many pages of 4 KiB are reached at an address, by all devices together.
    fn reached_at(&self, ioba: u64) -> usize {
        let reached = self.rig.mapped().into_iter();
        let here = reached.filter(|((at, ..), _)| *at == ioba);
        here.map(|(_, count)| count).sum()
    }

    fn end(self) {
        drop((self.groups, self.kvm, self.vm));
        self.rig.end();
    }
}

fn machines() -> [Machine; 2] {
    [Machine::pseries(), Machine::powernv9()]
}

fn asked<T: std::fmt::Debug>(answer: Result<T, Refused>) -> ErrorKind {
    match answer.unwrap_err() {
        Refused::Host(error) => error.kind(),
        other => panic!("{other}"),
    }
}

/// What is mapped goes over to KVM and comes back without a moment in which devices do not reach it.
#[test]
fn kvm_takes_a_window_over_and_gives_it_back() {
    for machine in machines() {
        let devices = machine.groups.len();
        let host = Kvm::new(machine);
        let bridge = &host.rig.bridge;
        bridge.put(DEFAULT, 0x1000, address(0) + 3).unwrap();
        bridge.put(DEFAULT, 0x2000, address(0) + 0x1003).unwrap();
        let before = host.rig.mapped();
        host.accelerate(DEFAULT).unwrap();
        host.accelerate(DEFAULT).unwrap(); // once more is nothing
        assert_eq!(host.rig.mapped(), before);

        let done = host.guest_puts(DEFAULT, 0x8000, address(1) + 0x5003);
        assert_eq!((done, host.reached_at(0x8000)), (Hypercall::Done, devices));
        assert_eq!(host.guest_puts(DEFAULT, 0x1000, 0), Hypercall::Done);
        assert_eq!(host.reached_at(0x1000), 0);
        assert_eq!(bridge.get(DEFAULT, 0x8000).unwrap(), address(1) + 0x5003);
        assert_eq!(bridge.get(DEFAULT, 0x1000).unwrap(), 0);
        assert_eq!(bridge.get(DEFAULT, 0x2000).unwrap(), address(0) + 0x1003);

        let before = host.rig.mapped();
        bridge.take_back(DEFAULT).unwrap();
        bridge.take_back(DEFAULT).unwrap();
        assert_eq!(host.rig.mapped(), before);
        assert_eq!(bridge.get(DEFAULT, 0x8000).unwrap(), address(1) + 0x5003);
        bridge.stuff(DEFAULT, 0x1000, 0, 8).unwrap();
        assert_eq!(host.rig.mapped().len(), 0);
        host.end();
    }
}

/// H3: the kernel would not say that KVM's TCEs lead to memory.
#[test]
fn memory_stays_as_long_as_kvm_may_map_it() {
    let host = Kvm::new(Machine::pseries());
    let bridge = &host.rig.bridge;
    host.accelerate(DEFAULT).unwrap();
    host.guest_puts(DEFAULT, 0x8000, address(1) + 3);
    let range = IovaRange::new(Iova(address(1)), BLOCK as u64).unwrap();
    let remove = || host.rig.space.edit().remove(range).commit();
    let error = remove().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert_eq!(host.reached_at(0x8000), 1);
    let domain = host.rig.domain(0);
    let error = bridge.unfollow(domain).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    let buffer = domain.buffer(1, Iova(0x10_0000), Access::Read);
    let error = buffer.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overlap, "{error}");
    bridge.take_back(DEFAULT).unwrap();
    host.rig
        .sim
        .remove_guest_memory(host.vm.as_fd(), address(1))
        .unwrap();
    let _ = remove().unwrap();
    assert_eq!(host.reached_at(0x8000), 0);
    assert_eq!(host.rig.sim.hazards(), []);
    host.end();
}

#[test]
fn what_kvm_leaves_to_the_emulator_is_written_beside_it() {
    let host = Kvm::new(Machine::pseries());
    let bridge = &host.rig.bridge;
    host.accelerate(DEFAULT).unwrap();
    assert_eq!(
        host.guest_puts(DEFAULT, 0x8000, address(0) + 3),
        Hypercall::Done
    );
    let nowhere = 0x10_0000 + 3;
    assert_eq!(
        host.guest_puts(DEFAULT, 0x8000, nowhere),
        Hypercall::TooHard
    );
    bridge.put(DEFAULT, 0x8000, nowhere).unwrap();
    assert_eq!(host.reached_at(0x8000), 0);
    assert_eq!(bridge.get(DEFAULT, 0x8000).unwrap(), nowhere);
    bridge.put_list(DEFAULT, 0x8000, &[0, nowhere]).unwrap();
    assert_eq!(bridge.get(DEFAULT, 0x9000).unwrap(), nowhere);
    // KVM leaves a list as a whole.
    let mixed = [address(0) + 3, nowhere, address(2) + 1];
    bridge.put_list(DEFAULT, 0x8000, &mixed).unwrap();
    let there =
        [0x8000, 0x9000, 0xa000].map(|at| (host.reached_at(at), bridge.get(DEFAULT, at).unwrap()));
    assert_eq!(there, [(1, mixed[0]), (0, mixed[1]), (1, mixed[2])]);
    bridge.take_back(DEFAULT).unwrap();
    assert_eq!(host.reached_at(0x8000), 1);
    bridge.stuff(DEFAULT, 0x8000, 0, 3).unwrap();
    assert_eq!(host.rig.mapped().len(), 0);
    host.end();
}

#[test]
fn a_guest_that_starts_anew_has_its_windows_from_the_emulator() {
    for machine in machines() {
        let host = Kvm::new(machine);
        let bridge = &host.rig.bridge;
        host.accelerate(DEFAULT).unwrap();
        bridge.create(16, 30).unwrap();
        host.accelerate(DYNAMIC).unwrap();
        host.guest_puts(DYNAMIC, HIGH, address(0) + 3);
        host.guest_puts(DEFAULT, 0x8000, address(0) + 3);
        assert_ne!(host.rig.mapped().len(), 0);
        bridge.remove(DYNAMIC).unwrap();
        bridge.create(16, 30).unwrap();
        host.accelerate(DYNAMIC).unwrap();
        host.guest_puts(DYNAMIC, HIGH + 0x1_0000, address(0) + 3);
        bridge.reset().unwrap();
        assert_eq!(host.rig.mapped().len(), 0);
        bridge.put(DEFAULT, 0x1000, address(0) + 3).unwrap();
        host.accelerate(DEFAULT).unwrap();
        host.guest_puts(DEFAULT, 0x8000, address(0) + 3);
        host.end(); // with KVM still at it
    }
}

#[test]
fn a_host_whose_kvm_cannot_leaves_it_to_the_emulator() {
    let mut host = Kvm::new(Machine::pseries());
    // One that KVM was not told of.
    host.groups.clear();
    let kind = asked(host.accelerate(DEFAULT));
    assert_eq!(kind, ErrorKind::Invalid);
    assert!(matches!(host.accelerate(77), Err(Refused::Parameter(_))));
    let bridge = &host.rig.bridge;
    bridge.put(DEFAULT, 0x1000, address(0) + 3).unwrap();
    assert_eq!(host.reached_at(0x1000), 1);
    host.end();
}

fn pages(first: u64, count: u64) -> IovaRange {
    IovaRange::new(Iova(first << 12), count << 12).unwrap()
}

/// What the guest has written is in KVM's table alone, and KVM would not map for who comes.
#[test]
fn nobody_comes_behind_a_bridge_whose_window_kvm_has() {
    let mut host = Kvm::new(Machine::pseries());
    host.rig.leave().unwrap();
    let bridge = &host.rig.bridge;
    bridge.put(DEFAULT, 0x1000, address(0) + 3).unwrap();
    host.accelerate(DEFAULT).unwrap(); // no device is there
    assert_eq!(host.guest_puts(DEFAULT, 0x1000, 0), Hypercall::Done);
    let followed = bridge.follow(host.rig.domain(0));
    assert_eq!(host.reached_at(0x1000), 0, "the guest has cleared it");
    assert_eq!(followed.unwrap_err().kind(), ErrorKind::Busy);
    host.end();
}

/// KVM knows no ROM: what it has mapped there is none of ours.
#[test]
fn what_kvm_has_mapped_beyond_what_is_allowed_goes_when_it_is_taken_back() {
    for (tce, left) in [(2, 0), (3, 1)] {
        let host = Kvm::new(Machine::pseries());
        let bridge = &host.rig.bridge;
        host.accelerate(DEFAULT).unwrap();
        let rom = address(BLOCKS - 1);
        assert_eq!(host.guest_puts(DEFAULT, 0x8000, rom + tce), Hypercall::Done);
        bridge.take_back(DEFAULT).unwrap();
        let reached = host.rig.mapped();
        assert!(reached.keys().all(|(.., writes)| !writes), "{reached:x?}");
        assert_eq!(host.reached_at(0x8000), left);
        bridge.put(DEFAULT, 0x8000, 0).unwrap();
        assert_eq!(host.reached_at(0x8000), 0, "the guest has cleared it");
        let range = IovaRange::new(Iova(rom), BLOCK as u64).unwrap();
        let _ = host.rig.space.edit().remove(range).commit().unwrap();
        assert_eq!(host.rig.sim.hazards(), []);
        host.end();
    }
}

/// Nobody could tell which of KVM's TCEs lead to it.
#[test]
fn memory_does_not_come_while_kvm_maps() {
    let host = Kvm::new(Machine::powernv9());
    let rig = &host.rig;
    host.accelerate(DEFAULT).unwrap();
    let ram = Ram::new(&rig.kernel, BLOCK).unwrap();
    let guest = IovaRange::new(Iova(address(7)), BLOCK as u64).unwrap();
    let section = Section::ram(guest, ram.block(), 0).unwrap();
    let error = rig.space.edit().insert(section).commit().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    for held in rig.sim.holdings() {
        assert_eq!(held.registered.len(), BLOCKS);
    }
    host.end();
}

/// A repair would undo what KVM has mapped meanwhile.
#[test]
fn kvm_takes_nothing_over_that_is_torn() {
    let host = Kvm::new(Machine::powernv9());
    let rig = &host.rig;
    rig.failing.disarm();
    rig.failing.arm(1, Errno::NOMEM.into(), Mode::AndAllLater);
    let torn = rig.bridge.put(DEFAULT, 0x1000, address(0) + 3);
    assert_eq!(asked(torn), ErrorKind::Torn);
    rig.failing.disarm();
    assert_eq!(rig.space.torn().len(), 1);
    assert_eq!(asked(host.accelerate(DEFAULT)), ErrorKind::Torn);
    rig.space.repair().unwrap();
    host.accelerate(DEFAULT).unwrap();
    host.end();
}

/// Where memory has come since, what was written before leads nowhere still, whoever has the table.
#[test]
fn what_was_not_mapped_is_mapped_when_it_is_written_again_after_kvm_had_it() {
    let host = Kvm::new(Machine::pseries());
    let rig = &host.rig;
    let tce = address(7) + 3;
    rig.bridge.put(DEFAULT, 0x1000, tce).unwrap();
    host.accelerate(DEFAULT).unwrap();
    let ram = Ram::new(&rig.kernel, BLOCK).unwrap();
    let guest = IovaRange::new(Iova(address(7)), BLOCK as u64).unwrap();
    let section = Section::ram(guest, ram.block(), 0).unwrap();
    rig.bridge.take_back(DEFAULT).unwrap();
    let _ = rig.space.edit().insert(section).commit().unwrap();
    assert_eq!(host.reached_at(0x1000), 0);
    rig.bridge.put(DEFAULT, 0x1000, tce).unwrap();
    assert_eq!(host.reached_at(0x1000), 1);
    host.end();
}

/// What is handed over in one domain only is taken back as it was, also where it was a part of a mapping.
#[test]
fn what_cannot_be_handed_over_everywhere_stays_in_the_books() {
    let rig = Rig::new(hosts()[2].clone());
    let iommu = GuestIommu::of(&rig.space);
    for n in 0..2 {
        iommu.follow(rig.domain(n), []).unwrap();
    }
    let map = Translation {
        range: pages(0, 4),
        to: Iova(address(0)),
        access: Access::ReadWrite,
    };
    iommu.apply(&[Request::Map(map)]).unwrap();
    let theirs = rig.domain(1).buffer(1, Iova(0x6000), Access::Read);
    let theirs = theirs.unwrap();
    // SAFETY: there is no VM.
    let error = unsafe { iommu.hand_over(pages(2, 6)) }.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overlap, "{error}");
    drop(theirs);
    iommu.apply(&[Request::Unmap(IovaRange::ALL)]).unwrap();
    assert_eq!(rig.mapped().len(), 0);
    drop(iommu);
    rig.end();
}

/// What is KVM's is not said to be unmapped.
#[test]
fn an_unmap_where_kvm_maps_is_refused() {
    let rig = Rig::new(hosts()[2].clone());
    let iommu = GuestIommu::of(&rig.space);
    iommu.follow(rig.domain(0), []).unwrap();
    let map = Translation {
        range: pages(2, 2),
        to: Iova(address(0)),
        access: Access::ReadWrite,
    };
    iommu.apply(&[Request::Map(map)]).unwrap();
    // SAFETY: there is no VM.
    unsafe { iommu.hand_over(pages(0, 8)) }.unwrap();
    for request in [Request::Unmap(pages(2, 2)), Request::Map(map)] {
        let unmade = iommu.apply(&[request]).unwrap_err();
        assert_eq!(unmade.error.kind(), ErrorKind::Busy, "{unmade}");
    }
    assert_eq!(rig.mapped().len(), 2);
    drop(iommu);
    rig.end();
}

/// It is made already: there is nothing to ask the kernel, which would take away what KVM has mapped.
#[test]
fn settling_a_window_takes_nothing_from_kvm() {
    let host = Kvm::new(Machine::pseries());
    host.accelerate(DEFAULT).unwrap();
    assert_eq!(host.guest_puts(DEFAULT, 0, address(0) + 3), Hypercall::Done);
    host.rig.domain(0).settle_window(pages(0, 8)).unwrap();
    assert_eq!(host.reached_at(0), 1);
    host.end();
}
