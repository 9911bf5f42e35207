//! Every ioctl of every scenario fails, with everything that the kernel can say, on every simulated machine.
//!
//! First one alone: nothing panics, the error names the call that failed, the kernel ends with nothing left, and the
//! next attempt succeeds. Then the call and every later one, those of the release included: no memory is given back
//! that a device may still reach, and the error says what is left.

#![allow(clippy::print_stdout)] // says how large the table is
#![allow(unsafe_code)] // attaches a table that no guest fills

use std::fmt::Write as _;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use iommu_spapr::guest::{Bridge, DefaultWindow, DynamicWindows, Refused};
use libtest_mimic::{Arguments, Trial};
use pci_device::vmm::{Event, KvmSlots, Observer, Trap, Traps};
use pci_device::{AssignedDevice, Settings, Vmm};
use vfio_core::address::{Access, DmaMask, HostRange, Iova, IovaRange, PageSizes};
use vfio_core::device::RegionIndex;
use vfio_core::guest::{self, AddressSpace};
use vfio_core::host::Bdf;
use vfio_core::iommu::{
    DirtyBitmap, DmaBuffer, Domain, ErrorFunction, ErrorWidth, InjectedError, PeReset,
    RecoveryStep, Registration, Registry, WindowPages, WindowRequest,
};
use vfio_core::kernel::{Errno, Kernel};
use vfio_core::kvm::{KvmVfio, MemorySlots, TceTable, create_vm};
use vfio_core::{AddressSpaceId, Answer, Error, ErrorKind, OpenOptions, Vfio};
use vfio_sim::machine::{Bar, Device};
use vfio_sim::wrap::{Call, FailNth, Mode, Request, Watch, Watched, errnos};
use vfio_sim::{Hazard, Machine, Object, SimKernel};
use vfio_tests::SharedMemory;
use vfio_tests::guest::Ram;

const LOW: DmaMask = DmaMask::bits(32);
const HIGH: DmaMask = DmaMask::bits(64);
/// The BAR that is memory.
const MEMORY: u8 = 2;
/// Of the host's memory.
const PAGES: WindowPages = WindowPages::Exactly(1 << 16);

/// The call that can leave something with a guest.
const SET_SLOT: &str = "KVM_SET_USER_MEMORY_REGION";

/// What a program does, from nothing open to nothing open.
type Scenario = fn(&Host) -> vfio_core::Result<()>;

