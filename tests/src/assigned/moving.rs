//! BARs that move.

use anyhow::{Context, Result, ensure};
use pci_device::bar::BarRegister;

use super::guest::Guest;

pub(super) fn moved(guest: &Guest) -> Result<Option<&'static str>> {
    guest.place(0)?;
    let before: Vec<_> = guest.vmm.traps();
    let start: Vec<[u8; 4]> = guest
        .bars()
        .map(|(number, _)| guest.read(number, 0))
        .collect();
    guest.decode(false);
    ensure!(guest.vmm.traps().is_empty() && guest.vmm.slices().is_empty());
    for (number, _) in guest.bars() {
        let read: [u8; 4] = guest.read(number, 0);
        ensure!(
            read == [0xff; 4],
            "BAR {number} answers {read:x?} while it is off"
        );
        ensure!(guest.device.mapped(BarRegister::Bar(number), 0).is_none());
    }
    guest.place(3)?;
    let after = guest.vmm.traps();
    ensure!(after.len() == before.len(), "{after:x?}");
    for (trap, old) in after.iter().zip(&before) {
        ensure!(
            trap.range.start != old.range.start,
            "{trap:x?} has not moved"
        );
    }
    for slice in guest.vmm.slices() {
        // The mapping works where it is now.
        slice.memory.read::<u32>(0)?;
        let first = guest.find(pci_device::vmm::Space::Memory, slice.guest.start);
        ensure!(matches!(first, Some((BarRegister::Bar(bar), _)) if bar == slice.bar));
    }
    let again: Vec<[u8; 4]> = guest
        .bars()
        .map(|(number, _)| guest.read(number, 0))
        .collect();
    ensure!(start == again, "{again:x?} and not {start:x?}");
    // Over RAM it is nowhere, and comes back.
    let Some((number, bar)) = guest.bars().find(|(_, bar)| !bar.kind.is_io()) else {
        return Ok(Some("the device has no memory"));
    };
    let room = bar.shape.size.max(guest.page.bytes());
    guest.expect_no_event()?;
    guest.put(
        number,
        room.next_multiple_of(0x10_0000)
            .min(0x4000_0000)
            .next_multiple_of(room),
    )?;
    ensure!(guest.trap(number).is_none() && guest.slices(number).is_empty());
    guest.vmm.take();
    guest.place(0)?;
    guest.trap(number).context("it is back")?;
    guest.expect_no_event()?;
    Ok(None)
}

pub(super) fn small(guest: &Guest) -> Result<Option<&'static str>> {
    guest.place(0)?;
    let mut small = guest
        .bars()
        .filter(|(_, bar)| bar.shape.sub_page(guest.page).is_some());
    let Some((number, bar)) = small.next() else {
        return Ok(Some(
            "no BAR of the device is smaller than a page and can be mapped",
        ));
    };
    let at = guest.trap(number).context("it is placed")?.range.start;
    let slices = guest.slices(number);
    ensure!(slices.len() == 1, "{slices:x?}");
    let through_vfio: u32 = guest.region(number)?.read(0)?;
    ensure!(
        slices[0].memory.read::<u32>(0)? == through_vfio,
        "the page is another one"
    );
    guest.put(number, at + bar.shape.size)?;
    ensure!(
        guest.slices(number).is_empty(),
        "it is mapped where it starts no page"
    );
    ensure!(guest.read(number, 0) == through_vfio.to_ne_bytes());
    guest.put(number, at)?;
    ensure!(guest.slices(number).len() == 1);
    guest.expect_no_event()?;
    Ok(None)
}
