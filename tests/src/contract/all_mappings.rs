//! How many mappings there are.

use anyhow::{Result, bail, ensure};
use vfio_core::ErrorKind;
use vfio_core::address::Access;
use vfio_core::guest::{AddressSpace, Committed, Section};

use super::mappings::{Room, expect};
use super::memory;
use super::{Outcome, Subject};
use crate::guest::Ram;

/// As many mappings as the kernel has are made for real, of guest memory; the next is refused in words.
pub(super) fn made(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    let domain = device.domain();
    let Some(left) = domain.capabilities()?.mappings_left else {
        return Ok(Outcome::NotHere("this kernel does not count mappings"));
    };
    let left = u64::from(left);
    let room = Room::new(domain, left + 1)?;
    let ram = Ram::new(subject.vfio.kernel(), usize::try_from(room.step)?)?;
    let space = AddressSpace::new();
    let _ = space.follow(domain)?;
    // The same memory everywhere, so that no two of them can be joined.
    let section = |n| Ok::<_, anyhow::Error>(Section::ram(room.steps(n, 1)?, ram.block(), 0)?);
    let all = |count| -> Result<_> {
        let mut edit = space.edit();
        for n in 0..count {
            edit = edit.insert(section(n)?);
        }
        Ok(edit.commit())
    };
    let refused = |what: vfio_core::Result<_>, needed: u64, left: u64| -> Result<()> {
        let Err(error) = what.map(drop::<Committed>) else {
            bail!("more mappings were made than there are");
        };
        let said = error.to_string();
        ensure!(error.kind() == ErrorKind::Exhausted, "{said}");
        let words = format!("it takes {needed} more mappings, and the kernel has {left} left");
        ensure!(said.contains(&words), "{words:?} is not said: {said}");
        Ok(())
    };
    refused(all(left + 1)?, left + 1, left)?;
    let _ = all(left)??;
    ensure!(
        domain.capabilities()?.mappings_left == Some(0),
        "{left} mappings are not all that there are"
    );
    refused(space.edit().insert(section(left)?).commit(), 1, 0)?;
    let last = memory::map(
        domain,
        room.steps(left, 1)?,
        ram.block().range(),
        Access::ReadWrite,
    );
    expect(ErrorKind::Exhausted, last, "one mapping more")?;
    drop(space);
    ensure!(
        domain.capabilities()?.mappings_left == u32::try_from(left).ok(),
        "what was unmapped is not counted as free"
    );
    Ok(Outcome::Passed)
}
