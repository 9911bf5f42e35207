//! The bytes that an ioctl points to.

use vfio_core::kernel::{Arg, Errno, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The bytes that a call points to: a number points to none.
pub(crate) fn bytes<'a>(arg: &'a Arg<'_>) -> Result<&'a [u8]> {
    match arg {
        Arg::None | Arg::Value(_) => Err(Errno::FAULT),
        Arg::In(bytes) => Ok(bytes),
        Arg::InOut(bytes) => Ok(bytes),
    }
}

/// The struct that a call points to.
pub(crate) fn read<T: FromBytes>(arg: &Arg<'_>) -> Result<T> {
    T::read_from_prefix(bytes(arg)?)
        .map(|(value, _)| value)
        .map_err(|_| Errno::FAULT)
}

/// The struct that a call points to, whose first field says that it is all there: `EINVAL` otherwise.
pub(crate) fn sized<T: FromBytes>(arg: &Arg<'_>) -> Result<T> {
    sized_from(arg, size_of::<T>())
}

/// The same where the kernel is content with its first `least` bytes.
pub(crate) fn sized_from<T: FromBytes>(arg: &Arg<'_>, least: usize) -> Result<T> {
    let all = bytes(arg)?;
    if (read::<u32>(arg)? as usize) < least {
        // The kernel copies the struct before it looks at the size.
        return Err(if all.len() < least {
            Errno::FAULT
        } else {
            Errno::INVAL
        });
    }
    let mut padded = all
        .get(..least.max(all.len().min(size_of::<T>())))
        .ok_or(Errno::FAULT)?
        .to_vec();
    padded.resize(size_of::<T>(), 0);
    T::read_from_bytes(&padded).map_err(|_| Errno::FAULT)
}

/// Writes an answer over the struct that the call points to, no more than the first `most` bytes.
pub(crate) fn write<T: IntoBytes + Immutable>(
    arg: &mut Arg<'_>,
    answer: &T,
    most: usize,
) -> Result<()> {
    put(
        arg,
        0,
        answer.as_bytes().get(..most).unwrap_or(answer.as_bytes()),
    )
}

/// Writes bytes of an answer at an offset.
pub(crate) fn put(arg: &mut Arg<'_>, at: usize, answer: &[u8]) -> Result<()> {
    let Arg::InOut(bytes) = arg else {
        return Err(Errno::FAULT);
    };
    let end = at.checked_add(answer.len()).ok_or(Errno::FAULT)?;
    let place = bytes.get_mut(at..end).ok_or(Errno::FAULT)?;
    place.copy_from_slice(answer);
    Ok(())
}