const SCENARIOS: &[(&str, Scenario)] = &[
    ("attach", |host| host.open(0)?.close()),
    ("map", |host| {
        let device = host.open(0)?;
        for mask in [LOW, HIGH] {
            let mut buffer = device.domain().buffer(1, mask, Access::ReadWrite)?;
            buffer.unmap()?;
        }
        device.close()
    }),
    ("map, and leave it to the drop", |host| {
        let device = host.open(0)?;
        let buffers = [LOW, HIGH].map(|mask| device.domain().buffer(1, mask, Access::ReadWrite));
        for buffer in buffers {
            drop(buffer?);
        }
        device.close()
    }),
    ("attach a second device", |host| {
        let first = host.open(0)?;
        let buffer = first.domain().buffer(1, LOW, Access::ReadWrite)?;
        let second = host.open(1)?;
        drop(buffer);
        second.close()?;
        first.close()
    }),
    ("release with everything still there", |host| {
        let device = host.open(0)?;
        let buffer = device.domain().buffer(1, LOW, Access::ReadWrite)?;
        let map = device.region(RegionIndex::Bar(0))?.map()?;
        drop(map);
        let closed = device.close();
        drop(buffer);
        closed
    }),
    ("track dirty pages", |host| {
        let device = host.open(0)?;
        let buffer = device.domain().buffer(1, LOW, Access::ReadWrite)?;
        match device.domain().dirty_pages() {
            Ok(dirty) => {
                let mut read = DirtyBitmap::new(buffer.range(), dirty.page_size())?;
                dirty.read_into(&mut read)?;
                dirty.stop()?;
            }
            // Not by this backend.
            Err(error) if error.kind() == ErrorKind::Unsupported => {}
            Err(error) => return Err(error),
        }
        device.close()
    }),
    ("forget addresses and renew them", |host| {
        let device = host.open(0)?;
        let domain = device.domain();
        let buffers = [LOW, HIGH].map(|mask| domain.buffer(1, mask, Access::ReadWrite));
        let [low, high] = buffers;
        let (low, high) = (low?, high?);
        match domain.forget_addresses() {
            Ok(_) => {
                let at = |buffer: &DmaBuffer| Ok((buffer.range(), buffer.host_range()?));
                SharedMemory::renew(domain, &[at(&low)?, at(&high)?])?;
            }
            // Not by this backend.
            Err(error) if error.kind() == ErrorKind::Unsupported => {}
            Err(error) => return Err(error),
        }
        drop((low, high));
        device.close()
    }),
    ("make windows, and the first ones again", |host| {
        let device = host.open(0)?;
        let domain = device.domain();
        if !domain.windows()?.is_empty() {
            let window = domain.create_window(&WindowRequest::of(1 << 30, PAGES))?;
            let start = window.range.first();
            domain.buffer(1, start, Access::Read)?.unmap()?;
            domain.remove_window(start)?;
            domain.remove_window(Iova(0))?;
            domain.reset_windows()?;
        }
        device.close()
    }),
    ("a guest writes TCEs", |host| {
        let device = host.open(0)?;
        host.guest(device.domain())
            .map_err(|refused| match refused {
                Refused::Host(error) => error,
                other => Error::new(ErrorKind::Invalid, "call", other.to_string()),
            })?;
        device.close()
    }),
    ("tell KVM", |host| {
        let kernel = host.vfio.kernel();
        let vm = create_vm(kernel)?;
        let kvm = KvmVfio::create(kernel, vm.as_fd())?;
        let device = host.open(0)?;
        let (first, second) = (kvm.add(&device)?, kvm.add(&device)?);
        let window = device.domain().capabilities()?.apertures;
        let window = window.first().copied().ok_or_else(|| nothing("a window"))?;
        drop(device.domain().buffer(1, LOW, Access::ReadWrite)?); // the window is made when it is first used
        match TceTable::create(kernel, vm.as_fd(), 1, &window) {
            // SAFETY: there is no guest that could put anything into the table.
            Ok(table) => unsafe { table.attach_all(&kvm, device.domain()) }?,
            // Not on this machine.
            Err(error) if error.kind() == ErrorKind::Unsupported => {}
            Err(error) => return Err(error),
        }
        first.close()?;
        let closed = device.close();
        second.close().and(closed)
    }),
    ("show a guest a BAR", |host| {
        let kernel = host.vfio.kernel();
        let vm = create_vm(kernel)?;
        let slots = MemorySlots::new(kernel, vm, 0..2)?;
        let device = host.open(0)?;
        let memory = device.region(RegionIndex::Bar(MEMORY))?.map()?;
        let memory = Arc::new(memory);
        let mut low = slots.insert(1 << 32, &memory, false)?;
        let mut high = slots.insert(1 << 33, &memory, false)?;
        drop(memory);
        let removed = low.remove().and(high.remove());
        drop((low, high));
        removed.and(device.close())
    }),
    ("a guest has a device", |host| {
        let kernel = host.vfio.kernel();
        let vm = create_vm(kernel)?;
        let slots = MemorySlots::new(kernel, vm, 0..4)?;
        let device = host.open(0)?;
        let told = Arc::new(Told::default());
        let mut vmm = Vmm::with_bus(told.clone());
        vmm.slots = vec![Arc::new(KvmSlots::of(slots))];
        vmm.observer = told.clone();
        let guest = AssignedDevice::new(&device, vmm, &Settings::default())?;
        let notifications = guest.notifications()?;
        let write = |at: u16, value: u32| guest.write_config(at, &value.to_le_bytes());
        for high in [0x80, 0x81] {
            write(0x18, 0); // the BAR that is memory
            write(0x1c, high);
            write(0x04, 0x6);
        }
        write(0x04, 0);
        let ended = notifications.close().and(guest.reset());
        drop(guest);
        let closed = device.close();
        told.first().and(ended).and(closed)
    }),
    ("recover an endpoint", |host| {
        let device = host.open(0)?;
        let endpoint = match device.domain().partitionable_endpoint() {
            Ok(endpoint) => endpoint,
            // Not on this machine. What the kernel refuses has an errno.
            Err(error) if error.kind() == ErrorKind::Unsupported && error.errno().is_none() => {
                return device.close();
            }
            Err(error) => return Err(error),
        };
        endpoint.enable()?;
        host.freeze(0);
        let mut recovery = endpoint.recovery()?;
        recovery.thaw_mmio()?;
        while recovery.step() != RecoveryStep::Recovered {
            recovery.advance(PeReset::Hot)?;
        }
        host.freeze(0);
        endpoint.thaw_mmio()?;
        endpoint.thaw_dma()?;
        endpoint.inject(InjectedError {
            width: ErrorWidth::Address32,
            function: ErrorFunction::LoadConfigData,
            address: 0,
            mask: 0,
        })?;
        endpoint.disable()?;
        drop((recovery, endpoint));
        device.close()
    }),
    ("reset", |host| {
        let device = host.open(0)?;
        device.reset()?;
        device.hot_reset(&[])?;
        device.close()
    }),
];

