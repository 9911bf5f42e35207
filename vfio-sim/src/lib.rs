//! A VFIO kernel in memory, for testing code that uses VFIO on any Linux, without privileges.
//!
//! [`SimKernel`] implements [`vfio_core::kernel::Kernel`], the door through which `vfio-core` asks
//! Linux for everything. It has a [`Machine`] in it, described as data: which IOMMUs the kernel
//! advertises and refuses, which devices there are, in which groups, bound to which drivers. Afterwards
//! a test can ask what is still open, and what was called in which order.
//!
//! ```
//! use std::sync::Arc;
//!
//! use vfio_core::kernel::{Errno, Kernel};
//! use vfio_core::uapi::SPAPR_TCE_V2_IOMMU;
//! use vfio_core::{Container, host};
//! use vfio_sim::{Machine, SimKernel};
//!
//! // A POWER guest without dynamic DMA windows: sPAPR v2 is advertised, and refused when it is set.
//! let sim = SimKernel::new(Machine::pseries().refuse(SPAPR_TCE_V2_IOMMU, Errno::INVAL));
//! let kernel: Arc<dyn Kernel> = Arc::new(sim.clone());
//!
//! let device = host::device(&*kernel, "0000:00:00.0".parse()?)?;
//! assert!(device.is_bound_to_vfio());
//!
//! let container = Container::open(&kernel)?;
//! assert!(container.check_extension(SPAPR_TCE_V2_IOMMU)?);
//! assert!(!sim.is_idle());
//!
//! drop(container);
//! assert!(sim.is_idle());
//! let calls: Vec<String> = sim.take_log().iter().map(ToString::to_string).collect();
//! assert_eq!(
//!     calls,
//!     [
//!         "container 0: open",
//!         "container 0: VFIO_GET_API_VERSION",
//!         "container 0: VFIO_CHECK_EXTENSION(7): 1",
//!         "container 0: close",
//!     ]
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The answers follow Linux 6.12. The names in parentheses (A5, A11) are those of the project's page of
//! kernel behaviours.
//!
//! # What it models
//!
//! - **Container** (A1 to A9): the version, the extensions, `VFIO_SET_IOMMU` with its refusals, its life.
//! - **Group** (A10 to A17): one open at a time, viability, status, joining and leaving a container,
//!   devices by name.
//! - **Device**: it can be opened, many times, and closed; while it is open, its group stays where it is.
//! - **sysfs**: groups, PCI devices with their ids, drivers and groups, as far as [`vfio_core::host`]
//!   reads them.
//!
//! Every fd is a real one, of a socket: it can be duplicated, sent to another process and polled, and the
//! object behind it is closed when the last duplicate is. The kernel notices that at its next call and
//! at the next question of the test; what it notices at once it logs as devices, groups, containers.
//!
//! # What it does not model
//!
//! - The ioctls of an IOMMU (map, unmap, windows): a container that has one answers `ENOTTY`.
//! - Everything that a device does: each of its ioctls answers `ENOTTY`; it has no regions and no
//!   interrupts.
//! - What an IOMMU has against a *second* group in its container (A9, C37, D57): it is let in.
//! - noiommu, iommufd, character devices of devices, tokens of virtual functions.
//! - Binding and unbinding: the drivers are those of the description.
//! - Accounting of locked memory: there is no limit.
//! - Memory: it is this host's, with this host's page size, whatever [`Machine::page_size`] says.
mod arg;
mod caps;
mod container;
mod device;
mod event;
mod eventfd;
mod fault;
mod files;
mod group;
mod host_tree;
mod iommu;
mod kernel;
pub mod machine;
mod memory;
pub mod model;
mod names;
mod process;
mod token;
mod world;
pub mod wrap;

pub use event::{Event, Object};
pub use fault::{Fault, Why};
pub use iommu::{Hazard, Holdings, Mapping};
pub use kernel::SimKernel;
pub use machine::Machine;
pub use process::Rights;
