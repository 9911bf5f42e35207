//! F77: mapped regions.

use vfio_core::kernel::{Arg, Errno};
use vfio_core::uapi::{self, DeviceFeature};
use zerocopy::IntoBytes;

use super::regions::small;
use super::{
    CONFIG, NO_REGION, ROM, VGA, bar_of, decode, is_memory, is_ports, mappable_bar, missing_bar,
    table,
};
use crate::conformance::clause::Needs::Device;
use crate::conformance::clause::Trait::{
    Any, Engine, Mappable, MappedMsix, MappedPower, Memory, Ports, Rom, SharedPage, SmallBar,
};
use crate::conformance::clause::{Clause, both};
use crate::conformance::host::Host;
use crate::conformance::mapped::Mapped;
use crate::conformance::memory::random;
use crate::conformance::raw::ioctl;
use crate::conformance::rig::Open;

/// Registers of QEMU's `edu`: one reads as the inverse of what was written.
const INVERSE: u64 = 0x04;

/// Power management control of a capability; the state D3hot.
const CONTROL: u64 = 4;
const D3: u16 = 3;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["F77"],
        "mapped memory is the BAR's",
        &[Device(Memory)],
        |host| {
            let (_rig, open) = host.open(Memory);
            let (index, bar) = bar_of(host, host.device(Memory), is_memory);
            let mapped = Mapped::new(host, &open, (index, 0), bar.size).unwrap();
            let last = bar.size - 4;
            let bytes: [u8; 4] = random(4).try_into().unwrap();
            mapped.set(last, u32::from_ne_bytes(bytes));
            assert_eq!(open.pread(index, last, 4), Ok(bytes.to_vec()));
            open.pwrite(index, 0, &bytes).unwrap();
            assert_eq!(mapped.get(0), u32::from_ne_bytes(bytes));
        },
    ),
    both(
        &["F77"],
        "a part of a BAR can be mapped, from the page on that is asked for",
        &[Device(Memory)],
        |host| {
            let (_rig, open) = host.open(Memory);
            let (index, _) = bar_of(host, host.device(Memory), is_memory);
            let page = host.page();
            let mapped = Mapped::new(host, &open, (index, page), page).unwrap();
            let bytes = random(4);
            open.pwrite(index, page, &bytes).unwrap();
            assert_eq!(mapped.get(0).to_ne_bytes(), bytes[..]);
        },
    ),
    both(
        &["F77"],
        "mapped registers are the device's",
        &[Device(Engine)],
        |host| {
            let (_rig, open) = host.open(Engine);
            let mapped = Mapped::new(host, &open, (0, 0), 1 << 20).unwrap();
            let value = fastrand::u32(..);
            mapped.set(INVERSE, value);
            assert_eq!(mapped.get(INVERSE), !value);
            let bytes = open.pread(0, INVERSE, 4).unwrap();
            assert_eq!(bytes, (!value).to_ne_bytes());
        },
    ),
    both(
        &["F77"],
        "from the end of a BAR on, and over it, is EINVAL",
        &[Device(Mappable)],
        |host| {
            let (_rig, open) = host.open(Mappable);
            let (index, size) = mappable_bar(host, Mappable);
            let page = host.page();
            let map = |offset, len| Mapped::new(host, &open, (index, offset), len).err();
            assert_eq!(map(size, page), Some(Errno::INVAL));
            assert_eq!(map(0, size + page), Some(Errno::INVAL));
            assert_eq!(map(size - page, 2 * page), Some(Errno::INVAL));
            assert_eq!(map(size - page, page), None);
        },
    ),
    both(
        &["F77"],
        "a place that is not the start of a page is EINVAL",
        &[Device(Mappable)],
        |host| {
            let (_rig, open) = host.open(Mappable);
            let (index, _) = mappable_bar(host, Mappable);
            let answer = Mapped::new(host, &open, (index, 0x800), host.page());
            assert_eq!(answer.err(), Some(Errno::INVAL));
        },
    ),
    both(
        &["F77"],
        "a BAR that is smaller than a page is mapped with the rest of the page, and no more",
        &[Device(SmallBar)],
        |host| {
            let (_rig, open) = host.open(SmallBar);
            let index = small(host, SmallBar, true);
            let map = |len| Mapped::new(host, &open, (index, 0), len).err();
            assert_eq!(map(host.page()), None);
            assert_eq!(map(2 * host.page()), Some(Errno::INVAL));
        },
    ),
    both(
        &["F76", "F77"],
        "one that shares a page is EINVAL",
        &[Device(SharedPage)],
        |host| {
            let (_rig, open) = host.open(SharedPage);
            let index = small(host, SharedPage, false);
            let answer = Mapped::new(host, &open, (index, 0), host.page());
            assert_eq!(answer.err(), Some(Errno::INVAL));
        },
    ),
    both(
        &["F77"],
        "what is no BAR is EINVAL: ROM, config space, VGA, no region, a BAR that is not there",
        &[],
        |host| {
            let (_rig, open) = host.open(Any);
            let missing = missing_bar(host.device(Any));
            for index in [ROM, CONFIG, VGA, NO_REGION, 100, missing] {
                let answer = Mapped::new(host, &open, (index, 0), host.page());
                assert_eq!(answer.err(), Some(Errno::INVAL), "{index}");
            }
        },
    ),
    both(
        &["F77"],
        "a ROM that is there is EINVAL",
        &[Device(Rom)],
        |host| {
            let (_rig, open) = host.open(Rom);
            let answer = Mapped::new(host, &open, (ROM, 0), host.page());
            assert_eq!(answer.err(), Some(Errno::INVAL));
        },
    ),
    both(&["F77"], "ports are EINVAL", &[Device(Ports)], |host| {
        let (_rig, open) = host.open(Ports);
        let (index, _) = bar_of(host, host.device(Ports), is_ports);
        let answer = Mapped::new(host, &open, (index, 0), host.page());
        assert_eq!(answer.err(), Some(Errno::INVAL));
    }),
    both(
        &["F77"],
        "while memory decoding is off, an access is SIGBUS, and not afterwards",
        &[Device(Mappable)],
        |host| {
            let (_rig, open) = host.open(Mappable);
            let (index, _) = mappable_bar(host, Mappable);
            comes_and_goes(host, &open, index, |gone| decode(&open, !gone));
        },
    ),
    both(
        &["F77"],
        "so too for memory, which keeps what is in it",
        &[Device(Memory)],
        |host| {
            let (_rig, open) = host.open(Memory);
            let (index, _) = bar_of(host, host.device(Memory), is_memory);
            let bytes = random(4);
            open.pwrite(index, 4, &bytes).unwrap();
            comes_and_goes(host, &open, index, |gone| decode(&open, !gone));
            assert_eq!(open.pread(index, 4, 4), Ok(bytes));
        },
    ),
    both(
        &["F77"],
        "what is mapped while memory decoding is off is there when it is on",
        &[Device(Memory)],
        |host| {
            let (_rig, open) = host.open(Memory);
            let (index, _) = bar_of(host, host.device(Memory), is_memory);
            decode(&open, false);
            let mapped = Mapped::new(host, &open, (index, 0), host.page()).unwrap();
            assert!(mapped.is_gone());
            decode(&open, true);
            let value = fastrand::u32(..);
            mapped.set(0, value);
            assert_eq!(mapped.get(0), value);
        },
    ),
    both(
        &["F77"],
        "in D3 an access is SIGBUS, and not afterwards",
        &[Device(MappedPower)],
        |host| {
            let (_rig, open) = host.open(MappedPower);
            let control = open.capability(0x01) + CONTROL;
            let (index, _) = mappable_bar(host, MappedPower);
            comes_and_goes(host, &open, index, |gone| {
                open.set_config(control, if gone { D3 } else { 0 });
            });
        },
    ),
    both(
        &["F77", "F89"],
        "while the device sleeps by the feature, an access is SIGBUS, and not afterwards",
        &[Device(Mappable)],
        |host| {
            let (_rig, open) = host.open(Mappable);
            let (index, _) = mappable_bar(host, Mappable);
            comes_and_goes(host, &open, index, |gone| {
                let number = match gone {
                    true => uapi::DEVICE_FEATURE_LOW_POWER_ENTRY,
                    false => uapi::DEVICE_FEATURE_LOW_POWER_EXIT,
                };
                let feature = DeviceFeature {
                    argsz: 8,
                    flags: number | uapi::DEVICE_FEATURE_SET,
                };
                let arg = Arg::In(feature.as_bytes());
                let answer = ioctl(open.kernel(), &open.device, uapi::DEVICE_FEATURE, arg);
                assert_eq!(answer, Ok(0));
            });
        },
    ),
    both(
        &["F77", "F78"],
        "mapped, the MSI-X table is the hardware's: masked, and empty",
        &[Device(MappedMsix)],
        |host| {
            let (_rig, open) = host.open(MappedMsix);
            let (index, start, _) = table(host.device(MappedMsix));
            let page = host.page();
            let mapped = Mapped::new(host, &open, (index, start / page * page), page).unwrap();
            let entry = [0, 4, 8, 12].map(|at| mapped.get(start % page + at));
            let masked = 1u32.to_le();
            assert_eq!(entry, [0, 0, 0, masked]);
        },
    ),
];

/// Maps a BAR, and lets it go and come back.
fn comes_and_goes(host: &Host, open: &Open, index: u32, switch: impl Fn(bool)) {
    let mapped = Mapped::new(host, open, (index, 0), host.page()).unwrap();
    let _ = mapped.get(0);
    switch(true);
    assert!(mapped.is_gone());
    switch(false);
    let _ = mapped.get(0);
    assert!(!mapped.is_gone());
}
