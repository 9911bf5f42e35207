//! A14, F89: the tokens that virtual functions are opened with.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use vfio_core::group_node;
use vfio_core::kernel::{Errno, Result};
use vfio_core::uapi::{DEVICE_FEATURE_PCI_VF_TOKEN as TOKEN, DEVICE_FEATURE_SET as SET};

use super::feature::feature;
use crate::conformance::clause::Needs::Device;
use crate::conformance::clause::Trait::{Controller, Physical, Virtual, VirtualOfKernel};
use crate::conformance::clause::{Clause, Trait, both};
use crate::conformance::host::Host;
use crate::conformance::raw::{join, open_device, set_iommu};
use crate::conformance::rig::{Open, Rig};

const GIVEN: &str = "00112233-4455-6677-8899-aabbccddeeff";
const OTHER: &str = "00112233-4455-6677-8899-aabbccddee00";
const BYTES: [u8; 16] = [
    0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
];

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["A14"],
        "a device that is no part of SR-IOV takes no token: EINVAL",
        &[Device(Controller)],
        |host| {
            let function = Functions::of(host, Controller);
            assert_eq!(function.open(&with(GIVEN)), Err(Errno::INVAL));
            assert_eq!(function.open(""), Ok(()));
        },
    ),
    both(
        &["A14"],
        "a token that is none is EINVAL, whatever the device is",
        &[Device(Controller)],
        |host| malformed(&Functions::of(host, Controller)),
    ),
    both(
        &["A14"],
        "of a virtual function too, before it is looked at",
        &[Device(Virtual)],
        |host| malformed(&Functions::of(host, Virtual)),
    ),
    both(
        &["A14"],
        "without the token of its physical function, a virtual one is EACCES",
        &[Device(Virtual)],
        |host| {
            let function = Functions::of(host, Virtual);
            assert_eq!(function.open(""), Err(Errno::ACCESS));
        },
    ),
    both(
        &["A14"],
        "with a wrong one too",
        &[Device(Virtual)],
        |host| {
            let function = Functions::of(host, Virtual);
            let _physical = function.physical(BYTES);
            for wrong in [OTHER, "00000000-0000-0000-0000-000000000000"] {
                assert_eq!(function.open(&with(wrong)), Err(Errno::ACCESS));
            }
        },
    ),
    both(
        &["A14", "F89"],
        "the token is what the physical function's feature is set to",
        &[Device(Virtual)],
        |host| {
            let function = Functions::of(host, Virtual);
            let physical = function.physical(BYTES);
            assert_eq!(function.open(&with(GIVEN)), Ok(()));
            let mut changed = BYTES;
            changed[15] = 0;
            set(&physical, changed);
            assert_eq!(function.open(&with(GIVEN)), Err(Errno::ACCESS));
            assert_eq!(function.open(&with(OTHER)), Ok(()));
        },
    ),
    both(
        &["A14"],
        "the token stays when the physical function is closed",
        &[Device(Virtual)],
        |host| {
            let function = Functions::of(host, Virtual);
            drop(function.physical(BYTES));
            assert_eq!(function.open(&with(GIVEN)), Ok(()));
        },
    ),
    both(
        &["A14"],
        "a token is written in small or large letters, with spaces around it",
        &[Device(Virtual)],
        |host| {
            let function = Functions::of(host, Virtual);
            let _physical = function.physical(BYTES);
            for right in [with(&GIVEN.to_uppercase()), format!("  vf_token={GIVEN} ")] {
                assert_eq!(function.open(&right), Ok(()), "{right:?}");
            }
        },
    ),
    both(
        &["A14"],
        "the token comes before the container: EACCES in none, and in one without an IOMMU",
        &[Device(Virtual)],
        |host| {
            let (id, bdf) = host.place(Virtual);
            let kernel = &**host.kernel();
            let group = kernel.open(&group_node(id)).unwrap();
            let name = CString::new(bdf).unwrap();
            let open = || open_device(kernel, &group, &name).map(drop);
            assert_eq!(open(), Err(Errno::ACCESS));
            let container = host.container();
            join(kernel, &group, &container).unwrap();
            assert_eq!(open(), Err(Errno::ACCESS));
            set_iommu(kernel, &container, host.iommu()).unwrap();
            assert_eq!(open(), Err(Errno::ACCESS));
        },
    ),
    both(
        &["A14"],
        "a physical function is opened without a token while no virtual one is open",
        &[Device(Physical)],
        |host| {
            let function = Functions::of(host, Physical);
            assert_eq!(function.open(""), Ok(()));
        },
    ),
    both(
        &["A14"],
        "a token in the name of a physical function is set",
        &[Device(Virtual)],
        |host| {
            let function = Functions::of(host, Virtual);
            let physical = format!("{} vf_token={OTHER}", function.physical_name(host));
            let held = function.open_named(&physical).unwrap();
            assert_eq!(function.open(&with(OTHER)), Ok(()));
            assert_eq!(function.open(&with(GIVEN)), Err(Errno::ACCESS));
            drop(held);
        },
    ),
    both(
        &["A14"],
        "while a virtual function is open, the physical one wants the token: EACCES",
        &[Device(Virtual)],
        |host| {
            let function = Functions::of(host, Virtual);
            let physical = function.physical(BYTES);
            let name = function.physical_name(host);
            let held = function.open_named(&format!("{}{}", function.bdf, with(GIVEN)));
            let again = |options: &str| function.open_named(&format!("{name}{options}")).map(drop);
            assert_eq!(again(""), Err(Errno::ACCESS));
            assert_eq!(again(&with(OTHER)), Err(Errno::ACCESS));
            assert_eq!(again(&with(GIVEN)), Ok(()));
            drop((held.unwrap(), physical));
            assert_eq!(again(""), Ok(()));
        },
    ),
    both(
        &["A14"],
        "a virtual function that is open stays so when the token changes",
        &[Device(Virtual)],
        |host| {
            let function = Functions::of(host, Virtual);
            let physical = function.physical(BYTES);
            let held = function.open_named(&format!("{}{}", function.bdf, with(GIVEN)));
            set(&physical, [7; 16]);
            let held = Open::of(host.kernel(), held.unwrap());
            assert_eq!(held.pread(7, 0, 4).map(|bytes| bytes.len()), Ok(4));
            assert_eq!(function.open(&with(GIVEN)), Err(Errno::ACCESS), "again");
        },
    ),
    both(
        &["A14"],
        "a virtual function of one that the kernel has is opened without a token",
        &[Device(VirtualOfKernel)],
        |host| {
            let function = Functions::of(host, VirtualOfKernel);
            assert_eq!(function.open(""), Ok(()));
        },
    ),
    both(
        &["A14"],
        "and takes none: EINVAL",
        &[Device(VirtualOfKernel)],
        |host| {
            let function = Functions::of(host, VirtualOfKernel);
            assert_eq!(function.open(&with(GIVEN)), Err(Errno::INVAL));
        },
    ),
    both(
        &["F89"],
        "a token has 16 bytes: with less it is EINVAL, and stays as it was",
        &[Device(Virtual)],
        |host| {
            let function = Functions::of(host, Virtual);
            let physical = function.physical(BYTES);
            let short = feature(&physical, 23, SET | TOKEN, &[7; 16]);
            assert_eq!(short.0, Err(Errno::INVAL));
            assert_eq!(function.open(&with(GIVEN)), Ok(()));
        },
    ),
];

