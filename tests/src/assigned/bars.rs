//! BARs: their layout, their places, their registers.

use anyhow::{Context, Result, ensure};
use pci_device::bar::{BarRegister, SliceKind};
use pci_device::vmm::Space;
use vfio_core::device::RegionIndex;
use vfio_core::host;

use super::guest::Guest;
use super::zoo::{self, Kind};
use crate::random;

const UNKNOWN: &str = "nothing is known of this device";

pub(super) fn layout(guest: &Guest) -> Result<Option<&'static str>> {
    for (number, bar) in guest.bars() {
        let slices = bar.shape.slices(guest.page);
        let mut end = 0;
        for slice in &slices {
            ensure!(slice.range.start == end, "BAR {number}: {slices:x?}");
            end = slice.range.end;
            if slice.kind == SliceKind::Mapped {
                // The kernel maps it.
                let size = slice.range.end.min(bar.shape.region_size) - slice.range.start;
                guest.region(number)?.map_part(slice.range.start, size)?;
            }
        }
        ensure!(end == bar.shape.size, "BAR {number}: {slices:x?}");
    }
    let Some(known) = zoo::known(&guest.sysfs) else {
        return Ok(Some(UNKNOWN));
    };
    // What can be prefetched the host's firmware says on POWER, and not the device.
    let host = host::bars(&**guest.real().kernel(), guest.sysfs.bdf);
    let prefetched = |number: u8| {
        let mut all = host.iter().filter(|it| it.number == usize::from(number));
        all.any(|it| it.prefetchable)
    };
    let found: Vec<_> = guest
        .bars()
        .map(|(number, bar)| (number, Kind::of(bar.kind), bar.shape.size))
        .collect();
    // A host without I/O space has no ports for the device: those are as if they were not there.
    let has_ports = found.iter().any(|(_, kind, _)| *kind == Kind::Ports);
    let unassigned = host::unassigned_ports(&**guest.real().kernel(), guest.sysfs.bdf);
    for (number, ..) in known
        .bars
        .iter()
        .filter(|(_, kind, _)| *kind == Kind::Ports)
    {
        let is_told = unassigned.contains(&usize::from(*number));
        ensure!(
            is_told != has_ports,
            "BAR {number} has ports: {unassigned:?}"
        );
    }
    let expected = known.bars.iter();
    let expected: Vec<_> = expected
        .filter(|(_, kind, _)| has_ports || *kind != Kind::Ports)
        .map(|(number, kind, size)| (*number, kind.prefetched(prefetched(*number)), *size))
        .collect();
    ensure!(
        found == expected,
        "{}: BARs are {found:x?}, and not {expected:x?}",
        known.name
    );
    let msix = guest.device.bars().msix;
    ensure!(
        msix == known.msix,
        "MSI-X is {msix:x?}, and not {:x?}",
        known.msix
    );
    Ok(None)
}

pub(super) fn placed(guest: &Guest) -> Result<Option<&'static str>> {
    guest.place(0)?;
    for (number, bar) in guest.bars() {
        let trap = guest
            .trap(number)
            .with_context(|| format!("BAR {number} is nowhere"))?;
        let size = trap.range.end - trap.range.start;
        ensure!(size == bar.shape.size, "BAR {number}: {trap:x?}");
        let last = guest.find(trap.space, trap.range.end - 1);
        ensure!(
            last == Some((BarRegister::Bar(number), size - 1)),
            "{last:x?}"
        );
        let is_port = cfg!(target_arch = "x86_64") && bar.kind.is_io();
        ensure!(
            (trap.space == Space::Ports) == is_port,
            "BAR {number}: {trap:x?}"
        );
        let mapped = bar.shape.slices(guest.page).into_iter();
        let mut mapped: Vec<_> = mapped
            .filter(|slice| slice.kind == SliceKind::Mapped)
            .map(|it| trap.range.start + it.range.start..trap.range.start + it.range.end)
            .collect();
        if let Some(small) = bar.shape.sub_page(guest.page) {
            mapped.extend(small.at(trap.range.start).map(|it| it.page));
        }
        let slices: Vec<_> = guest
            .slices(number)
            .into_iter()
            .map(|it| it.guest)
            .collect();
        ensure!(
            slices == mapped,
            "BAR {number}: {slices:x?} and not {mapped:x?}"
        );
    }
    guest.expect_no_event()?;
    Ok(None)
}

