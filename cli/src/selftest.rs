//! `vfioctl selftest`: the whole way of a device, but for its own DMA.

use std::fmt;

use vfio_core::Vfio;
use vfio_core::address::{Access, DmaMask, Size};
use vfio_core::host::Bdf;

use crate::output::Output;
use crate::status::Status;

/// A page of every host.
const BUFFER_SIZE: usize = 65536;

pub(crate) fn run(vfio: &Vfio, out: &mut Output, bdf: Bdf) -> anyhow::Result<Status> {
    let device = vfio.open(bdf)?;
    let domain = device.domain().clone();
    let mut ok =
        |step: &str, what: &dyn fmt::Display| out.line(format_args!("ok  {step:<8} {what}"));

    ok("attach", &format_args!("{bdf} through {}", domain.name()))?;
    let info = device.info()?;
    ok(
        "open",
        &format_args!(
            "{} regions, {} kinds of interrupts, {}",
            info.regions,
            info.irq_indexes,
            if info.can_reset {
                "can be reset"
            } else {
                "cannot be reset alone"
            }
        ),
    )?;
    // An address below 4 GiB is what every device can use.
    let mut buffer = domain.buffer(BUFFER_SIZE, DmaMask::bits(32), Access::ReadWrite)?;
    ok(
        "map",
        &format_args!("{} at IOVA {}", Size(buffer.len() as u64), buffer.range()),
    )?;
    buffer.unmap()?;
    ok("unmap", &format_args!("IOVA {}", buffer.range()))?;
    drop((buffer, device));
    ok("release", &bdf)?;
    Ok(Status::FINE)
}
