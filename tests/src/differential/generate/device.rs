//! Calls on devices, and what devices and eventfds do.

use vfio_core::uapi;

use super::{Generator, WAITED_FOR};
use crate::differential::call::{Call, Slot, Word};

/// A feature that makes a file which is none of VFIO's.
const DMA_BUF: u32 = 11;

impl Generator {
    /// Has a device write where something is mapped, or was, or nearly.
    pub(super) fn dma(&mut self) -> Option<Call> {
        let engines: Vec<_> = self.engines().collect();
        let (device, mappings) = self.random.choice(engines)?;
        let iova = match (self.random.choice(mappings), self.random.u32(..6)) {
            (Some((iova, size)), 0) => iova.wrapping_add(size),
            (Some((iova, _)), _) => iova,
            (None, _) => self.iova(),
        };
        Some(Call::Dma { device, iova })
    }

    /// Has each device write to all that it may reach.
    pub(in crate::differential) fn reach(&self) -> Vec<Call> {
        let all = self.engines().flat_map(|(device, mappings)| {
            let each = mappings.into_iter();
            each.map(move |(iova, _)| Call::Dma { device, iova })
        });
        all.collect()
    }

    /// The open devices that can be told to do DMA, and what is mapped for them.
    fn engines(&self) -> impl Iterator<Item = (Slot, Vec<(u64, u64)>)> {
        let open = self.devices.iter();
        let engines = open.filter(|(_, n)| self.places.engines[**n]);
        engines.filter_map(|(slot, n)| {
            let group = self.places.groups_of.get(*n)?;
            let mut contexts = self.contexts.values();
            let context = contexts.find(|it| it.groups.contains(group))?;
            Some((*slot, context.mappings.iter().copied().collect()))
        })
    }

    pub(super) fn device_call(&mut self) -> Call {
        let on = self.device();
        match self.random.u32(..21) {
            0 => {
                let argsz = self.argsz(20);
                Call::with(on, 7, vec![Word::U32(argsz), Word::Bytes(vec![0x5a; 20])])
            }
            1 | 2 => {
                let index = self.random.u32(..10);
                let argsz = self.argsz(32);
                Call::with(
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
                Call::with(
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
            15 | 16 => Call::plain(on, 11),
            17 => self.hot_reset(on),
            18 if self.one_in(4) => {
                let argsz = self.argsz(16);
                let entry =
                    uapi::DEVICE_FEATURE_SET | uapi::DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP;
                let words = [
                    Word::U32(argsz),
                    Word::U32(entry),
                    Word::Fd(WAITED_FOR),
                    Word::U32(0),
                ];
                Call::with(on, 17, words.into())
            }
            18 => {
                let feature = match self.random.u32(..14) {
                    DMA_BUF => 0,
                    other => other,
                };
                let how = self
                    .random
                    .choice([1 << 16, 2 << 16, 4 << 16, 5 << 16, 6 << 16]);
                Call::with(
                    on,
                    17,
                    vec![Word::U32(8), Word::U32(feature | how.unwrap_or(0))],
                )
            }
            19 => self.hot_reset_info(on),
            _ => {
                // A write that a device does not take is the end of the kernel on arm64 (H9).
                let sizes: &[u32] = match cfg!(target_arch = "aarch64") {
                    true => &[4, 3],
                    false => &[1, 2, 4, 8, 3],
                };
                let size = self.random.choice(sizes).copied().unwrap_or(4);
                let region = self.random.u64(..3);
                let offset = self.random.u64(..0x40) * 4;
                Call::with(
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

    /// Asks what a hot reset takes along, or makes one, with the groups that are open.
    fn hot_reset_info(&mut self, on: Slot) -> Call {
        const ENTRY: usize = 8;
        let entries = self.random.usize(..4);
        let argsz = self.argsz(12 + u32::try_from(entries * ENTRY).unwrap_or(0));
        let words = [Word::U32(argsz), Word::U32(0), Word::U32(0)];
        let room = Word::Bytes(vec![0x5a; entries * ENTRY]);
        Call::with(on, 12, [words.as_slice(), &[room]].concat())
    }

    /// With all groups that are open, or nearly.
    fn hot_reset(&mut self, on: Slot) -> Call {
        let mut owned: Vec<_> = self.groups.keys().map(|slot| Word::Fd(*slot)).collect();
        match self.random.u32(..8) {
            0 => owned.push(Word::OtherFd),
            1 => owned.push(Word::U32(u32::MAX)),
            2 => owned.clear(),
            3 => owned.truncate(1),
            4 => owned.extend_from_within(..owned.len().min(1)),
            _ => {}
        }
        let argsz = self.argsz(12);
        let flags = u32::from(self.one_in(16));
        let count = u32::try_from(owned.len()).unwrap_or(0);
        let words = vec![Word::U32(argsz), Word::U32(flags), Word::U32(count)];
        Call::with(on, 13, [words, owned].concat())
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
        Call::with(on, 10, words)
    }

    /// Turns one kind on, or off.
    fn sensible_irqs(&mut self, on: Slot, off: bool) -> Call {
        let index = self.random.choice([0, 1, 2, 2, 4]).unwrap_or(0);
        let mut open = self.open.iter().copied();
        let (data, fds) = match open.find(|slot| matches!(slot, Slot::Signal(_))) {
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
        Call::with(on, 10, words)
    }

    pub(super) fn access(&mut self) -> Call {
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
                write: self.random.bool(),
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
            2 => self.write_config(device),
            3 => self.write_table(device),
            _ => Call::Read {
                device,
                region,
                offset,
                len,
            },
        }
    }

    /// Writes anything to config space, to the header or the first capability. What is in no capability reaches the
    /// hardware, and would be there still in the next sequence.
    fn write_config(&mut self, device: Slot) -> Call {
        let len = self.random.choice([1, 2, 2, 4]).unwrap_or(2);
        let bytes = std::iter::repeat_with(|| self.random.u8(..))
            .take(len)
            .collect();
        Call::Write {
            device,
            region: 7,
            offset: self.random.u64(..0x49),
            bytes,
        }
    }

    /// Writes to the MSI-X table, which is the kernel's.
    fn write_table(&mut self, device: Slot) -> Call {
        let table = self
            .devices
            .get(&device)
            .and_then(|n| self.places.tables[*n]);
        let Some((region, start)) = table else {
            return self.write_config(device);
        };
        Call::Write {
            device,
            region,
            offset: start + 4 * self.random.u64(..8),
            bytes: vec![self.random.u8(..); 4],
        }
    }

    pub(super) fn signal_call(&mut self) -> Call {
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
