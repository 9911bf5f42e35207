//! KVM beside VFIO: what a VM is told, in which order it is taken back, and tables that guests fill in the kernel.
#![allow(clippy::unwrap_used)] // a test that cannot be set up must fail
#![allow(unsafe_code)] // Tables that guests fill: what they reach is kept until they are gone.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use vfio_core::address::{Access, DmaMask, Iova, IovaRange};
use vfio_core::iommu::{Aperture, DmaBuffer, Registry};
use vfio_core::kernel::{Errno, Kernel, Linux};
use vfio_core::kvm::{KvmVfio, Tce, TceTable, create_vm};
use vfio_core::{AddressSpaceId, Answer, Device, ErrorKind, OpenOptions, Vfio};
use vfio_sim::machine::{Device as Described, Group};
use vfio_sim::wrap::{Call, FailNth, Mode, Request, Watch, Watched};
use vfio_sim::{Hazard, Hypercall, Machine, Object, Rights, SimKernel};

// Linked in to be chosen.
use iommu_spapr as _;
use iommu_type1 as _;

const LIOBN: u64 = 0x8000_0001;
/// Where the guest has its memory.
const GUEST: u64 = 0x1000_0000;
const PAIR: [&str; 2] = ["0000:00:04.0", "0000:00:05.0"];

struct Host {
    sim: SimKernel,
    kernel: Arc<dyn Kernel>,
    failing: Arc<FailNth>,
    vfio: Vfio,
    vm: OwnedFd,
}

impl Host {
    fn new(machine: Machine) -> Self {
        let sim = SimKernel::new(machine.with_kvm());
        let failing = Arc::new(FailNth::default());
        let kernel: Arc<dyn Kernel> = Arc::new(sim.clone());
        let kernel: Arc<dyn Kernel> = Arc::new(Watched::new(kernel, failing.clone()));
        Self {
            vfio: Vfio::on(Arc::clone(&kernel), Registry::linked().unwrap()),
            vm: create_vm(&kernel).unwrap(),
            sim,
            kernel,
            failing,
        }
    }

    /// With two devices in one group.
    fn pair() -> Self {
        Self::new(Machine::x86_64().with_devices(PAIR.map(Described::edu)))
    }

    fn kvm(&self) -> KvmVfio {
        KvmVfio::create(&self.kernel, self.vm.as_fd()).unwrap()
    }

    fn open(&self, bdf: &str) -> Device {
        self.vfio.open(bdf.parse().unwrap()).unwrap()
    }

    /// The ioctls that were made since this was last asked, by name, with how they ended.
    fn calls(&self, wanted: &str) -> Vec<String> {
        let log = self.sim.take_log().into_iter();
        let wanted = log.filter(|event| event.call.contains(wanted) || event.call == "close");
        wanted.map(|event| event.to_string()).collect()
    }

    fn table(&self, window: &Aperture) -> vfio_core::Result<TceTable> {
        TceTable::create(&self.kernel, self.vm.as_fd(), LIOBN, window)
    }

    /// The guest puts an entry into the window that it has a table for.
    fn put(&self, iova: u64, tce: Tce) -> Hypercall {
        let vm = self.vm.as_fd();
        self.sim.guest_put_tce(vm, LIOBN, iova, tce).unwrap()
    }

    /// Nothing is left but the VM.
    fn check_idle(self) {
        drop((self.vfio, self.vm));
        assert!(self.sim.is_idle(), "{:?}", self.sim.open_objects());
        assert_eq!(self.sim.hazards(), []);
        assert_eq!(self.sim.locked(), 0);
    }
}

/// The lowest window of a device, which is made when it is first used.
fn window(device: &Device) -> Aperture {
    drop(buffer(device));
    device.domain().capabilities().unwrap().apertures[0]
}

fn buffer(device: &Device) -> DmaBuffer {
    let domain = device.domain();
    domain
        .buffer(1 << 16, DmaMask::bits(32), Access::ReadWrite)
        .unwrap()
}

