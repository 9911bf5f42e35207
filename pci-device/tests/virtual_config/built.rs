//! Config spaces that are put together for a test.

use pci_device::bar::{Bars, Described};
use pci_device::virtual_config::{Effect, Seat, VirtualConfig, Written};

/// The bytes of a device that has a list of capabilities.
pub(crate) struct Built(pub(crate) Vec<u8>);

impl Built {
    /// So many bytes of a device with a line, and nothing else.
    pub(crate) fn new(len: usize) -> Self {
        let mut built = Self(vec![0; len]);
        built.put(0x00, &[0x34, 0x12, 0xe8, 0x11]);
        built.put(0x08, &[0x07, 0x02, 0x08, 0x01]); // revision 7, an NVMe controller
        built.put(0x2c, &[0xf4, 0x1a, 0x00, 0x11]);
        built.put(0x3d, &[1]);
        built
    }

    pub(crate) fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Capabilities in this order, each with its place, its id, and what is behind the pointer to the next.
    pub(crate) fn with(mut self, list: &[(u8, u8, &[u8])]) -> Self {
        self.put(0x06, &[0x10]);
        let places = list.iter().map(|(at, ..)| *at).chain([0]);
        let mut next = places;
        self.put(0x34, &[next.next().unwrap()]);
        for ((at, id, body), next) in list.iter().zip(next) {
            self.put(usize::from(*at), &[*id, next]);
            self.put(usize::from(*at) + 2, body);
        }
        self
    }

    /// Extended capabilities in this order.
    pub(crate) fn extended(mut self, list: &[(u16, u16)]) -> Self {
        let next = list.iter().skip(1).map(|(at, _)| *at).chain([0]);
        for ((at, id), next) in list.iter().zip(next) {
            let header = u32::from(*id) | 1 << 16 | u32::from(next) << 20;
            self.put(usize::from(*at), &header.to_le_bytes());
        }
        self
    }

    pub(crate) fn shown(&self, seat: &Seat) -> Guest {
        self.shown_with(&bars(), seat)
    }

    pub(crate) fn shown_with(&self, bars: &Bars, seat: &Seat) -> Guest {
        Guest(VirtualConfig::new(&self.0, bars, seat))
    }
}

/// A memory BAR of 16 KiB, and one with ports.
pub(crate) fn bars() -> Bars {
    let mut described: [Described; 6] = Default::default();
    described[0].size = 0x4000;
    (described[1].size, described[1].register) = (0x20, 1);
    Bars::new(&described, 0, None).unwrap()
}

/// What a guest does with it.
pub(crate) struct Guest(pub(crate) VirtualConfig);

impl Guest {
    /// Reads what is known; the device's bits as 0.
    pub(crate) fn read(&self, at: u16, len: usize) -> u32 {
        self.0.read(at, len).value
    }

    /// The bits of it that are the device's.
    pub(crate) fn device(&self, at: u16, len: usize) -> u32 {
        self.0.read(at, len).device
    }

    pub(crate) fn write(&mut self, at: u16, len: usize, value: u32) -> Written {
        self.0.write(at, len, value)
    }

    /// What a write has changed, of which nothing is the device's.
    pub(crate) fn effects(&mut self, at: u16, len: usize, value: u32) -> Vec<Effect> {
        let written = self.write(at, len, value);
        assert_eq!(written.device, []);
        written.effects
    }

    /// The list that the guest finds: places and ids.
    pub(crate) fn list(&self) -> Vec<(u16, u32)> {
        let mut found = Vec::new();
        let mut at = u16::try_from(self.read(0x34, 1)).unwrap();
        while at != 0 {
            assert!(
                found.len() < 48 && at >= 0x40 && at % 4 == 0,
                "{found:x?} {at:#x}"
            );
            assert_eq!(self.device(at, 2), 0);
            found.push((at, self.read(at, 1)));
            at = u16::try_from(self.read(at + 1, 1)).unwrap();
        }
        found
    }

    /// The extended one: places and ids, but for a first one that is nothing.
    pub(crate) fn extended_list(&self) -> Vec<(u16, u32)> {
        let mut found = Vec::new();
        let mut at = 0x100;
        while at != 0 && self.0.len() > 0x100 {
            assert!(
                found.len() < 960 && at >= 0x100 && at % 4 == 0,
                "{found:x?} {at:#x}"
            );
            let header = self.read(at, 4);
            assert!(self.device(at, 4) == 0, "{at:#x}");
            found.push((at, header & 0xffff));
            at = u16::try_from(header >> 20).unwrap();
        }
        found.retain(|(_, id)| *id != 0);
        found
    }
}
