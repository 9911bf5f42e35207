//! Random numbers from the kernel.

use anyhow::{Context, Result};
use rustix::rand::{GetRandomFlags, getrandom};

/// So many random bytes.
pub(crate) fn bytes(count: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        filled += getrandom(rest, GetRandomFlags::empty()).context("getrandom")?;
    }
    Ok(bytes)
}

/// As many random bytes as fit.
pub(crate) fn array<const N: usize>() -> Result<[u8; N]> {
    let mut array = [0; N];
    array.copy_from_slice(&bytes(N)?);
    Ok(array)
}

/// A number from 0 to `most`, both included.
pub(crate) fn up_to(most: usize) -> Result<usize> {
    let end = most.checked_add(1).context("no bound")?;
    Ok(usize::from_ne_bytes(array()?) % end)
}
