//! What opening devices costs, in ioctls, beside a peer: `bench FIRST SECOND`, two devices of one group.
//!
//! Prints a line a measurement: its name, ours, the peer's, with tabs between them.

mod count;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use iommu_type1 as _;
use vfio_core::Vfio;
use vfio_core::host::Bdf;
use vfio_ioctls::{VfioContainer, VfioDevice, VfioOps};

use count::ioctls;

fn main() -> Result<()> {
    let devices: Vec<Bdf> = std::env::args()
        .skip(1)
        .map(|name| name.parse().context("read the name of a device"))
        .collect::<Result<_>>()?;
    let [first, second] = devices[..] else {
        anyhow::bail!("two devices of one group are needed");
    };
    let ours = ours(first, second)?;
    let peers = peers(first, second)?;
    for (name, ours, peer) in [
        (
            "ioctls to open the first device of a group",
            ours.0,
            peers.0,
        ),
        (
            "ioctls to open the second device of a group",
            ours.1,
            peers.1,
        ),
    ] {
        println!("{name}\t{ours}\t{peer}");
    }
    Ok(())
}

fn ours(first: Bdf, second: Bdf) -> Result<(u64, u64)> {
    let vfio = Vfio::new()?;
    let (one, first) = ioctls(|| vfio.open(first));
    let first = first?;
    let (two, second) = ioctls(|| vfio.open(second));
    let second = second?;
    ensure!(one > 0 && two > 0, "calls pass the counter by");
    ensure!(first.domain() == second.domain(), "not of one group");
    second.close()?;
    first.close()?;
    Ok((one, two))
}

fn peers(first: Bdf, second: Bdf) -> Result<(u64, u64)> {
    let path = |device: Bdf| PathBuf::from(format!("/sys/bus/pci/devices/{device}"));
    let (container_calls, container) = ioctls(|| VfioContainer::new(None));
    let container: Arc<dyn VfioOps> = Arc::new(container.context("the peer's container")?);
    let (one, opened) = ioctls(|| VfioDevice::new(&path(first), Arc::clone(&container), false));
    let _first = opened.context("the peer's first device")?;
    let (two, opened) = ioctls(|| VfioDevice::new(&path(second), container, false));
    let _second = opened.context("the peer's second device")?;
    ensure!(one > 0 && two > 0, "calls pass the counter by");
    Ok((container_calls + one, two))
}
