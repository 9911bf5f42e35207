//! F81: what makes no sense to set, whatever the index can do.

use vfio_core::kernel::{Arg, Errno, Result};
use vfio_core::uapi::{
    self, PCI_ERR_IRQ_INDEX as ERR, PCI_INTX_IRQ_INDEX as INTX, PCI_MSI_IRQ_INDEX as MSI,
    PCI_MSIX_IRQ_INDEX as MSIX, PCI_REQ_IRQ_INDEX as REQ,
};
use zerocopy::IntoBytes;

use crate::conformance::clause::Needs::Device;
use crate::conformance::clause::Trait::{Conventional, Msi, Msix, NoLine, NoMsi, NoMsix};
use crate::conformance::clause::{Clause, Trait, both};
use crate::conformance::host::Host;
use crate::conformance::raw::ioctl;
use crate::conformance::rig::{Open, Rig, Signal};

use super::{BOOL, EVENTFD, INVALID, MASK, NONE, TRIGGER, UNMASK, fire, off, signals};

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["F81"],
        "setting interrupts: argsz below 20 is EINVAL",
        &[Device(Msix)],
        |host| {
            let set = Set::new(host);
            let raw = |argsz: u32| set.raw([argsz, NONE | TRIGGER, MSIX, 0, 1], &[]);
            assert_eq!([0, 19, 20].map(raw), [INVALID, INVALID, Ok(0)]);
        },
    ),
    both(
        &["F81"],
        "setting interrupts: a pointer to nowhere is EFAULT",
        &[Device(Msix)],
        |host| {
            let set = Set::new(host);
            let arg = Arg::Value(1);
            let answer = ioctl(
                set.open.kernel(),
                &set.open.device,
                uapi::DEVICE_SET_IRQS,
                arg,
            );
            assert_eq!(answer, Err(Errno::FAULT));
        },
    ),
    both(
        &["F81"],
        "setting interrupts: an index from 5 on is EINVAL",
        &[Device(Msix)],
        |host| {
            let set = Set::new(host);
            assert_eq!(set.ask(5, NONE | TRIGGER, (0, 0), &[]), INVALID);
            assert_eq!(set.ask(u32::MAX, NONE | TRIGGER, (0, 0), &[]), INVALID);
        },
    ),
    both(
        &["F81"],
        "setting interrupts: a start that is not there is EINVAL, also for none",
        &[Device(Msix)],
        |host| {
            let set = Set::new(host);
            let most = set.most;
            assert_eq!(set.none((most, 0)), INVALID);
            assert_eq!(set.none((most, 1)), INVALID);
            assert_eq!(set.none((most - 1, 1)), Ok(0), "the last one");
        },
    ),
    both(
        &["F81"],
        "setting interrupts: an end that is not there is EINVAL",
        &[Device(Msix)],
        |host| {
            let set = Set::new(host);
            assert_eq!(set.none((set.most - 1, 2)), INVALID);
            assert_eq!(set.none((0, set.most + 1)), INVALID);
            assert_eq!(set.none((0, set.most)), Ok(0), "all of them");
        },
    ),
    both(
        &["F81"],
        "setting interrupts: a start and a count that overflow are EINVAL",
        &[Device(Msix)],
        |host| {
            let set = Set::new(host);
            for range in [
                (0, u32::MAX),
                (1, u32::MAX - 1),
                (1, u32::MAX),
                (2, u32::MAX - 1),
            ] {
                assert_eq!(set.none(range), INVALID, "{range:?}");
            }
        },
    ),
    both(
        &["F81"],
        "setting interrupts: an index that has none is EINVAL, for none of it too",
        &[Device(NoMsi), Device(NoMsix)],
        |host| {
            without(host, NoMsi, MSI);
            without(host, NoMsix, MSIX);
        },
    ),
    both(
        &["F81"],
        "setting interrupts: a line that there is not is EINVAL",
        &[Device(NoLine)],
        |host| {
            without(host, NoLine, INTX);
        },
    ),
    both(
        &["F81", "F82"],
        "setting interrupts: errors of what is not PCI Express are EINVAL",
        &[Device(Conventional)],
        |host| without(host, Conventional, ERR),
    ),
    both(
        &["F81"],
        "setting interrupts: unknown flags are EINVAL",
        &[Device(Msix)],
        |host| {
            let set = Set::new(host);
            for unknown in [1 << 6, 1 << 31] {
                assert_eq!(
                    set.ask(MSIX, unknown | NONE | TRIGGER, (0, 1), &[]),
                    INVALID
                );
            }
        },
    ),
    both(
        &["F81"],
        "setting interrupts: no kind of data is EINVAL",
        &[Device(Msix)],
        |host| {
            let set = Set::new(host);
            assert_eq!(set.ask(MSIX, TRIGGER, (0, 1), &[]), INVALID);
            assert_eq!(set.ask(MSIX, 0, (0, 1), &[]), INVALID);
        },
    ),
    both(
        &["F81"],
        "setting interrupts: two kinds of data are EINVAL",
        &[Device(Msix)],
        |host| {
            let set = Set::new(host);
            for kinds in [
                NONE | BOOL,
                NONE | EVENTFD,
                BOOL | EVENTFD,
                NONE | BOOL | EVENTFD,
            ] {
                let answer = set.ask(MSIX, kinds | TRIGGER, (0, 1), &[0xff; 4]);
                assert_eq!(answer, INVALID, "{kinds}");
            }
        },
    ),
    both(
        &["F81"],
        "setting interrupts: an fd for each, or EINVAL",
        &[Device(Msix)],
        |host| {
            let set = Set::new(host);
            let two = [set.signal.number(), -1];
            assert_eq!(
                set.ask(MSIX, EVENTFD | TRIGGER, (0, 3), two.as_bytes()),
                INVALID
            );
            assert_eq!(
                set.ask(MSIX, EVENTFD | TRIGGER, (0, 2), &two.as_bytes()[..7]),
                INVALID
            );
            assert_eq!(
                set.ask(MSIX, EVENTFD | TRIGGER, (0, 2), two.as_bytes()),
                Ok(0)
            );
        },
    ),
    both(
        &["F81"],
        "setting interrupts: a byte for each, or EINVAL",
        &[Device(Msix)],
        |host| {
            let set = Set::new(host);
            assert_eq!(set.ask(MSIX, BOOL | TRIGGER, (0, 2), &[0]), INVALID);
            assert_eq!(set.ask(MSIX, BOOL | TRIGGER, (0, 1), &[]), INVALID);
            assert_eq!(set.ask(MSIX, BOOL | TRIGGER, (0, 1), &[0]), Ok(0));
        },
    ),
    both(
        &["F81"],
        "setting interrupts: more data than needed is fine",
        &[Device(Msix)],
        |host| {
            let set = Set::new(host);
            assert_eq!(set.ask(MSIX, BOOL | TRIGGER, (0, 1), &[0; 9]), Ok(0));
            assert_eq!(set.ask(MSIX, NONE | TRIGGER, (0, 1), &[0; 9]), Ok(0));
        },
    ),
    both(
        &["F81", "F82"],
        "setting interrupts: whether it makes sense is looked at before whether the index can do it",
        &[Device(Msix)],
        |host| {
            let set = Set::new(host);
            assert_eq!(set.ask(MSIX, NONE | MASK, (set.most, 1), &[]), INVALID);
            assert_eq!(set.ask(MSIX, BOOL | UNMASK, (0, 2), &[0]), INVALID);
            assert_eq!(set.ask(REQ, NONE | MASK, (1, 0), &[]), INVALID);
            assert_eq!(set.ask(MSIX, NONE | MASK, (0, 1), &[]), Err(Errno::NOTTY));
        },
    ),
    both(
        &["F81"],
        "setting interrupts: what is refused changes nothing",
        &[Device(Msix)],
        |host| {
            let set = Set::new(host);
            assert_eq!(
                set.ask(MSIX, NONE | BOOL | TRIGGER, (0, 0), &[]),
                INVALID,
                "off, with two kinds"
            );
            assert_eq!(
                set.ask(MSIX, EVENTFD | TRIGGER, (0, 1), &[0xff; 3]),
                INVALID,
                "-1, too short"
            );
            assert_eq!(set.none((0, u32::MAX)), INVALID);
            assert_eq!(set.signal.count(), 0);
            assert_eq!((fire(&set.open, MSIX, 0), set.signal.count()), (Ok(0), 1));
        },
    ),
    both(
        &["F81"],
        "setting interrupts: a start behind the offered MSI is EINVAL",
        &[Device(Msi)],
        |host| {
            let (_rig, device) = host.open(Msi);
            let most = host.device(Msi).interrupts.msi;
            let [signal] = signals(&device);
            assert_eq!(super::set(&device, MSI, most, &signal), INVALID);
            assert_eq!(off(&device, MSI), INVALID, "it is not on");
        },
    ),
];

