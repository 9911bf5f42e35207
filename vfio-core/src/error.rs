//! The one error type, through every backend.

use std::fmt;

use crate::address::{HostRange, IovaRange};
use crate::host::Bdf;
use crate::kernel::Errno;

/// What a call of this crate answers.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// This host has no VFIO: no kernel support, or no module loaded.
    NoVfio,
    /// There is no such device.
    NoSuchDevice,
    /// The device has no IOMMU group: nothing translates its DMA.
    NoGroup,
    /// The device is bound to no VFIO driver.
    NotBound,
    /// Another member of the device's group belongs to a kernel driver.
    NotViable,
    /// The kernel does not permit it (`EACCES`, `EPERM`).
    NotPermitted,
    /// Somebody else has it (`EBUSY`).
    Busy,
    /// No backend is linked into this program, or two have the same name.
    Registry,
    /// No backend that this program has works on this host.
    NoBackend,
    /// The argument makes no sense: misaligned, of different sizes, out of a region.
    Invalid,
    /// The addresses are outside what the IOMMU can map.
    OutOfReach,
    /// The addresses are mapped already.
    Overlap,
    /// Memory, mappings, windows or addresses ran out.
    Exhausted,
    /// The life of the IOMMU context that the handle belongs to is over.
    Gone,
    /// A change could be neither made nor undone.
    Torn,
    /// The kernel or the device cannot do that.
    Unsupported,
    /// The kernel answered something else.
    Kernel,
}

impl ErrorKind {
    /// The exit status of a program of this project that such an error ends: 1 if it says what is in the way
    /// on this host, 3 if something is not permitted, 4 if the kernel or something else failed. (0 is
    /// success, 2 a wrong command line.)
    pub const fn exit_status(self) -> u8 {
        match self {
            Self::NoVfio
            | Self::NoSuchDevice
            | Self::NoGroup
            | Self::NotBound
            | Self::NotViable
            | Self::NoBackend => 1,
            Self::NotPermitted => 3,
            _ => 4,
        }
    }
}

/// What the kernel said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It failed with an errno.
    Errno(Errno),
    /// It returned a number that the call is not documented to return, which is a failure.
    Returned(u32),
}

impl From<Errno> for Answer {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl Answer {
    /// The kind that an answer has when nothing more is known of it.
    fn kind(self) -> ErrorKind {
        match self {
            Self::Errno(Errno::ACCESS | Errno::PERM) => ErrorKind::NotPermitted,
            Self::Errno(Errno::BUSY) => ErrorKind::Busy,
            Self::Errno(Errno::NOMEM | Errno::NOSPC | Errno::MFILE | Errno::NFILE) => {
                ErrorKind::Exhausted
            }
            Self::Errno(_) | Self::Returned(_) => ErrorKind::Kernel,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // "Device or resource busy (os error 16)"
            Self::Errno(errno) => errno.fmt(f),
            Self::Returned(value) => write!(
                f,
                "the kernel returned {value}, which this call is not documented to return"
            ),
        }
    }
}

/// What failed: the operation, the object, the range, what the kernel said, and why if it is known.
///
/// [`diagnose`](Self::diagnose) looks at the host and says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(Box<Parts>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts {
    kind: ErrorKind,
    operation: &'static str,
    object: String,
    iova: Option<IovaRange>,
    memory: Option<HostRange>,
    answer: Option<Answer>,
    reason: Option<String>,
    device: Option<Bdf>,
    group: Option<u32>,
    memlock: Option<u64>,
    causes: Vec<Error>,
}

