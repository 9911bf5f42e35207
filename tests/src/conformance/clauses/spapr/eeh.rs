//! D58: errors of devices that are isolated.

use vfio_core::kernel::{Arg, Errno, Result};
use vfio_core::uapi::{
    EEH_PE_CONFIGURE as CONFIGURE, EEH_PE_DISABLE as DISABLE, EEH_PE_ENABLE as ENABLE,
    EEH_PE_GET_STATE as GET_STATE, EEH_PE_INJECT_ERR as INJECT_ERROR, EEH_PE_OP,
    EEH_PE_RESET_DEACTIVATE as RESET_DEACTIVATE, EEH_PE_RESET_FUNDAMENTAL as RESET_FUNDAMENTAL,
    EEH_PE_RESET_HOT as RESET_HOT, EEH_PE_UNFREEZE_DMA as UNFREEZE_DMA,
    EEH_PE_UNFREEZE_IO as UNFREEZE_IO, EehPeErr, EehPeOp, PCI_CONFIG_REGION_INDEX as CONFIG,
    SPAPR_TCE_V2_IOMMU,
};
use zerocopy::IntoBytes;

use super::calls::{EINVAL, VERSIONS, plain, v2};
use crate::conformance::clause::Needs::{Device, Powernv, Pseries, TwoGroups};
use crate::conformance::clause::Trait::Controller;
use crate::conformance::clause::{Clause, both};
use crate::conformance::raw::{ioctl, join};
use crate::conformance::rig::{COMMAND, Rig};

/// The whole struct, with the error that is to be made.
const WHOLE: u32 = 40;
/// The first of the errors that there are.
const ERROR: (u32, u32) = (0, 0);

/// Where a controller is configured, which is 0 after a reset.
const CONFIGURATION: u64 = 0x14;

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
        &["D58c"],
        "in a reset, what VFIO does not have itself of config space is ENODEV",
        &[Powernv, Device(Controller)],
        |host| {
            let (rig, open) = host.open(Controller);
            for reset in [RESET_HOT, RESET_FUNDAMENTAL] {
                const THERE: [(u64, usize); 6] =
                    [(0, 2), (2, 2), (0, 4), (0x10, 4), (0x34, 1), (0x3d, 1)];
                const NOT: [(u64, usize); 6] =
                    [(4, 2), (6, 2), (8, 4), (0x2c, 4), (0x40, 2), (0x80, 2)];
                let before = THERE.map(|(at, len)| open.pread(CONFIG, at, len));
                let read = |(at, len)| open.pread(CONFIG, at, len);
                let (there, not, written) = in_reset(&rig, reset, || {
                    let command = open.pwrite(CONFIG, COMMAND, &[6, 0]);
                    let line = open.pwrite(CONFIG, 0x3c, &[7]);
                    (THERE.map(read), NOT.map(read), [command, line])
                });
                assert_eq!(there, before);
                assert_eq!(not, [const { Err(Errno::NODEV) }; 6]);
                assert_eq!(written, [Err(Errno::NODEV), Ok(1)]);
                assert_eq!(open.pread(CONFIG, 0x3c, 1), Ok(vec![7]));
            }
        },
    ),
    both(
        &["D58c"],
        "what is thawed and enabled in a reset is in it still",
        &[Powernv, Device(Controller)],
        |host| {
            let (rig, open) = host.open(Controller);
            let found = in_reset(&rig, RESET_HOT, || {
                let asked = [UNFREEZE_IO, UNFREEZE_DMA, ENABLE, CONFIGURE, GET_STATE];
                let answers = asked.map(|op| operate(&rig, op));
                (answers, open.pread(CONFIG, 6, 2))
            });
            assert_eq!(found, ([Ok(0); 5], Err(Errno::NODEV)));
        },
    ),
    both(
        &["D58c"],
        "after a hot reset memory is decoded, and the device is no bus master",
        &[Powernv, Device(Controller)],
        |host| {
            let (rig, open) = host.open(Controller);
            open.master(false);
            let before = open.config(COMMAND);
            open.master(true);
            in_reset(&rig, RESET_HOT, || ());
            assert_eq!(open.config(COMMAND), before);
        },
    ),
    both(
        &["D58c"],
        "after a fundamental reset of QEMU's the device is as it was",
        &[Powernv, Device(Controller)],
        |host| {
            let (rig, open) = host.open(Controller);
            let before = open.config(COMMAND);
            in_reset(&rig, RESET_FUNDAMENTAL, || ());
            assert_eq!(open.config(COMMAND), before);
        },
    ),
    both(
        &["D58c"],
        "a hot reset reaches the device",
        &[Powernv, Device(Controller)],
        |host| {
            let (rig, open) = host.open(Controller);
            assert_eq!(open.pwrite(0, CONFIGURATION, &[0x60, 0, 0, 0]), Ok(4));
            in_reset(&rig, RESET_HOT, || ());
            assert_eq!(open.pread(0, CONFIGURATION, 4), Ok(vec![0; 4]));
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
    issue(
        rig,
        EehPeOp {
            argsz,
            flags,
            op,
            ..EehPeOp::default()
        },
    )
}

fn inject(rig: &Rig, argsz: u32, (kind, func): (u32, u32)) -> Result<u32> {
    let err = EehPeErr {
        kind,
        func,
        ..EehPeErr::default()
    };
    issue(
        rig,
        EehPeOp {
            argsz,
            op: INJECT_ERROR,
            err,
            ..EehPeOp::default()
        },
    )
}

fn issue(rig: &Rig, request: EehPeOp) -> Result<u32> {
    let arg = Arg::In(request.as_bytes());
    ioctl(rig.kernel(), &rig.container, EEH_PE_OP, arg)
}

/// What `look` finds in a reset, which is ended whatever it is: a device that is closed in a reset is lost (H12).
fn in_reset<T>(rig: &Rig, reset: u32, look: impl FnOnce() -> T) -> T {
    assert_eq!(operate(rig, reset), Ok(0));
    let found = look();
    assert_eq!(operate(rig, RESET_DEACTIVATE), Ok(0));
    found
}
