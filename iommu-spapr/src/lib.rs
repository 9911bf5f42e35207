//! sPAPR TCE, the IOMMU interface of Linux VFIO on POWER, as a backend of [`vfio_core`].
//!
//! Name it once in the crate of `main`, and it can be chosen:
//!
//! ```
//! use iommu_spapr as _;
//! ```
//!
//! What follows explains POWER to somebody who knows type1. The examples run as they are, on simulated hosts; on a real
//! one the kernel is `Arc::new(Linux)`.
//!
//! # Windows
//!
//! On type1, any address can be mapped. On POWER, a device reaches memory through *windows*: ranges of bus addresses,
//! each with pages of its own size and with a table that has one entry (a *TCE*, translation control entry) a page. There are
//! two at most. The *default window* is in the first GiBs and has pages of 4 KiB; it is for devices that cannot address more.
//! Another one can be created, at 2^59, with larger pages (64 KiB on ordinary memory; 2 MiB, 16 MiB or 1 GiB on huge pages,
//! which must be hugetlb's) and as large as memory. Its table is the kernel's memory, and counts as locked; a table of
//! several levels needs no large piece of it.
//!
//! Nobody needs to know this to map a buffer: [`Domain::alloc`](vfio_core::iommu::Domain::alloc) makes the window that
//! serves the device best, and answers an address in it. An address of somebody's own choice outside of all windows is
//! refused. Who wants other windows [creates](vfio_core::iommu::Domain::create_window) and
//! [removes](vfio_core::iommu::Domain::remove_window) them; the kernel puts the default one back with the next life of the
//! context.
//!
//! ```
//! use std::sync::Arc;
//!
//! use vfio_core::Vfio;
//! use vfio_core::address::{Access, DmaMask};
//! use vfio_core::iommu::{Registry, WindowPages, WindowRequest};
//! use vfio_sim::{Machine, SimKernel};
//! # use iommu_spapr as _;
//!
//! let kernel = Arc::new(SimKernel::new(Machine::powernv9()));
//! let vfio = Vfio::on(kernel, Registry::linked()?);
//! let device = vfio.open("0000:01:00.0".parse()?)?;
//! let domain = device.domain();
//!
//! // A driver: a device of 32 bits has the default window, one of 64 bits gets another one.
//! let low = domain.buffer(4096, DmaMask::bits(32), Access::ReadWrite)?;
//! let high = domain.buffer(4096, DmaMask::bits(64), Access::ReadWrite)?;
//! assert!(low.iova().0 < 1 << 31 && high.iova().0 >= 1 << 59);
//! drop((low, high));
//! domain.reset_windows()?;
//!
//! // An emulator: 64 GiB in pages that memory on huge pages of 2 MiB can carry.
//! let pages = WindowPages::Carried(2 << 20);
//! let window = domain.create_window(&WindowRequest::of(64 << 30, pages))?;
//! assert_eq!((window.range.first().0, window.page_size), (1 << 59, 2 << 20));
//! assert_eq!(domain.windows()?.len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Registration
//!
//! On type1, mapping pins memory. Version 2 of sPAPR wants memory to be *registered* first, which pins it and counts it against
//! `RLIMIT_MEMLOCK`; mapping then only writes TCEs, as often as a guest likes. The kernel takes a registered range for one
//! thing: it cannot be joined with another or given back in parts, and its alignment decides how large the pages can be that
//! it is mapped with (D49b). So guest memory is registered by whole [blocks](vfio_core::guest::Block), as they were
//! allocated, and sections are parts of them; allocate blocks aligned, and of as many bytes, as the largest pages that
//! they are to be mapped with. What is mapped alone, as a driver's buffers are, is registered for as long as it is
//! mapped.
//!
//! The kernel would unregister memory to which TCEs still lead, say that all went well, and keep it pinned (H3); this
//! crate knows where TCEs lead, and does not ask.
//!
//! ```
//! use std::sync::Arc;
//!
//! use vfio_core::Vfio;
//! use vfio_core::address::{HostRange, Iova, IovaRange};
//! use vfio_core::guest::{AddressSpace, Block, Section};
//! use vfio_core::iommu::Registry;
//! use vfio_core::kernel::Kernel;
//! use vfio_sim::{Machine, SimKernel};
//! # use iommu_spapr as _;
//!
//! let sim = SimKernel::new(Machine::powernv9());
//! let kernel: Arc<dyn Kernel> = Arc::new(sim.clone());
//! let vfio = Vfio::on(Arc::clone(&kernel), Registry::linked()?);
//! let device = vfio.open("0000:01:00.0".parse()?)?;
//!
//! // A block of the guest's RAM, and two sections of it.
//! let memory = kernel.mmap(4 << 20)?;
//! let range = HostRange::new(memory.as_ptr() as usize, 4 << 20).ok_or("no memory")?;
//! // SAFETY: the memory stays, and nobody has a reference to it.
//! let block = unsafe { Block::new(range, ()) };
//! let at = |start, size| IovaRange::new(Iova(start), size).ok_or("no such range");
//! let low = Section::ram(at(0x0100_0000, 1 << 20)?, &block, 0)?;
//! let high = Section::ram(at(0x0200_0000, 3 << 20)?, &block, 1 << 20)?;
//!
//! let space = AddressSpace::new();
//! let _ = space.edit().insert(low).insert(high).commit()?;
//! let _ = space.follow(device.domain())?;
//! assert_eq!(sim.holdings()[0].registered.len(), 1); // the block, once
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # TCEs
//!
//! A guest on POWER always has an IOMMU: it writes the TCEs of its windows itself, by hypercalls that name a window by its
//! number (LIOBN). An emulator has a [`Bridge`](guest::Bridge) for each host bridge that it shows, and hands those calls to
//! it; it carries them out in the containers of all devices that are behind the bridge, and remembers what the guest
//! has written. With KVM they need not come to the emulator at all ([`accelerate`](guest::Bridge::accelerate)).
//!
//! ```
//! # use std::sync::Arc;
//! # use vfio_core::Vfio;
//! # use vfio_core::address::{HostRange, Iova, IovaRange};
//! # use vfio_core::guest::{AddressSpace, Block, Section};
//! # use vfio_core::iommu::Registry;
//! # use vfio_core::kernel::Kernel;
//! # use vfio_sim::{Machine, SimKernel};
//! use iommu_spapr::guest::{Bridge, DefaultWindow};
//!
//! # let sim = SimKernel::new(Machine::pseries());
//! # let kernel: Arc<dyn Kernel> = Arc::new(sim.clone());
//! # let vfio = Vfio::on(Arc::clone(&kernel), Registry::linked()?);
//! # let device = vfio.open("0000:00:00.0".parse()?)?;
//! # let memory = kernel.mmap(4 << 20)?;
//! # let range = HostRange::new(memory.as_ptr() as usize, 4 << 20).ok_or("no memory")?;
//! # // SAFETY: the memory stays, and nobody has a reference to it.
//! # let block = unsafe { Block::new(range, ()) };
//! # let at = |start, size| IovaRange::new(Iova(start), size).ok_or("no such range");
//! # let space = Arc::new(AddressSpace::new());
//! # let ram = Section::ram(at(0x7000_0000, 4 << 20)?, &block, 0)?;
//! # let _ = space.edit().insert(ram).commit()?;
//! // `space` has 4 MiB of RAM at 0x7000_0000, and `device` is a device on a host under a hypervisor.
//! let window = DefaultWindow {
//!     liobn: 0x8000_0000,
//!     range: at(0, 1 << 30)?,
//!     page_shift: 12,
//! };
//! let bridge = Bridge::new(&space, window, None)?;
//! bridge.follow(device.domain())?;
//!
//! // H_PUT_TCE, H_PUT_TCE_INDIRECT, H_STUFF_TCE, H_GET_TCE
//! bridge.put(0x8000_0000, 0x1000, 0x7000_5000 | 0b11)?;
//! bridge.put_list(0x8000_0000, 0x2000, &[0x7000_8003, 0x7000_9003])?;
//! assert_eq!(sim.mappings()[0].vaddr, range.addr() as u64 + 0x5000);
//! bridge.stuff(0x8000_0000, 0x1000, 0, 2)?;
//! assert_eq!(bridge.get(0x8000_0000, 0x3000)?, 0x7000_9003);
//!
//! // What cannot be is refused, with what the guest is to be told.
//! let refused = bridge.put(0x8000_0000, 1 << 30, 0x7000_0003).unwrap_err();
//! assert_eq!(refused.hcall(), -4); // H_PARAMETER
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # DDW
//!
//! The guest's device tree names the windows: `ibm,dma-window` of the host bridge has the number, the start and the size of
//! the default one, `ibm,ddw-applicable` the tokens of the firmware's calls `ibm,query-pe-dma-window`,
//! `ibm,create-pe-dma-window` and `ibm,remove-pe-dma-window`, and `ibm,ddw-extensions` that of `ibm,reset-pe-dma-window`.
//!
//! Guests create windows, too: *dynamic DMA windows*, by four calls of the firmware. Linux does so as soon as a driver can
//! address 64 bits, maps all of its memory there, and is as fast from then on as if there were no IOMMU. A guest that starts
//! anew has the default window again.
//!
//! ```
//! # use std::sync::Arc;
//! # use vfio_core::Vfio;
//! # use vfio_core::address::{HostRange, Iova, IovaRange, PageSizes};
//! # use vfio_core::guest::{AddressSpace, Block, Section};
//! # use vfio_core::iommu::Registry;
//! # use vfio_core::kernel::Kernel;
//! # use vfio_sim::{Machine, SimKernel};
//! # use iommu_spapr::guest::{Bridge, DefaultWindow};
//! use iommu_spapr::guest::DynamicWindows;
//!
//! # let sim = SimKernel::new(Machine::powernv9());
//! # let kernel: Arc<dyn Kernel> = Arc::new(sim.clone());
//! # let vfio = Vfio::on(Arc::clone(&kernel), Registry::linked()?);
//! # let device = vfio.open("0000:01:00.0".parse()?)?;
//! # let memory = kernel.mmap(4 << 20)?;
//! # let range = HostRange::new(memory.as_ptr() as usize, 4 << 20).ok_or("no memory")?;
//! # // SAFETY: the memory stays, and nobody has a reference to it.
//! # let block = unsafe { Block::new(range, ()) };
//! # let at = |start, size| IovaRange::new(Iova(start), size).ok_or("no such range");
//! # let space = Arc::new(AddressSpace::new());
//! # let ram = Section::ram(at(0x7000_0000, 4 << 20)?, &block, 0)?;
//! # let _ = space.edit().insert(ram).commit()?;
//! # let window = DefaultWindow {
//! #     liobn: 0x8000_0000,
//! #     range: at(0, 1 << 30)?,
//! #     page_shift: 12,
//! # };
//! let windows = DynamicWindows {
//!     liobn: 0x8000_0001,
//!     start: Iova(1 << 59),
//!     page_sizes: PageSizes(0x1_1000), // 4 KiB, 64 KiB: its memory is on ordinary pages
//!     largest: 1 << 40,
//! };
//! let bridge = Bridge::new(&space, window, Some(windows))?;
//! bridge.follow(device.domain())?;
//!
//! // ibm,query-pe-dma-window and ibm,create-pe-dma-window: 4 GiB in pages of 64 KiB
//! assert_eq!(bridge.query()?.windows, 1);
//! let created = bridge.create(16, 32)?;
//! let all: Vec<_> = (0..64).map(|n| 0x7000_0003 + n * 0x1_0000).collect();
//! bridge.put_list(created.liobn, created.start.0 + 0x7000_0000, &all)?;
//! assert_eq!(sim.mappings().iter().map(|it| it.size).sum::<u64>(), 4 << 20);
//!
//! // ibm,reset-pe-dma-window, or a guest that starts anew
//! bridge.reset()?;
//! assert_eq!(device.domain().windows()?, device.domain().initial_windows());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # EEH
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
//! # Two versions
//!
//! The kernel advertises both versions always; only a group in the container tells what works. Version 2 is preferred. Version
//! 1 has the default window alone, takes one group a container, and counts the whole window as locked memory, 1 to 2 GiB,
//! as soon as a device is opened: [`Capabilities::locked`](vfio_core::iommu::Capabilities::locked) says how much, and
//! a limit that is too low is named before the kernel is asked.
//!
//! What the kernel does is in `drivers/vfio/vfio_iommu_spapr_tce.c`, and numbered on the project's page of kernel
//! behaviours. Three of its calls fail with a positive number (P1 to P3), and an unmap that reaches past its window kills
//! some kernels (H1): this crate checks before it asks.
//!
//! # Devices that come and go
//!
//! On powernv, version 2 lets several groups share a container and its windows. The kernel (seen with 6.12) clears
//! every window of the container when one of those groups leaves it (D57b): devices of the others reach nothing until what
//! they use is mapped anew, and no call says so. Whoever takes devices away while others run opens each in an
//! address space of its own, with [`AddressSpaceId::unique`](vfio_core::AddressSpaceId::unique), and maps in all of them.

mod calls;
mod eeh;
pub mod guest;
mod planner;
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