/// A table that is attached to a device's group.
fn attached(host: &Host, kvm: &KvmVfio, device: &Device) -> TceTable {
    let table = host.table(&window(device)).unwrap();
    let added = kvm.add(device).unwrap();
    // SAFETY: what the guest reaches is kept until the table has gone, or is what the test is about: simulated memory
    // that has gone is a fault.
    unsafe { table.attach(&added) }.unwrap();
    table
}

#[test]
fn one_of_two_devices_takes_nothing_away() {
    let host = Host::pair();
    let kvm = host.kvm();
    let devices = PAIR.map(|bdf| host.open(bdf));
    host.sim.take_log();
    let [first, second] = devices.each_ref().map(|device| kvm.add(device).unwrap());
    assert_eq!(host.calls("KVM_SET").len(), 1, "it is added once");
    let [one, other] = devices;
    drop(one);
    first.close().unwrap();
    assert_eq!(host.calls("KVM_SET"), ["device 0000:00:04.0: close"]);
    second.close().unwrap();
    assert_eq!(
        host.calls("KVM_SET"),
        ["VFIO device of VM 0: KVM_SET_DEVICE_ATTR"]
    );
    // It can be added anew, and goes before its group is closed.
    let added = kvm.add(&other).unwrap();
    other.close().unwrap();
    host.sim.take_log();
    drop(added);
    host.sim.is_idle();
    let closed = host.calls("KVM_SET");
    let group = closed.iter().position(|it| it == "group 2: close").unwrap();
    let del = closed
        .iter()
        .position(|it| it.contains("KVM_SET_DEVICE_ATTR"));
    assert!(del.unwrap() < group, "{closed:?}");
    drop(kvm);
    host.check_idle();
}

#[test]
fn drops_in_any_order_leave_nothing() {
    for first in 0..4 {
        for second in (0..4).filter(|it| *it != first) {
            let host = Host::new(Machine::pseries());
            let mut held: [Option<Box<dyn Send>>; 4] = {
                let kvm = host.kvm();
                let device = host.open("0000:00:00.0");
                let table = attached(&host, &kvm, &device);
                let added = kvm.add(&device).unwrap();
                [
                    Some(Box::new(kvm)),
                    Some(Box::new(device)),
                    Some(Box::new(table)),
                    Some(Box::new(added)),
                ]
            };
            held[first] = None;
            held[second] = None;
            drop(held);
            host.check_idle();
        }
    }
}

