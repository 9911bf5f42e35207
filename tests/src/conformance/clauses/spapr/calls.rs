//! What programs ask of sPAPR.

use vfio_core::kernel::{Arg, Errno, Opcode, Result};
use vfio_core::uapi::{
    self, SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU, SpaprRegisterMemory, SpaprTceCreate, SpaprTceRemove,
};

use crate::conformance::host::Host;
use crate::conformance::memory::Memory;
use crate::conformance::raw::{BOTH, call, ioctl, map};
use crate::conformance::rig::Rig;

/// The page of the default window.
pub(super) const TCE: u64 = 0x1000;
/// Where windows above 4 GiB start.
pub(super) const HIGH: u64 = 1 << 59;

/// A container with version 1 that is enabled.
pub(super) fn v1(host: &Host) -> Rig {
    let rig = host.rig_of(SPAPR_TCE_IOMMU);
    assert_eq!(enable(&rig), Ok(0));
    rig
}

/// A container with version 2, and registered memory.
pub(super) fn v2(host: &Host, pages: usize) -> (Rig, Memory) {
    let rig = host.rig_of(SPAPR_TCE_V2_IOMMU);
    let memory = host.memory(pages);
    assert_eq!(register(&rig, memory.at(), memory.len()), Ok(0));
    (rig, memory)
}

/// The same with either version, ready to map.
pub(super) fn ready(host: &Host, iommu: u32, pages: usize) -> (Rig, Memory) {
    match iommu {
        SPAPR_TCE_IOMMU => (v1(host), host.memory(pages)),
        _ => v2(host, pages),
    }
}

pub(super) const VERSIONS: [u32; 2] = [SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU];

pub(super) fn plain(rig: &Rig, opcode: Opcode) -> Result<u32> {
    ioctl(rig.kernel(), &rig.container, opcode, Arg::None)
}

pub(super) fn enable(rig: &Rig) -> Result<u32> {
    plain(rig, uapi::SPAPR_ENABLE)
}

pub(super) fn disable(rig: &Rig) -> Result<u32> {
    plain(rig, uapi::SPAPR_DISABLE)
}

pub(super) fn register(rig: &Rig, at: u64, size: u64) -> Result<u32> {
    block(rig, uapi::SPAPR_REGISTER_MEMORY, good_block(at, size))
}

pub(super) fn unregister(rig: &Rig, at: u64, size: u64) -> Result<u32> {
    block(rig, uapi::SPAPR_UNREGISTER_MEMORY, good_block(at, size))
}

pub(super) fn good_block(vaddr: u64, size: u64) -> SpaprRegisterMemory {
    SpaprRegisterMemory {
        argsz: 24,
        flags: 0,
        vaddr,
        size,
    }
}

pub(super) fn block(rig: &Rig, opcode: Opcode, mut block: SpaprRegisterMemory) -> Result<u32> {
    call(rig.kernel(), &rig.container, opcode, &mut block)
}

/// Where the window starts.
pub(super) fn create(rig: &Rig, page_shift: u32, size: u64, levels: u32) -> Result<u64> {
    create_of(rig, good_window(page_shift, size, levels))
}

pub(super) fn good_window(page_shift: u32, window_size: u64, levels: u32) -> SpaprTceCreate {
    SpaprTceCreate {
        argsz: 40,
        page_shift,
        window_size,
        levels,
        ..SpaprTceCreate::default()
    }
}

/// The same; what fails writes nothing.
pub(super) fn create_of(rig: &Rig, mut create: SpaprTceCreate) -> Result<u64> {
    const NOT_WRITTEN: u64 = 0x77;
    create.start_addr = NOT_WRITTEN;
    let opcode = uapi::SPAPR_TCE_CREATE;
    match call(rig.kernel(), &rig.container, opcode, &mut create) {
        Ok(value) => {
            assert_eq!(value, 0);
            Ok(create.start_addr)
        }
        Err(errno) => {
            assert_eq!(create.start_addr, NOT_WRITTEN);
            Err(errno)
        }
    }
}

pub(super) fn remove(rig: &Rig, start_addr: u64) -> Result<u32> {
    let remove = SpaprTceRemove {
        argsz: 16,
        flags: 0,
        start_addr,
    };
    remove_of(rig, remove)
}

pub(super) fn remove_of(rig: &Rig, mut remove: SpaprTceRemove) -> Result<u32> {
    let opcode = uapi::SPAPR_TCE_REMOVE;
    call(rig.kernel(), &rig.container, opcode, &mut remove)
}

/// Maps IOVA, address, size, to be read and written.
pub(super) fn put(rig: &Rig, iova: u64, vaddr: u64, size: u64) -> Result<u32> {
    map(rig.kernel(), &rig.container, (iova, vaddr, size), BOTH)
}

/// Size of the default window, and of what is accounted for its table.
pub(super) fn default_window(host: &Host) -> (u64, u64) {
    use vfio_sim::machine::Platform;
    let spapr = host.spapr().unwrap();
    let size = u64::from(spapr.default_window.1);
    let entries = size / TCE * 8;
    match spapr.platform {
        Platform::Pseries { .. } => (size, entries),
        Platform::Powernv => (size, 2 * entries),
    }
}

pub(super) const EINVAL: Result<u32> = Err(Errno::INVAL);

/// A machine of the simulation whose IOMMU is another one.
pub(super) fn changed(
    machine: vfio_sim::Machine,
    change: impl Fn(&mut vfio_sim::machine::Spapr),
) -> Host {
    let mut machine = machine;
    for driver in &mut machine.iommus {
        if let vfio_sim::machine::Hardware::Spapr(spapr) = &mut driver.hardware {
            change(spapr);
        }
    }
    Host::simulated(machine)
}
