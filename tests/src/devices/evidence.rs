//! What memory says of DMA. A device's status is no evidence.

use super::Reachable;
use crate::random;
use anyhow::{Result, bail, ensure};

/// What became of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dma {
    /// Every byte arrived, and nothing else changed.
    Arrived,
    /// No byte did.
    Blocked,
}

/// So many equal bytes are no accident, and what is longer can be told from what it replaces.
pub const TELLING: usize = 16;

/// Fills all of a buffer with random bytes, and answers them.
pub(super) fn fill(memory: &dyn Reachable) -> Result<Vec<u8>> {
    let bytes = random::bytes(memory.len())?;
    memory.copy_from(0, &bytes)?;
    Ok(bytes)
}

/// Some bytes of a buffer.
pub(super) fn copy(memory: &dyn Reachable, at: usize, len: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    memory.copy_to(at, &mut bytes)?;
    Ok(bytes)
}

/// `memory` held `before` when a device was to write `source` at `at`: what has it done?
pub(super) fn of_write(
    memory: &dyn Reachable,
    before: &[u8],
    at: usize,
    source: &[u8],
) -> Result<Dma> {
    let mut after = before.to_vec();
    let Some(place) = after.get_mut(at..at + source.len()) else {
        bail!(
            "{} bytes at {at:#x} are not inside the buffer",
            source.len()
        );
    };
    ensure!(
        source.len() >= TELLING && place != source,
        "the memory had the device's bytes before: nothing can be told"
    );
    place.copy_from_slice(source);

    let now = copy(memory, 0, memory.len())?;
    if now == after {
        return Ok(Dma::Arrived);
    }
    match now
        .iter()
        .zip(before)
        .position(|(now, before)| now != before)
    {
        None => Ok(Dma::Blocked),
        Some(first) => bail!(
            "the device was to write {} bytes at {at:#x}; memory changed from {first:#x} on, and is \
             neither what it wrote nor what was there",
            source.len()
        ),
    }
}

/// A device was to read `secret` and says that it has `got`.
pub(super) fn of_read(secret: &[u8], got: &[u8]) -> Result<Dma> {
    ensure!(
        secret.len() >= TELLING && secret.len() == got.len(),
        "nothing can be told"
    );
    if got == secret {
        return Ok(Dma::Arrived);
    }
    let leak = secret
        .windows(TELLING)
        .zip(got.windows(TELLING))
        .position(|(secret, got)| secret == got);
    match leak {
        None => Ok(Dma::Blocked),
        Some(at) => bail!("the device got a part of what it was to read, from {at:#x} on"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_arrives_whole_or_not_at_all() {
        let secret: Vec<u8> = (0..64).collect();
        let mut got = secret.clone();
        assert_eq!(of_read(&secret, &got).unwrap(), Dma::Arrived);
        got[40] = 0;
        assert!(of_read(&secret, &got).is_err());
        assert_eq!(of_read(&secret, &[0xff; 64]).unwrap(), Dma::Blocked);
        assert!(of_read(&secret[..8], &got[..8]).is_err());
    }
}
