//! sPAPR TCE, the IOMMU interface of Linux VFIO on POWER, as a backend of [`vfio_core`].
//!
//! Name it once in the crate of `main`, and it can be chosen:
//!
//! ```
//! use iommu_spapr as _;
//! ```
//!
//! A device reaches memory through *windows*: ranges of bus addresses, each with a table (of TCEs,
//! translation control entries) that has one entry a page. There is always a default window in the first
//! GiBs. Version 2 can create another one high above 4 GiB with larger pages, and wants memory to be
//! *registered* (pinned) before it is mapped; version 1 accounts the whole default window as locked
//! memory as soon as it is attached. Version 2 is preferred. What is registered or accounted counts against
//! `RLIMIT_MEMLOCK`, and so do the tables (C41, C42, D49, D54b).
//!
//! Guest memory that an [`AddressSpace`](vfio_core::guest::AddressSpace) keeps is registered by whole blocks, on the pages
//! of the host that they touch, for as long as there is a section of them. Memory that is mapped alone is registered with
//! its mapping.
//!
//! # Errors
//!
//! POWER isolates errors (EEH): a device that does something wrong is frozen with its group, and nothing else suffers. A
//! driver that reads all ones asks what happened, and recovers the device.
//!
//! ```
//! use std::sync::Arc;
//!
//! use iommu_spapr::SPAPR_V2;
//! use vfio_core::address::{Access, DmaMask};
//! use vfio_core::device::RegionIndex;
//! use vfio_core::iommu::{PeReset, PeState, RecoveryStep, Registry};
//! use vfio_core::Vfio;
//! use vfio_sim::{Machine, SimKernel};
//!
//! let sim = SimKernel::new(Machine::powernv9()); // a host in memory; on a real one, Vfio::new()
//! let vfio = Vfio::on(Arc::new(sim.clone()), Registry::of([SPAPR_V2])?);
//! let device = vfio.open("0001:01:00.0".parse()?)?;
//! let registers = device.region(RegionIndex::Bar(0))?;
//! let endpoint = device.domain().partitionable_endpoint()?;
//! endpoint.enable()?;
//! assert_eq!(endpoint.state()?, PeState::Normal);
//!
//! sim.freeze("0001:01:00.0")?; // something goes wrong
//!
//! if registers.read::<u32>(0x08)? == u32::MAX && endpoint.state()? == PeState::Frozen {
//!     let mut recovery = endpoint.recovery()?;
//!     recovery.thaw_mmio()?; // DMA stays blocked
//!     println!("the device says that its version is {:#x}", registers.read::<u32>(0x08)?);
//!     while recovery.step() != RecoveryStep::Recovered {
//!         std::thread::sleep(recovery.delay());
//!         recovery.advance(PeReset::Hot)?;
//!     }
//! }
//!
//! // As after any reset, the driver sets the device up anew. What was mapped is mapped still.
//! assert_ne!(registers.read::<u32>(0x08)?, u32::MAX);
//! let config = device.region(RegionIndex::Config)?;
//! config.write(0x04, config.read::<u16>(0x04)? | 0x4)?; // bus mastering
//! # drop(device.domain().buffer(1, DmaMask::bits(64), Access::ReadWrite)?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What a guest's kernel asks its firmware then is answered by [`guest::eeh`].
//!
//! # The kernel
//!
//! The kernel advertises both versions always; only a group in the container tells what works. What the
//! kernel does is in `drivers/vfio/vfio_iommu_spapr_tce.c`. Three of its calls fail with a positive
//! number (P1 to P3), and an unmap that reaches past its window kills some kernels (H1): this crate
//! checks before it asks.

mod calls;
mod eeh;
pub mod guest;
mod registered;
mod v1;
mod v2;
mod window;

use vfio_core::iommu::{Reach, Registration};
use vfio_core::{inventory, uapi};

/// sPAPR TCE version 2.
pub const SPAPR_V2: Registration = Registration {
    name: "sPAPR v2",
    preference: 300,
    reach: Reach::Container {
        extension: uapi::SPAPR_TCE_V2_IOMMU,
        attach: v2::attach,
    },
};

/// sPAPR TCE version 1.
pub const SPAPR_V1: Registration = Registration {
    name: "sPAPR v1",
    preference: 400,
    reach: Reach::Container {
        extension: uapi::SPAPR_TCE_IOMMU,
        attach: v1::attach,
    },
};

inventory::submit!(SPAPR_V2);
inventory::submit!(SPAPR_V1);

/// How the context is called in errors.
const CONTEXT: &str = "the sPAPR context";
