//! Makes the calls of a trace again, on the simulation.
#![allow(unsafe_code)] // Calls as a trace has them, of a kernel that is simulated.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use vfio_core::kernel::{Arg, Errno, Kernel};
use vfio_core::uapi;

use super::objects::{Objects, Tag, kind_of_answer, kind_of_node};
use super::recording::Recording;
use super::trace::{Ask, Entry, Given, Name, Said, Trace, parse_ask};
use super::watched::Watched;
use crate::{SimKernel, names};

/// What came of the calls of a trace that were made again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Again {
    /// How many calls were made.
    pub made: usize,
    /// Those that could not be: they are about what a call before them did not open here, or came from elsewhere, or
    /// they are of a kind that is not made again (what writes to a device, maps its regions, reads files of the host).
    pub not_made: Vec<String>,
    /// Those that answered something else.
    pub differences: Vec<Difference>,
}

/// A call that answers something else than is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The call, as the [text](super::trace) has it.
    pub asked: String,
    /// What the trace says that it answered.
    pub recorded: String,
    /// What the simulation answered.
    pub simulated: String,
}

impl Again {
    /// Whether every call was made, and answered as it is recorded.
    pub fn is_same(&self) -> bool {
        self.not_made.is_empty() && self.differences.is_empty()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            asked,
            recorded,
            simulated,
        } = self;
        write!(
            f,
            "{asked}\n  recorded  {recorded}\n  simulated {simulated}"
        )
    }
}

/// Makes the calls of a trace [that was given away](Recording::to_give_away) on a simulated kernel, which should be
/// that of [its machine](Trace::machine) just booted, and compares what they answer.
///
/// Fds and memory are new ones; whatever the trace says, no other memory of this process is given to a call.
pub fn again(trace: &Trace, kernel: &SimKernel) -> Again {
    let recording = Arc::new(Recording::to_give_away(kernel, Vec::new()));
    let mut player = Player {
        kernel: Watched::new(Arc::new(kernel.clone()), recording.clone()),
        page: trace.machine.page_size,
        open: BTreeMap::new(),
        objects: Objects::default(),
        memories: Vec::new(),
    };
    let mut again = Again::default();
    for entry in &trace.entries {
        match player.make(entry) {
            None => again.not_made.push(entry.asked.clone()),
            Some(Made::Alone) => again.made += 1,
            Some(Made::Called) => {
                again.made += 1;
                let answered = recording.last();
                again
                    .differences
                    .extend(answered.and_then(|it| difference(entry, &it)));
            }
        }
    }
    again
}

fn difference(recorded: &Entry, simulated: &Entry) -> Option<Difference> {
    let same = match (recorded.said, simulated.said) {
        (Said::Fd(_), Said::Fd(_)) => true, // their numbers may differ after an earlier difference
        (recorded, simulated) => recorded == simulated,
    };
    if same && recorded.output == simulated.output {
        return None;
    }
    Some(Difference {
        asked: recorded.asked.clone(),
        recorded: recorded.answer(),
        simulated: simulated.answer(),
    })
}

/// How a call was made.
enum Made {
    /// Without asking the kernel.
    Alone,
    Called,
}

struct Player {
    kernel: Watched<Recording>,
    /// The recorded machine's, in bytes.
    page: usize,
    /// By the numbers that the trace has for them.
    open: BTreeMap<Tag, Arc<OwnedFd>>,
    objects: Objects,
    memories: Vec<Option<Memory>>,
}

/// Memory of this process, of whole pages of the recorded machine.
struct Memory {
    start: NonNull<u8>,
    /// From `start`, to a multiple of the page's size.
    skip: usize,
    len: usize,
}

