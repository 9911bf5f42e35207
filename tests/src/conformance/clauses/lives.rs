//! A11b, F91: what opening and closing a device do.

use vfio_core::group_node;
use vfio_core::kernel::Errno;
use vfio_core::uapi::{
    self, PCI_INTX_IRQ_INDEX as INTX, PCI_MSI_IRQ_INDEX as MSI, PCI_MSIX_IRQ_INDEX as MSIX,
    PCI_REQ_IRQ_INDEX as REQUEST,
};

use super::reset::{INTERRUPT_MASK, MASKED};
use crate::conformance::clause::Needs::Device;
use crate::conformance::clause::Trait::{Controller, Engine, Msi, Sleeper};
use crate::conformance::clause::{Clause, Needs, Trait, both};
use crate::conformance::host::Host;
use crate::conformance::mapped::Mapped;
use crate::conformance::raw::{leave, status};
use crate::conformance::rig::{COMMAND, Open, Rig, Signal};

const MASTER: u16 = 1 << 2;
const MEMORY: u16 = 1 << 1;
/// Where the interrupt line and pin are.
const LINE: u64 = 0x3c;
const POWER: u8 = 0x01;
const MSIX_CAPABILITY: u8 = 0x11;
const FIRE: u32 = uapi::IRQ_SET_DATA_NONE | uapi::IRQ_SET_ACTION_TRIGGER;
const CONTROLLER: &[Needs] = &[Device(Controller)];

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["F91"],
        "a device that was opened is no bus master",
        &[],
        |host| {
            let rig = host.rig();
            let open = rig.open(&host.machine().groups[0].devices[0].bdf);
            assert_eq!(open.config(COMMAND) & MASTER, 0);
        },
    ),
    both(
        &["F91"],
        "a device that was opened decodes its memory",
        CONTROLLER,
        |host| {
            let (_rig, open) = opened(host, Controller);
            assert_eq!(open.config(COMMAND) & MEMORY, MEMORY);
            assert!(open.pread(0, 8, 4).is_ok());
        },
    ),
    both(
        &["F91"],
        "closing switches bus mastering off",
        CONTROLLER,
        |host| {
            drop(host.open(Controller));
            let (_rig, open) = opened(host, Controller);
            assert_eq!(open.config(COMMAND) & MASTER, 0);
        },
    ),
    both(
        &["F91"],
        "between closing and opening, a device is reset",
        CONTROLLER,
        |host| {
            let (rig, open) = host.open(Controller);
            assert_eq!(open.pwrite(0, INTERRUPT_MASK, &MASKED), Ok(4));
            drop(open);
            let again = rig.open(&host.place(Controller).1);
            assert_eq!(again.pread(0, INTERRUPT_MASK, 4), Ok(vec![0; 4]));
        },
    ),
    both(
        &["F91"],
        "a device that no reset reaches keeps its registers",
        &[Device(Engine)],
        |host| {
            /// Reads back inverted.
            const LIVENESS: u64 = 4;
            let (rig, open) = host.open(Engine);
            assert_eq!(open.pwrite(0, LIVENESS, &[1, 2, 3, 4]), Ok(4));
            drop(open);
            let again = rig.open(&host.place(Engine).1);
            assert_eq!(again.pread(0, LIVENESS, 4), Ok(vec![!1, !2, !3, !4]));
        },
    ),
    both(
        &["F91"],
        "closing puts back the command register, the BARs and the line",
        CONTROLLER,
        |host| {
            let (rig, open) = opened(host, Controller);
            let places = [COMMAND, 0x10, 0x12, 0x14, 0x16, LINE];
            let before = places.map(|at| open.config(at));
            for at in places {
                open.set_config(at, !open.config(at) & 0x7ff);
            }
            assert_ne!(places.map(|at| open.config(at)), before);
            drop(open);
            let again = rig.open(&host.place(Controller).1);
            assert_eq!(places.map(|at| again.config(at)), before);
        },
    ),
    both(
        &["F91"],
        "closing wakes up a device in D3",
        &[Device(Sleeper)],
        |host| {
            let (rig, open) = host.open(Sleeper);
            let control = open.capability(POWER) + 4;
            open.set_config(control, open.config(control) | 3);
            drop(open);
            let again = rig.open(&host.place(Sleeper).1);
            assert_eq!(again.config(control) & 3, 0);
            assert!(again.pread(0, 8, 4).is_ok());
        },
    ),
    both(&["F91"], "closing switches MSI-X off", CONTROLLER, |host| {
        let (rig, open) = host.open(Controller);
        let signal = Signal::new(rig.kernel());
        assert_eq!(open.trigger(MSIX, 0, &[signal.number()]), Ok(0));
        drop(open);
        let again = rig.open(&host.place(Controller).1);
        let control = again.capability(MSIX_CAPABILITY) + 2;
        assert_eq!(again.config(control) & 1 << 15, 0);
        assert_eq!(again.irqs(MSIX, FIRE, (0, 1), &[]), Err(Errno::INVAL));
        assert_eq!(again.trigger(INTX, 0, &[signal.number()]), Ok(0), "F84");
        assert_eq!(signal.count(), 0);
    }),
    both(
        &["F91"],
        "closing switches the line off",
        CONTROLLER,
        |host| {
            let (rig, open) = host.open(Controller);
            let signal = Signal::new(rig.kernel());
            assert_eq!(open.trigger(INTX, 0, &[signal.number()]), Ok(0));
            drop(open);
            let again = rig.open(&host.place(Controller).1);
            assert_eq!(again.irqs(INTX, FIRE, (0, 1), &[]), Err(Errno::INVAL));
            assert_eq!(again.trigger(MSIX, 0, &[signal.number()]), Ok(0), "F84");
        },
    ),
    both(
        &["F91"],
        "closing switches MSI off, and what a driver wrote of it",
        &[Device(Msi)],
        |host| {
            const CAPABILITY: u8 = 0x05;
            let (rig, open) = host.open(Msi);
            let signal = Signal::new(rig.kernel());
            assert_eq!(open.trigger(MSI, 0, &[signal.number()]), Ok(0));
            let control = open.capability(CAPABILITY) + 2;
            open.set_config(control, open.config(control) | 1);
            assert_eq!(open.config(control) & 1, 1);
            drop(open);
            let again = rig.open(&host.place(Msi).1);
            assert_eq!(again.config(control) & 1, 0);
            assert_eq!(again.irqs(MSI, FIRE, (0, 1), &[]), Err(Errno::INVAL));
        },
    ),
    both(
        &["F91"],
        "closing forgets who is asked to release the device",
        CONTROLLER,
        |host| {
            let (rig, open) = host.open(Controller);
            let signal = Signal::new(rig.kernel());
            assert_eq!(open.trigger(REQUEST, 0, &[signal.number()]), Ok(0));
            assert_eq!(open.irqs(REQUEST, FIRE, (0, 1), &[]), Ok(0));
            drop(open);
            let again = rig.open(&host.place(Controller).1);
            assert_eq!(again.irqs(REQUEST, FIRE, (0, 1), &[]), Err(Errno::INVAL));
            assert_eq!(signal.count(), 1);
        },
    ),
    both(
        &["A11b"],
        "a BAR that is mapped keeps its device open when the fd is closed",
        &[Device(Engine)],
        |host| {
            let (rig, open) = host.open(Engine);
            let mapped = first_page(host, &open);
            drop(open);
            assert_eq!(leave(rig.kernel(), &rig.group), Err(Errno::BUSY));
            drop(mapped);
            assert_eq!(leave(rig.kernel(), &rig.group), Ok(0));
        },
    ),
    both(
        &["A11b", "F91"],
        "so that nothing of it is reset or switched off",
        &[Device(Engine)],
        |host| {
            let (rig, open) = host.open(Engine);
            open.set_config(LINE, 0x155);
            let _mapped = first_page(host, &open);
            drop(open);
            let again = rig.open(&host.place(Engine).1);
            assert_eq!(again.config(COMMAND) & MASTER, MASTER);
            assert_eq!(again.config(LINE), 0x155);
        },
    ),
    both(
        &["A11b", "A15"],
        "and its group, when the group's fd is closed too",
        &[Device(Engine)],
        |host| {
            let (rig, open) = host.open(Engine);
            let mapped = first_page(host, &open);
            drop(open);
            drop(rig);
            let node = group_node(host.place(Engine).0);
            let again = || host.kernel().open(&node);
            assert_eq!(again().map(drop), Err(Errno::BUSY));
            drop(mapped);
            let group = again().unwrap();
            let viable = uapi::GROUP_FLAGS_VIABLE;
            assert_eq!(status(&**host.kernel(), &group), Ok(viable));
        },
    ),
    both(
        &["A11b"],
        "unmapping with the fd open closes nothing",
        &[Device(Engine)],
        |host| {
            let (rig, open) = host.open(Engine);
            drop(first_page(host, &open));
            assert_eq!(open.config(COMMAND) & MASTER, MASTER);
            assert_eq!(leave(rig.kernel(), &rig.group), Err(Errno::BUSY));
        },
    ),
];

/// A device in a container, as opening leaves it.
fn opened(host: &Host, like: Trait) -> (Rig, Open) {
    let (group, bdf) = host.place(like);
    let rig = Rig::new(host.kernel(), group, host.iommu());
    let open = rig.open(&bdf);
    (rig, open)
}

/// A page of the first BAR, mapped.
fn first_page(host: &Host, open: &Open) -> Mapped {
    Mapped::new(host, open, (0, 0), host.page()).unwrap()
}
