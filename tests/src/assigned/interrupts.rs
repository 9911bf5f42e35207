//! What a guest does to its interrupt line while somebody sets it up.

use std::os::fd::AsFd;
use std::thread::scope;

use anyhow::{Context, Result, ensure};
use vfio_core::device::{EventFd, IrqIndex};

use super::guest::Guest;

const MEMORY: u16 = 1 << 1;
const LINE_OFF: u16 = 1 << 10;

/// The guest switches its line off and on while the VMM sets it up and takes it down (CVE-2024-26810).
pub(super) fn line(guest: &Guest) -> Result<Option<&'static str>> {
    const ROUNDS: usize = 100;
    let device = guest.real();
    if device.irq_info(IrqIndex::Intx)?.count == 0 {
        return Ok(Some("the device has no interrupt line"));
    }
    guest.place(0)?;
    // Whoever has ports alone has no memory to switch on.
    guest.device.write_config(4, &MEMORY.to_le_bytes());
    let expected: [u8; 2] = guest.read_config(4);
    let eventfd = EventFd::new(device.kernel())?;
    let set_up = || -> vfio_core::Result<()> {
        for _ in 0..ROUNDS {
            device.enable_irqs(IrqIndex::Intx, 0, &[Some(eventfd.as_fd())])?;
            device.mask_irqs(IrqIndex::Intx, 0, 1)?;
            device.unmask_irqs(IrqIndex::Intx, 0, 1)?;
            device.disable_irqs(IrqIndex::Intx)?;
        }
        Ok(())
    };
    scope(|threads| {
        let other = threads.spawn(set_up);
        for round in 0..2 * ROUNDS {
            let off = if round % 2 == 0 { LINE_OFF } else { 0 };
            let command = (MEMORY | off).to_le_bytes();
            guest.device.write_config(4, &command);
        }
        other
            .join()
            .map_err(|_| anyhow::anyhow!("it panicked"))?
            .context("set the line up")
    })?;
    let command: [u8; 2] = guest.read_config(4);
    ensure!(command == expected, "{command:x?} and not {expected:x?}");
    guest.expect_no_event()?;
    Ok(None)
}
