//! Errors that are isolated (EEH), the same in both versions.
#![allow(unsafe_code)] // The one call, with its struct.

use vfio_core::call::{self, argsz};
use vfio_core::iommu::{ErrorIsolation, ErrorWidth, InjectedError, PeReset, PeState};
use vfio_core::kernel::{Arg, Errno};
use vfio_core::uapi::{self, EehPeErr, EehPeOp};
use vfio_core::{Answer, Container, Error, ErrorKind, Result};
use zerocopy::IntoBytes;

use crate::CONTEXT;

const OPERATION: &str = "VFIO_EEH_PE_OP";

/// The isolation units of the groups in a container.
#[derive(Debug)]
pub(crate) struct Eeh(Container);

impl Eeh {
    pub(crate) fn of(container: &Container) -> Self {
        Self(container.clone())
    }
}

impl ErrorIsolation for Eeh {
    fn check(&self) -> Result<()> {
        match self.0.check_extension(uapi::EEH)? {
            true => Ok(()),
            false => Err(
                Error::new(ErrorKind::Unsupported, "isolate errors of", CONTEXT)
                    .because("the kernel says that this host isolates no errors (VFIO_EEH is 0)"),
            ),
        }
    }

    fn enable(&self) -> Result<()> {
        operate(&self.0, uapi::EEH_PE_ENABLE, "enable it")
    }

    fn disable(&self) -> Result<()> {
        operate(&self.0, uapi::EEH_PE_DISABLE, "disable it")
    }

    fn state(&self) -> Result<PeState> {
        let what = "ask for its state";
        let request = request(uapi::EEH_PE_GET_STATE);
        let container = &self.0;
        let arg = Arg::In(request.as_bytes());
        // SAFETY: the call reads this struct, which carries no address.
        let answer =
            unsafe { call::value(&**container.kernel(), container.fd(), uapi::EEH_PE_OP, arg) };
        match answer.map_err(|answer| failed(answer, what))? {
            uapi::EEH_PE_STATE_NORMAL => Ok(PeState::Normal),
            uapi::EEH_PE_STATE_RESET => Ok(PeState::Resetting),
            uapi::EEH_PE_STATE_STOPPED => Ok(PeState::Frozen),
            uapi::EEH_PE_STATE_STOPPED_DMA => Ok(PeState::StoppedDma),
            uapi::EEH_PE_STATE_UNAVAIL => Ok(PeState::Unavailable),
            none => Err(failed(Answer::Returned(none), what)),
        }
    }

    fn thaw_mmio(&self) -> Result<()> {
        operate(&self.0, uapi::EEH_PE_UNFREEZE_IO, "thaw loads and stores")
    }

    fn thaw_dma(&self) -> Result<()> {
        operate(&self.0, uapi::EEH_PE_UNFREEZE_DMA, "thaw DMA")
    }

    fn begin_reset(&self, reset: PeReset) -> Result<()> {
        let (op, what) = match reset {
            PeReset::Hot => (uapi::EEH_PE_RESET_HOT, "begin a hot reset"),
            PeReset::Fundamental => (uapi::EEH_PE_RESET_FUNDAMENTAL, "begin a fundamental reset"),
        };
        operate(&self.0, op, what)
    }

    fn end_reset(&self) -> Result<()> {
        operate(&self.0, uapi::EEH_PE_RESET_DEACTIVATE, "end a reset")
    }

    fn configure(&self) -> Result<()> {
        operate(&self.0, uapi::EEH_PE_CONFIGURE, "configure it")
    }

    fn inject(&self, error: InjectedError) -> Result<()> {
        let request = EehPeOp {
            err: EehPeErr {
                kind: match error.width {
                    ErrorWidth::Address32 => 0,
                    ErrorWidth::Address64 => 1,
                },
                func: error.function.number(),
                addr: error.address,
                mask: error.mask,
            },
            ..request(uapi::EEH_PE_INJECT_ERR)
        };
        issue(&self.0, request, "make an error")
    }
}

fn request(op: u32) -> EehPeOp {
    EehPeOp {
        argsz: argsz::<EehPeOp>(),
        op,
        ..EehPeOp::default()
    }
}

fn operate(container: &Container, op: u32, what: &'static str) -> Result<()> {
    issue(container, request(op), what)
}

fn issue(container: &Container, request: EehPeOp, what: &'static str) -> Result<()> {
    // SAFETY: the call reads this struct, whose address is one on the bus: no device reaches more memory than before.
    unsafe { container.call(uapi::EEH_PE_OP, Arg::In(request.as_bytes())) }
        .map_err(|answer| failed(answer, what))
}

fn failed(answer: Answer, what: &'static str) -> Error {
    let error = Error::kernel(OPERATION, CONTEXT, answer);
    match answer {
        Answer::Errno(Errno::NODEV) => error
            .of_kind(ErrorKind::Unsupported)
            .because(format!("{what}: its group has no isolation unit")),
        _ => error.because(what),
    }
}
