//! The host that is asked: the one that runs this program, a simulated one, or one that was captured.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use schemars::JsonSchema;
use serde::Serialize;
use vfio_core::iommu::Registry;
use vfio_core::kernel::{Kernel, Linux};
use vfio_core::{Error, Vfio};
use vfio_sim::{Machine, SimKernel};

use crate::output::Output;
use crate::root::Captured;

/// Which host is asked.
#[derive(Debug)]
pub(crate) enum Source {
    /// The one that runs this program.
    This,
    /// That machine, just booted.
    Simulated(Machine),
    /// The one that was captured there.
    Captured(PathBuf),
}

/// A host, and whether it is one.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) vfio: Vfio,
    /// The name of the machine, if it is simulated.
    pub(crate) simulated: Option<String>,
    /// Where it was captured to, if it is not here.
    pub(crate) captured: Option<String>,
    /// Whether somebody has copied its files by hand.
    pub(crate) by_hand: bool,
}

/// Which host an answer is about.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct About {
    /// The name of the machine, if it is a simulated one; absent where the host is real.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) simulated: Option<String>,
    /// Where the host was captured to; absent where it is the one that runs this program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) captured: Option<String>,
    /// The architecture, as `uname` names it.
    pub(crate) architecture: String,
    /// The kernel's release, as `uname` names it.
    pub(crate) kernel: String,
}

impl Host {
    pub(crate) fn new(source: Source) -> anyhow::Result<Self> {
        let vfio = |kernel| Ok::<_, Error>(Vfio::on(kernel, Registry::linked()?));
        Ok(match source {
            Source::This => Self::real(vfio(Arc::new(Linux))?),
            Source::Simulated(machine) => Self {
                simulated: Some(machine.name.clone()),
                ..Self::real(vfio(Arc::new(SimKernel::new(machine)))?)
            },
            Source::Captured(path) => {
                let kernel = Captured::open(&path)?;
                Self {
                    simulated: kernel.simulated.clone(),
                    captured: Some(path.display().to_string()),
                    by_hand: kernel.by_hand,
                    ..Self::real(vfio(Arc::new(kernel))?)
                }
            }
        })
    }

    /// One that is neither simulated nor captured.
    pub(crate) fn real(vfio: Vfio) -> Self {
        Self {
            vfio,
            simulated: None,
            captured: None,
            by_hand: false,
        }
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
            captured: self.captured.clone(),
            architecture,
            kernel,
        }
    }

    /// Says, above everything else, that the answer is not about the host that runs this program.
    pub(crate) fn announce(&self, out: &mut Output) -> io::Result<()> {
        let what = match (&self.captured, &self.simulated) {
            (None, None) => return Ok(()),
            (None, Some(name)) => format!("simulated machine {name}"),
            (Some(place), None) => format!("captured host {place}"),
            (Some(place), Some(name)) => {
                format!("captured host {place} (simulated machine {name})")
            }
        };
        out.line(format_args!(
            "{what}: this says nothing about the host that you are on"
        ))?;
        if self.by_hand {
            out.line("it was copied by hand, and not captured: what its user may open and lock is not known")?;
        }
        Ok(())
    }
}

/// Reads the name of a simulated machine from the command line.
pub(crate) fn machine_parser() -> impl TypedValueParser<Value = Machine> {
    PossibleValuesParser::new(Machine::all().map(|machine| machine.name))
        .try_map(|name| Machine::named(&name).ok_or("it has no description"))
}
