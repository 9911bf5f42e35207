//! What KVM does with windows: it puts in what a guest asks for (D59).

use crate::iommu::{Target, WindowId};
use crate::process::{ProcessId, Processes};

use super::Spapr;
use super::window::{Tce, Window};

impl Spapr {
    /// The window that starts there, is as large at least, and has pages no larger.
    pub(in crate::iommu) fn window_for_kvm(
        &self,
        start: u64,
        size: u64,
        shift: u32,
    ) -> Option<WindowId> {
        let mut windows = self.windows.iter().flatten();
        let fits =
            |it: &&Window| it.start() == start && it.size() >= size && it.page() <= 1u64 << shift;
        windows.find(fits).map(Window::id)
    }

    pub(in crate::iommu) fn has_window(&self, id: WindowId) -> bool {
        self.windows.iter().flatten().any(|it| it.id() == id)
    }

    /// Fills, or clears, one page of a table's, all of whose memory is registered. A window that is none any more is
    /// filled all the same, and never cleared: the memory counts as used for good.
    pub(in crate::iommu) fn put_for_kvm(
        &mut self,
        id: WindowId,
        ioba: u64,
        page: u64,
        target: Option<Target>,
        owner: ProcessId,
        processes: &mut Processes,
    ) {
        let blocks = processes.registered(owner);
        let mut windows = self.windows.iter_mut().flatten();
        let mut window = windows.find(|it| it.id() == id);
        for at in (0..page).step_by(usize::try_from(id.page).unwrap_or(usize::MAX)) {
            let tce = target.map(|target| Tce {
                vaddr: target.vaddr + at,
                read: target.read,
                write: target.write,
            });
            if let Some(block) = tce.and_then(|tce| blocks.holding(tce.vaddr, id.page)) {
                block.users += 1;
            }
            let before = window.as_mut().and_then(|it| it.put(ioba + at, tce));
            if let Some(before) = before {
                blocks.leave(before.vaddr);
            }
        }
    }
}

/// Whether all of a page of a table's leads to memory that is registered for pages of that size.
pub(crate) fn is_registered(
    id: WindowId,
    page: u64,
    target: Target,
    owner: ProcessId,
    processes: &mut Processes,
) -> bool {
    let blocks = processes.registered(owner);
    let mut places = (0..page).step_by(usize::try_from(id.page).unwrap_or(usize::MAX));
    places.all(|at| {
        let block = blocks.holding(target.vaddr + at, id.page);
        block.is_some_and(|block| id.page <= block.largest_page)
    })
}
