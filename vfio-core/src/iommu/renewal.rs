//! Mappings outlive the process that made them.
#![allow(unsafe_code)] // The contract of `LiveUpdate::renew`, passed on.

use crate::address::{HostRange, IovaRange};
use crate::error::{Error, ErrorKind, Result};

use super::domain::{Domain, span};
use super::ledger::Refusal;
use super::live_update::LiveUpdate;

const FORGET: &str = "forget the addresses of";
const RENEW: &str = "renew the addresses of";

/// Live update: a program makes way for another one (`exec`) while its devices go on.
///
/// What a VMM does, and must see to:
///
/// 1. Memory that devices reach is in files that are mapped shared (a memfd), so that the next program can have the
///    same pages. What is not (every [`DmaBuffer`](super::DmaBuffer)) is unmapped before.
/// 2. [`forget_addresses`](Self::forget_addresses). From here on no group can be attached to the context (`EBUSY`, H7).
/// 3. [`Device::hand_over`](crate::Device::hand_over). Its fds and those of the memory are kept open over `exec`, by
///    taking `FD_CLOEXEC` from them, and the next program is told their numbers, and what is mapped where.
/// 4. `exec`. Nothing may be dropped or closed on the way: devices that are closed are reset.
/// 5. The next program maps the memory, calls [`Vfio::adopt`](crate::Vfio::adopt), and then
///    [`renew_addresses`](Self::renew_addresses) before it maps anything else. The kernel counts the memory as locked by
///    this program from then on: `RLIMIT_MEMLOCK` must be large enough for it.
///
/// If `exec` fails, the old program renews the same mappings with their old addresses.
///
/// One group is handed over with its container, and one device with its group: a container with several groups is not
/// taken over as one. Where an [`AddressSpace`](crate::guest::AddressSpace) keeps the mappings, the next program's
/// [resumes](crate::guest::AddressSpace::resume) them instead of 5; what a [`GuestIommu`](crate::guest::GuestIommu) has
/// mapped is unmapped before, and said anew.
///
/// ```no_run
/// # use std::os::fd::OwnedFd;
/// # use vfio_core::{Device, Handover, Result, Vfio, host::Bdf};
/// # use vfio_core::address::{HostRange, IovaRange};
/// /// In the program that makes way: what the next one must know beside the numbers of the fds.
/// fn before(device: &Device) -> Result<(Handover, Vec<IovaRange>)> {
///     let mapped = device.domain().forget_addresses()?;
///     Ok((device.hand_over()?, mapped))
/// }
///
/// /// In the next one.
/// ///
/// /// # Safety
/// /// The memory is what was mapped there.
/// unsafe fn after(
///     vfio: &Vfio,
///     bdf: Bdf,
///     handover: Handover,
///     mapped: Vec<(IovaRange, HostRange)>,
/// ) -> Result<Device> {
///     let device = vfio.adopt(bdf, handover)?;
///     // SAFETY: our caller's promise.
///     unsafe { device.domain().renew_addresses(mapped)? };
///     Ok(device)
/// }
/// ```
impl Domain {
    /// Has the kernel forget at which addresses of this process the memory of every mapping is, and answers what is
    /// mapped, the lowest first. All of them or none.
    ///
    /// Devices reach the memory as before, since its pages stay pinned, and mappings can be made and unmapped; what was
    /// forgotten waits for [`renew_addresses`](Self::renew_addresses). How it may be reached (to read, to write) the
    /// kernel keeps.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`]: the backend or the kernel cannot (sPAPR; kernels before 5.12; with mediated devices).
    /// [`ErrorKind::Invalid`]: one was forgotten before, and not renewed. [`ErrorKind::Gone`]. Otherwise what the kernel
    /// answered. Then nothing has changed, unless the reason says so.
    pub fn forget_addresses(&self) -> Result<Vec<IovaRange>> {
        self.with_live_update(FORGET, |kernel| {
            let mappings = self.mappings_in(IovaRange::ALL);
            let Some(all) = span(&mappings).or(mappings.first().copied()) else {
                return Ok(mappings);
            };
            let bytes = kernel.forget(all)?;
            let expected: u64 = mappings.iter().map(|mapping| mapping.size()).sum();
            if bytes != expected {
                let why =
                    format!("those of {bytes:#x} bytes were forgotten instead of {expected:#x}");
                return Err(self.refused(ErrorKind::Kernel, FORGET).at(all).because(why));
            }
            Ok(mappings)
        })
    }

