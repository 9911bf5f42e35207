//! Random calls, of which many make sense.

use std::collections::{BTreeMap, BTreeSet};

use vfio_core::host::PciDevice;
use vfio_core::kernel::Protection;
use vfio_core::uapi;
use vfio_sim::Machine;
use vfio_sim::machine::{Hardware, IommuDriver};

use super::call::{Answer, Argument, Call, Name, Place, Slot, Word};
use super::dma;
use super::memory::{PAGES, SORTS};

/// What calls can be about.
#[derive(Debug, Clone)]
pub(super) struct Places {
    page: u64,
    /// The group of each device, by its order among the groups.
    groups_of: Vec<usize>,
    /// Which of them can be told to do DMA.
    engines: Vec<bool>,
    /// Addresses where something begins or ends for the IOMMU.
    borders: Vec<u64>,
    spapr: bool,
}

impl Places {
    pub(super) fn of(machine: &Machine, devices: &[PciDevice]) -> Self {
        let groups = super::groups(devices);
        let index = |device: &PciDevice| groups.iter().position(|id| Some(*id) == device.group);
        let mut borders: Vec<u64> = vec![0];
        let mut spapr = false;
        for IommuDriver { hardware, .. } in &machine.iommus {
            match hardware {
                Hardware::Type1(type1) => {
                    for (start, last) in &type1.ranges {
                        borders.extend([*start, last.wrapping_add(1)]);
                    }
                }
                Hardware::Spapr(it) => {
                    spapr = true;
                    borders.extend([
                        it.default_window.0.into(),
                        u64::from(it.default_window.0) + u64::from(it.default_window.1),
                        it.high_start,
                    ]);
                }
                Hardware::None => {}
            }
        }
        Self {
            page: machine.page_size as u64,
            groups_of: devices.iter().map(|it| index(it).unwrap_or(0)).collect(),
            engines: devices.iter().map(dma::is_engine).collect(),
            borders,
            spapr,
        }
    }

    fn groups(&self) -> usize {
        self.groups_of.iter().max().map_or(0, |last| last + 1)
    }
}

/// What is known of a container.
#[derive(Debug, Default, Clone)]
struct Context {
    /// By their order.
    groups: BTreeSet<usize>,
    iommu: Option<usize>,
    mappings: BTreeSet<(u64, u64)>,
    registered: Vec<(Place, u64)>,
    windows: Vec<u64>,
}

/// Makes calls one after the other, and is told what came of them.
pub(super) struct Generator {
    random: fastrand::Rng,
    places: Places,
    open: BTreeSet<Slot>,
    /// Which group is open where.
    groups: BTreeMap<Slot, usize>,
    /// Which device is open where.
    devices: BTreeMap<Slot, usize>,
    contexts: BTreeMap<Slot, Context>,
    /// The groups that are in a container whose fd was closed.
    lost: BTreeSet<usize>,
}

const CONTAINERS: u8 = 2;
const SIGNALS: u8 = 3;
/// An eventfd that the kernel waits for. When it takes what was counted is no matter of the interface: nobody else
/// looks.
const WAITED_FOR: Slot = Slot::Signal(SIGNALS);