/// A device whose first MSI-X vector is set: with it, the rest of each call is right.
struct Set {
    open: Open,
    signal: Signal,
    most: u32,
    _rig: Rig,
}

impl Set {
    fn new(host: &Host) -> Self {
        let (rig, open) = host.open(Msix);
        let signal = Signal::new(open.kernel());
        super::set(&open, MSIX, 0, &signal).unwrap();
        let most = host.device(Msix).interrupts.msix.unwrap().vectors;
        Self {
            open,
            signal,
            most,
            _rig: rig,
        }
    }

    fn ask(&self, index: u32, flags: u32, range: (u32, u32), data: &[u8]) -> Result<u32> {
        self.open.irqs(index, flags, range, data)
    }

    fn none(&self, range: (u32, u32)) -> Result<u32> {
        self.ask(MSIX, NONE | TRIGGER, range, &[])
    }

    fn raw(&self, head: [u32; 5], data: &[u8]) -> Result<u32> {
        let bytes = [head.as_bytes(), data].concat();
        ioctl(
            self.open.kernel(),
            &self.open.device,
            uapi::DEVICE_SET_IRQS,
            Arg::In(&bytes),
        )
    }
}

/// Nothing can be done with an index of which there is nothing.
fn without(host: &Host, like: Trait, index: u32) {
    let (_rig, device) = host.open(like);
    let [signal] = signals(&device);
    assert_eq!(off(&device, index), INVALID);
    assert_eq!(fire(&device, index, 0), INVALID);
    assert_eq!(super::set(&device, index, 0, &signal), INVALID);
    assert_eq!(device.irqs(index, NONE | MASK, (0, 1), &[]), INVALID);
}
