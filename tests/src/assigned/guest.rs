//! A guest with one device, as its firmware would set it up.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use pci_device::bar::{Bar, BarRegister, PageSize};
use pci_device::vmm::{Call, Event, IoSpace, MappedSlice, Recorder, Space, Trap};
use pci_device::{AssignedDevice, Settings, Vmm};
use vfio_core::Vfio;
use vfio_core::device::{Device, Region, RegionIndex};
use vfio_core::host::{self, Bdf, PciDevice};
use vfio_sim::wrap::{Counting, Watched};

/// In the command register.
const IO: u16 = 1 << 0;
const MEMORY: u16 = 1 << 1;

/// Where the guest has its RAM: nothing else is put there.
const RAM: std::ops::Range<u64> = 0..0x8000_0000;
/// Where BARs of 32 bits are put, and those of 64.
const LOW: u64 = 0x8000_0000;
const HIGH: u64 = 0x40_0000_0000;
/// Where ports are put, in the guest's I/O space.
const PORTS: u64 = 0x1000;
/// A guest whose I/O space is in memory has it here.
const APERTURE: std::ops::Range<u64> = 0x30_0000_0000..0x30_0001_0000;

/// The guest.
pub(super) struct Guest {
    pub(super) device: AssignedDevice,
    pub(super) vmm: Arc<Recorder>,
    pub(super) sysfs: PciDevice,
    pub(super) page: PageSize,
    /// What was asked of the kernel.
    pub(super) calls: Arc<Counting>,
}

impl Guest {
    pub(super) fn with(vfio: &Arc<Vfio>, bdf: Bdf) -> Result<Self> {
        let calls = Arc::new(Counting::default());
        let watched = Watched::new(Arc::clone(vfio.kernel()), Arc::clone(&calls));
        let counted = Vfio::on(Arc::new(watched), vfio.registry().clone());
        let device = counted.open(bdf)?;
        let vmm = Arc::new(Recorder::with_ram([RAM]));
        let given = Vmm {
            traps: vmm.clone(),
            slots: vec![vmm.clone()],
            // Ports where this machine's processor has them.
            io_space: match cfg!(target_arch = "x86_64") {
                true => IoSpace::Ports,
                false => IoSpace::Aperture(APERTURE),
            },
            interrupts: vmm.clone(),
            observer: vmm.clone(),
        };
        let page = vfio.kernel().page_size() as u64;
        let device = AssignedDevice::new(&device, given, &Settings::default())?;
        // All that can be wrong with a device here is that the host has no numbers for its ports.
        let told = vmm.take();
        let unassigned = host::unassigned_ports(&**vfio.kernel(), bdf);
        let unassigned: Vec<_> = unassigned
            .into_iter()
            .map(Event::Unassigned)
            .map(Call::Event)
            .collect();
        ensure!(told == unassigned, "{told:?} and not {unassigned:?}");
        Ok(Self {
            sysfs: host::device(&**vfio.kernel(), bdf)?,
            device,
            page: PageSize::new(page).context("the size of a page")?,
            vmm,
            calls,
        })
    }

    /// The device itself.
    pub(super) fn real(&self) -> &Device {
        self.device.device()
    }

    pub(super) fn region(&self, bar: u8) -> Result<Region> {
        Ok(self.real().region(RegionIndex::Bar(bar))?)
    }

    /// The BARs that there are.
    pub(super) fn bars(&self) -> impl Iterator<Item = (u8, &Bar)> {
        let all = (0_u8..).zip(&self.device.bars().bars);
        all.filter_map(|(number, bar)| Some((number, bar.as_ref()?)))
    }

    pub(super) fn read_config<const N: usize>(&self, at: u16) -> [u8; N] {
        let mut bytes = [0x5a; N];
        self.device.read_config(at, &mut bytes);
        bytes
    }

    pub(super) fn read<const N: usize>(&self, bar: u8, offset: u64) -> [u8; N] {
        let mut bytes = [0x5a; N];
        self.device.read(BarRegister::Bar(bar), offset, &mut bytes);
        bytes
    }

    pub(super) fn write(&self, bar: u8, offset: u64, bytes: &[u8]) {
        self.device.write(BarRegister::Bar(bar), offset, bytes);
    }

    /// Switches memory and ports on or off.
    pub(super) fn decode(&self, on: bool) {
        let command = if on { IO | MEMORY } else { 0 };
        self.device.write_config(4, &command.to_le_bytes());
    }

    /// Puts every BAR somewhere, `shift` places of its size further each time, and switches them on.
    pub(super) fn place(&self, shift: u64) -> Result<()> {
        self.decode(false);
        let (mut low, mut high, mut ports) = (LOW, HIGH, PORTS);
        for (number, bar) in self.bars() {
            let size = bar.shape.size;
            let next = match bar.kind {
                kind if kind.is_io() => &mut ports,
                kind if kind.has_two_registers() => &mut high,
                _ => &mut low,
            };
            // A page for each, so that what is smaller can be alone in it.
            let room = size.max(if bar.kind.is_io() {
                0
            } else {
                self.page.bytes()
            });
            let start = next.next_multiple_of(room) + shift * room;
            *next = start + room;
            self.put(number, start)?;
        }
        self.decode(true);
        Ok(())
    }

    /// Writes a BAR's registers.
    pub(super) fn put(&self, number: u8, address: u64) -> Result<()> {
        let register = BarRegister::Bar(number).offset();
        let [a, b, c, d, rest @ ..] = address.to_le_bytes();
        self.device.write_config(register, &[a, b, c, d]);
        let bar = self.device.bars().bars.get(usize::from(number));
        let bar = bar
            .and_then(Option::as_ref)
            .context("there is no such BAR")?;
        match bar.kind.has_two_registers() {
            true => self.device.write_config(register + 4, &rest),
            false => ensure!(rest == [0; 4], "BAR {number} has 32 bits"),
        }
        Ok(())
    }

    /// Where a BAR is.
    pub(super) fn trap(&self, number: u8) -> Option<Trap> {
        let mut traps = self.vmm.traps().into_iter();
        traps.find(|trap| trap.bar == BarRegister::Bar(number))
    }

    /// What is mapped of a BAR, in order.
    pub(super) fn slices(&self, number: u8) -> Vec<MappedSlice> {
        let mut slices = self.vmm.slices();
        slices.retain(|slice| slice.bar == number);
        slices.sort_by_key(|slice| slice.guest.start);
        slices
    }

    /// Which BAR, and where in it, an access of the guest reaches.
    pub(super) fn find(&self, space: Space, address: u64) -> Option<(BarRegister, u64)> {
        let (_, bar, offset) = self.vmm.find(space, address)?;
        Some((bar, offset))
    }

    /// Nothing went wrong that a guest could not be told.
    pub(super) fn expect_no_event(&self) -> Result<()> {
        let calls = self.vmm.take();
        let event = calls.iter().find(|call| matches!(call, Call::Event(_)));
        ensure!(event.is_none(), "{event:?}");
        Ok(())
    }
}
