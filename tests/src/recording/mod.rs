//! A host's answers to a fixed programme of calls, as a text that can be given away, and the simulation's to the same
//! calls.
//!
//! [`record`] makes the trace on the machine that has the devices; [`check`] needs nothing but the text. What is in a
//! trace, and what is kept back: [`vfio_sim::wrap::trace`].

mod caller;
mod device;
mod group;
mod spapr;
mod type1;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use vfio_core::host::{self, Bdf, PciDevice};
use vfio_core::kernel::Kernel;
use vfio_sim::SimKernel;
use vfio_sim::wrap::{Again, Recording, Trace, Watched, again};

use caller::Caller;

/// What a trace starts with, for those who look into the file before they send it.
const ABOUT: &str = "\
# What VFIO answered on one machine, to be replayed with: hardware-tests --check FILE
# Not in it: names of hosts and users, serial numbers, addresses of networks, the content of BARs and of memory.
";

/// Makes the programme of calls with these devices, which nobody else may use at the time; answers the trace.
///
/// Nothing is written to a device, no memory of it is read, no DMA is started.
///
/// # Errors
/// There is no such device, or it has no group; VFIO cannot be opened, or the group.
pub fn record(kernel: Arc<dyn Kernel>, devices: &[Bdf]) -> Result<String> {
    let mut groups = Vec::new();
    for &bdf in devices {
        let found = host::device(&*kernel, bdf)?;
        let id = found
            .group
            .with_context(|| format!("{bdf} is in no IOMMU group"))?;
        ensure!(
            found.is_bound_to_vfio(),
            "{found} is not bound to a VFIO driver"
        );
        if !groups.contains(&id) {
            groups.push(id);
        }
    }
    let members = |id: &u32| Ok(host::group(&*kernel, *id)?.devices);
    let members: Vec<Vec<PciDevice>> = groups.iter().map(members).collect::<Result<_>>()?;
    let recording = Arc::new(Recording::to_give_away(&*kernel, members.concat()));
    let caller = Caller::new(Watched::new(kernel, recording.clone()), recording.clone())?;
    for id in groups {
        let asked = members
            .iter()
            .flatten()
            .filter(|device| device.group == Some(id) && devices.contains(&device.bdf));
        group::programme(&caller, id, asked)?;
    }
    drop(caller);
    let text = recording.text();
    let (version, rest) = text.split_once('\n').unwrap_or_default();
    Ok(format!("{version}\n{ABOUT}{rest}"))
}

/// Makes the calls of a trace again on the simulated machine that it describes.
///
/// # Errors
/// The text is no trace, or of another version, or of an architecture that is not simulated.
pub fn check(text: &str) -> Result<Again> {
    let trace: Trace = text.parse()?;
    let machine = trace
        .machine()
        .context("there is no simulated machine of that architecture")?;
    let sim = SimKernel::new(machine);
    sim.set_rights(trace.rights());
    Ok(again(&trace, &sim))
}

/// The same with what is in a file.
///
/// # Errors
/// Those of [`check`]; the file cannot be read.
pub fn check_file(file: &Path) -> Result<Again> {
    let name = || file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(name)?;
    check(&text).with_context(name)
}