    /// Tells the kernel at which addresses of this process the memory of mappings is, whose addresses were
    /// [forgotten](Self::forget_addresses): by this process, or by one that handed the device over. All of them or none.
    ///
    /// From then on they are mappings as others are: they can be unmapped, and nobody else is given their addresses.
    /// Those that are not renewed stay reachable for devices until the life of the context ends, and are not known here.
    ///
    /// # Safety
    /// The memory of each is the one that was mapped there (the same pages, of a file that is mapped shared), at
    /// whatever address: nobody looks, and devices reach the pages that were mapped (B32). From now on the contract of
    /// [`map`](Self::map) holds for it, with the rights that the mapping has.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`]: as for [`forget_addresses`](Self::forget_addresses). [`ErrorKind::Invalid`]: sizes
    /// differ, or something is misaligned; an address was not forgotten; it was mapped as another range.
    /// [`ErrorKind::OutOfReach`]: not inside one aperture. [`ErrorKind::Overlap`]: something else is mapped there, or a
    /// range is named twice. [`ErrorKind::Exhausted`]: more would be locked than this process may lock.
    /// [`ErrorKind::Gone`]. Otherwise what the kernel answered. Then nothing has changed, unless the reason
    /// says what stays renewed.
    pub unsafe fn renew_addresses(
        &self,
        mappings: impl IntoIterator<Item = (IovaRange, HostRange)>,
    ) -> Result<()> {
        let mappings: Vec<_> = mappings.into_iter().collect();
        self.with_live_update(RENEW, |kernel| {
            let mut begun = Vec::new();
            for (iova, memory) in mappings {
                match self.begin_renewal(iova, memory) {
                    Ok(renewal) => begun.push(renewal),
                    Err(error) => {
                        self.finish_renewal(&begun, |_| false);
                        return Err(error);
                    }
                }
            }
            for (done, renewal) in begun.iter().enumerate() {
                // SAFETY: our caller's promise.
                if let Err(error) = unsafe { kernel.renew(renewal.iova, renewal.memory) } {
                    return Err(self.undo(kernel, &begun, done, error));
                }
            }
            self.finish_renewal(&begun, |_| true);
            Ok(())
        })
    }

    fn begin_renewal(&self, iova: IovaRange, memory: HostRange) -> Result<Renewal> {
        let mut ledger = self.ledger();
        let is_known = ledger.begin_renew(iova, memory).map_err(|refusal| {
            let (kind, why) = match refusal {
                Refusal::Taken(by) if by == iova => {
                    (ErrorKind::Overlap, "it is named twice".into())
                }
                Refusal::Taken(by) => {
                    let why = format!("{by} is mapped, which is another range");
                    (ErrorKind::Overlap, why)
                }
                other => ledger.explain(&other),
            };
            let error = self.refused(kind, RENEW).at(iova);
            error.of_memory(memory).because(why)
        })?;
        Ok(Renewal {
            iova,
            memory,
            is_known,
        })
    }

    /// Writes down what came of them.
    fn finish_renewal(&self, begun: &[Renewal], is_renewed: impl Fn(usize) -> bool) {
        let mut ledger = self.ledger();
        for (n, renewal) in begun.iter().enumerate() {
            ledger.finish_renew(renewal.iova, renewal.is_known, is_renewed(n));
        }
    }

    /// Has the first ones, which are done, forgotten again; says of which that failed.
    fn undo(
        &self,
        kernel: &dyn LiveUpdate,
        begun: &[Renewal],
        done: usize,
        mut error: Error,
    ) -> Error {
        let mut stay = Vec::new();
        for (n, renewal) in begun.iter().enumerate().take(done) {
            if let Err(why) = kernel.forget(renewal.iova) {
                error = error.because_also(format!("{} stays renewed: {why}", renewal.iova));
                stay.push(n);
            }
        }
        self.finish_renewal(begun, |n| stay.contains(&n));
        error
    }
}

/// A mapping that is being given its new address.
struct Renewal {
    iova: IovaRange,
    memory: HostRange,
    /// It is in the books: this process has made it, or has renewed it before.
    is_known: bool,
}
