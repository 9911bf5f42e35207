//! Carries plans out: for all devices, or for none.

use std::collections::BTreeMap;

use vfio_core::host::Bdf;
use vfio_core::kernel::Kernel;
use vfio_core::{Error, Result};

use super::plan::{Binding, Goal, Taker, Write, writes};

/// A device that is to change its driver.
#[derive(Debug, Clone)]
pub(super) struct Move {
    pub(super) bdf: Bdf,
    pub(super) before: Binding,
    pub(super) goal: Goal,
}

/// Why nothing was done.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) why: Why,
    /// What could not be put back, a line a device.
    pub(super) left: Vec<String>,
}

#[derive(Debug)]
pub(super) enum Why {
    /// The kernel refused a step.
    Refused(Bdf, Error),
    /// Every write was accepted, and the device has another driver than was wanted, or none.
    DidNotTake {
        bdf: Bdf,
        wanted: Taker,
        has: Option<String>,
    },
}

impl Move {
    pub(super) fn writes(&self) -> Vec<Write> {
        writes(self.bdf, &self.before, &self.goal)
    }

    /// Answers which driver has the device then.
    fn make(&self, kernel: &dyn Kernel) -> std::result::Result<Option<String>, Why> {
        let refused = |error| Why::Refused(self.bdf, error);
        for write in self.writes() {
            write.make(kernel).map_err(refused)?;
        }
        let now = Binding::read(kernel, self.bdf).map_err(refused)?;
        // Nobody may want what is left to the kernel.
        let nobody_came = self.goal.taker == Taker::Own && now.driver.is_none();
        if now.meets(&self.goal) || nobody_came {
            return Ok(now.driver);
        }
        Err(Why::DidNotTake {
            bdf: self.bdf,
            wanted: self.goal.taker.clone(),
            has: now.driver,
        })
    }

    /// Gives the device what it had; answers what is otherwise now.
    fn put_back(&self, kernel: &dyn Kernel) -> Option<String> {
        let Self { bdf, before, .. } = self;
        let unknown = |error| format!("{bdf} had {before}; what it has now is unknown: {error}");
        let now = match Binding::read(kernel, *bdf) {
            Ok(now) => now,
            Err(error) => return Some(unknown(error)),
        };
        let writes = writes(*bdf, &now, &Goal::as_before(before));
        // One that fails does not keep the others from helping.
        let made: Vec<_> = writes.iter().map(|write| write.make(kernel)).collect();
        let error = made.into_iter().find_map(Result::err);
        match Binding::read(kernel, *bdf) {
            Ok(now) if now == *before => None,
            Ok(now) => {
                let why = error.map_or_else(String::new, |error| format!(": {error}"));
                Some(format!("{bdf} had {before} and has {now}{why}"))
            }
            Err(error) => Some(unknown(error)),
        }
    }
}

/// Which driver a device has now, where that was changed.
pub(super) type Drivers = BTreeMap<Bdf, Option<String>>;

/// Moves every device. If one cannot be moved, it and those before it get back what they had.
pub(super) fn carry_out(
    kernel: &dyn Kernel,
    moves: &[Move],
) -> std::result::Result<Drivers, Failed> {
    let mut drivers = Drivers::new();
    for (before, one) in moves.iter().enumerate() {
        match one.make(kernel) {
            Ok(driver) => drivers.insert(one.bdf, driver),
            Err(why) => {
                let begun = moves.iter().take(before + 1).rev();
                let left = begun.filter_map(|it| it.put_back(kernel)).collect();
                return Err(Failed { why, left });
            }
        };
    }
    Ok(drivers)
}
