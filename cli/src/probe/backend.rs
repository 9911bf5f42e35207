//! What a backend can do, as data.

use schemars::JsonSchema;
use serde::Serialize;
use vfio_core::iommu::{BackendReport, Capabilities, Support, WindowTrial};

use crate::answer::Answer;

/// One backend.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct BackendRow {
    pub(super) name: String,
    /// `verified`, `advertised`, `absent`, `refused` or `unknown`.
    pub(super) state: &'static str,
    /// Why, if it is refused or unknown.
    pub(super) reason: Option<String>,
    pub(super) capabilities: Option<CapabilitiesRow>,
    /// Windows that were created and removed again, to see which can be.
    pub(super) windows_tried: Vec<TriedRow>,
    /// Whether the kernel tells which pages devices may have written.
    pub(super) dirty_tracking: Answer,
    /// Whether DMA is coherent with the processor's caches whatever a device asks for.
    pub(super) coherent_dma: Answer,
}

/// What a verified backend can do; sizes in bytes.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct CapabilitiesRow {
    pub(super) page_sizes: Vec<u64>,
    pub(super) apertures: Vec<ApertureRow>,
    pub(super) mappings_left: Option<u32>,
    /// Counted as locked for the context alone.
    pub(super) locked: u64,
    pub(super) windows: Option<WindowsRow>,
}

/// Addresses that can be mapped; those are hexadecimal, for readers whose numbers end at 2^53.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ApertureRow {
    pub(super) first: String,
    pub(super) last: String,
    pub(super) page_size: u64,
}

/// What windows can be created.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct WindowsRow {
    pub(super) most: u32,
    pub(super) levels: u32,
}

/// A window that was created, or was not.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TriedRow {
    pub(super) page_size: u64,
    pub(super) levels: u32,
    /// Where it was, hexadecimal.
    pub(super) start: Option<String>,
    /// Why there was none.
    pub(super) reason: Option<String>,
}

/// Why something is not known that only an attached group tells.
const NOT_VERIFIED: &str = "only an attached group tells; --verify attaches one";

/// Whether a group was in a container of it.
pub(super) fn is_verified(backend: &BackendReport) -> bool {
    matches!(backend.support, Support::Verified(_))
}

/// Whether the kernel does not have what a backend needs.
pub(super) fn is_absent(backend: &BackendReport) -> bool {
    matches!(backend.support, Support::Absent)
}

impl From<&BackendReport> for BackendRow {
    fn from(backend: &BackendReport) -> Self {
        let (state, reason, capabilities) = match &backend.support {
            Support::Verified(capabilities) => ("verified", None, Some(capabilities.into())),
            Support::Advertised => ("advertised", None, None),
            Support::Absent => ("absent", None, None),
            Support::Refused(error) => ("refused", Some(error.to_string()), None),
            Support::Unknown(error) => ("unknown", Some(error.to_string()), None),
        };
        Self {
            name: backend.name.to_owned(),
            state,
            reason,
            capabilities,
            windows_tried: backend
                .verified
                .windows
                .iter()
                .map(TriedRow::from)
                .collect(),
            dirty_tracking: Answer::of(
                is_verified(backend).then_some(backend.verified.dirty_tracking.is_some()),
                NOT_VERIFIED,
            ),
            coherent_dma: Answer::of(backend.verified.coherent_dma, NOT_VERIFIED),
        }
    }
}

impl BackendRow {
    /// One that could not be asked.
    pub(super) fn not_asked(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: "unknown",
            reason: Some("VFIO could not be asked".to_owned()),
            capabilities: None,
            windows_tried: Vec::new(),
            dirty_tracking: Answer::Unknown(NOT_VERIFIED.to_owned()),
            coherent_dma: Answer::Unknown(NOT_VERIFIED.to_owned()),
        }
    }
}

impl From<&WindowTrial> for TriedRow {
    fn from(trial: &WindowTrial) -> Self {
        let window = trial.outcome.as_ref();
        Self {
            page_size: trial.page_size,
            levels: window.map_or(trial.levels, |it| it.levels),
            start: window.ok().map(|it| format!("{:#x}", it.range.first().0)),
            reason: window.err().map(ToString::to_string),
        }
    }
}

impl From<&Capabilities> for CapabilitiesRow {
    fn from(capabilities: &Capabilities) -> Self {
        Self {
            page_sizes: capabilities.page_sizes.iter().collect(),
            apertures: capabilities
                .apertures
                .iter()
                .map(|aperture| ApertureRow {
                    first: format!("{:#x}", aperture.range.first().0),
                    last: format!("{:#x}", aperture.range.last().0),
                    page_size: aperture.page_size,
                })
                .collect(),
            mappings_left: capabilities.mappings_left,
            locked: capabilities.locked,
            windows: capabilities.windows.map(|windows| WindowsRow {
                most: windows.count,
                levels: windows.levels,
            }),
        }
    }
}
