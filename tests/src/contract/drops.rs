//! Whatever is dropped first, everything is released, and the next one finds the device free.

use anyhow::{Context, Result, ensure};
use vfio_core::Device;
use vfio_core::ErrorKind;
use vfio_core::address::{Access, DmaMask};
use vfio_core::device::{RegionIndex, RegionMap};
use vfio_core::iommu::{DmaBuffer, Domain};

use super::{Outcome, Subject};

/// What a program holds of a device.
#[derive(Default)]
struct Held {
    device: Option<Device>,
    map: Option<RegionMap>,
    buffer: Option<DmaBuffer>,
    domain: Option<Domain>,
}

impl Held {
    const PARTS: usize = 4;

    fn of(device: Device) -> Result<Self> {
        let bar = device.region(RegionIndex::Bar(0))?;
        let map = bar.is_mappable().then(|| bar.map()).transpose()?;
        let mask = DmaMask::bits(32);
        Ok(Self {
            map,
            buffer: Some(device.domain().buffer(1, mask, Access::ReadWrite)?),
            domain: Some(device.domain().clone()),
            device: Some(device),
        })
    }

    fn drop_part(&mut self, part: usize) {
        match part {
            0 => self.device = None,
            1 => self.map = None,
            2 => self.buffer = None,
            _ => self.domain = None,
        }
    }
}

pub(super) fn any_order(subject: &Subject) -> Result<Outcome> {
    for order in orders(Held::PARTS) {
        let device = subject
            .open()
            .with_context(|| format!("opened anew, before drops in the order {order:?}"))?;
        let watch = device.domain().clone();
        let mut held = Held::of(device)?;
        for &part in &order {
            held.drop_part(part);
        }
        let ended = watch.capabilities();
        ensure!(
            ended
                .as_ref()
                .is_err_and(|error| error.kind() == ErrorKind::Gone),
            "dropped in the order {order:?}, the context is still there: {ended:?}"
        );
    }
    Ok(Outcome::Passed)
}

/// Every order of the numbers below `n`.
fn orders(n: usize) -> Vec<Vec<usize>> {
    let Some(last) = n.checked_sub(1) else {
        return vec![Vec::new()];
    };
    let longer = orders(last).into_iter().flat_map(|order| {
        (0..n).map(move |place| {
            let mut order = order.clone();
            order.insert(place, last);
            order
        })
    });
    longer.collect()
}
