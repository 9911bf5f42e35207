//! What was asked, as the text that is recorded, and compared when it is asked again.

use std::path::Path;

use super::super::call::{Call, Input, Request};
use super::super::places::Places;
use super::hex;
use super::mask::masked;
use super::public::{self, Scope};

/// The part of a line in front of the arrow.
pub(in super::super) fn asked(call: &Call<'_>, places: &Places, scope: Scope) -> String {
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
        Request::Write { path, bytes } => format!("{name} {} {}", escaped(path), hex(bytes)),
        Request::Ioctl { input, .. } | Request::IoctlFd { input, .. } => {
            let given = match input {
                Input::None => "-".to_owned(),
                Input::Value(value) => format!("={value}"),
                Input::Bytes(bytes) => argument(&name, bytes, places, scope),
            };
            format!("{name} {} {given}", object())
        }
        Request::Pread { len, offset } => format!("{name} {} {len} at {offset:#x}", object()),
        Request::Pwrite { bytes, offset } => {
            let bytes = match scope {
                Scope::Everything => hex(bytes),
                Scope::Public => hex(&vec![0; bytes.len()]),
            };
            format!("{name} {} {bytes} at {offset:#x}", object())
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
        Request::Munmap { addr, len } | Request::KeepFromChildren { addr, len } => {
            format!(
                "{name} {} {len}",
                places.address(addr.addr().get() as u64, scope)
            )
        }
        // Of the last three, no trace has anything.
        Request::Eventfd
        | Request::Populate { .. }
        | Request::Resident { .. }
        | Request::Node { .. } => name.into_owned(),
    }
}

/// The bytes of an ioctl's argument, and what the masked parts of them stand for.
fn argument(name: &str, bytes: &[u8], places: &Places, scope: Scope) -> String {
    let mut shown = masked(name, bytes);
    if scope == Scope::Public {
        shown = public::argument(name, &shown);
    }
    let names = places.names(name, bytes, scope);
    [vec![hex(&shown)], names].concat().join(" ")
}

fn escaped(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    bytes.escape_ascii().to_string().replace(' ', "\\x20")
}