/// A VMM's bus with RAM at its start, which keeps what went wrong elsewhere.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<Error>>);

impl Told {
    fn first(&self) -> vfio_core::Result<()> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.first().cloned().map_or(Ok(()), Err)
    }
}

impl Traps for Told {
    fn add(&self, trap: &Trap) -> vfio_core::Result<()> {
        match trap.range.start {
            0 => Err(nothing("a place")),
            _ => Ok(()),
        }
    }

    fn remove(&self, _: &Trap) {}
}

impl Observer for Told {
    fn event(&self, _: Bdf, event: Event) {
        if let Event::NotMapped(_, _, error) | Event::StillMapped(_, _, error) = event {
            let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            told.push(error);
        }
    }
}

fn nothing(wanted: &str) -> Error {
    Error::new(ErrorKind::Invalid, "find", wanted)
}

/// A simulated machine under test.
struct Host {
    vfio: Vfio,
    sim: SimKernel,
    failing: Arc<FailNth>,
    frees: Arc<Frees>,
    space: AddressSpaceId,
    devices: Vec<String>,
}

impl Host {
    fn new(machine: &Machine, registration: Registration) -> Result<Self> {
        let sim = SimKernel::new(machine.clone().with_kvm());
        let failing = Arc::new(FailNth::default());
        let frees = Arc::new(Frees {
            sim: sim.clone(),
            wrong: Mutex::default(),
        });
        let kernel: Arc<dyn Kernel> = Arc::new(sim.clone());
        let kernel: Arc<dyn Kernel> = Arc::new(Watched::new(kernel, frees.clone()));
        let kernel: Arc<dyn Kernel> = Arc::new(Watched::new(kernel, failing.clone()));
        let groups = machine.groups.iter();
        let devices = groups
            .flat_map(|group| &group.devices)
            .map(|device| device.bdf.clone());
        Ok(Self {
            vfio: Vfio::on(kernel, Registry::of([registration])?),
            sim,
            failing,
            frees,
            space: AddressSpaceId::unique(),
            devices: devices.collect(),
        })
    }

    fn open(&self, number: usize) -> vfio_core::Result<vfio_core::Device> {
        let name = self.devices.get(number).map_or("", String::as_str);
        let bdf = name
            .parse()
            .map_err(|_| Error::new(ErrorKind::NoSuchDevice, "name", name))?;
        self.vfio
            .open_with(bdf, OpenOptions::default().in_space(self.space))
    }

