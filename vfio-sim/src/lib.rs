//! A VFIO kernel in memory, for testing code that uses VFIO on any Linux, without privileges.
//!
//! [`SimKernel`] implements [`vfio_core::kernel::Kernel`], the door through which `vfio-core` asks
//! Linux about VFIO, memory and the host. (Waiting for an eventfd and closing do not go through it: the fds are real.)
//! It has a [`Machine`] in it, described as data: which IOMMUs the kernel
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
//! # Testing your VMM's VFIO code in `cargo test`
//!
//! Devices have models, and DMA goes through the simulated IOMMU into this process's memory. A test drives its own
//! code, and then asks the kernel what a real one never tells: what is mapped, which DMA did not arrive and why,
//! what is still open.
//!
//! ```
//! use std::sync::Arc;
//!
//! use iommu_type1 as _; // the backend that is tested with
//! use vfio_core::Vfio;
//! use vfio_core::address::{Access, DmaMask};
//! use vfio_core::device::RegionIndex;
//! use vfio_core::iommu::Registry;
//! use vfio_sim::{Machine, SimKernel, Why};
//!
//! let sim = SimKernel::new(Machine::x86_64());
//! let vfio = Vfio::on(Arc::new(sim.clone()), Registry::linked()?);
//!
//! // The code under test: it opens QEMU's `edu`, makes it a bus master and gives it a buffer.
//! let device = vfio.open("0000:00:04.0".parse()?)?;
//! let config = device.region(RegionIndex::Config)?;
//! config.write(0x04, config.read::<u16>(0x04)? | 0x4)?;
//! let buffer = device.domain().buffer(4096, DmaMask::bits(32), Access::ReadWrite)?;
//! buffer.copy_from(0, b"through the IOMMU")?;
//!
//! let registers = device.region(RegionIndex::Bar(0))?;
//! let dma = |from: u64, to: u64, command: u64| -> vfio_core::Result<()> {
//!     registers.write(0x80, from)?; // source
//!     registers.write(0x88, to)?; // destination
//!     registers.write(0x90, 17_u64)?; // count
//!     registers.write(0x98, command) // 1 runs, 3 runs towards memory
//! };
//! const OWN: u64 = 0x4_0000; // the buffer in the device
//! dma(buffer.iova().0, OWN, 1)?;
//! dma(OWN, buffer.iova().0 + 100, 3)?;
//! let mut bytes = [0; 17];
//! buffer.copy_to(100, &mut bytes)?;
//! assert_eq!(&bytes, b"through the IOMMU");
//!
//! // What the kernel has to say about it.
//! let mapped: Vec<_> = sim.mappings().iter().map(|it| (it.iova, it.size)).collect();
//! assert_eq!(mapped, [(buffer.iova().0, 4096)]);
//! assert_eq!(sim.locked(), 4096);
//! assert!(sim.take_faults().is_empty());
//!
//! // A device that is used after its buffer was given back is caught.
//! let gone = buffer.iova().0;
//! drop(buffer);
//! dma(OWN, gone, 3)?;
//! let faults = sim.take_faults();
//! assert_eq!((faults[0].iova, faults[0].why), (gone, Why::Blocked));
//!
//! drop((config, registers, device));
//! assert!(sim.hazards().is_empty());
//! assert!(sim.is_idle(), "{:?} is left", sim.open_objects());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The answers follow Linux 6.12, and what other versions do differently follows
//! [`Machine::release`](Machine#structfield.release). The names in parentheses (A5, C44, F85) are those of the
//! project's page of kernel behaviours.
//!
//! # What is proven
//!
//! Clauses of that page, 943 of them, are asked of the simulation and of real kernels in QEMU by one source, and both
//! answer alike; random calls, 10,000 on each machine, are made on both, and every answer, every byte that comes back
//! and what devices have written to memory (at the end of a sequence, to all that they may reach) is the same. 18
//! clauses are asked of the simulation alone, each for a reason that stands beside it: a kernel that would not survive,
//! or that no machine of the lab runs.
//!
//! | machine | Linux | clauses asked of both | random calls |
//! |---|---|---|---|
//! | x86_64: type1 behind VT-d | 6.12.95 | 671, and 17 without interrupt remapping | yes |
//! | x86_64 | 6.1.176 and 7.3.4 | | 4,000 |
//! | aarch64: type1 behind an SMMUv3 | 6.12.95 | 623 | yes |
//! | pseries: sPAPR under a hypervisor | 6.12.95 | 601 | yes |
//! | powernv9: sPAPR without one | 6.12.95 | 488 | yes |
//!
//! That these would see a wrong simulation is proven too: of 415 [lies](Lie) that it can be made to tell, 412 are
//! found; the others change nothing that can be seen. `cargo xtask test --suite conformance` and `--suite differential`
//! say all this again. What a kernel of somebody else's answers can be [recorded](wrap::Recording) and
//! [compared](wrap::again()).
//!
//! Read and not run is: what needs a mediated device, noiommu, a race (A12, A14, D53), a group in a domain of its own
//! (A10), ranges of groups that collide (B19), tables that differ (C37), windows that a host does not offer (C37b),
//! isolation units without a platform or with an error (D58, D58b), H1 mended on POWER, for which no kernel could be had, and
//! extended capabilities of config space (F79). Random calls leave out accesses to what is mapped, whose failure is a
//! signal (the clauses of F77 ask it), and bytes of config space that are in no capability.
//!
//! # What it needs
//!
//! Linux 5.14 or newer: pages are made present with `MADV_POPULATE_READ` and `MADV_POPULATE_WRITE`; before that every
//! mapping fails as if the memory were not there. And `process_vm_readv` and `process_vm_writev`, with which devices do
//! their DMA: a sandbox that forbids them makes all DMA fail. No rights, no VFIO, no PCI device.
//!
//! # What it models
//!
//! - **Container and group** (A): versions, extensions, refusals, viability, who holds whom; one open at a time;
//!   tokens of virtual functions; a life that ends when the last fd or mapped region goes.
//! - **Type1** (B), versions 1 and 2: mapping and unmapping as each of them cuts, the limit of entries, the usable
//!   ranges, addresses that are forgotten and given anew; dirty pages (B34): all
//!   that a PCI device can reach; the last page of all, which old kernels lose (H8).
//! - **sPAPR** (C, D), versions 1 and 2: the default window, dynamic windows with the tables that pseries and powernv
//!   account for them, several groups, registered memory, the positive answers of failures (P). Isolation units (D58)
//!   freeze and recover.
//!   What a real kernel does not survive or does wrong (H) is done the harmless way, and told by
//!   [`SimKernel::hazards`].
//! - **Groups without an IOMMU** (`noiommu`), which map nothing and want `CAP_SYS_RAWIO` at every step.
//! - **Accounting**: `RLIMIT_MEMLOCK` and `CAP_IPC_LOCK`, of [several processes](SimKernel::process) with
//!   [rights](Rights) of their own.
//! - **Devices** (F): regions, read, written and mapped; config space as VFIO shows it; INTx that masks itself, MSI,
//!   MSI-X with holes, errors and [release requests](SimKernel::request_release); eventfds that unmask and that write
//!   registers; function level reset, hot reset, low power; drivers that come and go. A [`Model`](model::Model) is
//!   behind the registers: QEMU's [`Edu`](model::Edu) and [`Nvme`](model::Nvme), a [`Plain`](model::Plain) one, or
//!   yours.
//! - **DMA**: a model reaches the memory of this process, where its container maps it, with that right, and only
//!   as a bus master. What does not arrive is a [`Fault`], also where memory was given back and is mapped still.
//! - **KVM**, on a machine [that has it](Machine::with_kvm): VMs, their VFIO device (F92), their memory slots, which a
//!   test [reads](SimKernel::guest_read) and [writes](SimKernel::guest_write) as a guest does (F92c), and on POWER TCE
//!   tables (D59), which it fills by the guest's [hypercall](SimKernel::guest_put_tce). As in Linux, user space does not
//!   come to know.
//! - **sysfs and proc**: groups with their reserved ranges, PCI devices with ids, drivers, BARs, config space, power and
//!   resets, IOMMUs, tables of the firmware, parameters of modules, as far as [`vfio_core::host`] and
//!   [`vfio_core::diagnosis`] read them. Which driver a device has can be written: `driver_override`, `unbind`, `bind`,
//!   `drivers_probe`.
//!
//! Every fd is a real one, of a socket: it can be duplicated, sent to another process and polled, and the
//! object behind it is closed when the last duplicate is. The kernel notices that at its next call and
//! at the next question of the test; what it notices at once it logs as devices, groups, containers. A process that
//! another thread starts has duplicates of all of them until it runs its program: until then, what was closed is open.
//! Tests that start processes belong in a test program of their own.
//!
//! # What it does not model
//!
//! - KVM beyond that: processors, how high the addresses of guests are, and interrupts (F92); migration. Isolation units freeze when a test says so
//!   ([`SimKernel::freeze`]), and by themselves only on [hardware that does](Machine::freezing); messages of a frozen device
//!   are lost, its line goes on. None is unavailable because of another one.
//! - iommufd and the character devices of devices (E).
//! - Time: what a device does is done before the write that asked for it returns. Only what an eventfd causes
//!   (unmasking, writing a register) happens on a thread of its own; a test waits for it with poll. No reset is slow,
//!   no opening answers `EAGAIN` (A14), and a release request comes again when the test says so, not every ten seconds
//!   (F85b).
//! - Calls that race (D53) or fail for want of memory or of vectors, but for MSI that a machine does not give (P4).
//! - Others who use a device or a group: character devices, mediated devices, (`EBUSY` in A10 and B32).
//! - The reserved ranges of single groups, and groups whose IOMMUs differ (B19, C37): the ranges are the machine's.
//! - What unmapping everything makes a kernel forget and leave mapped (H8): here it forgets nothing.
//! - Pages: memory is this host's, with this host's pages, whatever [`Machine::page_size`] says. Nothing is pinned:
//!   memory that is unmapped while it is mapped for a device is [stale](Why::Stale), not kept, and where a device of
//!   Linux 6.1 would go on reading zeros (B25) it reads what was written. Huge pages (D49b) are what
//!   [`SimKernel::mmap_huge`] gave, and nothing else.
//! - The signal of mapped registers (F77), which are no memory and answer an error instead; an access to mapped memory
//!   of a BAR is the `SIGBUS` that it is on a real host.
//! - Messages in the hardware's MSI-X table, which a mapping shows: the kernel writes none there.
//! - VGA (F75), as the kernels of the lab do not.
//! - What drivers of the kernel do: they are [bound](SimKernel::bind) and [unbound](SimKernel::unbind), and own the DMA
//!   of their group or not. Virtual functions do not go with their physical one. A process does not end, and no fd is
//!   its own: a process is only who is accounted and asked for rights.
mod arg;
mod binding;
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
mod kvm;
mod lie;
pub mod machine;
mod memory;
pub mod model;
mod names;
mod process;
mod token;
mod watch;
mod world;
pub mod wrap;

pub use event::{Event, Object};
pub use fault::{Fault, Why};
pub use iommu::{Hazard, Holdings, Mapping};
pub use kernel::SimKernel;
pub use kvm::{GuestAccess, GuestMemory, Hypercall};
pub use lie::{Field, Lie, Part, What};
pub use machine::Machine;
pub use process::Rights;
