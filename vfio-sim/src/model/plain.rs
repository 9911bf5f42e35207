//! A device that does nothing: its BARs keep what is written.

use std::fmt;

use super::{Bus, Model};

/// A device whose registers read back what was written, for devices that no driver is about. It does no DMA and
/// raises no interrupts.
#[derive(Clone, Default)]
pub struct Plain {
    bars: [Vec<u8>; 6],
}

impl Plain {
    /// A device with so many bytes behind each of its BARs: 0 is no BAR. They are zero.
    pub fn new(sizes: [usize; 6]) -> Self {
        Self {
            bars: sizes.map(|size| vec![0; size]),
        }
    }

    /// As many bytes as there are behind a BAR, of so many from an offset on.
    fn part(&mut self, bar: u8, offset: u64, len: usize) -> &mut [u8] {
        let Some(bar) = self.bars.get_mut(usize::from(bar)) else {
            return &mut [];
        };
        let Some(rest) = usize::try_from(offset)
            .ok()
            .and_then(|offset| bar.get_mut(offset..))
        else {
            return &mut [];
        };
        let len = len.min(rest.len());
        rest.get_mut(..len).unwrap_or_default()
    }
}

impl Model for Plain {
    /// What is beyond the BAR reads as ones.
    fn read(&mut self, _: &mut dyn Bus, bar: u8, offset: u64, bytes: &mut [u8]) {
        bytes.fill(0xff);
        let part = self.part(bar, offset, bytes.len());
        for (byte, kept) in bytes.iter_mut().zip(part) {
            *byte = *kept;
        }
    }

    /// What is beyond the BAR is dropped.
    fn write(&mut self, _: &mut dyn Bus, bar: u8, offset: u64, bytes: &[u8]) {
        let part = self.part(bar, offset, bytes.len());
        for (kept, byte) in part.iter_mut().zip(bytes) {
            *kept = *byte;
        }
    }

    fn reset(&mut self) {
        for bar in &mut self.bars {
            bar.fill(0);
        }
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = self.bars.each_ref().map(Vec::len);
        f.debug_struct("Plain").field("sizes", &sizes).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::fake_bus::FakeBus;

    fn read<const LEN: usize>(device: &mut Plain, bar: u8, offset: u64) -> [u8; LEN] {
        let mut bytes = [0x77; LEN];
        device.read(&mut FakeBus::default(), bar, offset, &mut bytes);
        bytes
    }

    #[test]
    fn it_keeps_what_is_written_until_it_is_reset() {
        let mut device = Plain::new([0x100, 0, 0x1000, 0, 0, 0]);
        device.write(&mut FakeBus::default(), 0, 0x10, &[1, 2, 3, 4]);
        device.write(&mut FakeBus::default(), 2, 0xffc, &[5, 6, 7, 8]);
        assert_eq!(read(&mut device, 0, 0x0e), [0, 0, 1, 2, 3, 4, 0, 0]);
        assert_eq!(read(&mut device, 2, 0xffc), [5, 6, 7, 8]);
        device.reset();
        assert_eq!(read(&mut device, 0, 0x10), [0; 4]);
        assert_eq!(
            format!("{device:?}"),
            "Plain { sizes: [256, 0, 4096, 0, 0, 0] }"
        );
    }

    #[test]
    fn beyond_a_bar_are_ones() {
        let mut device = Plain::new([8, 0, 0, 0, 0, 0]);
        device.write(&mut FakeBus::default(), 0, 6, &[1, 2, 3, 4]);
        assert_eq!(read(&mut device, 0, 6), [1, 2, 0xff, 0xff]);
        assert_eq!(read(&mut device, 0, 8), [0xff; 4]);
        assert_eq!(read(&mut device, 1, 0), [0xff; 4]);
    }

    proptest! {
        #[test]
        fn no_access_is_too_much(
            bar: u8,
            offset in prop_oneof![any::<u64>(), 0..20_u64],
            bytes: Vec<u8>,
        ) {
            let mut device = Plain::new([16; 6]);
            device.write(&mut FakeBus::default(), bar, offset, &bytes);
            device.read(&mut FakeBus::default(), bar, offset, &mut bytes.clone());
        }
    }
}
