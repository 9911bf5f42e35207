//! A device and its mappings go from one process to another, on a simulated kernel, whose processes share their memory
//! and fds. A real `exec` is `live-update`, in the lab.
#![allow(clippy::unwrap_used)] // a test that cannot be set up must fail

use std::sync::Arc;

use iommu_spapr::SPAPR_V2;
use iommu_type1::{TYPE1, TYPE1_V2};
use pci_device::{Command, ConfigSpace};
use vfio_core::address::{Access, DmaMask, HostRange, IovaRange};
use vfio_core::guest::AddressSpace;
use vfio_core::host::{self, Bdf};
use vfio_core::iommu::{Domain, Registration, Registry};
use vfio_core::kernel::{Errno, Kernel};
use vfio_core::{AddressSpaceId, Answer, Device, ErrorKind, Handover, OpenOptions, Vfio};
use vfio_sim::wrap::{FailNth, Mode, Watched};
use vfio_sim::{Machine, Rights, SimKernel};
use vfio_tests::SharedMemory;
use vfio_tests::devices::{BUFFER_SIZE, Dma, Model};

const LOW: DmaMask = DmaMask::bits(28);
const FORGET: &str = "VFIO_IOMMU_UNMAP_DMA";
const RENEW: &str = "VFIO_IOMMU_MAP_DMA";

/// A process.
struct Process {
    sim: SimKernel,
    failing: Arc<FailNth>,
    vfio: Vfio,
}

impl Process {
    fn new(sim: SimKernel, backend: Registration) -> Self {
        let failing = Arc::new(FailNth::default());
        let kernel: Arc<dyn Kernel> = Arc::new(sim.clone());
        let kernel: Arc<dyn Kernel> = Arc::new(Watched::new(kernel, failing.clone()));
        let vfio = Vfio::on(kernel, Registry::of([backend]).unwrap());
        Self { sim, failing, vfio }
    }

    /// The first process of a machine.
    fn first(machine: Machine, backend: Registration) -> Self {
        Self::new(SimKernel::new(machine), backend)
    }

    fn device(&self, n: usize) -> Bdf {
        let machine = self.sim.machine();
        let mut devices = machine.groups.iter().flat_map(|group| &group.devices);
        devices.nth(n).unwrap().bdf.parse().unwrap()
    }

    fn open(&self) -> Device {
        self.vfio.open(self.device(0)).unwrap()
    }

    /// Another process of the same kernel.
    fn next(&self, rights: Rights, backend: Registration) -> Self {
        Self::new(self.sim.process(rights), backend)
    }

    fn adopt(&self, handover: Handover) -> Device {
        let fds = handover.into_fds();
        let handover = Handover::of_group(fds.group)
            .with_container(fds.container.unwrap())
            .with_iommu_of(&fds.backend.unwrap())
            .with_device(fds.device.unwrap());
        self.vfio.adopt(self.device(0), handover).unwrap()
    }

    /// What the device does with each memory.
    fn moves(&self, device: &Device, memories: &[SharedMemory]) -> Vec<(Dma, Dma)> {
        let config = ConfigSpace::of(device).unwrap();
        config
            .enable(Command::MEMORY | Command::BUS_MASTER)
            .unwrap();
        let device_of_host = host::device(&**self.vfio.kernel(), device.bdf()).unwrap();
        let model = Model::of(&device_of_host).unwrap();
        let mut driver = model.drive(device).unwrap();
        driver.start().unwrap();
        let moved = memories.iter().map(|memory| {
            let reads = driver.reads(memory).unwrap();
            (reads, driver.writes(memory).unwrap())
        });
        moved.collect()
    }
}

/// Memory that the device may write, memory that it may not, and more of the former.
fn memories(domain: &Domain) -> [SharedMemory; 3] {
    [Access::ReadWrite, Access::Read, Access::ReadWrite].map(|access| {
        let addresses = domain.alloc(BUFFER_SIZE as u64, LOW).unwrap();
        let memory = SharedMemory::new(addresses.range()).unwrap();
        memory.map(domain, access).unwrap();
        memory
    })
}

fn at(memories: &[SharedMemory]) -> Vec<(IovaRange, HostRange)> {
    let at = memories.iter();
    at.map(|memory| (memory.range(), memory.host_range().unwrap()))
        .collect()
}

