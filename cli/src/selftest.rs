//! `vfioctl selftest`: the whole way of a device, but for its own DMA.

use std::fmt;

use vfio_core::address::{Access, DmaMask, Size};
use vfio_core::host::Bdf;
use vfio_core::iommu::Capabilities;
use vfio_core::{Error, ErrorKind, Result};

use crate::bdf;
use crate::host::Host;
use crate::output::Output;
use crate::status::Status;

/// A page of every host.
const BUFFER_SIZE: usize = 65536;

/// Attach a device, map a buffer for it and unmap it; the device itself does nothing
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  vfioctl --sim x86_64 selftest 0000:00:05.0 --reset")]
pub(crate) struct Args {
    /// The device, as 0000:00:1f.2
    #[arg(add = bdf::completer())]
    bdf: Bdf,
    /// Reset it, too, if it can be reset alone
    #[arg(long)]
    reset: bool,
}

pub(crate) fn run(host: &Host, out: &mut Output, args: &Args) -> anyhow::Result<Status> {
    let bdf = args.bdf;
    host.announce(out)?;
    let device = host.vfio.open(bdf)?;
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
    if args.reset {
        device.reset()?;
        ok("reset", &bdf)?;
    }
    drop((buffer, device));
    check_released(bdf, domain.capabilities())?;
    ok("release", &bdf)?;
    Ok(Status::FINE)
}

/// What a domain answers after its last device was dropped says whether the group was released.
fn check_released(bdf: Bdf, answer: Result<Capabilities>) -> Result<()> {
    let why = match answer {
        Err(error) if error.kind() == ErrorKind::Gone => return Ok(()),
        Err(error) => format!("its group was not released: {error}"),
        Ok(_) => "its group was not released: the IOMMU still serves it".to_owned(),
    };
    Err(Error::new(ErrorKind::Kernel, "release", bdf.to_string())
        .of_device(bdf)
        .because(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vfio_core::address::PageSizes;

    #[test]
    fn only_a_context_that_is_gone_was_released() {
        let bdf = "0000:00:04.0".parse().unwrap();
        let failed = |kind| Err(Error::new(kind, "ask", "the context"));
        check_released(bdf, failed(ErrorKind::Gone)).unwrap();
        let alive = Capabilities {
            page_sizes: PageSizes(4096),
            apertures: Vec::new(),
            mappings_left: None,
            locked: 0,
            windows: None,
        };
        for answer in [failed(ErrorKind::Busy), Ok(alive)] {
            let error = check_released(bdf, answer).unwrap_err();
            assert!(error.to_string().contains("was not released"), "{error}");
            assert_eq!(error.kind().exit_status(), 4);
        }
    }
}
