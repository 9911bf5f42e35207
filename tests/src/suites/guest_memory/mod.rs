//! Guest memory that changes: after each edit the device reaches exactly what the model says.

mod look;

use anyhow::{Context, Result, bail, ensure};
use vfio_core::address::{DmaMask, Iova};
use vfio_core::guest::AddressSpace;

use super::{Outcome, Rig};
use crate::devices::{Copier, Driver};
use crate::guest::{LONGEST, Layout, Model, Op, PAGES};
use crate::random;
use look::Guest;

/// So many edits are made in a sequence.
const EDITS: usize = 3;
/// So many in a row cannot be made, if that is no accident.
const REFUSED: usize = 1000;

/// At low addresses, and at the highest that there are.
pub(super) fn reached(rig: &Rig, driver: &mut dyn Driver) -> Result<Outcome> {
    let Some(copier) = driver.copier() else {
        return Ok(Outcome::NotHere(
            "the device copies no bytes of anybody's choice",
        ));
    };
    if rig.device.domain().capabilities()?.windows.is_some() {
        // Sections that share a part of their memory, as those of the model do (D49).
        return Ok(Outcome::NotHere(
            "not every section can be mapped through windows",
        ));
    }
    for bits in [32, 64] {
        sequence(rig, copier, DmaMask::bits(bits)).with_context(|| format!("below 2^{bits}"))?;
    }
    Ok(Outcome::Passed)
}

fn sequence(rig: &Rig, copier: &dyn Copier, mask: DmaMask) -> Result<()> {
    let domain = rig.device.domain();
    let page = domain.alloc(1, mask)?.page_size();
    // One page more before the first section, and one behind the last.
    let pages = 1 + PAGES + LONGEST + 1;
    let reserved = domain.alloc(pages as u64 * page, mask)?;
    ensure!(reserved.page_size() == page, "there are pages of two sizes");
    let layout = Layout {
        base: Iova(reserved.range().first().0 + page),
        page: usize::try_from(page)?,
    };
    let mut guest = Guest::new(rig.vfio().kernel(), layout)?;
    let space = AddressSpace::new();
    let _ = space.follow(domain)?;

    let mut model = Model::default();
    for _ in 0..EDITS {
        model = edit(&space, &guest, &model)?;
        guest
            .look(&model.sections, &model, copier)
            .with_context(|| format!("{model:?}"))?;
    }
    drop(space);
    guest
        .look(&model.sections, &Model::default(), copier)
        .context("when all of it is gone")
}

/// Makes a random edit, after some that cannot be made perhaps, and answers what there is now.
fn edit(space: &AddressSpace, guest: &Guest, model: &Model) -> Result<Model> {
    for _ in 0..REFUSED {
        let ops = (0..=random::up_to(4)?).map(|_| Ok(Op::of(random::array()?)));
        let change = model.change(&ops.collect::<Result<Vec<_>>>()?);
        if change.inserted.is_empty() && change.removed.is_empty() {
            continue;
        }
        match (model.after(&change), guest.commit(space, &change)) {
            (Some(after), Ok(())) => return Ok(after),
            (None, Err(_)) => {}
            (None, Ok(())) => bail!("{change:?} of {model:?} was made"),
            (Some(_), Err(error)) => {
                return Err(error).with_context(|| format!("{change:?} of {model:?}"));
            }
        }
    }
    bail!("of {REFUSED} edits, none could be made: {model:?}")
}