const AS_MAPPED: [(Dma, Dma); 3] = [
    (Dma::Arrived, Dma::Arrived),
    (Dma::Arrived, Dma::Blocked),
    (Dma::Arrived, Dma::Arrived),
];
const SIZE: u64 = 3 * BUFFER_SIZE as u64;

/// A guest with sections for memories.
fn guest(memories: &[SharedMemory]) -> AddressSpace {
    let space = AddressSpace::new();
    let mut edit = space.edit();
    for (memory, access) in
        memories
            .iter()
            .zip([Access::ReadWrite, Access::Read, Access::ReadWrite])
    {
        edit = edit.insert(memory.section(access).unwrap());
    }
    let _ = edit.commit().unwrap();
    space
}

#[test]
fn guest_memory_that_another_process_has_mapped_is_followed_as_it_is() {
    let before = Process::first(Machine::x86_64(), TYPE1_V2);
    let after = before.next(Rights::user(2 * SIZE), TYPE1_V2);
    let device = before.open();
    let old = memories(device.domain());
    let mapped = device.domain().forget_addresses().unwrap();
    let handover = device.hand_over().unwrap();
    let new = old.each_ref().map(|memory| memory.again().unwrap());
    drop(device);

    let device = after.adopt(handover);
    let domain = device.domain();
    let fewer = SharedMemory::resume(&guest(&new[..2]), domain, &mapped).unwrap_err();
    assert_eq!(fewer.kind(), ErrorKind::Invalid, "{fewer}");
    let space = guest(&new);
    let missing = SharedMemory::resume(&space, domain, &mapped[1..]).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Invalid, "{missing}");
    after.failing.arm(1, Errno::NOMEM.into(), Mode::Once);
    let failed = SharedMemory::resume(&space, domain, &mapped).unwrap_err();
    assert_eq!(failed.errno(), Some(Errno::NOMEM), "{failed}");
    assert!(after.failing.failed().is_some());
    after.failing.disarm();
    assert_eq!((space.followers(), before.sim.locked()), (0, SIZE));

    SharedMemory::resume(&space, domain, &mapped).unwrap();
    assert_eq!(
        after.failing.seen()[1..],
        [RENEW; 3],
        "after the question whether it can"
    );
    assert_eq!((before.sim.locked(), after.sim.locked()), (0, SIZE));
    assert_eq!(after.moves(&device, &new), AS_MAPPED);
    let twice = SharedMemory::resume(&space, domain, &mapped).unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::Busy, "{twice}");
    let _ = space.edit().remove(new[0].range()).commit().unwrap();
    let moves = after.moves(&device, &new);
    assert_eq!(moves[0], (Dma::Blocked, Dma::Blocked));
    assert_eq!(moves[1..], AS_MAPPED[1..]);
    drop(space);
    assert_eq!(after.sim.mappings(), []);
}

#[test]
fn another_process_goes_on_with_device_and_mappings() {
    for backend in [TYPE1, TYPE1_V2] {
        let before = Process::first(Machine::x86_64(), backend);
        let after = before.next(Rights::user(2 * SIZE), backend);
        let device = before.open();
        let old = memories(device.domain());
        assert_eq!(before.moves(&device, &old), AS_MAPPED);

        let mut forgotten = device.domain().forget_addresses().unwrap();
        forgotten.sort_by_key(|range| old.iter().position(|memory| memory.range() == *range));
        assert_eq!(forgotten, old.each_ref().map(SharedMemory::range));
        let handover = device.hand_over().unwrap();
        let new = old.each_ref().map(|memory| memory.again().unwrap());
        assert_eq!(before.sim.locked(), SIZE);
        drop(device); // `exec` closes its fds; that the group leaves is refused, as the others are open

        let device = after.adopt(handover);
        let domain = device.domain();
        assert_eq!(domain.name(), backend.name);
        SharedMemory::renew(domain, &at(&new)).unwrap();
        assert_eq!((before.sim.locked(), after.sim.locked()), (0, SIZE));
        assert_eq!(after.moves(&device, &new), AS_MAPPED);
        let taken = domain.alloc_at(new[1].range().first(), BUFFER_SIZE as u64);
        assert_eq!(taken.unwrap_err().kind(), ErrorKind::Overlap);

        let bytes = new.iter().map(|memory| domain.unmap(memory.range()));
        assert_eq!(bytes.map(Result::unwrap).sum::<u64>(), SIZE);
        assert_eq!(
            after.moves(&device, &new[..1]),
            [(Dma::Blocked, Dma::Blocked)]
        );
        assert_eq!(after.sim.locked(), 0);
        device.close().unwrap();
        assert!(after.sim.is_idle() && after.sim.hazards().is_empty());
    }
}

