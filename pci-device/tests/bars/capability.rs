//! The MSI-X capability as config space has it, with any bits in its registers.

use std::sync::Arc;

use iommu_type1 as _;
use pci_device::bar::{Bars, Msix, Place};
use proptest::prelude::*;
use vfio_core::iommu::Registry;
use vfio_core::{Result, Vfio};
use vfio_sim::machine::Device;
use vfio_sim::{Machine, SimKernel};

use crate::described::vectors;
use crate::devices::BDF;
use crate::malformed::{assorted, is_in_words, is_sound, place};

/// Where the capability of a simulated device is in config space, and what it begins with.
const CAPABILITY: u16 = 0x40;
const MSIX: u32 = 0x11;
/// Where the header says where the first capability is.
const FIRST: u16 = 0x34;

/// A register of the capability that says a place.
fn register() -> impl Strategy<Value = u32> {
    let sound = place().prop_map(|place| place.offset | u32::from(place.bar));
    prop_oneof![9 => sound, 1 => any::<u32>()]
}

/// The BARs of a device of a simulated machine with that in its config space.
fn opened(config: &[(u16, u32)]) -> Result<Bars> {
    let mut device = Device::assorted(BDF);
    device.config.extend(config);
    let machine = Machine::x86_64().with_devices([device]);
    let vfio = Vfio::on(
        Arc::new(SimKernel::new(machine)),
        Registry::linked().unwrap(),
    );
    Bars::of(&vfio.open(BDF.parse().unwrap()).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_registers_are_refused_or_taken_as_they_are(
        vectors in vectors(),
        flags in 0_u32..0x20,
        (table, pending) in (register(), register()),
    ) {
        let place = |register: u32| Place {
            bar: register.to_le_bytes()[0] & 7,
            offset: register & !7,
        };
        let msix = Msix {
            vectors,
            table: place(table),
            pending: place(pending),
        };
        let head = flags << 27 | u32::from(vectors - 1) << 16 | MSIX;
        let bars = opened(&[(CAPABILITY, head), (CAPABILITY + 4, table), (CAPABILITY + 8, pending)]);
        match bars {
            Ok(bars) => {
                prop_assert!(is_sound(&assorted(), &msix));
                prop_assert_eq!(bars.msix, Some(msix));
            }
            Err(error) => {
                prop_assert!(!is_sound(&assorted(), &msix), "{}", error);
                prop_assert!(is_in_words(&error), "{}", error);
                prop_assert_eq!(error.device(), BDF.parse().ok());
                let is_nowhere = msix.table.bar.max(msix.pending.bar) > 5;
                prop_assert_eq!(error.to_string().contains("which no device has"), is_nowhere);
            }
        }
    }
}

#[test]
fn a_capability_that_config_space_cuts_off_is_refused() {
    let at = |offset: u16| {
        let whole = [
            (offset, 7 << 16 | MSIX),
            (offset + 4, 4),
            (offset + 8, 0x804),
        ];
        opened(&[&[(FIRST, offset.into())], &whole[..]].concat())
    };
    assert_eq!(at(0xf4).unwrap().msix.unwrap().vectors, 8);
    let error = at(0xf8).unwrap_err().to_string();
    assert!(
        error.contains("it is cut off: it starts at 0xf8"),
        "{error}"
    );
}