/// What is written by one way is read by each of the others: the guest's slow path, its mapping, and VFIO itself.
pub(super) fn registers(guest: &Guest) -> Result<Option<&'static str>> {
    let Some(known) = zoo::known(&guest.sysfs) else {
        return Ok(Some(UNKNOWN));
    };
    if known.keeps.is_empty() {
        return Ok(Some(
            "no register of the device keeps what is written to it",
        ));
    }
    guest.place(0)?;
    let mut tried = 0;
    for (number, offset, len, bits) in known.keeps.iter().copied() {
        if !guest.bars().any(|(other, _)| other == number) {
            continue; // ports, on a host that has none
        }
        tried += 1;
        let what = format!("{len} bytes at {offset:#x} of BAR {number}");
        let region = guest.region(number)?;
        let new = || -> Result<Vec<u8>> {
            let bytes = random::bytes(len)?;
            Ok(bytes.into_iter().map(|byte| byte & bits).collect())
        };
        let through_vfio = || -> Result<Vec<u8>> {
            let mut bytes = vec![0; len];
            region.read_bytes(offset, &mut bytes)?;
            Ok(bytes)
        };
        let through_guest = || {
            let mut bytes = vec![0; len];
            let bar = BarRegister::Bar(number);
            guest.device.read(bar, offset, &mut bytes);
            bytes
        };

        let value = new()?;
        guest.write(number, offset, &value);
        ensure!(
            through_vfio()? == value,
            "{what}: the guest wrote {value:x?}"
        );
        ensure!(
            through_guest() == value,
            "{what}: the guest wrote {value:x?}"
        );
        let value = new()?;
        region.write_bytes(offset, &value)?;
        ensure!(through_guest() == value, "{what}: VFIO wrote {value:x?}");
        // What the guest's processors do where a slice is mapped.
        for slice in guest.slices(number) {
            let trap = guest.trap(number).context("it is placed")?;
            let at = (trap.range.start + offset).checked_sub(slice.guest.start);
            let Some(at) = at.filter(|at| at + len as u64 <= slice.memory.len() as u64) else {
                continue;
            };
            let at = usize::try_from(at)?;
            let value = new()?;
            match *value {
                [a, b] => slice.memory.write(at, u16::from_ne_bytes([a, b]))?,
                [a, b, c, d] => slice.memory.write(at, u32::from_ne_bytes([a, b, c, d]))?,
                [a, b, c, d, e, f, g, h] => {
                    slice
                        .memory
                        .write(at, u64::from_ne_bytes([a, b, c, d, e, f, g, h]))?;
                }
                _ => continue,
            }
            ensure!(
                through_vfio()? == value,
                "{what}: the mapping wrote {value:x?}"
            );
            ensure!(
                through_guest() == value,
                "{what}: the mapping wrote {value:x?}"
            );
        }
    }
    guest.expect_no_event()?;
    Ok((tried == 0).then_some("this host has no I/O space, and the device nothing else"))
}

/// What the guest writes to its MSI-X table is not asked of the device, and not given to it.
pub(super) fn table(guest: &Guest) -> Result<Option<&'static str>> {
    let Some(msix) = guest.device.bars().msix else {
        return Ok(Some("the device has no MSI-X"));
    };
    guest.place(0)?;
    let (bar, last) = (msix.table.bar, msix.table_range().end - 16);
    ensure!(
        guest.read(bar, last + 12) == [1, 0, 0, 0],
        "the last vector is not masked"
    );
    let address = [random::array::<1>()?[0] & !3, 0, 0xe0, 0xfe];
    guest.calls.take();
    guest.write(bar, last, &address);
    let read: [u8; 4] = guest.read(bar, last);
    let asked = guest.calls.take();
    ensure!(read == address, "{read:x?} and not {address:x?}");
    ensure!(asked.is_empty(), "the kernel was asked: {asked:?}");
    ensure!(guest.slices(bar).iter().all(|slice| {
        let table = guest.trap(bar).map_or(0, |trap| trap.range.start) + last;
        !slice.guest.contains(&table)
    }));
    Ok(None)
}

pub(super) fn rom(guest: &Guest) -> Result<Option<&'static str>> {
    /// Behind every BAR of 32 bits.
    const AT: u32 = 0xfe00_0000;
    const PIECE: u64 = 0x1000;
    if guest.device.bars().rom == 0 {
        return Ok(Some("the device has no ROM"));
    }
    guest.place(0)?;
    guest.device.write_config(0x30, &(AT | 1).to_le_bytes());
    let region = guest.real().region(RegionIndex::Rom)?;
    let mut expected = vec![0; usize::try_from(PIECE.min(region.size()))?];
    let image = region.read_bytes(0, &mut expected);
    let mut read = vec![0; expected.len()];
    guest.device.read(BarRegister::Rom, 0, &mut read);
    guest.device.write_config(0x30, &[0; 4]);
    if image.is_err() || expected[..2] != [0x55, 0xaa] {
        ensure!(read.iter().all(|byte| *byte == 0xff), "{:x?}", &read[..16]);
        guest.vmm.take();
        return Ok(Some(
            "there is no image in the ROM, and the guest is shown none",
        ));
    }
    ensure!(
        read == expected,
        "{:x?} and not {:x?}",
        &read[..16],
        &expected[..16]
    );
    guest.expect_no_event()?;
    Ok(None)
}
