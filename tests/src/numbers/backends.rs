//! A row for each backend: how far it is supported, and what it can do.

use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use vfio_core::CONTAINER_NODE;
use vfio_core::kernel::Kernel;
use vfio_core::uapi::{SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU, TYPE1_IOMMU, TYPE1V2_IOMMU};

use super::attached::Attached;
use super::difference::WORDS;
use super::{spapr, type1, unknown};
use crate::conformance::raw;

/// What is asked with a group attached: the capabilities, and the windows that were tried.
type Ask = fn(&Attached) -> Result<(Value, Value)>;

/// The preferred first.
const BACKENDS: [(&str, u32, Ask); 4] = [
    ("type1v2", TYPE1V2_IOMMU, type1::ask),
    ("type1", TYPE1_IOMMU, type1::ask),
    ("sPAPR v2", SPAPR_TCE_V2_IOMMU, spapr::ask_v2),
    ("sPAPR v1", SPAPR_TCE_IOMMU, spapr::ask_v1),
];

pub(super) fn rows(kernel: &Arc<dyn Kernel>, group: Option<u32>) -> Result<Vec<Value>> {
    let rows = BACKENDS.map(|(name, iommu, ask)| row(kernel, group, name, iommu, ask));
    rows.into_iter().collect()
}

fn row(
    kernel: &Arc<dyn Kernel>,
    group: Option<u32>,
    name: &str,
    iommu: u32,
    ask: Ask,
) -> Result<Value> {
    let container = kernel
        .open(CONTAINER_NODE.as_ref())
        .context(CONTAINER_NODE)?;
    let not_attached = |state| {
        json!({
            "name": name,
            "state": state,
            "reason": WORDS,
            "capabilities": null,
            "windows_tried": [],
            "dirty_tracking": unknown(),
            "coherent_dma": unknown(),
        })
    };
    if raw::extension(&**kernel, &container, iommu) == 0 {
        return Ok(not_attached("absent"));
    }
    let Some(group) = group else {
        return Ok(not_attached("advertised"));
    };
    let Ok(attached) = Attached::new(kernel, group, iommu)? else {
        return Ok(not_attached("refused"));
    };
    let (capabilities, windows) = ask(&attached).with_context(|| format!("ask {name}"))?;
    Ok(json!({
        "name": name,
        "state": "verified",
        "reason": null,
        "capabilities": capabilities,
        "windows_tried": windows,
        "dirty_tracking": attached.tracks_dirty_pages(),
        "coherent_dma": attached.is_coherent(),
    }))
}
