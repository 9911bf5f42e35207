//! What can be asked of every device: config space, regions, memory, handles.

use anyhow::{Context, Result, bail, ensure};
use pci_device::ConfigSpace;
use vfio_core::ErrorKind;
use vfio_core::address::{Access, DmaMask, IovaRange};
use vfio_core::device::{Region, RegionIndex};
use vfio_core::host::{self, BusSpace, IoSpace};
use vfio_core::iommu::DmaBuffer;

use super::{Outcome, Rig};
use crate::random;

pub(super) fn ids(rig: &Rig) -> Result<Outcome> {
    expect_ids(rig, &rig.config)?;
    ensure!(
        rig.config.header_type()? == 0,
        "the header is not that of a device"
    );
    rig.config.capabilities()?;
    Ok(Outcome::Passed)
}

/// Config space names the device that sysfs names.
pub(super) fn expect_ids(rig: &Rig, config: &ConfigSpace) -> Result<()> {
    let sysfs = (rig.sysfs().vendor, rig.sysfs().device);
    let ids = (config.vendor()?, config.device()?);
    ensure!(
        ids == sysfs,
        "config space has ids {ids:04x?}, sysfs {sysfs:04x?}"
    );
    Ok(())
}

pub(super) fn regions(rig: &Rig) -> Result<Outcome> {
    let bars = (0..6).map(RegionIndex::Bar);
    for index in bars.chain([RegionIndex::Rom, RegionIndex::Config]) {
        let region = rig.device.region(index)?;
        read_start(&region).with_context(|| format!("{index:?}"))?;
    }
    Ok(Outcome::Passed)
}

/// Reads the first register of a region in every way that its flags promise. What it reads is the device's
/// business: [`Driver::identify`](crate::devices::Driver::identify) compares what does not change.
fn read_start(region: &Region) -> Result<()> {
    if region.is_readable() {
        match region.size() {
            0 => {}
            1..4 => drop(region.read::<u8>(0)?),
            _ => drop(region.read::<u32>(0)?),
        }
    }
    if region.is_mappable() {
        let map = region.map()?;
        ensure!(
            map.len() as u64 == region.size(),
            "{:#x} bytes are mapped",
            map.len()
        );
        map.read::<u32>(0)?;
    }
    Ok(())
}

pub(super) fn buffers(rig: &Rig) -> Result<Outcome> {
    let mut kept: Vec<DmaBuffer> = Vec::new();
    for bits in [32, 64] {
        for access in [Access::Read, Access::Write, Access::ReadWrite] {
            let size = 1 + random::up_to(1 << 18)?;
            let mask = DmaMask::bits(bits);
            let mut buffer = rig.device.domain().buffer(size, mask, access)?;
            let range = buffer.range();
            ensure!(
                mask.range().contains(range),
                "{range} is beyond {bits} bits"
            );
            ensure!(buffer.len() >= size, "{size} bytes became {}", buffer.len());
            ensure!(
                buffer.len() as u64 == range.size(),
                "{:#x} bytes of memory are at {range}",
                buffer.len()
            );
            let free = |other: &DmaBuffer| !IovaRange::overlaps(other.range(), range);
            ensure!(kept.iter().all(free), "{range} was given away before");

            let bytes = random::bytes(buffer.len())?;
            buffer.copy_from(0, &bytes)?;
            if random::up_to(1)? == 0 {
                buffer.unmap()?;
            }
            let mut back = vec![0; buffer.len()];
            buffer.copy_to(0, &mut back)?;
            ensure!(
                back == bytes,
                "the memory of {range} does not keep its bytes"
            );
            kept.push(buffer);
        }
    }
    Ok(Outcome::Passed)
}

pub(super) fn second_handle(rig: &Rig) -> Result<Outcome> {
    let second = rig.vfio().open(rig.device.bdf())?;
    expect_ids(rig, &ConfigSpace::of(&second)?)?;
    // One context serves both: addresses that one has, the other does not get.
    let mask = DmaMask::bits(32);
    let one = rig.device.domain().alloc(4096, mask)?;
    let other = second.domain().alloc(4096, mask)?;
    ensure!(
        !one.range().overlaps(other.range()),
        "both handles were given {}",
        one.range()
    );
    drop(second);
    expect_ids(rig, &rig.config).context("after the second handle was closed")?;
    Ok(Outcome::Passed)
}

/// Where the device tree says that the processor reaches a bus, sysfs has the device's memory.
pub(super) fn bridge(rig: &Rig) -> Result<Outcome> {
    let kernel = &**rig.vfio().kernel();
    let bdf = rig.sysfs().bdf;
    let windows = match host::bridge_windows(kernel, bdf) {
        Ok(windows) => windows,
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            return Ok(Outcome::NotHere("the device is in no device tree"));
        }
        Err(error) => return Err(error.into()),
    };
    let path = format!("/sys/bus/pci/devices/{bdf}/resource");
    let resources = kernel
        .read(path.as_ref())
        .context("the device's resources")?;
    let resources = String::from_utf8(resources)?;
    let mut seen = 0;
    for line in resources.lines().take(6) {
        let numbers = line
            .split(' ')
            .map(|it| u64::from_str_radix(it.trim_start_matches("0x"), 16));
        let numbers: Vec<u64> = numbers.collect::<Result<_, _>>()?;
        let [start, end, flags] = numbers[..] else {
            bail!("{line}");
        };
        const MEMORY: u64 = 0x200;
        if flags & MEMORY == 0 {
            continue;
        }
        let mut memory = windows.iter().filter(|it| it.space != BusSpace::Io);
        ensure!(
            memory.any(|it| it.cpu <= start && end - it.cpu < it.size),
            "the BAR at {start:#x} is in none of {windows:x?}"
        );
        seen += 1;
    }
    ensure!(seen > 0, "the device has no memory");
    let has_io = windows.iter().any(|it| it.space == BusSpace::Io);
    let io = host::io_space(kernel, bdf)?;
    ensure!(matches!(io, IoSpace::Window(_)) == has_io, "{io:?}");
    Ok(Outcome::Passed)
}
