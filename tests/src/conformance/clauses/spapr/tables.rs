//! D54b, D54c, H5: what tables cost, and which cannot be.

use vfio_core::kernel::Errno;
use vfio_core::uapi::SPAPR_TCE_V2_IOMMU;
use vfio_sim::Machine;

use super::calls::{HIGH, create, put, remove, v2};
use crate::conformance::clause::Needs::{Powernv, Pseries, Spapr};
use crate::conformance::clause::{Clause, both, simulated};
use crate::conformance::host::Host;

const GIB: u64 = 1 << 30;
/// The least table has so many entries.
const LEAST: u64 = 8192;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["D54b"],
        "pseries: a size that is no power of two is EINVAL",
        &[Pseries],
        |host| {
            for size in [GIB + 0x1_0000, 3 * GIB] {
                assert_eq!(
                    create(&host.rig(), 16, size, 1),
                    Err(Errno::INVAL),
                    "{size:#x}"
                );
            }
        },
    ),
    both(
        &["D54b", "H5"],
        "pseries: what it was accounted for such a size is not given back",
        &[Pseries],
        |host| {
            assert_eq!(
                lost(host, 16, 3 * GIB, 1, Errno::INVAL),
                3 * GIB / 0x1_0000 * 8 / 0x1_0000 * 0x1_0000
            );
        },
    ),
    both(
        &["D54b"],
        "pseries: less than a page is EINVAL, and costs nothing",
        &[Pseries],
        |host| {
            assert_eq!(lost(host, 16, 0x8000, 1, Errno::INVAL), 0);
            assert_eq!(lost(host, 16, 0, 1, Errno::INVAL), 0);
        },
    ),
    both(
        &["D54b", "H5"],
        "powernv: 55 address bits in a table are EINVAL, and what was accounted is not given back",
        &[Powernv],
        |host| {
            assert!(lost(host, 16, GIB, 3, Errno::INVAL) > 0);
        },
    ),
    both(
        &["D54b", "H5"],
        "powernv: a piece that there is no memory for is ENOMEM, and what was accounted is not given back",
        &[Powernv],
        |host| {
            assert_eq!(lost(host, 16, 1 << 40, 1, Errno::NOMEM), 2 << 27);
        },
    ),
    both(
        &["D54b"],
        "powernv: a table of two levels costs twice its parts",
        &[Powernv],
        |host| {
            assert_eq!(cost(host, 16, 8 * GIB, 2), 2 * ((1 << 20) + 0x1_0000));
        },
    ),
    both(
        &["D54c"],
        "powernv: the least table is one host page, and costs two",
        &[Powernv],
        |host| {
            for size in [0x1_0000, 0x10_0000, LEAST << 16] {
                assert_eq!(cost(host, 16, size, 1), 2 * host.page(), "{size:#x}");
            }
        },
    ),
    both(
        &["D54c"],
        "powernv: a window has at least 8192 pages, however few were asked for",
        &[Powernv],
        |host| {
            for size in [0x1_0000, 0x8000] {
                let (rig, memory) = v2(host, 1);
                assert_eq!(create(&rig, 16, size, 1), Ok(HIGH));
                let end = HIGH + (LEAST << 16);
                assert_eq!(rig.map(end - 0x1_0000, &memory), Ok(0));
                assert_eq!(rig.map(end, &memory), Err(Errno::NXIO));
            }
        },
    ),
    both(
        &["D54c"],
        "powernv: an eighth of a page is a window, less is EINVAL",
        &[Powernv],
        |host| {
            let rig = host.rig();
            for size in [0x8000, 0x4000, 0x2000] {
                assert_eq!(create(&rig, 16, size, 1), Ok(HIGH), "{size:#x}");
                assert_eq!(remove(&rig, HIGH), Ok(0));
            }
            assert_eq!(create(&rig, 16, 0x1000, 1), Err(Errno::INVAL));
        },
    ),
    simulated(
        &["D54c", "H5"],
        "powernv: several levels of less than a page are EINVAL",
        "the kernel shifts by less than nothing",
        || {
            let host = Host::simulated(Machine::powernv9());
            assert_eq!(create(&host.rig(), 16, 0x8000, 2), Err(Errno::INVAL));
        },
    ),
    both(
        &["D54b"],
        "pseries: the least window has one page",
        &[Pseries],
        |host| {
            let (rig, memory) = v2(host, 1);
            assert_eq!(create(&rig, 16, 0x1_0000, 1), Ok(HIGH));
            assert_eq!(rig.map(HIGH, &memory), Ok(0));
            assert_eq!(
                put(&rig, HIGH + 0x1_0000, memory.at(), 0x1_0000),
                Err(Errno::NXIO)
            );
        },
    ),
    both(
        &["D54b"],
        "pseries: a table costs 8 bytes a page, in whole host pages",
        &[Pseries],
        |host| {
            for (size, price) in [(0x1_0000, 0), (LEAST << 16, 0x1_0000), (8 * GIB, 1 << 20)] {
                assert_eq!(cost(host, 16, size, 1), price, "{size:#x}");
            }
        },
    ),
    both(
        &["H5"],
        "a page shift of 64 is EINVAL, and costs nothing",
        &[Spapr],
        |host| {
            assert_eq!(lost(host, 64, GIB, 1, Errno::INVAL), 0);
        },
    ),
    both(
        &["D56", "D54"],
        "REMOVE gives back what the table cost",
        &[Spapr],
        |host| {
            let rig = host.rig();
            create(&rig, 16, GIB, 1).unwrap();
            remove(&rig, HIGH).unwrap();
            let before = host.locked();
            create(&rig, 16, 8 * GIB, 1).unwrap();
            assert!(host.locked() > before);
            remove(&rig, HIGH).unwrap();
            assert_eq!(host.locked(), before);
        },
    ),
];

/// What is accounted for a window beside the default one.
fn cost(host: &Host, shift: u32, size: u64, levels: u32) -> u64 {
    let (rig, memory) = v2(host, 1);
    rig.map(0, &memory).unwrap();
    let before = host.locked();
    create(&rig, shift, size, levels).unwrap();
    host.locked() - before
}

/// What stays accounted for a window that cannot be made, when all is closed.
fn lost(host: &Host, shift: u32, size: u64, levels: u32, errno: Errno) -> u64 {
    let before = host.locked();
    let rig = host.rig_of(SPAPR_TCE_V2_IOMMU);
    assert_eq!(create(&rig, shift, size, levels), Err(errno));
    drop(rig);
    host.locked() - before
}
