//! What holds of a device in a guest after anything that the guest does. The fuzz target `assigned` holds against it, too.

use std::ops::Range;

use pci_device::AssignedDevice;
use pci_device::bar::BarRegister;
use pci_device::vmm::{Call, Event, IoSpace, Recorder, Space};

/// Power management.
pub(crate) const POWER: u32 = 0x01;
const MSI_X: u32 = 0x11;

fn dword(device: &AssignedDevice, at: u16) -> u32 {
    let mut bytes = [0; 4];
    device.read_config(at, &mut bytes);
    u32::from_le_bytes(bytes)
}

/// The guest's list of capabilities: where each is, and its id.
pub(crate) fn capabilities(device: &AssignedDevice) -> Vec<(u16, u32)> {
    let mut found = Vec::new();
    let mut at = dword(device, 0x34) & 0xff;
    while at != 0 {
        let place = u16::try_from(at).expect("a byte");
        let head = dword(device, place);
        found.push((place, head & 0xff));
        at = head >> 8 & 0xff;
    }
    found
}

/// Where the guest finds a capability.
fn capability(device: &AssignedDevice, id: u32) -> Option<u16> {
    let mut all = capabilities(device).into_iter();
    all.find(|(_, found)| *found == id).map(|(at, _)| at)
}

/// Whether the guest has put it to sleep.
fn is_asleep(device: &AssignedDevice) -> bool {
    capability(device, POWER).is_some_and(|at| dword(device, at + 4) & 3 != 0)
}

/// What of a BAR the guest reaches by accesses alone: the BAR's number, and the bytes of the table and of the pending bits.
fn unmapped(device: &AssignedDevice) -> Vec<(u32, Range<u64>)> {
    let Some(at) = capability(device, MSI_X) else {
        return Vec::new();
    };
    let vectors = u64::from(dword(device, at) >> 16 & 0x7ff) + 1;
    let place = |register: u32, len: u64| {
        let offset = u64::from(register & !7);
        (register & 7, offset..offset + len)
    };
    vec![
        place(dword(device, at + 4), 16 * vectors),
        place(dword(device, at + 8), 8 * vectors.div_ceil(64)),
    ]
}

pub(crate) fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

/// What is in the guest is where its registers say, and nowhere else.
pub(crate) fn check(
    device: &AssignedDevice,
    vmm: &Recorder,
    ram: &Range<u64>,
    page: u64,
    io_space: &IoSpace,
) {
    let read = |at| dword(device, at);
    let command = read(4);
    let traps = vmm.traps();
    for trap in &traps {
        let low = read(trap.bar.offset());
        let ports = trap.bar != BarRegister::Rom && low & 1 != 0;
        assert!(
            command & if ports { 1 } else { 2 } != 0,
            "{trap:x?}, command {command:#x}"
        );
        let high = match low & 0b111 == 0b100 && trap.bar != BarRegister::Rom {
            true => read(trap.bar.offset() + 4),
            false => 0,
        };
        let mask = match trap.bar {
            BarRegister::Rom => 0x7ff,
            _ if ports => 3,
            _ => 15,
        };
        let address = u64::from(low & !mask) | u64::from(high) << 32;
        let start = match (ports, io_space) {
            (true, IoSpace::Aperture(range)) => trap.range.start - range.start,
            _ => trap.range.start,
        };
        assert_eq!(start, address, "{trap:x?}");
        assert_eq!(
            trap.space == Space::Ports,
            ports && *io_space == IoSpace::Ports
        );
    }
    let slices = vmm.slices();
    if is_asleep(device) {
        assert_eq!((&traps, &slices), (&vec![], &vec![]), "it sleeps");
    }
    let unmapped = unmapped(device);
    for (number, slice) in slices.iter().enumerate() {
        assert!(
            slice.guest.start % page == 0 && slice.guest.end % page == 0,
            "{slice:x?}"
        );
        assert!(!overlap(&slice.guest, ram), "{slice:x?}");
        let trap = traps
            .iter()
            .find(|it| it.bar == BarRegister::Bar(slice.bar));
        let trap = trap.expect("what is mapped is trapped below");
        let whole = trap.range.start..trap.range.end.next_multiple_of(page);
        assert!(
            whole.start <= slice.guest.start && slice.guest.end <= whole.end,
            "{slice:x?} of {trap:x?}"
        );
        for (bar, range) in &unmapped {
            let range = trap.range.start + range.start..trap.range.start + range.end;
            assert!(
                *bar != u32::from(slice.bar) || !overlap(&slice.guest, &range),
                "{slice:x?} has {range:x?} of MSI-X"
            );
        }
        for other in &slices[number + 1..] {
            assert!(
                !overlap(&slice.guest, &other.guest),
                "{slice:x?} {other:x?}"
            );
        }
        for other in traps
            .iter()
            .filter(|it| it.bar != trap.bar && it.space == Space::Memory)
        {
            assert!(
                !overlap(&slice.guest, &other.range),
                "{slice:x?} {other:x?}"
            );
        }
    }
    for call in vmm.take() {
        assert!(
            !matches!(call, Call::Event(Event::StillMapped(..))),
            "{call:?}"
        );
    }
}
