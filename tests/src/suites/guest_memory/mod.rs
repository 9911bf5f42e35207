//! Guest memory that changes: after each edit devices reach exactly what the model says.

mod behind_iommu;
mod followers;
mod huge;
mod look;
mod peer;
mod place;
mod several;
mod tces;
mod view;

use anyhow::{Context, Result};
use vfio_core::address::DmaMask;

use super::{Outcome, Rig};
use crate::devices::Driver;
use followers::Followers;

pub(super) use behind_iommu::reached as behind_iommu;
pub(super) use huge::reached as huge;
pub(super) use peer::reached as peer;
pub(super) use several::{by_one_container, by_two_containers, refused, undone};
pub(super) use tces::reached as by_tces;
pub(super) use view::View;

/// At low addresses, and at the highest that there are.
pub(super) fn reached(rig: &Rig, driver: &mut dyn Driver) -> Result<Outcome> {
    let domain = rig.device.domain();
    for bits in [32, 64] {
        let kernel = rig.vfio().kernel();
        Followers::new(kernel, &[domain], DmaMask::bits(bits))
            .and_then(|followers| followers.see_random_edits(&mut [&mut *driver]))
            .with_context(|| format!("below 2^{bits}"))?;
    }
    Ok(Outcome::Passed)
}
