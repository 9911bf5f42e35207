//! What was asked and what it answered, as text.
//!
//! # The format, version 2
//!
//! One call a line, in the order in which they ended; lines that are empty or start with `#` are comments. The first
//! two lines are the version and what a kernel says of itself (`none` is no limit of locked memory); then come the
//! devices of a trace that is to be given away:
//!
//! ```text
//! vfio-trace 2
//! machine x86_64 6.12.95 page 4096 memlock none
//! device 0000:00:04.0 group 2 id 1234:11e8 class 00ff00 driver vfio-pci
//! open /dev/vfio/vfio -> #0
//! VFIO_GET_API_VERSION 0 - -> 0
//! VFIO_CHECK_EXTENSION 0 =3 -> 1
//! open /dev/vfio/2 -> #1
//! VFIO_GROUP_GET_STATUS 1 x0800000000000000 -> 0 x0800000001000000
//! VFIO_GROUP_SET_CONTAINER 1 x00000000 #0 -> 0
//! mmap 65536 -> pages
//! VFIO_IOMMU_MAP_DMA 0 x2000000003000000[18]01[5] m0+0x1000 -> E22
//! ```
//!
//! In front of the arrow is what was asked: the call as [`Call::name`](super::Call::name) has it, the object, and what
//! it was given. An object is the number of those that were opened before it, `?` if it was not opened here. An ioctl
//! is given nothing (`-`), a number (`=3`) or bytes: two digits each, a number in brackets for so many that are 0
//! (`x0800[30]`); paths are written with what is not ASCII, and spaces, escaped (`\x20`). `close` is only there where
//! a program has [said so](super::Recording::close).
//!
//! Behind it is the answer: a number, `done`, `#` and the number of a new object, `pages` or `registers` for a
//! mapping, `E` and the number of an errno; then the bytes that were written, if there are any. The names in a
//! directory are bytes with zeros between them.
//!
//! A reader takes no other version than its own. What changes the meaning of a line, or adds one, is a new version.
//!
//! # What has a name
//!
//! Addresses of this process and fds differ from run to run. They are 0 in the text, in what was asked and in what
//! came back. Behind the bytes that were given, each is said by its name, in the order of this table: `#1` is an
//! object, `m0+0x1000` is in the memory that was mapped (`pages`) after 0 others, `nowhere` is the address 0, and `?` is
//! what came from elsewhere. (Only a trace to give away says where in a memory, and `m0` is all that another one has.)
//! An fd that is negative takes something away, stays, and has no name:
//!
//! | call | bytes |
//! |---|---|
//! | `VFIO_GROUP_SET_CONTAINER` | the fd at 0 |
//! | `VFIO_IOMMU_MAP_DMA`, `..._REGISTER_MEMORY`, `..._UNREGISTER_MEMORY` | the address at 8 |
//! | `VFIO_IOMMU_UNMAP_DMA`, `VFIO_IOMMU_DIRTY_PAGES` | the address of a bitmap at 40, if they are so long |
//! | `VFIO_DEVICE_SET_IRQS` with eventfds | the fds from 20 on |
//! | `VFIO_DEVICE_PCI_HOT_RESET` | the fds from 12 on |
//! | `VFIO_DEVICE_IOEVENTFD` | the fd at 24 |
//! | `VFIO_DEVICE_FEATURE` that sleeps with an eventfd | the fd at 8 |
//!
//! # What is kept back
//!
//! A trace [to give away](super::Recording::to_give_away) has in it: the architecture and the release of the kernel,
//! the sizes of its pages and of what may be locked, the addresses, ids, classes, drivers and groups of the devices
//! that it is about, and the calls with their answers. The answers are what VFIO says of regions, interrupts and IOMMUs,
//! and config space: its header, where each BAR is in the host's memory among it, and of each capability that which is
//! alike in all devices of a kind.
//!
//! 0 in its place is: what else was read of a device, and all that was written to it; in config space the serial
//! number and the other bodies of extended capabilities, vital product data, a vendor's capabilities, the address and
//! data of MSI; tokens, the data of features, the values of ioeventfds. Left out is what files and directories of the
//! host say. Neither name nor address of the host, nor of its user, is asked for.

mod ask;
mod asked;
mod machine;
mod mask;
mod parse;
pub(super) mod public;

use std::fmt;

use vfio_core::host::PciDevice;
use vfio_core::kernel::{Errno, Kernel};

pub(super) use ask::{Ask, Given, Name, parse as parse_ask};
pub(super) use asked::asked;
pub(super) use mask::{Field, fields, masked};
pub use parse::BadTrace;
pub(super) use public::Scope;

use super::objects::Tag;

/// The first line starts with it.
const MAGIC: &str = "vfio-trace";
/// The version that is written, and the only one that is read.
const VERSION: u32 = 2;

