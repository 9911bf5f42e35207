//! Windows whose hypercalls KVM carries out, without the emulator being asked.
#![allow(unsafe_code)] // A promise about what a guest is given, passed on.

use std::os::fd::BorrowedFd;

use vfio_core::iommu::Aperture;
use vfio_core::kvm::{KvmVfio, Tce, TceTable};
use vfio_core::{Error, ErrorKind};

use super::bridge::{Bridge, OBJECT, State};
use super::hcalls::no_window;
use super::refused::Refused;
use super::table::{Table, translation};

impl Bridge {
    /// From now on KVM carries out what the guest writes in the window `liobn`, for all devices that are behind the bridge;
    /// what is there stays. What KVM cannot do still comes to [`put`](Self::put), [`put_list`](Self::put_list) and
    /// [`stuff`](Self::stuff): TCEs that lead to no memory, and lists with such.
    ///
    /// Until it is [taken back](Self::take_back), which [`reset`](Self::reset) and [`remove`](Self::remove) do of
    /// themselves, no device comes behind the bridge or leaves it, and no memory of the guest comes or goes: nobody could
    /// tell which TCEs lead there, and the kernel would not (H3). KVM knows no ROM: what it lets devices write there, they
    /// can until it is taken back.
    ///
    /// # Safety
    /// Each memory slot of the VM leads to the same memory as the sections of the guest's
    /// [`AddressSpace`](vfio_core::guest::AddressSpace) do, and none to memory that devices are not to reach, from now on until
    /// it is taken back. The guest does not run while this is called, nor while it is taken back.
    ///
    /// # Errors
    /// [`Refused::Parameter`]: there is no such window. [`Refused::Host`]: this kernel's KVM cannot
    /// ([`ErrorKind::Unsupported`]), a group was not [added](KvmVfio::add), something else is mapped in the window
    /// ([`ErrorKind::Overlap`]), or what the kernel answered. Then all goes on as before, with the emulator.
    pub unsafe fn accelerate(
        &self,
        liobn: u32,
        kvm: &KvmVfio,
        vm: BorrowedFd<'_>,
    ) -> Result<(), Refused> {
        let state = &mut *self.state();
        state.forget_those_that_are_over();
        let domains: Vec<_> = state.following().map(|it| it.domain.clone()).collect();
        let table = state.table(liobn)?;
        if table.kernel.is_some() {
            return Ok(());
        }
        let window = Aperture {
            range: table.range,
            page_size: table.page_size(),
        };
        let kernel = TceTable::create(kvm.kernel(), vm, u64::from(liobn), &window)?;
        if !kernel.can_attach() {
            let error = Error::new(ErrorKind::Unsupported, "accelerate", OBJECT);
            return Err(error.because("this kernel's KVM attaches no tables").into());
        }
        for (iova, tce) in table.written() {
            kernel.put(iova, Tce(tce))?;
        }
        for domain in &domains {
            domain.settle_window(window.range)?;
        }
        // SAFETY: passed on to our caller.
        unsafe { self.iommu.hand_over(window.range) }?;
        for domain in &domains {
            // SAFETY: the guest's memory stays as long as it is handed over, which ends after the table has.
            if let Err(error) = unsafe { kernel.attach_all(kvm, domain) } {
                drop(kernel);
                let back = self.iommu.take_back(window.range, table.translations());
                table.is_in_doubt |= back.is_err();
                return Err(error.into());
            }
        }
        table.kernel = Some(kernel);
        Ok(())
    }

    /// The hypercalls about the window `liobn` are for the emulator again. What the guest has written stays, and what devices
    /// reach. The guest does not run meanwhile.
    ///
    /// # Errors
    /// [`Refused::Parameter`]: there is no such window. [`Refused::Host`]: the kernel's table could not be read; then KVM has it
    /// still.
    pub fn take_back(&self, liobn: u32) -> Result<(), Refused> {
        let state = &mut *self.state();
        self.take_back_table(state.table(liobn)?)
    }

    /// All of them.
    pub(super) fn take_all_back(&self, state: &mut State) -> Result<(), Refused> {
        let mut tables = state.tables.iter_mut();
        tables.try_for_each(|table| self.take_back_table(table))
    }

    pub(super) fn take_back_table(&self, table: &mut Table) -> Result<(), Refused> {
        let Some(kernel) = &table.kernel else {
            return Ok(());
        };
        let written: Vec<_> = kernel.tces(table.range)?.collect();
        table.clear();
        for (iova, Tce(tce)) in written {
            if let Some(at) = table.index(iova.0, 1) {
                table.set(at, tce);
            }
        }
        let taken = self.iommu.take_back(table.range, table.translations());
        let is_kvms = taken.as_ref().is_err_and(|unmade| unmade.made == 0);
        if !is_kvms {
            table.kernel = None; // it lets go of the groups
        }
        taken.map_err(|unmade| {
            table.is_in_doubt = true;
            unmade.error.into()
        })
    }

    /// Writes what KVM has left to the emulator.
    pub(super) fn put_beside_kvm(
        &self,
        table: &Table,
        (at, count): (usize, usize),
        new: impl Fn(usize) -> u64,
    ) -> Result<(), Refused> {
        let (Some(kernel), Some(range)) = (&table.kernel, table.addresses(at, count)) else {
            return Err(no_window(table.liobn));
        };
        self.iommu.clear_handed(range)?;
        let places = (0..count).filter_map(|n| Some((table.addresses(at + n, 1)?, Tce(new(n)))));
        for (place, _) in places.clone() {
            kernel.put(place.first(), Tce::NONE)?;
        }
        for (place, tce) in places {
            // KVM leaves a list as a whole, if it cannot do all of it.
            let there = translation(place, tce).filter(|it| self.iommu.leads_to_memory(it));
            if let Some(there) = there {
                self.iommu.map_handed(&there)?;
            }
            kernel.put(place.first(), tce)?;
        }
        Ok(())
    }
}
