//! What was asked and what it answered, as text.
//!
//! # The format, version 1
//!
//! One call a line, in the order in which they ended; lines that are empty or start with `#` are comments. The first
//! two lines are the version and what a kernel says of itself (`none` is no limit of locked memory):
//!
//! ```text
//! vfio-trace 1
//! machine x86_64 6.12.95 page 4096 memlock none
//! open /dev/vfio/vfio -> #0
//! VFIO_GET_API_VERSION 0 - -> 0
//! VFIO_CHECK_EXTENSION 0 =3 -> 1
//! open /dev/vfio/2 -> #1
//! VFIO_GROUP_GET_STATUS 1 x0800000000000000 -> 0 x0800000001000000
//! VFIO_GROUP_SET_CONTAINER 1 x00000000 -> 0
//! VFIO_SET_IOMMU 0 =3 -> E22
//! ```
//!
//! In front of the arrow is what was asked: the call as [`Call::name`](super::Call::name) has it, the object, and what it was given.
//! An object is the number of those that were opened before it, `?` if it was not opened here. An ioctl is given
//! nothing (`-`), a number (`=3`) or bytes (`x08000000`); paths are written with what is not ASCII, and spaces,
//! escaped (`\x20`).
//!
//! Behind it is the answer: a number, `done`, `#` and the number of a new object, `pages` or `registers` for a
//! mapping, `E` and the number of an errno; then the bytes that were written, if there are any. The names in a
//! directory are bytes with zeros between them.
//!
//! # What is masked
//!
//! Addresses of this process and fds differ from run to run. They are 0 in the text, in what was asked and in what
//! came back, and are not compared; an fd that is negative takes something away, and stays:
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
//! The addresses of `munmap` and `MADV_DONTFORK` are left out.

mod asked;
mod mask;
mod parse;

use std::fmt;

use vfio_core::kernel::{Errno, Kernel};

pub(super) use asked::asked;
pub(super) use mask::{fields, masked};
pub use parse::BadTrace;

use super::objects::Tag;

/// The first line.
const VERSION: &str = "vfio-trace 1";

/// All that was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trace {
    pub(super) machine: About,
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
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{VERSION}")?;
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
        for entry in &self.entries {
            writeln!(f, "{entry}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.asked, self.said)?;
        if !self.output.is_empty() {
            write!(f, " {}", hex(&self.output))?;
        }
        Ok(())
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
    let mut text = String::with_capacity(1 + 2 * bytes.len());
    text.push('x');
    for byte in bytes {
        let _ = write!(text, "{byte:02x}"); // a string takes all
    }
    text
}
