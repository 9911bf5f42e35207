//! C36, C39, C47: what is told, and which version knows which call.

use vfio_core::kernel::{Errno, Result};
use vfio_core::uapi::{
    self, EEH, SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU, SpaprTceDdwInfo, SpaprTceInfo,
};

use super::calls::{EINVAL, VERSIONS, disable, enable, plain, remove, v1};
use crate::conformance::clause::Needs::{Powernv, Pseries, Spapr};
use crate::conformance::clause::{Clause, both};
use crate::conformance::host::Host;
use crate::conformance::raw::{call, extension};
use crate::conformance::rig::Rig;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["C36"],
        "both versions are advertised before one is chosen",
        &[Spapr],
        |host| {
            assert_eq!(VERSIONS.map(|number| extensions(host, number)), [[1; 3]; 2]);
        },
    ),
    both(
        &["C36"],
        "errors are not isolated under a hypervisor",
        &[Pseries],
        |host| {
            assert_eq!(extensions(host, EEH), [0; 3]);
        },
    ),
    both(
        &["C36"],
        "errors are isolated without one",
        &[Powernv],
        |host| {
            assert_eq!(extensions(host, EEH), [1; 3]);
        },
    ),
    both(
        &["C39"],
        "below 16 bytes GET_INFO is EINVAL and writes nothing",
        &[Spapr],
        |host| {
            let rig = host.rig();
            for argsz in [0, 15] {
                let (answer, info) = ask(&rig, argsz);
                assert_eq!(answer, EINVAL);
                assert_eq!(said(info), (argsz, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77));
            }
        },
    ),
    both(
        &["C39"],
        "below 32 bytes GET_INFO is of the default window alone",
        &[Spapr],
        |host| {
            let (start, size) = host.spapr().unwrap().default_window;
            for argsz in [16, 31] {
                let (answer, info) = ask(&host.rig(), argsz);
                assert_eq!(answer, Ok(0));
                let flags = uapi::SPAPR_INFO_DDW;
                assert_eq!(said(info), (argsz, flags, start, size, 0x77, 0x77, 0x77));
            }
        },
    ),
    both(
        &["C39"],
        "from 32 bytes on version 2 says which windows there can be",
        &[Spapr],
        |host| {
            let spapr = host.spapr().unwrap();
            let (start, size) = spapr.default_window;
            let rig = host.rig_of(SPAPR_TCE_V2_IOMMU);
            for argsz in [32, 100] {
                let (answer, info) = ask(&rig, argsz);
                assert_eq!(answer, Ok(0));
                let ddw = (spapr.page_sizes, spapr.windows, spapr.levels);
                assert_eq!(said(info), (argsz, 1, start, size, ddw.0, ddw.1, ddw.2));
            }
        },
    ),
    both(
        &["C39"],
        "to version 1 there are no windows, neither flag nor numbers",
        &[Spapr],
        |host| {
            let (start, size) = host.spapr().unwrap().default_window;
            let (answer, info) = ask(&host.rig_of(SPAPR_TCE_IOMMU), 32);
            assert_eq!(answer, Ok(0));
            assert_eq!(said(info), (32, 0, start, size, 0, 0, 0));
        },
    ),
    both(
        &["C39"],
        "GET_INFO of a bad pointer is EFAULT",
        &[Spapr],
        |host| {
            let answer = plain(&host.rig(), uapi::SPAPR_TCE_GET_INFO);
            assert_eq!(answer, Err(Errno::FAULT));
        },
    ),
    both(
        &["C39", "D55"],
        "GET_INFO names the default window also when it was removed",
        &[Spapr],
        |host| {
            let rig = host.rig();
            let before = said(ask(&rig, 32).1);
            assert_eq!(remove(&rig, 0), Ok(0));
            assert_eq!(said(ask(&rig, 32).1), before);
        },
    ),
    both(
        &["C47"],
        "version 1 does not know REGISTER and UNREGISTER",
        &[Spapr],
        |host| {
            let rig = v1(host);
            let opcodes = [uapi::SPAPR_REGISTER_MEMORY, uapi::SPAPR_UNREGISTER_MEMORY];
            assert_eq!(opcodes.map(|it| plain(&rig, it)), [Err(Errno::NOTTY); 2]);
        },
    ),
    both(
        &["C47"],
        "version 1 does not know CREATE and REMOVE",
        &[Spapr],
        |host| {
            let rig = v1(host);
            let opcodes = [uapi::SPAPR_TCE_CREATE, uapi::SPAPR_TCE_REMOVE];
            assert_eq!(opcodes.map(|it| plain(&rig, it)), [Err(Errno::NOTTY); 2]);
        },
    ),
    both(
        &["C41"],
        "version 2 does not know ENABLE",
        &[Spapr],
        |host| {
            assert_eq!(enable(&host.rig_of(SPAPR_TCE_V2_IOMMU)), Err(Errno::NOTTY));
        },
    ),
    both(
        &["C42"],
        "version 2 does not know DISABLE",
        &[Spapr],
        |host| {
            assert_eq!(disable(&host.rig_of(SPAPR_TCE_V2_IOMMU)), Err(Errno::NOTTY));
        },
    ),
];

/// Of a new container, and of one with either version.
fn extensions(host: &Host, number: u32) -> [u32; 3] {
    let kernel = &**host.kernel();
    let with = |version| extension(kernel, &host.rig_of(version).container, number);
    [
        extension(kernel, &host.container(), number),
        with(SPAPR_TCE_IOMMU),
        with(SPAPR_TCE_V2_IOMMU),
    ]
}

/// GET_INFO with a struct in which nothing is 0.
fn ask(rig: &Rig, argsz: u32) -> (Result<u32>, SpaprTceInfo) {
    let mut info = SpaprTceInfo {
        argsz,
        flags: 0x77,
        dma32_window_start: 0x77,
        dma32_window_size: 0x77,
        ddw: SpaprTceDdwInfo {
            pgsizes: 0x77,
            max_dynamic_windows_supported: 0x77,
            levels: 0x77,
        },
    };
    let opcode = uapi::SPAPR_TCE_GET_INFO;
    (call(rig.kernel(), &rig.container, opcode, &mut info), info)
}

fn said(info: SpaprTceInfo) -> (u32, u32, u32, u32, u64, u32, u32) {
    let ddw = info.ddw;
    let windows = (ddw.pgsizes, ddw.max_dynamic_windows_supported, ddw.levels);
    let SpaprTceInfo {
        argsz,
        flags,
        dma32_window_start: start,
        dma32_window_size: size,
        ..
    } = info;
    (argsz, flags, start, size, windows.0, windows.1, windows.2)
}
