//! A guest's memory is mapped for a device: what is timed ends when a device can reach all of it. Making the memory and
//! unmapping it are not timed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use iommu_type1 as _;
use vfio_core::Vfio;
use vfio_core::address::{HostRange, Iova, IovaRange};
use vfio_core::guest::{AddressSpace, Block, Section};
use vfio_core::host::Bdf;
use vfio_ioctls::{VfioContainer, VfioDevice, VfioOps};

use super::memory::{Kind, SIZE, START, address};
use super::pairs::{self, time};

/// The first device is for us, the second for the peer: both are open all the time.
pub fn measure(first: Bdf, second: Bdf, kind: Kind) -> Result<Vec<(Duration, Duration)>> {
    let device = Vfio::new()?.open(first)?;
    let space = AddressSpace::new();
    let _ = space.follow(device.domain())?;

    let container = Arc::new(VfioContainer::new(None).context("the peer's container")?);
    let path = PathBuf::from(format!("/sys/bus/pci/devices/{second}"));
    let peers: Arc<dyn VfioOps> = Arc::clone(&container) as _;
    let _peers_device = VfioDevice::new(&path, peers, false).context("the peer's device")?;

    let ours = || ours(&space, kind);
    pairs::measure(kind.pairs(), ours, || peers_time(&container, kind))
}

fn ours(space: &AddressSpace, kind: Kind) -> Result<Duration> {
    let memory = kind.make()?;
    let host = HostRange::new(address(&memory)?.addr(), SIZE).context("memory")?;
    let range = IovaRange::new(Iova(START), SIZE as u64).context("a range")?;
    // SAFETY: the block owns the memory, to which nobody refers.
    let block = unsafe { Block::new(host, memory) };
    let (took, committed) = time(|| {
        let section = Section::ram(range, &block, 0)?;
        space.edit().insert(section).commit()
    });
    let committed = committed?;
    ensure!(committed.unreachable.is_empty(), "not all of it is mapped");
    kind.check()?;
    let _ = space.edit().remove(range).commit()?;
    Ok(took)
}

fn peers_time(container: &VfioContainer, kind: Kind) -> Result<Duration> {
    let memory = kind.make()?;
    // SAFETY: the memory is there until it was unmapped below, and nobody refers to it.
    let (took, mapped) = time(|| unsafe { container.vfio_map_guest_memory(&memory) });
    mapped?;
    kind.check()?;
    container.vfio_unmap_guest_memory(&memory)?;
    Ok(took)
}
