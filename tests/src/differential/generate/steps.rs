//! Calls on the way into a container and out of it.

use super::{CONTAINERS, Generator};
use crate::differential::call::{Call, Name, Slot, Word};

impl Generator {
    /// What comes next on the way to a device that is open.
    pub(super) fn missing_step(&mut self) -> Option<Call> {
        let now = self.one_in(16);
        if self.contexts.is_empty() {
            return Some(Call::OpenContainer(Slot::Container(0)));
        }
        let slot_of = |this: &Self, group: usize| {
            let mut open = this.groups.iter();
            open.find(|(_, n)| **n == group).map(|(slot, _)| *slot)
        };
        let ready = self.contexts.values().find(|it| it.iommu.is_some());
        if let Some(context) = ready {
            let missing = self.devices.is_empty() && now;
            let group = context
                .groups
                .iter()
                .copied()
                .find(|n| slot_of(self, *n).is_some())?;
            let n = self.places.groups_of.iter().position(|g| *g == group)?;
            return missing.then_some(Call::OpenDevice {
                group: slot_of(self, group)?,
                name: Name::Of(n),
                to: device_slot(n),
            });
        }
        let joined = self.contexts.iter().find(|(_, it)| !it.groups.is_empty());
        if let Some((container, _)) = joined {
            let kinds: &[usize] = match self.places.spapr {
                true => &[7, 7, 2],
                false => &[3, 3, 3, 1, 1, 6],
            };
            let kind = kinds[self.random.usize(..kinds.len())];
            return Some(Call::value(*container, 2, kind));
        }
        if let Some(lost) = self.lost.first() {
            let holder = self.device_of(*lost).or(slot_of(self, *lost))?;
            return Some(Call::Close(holder));
        }
        if self.groups.is_empty() {
            let n = self.random.usize(..self.places.groups());
            return Some(Call::OpenGroup(group_slot(n), n));
        }
        let group = self.group();
        let container = self.container();
        Some(Call::with(group, 4, vec![Word::Fd(container)]))
    }

    /// A step on the way out of a container.
    pub(super) fn leave(&mut self) -> Call {
        let joined: Vec<_> = self
            .contexts
            .values()
            .flat_map(|it| it.groups.clone())
            .collect();
        let Some(group) = self.random.choice(joined) else {
            return self.group_call();
        };
        match self.device_of(group) {
            Some(device) => Call::Close(device),
            None => Call::plain(group_slot(group), 5),
        }
    }

    pub(super) fn open_something(&mut self) -> Call {
        match self.random.u32(..4) {
            0 => {
                let free = (0..CONTAINERS).map(Slot::Container);
                let free = free.into_iter().find(|slot| !self.open.contains(slot));
                Call::OpenContainer(free.unwrap_or(Slot::Container(0)))
            }
            1 | 2 => {
                let n = self.random.usize(..self.places.groups());
                Call::OpenGroup(group_slot(n), n)
            }
            _ => Call::NewSignal(self.signal()),
        }
    }

    pub(super) fn close_something(&mut self) -> Call {
        let slots: Vec<_> = self.open.iter().copied().collect();
        Call::Close(self.random.choice(slots).unwrap_or(Slot::Container(0)))
    }

    pub(super) fn group_call(&mut self) -> Call {
        let on = self.group();
        match self.random.u32(..8) {
            0 => {
                let argsz = self.argsz(8);
                Call::with(on, 3, vec![Word::U32(argsz), Word::U32(0)])
            }
            1..=2 => {
                let container = match self.random.u32(..12) {
                    0 => Word::OtherFd,
                    1 => Word::Fd(on),
                    2 => Word::U32(1 << 20),
                    _ => Word::Fd(self.container()),
                };
                Call::with(on, 4, vec![container])
            }
            3..=5 => Call::plain(on, 5),
            _ => {
                let group = self.groups.get(&on).copied().unwrap_or(0);
                let own: Vec<_> = (0..self.places.groups_of.len())
                    .filter(|n| self.places.groups_of[*n] == group)
                    .collect();
                let own = self.random.choice(own).unwrap_or(0);
                let n = match self.one_in(8) {
                    true => self.random.usize(..self.places.groups_of.len()),
                    false => own,
                };
                let name = match self.random.u32(..10) {
                    0 => Name::Text("0000:ff:1f.7".into()),
                    _ => Name::Of(n),
                };
                Call::OpenDevice {
                    group: on,
                    name,
                    to: device_slot(n),
                }
            }
        }
    }

    pub(super) fn container_call(&mut self) -> Call {
        let on = self.container();
        match self.random.u32(..10) {
            0 if self.random.bool() => Call::plain(on, 0),
            0 => Call::value(on, 1, self.random.usize(..12)),
            1..=6 => {
                let kinds = match self.places.spapr {
                    true => [2, 7, 7, 7, 1, 6, 99],
                    false => [1, 3, 3, 3, 6, 7, 99],
                };
                let kind = kinds[self.random.usize(..kinds.len())];
                Call::value(on, 2, kind)
            }
            7 => Call::plain(on, self.random.u8(3..12)),
            _ if self.places.spapr => self.spapr_info(on),
            _ => self.type1_info(on),
        }
    }
}

/// Where the n-th group is opened.
fn group_slot(n: usize) -> Slot {
    Slot::Group(u8::try_from(n).unwrap_or(u8::MAX))
}

/// Where the n-th device is opened.
fn device_slot(n: usize) -> Slot {
    Slot::Device(u8::try_from(n).unwrap_or(u8::MAX))
}
