//! What was asked, as the text that is recorded, and compared when it is asked again.

use std::path::Path;

use super::super::call::{Call, Input, Request};
use super::hex;
use super::mask::masked;

/// The part of a line in front of the arrow.
pub(in super::super) fn asked(call: &Call<'_>) -> String {
    let name = call.name();
    let object = || match call.object {
        Some(object) => object.tag.to_string(),
        None => "?".to_owned(),
    };
    match call.request {
        Request::Open { path }
        | Request::Read { path }
        | Request::List { path }
        | Request::ReadLink { path } => format!("{name} {}", escaped(path)),
        Request::Ioctl { input, .. } | Request::IoctlFd { input, .. } => {
            let given = match input {
                Input::None => "-".to_owned(),
                Input::Value(value) => format!("={value}"),
                Input::Bytes(bytes) => hex(&masked(&name, bytes)),
            };
            format!("{name} {} {given}", object())
        }
        Request::Pread { len, offset } => format!("{name} {} {len} at {offset:#x}", object()),
        Request::Pwrite { bytes, offset } => {
            format!("{name} {} {} at {offset:#x}", object(), hex(bytes))
        }
        Request::Mmap { len } => format!("{name} {len}"),
        Request::MapRegion {
            offset,
            len,
            protection,
            align,
        } => {
            let read = if protection.read { "r" } else { "-" };
            let write = if protection.write { "w" } else { "-" };
            let object = object();
            format!("{name} {object} {len} at {offset:#x} {read}{write} align {align:#x}")
        }
        Request::Munmap { len, .. } | Request::KeepFromChildren { len, .. } => {
            format!("{name} {len}")
        }
        Request::Eventfd => name.into_owned(),
    }
}

fn escaped(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    bytes.escape_ascii().to_string().replace(' ', "\\x20")
}
