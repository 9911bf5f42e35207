//! VFIO_DEVICE_IOEVENTFD (F90).

use vfio_core::kernel::{Arg, Errno, Result};
use vfio_core::uapi::{self, DeviceIoEventFd};

use crate::arg;
use crate::eventfd::EventFd;
use crate::iommu::Hazard;
use crate::watch::Watch;
use crate::world::World;

use super::REGION_SHIFT;
use super::access::Transfer;

/// What a caller must give: everything up to the fd.
const LEAST: usize = std::mem::offset_of!(DeviceIoEventFd, reserved);

/// How many a device can have.
const MOST: usize = 1000;

const SIZES: u32 = uapi::DEVICE_IOEVENTFD_8
    | uapi::DEVICE_IOEVENTFD_16
    | uapi::DEVICE_IOEVENTFD_32
    | uapi::DEVICE_IOEVENTFD_64;

/// A write that an eventfd causes.
#[derive(Debug, Clone)]
pub(super) struct IoEventFd {
    place: u64,
    data: u64,
    size: u32,
    /// Ends with this.
    _watch: Watch,
}

impl World {
    pub(super) fn ioeventfd(&mut self, bdf: &str, arg: &Arg<'_>) -> Result<()> {
        let request: DeviceIoEventFd = arg::sized_from(arg, LEAST)?;
        let size = request.flags & SIZES;
        if request.flags != size || size.count_ones() != 1 || request.fd < -1 {
            return Err(Errno::INVAL);
        }
        if request.offset > i64::MAX as u64 {
            self.hazards.push(Hazard::H10);
            return Err(Errno::INVAL);
        }
        let index = u32::try_from(request.offset >> REGION_SHIFT).map_err(|_| Errno::INVAL)?;
        let offset = request.offset & ((1 << REGION_SHIFT) - 1);
        let state = self.state(bdf);
        let bar = state.bar(index).ok_or(Errno::INVAL)?;
        if offset + u64::from(size) > bar.size || state.is_msix_table(index, offset, size as usize)
        {
            return Err(Errno::INVAL);
        }
        if request.flags == uapi::DEVICE_IOEVENTFD_64 && !state.profile.writes_wide_on_events() {
            return Err(Errno::INVAL);
        }
        let is_same =
            |it: &IoEventFd| (it.place, it.data, it.size) == (request.offset, request.data, size);
        let known = state.ioeventfds.iter().position(is_same);
        match (request.fd, known) {
            (-1, Some(known)) => {
                state.ioeventfds.swap_remove(known);
                return Ok(());
            }
            (-1, None) => return Err(Errno::NODEV),
            (_, Some(_)) => return Err(Errno::EXIST),
            (_, None) if state.ioeventfds.len() >= MOST => return Err(Errno::NOSPC),
            (_, None) => {}
        }
        let eventfd = EventFd::of_number(request.fd)?;
        let bdf_there = bdf.to_owned();
        let act = move |world: &mut Self| {
            let bytes = request.data.to_le_bytes();
            let size = size as usize;
            let bytes = Transfer::Write(&bytes[..size]);
            // A device that does not answer now misses the write.
            let _ = world.bar_transfer(&bdf_there, index, offset, bytes, size);
        };
        let watch = Watch::new(self, eventfd, act)?;
        self.state(bdf).ioeventfds.push(IoEventFd {
            place: request.offset,
            data: request.data,
            size,
            _watch: watch,
        });
        Ok(())
    }
}
