//! A guest that writes anything anywhere, and a device that says anything of itself.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use iommu_type1 as _;
use pci_device::bar::BarRegister;
use pci_device::vmm::{IoSpace, Recorder, Trap};
use pci_device::{AssignedDevice, RomSource, Settings, reset_guest};
use proptest::prelude::*;
use vfio_core::Vfio;
use vfio_core::device::RegionIndex;
use vfio_core::iommu::Registry;
use vfio_sim::SimKernel;
use vfio_sim::machine::Device;
use vfio_sim::wrap::{Outcome, Request, Watch, Watched};

use super::placed::{self, overlap};
use super::quirks::mirrored;
use super::rig::*;

/// Something that a guest, or its VMM, does.
#[derive(Debug, Clone)]
enum Step {
    WriteConfig(u16, Vec<u8>),
    ReadConfig(u16, usize),
    Write(u8, u64, Vec<u8>),
    Read(u8, u64, usize),
    Changed,
    Reset,
}

/// Where writes to config space do something.
fn registers() -> impl Strategy<Value = u16> {
    prop_oneof![
        1 => Just(0x04_u16),
        6 => (0x10_u16..0x34).prop_map(|at| at & !3),
        1 => 0x10_u16..0x34,
        1 => Just(0x88),        // device control, with the reset
        2 => 0x40_u16..0x60,    // MSI-X and MSI
        2 => any::<u16>(),
        1 => 0xff0_u16..0x1010,
    ]
}

/// Addresses: apart, and several in a page.
fn addresses() -> impl Strategy<Value = u32> {
    prop_oneof![
        2 => (0x8000_u32..0xffff).prop_map(|page| page << 16),
        1 => (0_u32..0x80).prop_map(|near| 0x9000_0000 | near << 8),
    ]
}

fn values() -> impl Strategy<Value = Vec<u8>> {
    let dword = prop_oneof![
        2 => Just(u32::MAX),
        1 => Just(0),
        6 => addresses(),
        3 => any::<u32>(),
        2 => 0_u32..8, // memory, ports, bus master; asleep
    ];
    (dword, 1_usize..=8).prop_map(|(dword, len)| {
        let bytes = dword.to_le_bytes();
        bytes.iter().cycle().take(len).copied().collect()
    })
}

/// What comes first, most often: everything is placed, and switched on.
fn firmware() -> impl Strategy<Value = Vec<Step>> {
    let registers = (0x10_u16..0x28).step_by(4).chain([0x30]);
    let registers: Vec<u16> = registers.collect();
    let placed = prop::collection::vec(addresses(), registers.len()).prop_map(move |addresses| {
        let registers = registers.iter().copied().zip(addresses);
        let place = |(at, address): (u16, u32)| {
            let address = if at == 0x30 { address | 1 } else { address };
            Step::WriteConfig(at, address.to_le_bytes().to_vec())
        };
        let on = Step::WriteConfig(0x04, vec![7]);
        registers.map(place).chain([on]).collect()
    });
    prop_oneof![4 => placed, 1 => Just(Vec::new())]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = || {
        let offset =
            prop_oneof![4 => 0_u64..0x5000, 1 => 0x8_7ff0_u64..0x8_9010, 1 => any::<u64>()];
        (0_u8..9, offset)
    };
    let command = prop_oneof![3 => Just(7_u8), 1 => any::<u8>()];
    let power = prop_oneof![2 => Just(0_u8), 1 => 0_u8..4];
    let step = prop_oneof![
        2 => command.prop_map(|bits| Step::WriteConfig(0x04, vec![bits])),
        2 => power.prop_map(|state| Step::WriteConfig(0x64, vec![state])),
        8 => (registers(), values()).prop_map(|(at, bytes)| Step::WriteConfig(at, bytes)),
        2 => (registers(), 0_usize..9).prop_map(|(at, len)| Step::ReadConfig(at, len)),
        3 => (place(), values()).prop_map(|((bar, at), bytes)| Step::Write(bar, at, bytes)),
        3 => (place(), 0_usize..20).prop_map(|((bar, at), len)| Step::Read(bar, at, len)),
        1 => Just(Step::Changed),
        1 => Just(Step::Reset),
    ];
    (firmware(), prop::collection::vec(step, 1..40))
        .prop_map(|(first, then)| [first, then].concat())
}

fn settings() -> impl Strategy<Value = (Settings, usize, IoSpace)> {
    let image = Arc::from([0x55, 0xaa, 0, 1, 2]);
    (
        prop_oneof![3 => Just(None), 1 => Just(Some(5))],
        prop_oneof![Just(u64::MAX), Just(0)],
        prop_oneof![
            Just(RomSource::Device),
            Just(RomSource::Hidden),
            Just(RomSource::Image(image))
        ],
        prop_oneof![Just(4096_usize), Just(0x1_0000)],
        prop_oneof![
            Just(IoSpace::Ports),
            Just(IoSpace::None),
            Just(IoSpace::Aperture(1 << 40..1 << 41))
        ],
    )
        .prop_map(|(msix_in, map_at_once, rom, page, io_space)| {
            let settings = Settings {
                msix_in,
                map_at_once,
                rom,
                ..Settings::default()
            };
            (settings, page, io_space)
        })
}

fn bar(number: u8) -> BarRegister {
    match number {
        8 => BarRegister::Rom,
        number => BarRegister::Bar(number),
    }
}

