//! F92 to F92c, D59 to D59d and H11: KVM, and what it holds.
#![allow(unsafe_code)] // Raw calls, all of them to the simulation; the fds that come back are owned at once.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use vfio_core::address::{Access, HostRange};
use vfio_core::kernel::{Arg, Errno, Kernel, Opcode, Protection, RegionMapping, Result};
use vfio_core::kvm::uapi::{self, CreateDevice, CreateSpaprTce64, DeviceAttr, VfioSpaprTce};
use vfio_core::kvm::{KVM_NODE, Tce};
use vfio_core::uapi::{
    SPAPR_REGISTER_MEMORY, SPAPR_TCE_REMOVE, SPAPR_TCE_V2_IOMMU, SPAPR_UNREGISTER_MEMORY,
    SpaprRegisterMemory, SpaprTceRemove, TYPE1V2_IOMMU,
};
use vfio_sim::{GuestAccess, Hazard, Hypercall, Machine, Object, Rights, SimKernel};
use zerocopy::{Immutable, IntoBytes};

use crate::door::{call, ioctl, leave, open_group};
use crate::memory::Memory;
use crate::rig::Rig;

const LIOBN: u64 = 7;
const ADD: u64 = uapi::DEV_VFIO_FILE_ADD;
const DELETE: u64 = uapi::DEV_VFIO_FILE_DEL;
const ATTACH: u64 = uapi::DEV_VFIO_GROUP_SET_SPAPR_TCE;

fn create_vm(sim: &SimKernel) -> OwnedFd {
    let kvm = sim.open(KVM_NODE.as_ref()).unwrap();
    // SAFETY: the simulation.
    unsafe { sim.ioctl_fd(kvm.as_fd(), uapi::CREATE_VM, Arg::Value(0)) }.unwrap()
}

fn create_device(sim: &SimKernel, vm: &OwnedFd) -> Result<OwnedFd> {
    let mut create = CreateDevice {
        kind: uapi::DEV_TYPE_VFIO,
        fd: -1,
        flags: 0,
    };
    assert_eq!(call(sim, vm, uapi::CREATE_DEVICE, &mut create)?, 0);
    // SAFETY: a new fd.
    Ok(unsafe { OwnedFd::from_raw_fd(create.fd) })
}

fn set<T: IntoBytes + Immutable>(
    sim: &SimKernel,
    device: &OwnedFd,
    attr: u64,
    value: &T,
) -> Result<u32> {
    let attr = DeviceAttr {
        flags: 0,
        group: uapi::DEV_VFIO_FILE,
        attr,
        addr: (&raw const *value).expose_provenance() as u64,
    };
    ioctl(sim, device, uapi::SET_DEVICE_ATTR, Arg::In(attr.as_bytes()))
}

fn create_table(sim: &SimKernel, vm: &OwnedFd, table: CreateSpaprTce64) -> Result<OwnedFd> {
    let arg = Arg::In(table.as_bytes());
    // SAFETY: the simulation.
    unsafe { sim.ioctl_fd(vm.as_fd(), uapi::CREATE_SPAPR_TCE_64, arg) }
}

/// The default window of pseries: 1 GiB, pages of 4 KiB.
const WINDOW: CreateSpaprTce64 = CreateSpaprTce64 {
    liobn: LIOBN,
    page_shift: 12,
    flags: 0,
    offset: 0,
    size: 1 << 18,
};

/// A group in a VM.
struct Linked {
    rig: Rig,
    vm: OwnedFd,
    device: OwnedFd,
}

impl Linked {
    fn new(machine: Machine, iommu: u32) -> Self {
        let rig = Rig::new(machine.with_kvm(), iommu);
        let vm = create_vm(&rig.sim);
        let device = create_device(&rig.sim, &vm).unwrap();
        Self { rig, vm, device }
    }

    fn pseries() -> Self {
        Self::new(Machine::pseries(), SPAPR_TCE_V2_IOMMU)
    }

    fn set(&self, attr: u64, fd: &OwnedFd) -> Result<u32> {
        set(&self.rig.sim, &self.device, attr, &fd.as_raw_fd())
    }

    fn attach(&self, table: &OwnedFd) -> Result<u32> {
        let param = VfioSpaprTce {
            groupfd: self.rig.group.as_raw_fd(),
            tablefd: table.as_raw_fd(),
        };
        set(&self.rig.sim, &self.device, ATTACH, &param)
    }

