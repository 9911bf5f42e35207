//! What is known of the kernel's state, from what it answered: so that the next calls can go on from there.

use std::collections::BTreeSet;

use vfio_core::uapi;

use super::Generator;
use crate::differential::call::{Answer, Argument, Call, Name, Place, Slot, Word};

/// What is known of a container.
#[derive(Debug, Default, Clone)]
pub(super) struct Context {
    /// By their order.
    pub(super) groups: BTreeSet<usize>,
    pub(super) iommu: Option<usize>,
    pub(super) mappings: BTreeSet<(u64, u64)>,
    pub(super) registered: Vec<(Place, u64)>,
    pub(super) windows: Vec<u64>,
}

impl Generator {
    /// What is learnt from a call that was answered.
    pub(in crate::differential) fn learn(&mut self, call: &Call, answer: &Answer) {
        let Answer::Done(_, bytes) = answer else {
            return;
        };
        match call {
            Call::OpenContainer(slot) => {
                self.closed(*slot); // what was there
                self.open.insert(*slot);
                self.contexts.insert(*slot, Context::default());
            }
            Call::OpenGroup(slot, n) => {
                self.open.insert(*slot);
                self.groups.insert(*slot, *n);
            }
            Call::OpenDevice { name, to, .. } => {
                self.closed(*to);
                self.open.insert(*to);
                if let Name::Of(n) = name {
                    self.devices.insert(*to, *n);
                }
            }
            Call::NewSignal(slot) => {
                self.open.insert(*slot);
            }
            Call::Close(slot) => self.closed(*slot),
            Call::Ioctl {
                on,
                number,
                argument,
            } => self.learn_ioctl(*on, *number, argument, bytes),
            _ => {}
        }
    }

    fn closed(&mut self, slot: Slot) {
        self.open.remove(&slot);
        let group = self.groups.remove(&slot);
        let device = self.devices.remove(&slot);
        let of_device = device.and_then(|n| self.places.groups_of.get(n)).copied();
        if let Some(group) = group.or(of_device) {
            // A device that is open keeps its group.
            let kept =
                self.device_of(group).is_some() || self.groups.values().any(|open| *open == group);
            if !kept {
                self.left(group);
            }
        }
        if let Some(context) = self.contexts.remove(&slot) {
            self.lost.extend(context.groups); // in a container that nobody can name any more
        }
    }

    fn left(&mut self, group: usize) {
        self.lost.remove(&group);
        for context in self.contexts.values_mut() {
            context.leave(group);
        }
    }

    fn learn_ioctl(&mut self, on: Slot, number: u8, argument: &Argument, after: &[u8]) {
        if let (4, Argument::Struct(words)) = (number, argument) {
            if let ([Word::Fd(container)], Some(group)) = (words.as_slice(), self.groups.get(&on)) {
                if let Some(context) = self.contexts.get_mut(container) {
                    context.groups.insert(*group);
                }
            }
            return;
        }
        if number == 5 {
            if let Some(group) = self.groups.get(&on) {
                self.left(*group);
            }
            return;
        }
        let Some(context) = self.contexts.get_mut(&on) else {
            return;
        };
        match (number, argument) {
            (2, Argument::Value(iommu)) => context.iommu = Some(*iommu),
            (13, Argument::Struct(words)) => {
                if let [_, Word::U32(flags), _, Word::U64(iova), Word::U64(size)] = words.as_slice()
                {
                    if flags & uapi::DMA_MAP_FLAG_VADDR == 0 {
                        context.mappings.insert((*iova, *size));
                    }
                }
            }
            (14, Argument::Struct(words)) => {
                if let [_, Word::U32(flags), Word::U64(iova), Word::U64(size)] = words.as_slice() {
                    let end = iova.saturating_add(*size);
                    match *flags {
                        uapi::DMA_UNMAP_FLAG_ALL => context.mappings.clear(),
                        0 => context.mappings.retain(|(at, _)| *at < *iova || *at >= end),
                        _ => {}
                    }
                }
            }
            (17, Argument::Struct(words)) => {
                if let [_, _, Word::At(place), Word::U64(size)] = words.as_slice() {
                    context.registered.push((*place, *size));
                }
            }
            (18, Argument::Struct(words)) => {
                if let [_, _, Word::At(place), Word::U64(size)] = words.as_slice() {
                    context.registered.retain(|it| it != &(*place, *size));
                }
            }
            (19, Argument::Struct(_)) => {
                if let Some(start) = after.last_chunk() {
                    context.windows.push(u64::from_ne_bytes(*start));
                }
            }
            _ => {}
        }
    }
}

impl Context {
    fn leave(&mut self, group: usize) {
        if self.groups.remove(&group) && self.groups.is_empty() {
            *self = Self::default();
        }
    }
}