    /// A guest on POWER boots, with that device.
    fn guest(&self, domain: &Domain) -> std::result::Result<(), Refused> {
        const LIOBN: u32 = 1;
        const PAGE: u64 = 1 << 16;
        let none = |what| Error::new(ErrorKind::Invalid, "set up", what);
        let ram = Ram::new(self.vfio.kernel(), 1 << 20).map_err(|_| none("memory"))?;
        let guest =
            |start: u64, size| IovaRange::new(Iova(start), size).ok_or_else(|| none("a range"));
        let space = Arc::new(AddressSpace::new());
        let section = guest::Section::ram(guest(0, 1 << 20)?, ram.block(), 0)?;
        let _ = space.edit().insert(section).commit()?;
        let default = DefaultWindow {
            liobn: LIOBN,
            range: guest(0, 1 << 26)?,
            page_shift: 12,
        };
        let dynamic = DynamicWindows {
            liobn: LIOBN + 1,
            start: Iova(1 << 59),
            page_sizes: PageSizes(PAGE),
            largest: 1 << 32,
        };
        let bridge = Bridge::new(&space, default, Some(dynamic))?;
        bridge.follow(domain)?;
        bridge.put(LIOBN, 0x1000, 3)?;
        bridge.put_list(LIOBN, 0x2000, &[0x1003, 0x2003, 0x5001])?;
        bridge.put(LIOBN, 0x3000, 0)?;
        if domain.windows()?.len() == 1 {
            let window = bridge.create(16, 30)?;
            bridge.put(window.liobn, window.start.0, PAGE | 3)?;
        }
        bridge.reset()?;
        bridge.put(LIOBN, 0x1000, 3)?;
        Ok(bridge.unfollow(domain)?)
    }

    /// An error befalls a device.
    fn freeze(&self, number: usize) {
        let name = self.devices.get(number).map_or("", String::as_str);
        let frozen = self.sim.freeze(name);
        debug_assert!(frozen.is_ok(), "{frozen:?}");
    }

    /// Nothing is left of what was opened, mapped, registered or accounted.
    fn check_empty(&self) -> Result<()> {
        self.check_empty_but(&[])
    }

    /// The same, but for what could not be avoided.
    fn check_empty_but(&self, hazards: &[Hazard]) -> Result<()> {
        ensure!(
            self.sim.is_idle(),
            "left open: {:?}",
            self.sim.open_objects()
        );
        ensure!(
            self.sim.mappings().is_empty(),
            "left mapped: {:?}",
            self.sim.mappings()
        );
        ensure!(
            self.sim.holdings().is_empty(),
            "left: {:?}",
            self.sim.holdings()
        );
        ensure!(
            self.sim.locked() == 0,
            "{} bytes are locked",
            self.sim.locked()
        );
        let mut asked = self.sim.hazards();
        asked.retain(|hazard| !hazards.contains(hazard));
        ensure!(asked.is_empty(), "asked for {asked:?}");
        self.frees.check()
    }
}

/// Watches that no memory is given back that a device reaches, or a guest.
#[derive(Debug)]
struct Frees {
    sim: SimKernel,
    wrong: Mutex<Vec<String>>,
}

impl Frees {
    fn check(&self) -> Result<()> {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(wrong.is_empty(), "{}", wrong.join("; "));
        Ok(())
    }
}

impl Watch for Frees {
    fn before(&self, call: &Call<'_>) -> std::result::Result<(), Answer> {
        let Request::Munmap { addr, len } = call.request else {
            return Ok(());
        };
        let freed = HostRange::new(addr.as_ptr() as usize, len);
        let mappings = self.sim.mappings().into_iter();
        let of_devices = mappings.map(|it| (it.vaddr, it.size, format!("{it:?}")));
        let slots = self.sim.guest_memory().into_iter();
        let of_guests = slots.map(|it| (it.vaddr, it.size, format!("{it:?}")));
        for (vaddr, size, what) in of_devices.chain(of_guests) {
            let vaddr = usize::try_from(vaddr).ok().zip(usize::try_from(size).ok());
            let mapped = vaddr.and_then(|(vaddr, size)| HostRange::new(vaddr, size));
            if freed
                .zip(mapped)
                .is_some_and(|(freed, mapped)| freed.overlaps(mapped))
            {
                let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
                wrong.push(format!("memory was given back that is mapped: {what}"));
            }
        }
        Ok(())
    }
}