    fn table(&self) -> OwnedFd {
        create_table(&self.rig.sim, &self.vm, WINDOW).unwrap()
    }

    fn block(&self, opcode: Opcode, memory: &Memory) -> Result<u32> {
        let mut block = SpaprRegisterMemory {
            argsz: 24,
            flags: 0,
            vaddr: memory.at(),
            size: memory.len(),
        };
        call(&self.rig.sim, &self.rig.container, opcode, &mut block)
    }

    /// Registers memory, which the guest sees from 0 on, and makes the default window.
    fn with_memory(&self) -> Memory {
        let memory = Memory::new(&self.rig.sim, 2);
        self.block(SPAPR_REGISTER_MEMORY, &memory).unwrap();
        self.rig.map(0, &memory).unwrap();
        self.rig.unmap(0, memory.len()).0.unwrap();
        let range = HostRange::new(
            usize::try_from(memory.at()).unwrap(),
            usize::try_from(memory.len()).unwrap(),
        );
        let vm = self.vm.as_fd();
        self.rig
            .sim
            .add_guest_memory(vm, 0, range.unwrap())
            .unwrap();
        memory
    }

    fn put(&self, ioba: u64, tce: Tce) -> Hypercall {
        let vm = self.vm.as_fd();
        self.rig.sim.guest_put_tce(vm, LIOBN, ioba, tce).unwrap()
    }
}

#[test]
fn without_kvm_there_is_no_node() {
    let sim = SimKernel::new(Machine::powernv9());
    assert_eq!(sim.open(KVM_NODE.as_ref()).err(), Some(Errno::NOENT));
}

#[test]
fn f92_devices_can_be_added_from_6_6_on() {
    for (release, answer) in [("6.5.3", Err(Errno::INVAL)), ("6.6.1", Ok(0))] {
        let machine = Machine {
            release: release.into(),
            ..Machine::x86_64()
        };
        let linked = Linked::new(machine, TYPE1V2_IOMMU);
        let device = linked.rig.open("0000:00:04.0").device;
        assert_eq!(linked.set(ADD, &device), answer, "{release}");
        // The group is another file.
        assert_eq!(linked.set(ADD, &linked.rig.group), Ok(0));
        assert_eq!(linked.set(ADD, &linked.rig.group), Err(Errno::EXIST));
        assert_eq!(linked.set(DELETE, &linked.rig.group), Ok(0));
        assert_eq!(linked.rig.sim.hazards(), [], "it is none but on POWER");
    }
}

#[test]
fn f92_a_vm_is_one_processs_and_of_what_is_not_known_there_is_none() {
    let linked = Linked::pseries();
    let sim = &linked.rig.sim;
    let other = sim.process(Rights::ROOT);
    assert_eq!(create_device(&other, &linked.vm).err(), Some(Errno::IO));
    assert_eq!(
        create_table(&other, &linked.vm, WINDOW).err(),
        Some(Errno::IO)
    );
    let group = linked.rig.group.as_raw_fd();
    assert_eq!(set(&other, &linked.device, ADD, &group), Err(Errno::IO));
    let mut create = CreateDevice {
        kind: 99,
        ..CreateDevice::default()
    };
    let made = call(sim, &linked.vm, uapi::CREATE_DEVICE, &mut create);
    assert_eq!(made, Err(Errno::NODEV));
    create.kind = uapi::DEV_TYPE_VFIO;
    create.flags = uapi::CREATE_DEVICE_TEST;
    let tested = call(sim, &linked.vm, uapi::CREATE_DEVICE, &mut create);
    assert_eq!(tested, Ok(0), "it is not made, and may be there");
}

#[test]
fn f92b_a_group_that_was_added_stays_open() {
    let Linked { rig, vm, device } = Linked::new(Machine::x86_64(), TYPE1V2_IOMMU);
    let Rig {
        group,
        container,
        sim,
    } = rig;
    assert_eq!(set(&sim, &device, ADD, &group.as_raw_fd()), Ok(0));
    drop((group, container));
    assert_eq!(open_group(&sim, 2).err(), Some(Errno::BUSY));
    let left = [Object::Group(2), Object::Container(0)];
    assert_eq!(sim.open_objects()[..2], left);
    drop(device);
    drop(open_group(&sim, 2).unwrap());
    drop(vm);
    assert!(sim.is_idle());
}

