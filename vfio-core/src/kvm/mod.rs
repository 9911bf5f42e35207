//! The small door to KVM: what a VMM must tell KVM about devices that VFIO has assigned to its VM.
//!
//! It works on every architecture, and beside any way of the VMM's own to use KVM: it borrows the VM's fd, or adopts
//! the fd of the one device that is for this ([`KvmVfio`]). Mapped BARs are put where the guest has them ([`MemorySlots`]),
//! in slots that the VMM leaves to this. On POWER, an in-kernel table ([`TceTable`]) lets KVM
//! itself put what a guest maps into the tables that its devices use.
//!
//! ```
//! use std::os::fd::AsFd;
//! use std::sync::Arc;
//!
//! use vfio_core::iommu::Registry;
//! use vfio_core::kernel::Kernel;
//! use vfio_core::kvm::{KvmVfio, TceTable, create_vm};
//! use vfio_core::{ErrorKind, Vfio};
//! use vfio_sim::{Machine, SimKernel};
//! # use iommu_spapr as _;
//!
//! // A simulated POWER host with KVM; on a real one, `Arc::new(Linux)`.
//! let sim = SimKernel::new(Machine::pseries().with_kvm());
//! let kernel: Arc<dyn Kernel> = Arc::new(sim.clone());
//! let vfio = Vfio::on(Arc::clone(&kernel), Registry::linked()?);
//!
//! let vm = create_vm(&kernel)?; // a VMM has one of its own
//! let kvm = KvmVfio::create(&kernel, vm.as_fd())?;
//!
//! let device = vfio.open("0000:00:00.0".parse()?)?;
//! let added = kvm.add(&device)?; // KVM knows it until this is dropped
//!
//! // Only on POWER: a table for the window that the device has, which the guest calls 0x8000_0000.
//! let window = device.domain().capabilities()?.apertures[0];
//! match TceTable::create(&kernel, vm.as_fd(), 0x8000_0000, &window) {
//!     Ok(table) => assert_eq!(table.find(window.range, window.range)?, None), // nothing is mapped
//!     // The VMM carries the guest's hypercalls out itself.
//!     Err(error) if error.kind() == ErrorKind::Unsupported => println!("{error}"),
//!     Err(error) => return Err(error.into()),
//! }
//!
//! drop((added, device, kvm, vm)); // in any order
//! assert!(sim.is_idle());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Who holds what
//!
//! ```text
//! TceTable ──► KvmGroup ──► KvmVfio (fd)
//! (its fd)     (FILE_DEL) ──► the device's group, in its container
//!
//! MemorySlot ──► RegionMap ──► the device
//! (emptied)  ──► MemorySlots (a duplicate of the VM's fd)
//! ```
//!
//! The kernel holds a group's file as long as it is added, so that it must be taken away before the group is closed:
//! otherwise nobody can open the group again until the VM has gone. It lets go of an attached table only with the
//! table's last fd, or when the group is taken away. Of a memory slot it holds nothing but addresses: whatever is mapped
//! there is what the guest reaches, so that a BAR stays mapped until its slot is empty. Drops in any order do this in the
//! right order.

mod calls;
mod memory_slots;
mod tce;
mod tce_table;
pub mod uapi;
mod vfio_device;

pub use calls::{KVM_NODE, create_vm, has_capability};
pub use memory_slots::{MemorySlot, MemorySlots};
pub use tce::Tce;
pub use tce_table::TceTable;
pub use vfio_device::{KvmGroup, KvmVfio};
