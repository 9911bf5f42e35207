//! A driver's first DMA: QEMU's `edu` device copies bytes from memory and back, on every architecture.
//!
//! `first-dma BDF`, on any host; `first-dma BDF MACHINE`, on a simulated one.

use std::sync::Arc;

use pci_device::{Command, ConfigSpace};
use vfio_core::address::{Access, DmaMask};
use vfio_core::device::RegionIndex;
use vfio_core::iommu::Registry;
use vfio_core::{Result, Vfio, host::Bdf};
use vfio_sim::{Machine, SimKernel};
use {iommu_spapr as _, iommu_type1 as _}; // the backends that may be chosen

/// Has the device read `message` and write it to another place; answers what arrived there.
fn copy_by_device(vfio: &Vfio, bdf: Bdf, message: &[u8]) -> Result<Vec<u8>> {
    let device = vfio.open(bdf)?;
    ConfigSpace::of(&device)?.enable(Command::MEMORY | Command::BUS_MASTER)?;
    let memory = device
        .domain()
        .buffer(8192, DmaMask::bits(28), Access::ReadWrite)?;
    memory.copy_from(0, message)?;

    let registers = device.region(RegionIndex::Bar(0))?.map()?;
    let swapped = registers.read::<u32>(0)? & 0xff != 0xed; // edu's registers have QEMU's byte order
    let order = |value: u64| if swapped { value.swap_bytes() } else { value };
    let (there, back, own) = (memory.iova().0, memory.iova().0 + 4096, 0x4_0000);
    for (from, to, command) in [(there, own, 0b01), (own, back, 0b11)] {
        registers.write(0x80, order(from))?;
        registers.write(0x88, order(to))?;
        registers.write(0x90, order(message.len() as u64))?;
        registers.write(0x98, order(command))?;
        while order(registers.read(0x98)?) & 1 != 0 {} // until it is done
    }
    let mut arrived = vec![0; message.len()];
    memory.copy_to(4096, &mut arrived)?;
    Ok(arrived)
}

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let bdf = args.next().unwrap_or_default().parse()?;
    let vfio = match args.next() {
        None => Vfio::new()?,
        Some(name) => {
            let machine =
                Machine::named(&name).ok_or_else(|| anyhow::anyhow!("no machine {name}"))?;
            Vfio::on(Arc::new(SimKernel::new(machine)), Registry::linked()?)
        }
    };
    let mut message = [0; 64];
    rustix::rand::getrandom(&mut message, rustix::rand::GetRandomFlags::empty())?;
    let arrived = copy_by_device(&vfio, bdf, &message)?;
    anyhow::ensure!(arrived == message, "the bytes that came back are others");
    eprintln!("{bdf}: 64 random bytes went to the device and back");
    Ok(())
}
