//! The host that is asked: the one that runs this program, or a simulated one.

use std::io;
use std::sync::Arc;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use schemars::JsonSchema;
use serde::Serialize;
use vfio_core::iommu::Registry;
use vfio_core::kernel::{Kernel, Linux};
use vfio_core::{Result, Vfio};
use vfio_sim::{Machine, SimKernel};

use crate::output::Output;

/// A host, and whether it is one.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) vfio: Vfio,
    /// The name of the machine, if it is simulated.
    pub(crate) simulated: Option<String>,
}

/// Which host an answer is about.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct About {
    /// The name of the machine, if it is a simulated one; absent where the host is real.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) simulated: Option<String>,
    /// The architecture, as `uname` names it.
    pub(crate) architecture: String,
    /// The kernel's release, as `uname` names it.
    pub(crate) kernel: String,
}

impl Host {
    /// That machine just booted, or the host that runs this program.
    pub(crate) fn new(machine: Option<Machine>) -> Result<Self> {
        let simulated = machine.as_ref().map(|machine| machine.name.clone());
        let kernel: Arc<dyn Kernel> = match machine {
            Some(machine) => Arc::new(SimKernel::new(machine)),
            None => Arc::new(Linux),
        };
        let vfio = Vfio::on(kernel, Registry::linked()?);
        Ok(Self { vfio, simulated })
    }

    /// Its kernel.
    pub(crate) fn kernel(&self) -> &dyn Kernel {
        &**self.vfio.kernel()
    }

    /// Which host it is.
    pub(crate) fn about(&self) -> About {
        let (architecture, kernel) = self.kernel().identity();
        About {
            simulated: self.simulated.clone(),
            architecture,
            kernel,
        }
    }

    /// Says, above everything else, that the answer is not about the host that runs this program.
    pub(crate) fn announce(&self, out: &mut Output) -> io::Result<()> {
        match &self.simulated {
            Some(name) => out.line(format_args!(
                "simulated machine {name}: this says nothing about the host that you are on"
            )),
            None => Ok(()),
        }
    }
}

/// Reads the name of a simulated machine from the command line.
pub(crate) fn machine_parser() -> impl TypedValueParser<Value = Machine> {
    PossibleValuesParser::new(Machine::all().map(|machine| machine.name))
        .try_map(|name| Machine::named(&name).ok_or("it has no description"))
}
