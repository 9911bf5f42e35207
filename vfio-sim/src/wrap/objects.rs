//! Which object an fd is: by the order in which they were opened, never by the fd's number.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::path::Path;

use rustix::fs::fstat;
use vfio_core::CONTAINER_NODE;
use vfio_core::kernel::Opcode;
use vfio_core::uapi;

use crate::names::Kind;

/// How many objects were opened through the wrapper before this one.
pub type Tag = u64;

/// What an fd stands for, as far as the wrapper saw it opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object {
    /// Which one.
    pub tag: Tag,
    /// What kind of object.
    pub kind: Kind,
}

/// The objects that were opened through a wrapper.
///
/// An fd is known by its number and its file. A duplicate has another number, and is known where no other object
/// has the same file: on the simulated kernel always, on Linux not for containers and what has no node.
#[derive(Debug, Default)]
pub(crate) struct Objects(Vec<Opened>);

#[derive(Debug)]
struct Opened {
    fd: RawFd,
    file: Option<File>,
    kind: Kind,
}

/// A file system and a number in it.
type File = (u64, u64);

impl Objects {
    /// A new fd.
    pub(crate) fn add(&mut self, fd: BorrowedFd<'_>, kind: Kind) -> Object {
        let tag = self.0.len() as u64;
        self.0.push(Opened {
            fd: fd.as_raw_fd(),
            file: file(fd),
            kind,
        });
        Object { tag, kind }
    }

    /// What an fd stands for.
    pub(crate) fn find(&self, fd: BorrowedFd<'_>) -> Option<Object> {
        let index = self.index(fd)?;
        Some(Object {
            tag: index as u64,
            kind: self.0[index].kind,
        })
    }

    /// A container was given its IOMMU.
    pub(crate) fn set_iommu(&mut self, container: BorrowedFd<'_>, iommu: usize) {
        let index = self.index(container);
        if let Some(opened) = index.and_then(|index| self.0.get_mut(index)) {
            let spapr = [uapi::SPAPR_TCE_IOMMU, uapi::SPAPR_TCE_V2_IOMMU];
            opened.kind = match u32::try_from(iommu) {
                Ok(iommu) if spapr.contains(&iommu) => Kind::Spapr,
                _ => Kind::Type1,
            };
        }
    }

    /// The newest one with that number counts: the older ones must have been closed.
    fn index(&self, fd: BorrowedFd<'_>) -> Option<usize> {
        let (number, file) = (fd.as_raw_fd(), file(fd));
        let same = self.0.iter().rposition(|opened| opened.fd == number);
        same.filter(|index| self.0[*index].file == file)
            .or_else(|| self.only_one_of(file?))
    }

    fn only_one_of(&self, file: File) -> Option<usize> {
        let mut found = (0..self.0.len()).filter(|index| self.0[*index].file == Some(file));
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }
}

fn file(fd: BorrowedFd<'_>) -> Option<File> {
    let stat = fstat(fd).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

/// What kind of object opening a node gives.
pub(crate) fn kind_of_node(path: &Path) -> Kind {
    let container = Path::new(CONTAINER_NODE);
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("");
    let number = name.strip_prefix("noiommu-").unwrap_or(name);
    if path == container {
        Kind::Container
    } else if path.parent() == container.parent() && number.parse::<u32>().is_ok() {
        Kind::Group
    } else if path.starts_with("/dev/vfio/devices") {
        Kind::Device
    } else {
        Kind::Other
    }
}

/// What kind of object an ioctl returns the fd of.
pub(crate) fn kind_of_answer(opcode: Opcode) -> Kind {
    match opcode {
        uapi::GROUP_GET_DEVICE_FD => Kind::Device,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::event::{EventfdFlags, eventfd};
    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    #[test]
    fn nodes_have_kinds() {
        for (path, kind) in [
            ("/dev/vfio/vfio", Kind::Container),
            ("/dev/vfio/26", Kind::Group),
            ("/dev/vfio/noiommu-0", Kind::Group),
            ("/dev/vfio/devices/vfio0", Kind::Device),
            ("/dev/iommu", Kind::Other),
            ("/dev/26", Kind::Other),
        ] {
            assert_eq!(kind_of_node(path.as_ref()), kind, "{path}");
        }
    }

    #[test]
    fn a_duplicate_is_known_and_a_number_that_was_used_again_is_not() {
        let mut objects = Objects::default();
        let mut first = memfd_create("first", MemfdFlags::CLOEXEC).unwrap();
        let opened = objects.add(first.as_fd(), Kind::Group);
        let duplicate = first.try_clone().unwrap();
        assert_eq!(objects.find(duplicate.as_fd()), Some(opened));

        drop(duplicate);
        let other = memfd_create("other", MemfdFlags::CLOEXEC).unwrap();
        assert_eq!(objects.find(other.as_fd()), None);
        assert_eq!(objects.find(first.as_fd()), Some(opened));
        // The first one is closed, and its number is the other one's.
        rustix::io::dup2(&other, &mut first).unwrap();
        assert_eq!(objects.find(first.as_fd()), None);
    }

    #[test]
    fn files_that_look_alike_are_told_by_their_numbers() {
        let mut objects = Objects::default();
        let fds = [0, 1].map(|_| eventfd(0, EventfdFlags::CLOEXEC).unwrap());
        let [first, second] = fds
            .each_ref()
            .map(|fd| objects.add(fd.as_fd(), Kind::Eventfd));
        assert_eq!(objects.find(fds[0].as_fd()), Some(first));
        assert_eq!(objects.find(fds[1].as_fd()), Some(second));
        // Every eventfd has the same file.
        assert_eq!(objects.find(fds[1].try_clone().unwrap().as_fd()), None);
    }
}
