//! A guest of POWER, of a few instructions: it puts an entry into a table of KVM's, and the device goes there.
#![allow(unsafe_code)] // Raw calls of KVM's; the guest's memory is a buffer that lives as long as the VM.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use rustix::ioctl::opcode;
use vfio_core::address::{Access, DmaMask, Iova, IovaRange};
use vfio_core::iommu::DmaBuffer;
use vfio_core::kernel::{Arg, Errno, Kernel, Opcode, Protection, RegionMapping};
use vfio_core::kvm::uapi::{self, UserspaceMemoryRegion};
use vfio_core::kvm::{KvmVfio, Tce, TceTable};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{LIOBN, window};
use crate::devices::{BUFFER_SIZE, Dma, Driver, Reachable};
use crate::suites::{Outcome, Rig};

const NO_PROCESSOR: Outcome = Outcome::NotHere("no guest of POWER runs here");

const KVMIO: u8 = 0xae;
const GET_VCPU_MMAP_SIZE: Opcode = opcode::none(KVMIO, 0x04);
const CREATE_VCPU: Opcode = opcode::none(KVMIO, 0x41);
const RUN: Opcode = opcode::none(KVMIO, 0x80);
const GET_REGS: Opcode = opcode::read::<Regs>(KVMIO, 0x81);
const SET_REGS: Opcode = opcode::write::<Regs>(KVMIO, 0x82);
const ENABLE_CAP: Opcode = opcode::write::<EnableCap>(KVMIO, 0xa3);

const CAP_PPC_PAPR: u32 = 68;
const EXIT_PAPR_HCALL: u32 = 19;
const H_PUT_TCE: u64 = 0x20;

/// `struct kvm_enable_cap`
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct EnableCap {
    cap: u32,
    flags: u32,
    args: [u64; 4],
    pad: [u8; 64],
}

/// `struct kvm_regs` of POWER.
#[derive(Default, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Regs {
    pc: u64,
    cr: u64,
    ctr: u64,
    lr: u64,
    xer: u64,
    msr: u64,
    srr: [u64; 2],
    pid: u64,
    sprg: [u64; 8],
    gpr: [u64; 32],
}

/// 64 bits, machine checks, little endian.
const MSR: u64 = 1 << 63 | 1 << 12 | 1;

/// The hypercall with what is in r14 to r16, and its answer in r17; then one of a number that KVM knows nothing of, which
/// stops here. (What KVM answers a hypercall that has stopped here with, r3 to r12, is put there when it goes on.)
const PROGRAM: [u32; 10] = [
    0x7dc4_7378, // mr r4, r14
    0x7de5_7b78, // mr r5, r15
    0x7e06_8378, // mr r6, r16
    0x3860_0020, // li r3, H_PUT_TCE
    0x4400_0022, // sc 1
    0x7c71_1b78, // mr r17, r3
    0x3860_0020, // li r3, H_PUT_TCE
    0x3880_0777, // li r4, 0x777
    0x4400_0022, // sc 1
    0x4800_0000, // b .
];

/// The processor of a VM.
struct Processor {
    kernel: Arc<dyn Kernel>,
    fd: OwnedFd,
    /// What it says of itself, and how large that is.
    run: NonNull<u8>,
    size: usize,
}

