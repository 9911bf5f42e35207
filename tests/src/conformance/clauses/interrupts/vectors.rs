//! F85: MSI and MSI-X, set by eventfds.

use vfio_core::kernel::Errno;
use vfio_core::uapi::{
    PCI_INTX_IRQ_INDEX as INTX, PCI_MSI_IRQ_INDEX as MSI, PCI_MSIX_IRQ_INDEX as MSIX,
};

use crate::conformance::clause::Needs::{Device, PlentyMsi};
use crate::conformance::clause::Trait::{Messages, Msi, Msix};
use crate::conformance::clause::{Clause, both};
use crate::conformance::rig::{Open, Signal};

use super::{INVALID, NO_FD, NONE, TRIGGER, fire, no_eventfd, off, set, signals};

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["F85"],
        "the first call allocates start and count of MSI: no more can be set",
        &[Device(Messages), PlentyMsi],
        |host| {
            let (_rig, device) = host.open(Messages);
            let all: [Signal; 4] = signals(&device);
            assert_eq!(set(&device, MSI, 2, &all[2]), Ok(0));
            assert_eq!(set(&device, MSI, 0, &all[0]), Ok(0));
            assert_eq!(set(&device, MSI, 1, &all[1]), Ok(0));
            assert_eq!(set(&device, MSI, 3, &all[3]), INVALID);
            assert_eq!(set(&device, MSI, 2, &all[3]), Ok(0), "another one");
            assert_eq!(fired(&device, MSI, &all), [1, 1, 0, 1]);
        },
    ),
    both(
        &["F85"],
        "a block that reaches beyond the first count sets nothing of it",
        &[Device(Messages), PlentyMsi],
        |host| {
            let (_rig, device) = host.open(Messages);
            let all: [Signal; 3] = signals(&device);
            set(&device, MSI, 1, &all[0]).unwrap();
            let numbers = [all[1].number(), all[2].number()];
            assert_eq!(device.trigger(MSI, 1, &numbers), INVALID);
            assert_eq!(
                fired(&device, MSI, &all),
                [0, 0, 0],
                "what was there is gone"
            );
            assert_eq!(set(&device, MSI, 1, &all[0]), Ok(0), "it is on still");
        },
    ),
    both(
        &["F85"],
        "all MSI that are offered can be had",
        &[Device(Messages), PlentyMsi],
        |host| {
            let (_rig, device) = host.open(Messages);
            let [signal] = signals(&device);
            let offered = host.device(Messages).interrupts.msi;
            let fds = vec![signal.number(); offered as usize];
            assert_eq!(device.trigger(MSI, 0, &fds), Ok(0));
            let answer = device.irqs(MSI, NONE | TRIGGER, (0, offered), &[]);
            assert_eq!((answer, signal.count()), (Ok(0), u64::from(offered)));
        },
    ),
    both(
        &["F85"],
        "three MSI can be had, which is no power of two",
        &[Device(Messages), PlentyMsi],
        |host| {
            let (_rig, device) = host.open(Messages);
            let all: [Signal; 3] = signals(&device);
            let numbers = all.each_ref().map(Signal::number);
            assert_eq!(device.trigger(MSI, 0, &numbers), Ok(0));
            assert_eq!(fired(&device, MSI, &all), [1, 1, 1]);
            assert_eq!(set(&device, MSI, 3, &all[0]), INVALID);
        },
    ),
    both(
        &["F85"],
        "all MSI-X that there are can be had",
        &[Device(Msix)],
        |host| {
            let (_rig, device) = host.open(Msix);
            let [signal] = signals(&device);
            let most = host.device(Msix).interrupts.msix.unwrap().vectors;
            let fds = vec![signal.number(); most as usize];
            assert_eq!(device.trigger(MSIX, 0, &fds), Ok(0), "one eventfd for all");
            let answer = device.irqs(MSIX, NONE | TRIGGER, (0, most), &[]);
            assert_eq!((answer, signal.count()), (Ok(0), u64::from(most)));
        },
    ),
    both(
        &["F85"],
        "-1 leaves a vector free, for later",
        &[Device(Msix)],
        |host| {
            let (_rig, device) = host.open(Msix);
            let all: [Signal; 3] = signals(&device);
            assert_eq!(
                device.trigger(MSIX, 0, &[all[0].number(), -1, all[2].number()]),
                Ok(0)
            );
            assert_eq!(fired(&device, MSIX, &all), [1, 0, 1]);
            assert_eq!(set(&device, MSIX, 1, &all[1]), Ok(0));
            assert_eq!(fired(&device, MSIX, &all), [1, 1, 1]);
        },
    ),
    both(
        &["F85"],
        "nothing but -1 switches the index on too",
        &[Device(Msix)],
        |host| {
            let (_rig, device) = host.open(Msix);
            assert_eq!(device.trigger(MSIX, 0, &[-1, -1]), Ok(0));
            assert_eq!(fire(&device, MSIX, 0), Ok(0));
            assert_eq!(off(&device, MSIX), Ok(0));
        },
    ),
    both(
        &["F85"],
        "any negative number takes a vector's eventfd away, and no other's",
        &[Device(Msix)],
        |host| {
            let (_rig, device) = host.open(Msix);
            let all: [Signal; 3] = signals(&device);
            let numbers = all.each_ref().map(Signal::number);
            for negative in [-1, -2, i32::MIN] {
                assert_eq!(device.trigger(MSIX, 0, &numbers), Ok(0));
                assert_eq!(device.trigger(MSIX, 1, &[negative]), Ok(0));
                assert_eq!(fired(&device, MSIX, &all), [1, 0, 1]);
            }
        },
    ),
    both(
        &["F85"],
        "another eventfd takes the place of a vector's",
        &[Device(Msix)],
        |host| {
            let (_rig, device) = host.open(Msix);
            let all: [Signal; 2] = signals(&device);
            set(&device, MSIX, 0, &all[0]).unwrap();
            assert_eq!(set(&device, MSIX, 0, &all[1]), Ok(0));
            assert_eq!(fired(&device, MSIX, &all), [0, 1]);
            assert_eq!(set(&device, MSIX, 0, &all[1]), Ok(0), "itself too");
            assert_eq!(fired(&device, MSIX, &all), [0, 1]);
        },
    ),
    both(
        &["F85"],
        "a number of no fd is EBADF, and switches nothing on",
        &[Device(Msix)],
        |host| {
            let (_rig, device) = host.open(Msix);
            let [signal] = signals(&device);
            assert_eq!(
                device.trigger(MSIX, 0, &[signal.number(), NO_FD]),
                Err(Errno::BADF)
            );
            assert_eq!(fire(&device, MSIX, 0), INVALID);
            assert_eq!(off(&device, MSIX), INVALID);
            assert_eq!(set(&device, MSIX, 0, &signal), Ok(0));
        },
    ),
    both(
        &["F85"],
        "what is no eventfd is EINVAL, and switches nothing on",
        &[Device(Msix)],
        |host| {
            let (_rig, device) = host.open(Msix);
            let [signal] = signals(&device);
            let fds = [signal.number(), no_eventfd(&device)];
            assert_eq!(device.trigger(MSIX, 0, &fds), INVALID);
            assert_eq!(fire(&device, MSIX, 0), INVALID);
            assert_eq!(off(&device, MSIX), INVALID);
        },
    ),
    both(
        &["F84", "F85"],
        "after a first call that failed, another index can be switched on",
        &[Device(Msi)],
        |host| {
            let (_rig, device) = host.open(Msi);
            let [signal] = signals(&device);
            assert_eq!(device.trigger(MSI, 0, &[NO_FD]), Err(Errno::BADF));
            assert_eq!(set(&device, INTX, 0, &signal), Ok(0));
        },
    ),
    both(
        &["F85"],
        "a block with a wrong fd is undone: those before it, and what they had",
        &[Device(Msix)],
        |host| {
            let (_rig, device) = host.open(Msix);
            let all: [Signal; 4] = signals(&device);
            let numbers = all.each_ref().map(Signal::number);
            device.trigger(MSIX, 0, &numbers).unwrap();
            let block = [numbers[1], NO_FD, numbers[3]];
            assert_eq!(device.trigger(MSIX, 1, &block), Err(Errno::BADF));
            assert_eq!(
                fired(&device, MSIX, &all),
                [1, 0, 0, 1],
                "vector 3 was not reached"
            );
            assert_eq!(
                device.trigger(MSIX, 1, &numbers[1..3]),
                Ok(0),
                "it is on still"
            );
            assert_eq!(fired(&device, MSIX, &all), [1, 1, 1, 1]);
            let block = [numbers[0], no_eventfd(&device)];
            assert_eq!(device.trigger(MSIX, 0, &block), INVALID);
            assert_eq!(fired(&device, MSIX, &all), [0, 0, 1, 1]);
        },
    ),
    both(
        &["F85"],
        "no vectors at all cannot be had: ERANGE",
        &[Device(Msi), Device(Msix)],
        |host| {
            let (_rig, device) = host.open(Msix);
            assert_eq!(device.trigger(MSIX, 0, &[]), Err(Errno::RANGE));
            assert_eq!(off(&device, MSIX), INVALID, "it is not on");
        },
    ),
    both(
        &["F85"],
        "no MSI at all cannot be had",
        &[Device(Msi)],
        |host| {
            let (_rig, device) = host.open(Msi);
            assert_eq!(device.trigger(MSI, 0, &[]), Err(Errno::RANGE));
            assert_eq!(off(&device, MSI), INVALID, "it is not on");
        },
    ),
    both(
        &["F85"],
        "none, from a start on, allocates those before it",
        &[Device(Messages), PlentyMsi],
        |host| {
            let (_rig, device) = host.open(Messages);
            let [first, second] = signals(&device);
            assert_eq!(device.trigger(MSI, 2, &[]), Ok(0));
            assert_eq!(set(&device, MSI, 1, &first), Ok(0));
            assert_eq!(set(&device, MSI, 2, &second), INVALID);
        },
    ),
    both(
        &["F85"],
        "none of what is on changes nothing",
        &[Device(Msix)],
        |host| {
            let (_rig, device) = host.open(Msix);
            let all: [Signal; 1] = signals(&device);
            set(&device, MSIX, 0, &all[0]).unwrap();
            assert_eq!(device.trigger(MSIX, 0, &[]), Ok(0));
            assert_eq!(fired(&device, MSIX, &all), [1]);
        },
    ),
    both(
        &["F85"],
        "an eventfd that its owner closed is kept by its vector",
        &[Device(Msix)],
        |host| {
            let (_rig, device) = host.open(Msix);
            let signal = Signal::new(device.kernel());
            set(&device, MSIX, 0, &signal).unwrap();
            drop(signal);
            assert_eq!(fire(&device, MSIX, 0), Ok(0));
            assert_eq!(off(&device, MSIX), Ok(0));
        },
    ),
    both(
        &["F85", "F91"],
        "closing the device switches its vectors off",
        &[Device(Msix)],
        |host| {
            let (rig, device) = host.open(Msix);
            let [signal] = signals(&device);
            set(&device, MSIX, 0, &signal).unwrap();
            drop(device);
            let device = rig.open(&host.device(Msix).bdf);
            assert_eq!(
                (fire(&device, MSIX, 0), off(&device, MSIX)),
                (INVALID, INVALID)
            );
            assert_eq!(set(&device, INTX, 0, &signal), Ok(0));
        },
    ),
];

/// How often each is signalled when all of the vectors before so many are fired, one by one.
fn fired<const N: usize>(device: &Open, index: u32, all: &[Signal; N]) -> [u64; N] {
    let count = if index == MSI { 3.min(N) } else { N };
    for vector in 0..u32::try_from(count).unwrap() {
        assert_eq!(fire(device, index, vector), Ok(0));
    }
    all.each_ref().map(Signal::count)
}
