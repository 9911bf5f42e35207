//! A machine around a model, for the models' own tests.

use std::ops::Range;

use super::Bus;

/// Where the memory starts: a device that drops the upper half of an address does not find it.
pub(super) const BASE: u64 = 0x12_3456_0000;

/// Memory from [`BASE`] on, and what a device asked of the rest.
#[derive(Debug, Default)]
pub(super) struct FakeBus {
    pub(super) memory: Vec<u8>,
    /// What the IOMMU does not let through, as places in the memory.
    pub(super) refused: Vec<Range<usize>>,
    pub(super) messages: bool,
    /// The vectors of the messages that were sent.
    pub(super) sent: Vec<u32>,
    pub(super) line: bool,
}

impl FakeBus {
    pub(super) fn new(size: usize) -> Self {
        Self {
            memory: vec![0; size],
            ..Self::default()
        }
    }

    /// Bytes that say where they are.
    pub(super) fn fill(&mut self) {
        for (place, byte) in self.memory.iter_mut().enumerate() {
            *byte = place.to_le_bytes()[0] ^ place.to_le_bytes()[1].wrapping_mul(31) ^ 0x5a;
        }
    }

    fn byte(&mut self, iova: u64, place: usize) -> Option<&mut u8> {
        let address = iova.checked_add(place as u64)?;
        let place = usize::try_from(address.checked_sub(BASE)?).ok()?;
        match self.refused.iter().any(|range| range.contains(&place)) {
            true => None,
            false => self.memory.get_mut(place),
        }
    }
}

impl Bus for FakeBus {
    fn read_memory(&mut self, iova: u64, bytes: &mut [u8]) -> bool {
        let mut all = true;
        for (place, byte) in bytes.iter_mut().enumerate() {
            let found = self.byte(iova, place).copied();
            all &= found.is_some();
            *byte = found.unwrap_or(0xff);
        }
        all
    }

    fn write_memory(&mut self, iova: u64, bytes: &[u8]) -> bool {
        let mut all = true;
        for (place, byte) in bytes.iter().enumerate() {
            match self.byte(iova, place) {
                Some(found) => *found = *byte,
                None => all = false,
            }
        }
        all
    }

    fn sends_messages(&self) -> bool {
        self.messages
    }

    fn send_message(&mut self, vector: u32) {
        assert!(self.messages, "messages are not enabled");
        self.sent.push(vector);
    }

    fn set_line(&mut self, asserted: bool) {
        assert!(!asserted || !self.messages, "messages are enabled");
        self.line = asserted;
    }
}
