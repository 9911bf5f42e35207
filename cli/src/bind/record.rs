//! The undo record: what a device had before it was bound, until the host is started anew.

use serde::{Deserialize, Serialize};
use vfio_core::host::{Bdf, PciDevice};
use vfio_core::{Error, ErrorKind, Result};

use super::carry_out::Move;
use super::plan::Binding;
use super::report::Report;
use super::state::State;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Another device may come into the slot.
    vendor: u16,
    device: u16,
    /// Who had it.
    driver: Option<String>,
    driver_override: Option<String>,
    /// Who was given it.
    bound_to: String,
}

impl Record {
    fn new(device: &PciDevice, before: &Binding, bound_to: &str) -> Self {
        Self {
            vendor: device.vendor,
            device: device.device,
            driver: before.driver.clone(),
            driver_override: before.only.clone(),
            bound_to: bound_to.to_owned(),
        }
    }

    /// The same for a device that goes on to another driver of VFIO's.
    fn again(self, bound_to: &str) -> Self {
        Self {
            bound_to: bound_to.to_owned(),
            ..self
        }
    }

    /// Whether it is about this device as it is now: neither exchanged nor bound by others since.
    fn is_of(&self, device: &PciDevice) -> bool {
        (self.vendor, self.device) == (device.vendor, device.device)
            && device.driver.as_ref().is_none_or(|it| *it == self.bound_to)
    }

    /// What the device had.
    pub(super) fn before(&self) -> Binding {
        Binding {
            driver: self.driver.clone(),
            only: self.driver_override.clone(),
        }
    }

    fn read(state: &State, bdf: Bdf) -> Result<Option<Self>> {
        let path = path(bdf);
        let Some(text) = state.read(&path)? else {
            return Ok(None);
        };
        let record: Self = serde_json::from_str(&text).map_err(|error| malformed(&path, &error))?;
        let drivers = record.driver.iter().chain(&record.driver_override);
        match drivers.into_iter().all(|name| super::is_name(name)) {
            true => Ok(Some(record)),
            false => Err(malformed(&path, &"it names no driver")),
        }
    }

    fn write(&self, state: &State, bdf: Bdf) -> Result<()> {
        let path = path(bdf);
        let text = serde_json::to_string(self).map_err(|error| malformed(&path, &error))?;
        state.write(&path, &format!("{text}\n"))
    }

    pub(super) fn remove(state: &State, bdf: Bdf) -> Result<()> {
        state.remove(&path(bdf))
    }
}

/// The record of a device, if there is one that is still about it.
pub(super) fn of(state: &State, device: &PciDevice, report: &mut Report) -> Option<Record> {
    match Record::read(state, device.bdf) {
        Ok(record) => record.filter(|record| record.is_of(device)),
        Err(error) => {
            report.warnings.push(format!("it is not used: {error}"));
            None
        }
    }
}

/// What a device's record was before.
pub(super) type Kept = Vec<(Bdf, Option<Record>)>;

/// Writes down what the devices have, before it is changed.
pub(super) fn keep(
    state: &State,
    devices: &[&PciDevice],
    moves: &[Move],
    driver: &str,
    report: &mut Report,
) -> Result<Kept> {
    let mut kept = Kept::new();
    for (device, one) in devices.iter().zip(moves) {
        let old = of(state, device, report);
        let record = match &old {
            Some(old) => old.clone().again(driver),
            None => Record::new(device, &one.before, driver),
        };
        kept.push((one.bdf, old));
        if let Err(error) = record.write(state, one.bdf) {
            restore(state, &kept, report);
            return Err(error);
        }
    }
    Ok(kept)
}

pub(super) fn restore(state: &State, kept: &Kept, report: &mut Report) {
    for (bdf, old) in kept {
        let restored = match old {
            Some(old) => old.write(state, *bdf),
            None => Record::remove(state, *bdf),
        };
        let warning = restored.err().map(|error| error.to_string());
        report.warnings.extend(warning);
    }
}

fn path(bdf: Bdf) -> String {
    format!("run/vfioctl/{bdf}")
}

fn malformed(path: &str, why: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Invalid, "read", format!("/{path}")).because(why.to_string())
}
