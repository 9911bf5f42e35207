//! A kernel that does nothing, for both: `open64` and `ioctl` take the place of libc's.

use std::ffi::{c_char, c_int, c_ulong, c_void};

use vfio_core::uapi;

/// The answer to `VFIO_IOMMU_GET_INFO`: 4 KiB pages, every address below 2^48, but for the MSI window of x86.
mod info {
    use vfio_core::uapi::{
        self, InfoCapHeader, IommuType1CapIovaRange, IommuType1Info, IovaRangeEntry,
    };

    #[repr(C)]
    pub(super) struct Answer {
        info: IommuType1Info,
        ranges: IommuType1CapIovaRange,
        entries: [IovaRangeEntry; 2],
    }

    pub(super) const SIZE: u32 = size_of::<Answer>() as u32;

    pub(super) fn answer() -> Answer {
        let range = |start, end| IovaRangeEntry { start, end };
        Answer {
            info: IommuType1Info {
                argsz: SIZE,
                flags: uapi::IOMMU_INFO_PGSIZES | uapi::IOMMU_INFO_CAPS,
                iova_pgsizes: 0x1000,
                cap_offset: size_of::<IommuType1Info>() as u32,
                pad: 0,
            },
            ranges: IommuType1CapIovaRange {
                header: InfoCapHeader {
                    id: uapi::IOMMU_TYPE1_INFO_CAP_IOVA_RANGE,
                    version: 1,
                    next: 0,
                },
                nr_iovas: 2,
                reserved: 0,
            },
            entries: [range(0, 0xfedf_ffff), range(0xfef0_0000, 0xffff_ffff_ffff)],
        }
    }
}

/// The answer of sPAPR to the call of that number: a default window of 2 GiB, and another one that could be made.
fn power() -> uapi::SpaprTceInfo {
    uapi::SpaprTceInfo {
        argsz: size_of::<uapi::SpaprTceInfo>() as u32,
        flags: uapi::SPAPR_INFO_DDW,
        dma32_window_start: 0,
        dma32_window_size: 1 << 31,
        ddw: uapi::SpaprTceDdwInfo {
            pgsizes: 0x1_1000,
            max_dynamic_windows_supported: 2,
            levels: 1,
        },
    }
}

/// The size of the only BAR, in bytes; it cannot be mapped.
pub const BAR_SIZE: u64 = 0x1000;

/// Nothing that is opened here is more than a place for an fd.
///
/// # Safety
/// That of `open(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    // SAFETY: our caller's promise: a string with its end.
    let asked = unsafe { std::ffi::CStr::from_ptr(path) };
    let path = if asked.to_bytes().starts_with(b"/dev/vfio/") {
        c"/dev/null".as_ptr()
    } else {
        path
    };
    // SAFETY: passed on to our caller.
    let fd = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) };
    c_int::try_from(fd).unwrap_or(-1)
}

/// What VFIO would answer if all went well, as far as opening a device needs it, and nothing is done.
///
/// # Safety
/// That of `ioctl(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn ioctl(_fd: c_int, request: c_ulong, arg: *mut c_void) -> c_int {
    let is = |opcode| request == c_ulong::from(opcode);
    if is(uapi::IOMMU_MAP_DMA) || is(uapi::IOMMU_UNMAP_DMA) {
        return 0;
    }
    if is(uapi::CHECK_EXTENSION) {
        return 1;
    }
    if is(uapi::GROUP_GET_STATUS) && arg.is_null() {
        // Asked of a container, which has no IOMMU any more.
        // SAFETY: the place of this thread's errno.
        unsafe { *libc::__errno_location() = libc::EINVAL };
        return -1;
    }
    if is(uapi::GROUP_GET_STATUS) {
        // SAFETY: the argument of this call is such a struct.
        unsafe { (*arg.cast::<uapi::GroupStatus>()).flags = uapi::GROUP_FLAGS_VIABLE };
    } else if is(uapi::GROUP_GET_DEVICE_FD) {
        // SAFETY: no argument is used.
        return unsafe { open64(c"/dev/null".as_ptr(), libc::O_RDWR, 0) };
    } else if is(uapi::DEVICE_GET_REGION_INFO) {
        // SAFETY: the argument of this call is such a struct.
        let info = unsafe { &mut *arg.cast::<uapi::RegionInfo>() };
        info.size = match info.index {
            0 => BAR_SIZE,
            uapi::PCI_CONFIG_REGION_INDEX => 256,
            _ => 0,
        };
        info.flags = uapi::REGION_FLAG_READ | uapi::REGION_FLAG_WRITE;
        info.offset = u64::from(info.index) << 40;
    } else if is(uapi::IOMMU_GET_INFO) {
        // SAFETY: the argument of this call begins with its size, and is as large as that.
        unsafe {
            if *arg.cast::<u32>() >= info::SIZE {
                arg.cast::<info::Answer>().write(info::answer());
            } else if *arg.cast::<u32>() == size_of::<uapi::SpaprTceInfo>() as u32 {
                arg.cast::<uapi::SpaprTceInfo>().write(power());
            }
        }
    }
    0
}
