//! A window of a guest's goes over to KVM, and comes back, while the device goes on.
#![allow(unsafe_code)] // A VM that has no memory, and no processor that could run.

use std::os::fd::AsFd;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use iommu_spapr::guest::{Bridge, DefaultWindow, DynamicWindows, Refused};
use vfio_core::ErrorKind;
use vfio_core::address::{Iova, IovaRange, PageSizes};
use vfio_core::guest::{AddressSpace, Section};
use vfio_core::kvm::KvmVfio;

use super::{NO_KVM, NO_TABLES, vm};
use crate::devices::{Dma, Driver};
use crate::guest::Ram;
use crate::suites::guest_memory::View;
use crate::suites::{Outcome, Rig};

const LIOBN: u32 = 0x8000_0001;
/// Where the window is, and the guest's memory.
const HIGH: u64 = 1 << 59;
const GUEST: u64 = 0x7000_0000;

pub(in crate::suites) fn taken_over(rig: &Rig, driver: &mut dyn Driver) -> Result<Outcome> {
    let domain = rig.device.domain();
    if domain.initial_windows().is_empty() || domain.reset_windows().is_err() {
        return Ok(Outcome::NotHere(
            "there is no window that a guest could have",
        ));
    }
    let Some(vm) = vm(rig)? else {
        return Ok(NO_KVM);
    };
    let kernel = rig.vfio().kernel();
    let kvm = KvmVfio::create(kernel, vm.as_fd())?;
    let group = kvm.add(&rig.device)?;

    let page = kernel.page_size();
    let ram = Ram::new(kernel, 16 * page)?;
    let space = Arc::new(AddressSpace::new());
    let range = IovaRange::new(Iova(GUEST), (16 * page) as u64).context("memory")?;
    let _ = space
        .edit()
        .insert(Section::ram(range, ram.block(), 0)?)
        .commit()?;
    let bridge = Bridge::new(
        &space,
        DefaultWindow {
            liobn: LIOBN - 1,
            range: IovaRange::new(Iova(0), 1 << 28).context("a window")?,
            page_shift: 12,
        },
        Some(DynamicWindows {
            liobn: LIOBN,
            start: Iova(HIGH),
            page_sizes: PageSizes(page as u64),
            largest: 1 << 32,
        }),
    )?;
    bridge.follow(domain)?;
    bridge.create(page.trailing_zeros(), page.trailing_zeros() + 8)?;
    let at = HIGH + 3 * page as u64;
    bridge.put(LIOBN, at, (GUEST + 2 * page as u64) | 3)?;
    let view = View {
        ram: &ram,
        offset: 2 * page,
        len: page.min(4096),
        iova: Iova(at),
    };
    let mut reaches = |when: &str, wanted: Dma| {
        let done = (driver.reads(&view)?, driver.writes(&view)?);
        ensure!(done == (wanted, wanted), "{when}: {done:?}");
        anyhow::Ok(())
    };
    reaches("before", Dma::Arrived)?;
    // SAFETY: the VM has no memory slots, and runs nothing.
    match unsafe { bridge.accelerate(LIOBN, &kvm, vm.as_fd()) } {
        Ok(()) => {}
        Err(Refused::Host(error)) if error.kind() == ErrorKind::Unsupported => {
            reaches("with the emulator", Dma::Arrived)?;
            return Ok(NO_TABLES);
        }
        Err(refused) => bail!("{refused}"),
    }
    reaches("with KVM", Dma::Arrived)?;
    let tce = bridge.get(LIOBN, at)?;
    ensure!(
        tce == (GUEST + 2 * page as u64) | 3,
        "{tce:#x} is read back"
    );
    let error = space.edit().remove(range).commit().err();
    let error = error.context("memory went that KVM may map")?;
    ensure!(error.kind() == ErrorKind::Busy, "{error}");
    bridge.take_back(LIOBN)?;
    reaches("after it was taken back", Dma::Arrived)?;
    bridge.put(LIOBN, at, 0)?;
    reaches("when it is clear", Dma::Blocked)?;
    // With KVM still at it, all ends.
    bridge.put(LIOBN, at, (GUEST + 2 * page as u64) | 3)?;
    // SAFETY: as above.
    unsafe { bridge.accelerate(LIOBN, &kvm, vm.as_fd()) }?;
    drop(bridge);
    reaches("when the bridge is gone", Dma::Blocked)?;
    group.close()?;
    Ok(Outcome::Passed)
}
