//! Config space: what the guest reads, beside what the kernel shows everybody.

use anyhow::{Result, ensure};
use pci_device::virtual_config::{Seat, VirtualConfig};
use vfio_core::device::RegionIndex;

use super::guest::Guest;

/// Bytes of the header that are the VMM's, or VFIO's: the command register, what a cache wants to know, the number of
/// functions, the self-test, BARs, CardBus, the ROM, the list, the line.
const HEADER: &[std::ops::Range<usize>] =
    &[0x04..0x06, 0x0c..0x10, 0x10..0x2c, 0x30..0x35, 0x3c..0x3d];

/// Bytes of capabilities, by their ids, from where they start: those of interrupts and of power, which are the VMM's; the
/// type, what VFIO keeps of device control, and the link, whose other end is the guest's.
const STANDARD: &[(u8, usize, usize)] = &[
    (0x01, 2, 8),
    (0x05, 2, 24),
    (EXPRESS, 2, 4),
    (EXPRESS, 8, 10),
    (0x11, 2, 4),
];

/// The capability of PCI Express.
const EXPRESS: u8 = 0x10;

/// Extended capabilities that the guest does not see, or that VFIO does not show.
const HIDDEN: &[u16] = &[
    0x0e, 0x0f, 0x10, 0x11, 0x12, 0x13, 0x15, 0x1b, 0x1d, 0x1e, 0x24,
];

/// Every byte that is neither ours nor VFIO's is the one that sysfs has.
pub(super) fn as_sysfs(guest: &Guest) -> Result<Option<&'static str>> {
    let path = format!("/sys/bus/pci/devices/{}/config", guest.sysfs.bdf);
    let kernel = guest.real().kernel();
    let Ok(sysfs) = kernel.read(path.as_ref()) else {
        return Ok(Some("this host shows no config space in sysfs"));
    };
    let mut ours = vec![0; sysfs.len()];
    guest.device.read_config(0, &mut ours);
    let virtualised = virtualised(&sysfs);
    let differ: Vec<_> = (0..sysfs.len())
        .filter(|at| ours[*at] != sysfs[*at] && !virtualised[*at])
        .map(|at| format!("{at:#x}: {:#x} and not {:#x}", ours[at], sysfs[at]))
        .collect();
    ensure!(differ.is_empty(), "{}", differ.join(", "));
    let compared = virtualised.iter().filter(|it| !**it).count();
    ensure!(compared >= 128, "only {compared} bytes were compared");
    Ok(None)
}

/// Which bytes may differ.
fn virtualised(sysfs: &[u8]) -> Vec<bool> {
    let mut virtualised = vec![false; sysfs.len()];
    let mut mark = |range: std::ops::Range<usize>| {
        for at in range {
            if let Some(it) = virtualised.get_mut(at) {
                *it = true;
            }
        }
    };
    HEADER.iter().cloned().for_each(&mut mark);
    let byte = |at: usize| sysfs.get(at).copied().unwrap_or(0);
    let mut at = usize::from(byte(0x34) & !3);
    for _ in 0..48 {
        if at == 0 {
            break;
        }
        mark(at + 1..at + 2); // what is left out is passed over
        // A part of a root complex has no link; what a guest is shown of one where it sits is the VMM's.
        if byte(at) == EXPRESS && matches!(byte(at + 2) >> 4, 9 | 10) {
            mark(at + 0x0c..at + 0x14);
            mark(at + 0x2c..at + 0x34);
        }
        for (_, start, end) in STANDARD.iter().filter(|(id, ..)| *id == byte(at)) {
            mark(at + start..at + end);
        }
        at = usize::from(byte(at + 1) & !3);
    }
    let dword =
        |at: usize| u32::from_le_bytes([byte(at), byte(at + 1), byte(at + 2), byte(at + 3)]);
    let mut at = 0x100;
    while at != 0 && at < sysfs.len() {
        let header = dword(at);
        let next = usize::try_from(header >> 20 & 0xffc).unwrap_or(0);
        mark(at + 2..at + 4);
        if u16::try_from(header & 0xffff).is_ok_and(|id| HIDDEN.contains(&id)) {
            mark(at..if next > at { next } else { sysfs.len() });
        }
        if next <= at {
            break;
        }
        at = next;
    }
    virtualised
}

/// What a read costs: nothing where the answer is known, and one call where the device has it.
pub(super) fn calls(guest: &Guest) -> Result<Option<&'static str>> {
    let region = guest.real().region(RegionIndex::Config)?;
    let mut raw = vec![0; usize::try_from(region.size())?];
    region.read_bytes(0, &mut raw)?;
    let known = VirtualConfig::new(&raw, guest.device.bars(), &Seat::default());
    ensure!(known.faults().is_empty(), "{:?}", known.faults());
    for at in (0..known.len()).step_by(4) {
        guest.calls.take();
        let _: [u8; 4] = guest.read_config(at);
        let calls: u64 = guest.calls.take().values().sum();
        let most = u64::from(known.read(at, 4).device != 0);
        ensure!(calls == most, "{calls} calls at {at:#x}");
    }
    Ok(None)
}