impl Generator {
    pub(super) fn new(seed: u64, places: &Places) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            places: places.clone(),
            open: BTreeSet::new(),
            groups: BTreeMap::new(),
            devices: BTreeMap::new(),
            contexts: BTreeMap::new(),
            lost: BTreeSet::new(),
        }
    }

    /// How many bytes the process may lock: mostly as many as it likes.
    pub(super) fn memlock(&mut self) -> Option<u64> {
        let pages = self.random.choice([0, 1, 4, 12, 40]).unwrap_or(0);
        self.one_in(8).then_some(pages * self.places.page)
    }

    /// What is learnt from a call that was answered.
    pub(super) fn learn(&mut self, call: &Call, answer: &Answer) {
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
            let mut devices = self.devices.values();
            let kept = devices.any(|n| self.places.groups_of.get(*n) == Some(&group))
                || self.groups.values().any(|open| *open == group);
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

    /// The next call.
    pub(super) fn next(&mut self) -> Call {
        if let Some(step) = self.missing_step() {
            if !self.one_in(4) {
                return step;
            }
        }
        // Weights in percent, about.
        match self.random.u32(..100) {
            0..2 => self.open_something(),
            2 => self.close_something(),
            3..8 => self.leave(),
            8..13 => self.group_call(),
            13..20 => self.container_call(),
            20..71 => self.mapping_call(),
            71..92 => self.device_call(),
            92..97 => self.access(),
            _ => self.signal_call(),
        }
    }

    /// What comes next on the way to a device that is open.
    fn missing_step(&mut self) -> Option<Call> {
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
            let kinds: [usize; 3] = match self.places.spapr {
                true => [7, 7, 2],
                false => [3, 3, 1],
            };
            return Some(Call::Ioctl {
                on: *container,
                number: 2,
                argument: Argument::Value(kinds[self.random.usize(..3)]),
            });
        }
        if let Some(lost) = self.lost.first() {
            let kept = self
                .devices
                .iter()
                .find(|(_, n)| self.places.groups_of[**n] == *lost);
            let holder = kept.map(|(slot, _)| *slot).or(slot_of(self, *lost))?;
            return Some(Call::Close(holder));
        }
        if self.groups.is_empty() {
            let n = self.random.usize(..self.places.groups());
            return Some(Call::OpenGroup(group_slot(n), n));
        }
        let group = self.group();
        let container = self.container();
        Some(Call::Ioctl {
            on: group,
            number: 4,
            argument: Argument::Struct(vec![Word::Fd(container)]),
        })
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.random.u32(..n) == 0
    }

    fn any_open(&mut self, is: fn(&Slot) -> bool) -> Option<Slot> {
        let slots: Vec<_> = self.open.iter().copied().filter(is).collect();
        self.random.choice(slots)
    }

    fn container(&mut self) -> Slot {
        let open = self.any_open(|slot| matches!(slot, Slot::Container(_)));
        open.unwrap_or(Slot::Container(0))
    }

    /// A container that has an IOMMU, if there is one.
    fn context(&mut self) -> Slot {
        let with: Vec<_> = self
            .contexts
            .iter()
            .filter(|(_, context)| context.iommu.is_some())
            .map(|(slot, _)| *slot)
            .collect();
        match self.random.choice(with) {
            Some(slot) => slot,
            None => self.container(),
        }
    }

    fn group(&mut self) -> Slot {
        let open = self.any_open(|slot| matches!(slot, Slot::Group(_)));
        open.unwrap_or(Slot::Group(0))
    }

    fn device(&mut self) -> Slot {
        let open = self.any_open(|slot| matches!(slot, Slot::Device(_)));
        open.unwrap_or(Slot::Device(0))
    }

    fn signal(&mut self) -> Slot {
        Slot::Signal(self.random.u8(..SIGNALS))
    }

    /// A step on the way out of a container.
    fn leave(&mut self) -> Call {
        let joined: Vec<_> = self
            .contexts
            .values()
            .flat_map(|it| it.groups.clone())
            .collect();
        let Some(group) = self.random.choice(joined) else {
            return self.group_call();
        };
        let mut devices = self.devices.iter();
        let device = devices.find(|(_, n)| self.places.groups_of.get(**n) == Some(&group));
        match device {
            Some((slot, _)) => Call::Close(*slot),
            None => Call::Ioctl {
                on: group_slot(group),
                number: 5,
                argument: Argument::None,
            },
        }
    }

    fn open_something(&mut self) -> Call {
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

    fn close_something(&mut self) -> Call {
        let slots: Vec<_> = self.open.iter().copied().collect();
        Call::Close(self.random.choice(slots).unwrap_or(Slot::Container(0)))
    }

    fn group_call(&mut self) -> Call {
        let on = self.group();
        let ioctl = |number, argument| Call::Ioctl {
            on,
            number,
            argument,
        };
        match self.random.u32(..8) {
            0 => {
                let argsz = self.argsz(8);
                ioctl(3, Argument::Struct(vec![Word::U32(argsz), Word::U32(0)]))
            }
            1..=2 => {
                let container = match self.random.u32(..12) {
                    0 => Word::OtherFd,
                    1 => Word::Fd(on),
                    2 => Word::U32(1 << 20),
                    _ => Word::Fd(self.container()),
                };
                ioctl(4, Argument::Struct(vec![container]))
            }
            3..=5 => ioctl(5, Argument::None),
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

    fn container_call(&mut self) -> Call {
        let on = self.container();
        let ioctl = |number, argument| Call::Ioctl {
            on,
            number,
            argument,
        };
        match self.random.u32(..10) {
            0 => ioctl(0, Argument::None),
            1 => ioctl(1, Argument::Value(self.random.usize(..12))),
            2..=6 => {
                let kinds = match self.places.spapr {
                    true => [2, 7, 7, 7, 1, 99],
                    false => [1, 3, 3, 3, 7, 99],
                };
                let kind = kinds[self.random.usize(..kinds.len())];
                ioctl(2, Argument::Value(kind))
            }
            7 => ioctl(self.random.u8(3..12), Argument::None),
            _ if self.places.spapr => self.spapr_info(on),
            _ => self.type1_info(on),
        }
    }

    fn type1_info(&mut self, on: Slot) -> Call {
        let room = self.random.choice([0, 16, 24, 64, 96, 160]).unwrap_or(0);
        let argsz = self.argsz(24.max(room));
        let mut words = vec![Word::U32(argsz), Word::U32(self.random.u32(..2))];
        words.push(Word::U64(0));
        words.push(Word::U64(0));
        words.push(Word::Bytes(vec![0x5a; (argsz as usize).saturating_sub(24)]));
        Call::Ioctl {
            on,
            number: 12,
            argument: Argument::Struct(words),
        }
    }

    fn spapr_info(&mut self, on: Slot) -> Call {
        let argsz = self.argsz(32);
        let words = vec![Word::U32(argsz), Word::Bytes(vec![0x5a; 28])];
        Call::Ioctl {
            on,
            number: 12,
            argument: Argument::Struct(words),
        }
    }

    /// What a struct says that its size is: mostly what it is.
    fn argsz(&mut self, right: u32) -> u32 {
        match self.random.u32(..50) {
            0 => right - 1,
            1 => 0,
            2 => right + 8,
            _ => right,
        }
    }

    fn pages(&mut self) -> u64 {
        self.random.choice([1, 1, 1, 2, 2, 3, 4, 8]).unwrap_or(1) * self.places.page
    }

    /// An address for the device.
    fn iova(&mut self) -> u64 {
        let page = self.places.page;
        match self.random.u32(..24) {
            0 | 1 => {
                let n = self.random.usize(..self.places.borders.len());
                let pages = self.random.u64(..6);
                self.places.borders[n]
                    .wrapping_sub(3 * page)
                    .wrapping_add(pages * page)
            }
            2 => self
                .random
                .choice([u64::MAX - page + 1, u64::MAX, 1 << 52])
                .unwrap_or(0),
            _ => (0x100 + self.random.u64(..64)) * page,
        }
    }

    fn place(&mut self) -> Place {
        let memory = match self.random.u32(..4) {
            0 => self.random.usize(..SORTS.len()),
            1 => 1,
            _ => 0,
        };
        let offset = self.random.u64(..PAGES - 8) * self.places.page;
        Place { memory, offset }
    }

    /// Has a device write where something is mapped, or was, or nearly.
    fn dma(&mut self) -> Option<Call> {
        let engines = self
            .devices
            .iter()
            .filter(|(_, n)| self.places.engines[**n]);
        let engines: Vec<_> = engines.map(|(slot, n)| (*slot, *n)).collect();
        let (device, n) = self.random.choice(engines)?;
        let group = self.places.groups_of.get(n)?;
        let context = self
            .contexts
            .values()
            .find(|it| it.groups.contains(group))?;
        let near: Vec<_> = context.mappings.iter().copied().collect();
        let iova = match (self.random.choice(near), self.random.u32(..6)) {
            (Some((iova, size)), 0) => iova.wrapping_add(size),
            (Some((iova, _)), _) => iova,
            (None, _) => self.iova(),
        };
        Some(Call::Dma { device, iova })
    }

    fn mapping_call(&mut self) -> Call {
        if self.one_in(12) {
            if let Some(call) = self.dma() {
                return call;
            }
        }
        if self.places.spapr {
            return self.spapr_call();
        }
        let on = self.context();
        let has_iommu = self.contexts.get(&on).is_some_and(|it| it.iommu.is_some());
        if !has_iommu && !self.one_in(8) {
            if let Some(step) = self.missing_step() {
                return step;
            }
        }
        let known: Vec<_> = self
            .contexts
            .get(&on)
            .map(|context| context.mappings.iter().copied().collect())
            .unwrap_or_default();
        let known = self.random.choice(known);
        let Some(known) = known else {
            return self.map(on);
        };
        match self.random.u32(..20) {
            0..6 => self.map(on),
            6..14 => self.unmap(on, known),
            14 => self.unmap_all(on),
            15 | 16 => self.update(on, 14, uapi::DMA_UNMAP_FLAG_VADDR, known),
            _ => self.update(on, 13, uapi::DMA_MAP_FLAG_VADDR, known),
        }
    }

    /// Forgets the address of a mapping, or gives it one.
    fn update(&mut self, on: Slot, number: u8, flags: u32, (iova, size): (u64, u64)) -> Call {
        let mut words = vec![Word::U32(24), Word::U32(flags)];
        if number == 13 {
            words[0] = Word::U32(32);
            words.push(Word::At(self.place()));
        }
        words.extend([Word::U64(iova), Word::U64(size)]);
        self.struct_call(on, number, words)
    }

    fn unmap_all(&mut self, on: Slot) -> Call {
        let (iova, size) = self
            .random
            .choice([(0, 0), (0, 0), (0, 4096)])
            .unwrap_or((0, 0));
        let words = vec![
            Word::U32(24),
            Word::U32(uapi::DMA_UNMAP_FLAG_ALL),
            Word::U64(iova),
            Word::U64(size),
        ];
        self.struct_call(on, 14, words)
    }

    fn struct_call(&mut self, on: Slot, number: u8, words: Vec<Word>) -> Call {
        Call::Ioctl {
            on,
            number,
            argument: Argument::Struct(words),
        }
    }

    fn map(&mut self, on: Slot) -> Call {
        let flags = match self.random.u32(..16) {
            0 => self.random.choice([0, 8 | 3]).unwrap_or(0),
            1..=3 => uapi::DMA_MAP_FLAG_READ,
            4 => uapi::DMA_MAP_FLAG_WRITE,
            _ => 3,
        };
        let argsz = self.argsz(32);
        let mut place = self.place();
        let mut size = self.pages();
        let mut iova = self.iova();
        match self.random.u32(..60) {
            0 => place.offset += 1,
            1 => size += 512,
            2 => iova = iova.wrapping_add(8),
            3 => size = 0,
            4 => size = 1 << 40,
            _ => {}
        }
        self.struct_call(
            on,
            13,
            vec![
                Word::U32(argsz),
                Word::U32(flags),
                Word::At(place),
                Word::U64(iova),
                Word::U64(size),
            ],
        )
    }

    fn unmap(&mut self, on: Slot, (mut iova, mut size): (u64, u64)) -> Call {
        let page = self.places.page;
        match self.random.u32(..30) {
            0 => iova = iova.wrapping_add(page),
            1 => size = size.wrapping_sub(page),
            2 => (iova, size) = (iova.wrapping_sub(page), size + 2 * page),
            3 => size += 4 * page,
            4 => (iova, size) = (self.iova(), self.pages()),
            5 => size += 1,
            6 => size = u64::MAX - page + 1,
            _ => {} // mostly whole
        }
        let argsz = self.argsz(24);
        let flags = self.random.choice([0, 0, 0, 0, 0, 0, 8]).unwrap_or(0);
        self.struct_call(
            on,
            14,
            vec![
                Word::U32(argsz),
                Word::U32(flags),
                Word::U64(iova),
                Word::U64(size),
            ],
        )
    }

    fn spapr_call(&mut self) -> Call {
        let on = self.context();
        let context = self.contexts.get(&on).cloned().unwrap_or_default();
        let registered = self.random.choice(context.registered.clone());
        let known = self
            .random
            .choice(context.mappings.iter().copied().collect::<Vec<_>>());
        let version_1 = context.iommu == Some(2);
        match self.random.u32(..20) {
            0 => self.plain(on, 15),
            1 => self.plain(on, 16),
            2..=4 if version_1 => self.plain(on, 15),
            2..=4 => {
                let (place, size) = (self.place(), self.pages());
                self.register(on, 17, place, size)
            }
            6 | 7 => {
                let (place, size) = registered.unwrap_or((self.place(), self.pages()));
                self.register(on, 18, place, size)
            }
            8 => {
                let shift = self.random.choice([12, 16, 21, 24, 30, 13]).unwrap_or(16);
                let size = 1u64 << self.random.u32(24..34);
                let levels = self.random.u32(..3);
                let argsz = self.argsz(40);
                self.struct_call(
                    on,
                    19,
                    vec![
                        Word::U32(argsz),
                        Word::U32(0),
                        Word::U32(shift),
                        Word::U32(0),
                        Word::U64(size),
                        Word::U32(levels),
                        Word::U32(0),
                        Word::U64(0x5a),
                    ],
                )
            }
            9 => {
                let start = self.random.choice(context.windows).unwrap_or(0);
                let argsz = self.argsz(16);
                self.struct_call(
                    on,
                    20,
                    vec![Word::U32(argsz), Word::U32(0), Word::U64(start)],
                )
            }
            5 | 10..=14 => {
                let (place, size) = match (registered, self.one_in(8)) {
                    (Some(registered), false) => registered,
                    _ => (self.place(), self.pages()),
                };
                let iova = self.iova();
                let flags = self.random.choice([3, 3, 3, 1, 2, 0]).unwrap_or(3);
                let argsz = self.argsz(32);
                self.struct_call(
                    on,
                    13,
                    vec![
                        Word::U32(argsz),
                        Word::U32(flags),
                        Word::At(place),
                        Word::U64(iova),
                        Word::U64(size),
                    ],
                )
            }
            _ => {
                let (iova, size) = known.unwrap_or((self.iova(), self.pages()));
                let argsz = self.argsz(24);
                self.struct_call(
                    on,
                    14,
                    vec![
                        Word::U32(argsz),
                        Word::U32(0),
                        Word::U64(iova),
                        Word::U64(size),
                    ],
                )
            }
        }
    }

    fn plain(&mut self, on: Slot, number: u8) -> Call {
        Call::Ioctl {
            on,
            number,
            argument: Argument::None,
        }
    }

    fn register(&mut self, on: Slot, number: u8, place: Place, size: u64) -> Call {
        let argsz = self.argsz(24);
        let flags = u32::from(self.one_in(16));
        self.struct_call(
            on,
            number,
            vec![
                Word::U32(argsz),
                Word::U32(flags),
                Word::At(place),
                Word::U64(size),
            ],
        )
    }

    fn device_call(&mut self) -> Call {
        let on = self.device();
        match self.random.u32(..20) {
            0 => {
                let argsz = self.argsz(20);
                self.struct_call(on, 7, vec![Word::U32(argsz), Word::Bytes(vec![0x5a; 20])])
            }
            1 | 2 => {
                let index = self.random.u32(..10);
                let argsz = self.argsz(32);
                self.struct_call(
                    on,
                    8,
                    vec![
                        Word::U32(argsz),
                        Word::U32(0),
                        Word::U32(index),
                        Word::Bytes(vec![0x5a; 20 + 32]),
                    ],
                )
            }
            3 | 4 => {
                let index = self.random.u32(..6);
                let argsz = self.argsz(16);
                self.struct_call(
                    on,
                    9,
                    vec![
                        Word::U32(argsz),
                        Word::U32(0),
                        Word::U32(index),
                        Word::U32(0),
                    ],
                )
            }
            5..15 => self.set_irqs(on),
            15 => self.plain(on, 11),
            16 => self.plain(on, 11),
            17 => self.struct_call(on, 12, vec![Word::U32(12), Word::U32(0), Word::U32(0)]),
            18 => {
                let feature = self.random.u32(..8);
                let how = self
                    .random
                    .choice([1 << 16, 2 << 16, 4 << 16, 5 << 16, 6 << 16]);
                self.struct_call(
                    on,
                    17,
                    vec![Word::U32(8), Word::U32(feature | how.unwrap_or(0))],
                )
            }
            _ => {
                let size = self.random.choice([1, 2, 4, 8, 3]).unwrap_or(4);
                let region = self.random.u64(..3);
                let offset = self.random.u64(..0x40) * 4;
                self.struct_call(
                    on,
                    16,
                    vec![
                        Word::U32(40),
                        Word::U32(size),
                        Word::U64(region << 40 | offset),
                        Word::U64(0),
                        Word::Fd(WAITED_FOR),
                        Word::U32(0),
                    ],
                )
            }
        }
    }

    fn set_irqs(&mut self, on: Slot) -> Call {
        let sensible = self.random.u32(..8);
        if sensible < 5 {
            return self.sensible_irqs(on, sensible == 0);
        }
        let index = self.random.choice([0, 1, 1, 1, 2, 2, 3, 4, 5]).unwrap_or(1);
        let data = self.random.choice([1, 2, 4, 4, 4, 3]).unwrap_or(4);
        let action = self.random.choice([8, 16, 32, 32, 32, 0]).unwrap_or(32);
        let start = self.random.choice([0, 0, 0, 1, 5]).unwrap_or(0);
        let count = self.random.choice([0, 1, 1, 1, 2]).unwrap_or(1);
        let mut words = vec![
            Word::U32(0),
            Word::U32(data | action),
            Word::U32(index),
            Word::U32(start),
            Word::U32(count),
        ];
        let mut size = 20;
        for _ in 0..count {
            match data {
                2 => {
                    words.push(Word::Bytes(vec![self.random.u8(..2)]));
                    size += 1;
                }
                4 => {
                    words.push(match self.random.u32(..8) {
                        0 => Word::U32(u32::MAX),
                        1 => Word::OtherFd,
                        _ if action == 16 => Word::Fd(WAITED_FOR),
                        _ => Word::Fd(self.signal()),
                    });
                    size += 4;
                }
                _ => {}
            }
        }
        words[0] = Word::U32(self.argsz(size));
        self.struct_call(on, 10, words)
    }

    /// Turns one kind on, or off.
    fn sensible_irqs(&mut self, on: Slot, off: bool) -> Call {
        let index = self.random.choice([0, 1, 2, 2, 4]).unwrap_or(0);
        let signals: Vec<_> = self.open.iter().copied().collect();
        let mut signals = signals
            .into_iter()
            .filter(|slot| matches!(slot, Slot::Signal(_)));
        let (data, fds) = match signals.next() {
            Some(signal) if !off => (uapi::IRQ_SET_DATA_EVENTFD, vec![Word::Fd(signal)]),
            _ => (uapi::IRQ_SET_DATA_NONE, Vec::new()),
        };
        let count = u32::try_from(fds.len()).unwrap_or(0);
        let mut words = vec![
            Word::U32(20 + 4 * count),
            Word::U32(data | uapi::IRQ_SET_ACTION_TRIGGER),
            Word::U32(index),
            Word::U32(0),
            Word::U32(count),
        ];
        words.extend(fds);
        self.struct_call(on, 10, words)
    }

    fn access(&mut self) -> Call {
        let device = self.device();
        let (region, offset) = match self.random.u32(..4) {
            0 => (0, self.random.u64(..8)),
            _ => (7, self.random.u64(..0x80)),
        };
        let mut len = self.random.choice([1, 2, 4, 4, 4, 8]).unwrap_or(4);
        let mut offset = offset;
        if region == 0 && cfg!(target_arch = "aarch64") {
            // An access that a device does not take is the end of the kernel there (H9).
            (offset, len) = (offset & !3, 4);
        }
        match self.random.u32(..10) {
            0 => Call::MapRegion {
                device,
                region: self.random.u32(..9),
                offset: self.random.u64(..3) * self.places.page,
                len: usize::try_from(self.pages()).unwrap_or(0),
                protection: Protection {
                    read: true,
                    write: self.random.bool(),
                },
            },
            1 => Call::Write {
                device,
                region: 7,
                offset: 4,
                bytes: self
                    .random
                    .choice([vec![6, 0], vec![2, 0], vec![0, 0]])
                    .unwrap_or_default(),
            },
            _ => Call::Read {
                device,
                region,
                offset,
                len,
            },
        }
    }

    fn signal_call(&mut self) -> Call {
        match self.random.u32(..4) {
            0 => Call::Drain(self.signal()),
            1 => Call::Signal(self.signal()),
            2 => match self.random.bool() {
                true => Call::Signal(WAITED_FOR),
                false => Call::NewSignal(WAITED_FOR),
            },
            _ => Call::NewSignal(self.signal()),
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

/// Where the n-th group is opened.
fn group_slot(n: usize) -> Slot {
    Slot::Group(u8::try_from(n).unwrap_or(u8::MAX))
}

/// Where the n-th device is opened.
fn device_slot(n: usize) -> Slot {
    Slot::Device(u8::try_from(n).unwrap_or(u8::MAX))
}