#[test]
fn a_group_that_kvm_holds_is_not_opened_anew_until_it_lets_go() {
    let host = Host::new(Machine::x86_64());
    let kvm = host.kvm();
    let device = host.open("0000:00:04.0");
    let added = kvm.add(&device).unwrap();
    // Taking it away fails once: its group is closed, and KVM holds it.
    host.failing.arm(0, Errno::INTR.into(), Mode::Once);
    let error = added.close().unwrap_err();
    assert_eq!(error.errno(), Some(Errno::INTR));
    assert!(
        error
            .to_string()
            .contains("KVM_DEV_VFIO_FILE_DEL of group 2"),
        "{error}"
    );
    // Added again, it is ours as before.
    drop(kvm.add(&device).unwrap());
    drop(device);
    drop(host.open("0000:00:04.0"));

    let device = host.open("0000:00:04.0");
    let added = kvm.add(&device).unwrap();
    host.failing.arm(0, Errno::INTR.into(), Mode::Once);
    drop(added);
    drop(device);
    let error = host.vfio.open("0000:00:04.0".parse().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    drop(kvm);
    drop(host.open("0000:00:04.0"));
    host.check_idle();
}

#[test]
fn what_kvm_answers_is_said() {
    let host = Host::new(Machine::x86_64());
    let device = host.open("0000:00:04.0");
    let create = || KvmVfio::create(&host.kernel, host.vm.as_fd());
    for (errno, kind, word) in [
        (Errno::BUSY, ErrorKind::Busy, "adopt"),
        (Errno::NODEV, ErrorKind::Unsupported, "without VFIO"),
        (Errno::NOTTY, ErrorKind::Invalid, "none of a VM"),
        (Errno::IO, ErrorKind::Kernel, "another process"),
        (Errno::MFILE, ErrorKind::Exhausted, ""),
    ] {
        host.failing.arm(0, errno.into(), Mode::Once);
        let error = create().unwrap_err();
        assert_eq!((error.kind(), error.errno()), (kind, Some(errno)));
        assert!(error.to_string().contains(word), "{error}");
        assert_eq!(error.operation(), "KVM_CREATE_DEVICE");
    }
    host.failing.arm(0, Answer::Returned(3), Mode::Once);
    assert_eq!(create().unwrap_err().answer(), Some(Answer::Returned(3)));
    // Made, and then not to be used: it is closed.
    host.failing.arm(1, Errno::INTR.into(), Mode::Once);
    assert_eq!(create().unwrap_err().operation(), "KVM_HAS_DEVICE_ATTR");

    let kvm = create().unwrap();
    for (errno, kind, word) in [
        (Errno::INVAL, ErrorKind::Kernel, "takes no such file"),
        (Errno::IO, ErrorKind::Kernel, "another process"),
        (Errno::BADF, ErrorKind::Kernel, "group 2"),
        (Errno::NOMEM, ErrorKind::Exhausted, "group 2"),
    ] {
        host.failing.arm(0, errno.into(), Mode::Once);
        let error = kvm.add(&device).unwrap_err();
        assert_eq!((error.kind(), error.errno()), (kind, Some(errno)));
        assert!(error.to_string().contains(word), "{error}");
        assert_eq!(error.group(), Some(2));
    }
    drop((kvm, device));
    host.check_idle();
}

#[test]
fn without_kvm_it_is_said_that_there_is_none() {
    let kernel: Arc<dyn Kernel> = Arc::new(SimKernel::new(Machine::pseries()));
    let error = create_vm(&kernel).unwrap_err();
    assert_eq!(
        (error.kind(), error.errno()),
        (ErrorKind::Unsupported, Some(Errno::NOENT))
    );
    assert!(error.to_string().contains("no KVM"), "{error}");
}

#[test]
fn a_vm_of_another_process_is_not_ours() {
    let host = Host::new(Machine::pseries());
    let other: Arc<dyn Kernel> = Arc::new(host.sim.process(Rights::ROOT));
    let error = KvmVfio::create(&other, host.vm.as_fd()).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::IO));
    assert!(error.to_string().contains("another process"), "{error}");
}

#[test]
fn without_tables_the_vmm_is_told_to_keep_them() {
    let host = Host::new(Machine::x86_64());
    let window = Aperture {
        range: IovaRange::new(Iova(0), 1 << 30).unwrap(),
        page_size: 4096,
    };
    let error = host.table(&window).unwrap_err();
    assert_eq!(
        (error.kind(), error.errno()),
        (ErrorKind::Unsupported, None)
    );
    assert!(error.to_string().contains("the VMM keeps them"), "{error}");
}

#[test]
fn a_kernel_that_fills_no_tables_attaches_none() {
    let old = Machine {
        release: "6.12.23".into(),
        ..Machine::pseries()
    };
    let host = Host::new(old);
    let kvm = host.kvm();
    let device = host.open("0000:00:00.0");
    let table = host.table(&window(&device)).unwrap();
    assert!(!table.can_attach());
    let added = kvm.add(&device).unwrap();
    // SAFETY: it is refused.
    let error = unsafe { table.attach(&added) }.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("the VMM does"), "{error}");
    drop((table, added, device, kvm));
    host.check_idle();
}