#[test]
fn a_process_that_stays_renews_what_it_has() {
    let process = Process::first(Machine::x86_64(), TYPE1_V2);
    let device = process.open();
    let domain = device.domain();
    let buffer = domain.buffer(BUFFER_SIZE, LOW, Access::ReadWrite).unwrap();
    let memories = memories(domain);
    domain.forget_addresses().unwrap();
    drop(device.hand_over().unwrap()); // there was no `exec`
    let mut all = at(&memories);
    all.push((buffer.range(), buffer.host_range().unwrap()));
    SharedMemory::renew(domain, &all).unwrap();
    assert_eq!(process.moves(&device, &memories), AS_MAPPED);
    assert_eq!(domain.forget_addresses().unwrap().len(), 4, "and again");
    drop(buffer);
    let bytes = domain.unmap(LOW.range()).unwrap();
    assert_eq!(bytes, SIZE, "what is forgotten is unmapped as ever");
    device.close().unwrap();
    assert!(process.sim.is_idle());
}

#[test]
fn no_group_joins_while_addresses_are_forgotten() {
    let process = Process::first(Machine::x86_64(), TYPE1_V2);
    let options = OpenOptions::default().in_space(AddressSpaceId::unique());
    let open = |n| {
        let opened = process.vfio.open_with(process.device(n), options);
        opened.unwrap()
    };
    let first = open(0);
    let memories = memories(first.domain());
    first.domain().forget_addresses().unwrap();
    assert_ne!(open(1).domain(), first.domain());
    SharedMemory::renew(first.domain(), &at(&memories)).unwrap();
    assert_eq!(open(1).domain(), first.domain());
}

/// What can be forgotten is what was valid before, and what can be renewed is what was forgotten.
fn is_forgotten(domain: &Domain) -> bool {
    match domain.forget_addresses() {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
            assert!(error.to_string().contains("forgotten before"), "{error}");
            true
        }
    }
}

#[test]
fn an_address_that_is_not_forgotten_leaves_all_valid() {
    for mode in [Mode::Once, Mode::AndAllLater] {
        let process = Process::first(Machine::x86_64(), TYPE1_V2);
        let device = process.open();
        let domain = device.domain();
        let memories = memories(domain);
        let calls = ["VFIO_CHECK_EXTENSION", FORGET];
        for (n, call) in calls.into_iter().enumerate() {
            for errno in [Errno::IO, Errno::INTR] {
                process.failing.arm(n, errno.into(), mode);
                let error = domain.forget_addresses().unwrap_err();
                assert_eq!((error.operation(), error.errno()), (call, Some(errno)));
                process.failing.disarm();
            }
        }
        let renewed = SharedMemory::renew(domain, &at(&memories[2..])).unwrap_err();
        assert_eq!(renewed.kind(), ErrorKind::Invalid);
        assert!(renewed.to_string().contains("not forgotten"), "{renewed}");
        assert!(!is_forgotten(domain));
    }
}

#[test]
fn of_several_addresses_all_are_renewed_or_none() {
    let before = Process::first(Machine::x86_64(), TYPE1_V2);
    let device = before.open();
    let old = memories(device.domain());
    device.domain().forget_addresses().unwrap();
    let handover = device.hand_over().unwrap();
    drop(device);
    let after = before.next(Rights::ROOT, TYPE1_V2);
    let device = after.adopt(handover);
    let domain = device.domain();
    let mappings = at(&old);
    for n in 0..4 {
        for errno in [Errno::NOMEM, Errno::NOENT] {
            after.failing.arm(n, errno.into(), Mode::Once);
            let error = SharedMemory::renew(domain, &mappings).unwrap_err();
            assert_eq!(error.errno(), Some(errno));
            let seen = after.failing.seen();
            assert_eq!(seen.len(), 2 * n + usize::from(n == 0), "{seen:?}");
            if let Some(failed) = n.checked_sub(1) {
                assert_eq!(error.operation(), RENEW);
                assert_eq!(error.iova(), Some(mappings[failed].0));
            }
            assert_eq!(after.sim.mappings().len(), 3);
            assert_eq!(domain.unmap(LOW.range()).unwrap(), 0, "none is known");
        }
    }
    after.failing.disarm();
    SharedMemory::renew(domain, &mappings).unwrap();
    assert_eq!(after.moves(&device, &old), AS_MAPPED);
}

