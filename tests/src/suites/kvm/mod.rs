//! KVM beside VFIO: groups that a VM is told of, and tables in its kernel.
#![allow(unsafe_code)] // Raw calls, right and wrong ones; a table that no guest fills.

mod bridge;
mod guest;
mod memory_slots;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use vfio_core::ErrorKind;
use vfio_core::address::{Access, DmaMask, Iova, IovaRange};
use vfio_core::host::PciDevice;
use vfio_core::iommu::Aperture;
use vfio_core::kernel::{Arg, Errno, Kernel, Opcode};
use vfio_core::kvm::uapi::{self, CreateDevice, DeviceAttr, VfioSpaprTce};
use vfio_core::kvm::{KvmVfio, Tce, TceTable, create_vm, has_capability};
use zerocopy::{Immutable, IntoBytes};

use super::{Outcome, Rig};
use crate::random;

pub(super) use bridge::taken_over;
pub(super) use guest::maps;
pub(super) use memory_slots::{inserted, slots};

const NO_KVM: Outcome = Outcome::NotHere("this host has no KVM");
const NO_TABLES: Outcome = Outcome::NotHere("KVM has no TCE tables here");

/// The number of the first table.
const LIOBN: u64 = 0x8000_0000;

/// A VM; `None` where there is no KVM.
fn vm(rig: &Rig) -> Result<Option<OwnedFd>> {
    match create_vm(rig.vfio().kernel()) {
        Ok(vm) => Ok(Some(vm)),
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The KVM-VFIO device of a VM, asked without the library.
struct Raw {
    kernel: Arc<dyn Kernel>,
    fd: OwnedFd,
}

impl Raw {
    fn create(kernel: &Arc<dyn Kernel>, vm: BorrowedFd<'_>) -> Result<Self, Errno> {
        let mut create = CreateDevice {
            kind: uapi::DEV_TYPE_VFIO,
            fd: -1,
            flags: 0,
        };
        // SAFETY: the struct that the call takes, which carries no address.
        unsafe { kernel.ioctl(vm, uapi::CREATE_DEVICE, Arg::InOut(create.as_mut_bytes())) }?;
        Ok(Self {
            kernel: Arc::clone(kernel),
            // SAFETY: the kernel has put a new fd there, which nobody else knows.
            fd: unsafe { OwnedFd::from_raw_fd(create.fd) },
        })
    }

    /// Asks with the address of a value, or with none.
    fn ask<T: IntoBytes + Immutable>(
        &self,
        opcode: Opcode,
        (group, attr): (u32, u64),
        value: Option<&T>,
    ) -> Result<(), Errno> {
        let attr = DeviceAttr {
            flags: 0,
            group,
            attr,
            addr: value.map_or(0, |value| (&raw const *value).expose_provenance() as u64),
        };
        let arg = Arg::In(attr.as_bytes());
        // SAFETY: the struct that the calls take, with the address of a value that is borrowed, and that they only read.
        unsafe { self.kernel.ioctl(self.fd.as_fd(), opcode, arg) }.map(drop)
    }

    fn set(&self, attr: u64, fd: i32) -> Result<(), Errno> {
        self.ask(
            uapi::SET_DEVICE_ATTR,
            (uapi::DEV_VFIO_FILE, attr),
            Some(&fd),
        )
    }

    /// And has the kernel look at the group, where it has tables (H11).
    fn add(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        self.set(uapi::DEV_VFIO_FILE_ADD, fd.as_raw_fd())?;
        match self.attach(fd.as_raw_fd(), -1) {
            Err(Errno::BADF | Errno::NXIO) => Ok(()),
            other => other.and(Err(Errno::IO)),
        }
    }

    fn delete(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        self.set(uapi::DEV_VFIO_FILE_DEL, fd.as_raw_fd())
    }

    fn attach(&self, groupfd: i32, tablefd: i32) -> Result<(), Errno> {
        let param = VfioSpaprTce { groupfd, tablefd };
        let attr = (uapi::DEV_VFIO_FILE, uapi::DEV_VFIO_GROUP_SET_SPAPR_TCE);
        self.ask(uapi::SET_DEVICE_ATTR, attr, Some(&param))
    }

    /// Another way to the same device.
    fn adopted(&self) -> Result<KvmVfio> {
        Ok(KvmVfio::adopt(&self.kernel, self.fd.try_clone()?)?)
    }
}

/// A VM knows a group until the last who added it has gone, and of those only who added it first takes it away.
pub(super) fn groups(rig: &Rig) -> Result<Outcome> {
    let Some(vm) = vm(rig)? else {
        return Ok(NO_KVM);
    };
    let kernel = rig.vfio().kernel();
    ensure!(has_capability(kernel, vm.as_fd(), uapi::CAP_DEVICE_CTRL)?);
    let raw = Raw::create(kernel, vm.as_fd()).context("KVM_CREATE_DEVICE")?;
    let group = rig.device.hand_over()?.into_fds().group;

    let error = KvmVfio::create(kernel, vm.as_fd()).err();
    let error = error.context("a VM has two VFIO devices")?;
    ensure!(error.kind() == ErrorKind::Busy, "{error}");
    let error = KvmVfio::create(kernel, group.as_fd()).err();
    let error = error.context("a group is a VM")?;
    ensure!(error.kind() == ErrorKind::Invalid, "{error}");
    let error = KvmVfio::adopt(kernel, vm.try_clone()?).err();
    let error = error.context("a VM is a VFIO device of one")?;
    ensure!(error.kind() == ErrorKind::Invalid, "{error}");

    let kvm = raw.adopted()?;
    let first = kvm.add(&rig.device)?;
    ensure!(
        raw.add(group.as_fd()) == Err(Errno::EXIST),
        "it was not added"
    );
    let second = kvm.add(&rig.device)?;
    ensure!(second.domain() == rig.device.domain());
    first.close()?;
    ensure!(
        raw.add(group.as_fd()) == Err(Errno::EXIST),
        "one of two took it away"
    );
    drop(second);
    ensure!(
        raw.delete(group.as_fd()) == Err(Errno::NOENT),
        "nobody took it away"
    );
    // What somebody else has added is that one's to take away.
    raw.add(group.as_fd()).context("add")?;
    drop(kvm.add(&rig.device)?);
    raw.delete(group.as_fd())
        .context("it was somebody else's")?;

    held_open(rig, &raw)?;

    // A device goes with its last fd, and then the VM can have another, which knows nothing.
    let left = kvm.add(&rig.device)?;
    drop((kvm, raw));
    ensure!(Raw::create(kernel, vm.as_fd()).err() == Some(Errno::BUSY));
    drop(left);
    let elsewhere = |other: &PciDevice| (other.group != rig.sysfs().group).then_some(());
    if let Some((other, ())) = rig.other(elsewhere)? {
        drop(
            rig.vfio()
                .open(other.bdf)
                .context("nothing holds its group")?,
        );
    }
    let kvm = KvmVfio::create(kernel, vm.as_fd())?;
    let added = kvm.add(&rig.device)?;
    drop((kvm, vm));
    added.close()?;
    Ok(Outcome::Passed)
}

/// A group that is closed while a VM knows it stays open, if there is another group to close.
fn held_open(rig: &Rig, raw: &Raw) -> Result<()> {
    let elsewhere = |other: &PciDevice| (other.group != rig.sysfs().group).then_some(());
    let Some((other, ())) = rig.other(elsewhere)? else {
        return Ok(());
    };
    let device = rig.vfio().open(other.bdf)?;
    let group = device.hand_over()?.into_fds().group;
    raw.add(group.as_fd()).context("add")?;
    let another = group.try_clone()?;
    drop((device, group));
    // The last fd of it here; what KVM has is the same file.
    raw.delete(another.as_fd()).context("delete")?;
    raw.add(another.as_fd()).context("add")?;
    drop(another);
    let error = rig.vfio().open(other.bdf).err();
    let error = error.context("it was closed")?;
    ensure!(error.kind() == ErrorKind::Busy, "{error}");
    Ok(())
}

/// What makes no sense is refused, and changes nothing.
pub(super) fn wrong_arguments(rig: &Rig) -> Result<Outcome> {
    let Some(vm) = vm(rig)? else {
        return Ok(NO_KVM);
    };
    let kernel = rig.vfio().kernel();
    let raw = Raw::create(kernel, vm.as_fd()).context("KVM_CREATE_DEVICE")?;
    let group = rig.device.hand_over()?.into_fds().group;
    let other = kernel.eventfd()?;
    let (set, has) = (uapi::SET_DEVICE_ATTR, uapi::HAS_DEVICE_ATTR);
    let (files, add, delete) = (
        uapi::DEV_VFIO_FILE,
        uapi::DEV_VFIO_FILE_ADD,
        uapi::DEV_VFIO_FILE_DEL,
    );
    let fd = group.as_raw_fd();
    let table = (files, uapi::DEV_VFIO_GROUP_SET_SPAPR_TCE);
    let has_tables = has_capability(kernel, vm.as_fd(), uapi::CAP_SPAPR_TCE_64)?;
    let unless_tables = match has_tables {
        true => Ok(()),
        false => Err(Errno::NXIO),
    };
    let cases = [
        ("has add", raw.ask::<i32>(has, (files, add), None), Ok(())),
        (
            "has delete",
            raw.ask::<i32>(has, (files, delete), None),
            Ok(()),
        ),
        (
            "has tables",
            raw.ask::<i32>(has, table, None),
            unless_tables,
        ),
        (
            "has more",
            raw.ask::<i32>(has, (files, 4), None),
            Err(Errno::NXIO),
        ),
        (
            "has nothing else",
            raw.ask::<i32>(has, (2, add), None),
            Err(Errno::NXIO),
        ),
        (
            "another attribute",
            raw.ask(set, (files, 4), Some(&fd)),
            Err(Errno::NXIO),
        ),
        (
            "another group",
            raw.ask(set, (0, add), Some(&fd)),
            Err(Errno::NXIO),
        ),
        (
            "no address",
            raw.ask::<i32>(set, (files, add), None),
            Err(Errno::FAULT),
        ),
        ("add no fd", raw.set(add, -1), Err(Errno::BADF)),
        ("add an eventfd", raw.add(other.as_fd()), Err(Errno::INVAL)),
        ("add the VM", raw.add(vm.as_fd()), Err(Errno::INVAL)),
        ("delete no fd", raw.set(delete, -1), Err(Errno::BADF)),
        (
            "delete an eventfd",
            raw.delete(other.as_fd()),
            Err(Errno::NOENT),
        ),
        (
            "delete what was not added",
            raw.delete(group.as_fd()),
            Err(Errno::NOENT),
        ),
        ("add", raw.add(group.as_fd()), Ok(())),
        ("add again", raw.add(group.as_fd()), Err(Errno::EXIST)),
        ("delete", raw.delete(group.as_fd()), Ok(())),
    ];
    for (what, answer, expected) in cases {
        ensure!(answer == expected, "{what}: {answer:?}, not {expected:?}");
    }
    Ok(Outcome::Passed)
}

/// How many bytes this process has locked.
fn locked(rig: &Rig) -> Result<u64> {
    let status = rig.vfio().kernel().read("/proc/self/status".as_ref())?;
    let status = String::from_utf8(status)?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("VmLck")?.parse::<u64>()? * 1024)
}

/// The lowest window, which is there once something was mapped, and a VM with its VFIO device; `None` where there are no
/// tables.
fn window(rig: &Rig) -> Result<std::result::Result<(Aperture, OwnedFd, Raw), Outcome>> {
    let Some(vm) = vm(rig)? else {
        return Ok(Err(NO_KVM));
    };
    let kernel = rig.vfio().kernel();
    let domain = rig.device.domain();
    let windows = domain.capabilities()?;
    let Some(window) = windows.apertures.first().copied() else {
        bail!("there is no window");
    };
    let has_tables = has_capability(kernel, vm.as_fd(), uapi::CAP_SPAPR_TCE_64)?;
    if !has_tables {
        let error = TceTable::create(kernel, vm.as_fd(), LIOBN, &window).err();
        let error = error.context("there is a table")?;
        ensure!(error.kind() == ErrorKind::Unsupported, "{error}");
        return Ok(Err(NO_TABLES));
    }
    drop(domain.buffer(1, DmaMask::bits(32), Access::ReadWrite)?);
    let raw = Raw::create(kernel, vm.as_fd()).context("KVM_CREATE_DEVICE")?;
    Ok(Ok((window, vm, raw)))
}

/// A table is created, read and written; what is in it is found; it counts as locked memory until it goes.
pub(super) fn tables(rig: &Rig) -> Result<Outcome> {
    let (window, vm, _) = match window(rig)? {
        Ok(found) => found,
        Err(why) => return Ok(why),
    };
    let kernel = rig.vfio().kernel();
    let before = locked(rig)?;
    let table = TceTable::create(kernel, vm.as_fd(), LIOBN, &window)?;
    let page = kernel.page_size() as u64;
    let bytes = (window.range.size() / window.page_size * 8).next_multiple_of(page);
    // And a page or more of pointers to its pages.
    let more = locked(rig)? - before - bytes;
    ensure!(
        more % page == 0 && more <= bytes / page * 8 + page,
        "{more:#x} bytes more"
    );

    let again = TceTable::create(kernel, vm.as_fd(), LIOBN, &window).err();
    let again = again.context("a number was given twice")?;
    ensure!(again.kind() == ErrorKind::Busy, "{again}");
    let half = Aperture {
        page_size: 1 << 11,
        ..window
    };
    let error = TceTable::create(kernel, vm.as_fd(), LIOBN + 1, &half).err();
    let error = error.context("a table has pages of half a page")?;
    ensure!(error.kind() == ErrorKind::Invalid, "{error}");

    let all = window.range;
    ensure!(table.tces(all)?.next().is_none(), "a new table has entries");
    let pages = all.size() / window.page_size;
    let at = |page: u64| Iova(all.first().0 + page * window.page_size);
    let page = random::up_to(usize::try_from(pages)?)? as u64 - 1;
    let page = page.min(pages - 2);
    let guest = (1 + random::up_to(1 << 20)? as u64) * window.page_size;
    table.put(at(page), Tce::new(guest, Access::Read))?;
    table.put(at(page + 1), Tce(guest + window.page_size))?; // without a right
    ensure!(table.get(at(page))? == Tce(guest | 1));
    let there: Vec<_> = table.tces(all)?.map(|(at, _)| at).collect();
    ensure!(there == [at(page), at(page + 1)], "{there:?}");
    let find = |guest, size| -> Result<Option<Iova>> {
        let guest = IovaRange::new(Iova(guest), size).context("a range")?;
        Ok(table.find(all, guest)?)
    };
    ensure!(find(guest + window.page_size - 1, 1)? == Some(at(page)));
    ensure!(find(guest - 1, 2)? == Some(at(page)));
    ensure!(find(guest - 1, 1)?.is_none() && find(guest + window.page_size, 1 << 40)?.is_none());
    let outside = table.get(at(pages)).err().context("outside")?;
    ensure!(outside.kind() == ErrorKind::OutOfReach, "{outside}");

    // A VM lives on with its table; the number is free once that has gone.
    let second = TceTable::create(kernel, vm.as_fd(), LIOBN + 1, &window)?;
    ensure!(
        second.tces(all)?.next().is_none(),
        "tables share their entries"
    );
    drop(second);
    drop(table);
    ensure!(locked(rig)? == before, "what was locked stays so");
    let table = TceTable::create(kernel, vm.as_fd(), LIOBN, &window)?;
    drop(vm);
    ensure!(table.get(at(page))? == Tce::NONE);
    drop(table);
    ensure!(locked(rig)? == before, "what was locked stays so");
    Ok(Outcome::Passed)
}

/// A table is attached to a group that was added and that has its window, and to nothing else; dropping it lets go.
pub(super) fn attached(rig: &Rig) -> Result<Outcome> {
    let (window, vm, raw) = match window(rig)? {
        Ok(found) => found,
        Err(why) => return Ok(why),
    };
    let kernel = rig.vfio().kernel();
    let group = rig.device.hand_over()?.into_fds().group;
    let kvm = raw.adopted()?;
    let table = TceTable::create(kernel, vm.as_fd(), LIOBN, &window)?;
    if !table.can_attach() {
        return Ok(Outcome::NotHere("KVM fills no tables of devices here"));
    }
    // SAFETY: a guest without a processor and without memory maps nothing.
    let attach = |table: &TceTable, to: &_| unsafe { table.attach(to) };
    // SAFETY: as above.
    let error = unsafe { table.attach_all(&kvm, rig.device.domain()) }.err();
    let error = error.context("the group was not added")?;
    ensure!(error.kind() == ErrorKind::Invalid, "{error}");

    let added = kvm.add(&rig.device)?;
    attach(&table, &added)?;
    attach(&table, &added)?;
    // SAFETY: as above.
    unsafe { table.attach_all(&kvm, rig.device.domain()) }?;
    // The table keeps the group added.
    drop(added);
    ensure!(
        raw.add(group.as_fd()) == Err(Errno::EXIST),
        "it was taken away"
    );
    drop(table);
    ensure!(
        raw.delete(group.as_fd()) == Err(Errno::NOENT),
        "it was not taken away"
    );

    let added = kvm.add(&rig.device)?;
    let elsewhere = IovaRange::new(
        Iova(window.range.first().0 + window.page_size),
        window.range.size() - window.page_size,
    );
    let larger = IovaRange::new(window.range.first(), window.range.size() * 2);
    let smaller = IovaRange::new(window.range.first(), window.range.size() / 2);
    for (liobn, range, page_size, fits) in [
        (1, elsewhere, window.page_size, false),
        (2, larger, window.page_size, false),
        (3, smaller, window.page_size, true),
        (4, smaller, window.page_size << 4, true),
    ] {
        let range = range.context("a range")?;
        let table = TceTable::create(kernel, vm.as_fd(), liobn, &Aperture { range, page_size })?;
        let answer = attach(&table, &added);
        let refused = answer
            .as_ref()
            .is_err_and(|it| it.kind() == ErrorKind::Invalid);
        ensure!(
            answer.is_ok() == fits && refused != fits,
            "{range}: {answer:?}"
        );
    }

    // A window that has gone, and one that was not made yet.
    let domain = rig.device.domain();
    if domain
        .capabilities()?
        .windows
        .is_some_and(|it| it.count > 1)
    {
        drop(domain.buffer(1, DmaMask::bits(64), Access::ReadWrite)?);
        let windows = domain.capabilities()?.apertures;
        let high = windows.last().copied().context("there is no window")?;
        let table = TceTable::create(kernel, vm.as_fd(), 5, &high)?;
        attach(&table, &added)?;
        drop(table);
        domain.remove_window(high.range.first())?;
        let table = TceTable::create(kernel, vm.as_fd(), 5, &high)?;
        let error = attach(&table, &added).err().context("to no window")?;
        ensure!(error.kind() == ErrorKind::Invalid, "{error}");
    }
    let elsewhere = |other: &PciDevice| (other.group != rig.sysfs().group).then_some(());
    if let Some((other, ())) = rig.other(elsewhere)? {
        let other = rig.vfio().open(other.bdf)?;
        let later = other.domain().capabilities()?.apertures;
        let later = later.first().context("there is no window")?;
        let table = TceTable::create(kernel, vm.as_fd(), 6, later)?;
        let added = kvm.add(&other)?;
        let error = attach(&table, &added).err().context("to no window yet")?;
        ensure!(error.kind() == ErrorKind::Invalid, "{error}");
        drop(
            other
                .domain()
                .buffer(1, DmaMask::bits(32), Access::ReadWrite)?,
        );
        attach(&table, &added)?;
    }

    // Of another VM, or nothing of the kind.
    let other = create_vm(kernel)?;
    let others = TceTable::create(kernel, other.as_fd(), LIOBN, &window)?;
    let error = attach(&others, &added).err().context("of another VM")?;
    ensure!(error.kind() == ErrorKind::Invalid, "{error}");
    let eventfd = kernel.eventfd()?;
    let (fd, event) = (group.as_raw_fd(), eventfd.as_raw_fd());
    for (what, answer, expected) in [
        ("no group", raw.attach(-1, event), Err(Errno::BADF)),
        (
            "what was not added",
            raw.attach(event, event),
            Err(Errno::NOENT),
        ),
        ("no table", raw.attach(fd, -1), Err(Errno::BADF)),
        ("an eventfd", raw.attach(fd, event), Err(Errno::INVAL)),
    ] {
        ensure!(answer == expected, "{what}: {answer:?}, not {expected:?}");
    }
    Ok(Outcome::Passed)
}