fn carry_out(device: &AssignedDevice, step: &Step) {
    match step {
        Step::WriteConfig(at, bytes) => device.write_config(*at, bytes),
        Step::ReadConfig(at, len) => device.read_config(*at, &mut vec![0; *len]),
        Step::Write(number, at, bytes) => device.write(bar(*number), *at, bytes),
        Step::Read(number, at, len) => device.read(bar(*number), *at, &mut vec![0; *len]),
        Step::Changed => device.address_space_changed(),
        Step::Reset => drop(reset_guest(std::slice::from_ref(device))),
    }
}

/// An access of the real device: whether it is written, the region's number, where and how much.
type Access = (bool, u64, Range<u64>);

/// What the device sees.
#[derive(Debug, Default)]
struct Seen(Mutex<Vec<Access>>);

impl Watch for Seen {
    fn after(&self, call: &vfio_sim::wrap::Call<'_>, _: &Outcome<'_>) {
        let (is_write, offset, len) = match call.request {
            Request::Pread { len, offset } => (false, offset, len),
            Request::Pwrite { bytes, offset } => (true, offset, bytes.len()),
            _ => return,
        };
        let at = offset & ((1 << 40) - 1);
        let access = (is_write, offset >> 40, at..at + len as u64);
        self.0.lock().unwrap().push(access);
    }
}

const ROM: u64 = 6;
const CONFIG: u64 = 7;

/// What the VMM has of config space: the header but for the command register, which it writes itself, and status; and what a
/// guest finds as MSI and MSI-X.
fn vmms(device: &AssignedDevice) -> Vec<Range<u64>> {
    let mut ranges = vec![0..4, 8..0x40];
    for (at, id) in placed::capabilities(device) {
        let at = u64::from(at);
        match id {
            0x05 => ranges.push(at..at + 10),
            0x11 => ranges.push(at..at + 12),
            _ => {}
        }
    }
    ranges
}

/// A device sees of a BAR what the guest did there while it was placed, and of config space what is its own.
fn check_seen(seen: &[Access], step: &Step, placed: &[Trap], vmms: &[Range<u64>]) {
    for (is_write, region, range) in seen {
        if *region == CONFIG {
            let hit = vmms.iter().find(|it| overlap(it, range));
            assert!(!is_write || hit.is_none(), "{step:x?} writes {range:x?}");
            continue;
        }
        let number = if *region == ROM {
            8
        } else {
            u8::try_from(*region).unwrap()
        };
        let (Step::Read(asked, ..) | Step::Write(asked, ..)) = step else {
            panic!("{step:x?} reaches region {region}");
        };
        assert_eq!(*asked, number, "{step:x?} reaches region {region}");
        let trap = placed.iter().find(|trap| trap.bar == bar(number));
        let size = trap.map(|trap| trap.range.end - trap.range.start);
        assert!(
            size.is_some_and(|size| range.end <= size),
            "{step:x?} reaches {range:x?}"
        );
    }
}

/// The device is as awake as the guest thinks, and answers what the guest has switched on.
fn check_real(device: &AssignedDevice) {
    let config = device.device().region(RegionIndex::Config).unwrap();
    let real = |at: u16| u16::from_le(config.read::<u16>(at.into()).unwrap());
    let guest = |at: u16| {
        let mut bytes = [0; 2];
        device.read_config(at, &mut bytes);
        u16::from_le_bytes(bytes)
    };
    assert_eq!(real(4), guest(4), "the command register");
    for (at, id) in placed::capabilities(device) {
        if id == placed::POWER {
            assert_eq!(real(at + 4) & 3, guest(at + 4) & 3, "how awake it is");
        }
    }
}

/// Gives the device to a guest, has all of that done, and looks after each step; nothing is left.
fn run(device: Device, steps: &[Step], (settings, page, io_space): &(Settings, usize, IoSpace)) {
    let sim = SimKernel::new(machine(device, *page));
    let seen = Arc::new(Seen::default());
    let watched = Watched::new(Arc::new(sim.clone()), seen.clone());
    let vfio = Vfio::on(Arc::new(watched), Registry::linked().unwrap());
    let vmm = Arc::new(Recorder::with_ram([RAM]));
    let mut given = recorded(&vmm);
    given.io_space = io_space.clone();
    let device = vfio.open(BDF.parse().unwrap()).unwrap();
    // A device that makes no sense is refused, in words.
    let assigned = match AssignedDevice::new(&device, given, settings) {
        Ok(assigned) => assigned,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    drop(device);
    let vmms = vmms(&assigned);
    for step in steps {
        let placed = vmm.traps();
        seen.0.lock().unwrap().clear();
        carry_out(&assigned, step);
        let seen_now = std::mem::take(&mut *seen.0.lock().unwrap());
        check_real(&assigned);
        check_seen(&seen_now, step, &placed, &vmms);
        placed::check(&assigned, &vmm, &RAM, *page as u64, io_space);
    }
    drop(assigned);
    assert_eq!((vmm.traps(), vmm.slices()), (vec![], vec![]));
    vmm.take();
    drop(vfio);
    assert!(sim.is_idle(), "{:?}", sim.open_objects());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_writes_of_a_guest(
        which in 0..3,
        steps in steps(),
        settings in settings(),
    ) {
        let device = match which {
            0 => Device::assorted(BDF),
            1 => Device::nvme(BDF),
            _ => mirrored(),
        };
        run(device, &steps, &settings);
    }

    #[test]
    fn a_device_that_says_anything_of_itself(
        config in prop::collection::vec(
            (prop_oneof![Just(0x34_u16), (0x40_u16..0x100), (0x100_u16..0x140)], any::<u32>()),
            1..40,
        ),
        steps in steps(),
        settings in settings(),
    ) {
        let config = config.into_iter().map(|(at, value)| (at & !3, value));
        run(Device::assorted(BDF).with_config(config), &steps, &settings);
    }
}