impl Processor {
    fn new(kernel: &Arc<dyn Kernel>, vm: BorrowedFd<'_>) -> Result<Option<Self>> {
        // SAFETY: the call takes a number and returns a new fd.
        let fd = match unsafe { kernel.ioctl_fd(vm, CREATE_VCPU, Arg::Value(0)) } {
            Ok(fd) => fd,
            Err(Errno::NOTTY) => return Ok(None), // simulated
            Err(errno) => return Err(errno).context("KVM_CREATE_VCPU"),
        };
        let node = kernel.open("/dev/kvm".as_ref())?;
        // SAFETY: the call takes nothing.
        let size = unsafe { kernel.ioctl(node.as_fd(), GET_VCPU_MMAP_SIZE, Arg::None) }?;
        let rights = Protection {
            read: true,
            write: true,
        };
        let size = size as usize;
        let run = kernel.map_region(fd.as_fd(), 0, size, rights, kernel.page_size())?;
        let RegionMapping::Pages(run) = run else {
            bail!("what a processor says is no memory");
        };
        let cap = EnableCap {
            cap: CAP_PPC_PAPR,
            flags: 0,
            args: [0; 4],
            pad: [0; 64],
        };
        let processor = Self {
            kernel: Arc::clone(kernel),
            fd,
            run,
            size,
        };
        processor.call(ENABLE_CAP, Arg::In(cap.as_bytes()))?;
        Ok(Some(processor))
    }

    fn call(&self, opcode: Opcode, arg: Arg<'_>) -> Result<(), Errno> {
        // SAFETY: each caller passes what belongs to the call; none carries an address.
        unsafe { self.kernel.ioctl(self.fd.as_fd(), opcode, arg) }.map(drop)
    }

    /// Runs the program; answers how its hypercall ended for the guest, or `None` if it came here.
    fn put(&self, liobn: u64, iova: u64, tce: Tce) -> Result<Option<u64>> {
        const TO_COME: u64 = 0x5151;
        let mut regs = Regs {
            msr: MSR,
            ..Regs::default()
        };
        (regs.gpr[14], regs.gpr[15], regs.gpr[16]) = (liobn, iova, tce.0);
        regs.gpr[17] = TO_COME;
        self.call(SET_REGS, Arg::In(regs.as_bytes()))?;
        while let Err(errno) = self.call(RUN, Arg::None) {
            ensure!(
                errno == Errno::INTR || errno == Errno::AGAIN,
                "KVM_RUN: {errno}"
            );
        }
        // SAFETY: the pages are mapped as long as this lives, and have the reason in their third word.
        let reason = unsafe { self.run.cast::<u32>().add(2).read_volatile() };
        self.call(GET_REGS, Arg::InOut(regs.as_mut_bytes()))?;
        ensure!(
            reason == EXIT_PAPR_HCALL && regs.gpr[3] == H_PUT_TCE,
            "it stopped at {:#x} with {reason}, r3 {:#x}, msr {:#x}",
            regs.pc,
            regs.gpr[3],
            regs.msr
        );
        Ok((regs.gpr[17] != TO_COME).then_some(regs.gpr[17]))
    }
}

impl Drop for Processor {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nobody else knows the address.
        let _ = unsafe { self.kernel.munmap(self.run, self.size) };
    }
}

/// The part of the guest's memory that the device is to reach, at the addresses that the guest has put it.
struct Mapped<'a> {
    memory: &'a DmaBuffer,
    offset: usize,
    range: IovaRange,
}

impl Reachable for Mapped<'_> {
    fn iova(&self) -> Iova {
        self.range.first()
    }

    fn len(&self) -> usize {
        usize::try_from(self.range.size()).unwrap_or(usize::MAX)
    }

    fn copy_from(&self, offset: usize, bytes: &[u8]) -> vfio_core::Result<()> {
        self.memory.copy_from(self.offset + offset, bytes)
    }

    fn copy_to(&self, offset: usize, bytes: &mut [u8]) -> vfio_core::Result<()> {
        self.memory.copy_to(self.offset + offset, bytes)
    }
}

