//! Resets: of a device alone, and of a bus with everything on it.

use std::os::fd::BorrowedFd;

use crate::error::{Error, ErrorKind, Result};
use crate::host::Bdf;
use crate::kernel::Errno;

use super::{Device, calls};

/// A device that a hot reset takes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HotResetMember {
    /// The device.
    pub bdf: Bdf,
    /// Its group.
    pub group: u32,
}

impl Device {
    /// Resets the device alone. Its interrupts stay set up (F87).
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`]: it has no reset of its own. Otherwise what the kernel answered, `EAGAIN` while
    /// another reset holds the device.
    pub fn reset(&self) -> Result<()> {
        if !self.info()?.can_reset {
            return Err(self
                .error(ErrorKind::Unsupported, "VFIO_DEVICE_RESET")
                .because("the kernel knows no way to reset this device alone"));
        }
        calls::reset(self)
    }

    /// Which devices a hot reset of this one resets, itself among them (F88).
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`]: its bus and slot cannot be reset. Otherwise what the kernel answered.
    pub fn hot_reset_info(&self) -> Result<Vec<HotResetMember>> {
        let members = calls::hot_reset_info(self).map_err(unsupported)?;
        members
            .into_iter()
            .map(|it| {
                let (device, function) = (it.devfn >> 3, it.devfn & 7);
                let bdf =
                    Bdf::new(it.segment.into(), it.bus, device, function).ok_or_else(|| {
                        self.error(ErrorKind::Kernel, "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO")
                    })?;
                Ok(HotResetMember {
                    bdf,
                    group: it.group_id,
                })
            })
            .collect()
    }

    /// Resets the bus or slot that the device is on, with everything on it. The kernel wants proof that all of that
    /// is ours: the groups of this device and of `others`, which are open, must hold every device that
    /// [`hot_reset_info`](Self::hot_reset_info) names.
    ///
    /// # Errors
    /// [`ErrorKind::NotPermitted`]: a device of another group would be reset; the reason names it. Nothing was asked
    /// then. [`ErrorKind::Unsupported`]: there is no such reset here. Otherwise what the kernel answered.
    pub fn hot_reset(&self, others: &[Self]) -> Result<()> {
        const OPERATION: &str = "VFIO_DEVICE_PCI_HOT_RESET";
        let mut groups: Vec<(u32, BorrowedFd<'_>)> = Vec::new();
        for device in std::iter::once(self).chain(others) {
            let Some((id, fd)) = device.group() else {
                return Err(device
                    .error(ErrorKind::Unsupported, OPERATION)
                    .because("it is not open through a group"));
            };
            if groups.iter().all(|(known, _)| *known != id) {
                groups.push((id, fd));
            }
        }
        let members = self.hot_reset_info()?;
        let missing: Vec<_> = members
            .iter()
            .filter(|member| groups.iter().all(|(id, _)| *id != member.group))
            .map(|member| format!("{} of group {}", member.bdf, member.group))
            .collect();
        if !missing.is_empty() {
            return Err(self
                .error(ErrorKind::NotPermitted, OPERATION)
                .because(format!(
                    "it would also reset what is not open here: {}",
                    missing.join(", ")
                )));
        }
        // The kernel takes no more groups than there are devices.
        groups.retain(|(id, _)| members.iter().any(|member| member.group == *id));
        let fds: Vec<_> = groups.into_iter().map(|(_, fd)| fd).collect();
        calls::hot_reset(self, &fds).map_err(unsupported)
    }
}

/// What the kernel answers where no bus and no slot can be reset.
fn unsupported(error: Error) -> Error {
    match error.errno() {
        Some(Errno::NODEV | Errno::NOTTY) => error
            .of_kind(ErrorKind::Unsupported)
            .because("neither the bus nor the slot that it is on can be reset"),
        _ => error,
    }
}