#[test]
fn h11_a_group_that_nobody_wanted_to_attach_is_warned_of() {
    let linked = Linked::pseries();
    assert_eq!(linked.set(ADD, &linked.rig.group), Ok(0));
    assert_eq!(linked.attach(&linked.vm), Err(Errno::INVAL));
    assert_eq!(linked.set(DELETE, &linked.rig.group), Ok(0));
    assert_eq!(linked.rig.sim.hazards(), []);
    assert_eq!(linked.set(ADD, &linked.rig.group), Ok(0));
    let Linked { rig, vm, device } = linked;
    drop(device);
    drop(vm);
    rig.sim.is_idle();
    assert_eq!(rig.sim.hazards(), [Hazard::H11]);
}

#[test]
fn d59_the_default_window_is_none_before_it_is_made() {
    let linked = Linked::pseries();
    let table = linked.table();
    assert_eq!(linked.attach(&table), Err(Errno::NOENT));
    assert_eq!(linked.set(ADD, &linked.rig.group), Ok(0));
    assert_eq!(linked.attach(&table), Err(Errno::INVAL));
    let _memory = linked.with_memory();
    assert_eq!(linked.attach(&table), Ok(0));
}

#[test]
fn d59b_a_table_counts_as_locked_and_has_its_limits() {
    let linked = Linked::pseries();
    let sim = &linked.rig.sim;
    for wrong in [
        CreateSpaprTce64 { flags: 1, ..WINDOW },
        CreateSpaprTce64 { size: 0, ..WINDOW },
        CreateSpaprTce64 {
            page_shift: 11,
            ..WINDOW
        },
        CreateSpaprTce64 {
            page_shift: 35,
            ..WINDOW
        },
        CreateSpaprTce64 {
            offset: 1 << 52,
            size: 0xf_ffff,
            ..WINDOW
        },
    ] {
        let made = create_table(sim, &linked.vm, wrong);
        assert_eq!(made.err(), Some(Errno::INVAL), "{wrong:?}");
    }
    // Two MiB of entries, and a page of pointers.
    let bytes = (2 << 20) + (1 << 16);
    sim.set_rights(Rights::user(bytes - 1));
    let made = create_table(sim, &linked.vm, WINDOW);
    assert_eq!(made.err(), Some(Errno::NOMEM));
    sim.set_rights(Rights::user(2 * bytes));
    let table = create_table(sim, &linked.vm, WINDOW).unwrap();
    assert_eq!(sim.locked(), bytes);
    assert_eq!(
        create_table(sim, &linked.vm, WINDOW).err(),
        Some(Errno::BUSY)
    );
    assert_eq!(sim.locked(), bytes);
    // What is mapped of it holds it.
    let rights = Protection {
        read: true,
        write: true,
    };
    let mapped = sim.map_region(table.as_fd(), 0, 1 << 16, rights, 1 << 16);
    let Ok(RegionMapping::Pages(at)) = mapped else {
        panic!("{mapped:?}");
    };
    drop(table);
    assert_eq!(sim.locked(), bytes);
    // SAFETY: mapped above, and used by nobody.
    unsafe { sim.munmap(at, 1 << 16) }.unwrap();
    assert_eq!(sim.locked(), 0);
}

#[test]
fn d59c_what_is_not_registered_is_left_to_user_space() {
    let linked = Linked::pseries();
    let memory = linked.with_memory();
    let table = linked.table();
    linked.set(ADD, &linked.rig.group).unwrap();
    linked.attach(&table).unwrap();
    let tce = Tce::new(0x1000, Access::ReadWrite);
    assert_eq!(linked.put(0x5000, tce), Hypercall::Done);
    assert_eq!(linked.rig.mapped(), [(0x5000, 0x1000)]);
    assert_eq!(linked.put(0x5000, Tce::NONE), Hypercall::Done);
    linked.block(SPAPR_UNREGISTER_MEMORY, &memory).unwrap();
    assert_eq!(linked.put(0x5000, tce), Hypercall::TooHard);
    assert_eq!(linked.rig.mapped(), []);
    assert_eq!(linked.rig.sim.hazards(), []);
}

