//! Calls of sPAPR.

use super::Generator;
use crate::differential::call::{Call, Place, Slot, Word};

impl Generator {
    pub(super) fn spapr_info(&mut self, on: Slot) -> Call {
        let argsz = self.argsz(32);
        let words = vec![Word::U32(argsz), Word::Bytes(vec![0x5a; 28])];
        Call::with(on, 12, words)
    }

    pub(super) fn spapr_call(&mut self) -> Call {
        let on = self.context();
        let context = self.contexts.get(&on).cloned().unwrap_or_default();
        let registered = self.random.choice(context.registered.clone());
        let known = self
            .random
            .choice(context.mappings.iter().copied().collect::<Vec<_>>());
        let version_1 = context.iommu == Some(2);
        match self.random.u32(..21) {
            20 => self.isolation(on),
            0 => Call::plain(on, 15),
            1 => Call::plain(on, 16),
            2..=4 if version_1 => Call::plain(on, 15),
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
                Call::with(
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
                Call::with(
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
                Call::map(on, argsz, flags, place, iova, size)
            }
            _ => {
                let (iova, size) = known.unwrap_or((self.iova(), self.pages()));
                let argsz = self.argsz(24);
                Call::unmap(on, argsz, 0, iova, size)
            }
        }
    }

    /// An operation of the isolation unit. A reset would outlive the sequence: seconds later a device cannot be opened.
    fn isolation(&mut self, on: Slot) -> Call {
        let op = self.random.choice([0, 1, 2, 3, 4, 9, 10]).unwrap_or(4);
        let argsz = self.argsz(40);
        let flags = u32::from(self.one_in(16));
        let words = vec![
            Word::U32(argsz),
            Word::U32(flags),
            Word::U32(op),
            Word::U32(0),
            Word::U32(self.random.u32(..3)),
            Word::U32(self.random.u32(..24)),
            Word::U64(0),
            Word::U64(0),
        ];
        Call::with(on, 21, words)
    }

    fn register(&mut self, on: Slot, number: u8, place: Place, size: u64) -> Call {
        let argsz = self.argsz(24);
        let flags = u32::from(self.one_in(16));
        Call::with(
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
}
