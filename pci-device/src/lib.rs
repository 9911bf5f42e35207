//! PCI devices that user space owns through VFIO: what a driver wants to know of one ([`ConfigSpace`]), and what a VMM needs
//! to give one to a guest ([`AssignedDevice`]): config space, BARs, ROM, sleep, resets and events, over whichever IOMMU backend
//! the device was opened with, on every architecture.
//!
//! # A device on a VMM's bus
//!
//! ```
//! use std::sync::{Arc, Mutex};
//!
//! use pci_device::vmm::{Space, Trap, Traps};
//! use pci_device::{AssignedDevice, Settings, Vmm};
//! use vfio_core::{Result, Vfio};
//! # use iommu_type1 as _;
//! # use vfio_core::iommu::Registry;
//! # use vfio_sim::{Machine, SimKernel};
//!
//! #[derive(Debug, Default)]
//! struct Bus(Mutex<Vec<Trap>>); // what the VMM has for it already
//!
//! impl Traps for Bus {
//!     fn add(&self, trap: &Trap) -> Result<()> {
//!         self.0.lock().unwrap().push(trap.clone()); // refuse what overlaps
//!         Ok(())
//!     }
//!     fn remove(&self, trap: &Trap) {
//!         self.0.lock().unwrap().retain(|other| other != trap);
//!     }
//! }
//!
//! impl Bus {
//!     /// Whose an address is. The lock is given back before the device is asked.
//!     fn find(&self, address: u64) -> Option<Trap> {
//!         let traps = self.0.lock().unwrap();
//!         let mut traps = traps.iter().filter(|it| it.space == Space::Memory);
//!         traps.find(|it| it.range.contains(&address)).cloned()
//!     }
//! }
//!
//! /// A processor of the guest has read where no memory is.
//! fn on_mmio_read(bus: &Bus, device: &AssignedDevice, address: u64, bytes: &mut [u8]) {
//!     match bus.find(address) {
//!         Some(trap) => device.read(trap.bar, address - trap.range.start, bytes),
//!         None => bytes.fill(0xff),
//!     }
//! }
//!
//! # let sim = SimKernel::new(Machine::x86_64());
//! # let vfio = Vfio::on(Arc::new(sim.clone()), Registry::linked()?);
//! # let _ = Vfio::new; // on a real host
//! let bus = Arc::new(Bus::default());
//! let device = vfio.open("0000:00:05.0".parse()?)?;
//! let device = AssignedDevice::new(&device, Vmm::with_bus(bus.clone()), &Settings::default())?;
//!
//! // What the guest's firmware does: config space goes to `read_config` and `write_config`.
//! device.write_config(0x10, &0xfe00_0000_u32.to_le_bytes()); // a BAR
//! device.write_config(0x04, &[0x06, 0x00]); // memory, bus master
//!
//! let mut version = [0; 4];
//! on_mmio_read(&bus, &device, 0xfe00_0008, &mut version); // an NVMe controller has it there
//! assert_eq!(version, 0x0001_0400_u32.to_le_bytes());
//! # drop(device);
//! # assert!(bus.0.lock().unwrap().is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A guest sizes its BARs, and moves one at a time: for a moment they may be anywhere, over RAM and over each other. A bus
//! refuses what overlaps; the BAR is at no place then, and is tried again with the next change. Before firmware has placed
//! them, all are at 0.
//!
//! What else a VMM gives, each by a line:
//!
//! - the guest's RAM, for the device's DMA: an [`AddressSpace`](vfio_core::guest::AddressSpace) that the device's
//!   [`domain`](vfio_core::Device::domain) follows;
//! - [`MemorySlots`](vmm::MemorySlots), so that the guest reaches without an exit what can be mapped: for KVM,
//!   [`KvmSlots::of`](vmm::KvmSlots::of) the [slots](vfio_core::kvm::MemorySlots) of its VM that are for BARs; and
//!   [`PeerSections`](vmm::PeerSections), so that other devices reach it, too;
//! - [`IoSpace`](vmm::IoSpace), where its platform has ports; without it, I/O BARs are nowhere;
//! - [`Interrupts`](vmm::Interrupts) and an [`Observer`](vmm::Observer).
//!
//! How its guest names a device (ECAM, ports 0xcf8 and 0xcfc, hypercalls) is the VMM's matter: what is left is an offset in config
//! space. [`reset_guest`] resets all devices of a guest, [`Notifications`] are what the kernel has to say of one, and a bus that
//! holds its devices lets them go by [`release`](AssignedDevice::release).
//!
//! # What a guest can do
//!
//! Break its own device, and no more: accesses end inside the BARs, what of config space is the VMM's does not reach the device,
//! and whatever a device says of itself is bounded or left out. What of a BAR is mapped goes before the device stops to answer
//! there. Doors of a device's own (a mirror of config space in a BAR, for one) are closed by [quirks](quirk), for those that are
//! known.
//!
//! # What it does not do
//!
//! It delivers no interrupts yet: what the guest programs of them is told to [`Interrupts`](vmm::Interrupts). It has no bus and
//! no bridges, no migration, puts a device to no deeper sleep than its guest does, and has quirks for two kinds of devices.

mod assigned;
pub mod bar;
mod capability;
mod config;
pub mod quirk;
pub mod virtual_config;
pub mod vmm;

pub use assigned::{
    AssignedDevice, MappedAccess, Notification, Notifications, ResetMethod, RomSource, Settings,
    Vmm, reset_guest,
};
pub use capability::{Capability, CapabilityId};
pub use config::{Command, ConfigSpace};
