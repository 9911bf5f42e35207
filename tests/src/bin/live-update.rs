//! A program becomes another one (`exec`) while a device stays attached and its memory mapped.
//!
//! `live-update BDF`, as root, has the device do DMA with two memfds, forgets their addresses, hands everything over to
//! itself, and becomes this program anew. That has the device do DMA with the same memory, by the mappings of the
//! program before, which are a guest's from then on and go with its sections.
#![allow(unsafe_code)] // Fds that come as numbers.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use pci_device::{Command as Enable, ConfigSpace};
use rustix::io::{FdFlags, fcntl_setfd};
use serde::{Deserialize, Serialize};
use vfio_core::address::{Access, DmaMask, Iova};
use vfio_core::guest::AddressSpace;
use vfio_core::host::{self, Bdf};
use vfio_core::{Device, Handover, Vfio};
use vfio_tests::SharedMemory;
use vfio_tests::devices::{BUFFER_SIZE, Dma, Model};

// Linked in to be chosen.
use iommu_type1 as _;

/// What devices may do with the memory.
const RIGHTS: [Access; 2] = [Access::ReadWrite, Access::Read];

/// Become another program while a device does not notice
#[derive(Parser)]
#[command(version)]
struct Args {
    /// A device that is bound to VFIO, such as 0000:00:04.0
    bdf: Bdf,

    /// Be the next program: what the one before has left
    #[arg(long, hide = true)]
    left: Option<String>,
}

/// What one program leaves to the next: numbers of fds that are open, and what is mapped.
#[derive(Serialize, Deserialize)]
struct Left {
    process: u32,
    backend: String,
    group: RawFd,
    container: RawFd,
    device: RawFd,
    /// The memfd, and where the device finds it.
    memories: Vec<(RawFd, u64)>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.left {
        None => before(args.bdf),
        Some(left) => after(args.bdf, left),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Opens, maps, and makes way. It comes back only with an error.
fn before(bdf: Bdf) -> Result<()> {
    let vfio = Vfio::new()?;
    let device = vfio.open(bdf)?;
    let domain = device.domain();
    let mut memories = Vec::new();
    for access in RIGHTS {
        let addresses = domain.alloc(BUFFER_SIZE as u64, DmaMask::bits(28))?;
        let memory = SharedMemory::new(addresses.range())?;
        memory.map(domain, access)?;
        memories.push(memory);
    }
    check(&vfio, &device, &memories).context("before")?;

    let mut forgotten = domain.forget_addresses()?;
    forgotten.sort_by_key(|range| memories.iter().position(|memory| memory.range() == *range));
    let mapped: Vec<_> = memories.iter().map(SharedMemory::range).collect();
    ensure!(forgotten == mapped, "{forgotten:?} instead of {mapped:?}");
    let fds = device.hand_over()?.into_fds();
    let container = fds.container.context("no container")?;
    let opened = fds.device.context("no device")?;
    let left = Left {
        process: std::process::id(),
        backend: fds.backend.context("no backend")?,
        group: keep(&fds.group)?,
        container: keep(&container)?,
        device: keep(&opened)?,
        memories: memories
            .iter()
            .map(|memory| Ok((keep(memory)?, memory.range().first().0)))
            .collect::<Result<_>>()?,
    };
    let error = Command::new(std::env::current_exe().context("find this program")?)
        .arg(bdf.to_string())
        .arg("--left")
        .arg(serde_json::to_string(&left)?)
        .exec();
    Err(error).context("become another program")
}

/// Takes over, and goes on.
fn after(bdf: Bdf, left: &str) -> Result<()> {
    let left: Left = serde_json::from_str(left).context("read what was left")?;
    ensure!(left.process == std::process::id(), "this is no successor");
    let handover = Handover::of_group(take(left.group)?)
        .with_container(take(left.container)?)
        .with_iommu_of(&left.backend)
        .with_device(take(left.device)?);
    let memories = left
        .memories
        .into_iter()
        .map(|(file, iova)| SharedMemory::of(take(file)?, Iova(iova)))
        .collect::<Result<Vec<_>>>()?;
    let mapped: Vec<_> = memories.iter().map(SharedMemory::range).collect();
    let space = AddressSpace::new();
    let mut guest = space.edit();
    for (memory, access) in memories.iter().zip(RIGHTS) {
        guest = guest.insert(memory.section(access)?);
    }
    let _ = guest.commit()?;

    let vfio = Vfio::new()?;
    let device = vfio.adopt(bdf, handover)?;
    let domain = device.domain();
    SharedMemory::resume(&space, domain, &mapped)?;
    check(&vfio, &device, &memories).context("after")?;
    for range in &mapped {
        let _ = space.edit().remove(*range).commit()?;
        let bytes = domain.unmap(*range)?;
        ensure!(bytes == 0, "{bytes:#x} bytes were left");
    }
    writeln!(
        std::io::stdout(),
        "process {}: another program has DMA with {bdf} through {}, by the mappings of the one before",
        left.process,
        domain.name()
    )?;
    device.close()?;
    Ok(())
}

/// The device does with each memory what it may, and with random bytes.
fn check(vfio: &Vfio, device: &Device, memories: &[SharedMemory]) -> Result<()> {
    ConfigSpace::of(device)?.enable(Enable::MEMORY | Enable::BUS_MASTER)?;
    let model = Model::of(&host::device(&**vfio.kernel(), device.bdf())?);
    let mut driver = model.context("there is no driver")?.drive(device)?;
    driver.start()?;
    for (memory, access) in memories.iter().zip(RIGHTS) {
        ensure!(driver.reads(memory)? == Dma::Arrived, "it did not read");
        let may_write = match access {
            Access::Read => Dma::Blocked,
            _ => Dma::Arrived,
        };
        ensure!(
            driver.writes(memory)? == may_write,
            "its write: not {may_write:?}"
        );
    }
    Ok(()) // what the driver has mapped for itself is unmapped
}

/// Has the next program have it.
fn keep(fd: &impl AsFd) -> Result<RawFd> {
    fcntl_setfd(fd, FdFlags::empty()).context("keep an fd over exec")?;
    Ok(fd.as_fd().as_raw_fd())
}

/// Takes what the program before has kept; no other program gets it.
fn take(fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: the program before has left it open, and nothing else here knows of it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    fcntl_setfd(&fd, FdFlags::CLOEXEC).context("an fd that was left")?;
    Ok(fd)
}