impl Error {
    /// `operation` on `object` failed before the kernel was asked, or in words that need no errno.
    pub fn new(kind: ErrorKind, operation: &'static str, object: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            kind,
            operation,
            object: object.into(),
            iova: None,
            memory: None,
            answer: None,
            reason: None,
            device: None,
            group: None,
            memlock: None,
            causes: Vec::new(),
        }))
    }

    /// `operation` (for an ioctl its name) on `object` failed in the kernel, which said `answer`.
    pub fn kernel(
        operation: &'static str,
        object: impl Into<String>,
        answer: impl Into<Answer>,
    ) -> Self {
        let answer = answer.into();
        let mut error = Self::new(answer.kind(), operation, object);
        error.0.answer = Some(answer);
        error
    }

    /// The same with a kind that says more than the errno does.
    #[must_use]
    pub fn of_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// The same with the addresses that it is about.
    #[must_use]
    pub fn at(mut self, range: IovaRange) -> Self {
        self.0.iova = Some(range);
        self
    }

    /// The same with the memory that it is about.
    #[must_use]
    pub fn of_memory(mut self, memory: HostRange) -> Self {
        self.0.memory = Some(memory);
        self
    }

    /// The same with why, in words.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.0.reason = Some(reason.into());
        self
    }

    /// The same with more words on why.
    #[must_use]
    pub fn because_also(mut self, more: impl fmt::Display) -> Self {
        let reason = self.0.reason.take();
        let reason = reason.map_or_else(String::new, |reason| reason + "; ");
        self.0.reason = Some(format!("{reason}{more}"));
        self
    }

    /// The same with the device that it is about.
    #[must_use]
    pub fn of_device(mut self, device: Bdf) -> Self {
        self.0.device = Some(device);
        self
    }

    /// The same with the group that it is about.
    #[must_use]
    pub fn of_group(mut self, group: u32) -> Self {
        self.0.group = Some(group);
        self
    }

    /// The same with the `RLIMIT_MEMLOCK` that would be enough, in bytes, if it is that limit which is too low.
    #[must_use]
    pub fn lacking_memlock(mut self, enough: u64) -> Self {
        self.0.memlock = Some(enough);
        self
    }

    /// The same with the errors that led to it.
    #[must_use]
    pub fn caused_by(mut self, causes: Vec<Error>) -> Self {
        self.0.causes = causes;
        self
    }

    /// The errors that led to it: where no backend was chosen, how each one was refused.
    pub fn causes(&self) -> &[Error] {
        &self.0.causes
    }

    /// What went wrong, for programs.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was being done; for an ioctl its name.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// What it was done to.
    pub fn object(&self) -> &str {
        &self.0.object
    }

    /// What the kernel said, if it was asked.
    pub fn answer(&self) -> Option<Answer> {
        self.0.answer
    }

    /// The errno, if the kernel was asked and gave one.
    pub fn errno(&self) -> Option<Errno> {
        match self.0.answer {
            Some(Answer::Errno(errno)) => Some(errno),
            _ => None,
        }
    }

    /// The addresses that it is about.
    pub fn iova(&self) -> Option<IovaRange> {
        self.0.iova
    }

    /// The memory that it is about.
    pub fn memory(&self) -> Option<HostRange> {
        self.0.memory
    }

    /// Why, in words.
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// The device that it is about.
    pub fn device(&self) -> Option<Bdf> {
        self.0.device
    }

    /// The `RLIMIT_MEMLOCK` that would be enough, in bytes, if it is that limit which is too low, and that is known.
    pub fn memlock(&self) -> Option<u64> {
        self.0.memlock
    }

    /// The group that it is about.
    pub fn group(&self) -> Option<u32> {
        self.0.group
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = &*self.0;
        write!(f, "{} {}", parts.operation, parts.object)?;
        if let Some(iova) = parts.iova {
            write!(f, ", IOVA {iova}")?;
        }
        if let Some(memory) = parts.memory {
            write!(f, ", {memory}")?;
        }
        if let Some(reason) = &parts.reason {
            write!(f, ": {reason}")?;
        }
        if let Some(answer) = parts.answer {
            write!(f, ": {answer}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let first = self.0.causes.first()?;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Iova;

    #[test]
    fn an_error_names_operation_object_range_reason_and_errno() {
        let error = Error::kernel("VFIO_IOMMU_MAP_DMA", "container", Errno::EXIST)
            .because("the range is mapped")
            .at(IovaRange::inclusive(Iova(0x1000), Iova(0x1fff)).unwrap());
        assert_eq!(
            error.to_string(),
            "VFIO_IOMMU_MAP_DMA container, IOVA [0x1000-0x1fff]: the range is mapped: \
             File exists (os error 17)"
        );
    }

    #[test]
    fn what_it_says_can_be_asked_for() {
        let cause = Error::kernel("VFIO_SET_IOMMU", "type 7", Errno::PERM);
        let range = IovaRange::inclusive(Iova(0), Iova(0xfff)).unwrap();
        let error = Error::new(ErrorKind::NoBackend, "choose", "a backend")
            .because("none is left")
            .at(range)
            .of_memory(HostRange::new(0x5000, 1).unwrap())
            .of_group(7)
            .caused_by(vec![cause]);
        assert_eq!(error.operation(), "choose");
        assert_eq!(error.object(), "a backend");
        assert_eq!(error.reason(), Some("none is left"));
        assert_eq!(error.iova(), Some(range));
        assert_eq!(error.memory(), HostRange::new(0x5000, 1));
        assert_eq!(error.group(), Some(7));
        assert_eq!(error.answer(), None);
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.to_string(), error.causes()[0].to_string());
        assert_eq!(error.causes()[0].answer(), Some(Answer::Errno(Errno::PERM)));
        assert_eq!(error.causes()[0].kind().exit_status(), 3);
        assert_eq!(
            (error.kind().exit_status(), ErrorKind::Busy.exit_status()),
            (1, 4)
        );
    }

    #[test]
    fn a_number_that_the_call_is_not_documented_to_return_is_said() {
        let error = Error::kernel("VFIO_IOMMU_MAP_DMA", "it", Answer::Returned(1));
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Kernel, None));
        assert!(error.to_string().contains("returned 1"), "{error}");
    }
}
