//! The list of capabilities in the first 256 bytes: what is shown, and how it is linked.

mod advanced_features;
mod express;
mod msi;
mod msix;
mod power;

use std::convert::Infallible;
use std::ops::Range;

use super::bits::Bits;
use super::next_place;
use super::raw::Raw;
use super::seat::{Place, Seat};
use crate::bar::{Bars, Msix, overlap};
use crate::capability::{self, Capability, CapabilityId, Walked};
use crate::config::{CAPABILITIES, STATUS, STATUS_CAPABILITIES};

pub(super) use msi::Msi;
pub(super) use msix::state as msix_state;
pub(super) use power::Power;

/// The list lives up to here.
const END: u16 = 0x100;

/// Capabilities that are of no use to a guest, or that only a host may touch: slots and their hot plugging (ids 4, 6 and 12),
/// a bridge's identity (13), addresses that are not the guest's (20, enhanced allocation), and a bridge's buses (21).
const ONLY_THE_HOSTS: [u8; 6] = [0x04, 0x06, 0x0c, 0x0d, 0x14, 0x15];

/// The registers of capabilities that a guest's writes to config space work on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Registers {
    pub(super) msi: Option<Msi>,
    /// Where MSI-X has its control register.
    pub(super) msix: Option<u16>,
    pub(super) power: Option<Power>,
    /// Bits that set a function level reset off: where their byte is, and which bit.
    pub(super) resets: Vec<(u16, u8)>,
    /// Whether the device has such a reset, whatever the guest is shown.
    pub(super) has_function_reset: bool,
    /// What registers that a guest writes in the device have before it does.
    pub(super) before_use: Vec<(u16, u16)>,
    /// Whether there is a capability of PCI Express, so that there can be extended ones.
    pub(super) is_express: bool,
}

/// What a capability is laid out from.
struct Found<'a> {
    raw: Raw<'a>,
    at: u16,
    place: Place,
    msix: Option<Msix>,
}

/// Lays the list out, and says where the registers are that matter.
pub(super) fn lay_out(
    bits: &mut Bits,
    raw: Raw<'_>,
    bars: &Bars,
    seat: &Seat,
    faults: &mut Vec<String>,
) -> Registers {
    let mut registers = Registers::default();
    let has_list = raw.word(STATUS) & STATUS_CAPABILITIES != 0;
    let first = if has_list { raw.byte(CAPABILITIES) } else { 0 };
    // What makes no sense ends the list; what was found before is as good as any.
    let read = |at: u8| Ok::<_, Infallible>(raw.word(at.into()));
    let Ok(Walked { found, fault }) = capability::walk(first, read);
    faults.extend(fault.map(|why| format!("the list of capabilities: {why}")));

    let places = found.iter().map(|it| u16::from(it.offset));
    let mut taken: Vec<Range<u16>> = Vec::new();
    let mut shown: Vec<Capability> = Vec::new();
    for one in &found {
        let at = u16::from(one.offset);
        let range = at..at.saturating_add(len(raw, *one));
        if range.end > END || taken.iter().any(|it| overlap(it, &range)) {
            let why = match range.end > END {
                true => "it does not end before the list's part of config space does",
                false => "it overlaps another one",
            };
            faults.push(format!("the capability {:#x} at {at:#x}: {why}", one.id.0));
            // Not even a part of it reaches the device, but for what is another one's.
            for at in range.start..range.end.min(END) {
                if !taken.iter().any(|it| it.contains(&at)) {
                    bits.hide(at..at + 1);
                }
            }
            continue;
        }
        taken.push(range.clone());
        let laid_out = Found {
            raw,
            at,
            place: seat.place,
            msix: bars.msix,
        };
        registers.has_function_reset |= match one.id {
            CapabilityId::PCI_EXPRESS => express::has_function_reset(&laid_out),
            CapabilityId::ADVANCED_FEATURES => advanced_features::has_function_reset(&laid_out),
            _ => false,
        };
        let hidden = ONLY_THE_HOSTS.contains(&one.id.0) || seat.hidden.contains(&one.id);
        match !hidden && registers.lay_out(bits, &laid_out, one.id) {
            true => shown.push(*one),
            false => bits.hide(at..range.end.max(next_place(places.clone(), at, END))),
        }
    }
    link(bits, &shown);
    registers
}

/// Links what is shown, in its own order.
fn link(bits: &mut Bits, shown: &[Capability]) {
    let offsets = shown.iter().map(|it| it.offset);
    bits.show(CAPABILITIES, [offsets.clone().next().unwrap_or(0)]);
    if !shown.is_empty() {
        let [list, _] = STATUS_CAPABILITIES.to_le_bytes();
        bits.fix(STATUS, list, list);
    }
    let next = offsets.skip(1).chain([0]);
    for (one, next) in shown.iter().zip(next) {
        bits.show(one.offset.into(), [one.id.0, next]);
    }
}

/// How many bytes a capability has; of those that are not known, their first two.
fn len(raw: Raw<'_>, one: Capability) -> u16 {
    let at = u16::from(one.offset);
    match one.id {
        CapabilityId::MSI => msi::len(raw.word(at + 2)),
        CapabilityId::MSI_X => msix::LEN,
        CapabilityId::POWER_MANAGEMENT => power::LEN,
        CapabilityId::PCI_EXPRESS => express::len(raw.word(at + 2)),
        CapabilityId::ADVANCED_FEATURES => advanced_features::LEN,
        CapabilityId::VITAL_PRODUCT_DATA => 8,
        CapabilityId::VENDOR => u16::from(raw.byte(at + 2)).max(3),
        _ => 2,
    }
}

impl Registers {
    /// Lays a capability out; `false` if the guest is not to see it. Of one that is not known, all is the device's: what is
    /// behind its first two bytes, which the list has, is as config space is otherwise.
    fn lay_out(&mut self, bits: &mut Bits, found: &Found<'_>, id: CapabilityId) -> bool {
        match id {
            CapabilityId::MSI if self.msi.is_none() => {
                self.msi = Some(msi::lay_out(bits, found));
                true
            }
            CapabilityId::MSI_X if self.msix.is_none() => {
                self.msix = msix::lay_out(bits, found);
                self.msix.is_some()
            }
            CapabilityId::POWER_MANAGEMENT if self.power.is_none() => {
                self.power = Some(power::lay_out(bits, found));
                true
            }
            CapabilityId::PCI_EXPRESS if !self.is_express && found.place != Place::Conventional => {
                self.is_express = true;
                self.resets.extend(express::lay_out(bits, found));
                self.before_use = express::before_use(bits, found);
                true
            }
            CapabilityId::ADVANCED_FEATURES => {
                self.resets.extend(advanced_features::lay_out(bits, found));
                true
            }
            // A device has one of each.
            CapabilityId::MSI
            | CapabilityId::MSI_X
            | CapabilityId::POWER_MANAGEMENT
            | CapabilityId::PCI_EXPRESS => false,
            _ => true,
        }
    }
}
