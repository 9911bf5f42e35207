//! Domains that follow a guest, and what their devices see of it.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use vfio_core::address::{DmaMask, Iova};
use vfio_core::guest::AddressSpace;
use vfio_core::iommu::Domain;
use vfio_core::kernel::Kernel;

use super::look::Guest;
use super::place::Place;
use crate::devices::Driver;
use crate::guest::{Change, LONGEST, Layout, Model, Op, PAGES, Section};
use crate::random;

/// So many edits are made in a sequence.
const EDITS: usize = 3;
/// So many in a row cannot be made, if that is no accident.
const REFUSED: usize = 1000;

/// A guest that is as the model says, and that domains follow.
pub(super) struct Followers {
    pub(super) space: AddressSpace,
    pub(super) model: Model,
    pub(super) layout: Layout,
    guest: Guest,
    place: Place,
}

impl Followers {
    /// The guest is empty, somewhere below the mask.
    pub(super) fn new(
        kernel: &Arc<dyn Kernel>,
        domains: &[&Domain],
        mask: DmaMask,
    ) -> Result<Self> {
        // One page more before the first section, and one behind the last.
        let pages = 1 + PAGES + LONGEST + 1;
        let [first, ..] = domains else {
            bail!("nobody follows");
        };
        let page = first.alloc(1, mask)?.page_size();
        let place = Place::new(domains, pages as u64 * page, mask)?;
        ensure!(place.page == page, "there are pages of two sizes");
        let layout = Layout {
            base: Iova(place.range.first().0 + page),
            page: usize::try_from(page)?,
        };
        let space = AddressSpace::new();
        for domain in domains {
            let _ = space.follow(domain)?;
        }
        Ok(Self {
            space,
            model: Model::default(),
            layout,
            guest: Guest::new(kernel, layout)?,
            place,
        })
    }

    /// Lets others have the guest's addresses.
    pub(super) fn release(&mut self) {
        self.place.release();
    }

    /// Makes the change, or learns why not.
    pub(super) fn commit(&mut self, change: &Change) -> vfio_core::Result<()> {
        self.guest.commit(&self.space, change)?;
        self.model = self.model.after(change).unwrap_or_default();
        Ok(())
    }

    /// Each device looks at these sections: it reaches what there is, and nothing else.
    pub(super) fn look(
        &mut self,
        sections: &[Section],
        drivers: &mut [&mut dyn Driver],
    ) -> Result<()> {
        for (n, driver) in drivers.iter_mut().enumerate() {
            self.guest
                .look(sections, &self.model, &mut **driver)
                .with_context(|| format!("driver {n}, {:?}", self.model))?;
        }
        Ok(())
    }

    /// Random sections come and go, and at last all of them.
    pub(super) fn see_random_edits(mut self, drivers: &mut [&mut dyn Driver]) -> Result<()> {
        for _ in 0..EDITS {
            self.edit()?;
            let sections = self.model.sections.clone();
            self.look(&sections, drivers)?;
        }
        let sections = std::mem::take(&mut self.model).sections;
        self.space = AddressSpace::new();
        self.look(&sections, drivers)
            .context("when all of it is gone")
    }

    /// Makes a random edit, after some that cannot be made perhaps.
    fn edit(&mut self) -> Result<()> {
        for _ in 0..REFUSED {
            let ops = (0..=random::up_to(4)?).map(|_| Ok(Op::of(random::array()?)));
            let change = self.model.change(&ops.collect::<Result<Vec<_>>>()?);
            if change.inserted.is_empty() && change.removed.is_empty() {
                continue;
            }
            let can_be = self.model.after(&change).is_some();
            let model = self.model.clone();
            match (can_be, self.commit(&change)) {
                (true, Ok(())) => return Ok(()),
                (false, Err(_)) => {}
                (false, Ok(())) => bail!("{change:?} of {model:?} was made"),
                (true, Err(error)) => {
                    return Err(error).with_context(|| format!("{change:?} of {model:?}"));
                }
            }
        }
        bail!("of {REFUSED} edits, none could be made: {:?}", self.model)
    }
}
