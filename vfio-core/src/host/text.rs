//! Small files of sysfs and proc, as text.

use std::path::Path;

use crate::kernel::{Errno, Kernel, Result};

/// A file as text without the space around it; what is not UTF-8 is replaced.
pub(crate) fn text(kernel: &dyn Kernel, path: impl AsRef<Path>) -> Result<String> {
    let bytes = kernel.read(path.as_ref())?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// The names in a directory.
pub(crate) fn names(kernel: &dyn Kernel, dir: impl AsRef<Path>) -> Result<Vec<String>> {
    let names = kernel.list(dir.as_ref())?;
    let names = names.iter().map(|name| name.to_string_lossy().into_owned());
    Ok(names.collect())
}

/// The last part of what a link points to; `None` if there is no such link.
pub(crate) fn link_name(kernel: &dyn Kernel, path: impl AsRef<Path>) -> Result<Option<String>> {
    match kernel.read_link(path.as_ref()) {
        Ok(target) => Ok(target
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// A hexadecimal number, with or without `0x`.
pub(crate) fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()
}

/// Whether something is there that can be listed, read or followed.
pub(crate) fn exists(kernel: &dyn Kernel, path: impl AsRef<Path>) -> bool {
    let path = path.as_ref();
    kernel.list(path).is_ok() || kernel.read(path).is_ok() || kernel.read_link(path).is_ok()
}
