//! Mapped slices in the memory of a VM of KVM's.

use std::sync::{Mutex, MutexGuard, PoisonError};

use vfio_core::kvm::{self, MemorySlot};
use vfio_core::{Error, ErrorKind, Result};

use super::slots::{MappedSlice, MemorySlots};

/// The memory slots of a VM that are for mapped BARs: one for each slice that is somewhere.
#[derive(Debug)]
pub struct KvmSlots {
    slots: kvm::MemorySlots,
    /// What is in them.
    filled: Mutex<Vec<(MappedSlice, MemorySlot)>>,
}

impl KvmSlots {
    /// These slots.
    pub fn of(slots: kvm::MemorySlots) -> Self {
        Self {
            slots,
            filled: Mutex::default(),
        }
    }

    fn filled(&self) -> MutexGuard<'_, Vec<(MappedSlice, MemorySlot)>> {
        self.filled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemorySlots for KvmSlots {
    fn insert(&self, slice: &MappedSlice) -> Result<()> {
        let slot = self.slots.insert(slice.guest.start, &slice.memory, false)?;
        self.filled().push((slice.clone(), slot));
        Ok(())
    }

    fn remove(&self, slice: &MappedSlice) -> Result<()> {
        let mut filled = self.filled();
        let at = filled.iter().position(|(known, _)| known == slice);
        let at = at.ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "remove", "a slice of a BAR")
                .of_device(slice.device)
                .because(format!("there is none at {:#x?}", slice.guest))
        })?;
        if let Some((_, slot)) = filled.get_mut(at) {
            slot.remove()?;
        }
        filled.swap_remove(at);
        Ok(())
    }
}
