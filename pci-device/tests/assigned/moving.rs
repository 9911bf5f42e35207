//! BARs that a guest places, moves, swaps, and puts where they cannot be.

use std::sync::{Arc, Mutex};

use pci_device::Settings;
use pci_device::bar::BarRegister;
use pci_device::vmm::{Call, Event, MappedSlice, MemorySlots, PeerSections};
use vfio_core::guest::AddressSpace;
use vfio_sim::machine::Device;

use super::rig::*;

const AT: u64 = 0xfeb0_0000;
const HIGH: u64 = 0x80_0000_0000;

/// A call without what it is about.
fn kind(call: &Call) -> &'static str {
    match call {
        Call::TrapAdded(_) => "trap",
        Call::TrapRemoved(_) => "no trap",
        Call::SliceInserted(_) => "slice",
        Call::SliceRemoved(_) => "no slice",
        _ => "other",
    }
}

fn kinds(rig: &Rig) -> Vec<&'static str> {
    rig.vmm.take().iter().map(kind).collect()
}

#[test]
fn decode_brings_traps_then_slices_and_takes_slices_then_traps() {
    let rig = Rig::new(Device::nvme(BDF));
    rig.place(0, HIGH, true);
    assert_eq!(kinds(&rig), [""; 0]);
    rig.set_command(MEMORY | MASTER);
    assert_eq!(kinds(&rig), ["trap", "slice"]);
    assert_eq!(rig.trap(0).unwrap().range, range(HIGH, 0x4000));
    assert_eq!(rig.slices(), [range(HIGH, 0x2000)]);
    rig.set_command(MEMORY);
    assert_eq!(kinds(&rig), [""; 0]); // nothing has moved
    rig.set_command(0);
    assert_eq!(kinds(&rig), ["no slice", "no trap"]);
    assert_eq!((rig.trap(0), rig.slices()), (None, vec![]));
}

/// The slot is away before the device is told to switch its memory off: otherwise the guest would meet a page that is not
/// there.
#[test]
fn slices_are_gone_before_the_device_stops_to_decode() {
    let watch = Arc::new(Watch::default());
    let machine = machine(Device::assorted(BDF), 4096);
    let rig = Rig::on(machine, &Settings::default(), |vmm| {
        vmm.slots = vec![watch.clone()];
    });
    rig.write32(0x18, 0xe000_0000);
    rig.set_command(MEMORY);
    rig.set_command(0);
    rig.set_command(MEMORY);
    drop(rig.device);
    assert_eq!(
        *watch.0.lock().unwrap(),
        ["insert 0", "remove 0", "insert 0", "remove 0"]
    );
}

/// Reads the mapping at each change: that would be a `SIGBUS` while the device does not decode its memory.
#[derive(Debug, Default)]
struct Watch(Mutex<Vec<String>>);

impl Watch {
    fn note(&self, what: &str, slice: &MappedSlice) -> vfio_core::Result<()> {
        let value = slice.memory.read::<u32>(0)?;
        self.0.lock().unwrap().push(format!("{what} {value}"));
        Ok(())
    }
}

impl MemorySlots for Watch {
    fn insert(&self, slice: &MappedSlice) -> vfio_core::Result<()> {
        self.note("insert", slice)
    }

    fn remove(&self, slice: &MappedSlice) -> vfio_core::Result<()> {
        self.note("remove", slice)
    }
}

#[test]
fn a_move_costs_two_operations_a_slice() {
    let rig = Rig::new(Device::nvme(BDF));
    rig.place(0, HIGH, true);
    rig.set_command(MEMORY);
    kinds(&rig);
    rig.write32(0x10, 0x4_0000);
    assert_eq!(kinds(&rig), ["no slice", "no trap", "trap", "slice"]);
    assert_eq!(rig.trap(0).unwrap().range, range(HIGH + 0x4_0000, 0x4000));
    rig.write32(0x10, 0x4_0004); // the same address
    assert_eq!(kinds(&rig), [""; 0]);
}