fn with(token: &str) -> String {
    format!(" vf_token={token}")
}

fn set(physical: &Open, token: [u8; 16]) {
    assert_eq!(feature(physical, 24, SET | TOKEN, &token).0, Ok(0));
}

fn malformed(function: &Functions<'_>) {
    for wrong in [
        "".to_owned(),
        GIVEN[..35].to_owned(),
        format!("{GIVEN}0"),
        GIVEN.replace('f', "g"),
        GIVEN.replace('-', "0"),
        format!("{{{GIVEN}}}"),
        format!("{GIVEN} vf_token={GIVEN}"),
        format!("{GIVEN} other"),
    ] {
        let answer = function.open(&with(&wrong));
        assert_eq!(answer, Err(Errno::INVAL), "{wrong:?}");
    }
}

/// A function, and the physical one that it may belong to.
struct Functions<'a> {
    host: &'a Host,
    bdf: String,
    rig: Rig,
}

impl<'a> Functions<'a> {
    fn of(host: &'a Host, like: Trait) -> Self {
        let (group, bdf) = host.place(like);
        let rig = Rig::new(host.kernel(), group, host.iommu());
        Self { host, bdf, rig }
    }

    /// What opening it with that behind its name answers.
    fn open(&self, options: &str) -> Result<()> {
        self.open_named(&format!("{}{options}", self.bdf)).map(drop)
    }

    fn open_named(&self, name: &str) -> Result<OwnedFd> {
        let name = CString::new(name).unwrap();
        open_device(self.rig.kernel(), &self.rig.group, &name)
    }

    /// The physical function, which is in the same group, open, with that token.
    fn physical(&self, token: [u8; 16]) -> Open {
        let physical = self.rig.open(&self.physical_name(self.host));
        set(&physical, token);
        physical
    }

    fn physical_name(&self, host: &Host) -> String {
        host.place(Physical).1
    }
}