impl Player {
    /// Makes a call; `None` if it cannot be made.
    fn make(&mut self, entry: &Entry) -> Option<Made> {
        match parse_ask(&entry.asked)? {
            Ask::Open(path) => {
                let fd = self.kernel.open(path.as_ref());
                self.keep(fd, entry, kind_of_node(path.as_ref()));
            }
            Ask::Eventfd => {
                let fd = self.kernel.eventfd();
                self.keep(fd, entry, names::Kind::Eventfd);
            }
            Ask::Close(tag) => {
                self.open.remove(&tag)?;
                return Some(Made::Alone);
            }
            Ask::Mmap(len) => {
                let memory = self.map(len);
                if entry.said == Said::Pages {
                    self.memories.push(memory);
                }
                return Some(Made::Alone);
            }
            Ask::Munmap(Name::Memory(n, 0)) => {
                let memory = self.memories.get_mut(n)?.take()?;
                self.give_back(&memory);
                return Some(Made::Alone);
            }
            Ask::Pread(tag, len, offset) => {
                let fd = self.open.get(&tag)?;
                // The answer is what was recorded of it.
                let _ = self.kernel.pread(fd.as_fd(), &mut vec![0; len], offset);
            }
            Ask::Ioctl(name, tag, given) => {
                let fd = Arc::clone(self.open.get(&tag)?);
                self.ioctl(name, fd.as_fd(), given, entry)?;
            }
            Ask::Munmap(_) | Ask::Other => return None,
        }
        Some(Made::Called)
    }

    fn ioctl(&mut self, name: &str, fd: BorrowedFd<'_>, given: Given, entry: &Entry) -> Option<()> {
        let opcode = names::opcode(name)?;
        let kind = self.objects.find(fd)?.kind;
        // Under another name a call would be given other things.
        if names::ioctl(opcode, Some(kind)) != Some(name) {
            return None;
        }
        let mut bytes;
        let arg = match given {
            Given::Nothing => Arg::None,
            Given::Value(value) => Arg::Value(value),
            Given::Bytes(given, names) => {
                bytes = given;
                for (place, name) in names {
                    let value = self.value(name, place.len())?;
                    bytes.get_mut(place)?.copy_from_slice(&value);
                }
                match entry.output.is_empty() {
                    true => Arg::In(&bytes),
                    false => Arg::InOut(&mut bytes),
                }
            }
        };
        if opcode == uapi::GROUP_GET_DEVICE_FD {
            // SAFETY: the kernel is simulated: it looks at the bytes that it was given and no further; their addresses
            // are those of memory that is kept, and its fds are objects of its own.
            let fd = unsafe { self.kernel.ioctl_fd(fd, opcode, arg) };
            self.keep(fd, entry, kind_of_answer(opcode));
            return Some(());
        }
        let value = match arg {
            Arg::Value(value) => Some(value),
            _ => None,
        };
        // SAFETY: as above.
        let answer = unsafe { self.kernel.ioctl(fd, opcode, arg) };
        if let (uapi::SET_IOMMU, Some(iommu), Ok(0)) = (opcode, value, answer) {
            self.objects.set_iommu(fd, iommu);
        }
        Some(())
    }

    /// Keeps a new fd under the number that the trace has for it.
    fn keep(&mut self, fd: Result<OwnedFd, Errno>, entry: &Entry, kind: names::Kind) {
        if let (Ok(fd), Said::Fd(tag)) = (fd, entry.said) {
            self.objects.add(fd.as_fd(), kind);
            self.open.insert(tag, Arc::new(fd));
        }
    }

    /// What a name stands for here, as that many bytes.
    fn value(&self, name: Name, len: usize) -> Option<Vec<u8>> {
        let value = match name {
            Name::Object(tag) => {
                let fd = self.open.get(&tag)?.as_raw_fd();
                return (len == size_of_val(&fd)).then(|| fd.to_ne_bytes().to_vec());
            }
            Name::Memory(n, offset) => {
                let memory = self.memories.get(n)?.as_ref()?;
                let offset = usize::try_from(offset).ok().filter(|it| *it < memory.len)?;
                (memory.start.addr().get() + memory.skip + offset) as u64
            }
            Name::Nowhere => 0,
            Name::Unknown => return None,
        };
        (len == size_of_val(&value)).then(|| value.to_ne_bytes().to_vec())
    }

    fn map(&self, len: usize) -> Option<Memory> {
        let start = self.kernel.mmap(len.checked_add(self.page)?).ok()?;
        Some(Memory {
            start,
            skip: start.addr().get().wrapping_neg() % self.page,
            len,
        })
    }

    fn give_back(&self, memory: &Memory) {
        // SAFETY: a mapping of this kernel, to which nothing refers; devices of the simulation find out.
        let _ = unsafe { self.kernel.munmap(memory.start, memory.len + self.page) };
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // Devices, groups, containers: as they came, backwards.
        while self.open.pop_last().is_some() {}
        for memory in std::mem::take(&mut self.memories).iter().flatten() {
            self.give_back(memory);
        }
    }
}
