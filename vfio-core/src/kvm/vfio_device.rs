//! The device of KVM's that knows what VFIO has assigned to a VM.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use tracing::warn;

use crate::device::Device;
use crate::error::{Answer, Error, ErrorKind, Result};
use crate::group::SharedGroup;
use crate::iommu::Domain;
use crate::kernel::{Errno, Kernel};
use crate::sync::{Mutex, MutexGuard, PoisonError};

use super::{calls, uapi};

/// The call that all of this is.
const SET: &str = "KVM_SET_DEVICE_ATTR";
const HAS: &str = "KVM_HAS_DEVICE_ATTR";

/// What it is asked for.
const ADD: &str = "KVM_DEV_VFIO_FILE_ADD";
const DEL: &str = "KVM_DEV_VFIO_FILE_DEL";
const ATTACH: &str = "KVM_DEV_VFIO_GROUP_SET_SPAPR_TCE";

/// The KVM-VFIO device of a VM: it knows what VFIO has assigned to the VM.
///
/// What it is good for: x86 lets the guest choose how memory is cached once a device is assigned whose accesses do not
/// snoop; drivers that need to know their VM are told of it; and POWER attaches tables to what was added
/// ([`TceTable`](super::TceTable)). A VM has one such device at most.
///
/// It is a handle: clones speak of the same device, which is closed with the last of them and the last [`KvmGroup`].
#[derive(Debug, Clone)]
pub struct KvmVfio(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fd: OwnedFd,
    kernel: Arc<dyn Kernel>,
    is_adopted: bool,
    /// Whether groups can be attached to tables.
    has_tables: bool,
    /// Its lock is held while the kernel adds or takes away: what one does another may be about to count on.
    added: Mutex<Vec<Added>>,
}

/// Something that was added.
#[derive(Debug)]
struct Added {
    member: Member,
    /// How many [`KvmGroup`]s there are of it.
    holders: usize,
    /// Whether it is taken away with the last of them: not if somebody else has added it.
    is_ours: bool,
}

/// What is added. Each keeps its fd open.
#[derive(Debug, Clone)]
enum Member {
    Group(Arc<SharedGroup>),
    /// One that was opened without a group.
    Device(Device),
}

impl KvmVfio {
    /// Creates the device of a VM. The VM's fd need not stay open.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`]: the VM has one already; whoever created it has its fd, for [`adopt`](Self::adopt).
    /// [`ErrorKind::Unsupported`]: this kernel's KVM knows nothing of VFIO. [`ErrorKind::Invalid`]: the fd is none of
    /// a VM. Otherwise what the kernel answered: `EIO`, the VM belongs to another process.
    pub fn create(kernel: &Arc<dyn Kernel>, vm: BorrowedFd<'_>) -> Result<Self> {
        let fd = calls::create_vfio_device(kernel, vm)?;
        Self::of(kernel, fd, false)
    }

    /// The device that somebody else created, by a duplicate of its fd. What that one has added stays added.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: the fd is of something else. Otherwise what the kernel answered.
    pub fn adopt(kernel: &Arc<dyn Kernel>, fd: OwnedFd) -> Result<Self> {
        let none = || {
            Error::new(ErrorKind::Invalid, HAS, "a device of KVM's")
                .because("the fd is none of a KVM-VFIO device")
        };
        match has(kernel, fd.as_fd(), uapi::DEV_VFIO_FILE_ADD) {
            Ok(true) => Self::of(kernel, fd, true),
            Ok(false) => Err(none()),
            Err(error) => Err(match error.errno() {
                Some(Errno::NOTTY | Errno::PERM | Errno::INVAL) => none(),
                _ => error,
            }),
        }
    }

    /// The kernel that it belongs to.
    pub fn kernel(&self) -> &Arc<dyn Kernel> {
        &self.0.kernel
    }

    fn of(kernel: &Arc<dyn Kernel>, fd: OwnedFd, is_adopted: bool) -> Result<Self> {
        let has_tables = has(kernel, fd.as_fd(), uapi::DEV_VFIO_GROUP_SET_SPAPR_TCE)?;
        Ok(Self(Arc::new(Inner {
            fd,
            kernel: Arc::clone(kernel),
            is_adopted,
            has_tables,
            added: Mutex::default(),
        })))
    }

