//! D58: errors of devices that are isolated.

use vfio_core::kernel::{Arg, Errno, Opcode, Result};
use vfio_core::uapi::{self, SPAPR_TCE_V2_IOMMU};
use zerocopy::IntoBytes;

use super::calls::{EINVAL, VERSIONS, plain, v2};
use crate::conformance::clause::Needs::{Powernv, Pseries, TwoGroups};
use crate::conformance::clause::{Clause, both};
use crate::conformance::raw::{ioctl, join};
use crate::conformance::rig::Rig;

const EEH_PE_OP: Opcode = uapi::vfio(21);

const DISABLE: u32 = 0;
const ENABLE: u32 = 1;
const UNFREEZE_IO: u32 = 2;
const UNFREEZE_DMA: u32 = 3;
const GET_STATE: u32 = 4;
const RESET_DEACTIVATE: u32 = 5;
const RESET_HOT: u32 = 6;
const RESET_FUNDAMENTAL: u32 = 7;
const CONFIGURE: u32 = 8;
const INJECT_ERROR: u32 = 9;

/// The whole struct, with the error that is to be made.
const WHOLE: u32 = 40;
/// The first of the errors that there are.
const ERROR: (u32, u32) = (0, 0);

/// The functions that are about config space: reads and writes, of addresses and of data.
const CONFIG_ERRORS: [u32; 4] = [4, 5, 10, 11];

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["D58"],
        "pseries: without an isolation unit all is ENODEV, not even the pointer is looked at",
        &[Pseries],
        |host| {
            for version in VERSIONS {
                let rig = host.rig_of(version);
                assert_eq!(plain(&rig, EEH_PE_OP), Err(Errno::NODEV));
                for op in [GET_STATE, RESET_HOT, 77] {
                    assert_eq!(ask(&rig, 0, 7, op), Err(Errno::NODEV));
                }
            }
        },
    ),
    both(&["D58"], "a bad pointer is EFAULT", &[Powernv], |host| {
        assert_eq!(plain(&host.rig(), EEH_PE_OP), Err(Errno::FAULT));
    }),
    both(
        &["D58"],
        "argsz below 12 is EINVAL, a larger one is fine",
        &[Powernv],
        |host| {
            let rig = host.rig();
            let answers = [0, 11, 12, 100].map(|argsz| ask(&rig, argsz, 0, GET_STATE));
            assert_eq!(answers, [EINVAL, EINVAL, Ok(0), Ok(0)]);
        },
    ),
    both(&["D58"], "any flag is EINVAL", &[Powernv], |host| {
        let rig = host.rig();
        assert_eq!(
            [1, 1 << 31].map(|flags| ask(&rig, 12, flags, GET_STATE)),
            [EINVAL; 2]
        );
    }),
    both(
        &["D58"],
        "an operation that there is not is EINVAL",
        &[Powernv],
        |host| {
            let rig = host.rig();
            assert_eq!([10, 77, u32::MAX].map(|op| operate(&rig, op)), [EINVAL; 3]);
        },
    ),
    both(
        &["D58"],
        "the state of a unit that works is 0, in either version",
        &[Powernv],
        |host| {
            for version in VERSIONS {
                assert_eq!(operate(&host.rig_of(version), GET_STATE), Ok(0));
            }
        },
    ),
    both(
        &["D58"],
        "ENABLE and DISABLE answer 0, and the state stays",
        &[Powernv],
        |host| {
            assert_fine(&host.rig(), &[ENABLE, DISABLE, DISABLE, ENABLE]);
        },
    ),
    both(
        &["D58"],
        "what is not frozen can be thawed",
        &[Powernv],
        |host| {
            assert_fine(&host.rig(), &[UNFREEZE_IO, UNFREEZE_DMA]);
        },
    ),
    both(&["D58"], "CONFIGURE answers 0", &[Powernv], |host| {
        assert_fine(&host.rig(), &[CONFIGURE]);
    }),
    both(
        &["D58"],
        "a hot reset answers 0, and the state is 0 while and after it",
        &[Powernv],
        |host| {
            assert_fine(&host.rig(), &[RESET_HOT, RESET_DEACTIVATE]);
        },
    ),
    both(
        &["D58"],
        "a fundamental reset answers 0, and the state is 0 while and after it",
        &[Powernv],
        |host| {
            assert_fine(&host.rig(), &[RESET_FUNDAMENTAL, RESET_DEACTIVATE]);
        },
    ),
    both(
        &["D58"],
        "a reset can be ended that was not begun",
        &[Powernv],
        |host| {
            assert_fine(&host.rig(), &[RESET_DEACTIVATE, RESET_DEACTIVATE]);
        },
    ),
    both(
        &["D58"],
        "an open device can be read after a reset",
        &[Powernv],
        |host| {
            let rig = host.rig();
            let open = rig.open(&host.machine().groups[0].devices[0].bdf);
            let vendor = open.config(0);
            assert_fine(&rig, &[RESET_HOT, RESET_DEACTIVATE]);
            assert_eq!(open.config(0), vendor);
        },
    ),
    both(
        &["D58"],
        "INJECT without room for the error is EINVAL",
        &[Powernv],
        |host| {
            let rig = host.rig();
            let answers = [12, 39].map(|argsz| inject(&rig, argsz, ERROR));
            assert_eq!(answers, [EINVAL; 2]);
        },
    ),
    both(
        &["D58"],
        "INJECT of a function that there is not is EINVAL, before the type",
        &[Powernv],
        |host| {
            let rig = host.rig();
            for function in [20, u32::MAX] {
                let answers = [0, 7].map(|kind| inject(&rig, WHOLE, (kind, function)));
                assert_eq!(answers, [EINVAL; 2]);
            }
        },
    ),
    both(
        &["D58"],
        "INJECT of a type that there is not is ERANGE",
        &[Powernv],
        |host| {
            let rig = host.rig();
            for kind in [2, u32::MAX] {
                let answers = [0, 19].map(|function| inject(&rig, WHOLE, (kind, function)));
                assert_eq!(answers, [Err(Errno::RANGE); 2]);
            }
        },
    ),
    both(
        &["D58"],
        "INJECT of an error of config space answers 0, any other is EIO, and the state stays",
        &[Powernv],
        |host| {
            let rig = host.rig();
            for error in [0, 1]
                .into_iter()
                .flat_map(|kind| (0..20).map(move |it| (kind, it)))
            {
                let expected = match CONFIG_ERRORS.contains(&error.1) {
                    true => Ok(0),
                    false => Err(Errno::IO),
                };
                assert_eq!(inject(&rig, WHOLE, error), expected, "{error:?}");
                assert_eq!(operate(&rig, GET_STATE), Ok(0), "{error:?}");
            }
        },
    ),
    both(
        &["D58"],
        "an operation of two groups answers as that of one",
        &[Powernv, TwoGroups],
        |host| {
            let rig = host.rig();
            let second = host.group(1);
            join(rig.kernel(), &second, &rig.container).unwrap();
            assert_fine(&rig, &[ENABLE, RESET_HOT, RESET_DEACTIVATE]);
            assert_eq!(operate(&rig, 10), EINVAL);
        },
    ),
    both(
        &["D58", "C40"],
        "nothing must be enabled or registered before",
        &[Powernv],
        |host| {
            assert_eq!(operate(&host.rig_of(SPAPR_TCE_V2_IOMMU), GET_STATE), Ok(0));
        },
    ),
    both(
        &["D58", "C38"],
        "from another process it is EPERM",
        &[Powernv],
        |host| {
            let (rig, _memory) = v2(host, 1);
            let answer = host.elsewhere(&rig.container, EEH_PE_OP);
            assert_eq!(answer, Err(Errno::PERM));
        },
    ),
];

/// Each of the operations answers 0, and the state is 0 then.
fn assert_fine(rig: &Rig, operations: &[u32]) {
    for op in operations {
        assert_eq!(operate(rig, *op), Ok(0), "{op}");
        assert_eq!(operate(rig, GET_STATE), Ok(0), "after {op}");
    }
}

fn operate(rig: &Rig, op: u32) -> Result<u32> {
    ask(rig, 12, 0, op)
}

fn ask(rig: &Rig, argsz: u32, flags: u32, op: u32) -> Result<u32> {
    words(rig, [argsz, flags, op, 0, 0, 0, 0, 0, 0, 0])
}

fn inject(rig: &Rig, argsz: u32, (kind, function): (u32, u32)) -> Result<u32> {
    words(rig, [argsz, 0, INJECT_ERROR, 0, kind, function, 0, 0, 0, 0])
}

fn words(rig: &Rig, words: [u32; 10]) -> Result<u32> {
    let arg = Arg::In(words.as_bytes());
    ioctl(rig.kernel(), &rig.container, EEH_PE_OP, arg)
}
