//! D58: errors of a device that are isolated.

use vfio_core::kernel::{Arg, Errno, Result};
use vfio_core::uapi;
use zerocopy::IntoBytes;

use crate::conformance::clause::Needs::{Powernv, Pseries, Spapr};
use crate::conformance::clause::{Clause, both};
use crate::conformance::raw::ioctl;
use crate::conformance::rig::Rig;

const EEH_PE_OP: vfio_core::kernel::Opcode = uapi::vfio(21);

fn op(rig: &Rig, words: &[u32]) -> Result<u32> {
    ioctl(
        rig.kernel(),
        &rig.container,
        EEH_PE_OP,
        Arg::In(words.as_bytes()),
    )
}

pub(super) const CLAUSES: &[Clause] = &[both(&["D58"], "EXPLORE", &[Powernv], |host| {
    let rig = host.rig();
    for n in [4, 1, 0, 2, 3, 8, 9, 10, 11] {
        eprintln!("op {n}: {:?}", op(&rig, &[12, 0, n]));
    }
    for ty in [0, 1, 2, 7] {
        for func in [0u32, 1, 19, 20, u32::MAX] {
            eprintln!(
                "inject {ty} {func}: {:?}",
                op(&rig, &[40, 0, 9, 0, ty, func, 0, 0, 0, 0])
            );
        }
    }
    eprintln!(
        "inject short: {:?}",
        op(&rig, &[39, 0, 9, 0, 0, 7, 0, 0, 0, 0])
    );
    eprintln!("short: {:?}", op(&rig, &[11, 0, 4]));
    eprintln!("flags: {:?}", op(&rig, &[12, 1, 4]));
    let dev = &host.machine().groups[0].devices[0].bdf;
    let open = rig.open(dev);
    for n in [4, 5, 4, 6, 4, 5, 4, 7, 4, 5, 4] {
        eprintln!(
            "op {n}: {:?} config {:x}",
            op(&rig, &[12, 0, n]),
            open.config(0)
        );
    }
})];