#[test]
fn what_stays_renewed_is_said_and_known() {
    let process = Process::first(Machine::x86_64(), TYPE1_V2);
    let device = process.open();
    let memories = memories(device.domain());
    device.domain().forget_addresses().unwrap();
    let handover = device.hand_over().unwrap();
    drop(device);
    let device = process.adopt(handover);
    let domain = device.domain();
    process.failing.arm(2, Errno::IO.into(), Mode::AndAllLater);
    let error = SharedMemory::renew(domain, &at(&memories)).unwrap_err();
    process.failing.disarm();
    let said = format!("{} stays renewed", memories[0].range());
    assert!(error.to_string().contains(&said), "{error}");
    assert_eq!(
        domain.unmap(LOW.range()).unwrap(),
        memories[0].range().size()
    );
    SharedMemory::renew(domain, &at(&memories[1..])).unwrap();
}

#[test]
fn a_process_that_may_not_lock_so_much_is_told_and_can_try_again() {
    let before = Process::first(Machine::x86_64(), TYPE1_V2);
    let device = before.open();
    let memories = memories(device.domain());
    device.domain().forget_addresses().unwrap();
    let handover = device.hand_over().unwrap();
    drop(device);
    let after = before.next(Rights::user(SIZE - 1), TYPE1_V2);
    let device = after.adopt(handover);
    let error = SharedMemory::renew(device.domain(), &at(&memories)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert_eq!(error.errno(), Some(Errno::NOMEM));
    after.sim.set_rights(Rights::user(SIZE));
    SharedMemory::renew(device.domain(), &at(&memories)).unwrap();
    assert_eq!(after.sim.locked(), SIZE);
}

#[test]
fn what_was_mapped_otherwise_is_refused_in_words() {
    let process = Process::first(Machine::x86_64(), TYPE1_V2);
    let device = process.open();
    let memories = memories(device.domain());
    device.domain().forget_addresses().unwrap();
    let (whole, host) = at(&memories)[0];
    let half = (
        IovaRange::new(whole.first(), whole.size() / 3).unwrap(),
        HostRange::new(host.addr(), host.len() / 3).unwrap(),
    );
    // The process that has mapped it knows.
    let error = SharedMemory::renew(device.domain(), &[half]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overlap, "{error}");
    assert!(error.to_string().contains(&whole.to_string()), "{error}");

    // Another one is told by the kernel.
    let handover = device.hand_over().unwrap();
    drop(device);
    let device = process.adopt(handover);
    let domain = device.domain();
    let free = domain.alloc(whole.size(), DmaMask::bits(64)).unwrap();
    for (wrong, word) in [
        (half, "another range"),
        ((free.range(), host), "nothing is mapped there"),
    ] {
        let error = SharedMemory::renew(domain, &[wrong]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    SharedMemory::renew(domain, &at(&memories)).unwrap();
}

#[test]
fn what_cannot_be_done_is_not_supported() {
    let process = Process::first(Machine::pseries(), SPAPR_V2);
    let device = process.open();
    let error = device.domain().forget_addresses().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");

    // Type1 on a kernel that does not advertise it.
    let process = Process::first(Machine::x86_64(), TYPE1_V2);
    let device = process.open();
    let memories = memories(device.domain());
    let answers = [
        |domain: &Domain, _: &[_]| domain.forget_addresses().map(drop),
        SharedMemory::renew,
    ];
    for answer in answers {
        process.failing.arm(0, Answer::Returned(0), Mode::Once);
        let error = answer(device.domain(), &at(&memories)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert_eq!(process.failing.seen().len(), 1);
    }
}

#[test]
fn after_the_end_nothing_is_forgotten() {
    let process = Process::first(Machine::x86_64(), TYPE1_V2);
    let device = process.open();
    let domain = device.domain().clone();
    device.close().unwrap();
    let error = domain.forget_addresses().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gone);
    let error = SharedMemory::renew(&domain, &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gone);
}
