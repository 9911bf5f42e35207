//! Everything about one device, as data. Addresses are hexadecimal, for readers whose numbers end at 2^53.

use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::Answer;
use crate::groups::report::{DeviceRow, GroupRow};
use crate::host::About;

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Report {
    pub(crate) schema_version: u32,
    #[serde(flatten)]
    pub(crate) about: About,
    #[serde(flatten)]
    pub(crate) device: DeviceRow,
    pub(crate) subsystem: Option<SubsystemRow>,
    /// The only driver that may take it (`driver_override`).
    pub(crate) driver_override: Option<String>,
    pub(crate) group: Option<GroupRow>,
    pub(crate) node: Option<NodeRow>,
    /// The node of its own, which iommufd wants; there only where it is bound and the kernel has such nodes.
    pub(crate) cdev: Option<NodeRow>,
    pub(crate) numa_node: Option<u32>,
    /// The bridges between it and the host bridge, the nearest first.
    pub(crate) bridges: Vec<String>,
    /// The addresses that its IOMMU maps for nobody.
    pub(crate) reserved: Vec<ReservedRow>,
    pub(crate) reset: ResetRow,
    pub(crate) power: PowerRow,
    /// Where the kernel has placed its BARs and ROM.
    pub(crate) bars: Vec<BarRow>,
    /// The physical function that it is a virtual one of.
    pub(crate) physical_function: Option<String>,
    pub(crate) vfio: VfioRow,
}

/// What the maker of the card says.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SubsystemRow {
    pub(crate) vendor: u16,
    pub(crate) device: u16,
    pub(crate) name: Option<String>,
}

/// The node that opens its group.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct NodeRow {
    pub(crate) path: String,
    /// Permissions in octal, user and group by number; absent if the node is not there.
    pub(crate) mode: Option<String>,
    pub(crate) owner: Option<u32>,
    pub(crate) group: Option<u32>,
    /// Whether this process may open it.
    pub(crate) may_open: Answer,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ReservedRow {
    pub(crate) first: String,
    pub(crate) last: String,
    /// `direct`, `direct-relaxable`, `msi`, `reserved`.
    pub(crate) kind: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ResetRow {
    /// The ways in which the kernel can reset it alone, in the order in which it tries them.
    pub(crate) methods: Vec<String>,
    /// What a reset of its bus resets, the device among it; none on a root bus.
    pub(crate) with_its_bus: Vec<MemberRow>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct MemberRow {
    pub(crate) bdf: String,
    pub(crate) group: Option<u32>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PowerRow {
    pub(crate) state: Option<String>,
    pub(crate) runtime_status: Option<String>,
    pub(crate) control: Option<String>,
    pub(crate) d3cold_allowed: Option<String>,
    /// Whether it answers; asked only if it is awake.
    pub(crate) answers: Answer,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct BarRow {
    /// 0 to 5; 6 is the ROM.
    pub(crate) number: usize,
    pub(crate) first: String,
    pub(crate) last: String,
    /// `io` or `memory`.
    pub(crate) space: &'static str,
    pub(crate) prefetchable: bool,
    pub(crate) wide: bool,
}

/// What VFIO says, which only the open device tells.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct VfioRow {
    /// Whether it was opened for this.
    pub(crate) opened: Answer,
    pub(crate) can_reset: Option<bool>,
    pub(crate) regions: Vec<RegionRow>,
    pub(crate) interrupts: Vec<InterruptRow>,
    /// What VFIO resets with the device's bus; absent where it cannot.
    pub(crate) hot_reset: Option<Vec<MemberRow>>,
    /// What of its BARs a guest reaches directly; absent unless it was asked for.
    pub(crate) layout: Option<LayoutRow>,
}

/// What a guest has of the BARs, on a host with pages of that size.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LayoutRow {
    pub(crate) page_size: u64,
    pub(crate) bars: Vec<BarLayoutRow>,
    /// The BARs with ports that the host has given no numbers; VFIO does not show them.
    pub(crate) unassigned: Vec<usize>,
    /// Bytes of memory that the guest reaches directly, and that are trapped.
    pub(crate) mapped: u64,
    pub(crate) trapped: u64,
    /// Of those, bytes of registers that are trapped only because they share a page with the MSI-X table or its pending bits.
    pub(crate) beside_the_table: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct BarLayoutRow {
    /// 0 to 5.
    pub(crate) number: u8,
    /// `ports`, or `memory` with what else it is.
    pub(crate) kind: &'static str,
    pub(crate) size: u64,
    /// Whether it is smaller than a page, and is mapped where the guest gives it a page alone.
    pub(crate) in_a_page_alone: bool,
    pub(crate) slices: Vec<SliceRow>,
}

/// What a BAR is, in words.
pub(super) fn bar_kind(is_io: bool, prefetchable: bool, wide: bool) -> &'static str {
    match (is_io, prefetchable, wide) {
        (true, ..) => "ports",
        (_, true, true) => "memory, prefetchable, 64 bits",
        (_, true, false) => "memory, prefetchable",
        (_, false, true) => "memory, 64 bits",
        (_, false, false) => "memory",
    }
}

/// A part of a BAR.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SliceRow {
    pub(crate) first: String,
    pub(crate) last: String,
    pub(crate) size: u64,
    pub(crate) kind: SliceName,
}

/// What becomes of accesses to a part of a BAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SliceName {
    /// The guest reaches the device directly.
    Mapped,
    /// Each access is carried out by the VMM.
    Trapped,
    /// The MSI-X table, which is the VMM's.
    Table,
    /// The pending bits of MSI-X, which are the VMM's.
    Pending,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RegionRow {
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) mappable: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct InterruptRow {
    pub(crate) name: String,
    pub(crate) count: u32,
    /// Whether vectors can be added while others are in use.
    pub(crate) resizable: bool,
}