/// What is not an error of a scenario, and why.
fn is_tolerated(call: &str, answer: Answer) -> bool {
    match call {
        // What the kernel refuses only for a moment is asked again.
        "VFIO_GROUP_UNSET_CONTAINER" => answer == Answer::Errno(Errno::BUSY),
        "VFIO_GROUP_GET_DEVICE_FD" => answer == Answer::Errno(Errno::NODEV),
        // A second group that the first one's container does not take gets a container of its own.
        "VFIO_GROUP_SET_CONTAINER" => matches!(
            answer,
            Answer::Errno(Errno::INVAL | Errno::BUSY | Errno::PERM | Errno::NODEV)
        ),
        // A container whose life has ended answers just that (A6).
        "VFIO_GROUP_GET_STATUS" => answer == Answer::Errno(Errno::INVAL),
        // That a device reports no errors (F80).
        "VFIO_DEVICE_GET_IRQ_INFO" => answer == Answer::Errno(Errno::INVAL),
        // Without a window of its own, a device has the default one.
        "VFIO_IOMMU_SPAPR_TCE_CREATE" => true,
        // What a drop cannot give back is logged, and kept until the container goes.
        // Made again by the drop, after `unmap` has said so.
        "VFIO_IOMMU_UNMAP_DMA" | "VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY" => true,
        _ => false,
    }
}

/// Whether an error, or one that led to it, is of that call.
fn names(error: &Error, call: &str) -> bool {
    error.operation() == call || error.causes().iter().any(|cause| names(cause, call))
}

/// What the page says that a call can answer, and what every call can.
fn answers(call: &str, iommu: &str) -> Vec<Answer> {
    let here = format!("{call} ({iommu})");
    let mut answers: Vec<_> = errnos()
        .filter(|(name, _)| *name == call || *name == here)
        .map(|(_, answer)| answer)
        .collect();
    for errno in [Errno::INTR, Errno::NOMEM] {
        if !answers.contains(&Answer::Errno(errno)) {
            answers.push(Answer::Errno(errno));
        }
    }
    answers
}

fn run(machine: &Machine, registration: Registration, scenario: Scenario) -> Result<()> {
    let host = Host::new(machine, registration)?;
    scenario(&host).context("when nothing fails")?;
    host.check_empty()?;
    let calls = host.failing.seen();
    let iommu = if registration.name.starts_with("type1") {
        "type1"
    } else {
        "sPAPR"
    };
    let mut failures = 0;
    for (n, call) in calls.iter().enumerate() {
        for answer in answers(call, iommu) {
            for mode in [Mode::Once, Mode::AndAllLater] {
                let host = Host::new(machine, registration)?;
                fail(&host, scenario, n, answer, mode)
                    .with_context(|| format!("call {n}, {call}: {answer:?}, {mode:?}"))?;
                failures += 1;
            }
        }
    }
    ensure!(
        failures > 4 * calls.len(),
        "{failures} failures of {} calls",
        calls.len()
    );
    Ok(())
}

