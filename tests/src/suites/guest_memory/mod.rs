//! Guest memory that changes: after each edit devices reach exactly what the model says.

mod behind_iommu;
mod followers;
mod look;
mod peer;
mod place;
mod several;
mod view;

use anyhow::{Context, Result};
use vfio_core::address::DmaMask;

use super::{Outcome, Rig};
use crate::devices::Driver;
use followers::Followers;

pub(super) use behind_iommu::reached as behind_iommu;
pub(super) use peer::reached as peer;
pub(super) use several::{by_one_container, by_two_containers, refused, undone};

/// Sections that share a part of their memory, as those of the model do (D49).
const WINDOWS: Outcome = Outcome::NotHere("not every section can be mapped through windows");

/// Whether this IOMMU has windows.
fn has_windows(rig: &Rig) -> Result<bool> {
    Ok(rig.device.domain().capabilities()?.windows.is_some())
}

/// At low addresses, and at the highest that there are.
pub(super) fn reached(rig: &Rig, driver: &mut dyn Driver) -> Result<Outcome> {
    if has_windows(rig)? {
        return Ok(WINDOWS);
    }
    let domain = rig.device.domain();
    for bits in [32, 64] {
        let kernel = rig.vfio().kernel();
        Followers::new(kernel, &[domain], DmaMask::bits(bits))
            .and_then(|followers| followers.see_random_edits(&mut [&mut *driver]))
            .with_context(|| format!("below 2^{bits}"))?;
    }
    Ok(Outcome::Passed)
}
