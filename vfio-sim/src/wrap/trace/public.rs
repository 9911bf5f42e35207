//! What of a trace anybody may see, for one that is given away.

use std::collections::BTreeSet;

use super::super::call::{Call, Request};
use crate::names::Kind;

/// How much is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Scope {
    /// Everything, so that it can be answered again.
    Everything,
    /// What has no secret in it.
    Public,
}

/// The part of a device's fd that is its config space.
const CONFIG: u64 = 7 << 40;

/// What an ioctl was given, or has written: tokens, the values of registers and the data of features are 0.
pub(in super::super) fn argument(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let secret = match name {
        "VFIO_DEVICE_FEATURE" => 8..bytes.len(),
        "VFIO_DEVICE_IOEVENTFD" => 16..24,
        "VFIO_GROUP_GET_DEVICE_FD" => match bytes.iter().position(|byte| *byte == b' ') {
            Some(token) => token..bytes.len(),
            None => return bytes,
        },
        _ => return bytes,
    };
    if let Some(secret) = bytes.get_mut(secret) {
        secret.fill(0);
    }
    bytes
}

/// What a call that is no ioctl has read: config space, if it was read from its first byte on, without what may be
/// secret; nothing else.
pub(in super::super) fn read(call: &Call<'_>, bytes: &[u8]) -> Vec<u8> {
    match (call.request, call.object) {
        (Request::Pread { offset: CONFIG, .. }, Some(object)) if object.kind == Kind::Device => {
            config(bytes)
        }
        (Request::Pread { .. }, _) => vec![0; bytes.len()],
        _ => Vec::new(),
    }
}

/// The header, and of each capability what is the same in every device of a kind. The rest is 0: the serial number,
/// vital product data, logs of errors, and whatever a vendor keeps there.
fn config(bytes: &[u8]) -> Vec<u8> {
    const HEADER: usize = 0x40;
    const FIRST: usize = 0x34;
    const EXTENDED: usize = 0x100;
    const LEAST: usize = 4; // of a list that has come to its end, or runs in a circle

    let mut public = vec![0; bytes.len()];
    let mut show = |at: usize, len: usize| {
        let range = at..at.saturating_add(len).min(bytes.len());
        if let (Some(from), Some(to)) = (bytes.get(range.clone()), public.get_mut(range)) {
            to.copy_from_slice(from);
        }
    };
    show(0, HEADER);
    let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
    let mut list = BTreeSet::new();
    let mut at = usize::from(byte(FIRST) & !3);
    while at >= HEADER && list.insert(at) {
        at = usize::from(byte(at + 1) & !3);
    }
    for &at in &list {
        // Old ones are shorter: what follows is another's.
        let next = list.range(at + 1..).next().copied().unwrap_or(EXTENDED);
        show(at, capability(byte(at)).min(next - at));
    }
    let mut at = EXTENDED;
    for _ in 0..bytes.len() / LEAST {
        let Some(head) = bytes.get(at..).and_then(<[u8]>::first_chunk) else {
            break;
        };
        show(at, head.len());
        at = usize::try_from(u32::from_le_bytes(*head) >> 20).unwrap_or(0) & !3;
        if at < EXTENDED {
            break;
        }
    }
    public
}

/// How many bytes of a capability are shown, by its number.
fn capability(id: u8) -> usize {
    match id {
        0x01 => 8,    // power management
        0x05 => 4,    // MSI: not the address and the data
        0x10 => 0x3c, // PCI Express
        0x11 => 12,   // MSI-X
        0x13 => 6,    // advanced features
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: u8 = 0xa5;

    /// Config space full of what is secret, with three capabilities and two extended ones in it.
    fn full() -> Vec<u8> {
        let mut bytes = vec![SECRET; 4096];
        bytes[..0x40].fill(0x11);
        let mut put = |at: usize, what: &[u8]| bytes[at..at + what.len()].copy_from_slice(what);
        put(0x34, &[0x50]);
        put(0x50, &[0x11, 0x60, 3, 0, 0, 0x20, 0, 0, 0, 0x30, 0, 0]); // MSI-X
        put(0x60, &[0x03, 0x70]); // vital product data
        put(0x70, &[0x09, 0x00]); // a vendor's
        put(0x100, &[0x03, 0x00, 0x01, 0x14]); // the serial number, and where the next one is
        put(0x140, &[0x01, 0x00, 0x02, 0x00]); // errors
        bytes
    }

    #[test]
    fn of_config_space_no_serial_number_is_shown_and_nothing_of_a_vendors() {
        let shown = config(&full());
        assert_eq!(shown.len(), 4096);
        assert!(!shown.contains(&SECRET));
        assert_eq!(shown[..0x40], full()[..0x40]);
        assert_eq!(
            shown[0x50..0x60],
            full()[0x50..0x5c]
                .iter()
                .copied()
                .chain([0; 4])
                .collect::<Vec<_>>()
        );
        assert_eq!(shown[0x60..0x64], [0x03, 0x70, 0, 0]);
        assert_eq!(shown[0x100..0x108], [0x03, 0x00, 0x01, 0x14, 0, 0, 0, 0]);
        assert_eq!(shown[0x140..0x144], [0x01, 0x00, 0x02, 0x00]);
    }

    #[test]
    fn lists_that_run_in_a_circle_or_out_of_the_bytes_come_to_an_end() {
        let mut bytes = full();
        bytes[0x71] = 0x50;
        bytes[0x140..0x144].copy_from_slice(&[0x01, 0, 0x02, 0x10]); // back to 0x100
        assert!(!config(&bytes).contains(&SECRET));
        for len in [0, 1, 0x34, 0x35, 0x40, 0x51, 0x100, 0x102, 0x141] {
            assert_eq!(config(&full()[..len]).len(), len);
        }
        let all = vec![0xff; 4096];
        assert_eq!(config(&all).len(), 4096);
    }

    #[test]
    fn a_token_is_not_shown() {
        let shown = argument(
            "VFIO_GROUP_GET_DEVICE_FD",
            b"0000:01:00.0 vf_token=secret\0",
        );
        assert!(shown.starts_with(b"0000:01:00.0\0") && shown.len() == 29);
        let feature = [24, 0, 0, 0, 0, 0, 2, 0, SECRET, SECRET];
        assert!(!argument("VFIO_DEVICE_FEATURE", &feature).contains(&SECRET));
        assert_eq!(argument("VFIO_DEVICE_GET_INFO", &feature), feature);
    }
}
