//! A device of a simulated machine, in a guest whose VMM is a recorder.

use std::ops::Range;
use std::sync::Arc;

use iommu_type1 as _;
use pci_device::bar::BarRegister;
use pci_device::vmm::{Call, Event, IoSpace, Recorder, Trap};
use pci_device::{AssignedDevice, Settings, Vmm};
use vfio_core::Vfio;
use vfio_core::iommu::Registry;
use vfio_core::kernel::Kernel;
use vfio_sim::machine::Device;
use vfio_sim::wrap::{Counting, Watched};
use vfio_sim::{Machine, SimKernel};

pub(crate) const BDF: &str = "0000:00:05.0";

/// In the command register.
pub(crate) const IO: u16 = 1;
pub(crate) const MEMORY: u16 = 2;
pub(crate) const MASTER: u16 = 4;
pub(crate) const NO_LINE: u16 = 1 << 10;

/// What a guest's RAM is: a BAR is not put there.
pub(crate) const RAM: Range<u64> = 0..0x8000_0000;

pub(crate) struct Rig {
    pub(crate) sim: SimKernel,
    /// What was asked of the kernel.
    pub(crate) calls: Arc<Counting>,
    pub(crate) vfio: Vfio,
    pub(crate) vmm: Arc<Recorder>,
    pub(crate) device: AssignedDevice,
    /// What was told when the device was given to the guest.
    pub(crate) told: Vec<Call>,
}

/// A machine with that device, and pages of that size.
pub(crate) fn machine(device: Device, page: usize) -> Machine {
    Machine {
        page_size: page,
        ..Machine::x86_64().with_devices([device])
    }
}

/// A VMM that is all written down.
pub(crate) fn recorded(vmm: &Arc<Recorder>) -> Vmm {
    Vmm {
        traps: vmm.clone(),
        slots: vec![vmm.clone()],
        io_space: IoSpace::Ports,
        interrupts: vmm.clone(),
        observer: vmm.clone(),
    }
}

impl Rig {
    pub(crate) fn new(device: Device) -> Self {
        Self::on(machine(device, 4096), &Settings::default(), |_| {})
    }

    pub(crate) fn with(device: Device, settings: &Settings) -> Self {
        Self::on(machine(device, 4096), settings, |_| {})
    }

    pub(crate) fn on(machine: Machine, settings: &Settings, change: impl FnOnce(&mut Vmm)) -> Self {
        Self::with_kernel(machine, settings, |_, vmm| change(vmm))
    }

    pub(crate) fn with_kernel(
        machine: Machine,
        settings: &Settings,
        change: impl FnOnce(&Arc<dyn Kernel>, &mut Vmm),
    ) -> Self {
        let sim = SimKernel::new(machine);
        let calls = Arc::new(Counting::default());
        let watched = Watched::new(Arc::new(sim.clone()), calls.clone());
        let vfio = Vfio::on(Arc::new(watched), Registry::linked().unwrap());
        let vmm = Arc::new(Recorder::with_ram([RAM]));
        let device = vfio.open(BDF.parse().unwrap()).unwrap();
        let mut given = recorded(&vmm);
        change(vfio.kernel(), &mut given);
        let device = AssignedDevice::new(&device, given, settings).unwrap();
        let told = vmm.take();
        calls.take();
        Self {
            sim,
            calls,
            vfio,
            vmm,
            device,
            told,
        }
    }

    /// How often this was asked of the kernel while `work` went on.
    pub(crate) fn count(&self, name: &str, work: impl FnOnce()) -> u64 {
        self.calls.take();
        work();
        self.calls.take().get(name).copied().unwrap_or(0)
    }

    pub(crate) fn set_command(&self, command: u16) {
        self.device.write_config(4, &command.to_le_bytes());
    }

    /// Writes a register of config space.
    pub(crate) fn write32(&self, at: u16, value: u32) {
        self.device.write_config(at, &value.to_le_bytes());
    }

    pub(crate) fn read32(&self, at: u16) -> u32 {
        let mut bytes = [0x5a; 4];
        self.device.read_config(at, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// Places a BAR, of 64 bits if `wide`.
    pub(crate) fn place(&self, bar: u16, address: u64, wide: bool) {
        let [low, high] =
            [0, 32].map(|shift| u32::try_from(address >> shift & 0xffff_ffff).unwrap());
        self.write32(0x10 + 4 * bar, low);
        if wide {
            self.write32(0x14 + 4 * bar, high);
        }
    }

    /// Reads a BAR.
    pub(crate) fn read<const N: usize>(&self, bar: u8, offset: u64) -> [u8; N] {
        let mut bytes = [0x5a; N];
        self.device.read(BarRegister::Bar(bar), offset, &mut bytes);
        bytes
    }

    pub(crate) fn write(&self, bar: u8, offset: u64, bytes: &[u8]) {
        self.device.write(BarRegister::Bar(bar), offset, bytes);
    }

    /// Where the guest finds a BAR now.
    pub(crate) fn trap(&self, bar: u8) -> Option<Trap> {
        let mut traps = self.vmm.traps().into_iter();
        traps.find(|trap| trap.bar == BarRegister::Bar(bar))
    }

    /// Where the guest finds mapped slices now, in order.
    pub(crate) fn slices(&self) -> Vec<Range<u64>> {
        let mut slices: Vec<_> = self.vmm.slices().into_iter().map(|it| it.guest).collect();
        slices.sort_by_key(|it| it.start);
        slices
    }

    /// The events since this was last asked.
    pub(crate) fn events(&self) -> Vec<Event> {
        let event = |call| match call {
            Call::Event(event) => Some(event),
            _ => None,
        };
        self.vmm.take().into_iter().filter_map(event).collect()
    }
}

/// The same range of addresses, from so many bytes on.
pub(crate) fn range(start: u64, size: u64) -> Range<u64> {
    start..start + size
}
