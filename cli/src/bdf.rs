//! A PCI address on the command line.

use std::ffi::OsStr;

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use vfio_core::host;
use vfio_core::kernel::Linux;

use crate::names::Names;

/// Completes the addresses of this host's devices.
pub(crate) fn completer() -> ArgValueCompleter {
    ArgValueCompleter::new(complete)
}

fn complete(begun: &OsStr) -> Vec<CompletionCandidate> {
    let Some(begun) = begun.to_str() else {
        return Vec::new();
    };
    let all = host::devices(&Linux).into_iter();
    let fitting = all.filter(|bdf| bdf.to_string().starts_with(begun));
    let devices: Vec<_> = fitting
        .filter_map(|bdf| host::device(&Linux, bdf).ok())
        .collect();
    let names = Names::of(&devices);
    let candidate = |device: &host::PciDevice| {
        let help = names.device(device).map(Into::into);
        CompletionCandidate::new(device.bdf.to_string()).help(help)
    };
    devices.iter().map(candidate).collect()
}