/// All that was recorded: read from its text, and written as it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    pub(super) machine: About,
    pub(super) devices: Vec<PciDevice>,
    pub(super) entries: Vec<Entry>,
}

/// What a kernel says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct About {
    pub(super) arch: String,
    pub(super) release: String,
    pub(super) page_size: usize,
    pub(super) memlock: Option<u64>,
}

/// A call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// What was asked, as its text.
    pub(super) asked: String,
    pub(super) said: Said,
    /// What was written.
    pub(super) output: Vec<u8>,
}

/// What a call answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Done,
    Number(u64),
    Fd(Tag),
    Pages,
    Registers,
    Failed(Errno),
}

impl About {
    pub(super) fn of(kernel: &dyn Kernel) -> Self {
        let (arch, release) = kernel.identity();
        Self {
            arch,
            release,
            page_size: kernel.page_size(),
            memlock: kernel.memlock_limit(),
        }
    }

    /// The same for a process that may have `CAP_IPC_LOCK`: then there is no limit.
    pub(super) fn of_process(kernel: &dyn Kernel) -> Self {
        let about = Self::of(kernel);
        let status = kernel
            .read("/proc/self/status".as_ref())
            .unwrap_or_default();
        Self {
            memlock: about.memlock.filter(|_| !has_ipc_lock(&status)),
            ..about
        }
    }
}

/// Whether a process whose status this is has `CAP_IPC_LOCK`.
fn has_ipc_lock(status: &[u8]) -> bool {
    const IPC_LOCK: u64 = 1 << 14;
    let status = String::from_utf8_lossy(status);
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    bits.is_some_and(|bits| bits & IPC_LOCK != 0)
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{MAGIC} {VERSION}")?;
        let About {
            arch,
            release,
            page_size,
            memlock,
        } = &self.machine;
        let memlock = memlock.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
        writeln!(
            f,
            "machine {arch} {release} page {page_size} memlock {memlock}"
        )?;
        for device in &self.devices {
            let group = device
                .group
                .map_or_else(|| "-".to_owned(), |id| id.to_string());
            writeln!(
                f,
                "device {} group {group} id {:04x}:{:04x} class {:06x} driver {}",
                device.bdf,
                device.vendor,
                device.device,
                device.class,
                device.driver.as_deref().unwrap_or("-")
            )?;
        }
        for entry in &self.entries {
            writeln!(f, "{entry}")?;
        }
        Ok(())
    }
}

impl Entry {
    /// An fd was closed.
    pub(super) fn close(tag: Tag) -> Self {
        Self {
            asked: format!("close {tag}"),
            said: Said::Done,
            output: Vec::new(),
        }
    }

    /// The part of the line behind the arrow.
    pub(super) fn answer(&self) -> String {
        match self.output.as_slice() {
            [] => self.said.to_string(),
            output => format!("{} {}", self.said, hex(output)),
        }
    }

    pub(super) fn is_close(&self) -> bool {
        self.asked.starts_with("close ")
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.asked, self.answer())
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Number(number) => number.fmt(f),
            Self::Fd(tag) => write!(f, "#{tag}"),
            Self::Pages => f.write_str("pages"),
            Self::Registers => f.write_str("registers"),
            Self::Failed(errno) => write!(f, "E{}", errno.raw_os_error()),
        }
    }
}

/// Bytes as the text has them.
fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    /// So many zeros are written as their number.
    const MANY: usize = 9;

    let mut text = String::from("x");
    for run in bytes.chunk_by(|before, byte| (*before == 0) == (*byte == 0)) {
        // A string takes all.
        let _ = match run {
            [0, ..] if run.len() >= MANY => write!(text, "[{}]", run.len()),
            _ => run.iter().try_for_each(|byte| write!(text, "{byte:02x}")),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_the_right_to_lock_memory_has_no_limit() {
        assert!(has_ipc_lock(b"Name:\tx\nCapEff:\t000001ffffffffff\n"));
        assert!(has_ipc_lock(b"CapEff:\t0000000000004000\n"));
        for status in [
            "CapEff:\t0000000000000000\n",
            "CapPrm:\t0000000000004000\n",
            "",
        ] {
            assert!(!has_ipc_lock(status.as_bytes()), "{status}");
        }
    }

    #[test]
    fn many_zeros_are_written_as_their_number_and_few_are_not() {
        for (bytes, text) in [
            (&[0; 8][..], "x0000000000000000"),
            (&[0; 9], "x[9]"),
            (&[1, 0, 0, 2], "x01000002"),
            (&[], "x"),
        ] {
            assert_eq!(hex(bytes), text);
            assert_eq!(parse::bytes(text).as_deref(), Some(bytes));
        }
    }
}
