//! What a driver does with a device, from opening it to closing it.

use std::os::fd::AsFd;
use std::sync::Arc;

use iommu_spapr::{SPAPR_V1, SPAPR_V2};
use iommu_type1::{TYPE1, TYPE1_V2};
use vfio_core::address::{Access, DmaMask};
use vfio_core::device::{EventFd, IrqIndex, RegionIndex};
use vfio_core::iommu::Registry;
use vfio_core::kernel::Kernel;
use vfio_core::{Device, Result, Vfio};
use vfio_sim::wrap::{Watch, Watched};
use vfio_sim::{Machine, SimKernel};

/// A machine's kernel that is watched, and the kernel itself.
pub(crate) fn watched<W: Watch + 'static>(
    machine: Machine,
    watch: &Arc<W>,
) -> (Arc<dyn Kernel>, SimKernel) {
    let sim = SimKernel::new(machine);
    (over(Arc::new(sim.clone()), watch), sim)
}

pub(crate) fn over<W: Watch + 'static>(kernel: Arc<dyn Kernel>, watch: &Arc<W>) -> Arc<dyn Kernel> {
    Arc::new(Watched::new(kernel, watch.clone()))
}

/// The first device of a machine.
pub(crate) fn first(machine: &Machine) -> String {
    machine.groups[0].devices[0].bdf.clone()
}

pub(crate) fn open(kernel: &Arc<dyn Kernel>, bdf: &str) -> Result<Device> {
    let backends = Registry::of([SPAPR_V1, SPAPR_V2, TYPE1, TYPE1_V2])?;
    Vfio::on(kernel.clone(), backends).open(bdf.parse().unwrap())
}

/// Config space, a mapped register, an interrupt, memory for DMA of that size.
pub(crate) fn session(kernel: &Arc<dyn Kernel>, bdf: &str, size: usize) -> Result<()> {
    let device = open(kernel, bdf)?;
    device.region(RegionIndex::Config)?.read::<u16>(0)?;
    let bar = device.region(RegionIndex::Bar(0))?.map()?;
    bar.write(0x04, 0x1234_5678_u32)?;
    let event = EventFd::new(kernel)?;
    device.enable_irqs(IrqIndex::Msi, 0, &[Some(event.as_fd())])?;
    device.disable_irqs(IrqIndex::Msi)?;
    let mut buffer = device
        .domain()
        .buffer(size, DmaMask::bits(64), Access::ReadWrite)?;
    buffer.write(0, 1_u32)?;
    buffer.unmap()?;
    drop((buffer, bar));
    device.close()
}
