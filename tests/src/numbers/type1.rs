//! Type1: the bytes of `VFIO_IOMMU_GET_INFO`, field by field.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use vfio_core::uapi::IOMMU_GET_INFO;

use super::attached::{Attached, sizes};

/// Enough for the capabilities of any IOMMU of the lab; what does not fit is missed, and fails.
const ROOM: usize = 4096;

const FLAGS: usize = 4;
const PAGE_SIZES: usize = 8;
const FIRST_CAPABILITY: usize = 16;

const HAS_CAPABILITIES: u32 = 2;
const IOVA_RANGES: u16 = 1;
const MAPPINGS_LEFT: u16 = 3;

pub(super) fn ask(attached: &Attached) -> Result<(Value, Value)> {
    let mut info = [0; ROOM];
    info[..4].copy_from_slice(&u32::try_from(ROOM)?.to_ne_bytes());
    attached
        .call(IOMMU_GET_INFO, &mut info)
        .context("VFIO_IOMMU_GET_INFO")?;
    let page_sizes = sizes(u64_at(&info, PAGE_SIZES)?);
    let smallest = page_sizes.first().context("no page size")?;
    let mut apertures = Vec::new();
    let ranges = capability(&info, IOVA_RANGES)?.context("no ranges")?;
    for at in 0..u32_at(&info, ranges + 8)? as usize {
        let range = ranges + 16 + 16 * at;
        let (first, mut last) = (u64_at(&info, range)?, u64_at(&info, range + 8)?);
        if last == u64::MAX {
            last -= smallest; // that page could not be unmapped (H8)
        }
        apertures.push(attached.aperture(first, last)?);
    }
    let left = capability(&info, MAPPINGS_LEFT)?.map(|at| u32_at(&info, at + 8));
    let capabilities = json!({
        "page_sizes": page_sizes,
        "apertures": apertures,
        "mappings_left": left.transpose()?,
        "locked": attached.locked()?,
        "windows": null,
    });
    Ok((capabilities, json!([])))
}

/// Where it is.
fn capability(info: &[u8], id: u16) -> Result<Option<usize>> {
    if u32_at(info, FLAGS)? & HAS_CAPABILITIES == 0 {
        return Ok(None);
    }
    let mut at = u32_at(info, FIRST_CAPABILITY)? as usize;
    while at != 0 {
        if u32_at(info, at)? & 0xffff == u32::from(id) {
            return Ok(Some(at));
        }
        at = u32_at(info, at + 4)? as usize;
    }
    Ok(None)
}

fn u32_at(info: &[u8], at: usize) -> Result<u32> {
    let bytes = info.get(at..at + 4).context("the answer ends before")?;
    Ok(u32::from_ne_bytes(bytes.try_into()?))
}

fn u64_at(info: &[u8], at: usize) -> Result<u64> {
    let bytes = info.get(at..at + 8).context("the answer ends before")?;
    Ok(u64::from_ne_bytes(bytes.try_into()?))
}