#[test]
fn windows_that_no_table_can_have_are_refused_before_the_kernel_is_asked() {
    let host = Host::new(Machine::pseries());
    let last = IovaRange::inclusive(Iova(1 << 63), Iova(u64::MAX)).unwrap();
    for (range, page_size) in [
        (IovaRange::new(Iova(0), 1 << 30), 2048),
        (IovaRange::new(Iova(0), 1 << 40), 1 << 35),
        (IovaRange::new(Iova(0), 1 << 30), 0),
        (IovaRange::new(Iova(0), 1 << 30), 3 << 12),
        (IovaRange::new(Iova(0x800), 1 << 30), 4096),
        (IovaRange::new(Iova(0), 4097), 4096),
        (Some(last), 4096),
    ] {
        let range = range.unwrap();
        host.failing.disarm();
        let error = host.table(&Aperture { range, page_size }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{range} {page_size:#x}");
        assert_eq!(host.failing.seen(), [""; 0]);
    }
}

#[test]
fn a_guest_reaches_what_it_maps_and_user_space_does_not_see_it() {
    for machine in [Machine::pseries(), Machine::powernv9()] {
        let bdf = machine.groups[0].devices[0].bdf.clone();
        let host = Host::new(machine);
        let kvm = host.kvm();
        let device = host.open(&bdf);
        let table = attached(&host, &kvm, &device);
        let window = table.window();
        let page = window.page_size;

        // Registered memory, as a buffer's is, which the guest sees.
        let memory = buffer(&device);
        let range = memory.host_range().unwrap();
        host.sim
            .add_guest_memory(host.vm.as_fd(), GUEST, range)
            .unwrap();
        let iova = window.range.first().0 + (1 << 20);
        let before = host.sim.mappings();
        assert_eq!(
            host.put(iova, Tce::new(GUEST + page, Access::Read)),
            Hypercall::Done
        );
        let all = host.sim.mappings();
        let new: Vec<_> = all.iter().filter(|it| !before.contains(it)).collect();
        let [mapping] = new.as_slice() else {
            panic!("{new:?}");
        };
        assert_eq!((mapping.iova, mapping.size), (iova, page));
        assert_eq!(mapping.vaddr, range.addr() as u64 + page);
        assert!(mapping.read && (!mapping.write));

        // H3 can be screened.
        let guest = |at, size| IovaRange::new(Iova(at), size).unwrap();
        let find = |guest| table.find(window.range, guest).unwrap();
        assert_eq!(find(guest(GUEST, 2 * page)), Some(Iova(iova)));
        assert_eq!(find(guest(GUEST, page)), None);
        assert_eq!(
            table.get(Iova(iova)).unwrap(),
            Tce::new(GUEST + page, Access::Read)
        );

        // What KVM cannot do it leaves to the VMM; what is wrong, to nobody.
        for (iova, tce, answer) in [
            (
                iova + page,
                Tce::new(GUEST + (1 << 30), Access::Read),
                Hypercall::TooHard,
            ),
            (
                iova + page,
                Tce::new(GUEST + 1024, Access::Read),
                Hypercall::TooHard,
            ),
            (iova + 1, Tce::new(GUEST, Access::Read), Hypercall::Wrong),
            (
                window.range.last().0 + 1,
                Tce::new(GUEST, Access::Read),
                Hypercall::Wrong,
            ),
        ] {
            assert_eq!(host.put(iova, tce), answer, "{iova:#x} {tce:?}");
        }
        let elsewhere = host
            .sim
            .guest_put_tce(host.vm.as_fd(), LIOBN + 1, iova, Tce::NONE);
        assert_eq!(elsewhere.unwrap(), Hypercall::TooHard);
        assert_eq!(table.tces(window.range).unwrap().count(), 1);

        // Replaced, and taken away.
        assert_eq!(
            host.put(iova, Tce::new(GUEST, Access::ReadWrite)),
            Hypercall::Done
        );
        assert_eq!(find(guest(GUEST, page)), Some(Iova(iova)));
        assert_eq!(host.put(iova, Tce::NONE), Hypercall::Done);
        assert_eq!(find(guest(GUEST, 1 << 40)), None);
        assert_eq!(host.sim.mappings(), before);

        drop(memory);
        drop((table, device, kvm));
        host.check_idle();
    }
}

#[test]
fn memory_that_a_guest_has_mapped_and_that_goes_is_the_hazard_that_can_be_found_before() {
    let host = Host::new(Machine::pseries());
    let kvm = host.kvm();
    let device = host.open("0000:00:00.0");
    let table = attached(&host, &kvm, &device);
    let memory = buffer(&device);
    let range = memory.host_range().unwrap();
    let vm = host.vm.as_fd();
    host.sim.add_guest_memory(vm, GUEST, range).unwrap();
    let iova = table.window().range.first().0 + (1 << 20);
    assert_eq!(
        host.put(iova, Tce::new(GUEST, Access::ReadWrite)),
        Hypercall::Done
    );
    // The slot goes; the entry stays.
    host.sim.remove_guest_memory(vm, GUEST).unwrap();
    let guest = IovaRange::new(Iova(GUEST), range.len() as u64).unwrap();
    let within = table.window().range;
    assert_eq!(table.find(within, guest).unwrap(), Some(Iova(iova)));
    drop(memory);
    assert_eq!(host.sim.hazards(), [Hazard::H3]);
}

#[test]
fn a_table_that_is_let_go_of_fills_nothing() {
    let host = Host::new(Machine::pseries());
    let kvm = host.kvm();
    let device = host.open("0000:00:00.0");
    let table = attached(&host, &kvm, &device);
    let window = table.window();
    drop(table);
    // Another one, attached to nobody: the guest writes into it alone.
    let table = host.table(&window).unwrap();
    let memory = buffer(&device);
    let range = memory.host_range().unwrap();
    host.sim
        .add_guest_memory(host.vm.as_fd(), GUEST, range)
        .unwrap();
    let before = host.sim.mappings();
    let iova = window.range.first().0 + (1 << 20);
    assert_eq!(
        host.put(iova, Tce::new(GUEST, Access::Read)),
        Hypercall::Done
    );
    assert_eq!(host.sim.mappings(), before);
    assert_eq!(table.tces(window.range).unwrap().count(), 1);
    drop((memory, table, device, kvm));
    host.check_idle();
}

#[test]
fn all_groups_of_a_domain_are_attached_or_it_is_said() {
    let mut machine = Machine::powernv9();
    machine
        .groups
        .push(Group::new(7, [Described::big_endian_edu("0002:01:00.0")]));
    let host = Host::new(machine);
    let kvm = host.kvm();
    let options = OpenOptions::default().in_space(AddressSpaceId::unique());
    let open = |bdf: &str| host.vfio.open_with(bdf.parse().unwrap(), options).unwrap();
    let (first, second) = (open("0000:01:00.0"), open("0002:01:00.0"));
    assert_eq!(first.domain(), second.domain());
    let table = host.table(&window(&first)).unwrap();
    let one = kvm.add(&first).unwrap();
    // SAFETY: the guest has no memory.
    let attach = || unsafe { table.attach_all(&kvm, first.domain()) };
    let error = attach().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("1 of the 2 groups"), "{error}");
    let other = kvm.add(&second).unwrap();
    attach().unwrap();
    host.sim.take_log();
    attach().unwrap();
    assert_eq!(host.calls("KVM_SET"), [""; 0], "the kernel would count it");
    // Whoever adds stops, and the table holds both.
    drop((one, other));
    assert_eq!(host.calls("KVM_SET"), [""; 0]);
    drop((first, second));
    assert!(host.sim.open_objects().contains(&Object::Group(7)));
    drop(table);
    assert!(!host.sim.open_objects().contains(&Object::Group(7)));
    drop(kvm);
    host.check_idle();
}

#[test]
fn a_table_that_cannot_be_mapped_says_so_and_is_asked_again() {
    /// Fails to map what is no memory of the process's own, once.
    #[derive(Debug, Default)]
    struct Once(std::sync::atomic::AtomicBool);

    impl Watch for Once {
        fn before(&self, call: &Call<'_>) -> Result<(), Answer> {
            let is_first = || !self.0.swap(true, std::sync::atomic::Ordering::Relaxed);
            match call.request {
                Request::MapRegion { .. } if is_first() => Err(Errno::NOMEM.into()),
                _ => Ok(()),
            }
        }
    }

    let host = Host::new(Machine::pseries());
    let watch = Arc::new(Once::default());
    let kernel: Arc<dyn Kernel> = Arc::new(Watched::new(Arc::clone(&host.kernel), watch));
    let window = Aperture {
        range: IovaRange::new(Iova(0), 1 << 30).unwrap(),
        page_size: 4096,
    };
    let table = TceTable::create(&kernel, host.vm.as_fd(), LIOBN, &window).unwrap();
    let error = table.get(Iova(0)).unwrap_err();
    assert_eq!(
        (error.operation(), error.kind()),
        ("mmap", ErrorKind::Exhausted)
    );
    assert_eq!(table.get(Iova(0)).unwrap(), Tce::NONE);
    // Mapped, it lives on for others who have it open; the library unmaps it first.
    drop(table);
    host.check_idle();
}

#[test]
fn threads_that_add_and_let_go_agree_in_the_end() {
    let host = Host::pair();
    let kvm = host.kvm();
    let devices = PAIR.map(|bdf| host.open(bdf));
    std::thread::scope(|scope| {
        for device in devices.iter().cycle().take(4) {
            let kvm = kvm.clone();
            scope.spawn(move || {
                for _ in 0..200 {
                    kvm.add(device).unwrap().close().unwrap();
                }
            });
        }
    });
    host.sim.take_log();
    let added = kvm.add(&devices[0]).unwrap();
    assert_eq!(host.calls("KVM_SET").len(), 1, "it was not added any more");
    drop((added, kvm, devices));
    host.check_idle();
}

#[test]
fn what_is_held_can_be_shared_by_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<KvmVfio>();
    is_shared::<vfio_core::kvm::KvmGroup>();
    is_shared::<TceTable>();
}