/// A BAR of 64 bits is moved a half at a time, so that it passes a place that nobody wants.
#[test]
fn one_dword_at_a_time() {
    let rig = Rig::new(Device::assorted(BDF));
    rig.place(2, HIGH, true);
    rig.set_command(MEMORY);
    rig.write32(0x18, 0x2000_0000);
    assert_eq!(rig.slices(), [range(HIGH + 0x2000_0000, 4 << 20)]);
    rig.write32(0x1c, 0);
    // It is over RAM now: not there, and told.
    assert_eq!((rig.trap(2), rig.slices()), (None, vec![]));
    assert_eq!(rig.read(2, 0), [0xff; 4]);
    let events = rig.events();
    assert!(
        matches!(&events[..], [Event::NotPlaced(BarRegister::Bar(2), at, _)] if at.start == 0x2000_0000),
        "{events:?}"
    );
    rig.write32(0x18, 0xe000_0000);
    assert_eq!(rig.slices(), [range(0xe000_0000, 4 << 20)]);
    assert_eq!(rig.read(2, 0), [0; 4]);
}

/// A guest that learns the size with decode on passes the highest address: nothing is there.
#[test]
fn probing_for_the_size() {
    let rig = Rig::new(Device::assorted(BDF));
    rig.place(0, AT, false);
    rig.set_command(MEMORY);
    rig.write32(0x10, u32::MAX);
    assert_eq!(rig.read32(0x10), 0xffff_ff00);
    assert_eq!(rig.trap(0), None);
    rig.write32(0x10, u32::try_from(AT).unwrap());
    assert_eq!(rig.trap(0).unwrap().range, range(AT, 0x100));
    assert_eq!(rig.events(), []);
}

#[test]
fn two_bars_are_swapped_with_decode_on() {
    let (one, two) = (0xe000_0000, 0xe100_0000);
    let device = Device {
        bars: [
            Some(vfio_sim::machine::Bar::memory(1 << 20)),
            None,
            Some(vfio_sim::machine::Bar::memory(1 << 20)),
            None,
            None,
            None,
        ],
        interrupts: vfio_sim::machine::Interrupts::default(),
        ..Device::assorted(BDF)
    };
    let rig = Rig::new(device);
    rig.place(0, one, true);
    rig.place(2, two, true);
    rig.set_command(MEMORY);
    rig.write(0, 0, &[1; 4]);
    rig.write(2, 0, &[2; 4]);
    // For a moment both are to be at one place: the first stays, the other is nowhere.
    rig.place(2, one, true);
    assert_eq!((rig.trap(0).unwrap().range.start, rig.trap(2)), (one, None));
    assert_eq!(rig.slices(), [range(one, 1 << 20)]);
    rig.place(0, two, true);
    assert_eq!(rig.trap(0).unwrap().range.start, two);
    assert_eq!(rig.trap(2).unwrap().range.start, one);
    assert_eq!(rig.slices(), [range(one, 1 << 20), range(two, 1 << 20)]);
    let (_, bar, offset) = rig
        .vmm
        .find(pci_device::vmm::Space::Memory, one + 2)
        .unwrap();
    assert_eq!((bar, offset), (BarRegister::Bar(2), 2));
    assert_eq!((rig.read(0, 0), rig.read(2, 0)), ([1; 4], [2; 4]));
}

/// A BAR smaller than a page is mapped where it starts a page and nothing else is in that.
#[test]
fn a_small_bar_is_mapped_where_it_is_alone() {
    let rig = Rig::new(Device::assorted(BDF));
    rig.place(0, AT, false);
    rig.place(4, AT + 0x10_0000, false);
    rig.set_command(MEMORY);
    let table_bar = [range(AT + 0x10_0000 + 0x1000, 0x3000)];
    let small = range(AT, 0x1000);
    assert_eq!(rig.slices(), [small.clone(), table_bar[0].clone()]);
    // Off the start of the page.
    rig.place(0, AT + 0x100, false);
    assert_eq!(rig.slices(), table_bar);
    rig.place(0, AT, false);
    assert_eq!(rig.slices().len(), 2);
    // Something else is to come into its page: the VMM says so, and then it is not mapped there any more.
    let other = pci_device::vmm::Trap {
        device: "0000:00:06.0".parse().unwrap(),
        bar: BarRegister::Bar(0),
        space: pci_device::vmm::Space::Memory,
        range: range(AT + 0x800, 0x100),
    };
    pci_device::vmm::Traps::add(&*rig.vmm, &other).unwrap();
    rig.device.address_space_changed();
    assert_eq!(rig.slices(), table_bar);
    pci_device::vmm::Traps::remove(&*rig.vmm, &other);
    rig.device.address_space_changed();
    assert_eq!(rig.slices(), [small, table_bar[0].clone()]);
}

