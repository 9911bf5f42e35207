//! Linux VFIO for user-space programs: a PCI device, safely, through whichever IOMMU the host has.
//!
//! ```
//! use vfio_core::address::{Access, DmaMask};
//! use vfio_core::{Result, Vfio, host::Bdf};
//!
//! fn assign(vfio: &Vfio, bdf: Bdf) -> Result<()> {
//!     let device = vfio.open(bdf)?;
//!     let buffer = device.domain().buffer(4096, DmaMask::bits(64), Access::ReadWrite)?;
//!     println!("{bdf} reaches {} bytes at {}", buffer.len(), buffer.iova());
//!     Ok(())
//! }
//! ```
//!
//! This crate knows no IOMMU. A backend is a crate of its own that registers itself ([`iommu`]); a program
//! names the ones that it wants, and [`Vfio::new`] finds them:
//!
//! ```text
//! use {iommu_spapr as _, iommu_type1 as _};
//! ```
//!
//! Without such a line the compiler leaves the backend out, and [`Vfio::new`] answers [`ErrorKind::Registry`].
//! [`Vfio::on`] takes a kernel, and backends that are [listed](iommu::Registry::of) instead of found.
//!
//! # What there is
//!
//! - [`Vfio`] opens a [`Device`]: its group, a container, the preferred backend that the kernel does not
//!   refuse.
//! - A [`Device`] has [regions](device::Region), which are read, written and [mapped](device::RegionMap), and
//!   interrupts, which arrive as [eventfds](device::EventFd).
//! - Its [`Domain`](iommu::Domain) says what it can reach: [`map`](iommu::Domain::map) for memory of the
//!   caller's own, [`DmaBuffer`](iommu::DmaBuffer) for memory that is safe to share with a device.
//! - [`kvm`] tells KVM of devices that are assigned to its VM, and has in-kernel TCE tables on POWER.
//! - Where errors of devices are isolated (EEH of POWER), a frozen one is [recovered](iommu::Recovery).
//! - [`host`] reads what sysfs says of devices and groups; an [`Error`] can be [diagnosed](diagnosis).
//! - What is asked of Linux passes [`kernel::Kernel`], which can be a simulated one. Only what needs no more than
//!   an fd that is there already does not: waiting for an [`EventFd`](device::EventFd) and taking its count, and
//!   closing.
//!
//! # What it needs
//!
//! Linux on x86_64, arm64 or ppc64le with VFIO's container and groups; the suites run on 6.12. The device is bound to
//! `vfio-pci`, the process may open `/dev/vfio/N` of the device's group, and `RLIMIT_MEMLOCK` covers what it maps.
//! It need not be root. The project's README says how to come there.
//!
//! # Who holds what
//!
//! ```text
//! RegionMap ──► Device ──► its group, in the container ──► Container
//! DmaBuffer ──► Domain ──► the backend ──────────────────► Container
//! ```
//!
//! Each holds what must be released after it, so that drops in any order release in the one order that the
//! kernel accepts: mapped regions, device, group, container. When the last device of a group is dropped, the
//! group leaves the container, and the kernel takes every mapping away; a [`Domain`](iommu::Domain) that is
//! left answers [`ErrorKind::Gone`].
//!
//! # What it does not do
//!
//! It binds no device to `vfio-pci`, loads no module and changes no setting of the host. It has no device
//! model and no interrupt routing for virtual machines; to KVM it only says what is assigned ([`kvm`]). There is no backend for iommufd and none for noiommu
//! yet, and only PCI devices are opened.

pub mod address;
mod address_space;
pub mod call;
mod container;
pub mod device;
pub mod diagnosis;
mod error;
mod group;
pub mod guest;
mod handover;
pub mod host;
pub mod info_chain;
pub mod iommu;
pub mod kernel;
pub mod kvm;
pub mod memlock;
mod memory;
mod patience;
mod sync;
pub mod uapi;
mod vfio;

pub use address_space::AddressSpaceId;
pub use container::{CONTAINER_NODE, Container};
pub use device::Device;
pub use error::{Answer, Error, ErrorKind, Result};
pub use group::group_node;
pub use handover::{Handover, HandoverFds};
pub use inventory;
pub use memory::Register;
pub use vfio::{OpenOptions, Vfio};