    /// Tells KVM of a device: of its group, or of the device itself if it was opened without one (Linux 6.6). Devices
    /// of one group are counted: KVM knows the group until the last of them is taken away. A group that somebody else
    /// has added, through another fd of an [adopted](Self::adopt) device, is left to that one.
    ///
    /// Some devices of drivers other than `vfio-pci` must be added before they are opened; this does not do that.
    ///
    /// # Errors
    /// What the kernel answered: `EINVAL`, the kernel takes no such file; `EIO`, the VM belongs to another process.
    pub fn add(&self, device: &Device) -> Result<KvmGroup> {
        let member = match device.shared_group() {
            Some(group) => Member::Group(Arc::clone(group)),
            None => Member::Device(device.clone()),
        };
        let held = KvmGroup {
            member,
            domain: device.domain().clone(),
            kvm: None,
        };
        self.hold(held)
    }

    /// The groups of a domain that were added, as if each were added once more.
    ///
    /// # Errors
    /// Those of [`add`](Self::add).
    pub fn added_of(&self, domain: &Domain) -> Result<Vec<KvmGroup>> {
        let members: Vec<_> = {
            let added = self.0.added();
            added.iter().map(|it| it.member.clone()).collect()
        };
        let held = members.into_iter().filter_map(|member| {
            let of = member.domain()?.clone();
            (of == *domain).then_some(KvmGroup {
                member,
                domain: of,
                kvm: None,
            })
        });
        held.map(|held| self.hold(held)).collect()
    }

    /// Counts a hold, and adds what is held if it is the first.
    fn hold(&self, mut held: KvmGroup) -> Result<KvmGroup> {
        let mut added = self.0.added();
        if let Some(known) = added.iter_mut().find(|it| it.member.is(&held.member)) {
            known.holders += 1;
        } else {
            let is_ours = self.0.add(&held.member)?;
            added.push(Added {
                member: held.member.clone(),
                holders: 1,
                is_ours,
            });
        }
        held.kvm = Some(self.clone());
        Ok(held)
    }
}

impl Inner {
    fn added(&self) -> MutexGuard<'_, Vec<Added>> {
        self.added.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a file; answers whether it is for us to take it away.
    fn add(&self, member: &Member) -> Result<bool> {
        match self.set_file(uapi::DEV_VFIO_FILE_ADD, member) {
            Ok(()) => {
                self.show(member).inspect_err(|_| {
                    let gone = self.show(member).and_then(|()| self.delete(member));
                    if let Err(error) = gone {
                        warn!(%error, "a group that was added in vain stays added");
                    }
                })?;
                Ok(true)
            }
            // By another holder of the fd; or by us, who could not take it away.
            Err(Answer::Errno(Errno::EXIST)) => Ok(!self.is_adopted),
            Err(answer) => {
                let error = member.failed(ADD, answer);
                Err(match answer {
                    Answer::Errno(Errno::INVAL) => {
                        error.because("this kernel's KVM takes no such file of VFIO")
                    }
                    _ => error,
                })
            }
        }
    }

    /// Has the kernel look at a group (H11).
    fn show(&self, member: &Member) -> Result<()> {
        match (member, member.fd()) {
            (Member::Group(_), Some(fd)) if self.has_tables => {
                calls::show_group(&self.kernel, self.fd.as_fd(), fd)
                    .map_err(|answer| member.failed(ATTACH, answer))
            }
            _ => Ok(()),
        }
    }

    fn delete(&self, member: &Member) -> Result<()> {
        self.set_file(uapi::DEV_VFIO_FILE_DEL, member)
            .map_err(|answer| member.failed(DEL, answer))
    }

    /// Gives up one hold; with the last one, the kernel forgets what is held.
    fn release(&self, member: &Member) -> Result<()> {
        let mut added = self.added();
        let Some(at) = added.iter().position(|it| it.member.is(member)) else {
            return Ok(());
        };
        let Some(known) = added.get_mut(at) else {
            return Ok(());
        };
        known.holders -= 1;
        if known.holders > 0 {
            return Ok(());
        }
        let last = added.swap_remove(at);
        if !last.is_ours {
            return Ok(());
        }
        self.delete(member)
    }

    fn set_file(&self, attribute: u64, member: &Member) -> std::result::Result<(), Answer> {
        let file = member.fd().ok_or(Errno::BADF)?;
        calls::set_file(&self.kernel, self.fd.as_fd(), attribute, file)
    }
}

impl Member {
    /// The same file.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Group(a), Self::Group(b)) => Arc::ptr_eq(a, b),
            (Self::Device(a), Self::Device(b)) => a.is(b),
            _ => false,
        }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Group(group) => group.membership().group().map(|(_, fd)| fd),
            Self::Device(device) => Some(device.fd()),
        }
    }

    fn domain(&self) -> Option<&Domain> {
        match self {
            Self::Group(group) => group.membership().domain(),
            Self::Device(device) => Some(device.domain()),
        }
    }

    /// An error of a call that sets that attribute.
    fn failed(&self, attribute: &str, answer: Answer) -> Error {
        let named = |name: String| failed(SET, &format!("{attribute} of {name}"), answer);
        match self {
            Self::Group(group) => match group.membership().group() {
                Some((id, _)) => named(format!("group {id}")).of_group(id),
                None => named("a group".to_owned()),
            },
            Self::Device(device) => {
                let bdf = device.bdf();
                named(bdf.to_string()).of_device(bdf)
            }
        }
    }
}