/// What a guest puts into a table, the device reaches, and nobody here was asked.
pub(in crate::suites) fn maps(rig: &Rig, driver: &mut dyn Driver) -> Result<Outcome> {
    /// Where the device is to find it.
    const IOVA: u64 = 0x2000_0000;

    let (window, vm, raw) = match window(rig)? {
        Ok(found) => found,
        Err(why) => return Ok(why),
    };
    let kernel = rig.vfio().kernel();
    let domain = rig.device.domain();
    let page = kernel.page_size();
    // The program is in its first page; both are registered.
    let memory = domain.buffer(2 * page, DmaMask::bits(32), Access::ReadWrite)?;
    let code = PROGRAM.map(u32::to_le_bytes).concat();
    memory.copy_from(0, &code)?;
    let Some(processor) = Processor::new(kernel, vm.as_fd())? else {
        return Ok(NO_PROCESSOR);
    };
    let slot = UserspaceMemoryRegion {
        memory_size: 2 * page as u64,
        userspace_addr: memory.host_range()?.addr() as u64,
        ..UserspaceMemoryRegion::default()
    };
    let arg = Arg::In(slot.as_bytes());
    // SAFETY: the buffer is the guest's as long as the processor runs, and nobody has a reference to it.
    unsafe { kernel.ioctl(vm.as_fd(), uapi::SET_USER_MEMORY_REGION, arg) }
        .context("KVM_SET_USER_MEMORY_REGION")?;

    // Without a table it comes here.
    let tce = |at: u64| Tce::new(page as u64 + at, Access::ReadWrite);
    ensure!(
        processor.put(LIOBN, IOVA, tce(0))?.is_none(),
        "there is no table yet"
    );
    let kvm: KvmVfio = raw.adopted()?;
    let added = kvm.add(&rig.device)?;
    let table = TceTable::create(kernel, vm.as_fd(), LIOBN, &window)?;
    // SAFETY: what the guest can map is the buffer, which goes after the table.
    unsafe { table.attach(&added) }?;

    if domain.name() != iommu_spapr::SPAPR_V2.name {
        // Nothing is registered: KVM leaves it to whoever runs the guest.
        ensure!(processor.put(LIOBN, IOVA, tce(0))?.is_none());
        return Ok(Outcome::Passed);
    }
    let step = window.page_size;
    let size = (BUFFER_SIZE as u64).next_multiple_of(step).max(step);
    for at in (0..size).step_by(usize::try_from(step)?) {
        let answer = processor.put(LIOBN, IOVA + at, tce(at))?;
        ensure!(answer == Some(0), "H_PUT_TCE: {answer:x?}");
    }
    let range = IovaRange::new(Iova(IOVA), size).context("a range")?;
    let mapped = Mapped {
        memory: &memory,
        offset: page,
        range,
    };
    ensure!(
        driver.reads(&mapped)? == Dma::Arrived,
        "the device did not read"
    );
    ensure!(
        driver.writes(&mapped)? == Dma::Arrived,
        "the device did not write"
    );

    let guest = IovaRange::new(Iova(page as u64), 1).context("a range")?;
    let found = table.find(window.range, guest)?;
    ensure!(found == Some(Iova(IOVA)), "{found:?}");
    ensure!(table.tces(window.range)?.count() as u64 == size / step);
    // What is in a window stays there without the table.
    drop(table);
    ensure!(
        driver.writes(&mapped)? == Dma::Arrived,
        "it went with the table"
    );
    let table = TceTable::create(kernel, vm.as_fd(), LIOBN, &window)?;
    // SAFETY: as above.
    unsafe { table.attach(&added) }?;
    // What is wrong, the guest is told; what KVM has no memory for comes here.
    let wrong = processor.put(LIOBN, IOVA + 1, tce(0))?;
    ensure!(wrong.is_some_and(|answer| answer != 0), "{wrong:x?}");
    ensure!(
        processor
            .put(LIOBN, IOVA, Tce::new(1 << 40, Access::Read))?
            .is_none()
    );
    for at in (0..size).step_by(usize::try_from(step)?) {
        ensure!(processor.put(LIOBN, IOVA + at, Tce::NONE)? == Some(0));
    }
    ensure!(
        table.find(window.range, guest)?.is_none(),
        "it was not taken away"
    );
    drop((processor, table, added, kvm, raw, vm));
    drop(memory);
    Ok(Outcome::Passed)
}