#[test]
fn d59d_what_was_put_in_stays_and_a_window_that_has_gone_is_filled() {
    let linked = Linked::pseries();
    let memory = linked.with_memory();
    let (sim, tce) = (&linked.rig.sim, Tce::new(0x1000, Access::ReadWrite));
    linked.set(ADD, &linked.rig.group).unwrap();
    let table = linked.table();
    linked.attach(&table).unwrap();
    assert_eq!(linked.put(0x5000, tce), Hypercall::Done);
    drop(table);
    assert_eq!(linked.rig.mapped(), [(0x5000, 0x1000)]);
    // Unmapping is user space's.
    linked.rig.unmap(0, 1 << 20).0.unwrap();
    assert_eq!(linked.rig.mapped(), []);

    let table = linked.table();
    linked.attach(&table).unwrap();
    let mut remove = SpaprTceRemove {
        argsz: 16,
        ..SpaprTceRemove::default()
    };
    call(sim, &linked.rig.container, SPAPR_TCE_REMOVE, &mut remove).unwrap();
    assert_eq!(linked.put(0x5000, tce), Hypercall::Done);
    assert_eq!(linked.rig.mapped(), []);
    assert_eq!(sim.hazards(), []);
    linked.block(SPAPR_UNREGISTER_MEMORY, &memory).unwrap();
    assert_eq!(sim.hazards(), [Hazard::H3]);
}

#[test]
fn d59d_a_group_that_is_taken_away_is_let_go_of() {
    let linked = Linked::pseries();
    let _memory = linked.with_memory();
    let tce = Tce::new(0x1000, Access::ReadWrite);
    let table = linked.table();
    linked.set(ADD, &linked.rig.group).unwrap();
    linked.attach(&table).unwrap();
    linked.set(DELETE, &linked.rig.group).unwrap();
    assert_eq!(linked.put(0x5000, tce), Hypercall::Done);
    assert_eq!(
        linked.rig.mapped(),
        [],
        "it is written down, and that is all"
    );
    // Attached twice, it is given back once.
    linked.set(ADD, &linked.rig.group).unwrap();
    linked.attach(&table).unwrap();
    linked.attach(&table).unwrap();
    linked.set(DELETE, &linked.rig.group).unwrap();
    assert_eq!(linked.put(0x5000, tce), Hypercall::Done);
    assert_eq!(linked.rig.mapped(), [(0x5000, 0x1000)]);
    leave(&linked.rig.sim, &linked.rig.group).unwrap();
    assert_eq!(linked.rig.mapped(), []);
}

#[test]
fn f92c_a_guest_reaches_what_is_in_a_slot_and_there_and_nothing_else() {
    let sim = SimKernel::new(Machine::x86_64().with_kvm());
    let vm = create_vm(&sim);
    let memory = Memory::new(&sim, 2);
    let page = sim.page_size() as u64;
    let start = usize::try_from(memory.at()).unwrap();
    let range = |pages| HostRange::new(start, pages * sim.page_size()).unwrap();
    let add = |guest, pages| sim.add_guest_memory(vm.as_fd(), guest, range(pages));
    add(page, 2).unwrap();
    assert_eq!(add(2 * page, 1), Err(Errno::EXIST));
    assert_eq!(add(page + 8, 1), Err(Errno::INVAL));
    add(0, 1).unwrap();
    let slots = sim.guest_memory().into_iter();
    let slots: Vec<_> = slots.map(|it| (it.slot, it.guest, it.size)).collect();
    assert_eq!(
        slots,
        [(32762, 0, page), (32763, page, 2 * page)],
        "the last ones first"
    );

    let write = |at, bytes: &[u8]| sim.guest_write(vm.as_fd(), at, bytes);
    let read = |at| sim.guest_read(vm.as_fd(), at, &mut [0; 4]);
    assert_eq!(write(2 * page + 5, &[1, 2, 3]), Ok(GuestAccess::Done));
    assert_eq!(memory.get(0x1004..0x1009), [0, 1, 2, 3, 0]);
    assert_eq!(read(3 * page - 4), Ok(GuestAccess::Done));
    for outside in [3 * page - 3, page - 2, 3 * page, u64::MAX - 3] {
        assert_eq!(read(outside), Ok(GuestAccess::Mmio), "{outside:#x}");
        assert_eq!(
            write(outside, &[1; 4]),
            Ok(GuestAccess::Mmio),
            "{outside:#x}"
        );
    }
    // The slot holds nothing: memory that goes is missed when the guest wants it.
    memory.lose(0x1000..0x2000);
    assert_eq!(read(2 * page), Err(Errno::FAULT));
    assert_eq!(write(2 * page, &[1]), Err(Errno::FAULT));
    sim.remove_guest_memory(vm.as_fd(), page).unwrap();
    assert_eq!(read(2 * page), Ok(GuestAccess::Mmio));
    assert_eq!(read(0), Ok(GuestAccess::Done));
    drop(vm);
    assert_eq!(sim.guest_memory(), []);
}