/// With pages of 64 KiB, a BAR of its own comes into the page of another.
#[test]
fn another_bar_of_the_device_takes_the_page_away() {
    let machine = machine(Device::assorted(BDF), 0x1_0000);
    let rig = Rig::on(machine, &Settings::default(), |_| {});
    rig.place(0, AT, false);
    rig.place(4, AT + 0x10_0000, false);
    rig.set_command(MEMORY);
    assert_eq!(rig.slices(), [range(AT, 0x1_0000)]); // the table's BAR is one page, with the table in it
    rig.place(4, AT + 0x4000, false);
    assert_eq!(rig.slices(), []);
    rig.place(4, AT + 0x10_0000, false);
    assert_eq!(rig.slices(), [range(AT, 0x1_0000)]);
}

/// On hosts with large pages the table is moved, and nothing of the registers is lost.
#[test]
fn a_table_that_was_moved_is_found_where_the_guest_is_told() {
    let machine = machine(Device::nvme(BDF), 0x1_0000);
    let settings = Settings {
        msix_in: Some(2),
        ..Settings::default()
    };
    let rig = Rig::on(machine, &settings, |_| {});
    rig.place(0, HIGH, true);
    rig.place(2, AT, false);
    rig.set_command(MEMORY);
    assert_eq!(rig.read32(0x44) & 7, 2); // the table's BAR
    let offset = u64::from(rig.read32(0x44) & !7);
    assert_eq!(rig.read(2, offset + 12), [1, 0, 0, 0]);
    assert_eq!(rig.count("pwrite", || rig.write(2, offset, &[0x10; 4])), 0);
    assert_eq!(rig.read(2, offset), [0x10; 4]);
    // Where the hardware has its table the kernel shows none.
    assert_eq!(rig.read(0, 0x2000), [0xff; 4]);
}

#[test]
fn what_is_refused_is_trapped_and_tried_again() {
    let rig = Rig::new(Device::assorted(BDF));
    rig.vmm.refuse_slices(true);
    rig.place(2, HIGH, true);
    rig.set_command(MEMORY);
    assert_eq!(rig.slices(), []);
    rig.write(2, 0x10, &[4; 4]);
    assert_eq!(rig.read(2, 0x10), [4; 4]);
    assert!(matches!(rig.events()[..], [Event::NotMapped(2, ..)]));
    rig.vmm.refuse_slices(false);
    rig.device.address_space_changed();
    assert_eq!(rig.slices(), [range(HIGH, 4 << 20)]);
}

/// Other devices reach it where the guest sees it.
#[test]
fn sections_of_an_address_space_follow() {
    let space = Arc::new(AddressSpace::new());
    let peers = Arc::new(PeerSections::of(&space));
    let rig = Rig::on(
        machine(Device::assorted(BDF), 4096),
        &Settings::default(),
        |vmm| vmm.slots.push(peers),
    );
    let _ = space.follow(rig.device.device().domain()).unwrap();
    rig.place(2, HIGH, true);
    let mappings = || {
        let mappings = rig.sim.mappings();
        mappings.into_iter().map(|it| it.iova).collect::<Vec<_>>()
    };
    assert_eq!(mappings(), []);
    rig.set_command(MEMORY);
    assert_eq!(mappings(), [HIGH]);
    rig.write32(0x18, 0x4000_0000);
    assert_eq!(mappings(), [HIGH + 0x4000_0000]);
    rig.set_command(0);
    assert_eq!(mappings(), []);
}

#[test]
fn with_the_last_handle_everything_leaves_the_guest() {
    let rig = Rig::new(Device::assorted(BDF));
    rig.place(2, HIGH, true);
    rig.set_command(MEMORY | IO | MASTER);
    let other = rig.device.clone();
    drop(rig.device);
    assert_eq!(rig.vmm.slices().len(), 1);
    drop(other);
    assert_eq!((rig.vmm.slices(), rig.vmm.traps()), (vec![], vec![]));
    rig.vmm.take();
    drop(rig.vfio);
    assert!(rig.sim.is_idle());
}
