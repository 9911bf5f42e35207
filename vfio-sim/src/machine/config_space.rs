//! What the config space of a device says, as bytes.

use super::Msix;

const CAPABILITIES: usize = 0x34;
const MSIX: u8 = 0x11;

/// Where a capability is; lists of any length come to an end.
pub fn capability(config: &[u8], id: u8) -> Option<usize> {
    /// As many as there is room for.
    const MOST: usize = 48;
    let mut at = usize::from(*config.get(CAPABILITIES)?);
    for _ in 0..MOST {
        let &[found, next] = config.get(at..)?.first_chunk()?;
        if at == 0 || found == id {
            return (at != 0).then_some(at);
        }
        at = usize::from(next);
    }
    None
}

/// The doubleword there; zeros behind the end.
pub fn doubleword(config: &[u8], at: usize) -> u32 {
    let bytes = config.get(at..).and_then(<[u8]>::first_chunk);
    u32::from_le_bytes(bytes.copied().unwrap_or_default())
}

impl Msix {
    /// How many vectors there are, and where the table and the pending bits are.
    pub fn of(config: &[u8]) -> Option<Self> {
        let at = capability(config, MSIX)?;
        let [head, table, pending] = [0, 4, 8].map(|part| doubleword(config, at + part));
        Some(Self {
            vectors: (head >> 16 & 0x7ff) + 1,
            bar: table.to_le_bytes()[0] & 7,
            table: table & !7,
            pending: pending & !7,
        })
    }
}