/// Whether a KVM-VFIO device has an attribute.
fn has(kernel: &Arc<dyn Kernel>, device: BorrowedFd<'_>, attribute: u64) -> Result<bool> {
    match calls::has_attribute(kernel, device, attribute) {
        Ok(()) => Ok(true),
        Err(Answer::Errno(Errno::NXIO)) => Ok(false),
        Err(answer) => Err(failed(HAS, "a device of KVM's", answer)),
    }
}

/// An error of a call on a KVM-VFIO device.
fn failed(operation: &'static str, object: &str, answer: Answer) -> Error {
    let error = Error::kernel(operation, object, answer);
    match answer {
        Answer::Errno(Errno::IO) => error.because("the VM belongs to another process"),
        _ => error,
    }
}

/// A group (or a device without one) that KVM was told of. It keeps the group open and in its container, and KVM
/// forgets it, with the last of its kind, before the group is closed.
#[derive(Debug)]
pub struct KvmGroup {
    /// `None` before it was added, and after it was released.
    kvm: Option<KvmVfio>,
    member: Member,
    domain: Domain,
}

impl KvmGroup {
    /// What its devices can reach.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Lets KVM forget it now, if nobody else has added a device of the group, and closes the group, if no device of it
    /// is open; says what could not be done. What is merely dropped is released too; what fails is logged then.
    ///
    /// # Errors
    /// What the kernel answered. [`ErrorKind::Busy`]: as for [`Device::close`].
    pub fn close(mut self) -> Result<()> {
        let released = self.release();
        let closed = match self.member.clone() {
            Member::Group(group) => {
                drop(self);
                group.close()
            }
            Member::Device(device) => {
                drop(self);
                device.close()
            }
        };
        released.and(closed)
    }

    /// One more hold of the same.
    pub(super) fn again(&self) -> Result<Self> {
        let held = Self {
            kvm: None,
            member: self.member.clone(),
            domain: self.domain.clone(),
        };
        match &self.kvm {
            Some(kvm) => kvm.hold(held),
            None => Ok(held),
        }
    }

    /// Whether both hold the same, added to the same VM.
    pub(super) fn is(&self, other: &Self) -> bool {
        let vm = |it: &Self| it.kvm.as_ref().map(|kvm| Arc::as_ptr(&kvm.0));
        vm(self) == vm(other) && self.member.is(&other.member)
    }

    /// Attaches it to a table.
    ///
    /// # Safety
    /// That of [`TceTable::attach`](super::TceTable::attach).
    ///
    /// # Errors
    /// What the kernel answered.
    #[allow(unsafe_code)] // passes the promise on
    pub(super) unsafe fn set_table(&self, table: BorrowedFd<'_>) -> Result<()> {
        let (Some(kvm), Some(fd)) = (&self.kvm, self.member.fd()) else {
            return Err(self.member.failed(ATTACH, Answer::Errno(Errno::NOENT)));
        };
        // SAFETY: passed on to our caller.
        let attached = unsafe { calls::set_spapr_tce(&kvm.0.kernel, kvm.0.fd.as_fd(), fd, table) };
        attached.map_err(|answer| {
            let error = self.member.failed(ATTACH, answer);
            match answer {
                Answer::Errno(Errno::INVAL) => error.of_kind(ErrorKind::Invalid).because(
                    "its container has no window there that is as large, with pages no larger; or the table is another VM's",
                ),
                Answer::Errno(Errno::NXIO) => error
                    .of_kind(ErrorKind::Unsupported)
                    .because("this kernel's KVM attaches no tables"),
                Answer::Errno(Errno::NOTTY) => error
                    .of_kind(ErrorKind::Busy)
                    .because("the kernel is letting go of the same table just now"),
                _ => error,
            }
        })
    }

    fn release(&mut self) -> Result<()> {
        match self.kvm.take() {
            Some(kvm) => kvm.0.release(&self.member),
            None => Ok(()),
        }
    }
}

impl Drop for KvmGroup {
    fn drop(&mut self) {
        if let Err(error) = self.release() {
            warn!(%error, "KVM could not be told that a group has left");
        }
    }
}
