//! Config space that is in a BAR, too: what goes there must be what the guest's config space is.
//!
//! NVIDIA's graphics cards have all of it at 0x88000 of their first BAR. A driver that found the addresses of the host there
//! would use them; and writes would pass everything by that stands before config space.

use std::ops::Range;

use vfio_core::Result;
use vfio_core::device::{Region, RegionIndex};
use vfio_core::inventory;

use super::{Quirk, Registration, Subject};
use crate::AssignedDevice;
use crate::capability::CapabilityId;
use crate::config::ConfigSpace;

inventory::submit! {
    Registration {
        name: "nvidia-config-mirror",
        vendor: 0x10de,
        devices: &[],
        make: nvidia,
    }
}

const NVIDIA_BAR: u8 = 0;
/// Where the mirror is in it, in bytes: all of config space.
const NVIDIA: Range<u64> = 0x8_8000..0x8_9000;

/// The class of graphics cards, without the programming interface.
const DISPLAY: u32 = 0x03_00;

fn nvidia(subject: &Subject<'_>) -> Result<Option<Box<dyn Quirk>>> {
    let bar = subject.bars.bars.get(usize::from(NVIDIA_BAR));
    let bar = bar.and_then(Option::as_ref);
    let has_it = bar.is_some_and(|bar| !bar.kind.is_io() && bar.shape.region_size >= NVIDIA.end);
    if subject.class >> 8 != DISPLAY || !has_it {
        return Ok(None);
    }
    let region = subject.device.region(RegionIndex::Bar(NVIDIA_BAR))?;
    let msi = ConfigSpace::of(subject.device)?.capability(CapabilityId::MSI);
    let msi = msi.ok().flatten().map(|it| u64::from(it.offset));
    Ok(Some(Box::new(ConfigMirror {
        bar: NVIDIA_BAR,
        range: NVIDIA,
        region,
        acknowledged: msi.map(|at| at..at + 2),
    })))
}

/// A mirror.
#[derive(Debug)]
struct ConfigMirror {
    bar: u8,
    range: Range<u64>,
    region: Region,
    /// What drivers write in the mirror to acknowledge an interrupt: the id of the MSI capability and the pointer behind it,
    /// which config space does not let anybody write. The device wants to see it.
    acknowledged: Option<Range<u64>>,
}

impl ConfigMirror {
    /// Where an offset in the BAR is in config space.
    fn place(&self, offset: u64) -> Option<u16> {
        u16::try_from(offset.checked_sub(self.range.start)?).ok()
    }
}

impl Quirk for ConfigMirror {
    fn intercepts(&self) -> Vec<(u8, Range<u64>)> {
        vec![(self.bar, self.range.clone())]
    }

    fn read(&self, device: &AssignedDevice, _: u8, offset: u64, bytes: &mut [u8]) {
        if let Some(at) = self.place(offset) {
            device.read_config(at, bytes);
        }
    }

    fn write(&self, device: &AssignedDevice, _: u8, offset: u64, bytes: &[u8]) {
        let Some(at) = self.place(offset) else {
            return;
        };
        device.write_config(at, bytes);
        let end = u64::from(at) + bytes.len() as u64;
        let acknowledges = |it: &Range<u64>| it.start <= u64::from(at) && end <= it.end;
        if self.acknowledged.as_ref().is_some_and(acknowledges) {
            // A device that does not answer has no interrupt to acknowledge.
            let _ = self.region.write_bytes(offset, bytes);
        }
    }
}
