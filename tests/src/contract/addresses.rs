//! Memory whose address in this process changes, while a device reaches it.

use anyhow::{Context, Result, ensure};
use vfio_core::address::{Access, DmaMask, IovaRange};
use vfio_core::iommu::Domain;
use vfio_core::{Device, ErrorKind};

use super::mappings::expect;
use super::{Outcome, Subject};
use crate::SharedMemory;
use crate::devices::{BUFFER_SIZE, Dma};

/// Where a mapping is to be: any driver of ours can tell its device so.
const LOW: DmaMask = DmaMask::bits(28);

/// A device reaches memory by the mappings that it had, before their addresses are forgotten, until they are renewed,
/// and then; and they go as others do (B32).
pub(super) fn renewed(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    let domain = device.domain();
    match domain.forget_addresses() {
        Ok(none) => ensure!(none.is_empty(), "{none:?} is mapped"),
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            return Ok(Outcome::NotHere("addresses cannot be renewed here"));
        }
        Err(error) => return Err(error.into()),
    }
    let memories = [memory(domain)?, memory(domain)?];
    let mapped = memories.each_ref().map(SharedMemory::range);
    for memory in &memories {
        reached(subject, &device, memory).context("before")?;
    }

    let mut forgotten = domain.forget_addresses()?;
    forgotten.sort_by_key(|range| mapped.iter().position(|it| it == range));
    ensure!(forgotten == mapped, "{forgotten:?} instead of {mapped:?}");
    for memory in &memories {
        reached(subject, &device, memory).context("while the address is forgotten")?;
    }
    expect(ErrorKind::Invalid, domain.forget_addresses(), "once more")?;

    // Nothing is renewed that is not whole, even if it comes last.
    let others = [memories[0].again()?, memories[1].again()?];
    let first = (mapped[0], others[0].host_range()?);
    let second = others[1].host_range()?;
    let half = IovaRange::new(mapped[1].first(), mapped[1].size() / 2).context("a half")?;
    let sizes = SharedMemory::renew(domain, &[first, (half, second)]);
    expect(ErrorKind::Invalid, sizes, "another size")?;
    let twice = SharedMemory::renew(domain, &[first, first]);
    expect(ErrorKind::Overlap, twice, "the same one twice")?;
    SharedMemory::renew(domain, &[first, (mapped[1], second)])?;
    let again = SharedMemory::renew(domain, &[first]);
    expect(ErrorKind::Invalid, again, "what is not forgotten")?;

    for memory in &others {
        reached(subject, &device, memory).context("after")?;
        let bytes = domain.unmap(memory.range())?;
        ensure!(bytes == memory.range().size(), "{bytes:#x} bytes went");
    }
    ensure!(domain.forget_addresses()?.is_empty(), "something is left");
    Ok(Outcome::Passed)
}

fn memory(domain: &Domain) -> Result<SharedMemory> {
    let addresses = domain.alloc(BUFFER_SIZE as u64, LOW)?;
    let memory = SharedMemory::new(addresses.range())?;
    memory.map(domain, Access::ReadWrite)?;
    Ok(memory)
}

/// The device moves random bytes both ways, if there is a driver for it; what the driver needs is unmapped afterwards.
fn reached(subject: &Subject, device: &Device, memory: &SharedMemory) -> Result<()> {
    if let Some(mut driver) = subject.drive(device)? {
        ensure!(driver.reads(memory)? == Dma::Arrived, "it did not read");
        ensure!(driver.writes(memory)? == Dma::Arrived, "it did not write");
    }
    Ok(())
}
