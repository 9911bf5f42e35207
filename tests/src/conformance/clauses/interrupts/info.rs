//! F80: what interrupts there are.

use vfio_core::kernel::{Arg, Errno, Result};
use vfio_core::uapi::{
    self, IRQ_INFO_AUTOMASKED as AUTOMASKED, IRQ_INFO_EVENTFD as BY_EVENTFD,
    IRQ_INFO_MASKABLE as MASKABLE, IRQ_INFO_NORESIZE as NORESIZE, IrqInfo,
    PCI_ERR_IRQ_INDEX as ERR, PCI_INTX_IRQ_INDEX as INTX, PCI_MSI_IRQ_INDEX as MSI,
    PCI_MSIX_IRQ_INDEX as MSIX, PCI_REQ_IRQ_INDEX as REQ,
};
use zerocopy::IntoBytes;

use crate::conformance::clause::Needs::{Device, DynamicMsix, StaticMsix};
use crate::conformance::clause::Trait::{Conventional, Express, Line, Msi, Msix, NoLine, NoMsix};
use crate::conformance::clause::{Clause, Trait, both};
use crate::conformance::host::Host;
use crate::conformance::raw::{call, ioctl};
use crate::conformance::rig::Open;

const MSI_CAPABILITY: u8 = 0x05;
const MSIX_CAPABILITY: u8 = 0x11;
/// Where the control word of both is.
const CONTROL: u64 = 2;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["F80"],
        "interrupt info: from index 5 on EINVAL",
        &[],
        |host| {
            let (_rig, device) = any(host);
            assert_eq!(
                [5, u32::MAX].map(|index| info(&device, index)),
                [Err(Errno::INVAL); 2]
            );
        },
    ),
    both(
        &["F80"],
        "interrupt info: argsz below 16 is EINVAL",
        &[],
        |host| {
            let (_rig, device) = any(host);
            let mut short = ask(REQ);
            short.argsz = 15;
            assert_eq!(asked(&device, &mut short), Err(Errno::INVAL));
            short.argsz = 0;
            assert_eq!(asked(&device, &mut short), Err(Errno::INVAL));
        },
    ),
    both(
        &["F80"],
        "interrupt info: a pointer to nowhere is EFAULT",
        &[],
        |host| {
            let (_rig, device) = any(host);
            let answer = ioctl(
                device.kernel(),
                &device.device,
                uapi::DEVICE_GET_IRQ_INFO,
                Arg::Value(1),
            );
            assert_eq!(answer, Err(Errno::FAULT));
        },
    ),
    both(
        &["F80"],
        "interrupt info: 16 bytes are written, and the size and the index stay",
        &[],
        |host| {
            let (_rig, device) = any(host);
            let mut bytes = [0xa5; 24];
            bytes[..16].copy_from_slice(
                IrqInfo {
                    argsz: 24,
                    ..ask(REQ)
                }
                .as_bytes(),
            );
            let arg = Arg::InOut(&mut bytes);
            let answer = ioctl(
                device.kernel(),
                &device.device,
                uapi::DEVICE_GET_IRQ_INFO,
                arg,
            );
            assert_eq!(answer, Ok(0));
            let told = IrqInfo {
                argsz: 24,
                flags: BY_EVENTFD | NORESIZE,
                index: REQ,
                count: 1,
            };
            assert_eq!(bytes[..16], *told.as_bytes());
            assert_eq!(bytes[16..], [0xa5; 8]);
        },
    ),
    both(
        &["F80"],
        "interrupt info: an error writes nothing",
        &[],
        |host| {
            let (_rig, device) = any(host);
            let mut wrong = IrqInfo {
                flags: 77,
                count: 88,
                ..ask(5)
            };
            assert_eq!(asked(&device, &mut wrong), Err(Errno::INVAL));
            assert_eq!(
                (wrong.argsz, wrong.flags, wrong.index, wrong.count),
                (16, 77, 5, 88)
            );
        },
    ),
    both(
        &["F80"],
        "a line is one interrupt, can be masked and masks itself",
        &[Device(Line)],
        |host| {
            assert_eq!(
                of(host, Line, INTX),
                Ok((1, BY_EVENTFD | MASKABLE | AUTOMASKED))
            )
        },
    ),
    both(
        &["F80"],
        "without a line there is none of it, with the same flags",
        &[Device(NoLine)],
        |host| {
            assert_eq!(
                of(host, NoLine, INTX),
                Ok((0, BY_EVENTFD | MASKABLE | AUTOMASKED))
            )
        },
    ),
    both(
        &["F80"],
        "there are as many MSI as the device offers, and they cannot grow",
        &[Device(Msi)],
        |host| {
            let (_rig, device) = host.open(Msi);
            let control = device.config(device.capability(MSI_CAPABILITY) + CONTROL);
            let offered = 1 << (control >> 1 & 7);
            assert_eq!(info(&device, MSI), Ok((offered, BY_EVENTFD | NORESIZE)));
        },
    ),
    both(
        &["F80"],
        "without MSI there is none of it",
        &[Device(Trait::NoMsi)],
        |host| {
            assert_eq!(of(host, Trait::NoMsi, MSI), Ok((0, BY_EVENTFD | NORESIZE)));
        },
    ),
    both(
        &["F80"],
        "there are as many MSI-X as their table has",
        &[Device(Msix)],
        |host| {
            let (_rig, device) = host.open(Msix);
            let control = device.config(device.capability(MSIX_CAPABILITY) + CONTROL);
            let entries = u32::from(control & 0x7ff) + 1;
            assert_eq!(info(&device, MSIX).map(|(count, _)| count), Ok(entries));
        },
    ),
    both(
        &["F80"],
        "where MSI-X is dynamic, it can grow",
        &[Device(Msix), DynamicMsix],
        |host| assert_eq!(of(host, Msix, MSIX).map(|(_, flags)| flags), Ok(BY_EVENTFD)),
    ),
    both(
        &["F80"],
        "where MSI-X is not dynamic, it cannot grow",
        &[Device(Msix), StaticMsix],
        |host| {
            assert_eq!(
                of(host, Msix, MSIX).map(|(_, flags)| flags),
                Ok(BY_EVENTFD | NORESIZE)
            )
        },
    ),
    both(
        &["F80"],
        "without MSI-X there is none of it, and it cannot grow",
        &[Device(NoMsix)],
        |host| assert_eq!(of(host, NoMsix, MSIX), Ok((0, BY_EVENTFD | NORESIZE))),
    ),
    both(
        &["F80"],
        "errors of PCI Express are one interrupt that cannot grow",
        &[Device(Express)],
        |host| assert_eq!(of(host, Express, ERR), Ok((1, BY_EVENTFD | NORESIZE))),
    ),
    both(
        &["F80"],
        "interrupt info: errors of what is not PCI Express are EINVAL",
        &[Device(Conventional)],
        |host| assert_eq!(of(host, Conventional, ERR), Err(Errno::INVAL)),
    ),
    both(
        &["F80"],
        "release requests are one interrupt that cannot grow, of any device",
        &[],
        |host| {
            let (_rig, device) = any(host);
            assert_eq!(info(&device, REQ), Ok((1, BY_EVENTFD | NORESIZE)));
        },
    ),
];

/// The first device.
fn any(host: &Host) -> (crate::conformance::rig::Rig, Open) {
    let rig = host.rig();
    let open = rig.open(&host.machine().groups[0].devices[0].bdf);
    (rig, open)
}

fn ask(index: u32) -> IrqInfo {
    IrqInfo {
        argsz: 16,
        index,
        ..IrqInfo::default()
    }
}

fn asked(device: &Open, info: &mut IrqInfo) -> Result<u32> {
    call(
        device.kernel(),
        &device.device,
        uapi::DEVICE_GET_IRQ_INFO,
        info,
    )
}

/// Count and flags.
fn info(device: &Open, index: u32) -> Result<(u32, u32)> {
    let mut told = ask(index);
    assert_eq!(asked(device, &mut told)?, 0);
    Ok((told.count, told.flags))
}

fn of(host: &Host, like: Trait, index: u32) -> Result<(u32, u32)> {
    let (_rig, device) = host.open(like);
    info(&device, index)
}