/// What can be asked of this host's own KVM without a device.
#[test]
#[allow(clippy::print_stderr)] // why nothing was asked
fn this_hosts_kvm() {
    let kernel: Arc<dyn Kernel> = Arc::new(Linux);
    let vm = match create_vm(&kernel) {
        Ok(vm) => vm,
        Err(error) => return eprintln!("not asked: {error}"),
    };
    let kvm = match KvmVfio::create(&kernel, vm.as_fd()) {
        Ok(kvm) => kvm,
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            return eprintln!("not asked: {error}");
        }
        Err(error) => panic!("{error}"),
    };
    let create = || KvmVfio::create(&kernel, vm.as_fd()).map(drop);
    assert_eq!(create().unwrap_err().kind(), ErrorKind::Busy);
    drop(kvm);
    create().unwrap();
    create().unwrap();
    let other = kernel.eventfd().unwrap();
    let error = KvmVfio::create(&kernel, other.as_fd()).unwrap_err();
    assert_ne!(error.kind(), ErrorKind::Busy);
    for fd in [other, vm.try_clone().unwrap()] {
        let error = KvmVfio::adopt(&kernel, fd).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    let window = Aperture {
        range: IovaRange::new(Iova(0), 1 << 30).unwrap(),
        page_size: 4096,
    };
    if !cfg!(target_arch = "powerpc64") {
        let error = TceTable::create(&kernel, vm.as_fd(), LIOBN, &window).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
}
