//! What the controller says of itself: pages of 4096 bytes.

use super::registers::VERSION_VALUE;

/// What an Identify answers with, in bytes.
pub(super) const SIZE: usize = 4096;

/// The one namespace.
const NAMESPACE: u32 = 1;
/// Broadcast, and the number before it: no namespace comes after them.
const LAST_NUMBERS: u32 = 0xffff_fffe;

/// The controller.
pub(super) fn controller(serial: &str) -> Vec<u8> {
    let mut page = Page::new();
    page.put(0, &[0x36, 0x1b]); // vendor
    page.put(2, &[0xf4, 0x1a]); // vendor of the subsystem
    page.text(4, 20, serial);
    page.text(24, 40, "vfio-sim NVMe controller");
    page.text(64, 8, env!("CARGO_PKG_VERSION"));
    page.put(73, &[0x00, 0x54, 0x52]); // IEEE OUI
    page.put(77, &[7]); // a transfer has at most 2^7 pages
    page.put(80, &VERSION_VALUE.to_le_bytes());
    page.put(111, &[1]); // an I/O controller
    page.put(512, &[0x66, 0x44]); // entries of 2^6 and 2^4 bytes, no others
    page.put(516, &NAMESPACE.to_le_bytes()); // the highest number of a namespace
    page.put(768, b"nqn.2014-08.org.nvmexpress:vfio-sim:");
    page.put(804, serial.get(..20).unwrap_or(serial).as_bytes());
    page.0
}

/// The active namespaces with higher numbers than `after`; none if there is no such number.
pub(super) fn namespaces(after: u32) -> Option<Vec<u8>> {
    if after >= LAST_NUMBERS {
        return None;
    }
    let mut page = Page::new();
    if after < NAMESPACE {
        page.put(0, &NAMESPACE.to_le_bytes());
    }
    Some(page.0)
}

struct Page(Vec<u8>);

impl Page {
    fn new() -> Self {
        Self(vec![0; SIZE])
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        for (place, byte) in self.0.iter_mut().skip(at).zip(bytes) {
            *place = *byte;
        }
    }

    /// Text has spaces after it.
    fn text(&mut self, at: usize, len: usize, text: &str) {
        let padded: Vec<u8> = text
            .bytes()
            .chain(std::iter::repeat(b' '))
            .take(len)
            .collect();
        self.put(at, &padded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_controller_says_who_it_is() {
        let page = controller("disk-1");
        assert_eq!(page.len(), SIZE);
        assert_eq!(page[..4], [0x36, 0x1b, 0xf4, 0x1a]);
        assert_eq!(&page[4..24], b"disk-1              ");
        assert_eq!(&page[24..33], b"vfio-sim ");
        assert_ne!(page, controller("disk-2"));
    }

    #[test]
    fn a_long_serial_number_is_cut() {
        let page = controller("01234567890123456789ABC");
        assert_eq!(&page[4..28], b"01234567890123456789vfio");
        assert_eq!(page[824], 0);
    }

    #[test]
    fn there_is_one_namespace() {
        assert_eq!(namespaces(0).unwrap()[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
        assert!(namespaces(1).unwrap().iter().all(|byte| *byte == 0));
        assert_eq!(namespaces(LAST_NUMBERS), None);
    }
}
