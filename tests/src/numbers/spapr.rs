//! sPAPR: the default window, and the windows that can be created.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use vfio_core::kernel::Errno;
use vfio_core::uapi::{self, SpaprRegisterMemory, SpaprTceCreate, SpaprTceInfo, SpaprTceRemove};

use super::attached::{Attached, sizes};
use super::difference::WORDS;
use crate::conformance::memory::Memory;

/// A window that is tried has so many pages.
const PAGES: u64 = 256;

/// Version 1 has its default window, and no other: it does not know the call that makes one.
pub(super) fn ask_v1(attached: &Attached) -> Result<(Value, Value)> {
    attached
        .plain(uapi::SPAPR_ENABLE)
        .context("VFIO_IOMMU_ENABLE")?;
    let locked = attached.locked()?;
    let window = default_window(attached, &info(attached)?)?;
    let refusal = create(attached, 4096, 1).err();
    ensure!(
        refusal == Some(Errno::NOTTY),
        "version 1 creates windows: {refusal:?}"
    );
    let capabilities = json!({
        "page_sizes": [window["page_size"]],
        "apertures": [window],
        "mappings_left": null,
        "locked": locked,
        "windows": { "most": 1, "levels": 1 },
    });
    Ok((capabilities, json!([])))
}

/// Nothing is unmapped before memory is registered.
pub(super) fn ask_v2(attached: &Attached) -> Result<(Value, Value)> {
    let locked = attached.locked()?;
    let info = info(attached)?;
    let windows = windows(attached, &info)?;
    let memory = Memory::new(attached.kernel(), 1);
    let mut block = SpaprRegisterMemory {
        argsz: 24,
        flags: 0,
        vaddr: memory.at(),
        size: memory.len(),
    };
    let registered = attached.call(uapi::SPAPR_REGISTER_MEMORY, &mut block);
    registered.context("VFIO_IOMMU_SPAPR_REGISTER_MEMORY")?;
    let window = default_window(attached, &info)?;
    let unregistered = attached.call(uapi::SPAPR_UNREGISTER_MEMORY, &mut block);
    unregistered.context("VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY")?;
    let capabilities = json!({
        "page_sizes": sizes(info.ddw.pgsizes),
        "apertures": [window],
        "mappings_left": null,
        "locked": locked,
        "windows": { "most": info.ddw.max_dynamic_windows_supported, "levels": info.ddw.levels },
    });
    Ok((capabilities, windows))
}

fn info(attached: &Attached) -> Result<SpaprTceInfo> {
    let mut info = SpaprTceInfo {
        argsz: 32,
        ..SpaprTceInfo::default()
    };
    let asked = attached.call(uapi::SPAPR_TCE_GET_INFO, &mut info);
    asked.context("VFIO_IOMMU_SPAPR_TCE_GET_INFO")?;
    Ok(info)
}

fn default_window(attached: &Attached, info: &SpaprTceInfo) -> Result<Value> {
    let (start, size) = (info.dma32_window_start, info.dma32_window_size);
    attached.aperture(start.into(), u64::from(start) + u64::from(size) - 1)
}

/// One of each page size; then one of the smallest for each number of levels, until the kernel refuses.
fn windows(attached: &Attached, info: &SpaprTceInfo) -> Result<Value> {
    let sizes = sizes(info.ddw.pgsizes);
    let smallest = *sizes.first().context("no page size")?;
    let mut tried = Vec::new();
    for page_size in sizes {
        tried.push(window(attached, page_size, 1, info.ddw.levels)?);
    }
    for levels in 2..=info.ddw.levels {
        let one = window(attached, smallest, levels, info.ddw.levels)?;
        let is_refused = one["start"].is_null();
        tried.push(one);
        if is_refused {
            break;
        }
    }
    Ok(json!(tried))
}

/// What comes of a window with so many levels, or with more where the kernel does not make it with those.
fn window(attached: &Attached, page_size: u64, levels: u32, most: u32) -> Result<Value> {
    let made = (levels..=most)
        .find_map(|levels| Some((levels, create(attached, page_size, levels).ok()?)));
    if let Some((_, start_addr)) = made {
        let mut remove = SpaprTceRemove {
            argsz: 16,
            flags: 0,
            start_addr,
        };
        let removed = attached.call(uapi::SPAPR_TCE_REMOVE, &mut remove);
        removed.context("VFIO_IOMMU_SPAPR_TCE_REMOVE")?;
    }
    Ok(match made {
        Some((levels, start)) => json!({
            "page_size": page_size,
            "levels": levels,
            "start": format!("{start:#x}"),
            "reason": null,
        }),
        None => json!({
            "page_size": page_size,
            "levels": levels,
            "start": null,
            "reason": WORDS,
        }),
    })
}

/// Where the window starts.
fn create(attached: &Attached, page_size: u64, levels: u32) -> Result<u64, Errno> {
    let mut create = SpaprTceCreate {
        argsz: 40,
        page_shift: page_size.trailing_zeros(),
        window_size: page_size * PAGES,
        levels,
        ..SpaprTceCreate::default()
    };
    attached.call(uapi::SPAPR_TCE_CREATE, &mut create)?;
    Ok(create.start_addr)
}
