//! D49b, D52: how large the pages of a window can be.

use vfio_core::uapi::SPAPR_TCE_V2_IOMMU;

use super::calls::{EINVAL, create, put, register, v2};
use super::engine::Engine;
use crate::conformance::clause::Needs::{Device, HugePages, Spapr};
use crate::conformance::clause::{Clause, Trait::Engine as HasEngine, both};
use crate::conformance::host::Host;
use crate::conformance::memory::Memory;
use crate::conformance::rig::Rig;

const HUGE: u64 = 2 << 20;
const HUGE_SHIFT: u32 = 21;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["D49b"],
        "registered memory carries pages of the host",
        &[Spapr],
        |host| {
            let (rig, memory) = v2(host, 1);
            let window = create(&rig, 16, 1 << 30, 1).unwrap();
            assert_eq!(rig.map(window, &memory), Ok(0));
        },
    ),
    both(
        &["D49b", "D52"],
        "it carries none that are larger, however it is aligned",
        &[Spapr],
        |host| {
            let offered = host.spapr().unwrap().page_sizes;
            let shift = (17..64).find(|shift| offered & 1 << shift != 0).unwrap();
            let larger = 1 << shift;
            let (rig, memory) = (host.rig(), host.memory(2 << (shift - 16)));
            let at = memory.at().next_multiple_of(larger);
            register(&rig, at, larger).unwrap();
            let window = create(&rig, shift, larger << 13, 1).unwrap();
            assert_eq!(put(&rig, window, at, larger), EINVAL);
        },
    ),
    both(
        &["D49b"],
        "memory of huge pages carries pages as large",
        &[HugePages],
        |host| {
            let (rig, window) = huge_window(host);
            let memory = host.huge_memory(1);
            assert_eq!(register(&rig, memory.at(), memory.len()), Ok(0));
            assert_eq!(put(&rig, window, memory.at(), HUGE), Ok(0));
        },
    ),
    both(
        &["D49b"],
        "a device reaches a huge page from end to end",
        &[HugePages, Device(HasEngine)],
        |host| {
            let engine = Engine::new(host, SPAPR_TCE_V2_IOMMU, 1);
            let memory = host.huge_memory(1);
            register(&engine.rig, memory.at(), memory.len()).unwrap();
            let window = create(&engine.rig, HUGE_SHIFT, 1 << 30, 1).unwrap();
            put(&engine.rig, window, memory.at(), HUGE).unwrap();
            assert!(engine.reads_of(&memory, window, 0));
            assert!(engine.reads_of(&memory, window + HUGE - 16, 0x1f_fff0));
        },
    ),
    both(
        &["D49b"],
        "a part of a huge page carries no more than its alignment",
        &[HugePages],
        |host| {
            let (rig, window) = huge_window(host);
            let memory = host.huge_memory(2);
            let size = memory.len() - host.page();
            assert_eq!(register(&rig, memory.at(), size), Ok(0));
            assert_eq!(put(&rig, window, memory.at(), HUGE), EINVAL);
        },
    ),
    both(
        &["D49b"],
        "a registration that starts inside a huge page carries no more than its alignment",
        &[HugePages],
        |host| {
            let (rig, window) = huge_window(host);
            let memory = host.huge_memory(2);
            let half = memory.at() + HUGE / 2;
            assert_eq!(register(&rig, half, HUGE), Ok(0));
            assert_eq!(put(&rig, window, memory.at() + HUGE, HUGE), EINVAL);
        },
    ),
    both(
        &["D49b"],
        "transparent huge pages do not count",
        &[HugePages],
        |host| {
            let (rig, window) = huge_window(host);
            let memory = Memory::transparent(host.kernel(), 2 << 21);
            let at = memory.at().next_multiple_of(HUGE);
            assert_eq!(register(&rig, at, HUGE), Ok(0));
            assert_eq!(put(&rig, window, at, HUGE), EINVAL);
        },
    ),
    both(
        &["D52"],
        "a page of the window that is in two registrations is EINVAL",
        &[HugePages],
        |host| {
            let (rig, window) = huge_window(host);
            let memory = host.huge_memory(1);
            for half in 0..2 {
                register(&rig, memory.at() + half * HUGE / 2, HUGE / 2).unwrap();
            }
            assert_eq!(put(&rig, window, memory.at(), HUGE), EINVAL);
        },
    ),
    both(
        &["C44", "P1"],
        "addresses must be whole pages of the window, whatever the host's",
        &[Spapr],
        |host| {
            let (rig, memory) = v2(host, 1);
            let window = create(&rig, 16, 1 << 30, 1).unwrap();
            assert_eq!(put(&rig, window, memory.at(), 0x1000), EINVAL);
            assert_eq!(put(&rig, window, memory.at() + 0x1000, 0x1_0000), EINVAL);
            assert_eq!(put(&rig, window + 0x1000, memory.at(), 0x1_0000), Ok(1));
            assert_eq!(rig.unmap(window, 0x1000).0, EINVAL);
            assert_eq!(rig.unmap(window + 0x1000, 0x1_0000).0, Ok(1));
        },
    ),
];

/// A container with a window of huge pages, and where it starts.
fn huge_window(host: &Host) -> (Rig, u64) {
    let rig = host.rig_of(SPAPR_TCE_V2_IOMMU);
    let window = create(&rig, HUGE_SHIFT, 1 << 30, 1).unwrap();
    (rig, window)
}
