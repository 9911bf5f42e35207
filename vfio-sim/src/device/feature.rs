//! VFIO_DEVICE_FEATURE (F89).

use vfio_core::kernel::{Arg, Errno, Result};
use vfio_core::uapi::{self, DeviceFeature};
use zerocopy::FromBytes;

use crate::arg;
use crate::eventfd::EventFd;

use super::State;

const GET: u32 = uapi::DEVICE_FEATURE_GET;
const SET: u32 = uapi::DEVICE_FEATURE_SET;
const PROBE: u32 = uapi::DEVICE_FEATURE_PROBE;

/// Of migration, which no device here can do; the kernel says that of this feature in a way of its own.
const MIG_PRECOPY_INFO_V2: u32 = 12;

/// An eventfd's number and four reserved bytes.
const WAKEUP_SIZE: usize = 8;

impl State {
    pub(super) fn feature(&mut self, arg: &Arg<'_>) -> Result<()> {
        let feature: DeviceFeature = arg::sized(arg)?;
        let flags = feature.flags;
        let unknown = flags & !(uapi::DEVICE_FEATURE_MASK | GET | SET | PROBE) != 0;
        if unknown || flags & PROBE == 0 && flags & GET != 0 && flags & SET != 0 {
            return Err(Errno::INVAL);
        }
        let size = match flags & uapi::DEVICE_FEATURE_MASK {
            uapi::DEVICE_FEATURE_PCI_VF_TOKEN if self.is_physical_function() => self.vf_token.len(),
            uapi::DEVICE_FEATURE_LOW_POWER_ENTRY | uapi::DEVICE_FEATURE_LOW_POWER_EXIT => 0,
            uapi::DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP => WAKEUP_SIZE,
            MIG_PRECOPY_INFO_V2 if self.profile.knows_precopy_info() => return Err(Errno::INVAL),
            _ => return Err(Errno::NOTTY),
        };
        if flags & GET != 0 {
            return Err(Errno::INVAL); // each of them can only be set
        }
        if flags & PROBE != 0 {
            return Ok(());
        }
        let head = size_of::<DeviceFeature>();
        if flags & SET == 0 || (feature.argsz as usize) < head + size {
            return Err(Errno::INVAL);
        }
        match flags & uapi::DEVICE_FEATURE_MASK {
            uapi::DEVICE_FEATURE_PCI_VF_TOKEN => {
                let data = arg::bytes(arg)?
                    .get(head..head + size)
                    .ok_or(Errno::FAULT)?;
                self.vf_token.copy_from_slice(data);
            }
            uapi::DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP => {
                let data = arg::bytes(arg)?.get(head..head + size);
                let [fd, _reserved] = <[i32; 2]>::read_from_bytes(data.ok_or(Errno::FAULT)?)
                    .map_err(|_| Errno::FAULT)?;
                if fd < 0 {
                    return Err(Errno::INVAL);
                }
                let wakeup = EventFd::of_number(fd)?;
                if self.is_asleep {
                    return Err(Errno::INVAL);
                }
                self.is_asleep = true;
                self.wakeup = Some(wakeup);
            }
            uapi::DEVICE_FEATURE_LOW_POWER_ENTRY if self.is_asleep => return Err(Errno::INVAL),
            uapi::DEVICE_FEATURE_LOW_POWER_ENTRY => self.is_asleep = true,
            _ => self.is_asleep = false,
        }
        Ok(())
    }
}