fn fail(host: &Host, scenario: Scenario, n: usize, answer: Answer, mode: Mode) -> Result<()> {
    host.failing.arm(n, answer, mode);
    let outcome = scenario(host);
    let failed = host.failing.failed().context("it was not called")?;
    match &outcome {
        Ok(()) => {
            let alone = mode == Mode::Once || host.failing.seen().len() == n + 1;
            ensure!(
                alone && is_tolerated(&failed, answer),
                "nobody says that {failed} failed"
            );
        }
        // Where the first failure is none, a later one is what the scenario ends with.
        Err(error) if is_tolerated(&failed, answer) && mode == Mode::AndAllLater => {
            let seen = host.failing.seen();
            let mut later = seen.iter().skip(n);
            ensure!(
                later.any(|call| names(error, call)),
                "none of {seen:?} is named by: {error}"
            );
        }
        Err(error) => ensure!(
            names(error, &failed),
            "{failed} failed, and the error is: {error}"
        ),
    }
    // What a guest had before, and can never be taken from it again, stays mapped, and its device open.
    let seen = host.failing.seen();
    let guest_has = failed == SET_SLOT && seen.iter().take(n).any(|call| call == SET_SLOT);
    host.failing.disarm();
    host.frees.check()?;
    // (That it is not given back is what `frees` has just said.)
    let is_map = |it: &Object| matches!(it, Object::Region { .. });
    let has_left = host.sim.open_objects().iter().any(is_map);
    if guest_has && mode == Mode::AndAllLater && outcome.is_err() && has_left {
        return Ok(());
    }
    // A kernel that looks at no group warns when it is taken away, and it is with the last fd.
    let unavoidable: Vec<_> = (mode == Mode::AndAllLater && failed == "KVM_SET_DEVICE_ATTR")
        .then_some(Hazard::H11)
        .into_iter()
        .collect();
    // A reset that the kernel refuses to end for good: the device is lost, and nobody can help.
    let lost = failed == "VFIO_EEH_PE_OP" && mode == Mode::AndAllLater;
    if lost && host.sim.is_idle() && host.sim.hazards() == [Hazard::H12] {
        return Ok(());
    }
    if mode == Mode::Once || outcome.is_err() {
        host.check_empty_but(&unavoidable)
            .with_context(|| describe(&outcome))?;
    }
    scenario(host).context("the next attempt")?;
    host.check_empty_but(&unavoidable)
        .context("after the next attempt")
}

fn describe(outcome: &vfio_core::Result<()>) -> String {
    let mut text = String::new();
    match outcome {
        Ok(()) => text.push_str("the scenario went on"),
        Err(error) => {
            let _ = write!(text, "the scenario ended with: {error}");
        }
    }
    text
}

/// The machines, with devices that can be reset in every way, and have a BAR of memory.
fn machines() -> Vec<Machine> {
    let with_resets = |mut machine: Machine| {
        let devices = machine
            .groups
            .iter_mut()
            .flat_map(|group| &mut group.devices);
        for (bus, device) in devices.enumerate() {
            device.function_reset = true;
            device.reset_bus = u32::try_from(bus).ok();
        }
        machine
    };
    let mut machines: Vec<_> = Machine::all()
        .into_iter()
        .filter(|machine| machine.name != "noiommu")
        .map(with_resets)
        .collect();
    // Two devices in one group, which share a bus.
    let pair = ["0000:00:04.0", "0000:00:05.0"].map(|bdf| Device::nvme(bdf).on_reset_bus(0));
    let mut shared = Machine::x86_64().with_devices(pair);
    "x86_64 with a shared group".clone_into(&mut shared.name);
    machines.push(shared);
    let groups = machines.iter_mut().flat_map(|machine| &mut machine.groups);
    for device in groups.flat_map(|group| &mut group.devices) {
        device.bars[usize::from(MEMORY)] = Some(Bar::memory(1 << 16));
    }
    machines
}

fn main() -> ExitCode {
    match trials() {
        Ok(trials) => libtest_mimic::run(&Arguments::from_args(), trials).exit_code(),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn trials() -> Result<Vec<Trial>> {
    let backends = [
        iommu_type1::TYPE1_V2,
        iommu_type1::TYPE1,
        iommu_spapr::SPAPR_V2,
        iommu_spapr::SPAPR_V1,
    ];
    println!(
        "what the page says that calls can answer: {} rows",
        errnos().count()
    );
    let mut trials = Vec::new();
    for machine in machines() {
        for backend in backends {
            let Ok(device) = Host::new(&machine, backend)?.open(0) else {
                continue; // not one of this machine's
            };
            device.close()?;
            for &(name, scenario) in SCENARIOS {
                let machine = machine.clone();
                let title = format!("{}: {}: {name}", machine.name, backend.name);
                trials.push(Trial::test(title, move || {
                    run(&machine, backend, scenario).map_err(|error| format!("{error:#}").into())
                }));
            }
        }
    }
    if trials.len() < 8 * SCENARIOS.len() {
        bail!("{} trials are too few", trials.len());
    }
    Ok(trials)
}
