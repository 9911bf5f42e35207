//! What the release of the kernel changes.

use std::os::fd::AsRawFd;

use vfio_core::kernel::{Arg, Errno, Kernel};
use vfio_core::uapi::{
    self, DMA_UNMAP_FLAG_ALL, SPAPR_TCE_IOMMU, TYPE1_IOMMU, TYPE1_NESTING_IOMMU, TYPE1V2_IOMMU,
};
use vfio_sim::machine::{Bar, Device, Hardware, MakeModel};
use vfio_sim::model::{Bus, Model};
use vfio_sim::{Hazard, Machine, Rights, SimKernel};
use zerocopy::IntoBytes;

use crate::door::{
    BOTH, READ, extension, ioctl, join_number, leave, map, open_container, open_group, set_iommu,
    unmap,
};
use crate::memory::Memory;
use crate::probe;
use crate::rig::{Open, Rig, Signal};

const PAGE: u64 = 4096;
const LAST: u64 = u64::MAX - PAGE + 1;

fn of(release: &str, machine: Machine) -> Machine {
    Machine {
        release: release.into(),
        ..machine
    }
}

/// A device of a machine with that kernel, open.
fn opened(release: &str, device: Device) -> (Rig, Open) {
    let name = device.bdf.clone();
    let machine = of(release, Machine::x86_64()).with_devices([device]);
    let rig = Rig::new(machine, TYPE1V2_IOMMU);
    let open = rig.open(&name);
    (rig, open)
}

#[test]
fn a10_what_is_no_container() {
    for (release, errno) in [
        ("6.1.0-50-cloud-amd64", Errno::INVAL),
        ("6.2.0", Errno::BADFD),
    ] {
        let sim = SimKernel::new(of(release, Machine::x86_64()));
        let group = open_group(&sim, 2).unwrap();
        let answer = join_number(&sim, &group, group.as_raw_fd());
        assert_eq!(answer, Err(errno), "{release}");
    }
}

#[test]
fn b18_nesting_is_no_longer_advertised() {
    for (release, advertised) in [("6.1.0", 1), ("6.12.117", 1), ("6.13.0", 0), ("7.3.0", 0)] {
        let rig = Rig::new(of(release, Machine::x86_64()), TYPE1V2_IOMMU);
        let container = open_container(&rig.sim);
        let number = TYPE1_NESTING_IOMMU;
        assert_eq!(
            extension(&rig.sim, &container, number),
            advertised,
            "{release}"
        );
        assert_eq!(rig.sim.identity().1, release);
    }
}

#[test]
fn b18_what_is_not_advertised_is_unknown() {
    for (release, answer) in [("6.12.95", Errno::INVAL), ("7.3.0", Errno::NODEV)] {
        let sim = SimKernel::new(of(release, Machine::x86_64()));
        let container = open_container(&sim);
        let _group = crate::door::joined_group(&sim, &container, 2);
        assert_eq!(
            set_iommu(&sim, &container, TYPE1_NESTING_IOMMU),
            Err(answer),
            "{release}"
        );
    }
}

#[test]
fn b21_b30_a_range_that_wraps() {
    for (release, errno) in [
        ("6.12.95", Errno::INVAL),
        ("6.12.117", Errno::INVAL),
        ("6.18.0", Errno::OVERFLOW),
        ("7.3.0", Errno::OVERFLOW),
    ] {
        let rig = Rig::new(of(release, Machine::x86_64()), TYPE1V2_IOMMU);
        let memory = Memory::new(&rig.sim, 2);
        let put = |iova, at| map(&rig.sim, &rig.container, (iova, at, 2 * PAGE), BOTH);
        assert_eq!(put(LAST, memory.at()), Err(errno), "{release}");
        assert_eq!(put(0, LAST), Err(errno), "{release}");
        assert_eq!(
            rig.unmap(LAST, 2 * PAGE),
            (Err(errno), 2 * PAGE),
            "{release}"
        );
        assert_eq!(rig.unmap(0, 0).0, Err(Errno::INVAL), "nothing is no wrap");
    }
}

#[test]
fn b21_a_wrap_is_found_before_the_rights() {
    for (release, errno) in [("6.12.95", Errno::INVAL), ("6.18.0", Errno::OVERFLOW)] {
        let rig = Rig::new(of(release, Machine::x86_64()), TYPE1V2_IOMMU);
        let put = |range| map(&rig.sim, &rig.container, range, 0);
        assert_eq!(put((LAST + 8, 0, 2 * PAGE)), Err(errno), "{release}");
        assert_eq!(put((LAST, 0, 0)), Err(Errno::INVAL), "nothing is no wrap");
    }
}

#[test]
fn b25_zeros_that_all_share_are_nobodys() {
    for (release, locked) in [("6.1.0", PAGE), ("6.2.0", 4 * PAGE)] {
        let rig = Rig::new(of(release, Machine::x86_64()), TYPE1V2_IOMMU);
        rig.sim.set_rights(Rights::user(locked));
        let memory = Memory::new(&rig.sim, 4);
        memory.put(0x1000, &[1]);
        let range = (0, memory.at(), 4 * PAGE);
        let put = |flags| map(&rig.sim, &rig.container, range, flags);
        assert_eq!(put(READ), Ok(0), "{release}");
        assert_eq!(rig.sim.locked(), locked, "{release}");
        assert_eq!(rig.unmap(0, 4 * PAGE), (Ok(0), 4 * PAGE));
        assert_eq!(rig.sim.locked(), 0, "{release}");
        rig.sim.set_rights(Rights::user(3 * PAGE));
        assert_eq!(put(BOTH), Err(Errno::NOMEM), "written pages are one's own");
    }
}

#[test]
fn b33_f74_what_is_written_of_an_answer() {
    for (release, lens) in [("6.1.0", [16, 20, 20]), ("6.6.0", [19, 20, 24])] {
        let (rig, device) = opened(release, probe::device(probe::NAME));
        for (argsz, len) in [19u32, 20, 24].into_iter().zip(lens) {
            let container = (&rig.container, uapi::IOMMU_GET_INFO);
            for (fd, opcode) in [container, (&device.device, uapi::DEVICE_GET_INFO)] {
                let mut bytes = [0x5a; 32];
                bytes[..4].copy_from_slice(argsz.as_bytes());
                ioctl(&rig.sim, fd, opcode, Arg::InOut(&mut bytes)).unwrap();
                let written = bytes.iter().rposition(|byte| *byte != 0x5a).unwrap() + 1;
                assert_eq!(written, len, "{release}: {argsz}");
            }
        }
    }
}

#[test]
fn b33_where_the_capabilities_are() {
    for (release, places) in [("6.1.0", [24, 56, 68]), ("6.6.0", [24, 56, 72])] {
        let rig = Rig::new(of(release, Machine::x86_64()), TYPE1V2_IOMMU);
        let mut bytes = [0; 128];
        bytes[..4].copy_from_slice(128u32.as_bytes());
        let arg = Arg::InOut(&mut bytes);
        ioctl(&rig.sim, &rig.container, uapi::IOMMU_GET_INFO, arg).unwrap();
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let first = word(16);
        let second = word(first + 4);
        assert_eq!([first, second, word(second + 4)], places, "{release}");
    }
}

/// Counts the accesses to its registers.
#[derive(Debug, Default)]
struct Counter(u8);

impl Model for Counter {
    fn read(&mut self, _: &mut dyn Bus, _: u8, _: u64, bytes: &mut [u8]) {
        self.0 += 1;
        bytes.fill(self.0);
    }

    fn write(&mut self, _: &mut dyn Bus, _: u8, _: u64, _: &[u8]) {}

    fn reset(&mut self) {}
}

#[test]
fn f78_how_wide_an_access_is() {
    let counter = Device {
        bars: [Some(Bar::registers(4096)), None, None, None, None, None],
        model: MakeModel(|| Box::new(Counter::default())),
        ..Device::bare(probe::NAME, 0x1af4, 0x10f0, 0x05_0000)
    };
    for (release, seen) in [
        ("6.1.0", [1, 1, 1, 1, 2, 2, 2, 2]),
        ("6.11.0", [1, 1, 1, 1, 1, 1, 1, 1]),
    ] {
        let (_rig, device) = opened(release, counter.clone());
        assert_eq!(device.pread(0, 0, 8).unwrap(), seen, "{release}");
    }
}

#[test]
fn f80_f81_what_is_not_express_reports_errors() {
    for (release, answer) in [("7.2.13", Err(Errno::INVAL)), ("7.3.0", Ok(0))] {
        let (rig, edu) = opened(release, Device::edu("0000:00:04.0"));
        let signal = Signal::new(&rig.sim);
        let mut info = uapi::IrqInfo {
            argsz: 16,
            index: uapi::PCI_ERR_IRQ_INDEX,
            ..Default::default()
        };
        let opcode = uapi::DEVICE_GET_IRQ_INFO;
        let asked = crate::door::call(&rig.sim, &edu.device, opcode, &mut info);
        assert_eq!(asked, answer, "{release}");
        let set = edu.trigger(uapi::PCI_ERR_IRQ_INDEX, 0, &[signal.number()]);
        assert_eq!(set, answer, "{release}");
    }
}

#[test]
fn f80_f85_vectors_are_added_one_by_one() {
    const MSIX: u32 = uapi::PCI_MSIX_IRQ_INDEX;
    const FIRE: u32 = uapi::IRQ_SET_DATA_NONE | uapi::IRQ_SET_ACTION_TRIGGER;
    const SET: u32 = uapi::IRQ_SET_DATA_EVENTFD | uapi::IRQ_SET_ACTION_TRIGGER;
    for (release, answer) in [("6.1.0", Err(Errno::INVAL)), ("6.5.0", Ok(0))] {
        let (rig, device) = opened(release, probe::device(probe::NAME));
        let signal = Signal::new(&rig.sim);
        let none = device.irqs(MSIX, SET, (1, 0), &[]);
        assert_eq!(none, answer, "{release}: none, behind the only one");
        device.irqs(MSIX, FIRE, (0, 0), &[]).ok();
        device.trigger(MSIX, 0, &[signal.number()]).unwrap();
        assert_eq!(device.irqs(MSIX, FIRE, (1, 1), &[]), answer, "{release}");
        assert_eq!(device.trigger(MSIX, 1, &[-1]), answer, "{release}");
        let one_more = device.trigger(MSIX, 1, &[signal.number()]);
        assert_eq!(one_more, answer, "{release}");
        device.irqs(MSIX, FIRE, (0, 1), &[]).unwrap();
        assert_eq!(signal.count(), 1, "what was there is there still");
    }
}

#[test]
fn f80_where_msix_grows() {
    let x86 = Machine::x86_64 as fn() -> Machine;
    for (machine, release, flags) in [
        (x86, "6.1.0", 9),
        (x86, "6.5.0", 1),
        (Machine::aarch64, "7.2.13", 9),
        (Machine::aarch64, "7.3.0", 1),
        (Machine::pseries, "7.3.0", 9),
    ] {
        let machine = of(release, machine()).with_devices([probe::device(probe::NAME)]);
        let spapr = matches!(machine.iommus[0].hardware, Hardware::Spapr(_));
        let iommu = if spapr {
            SPAPR_TCE_IOMMU
        } else {
            TYPE1V2_IOMMU
        };
        let rig = Rig::new(machine, iommu);
        let device = rig.open(probe::NAME);
        let mut info = uapi::IrqInfo {
            argsz: 16,
            index: uapi::PCI_MSIX_IRQ_INDEX,
            ..Default::default()
        };
        let opcode = uapi::DEVICE_GET_IRQ_INFO;
        crate::door::call(&rig.sim, &device.device, opcode, &mut info).unwrap();
        assert_eq!(info.flags, flags, "{} {release}", rig.sim.identity().0);
    }
}

#[test]
fn f88_whether_fds_are_counted_first() {
    for (release, errno) in [("6.1.0", Errno::NODEV), ("6.6.0", Errno::INVAL)] {
        let (rig, device) = opened(release, probe::device(probe::NAME));
        let arg = [12u32, 0, 0];
        let arg = Arg::In(arg.as_bytes());
        let answer = ioctl(&rig.sim, &device.device, uapi::DEVICE_PCI_HOT_RESET, arg);
        assert_eq!(answer, Err(errno), "{release}");
    }
    let on_a_bus = probe::device(probe::NAME).on_reset_bus(1);
    let (rig, device) = opened("6.1.0", on_a_bus);
    let arg = [12u32, 0, 0];
    let arg = Arg::In(arg.as_bytes());
    let answer = ioctl(&rig.sim, &device.device, uapi::DEVICE_PCI_HOT_RESET, arg);
    assert_eq!(answer, Err(Errno::INVAL), "counted all the same");
}

#[test]
fn f89_a_feature_of_migration() {
    const PRECOPY_INFO_V2: u32 = 12;
    for (release, errno) in [("6.12.95", Errno::NOTTY), ("7.1.0", Errno::INVAL)] {
        let (rig, device) = opened(release, probe::device(probe::NAME));
        let probe = uapi::DEVICE_FEATURE_PROBE | uapi::DEVICE_FEATURE_SET | PRECOPY_INFO_V2;
        let mut arg = [8u32, probe];
        let arg = Arg::InOut(arg.as_mut_bytes());
        let answer = ioctl(&rig.sim, &device.device, uapi::DEVICE_FEATURE, arg);
        assert_eq!(answer, Err(errno), "{release}");
    }
}

#[test]
fn f90_eight_bytes_on_an_event() {
    let wide = uapi::DEVICE_IOEVENTFD_64;
    for (release, errno) in [
        ("6.13.0", Errno::NODEV),
        ("6.14.0", Errno::INVAL),
        ("7.2.12", Errno::INVAL),
        ("7.3.0", Errno::NODEV),
    ] {
        let (rig, device) = opened(release, probe::device(probe::NAME));
        let ask = |flags| {
            let request = uapi::DeviceIoEventFd {
                argsz: 36,
                flags,
                fd: -1,
                ..Default::default()
            };
            let arg = Arg::In(request.as_bytes());
            ioctl(&rig.sim, &device.device, uapi::DEVICE_IOEVENTFD, arg)
        };
        assert_eq!(ask(wide), Err(errno), "{release}");
        assert_eq!(
            ask(uapi::DEVICE_IOEVENTFD_32),
            Err(Errno::NODEV),
            "no such one"
        );
    }
}

#[test]
fn h1_p2_unmapping_past_a_window() {
    for (release, mended) in [
        ("6.12.95", false),
        ("6.12.117+deb12-powerpc64le-64k", true),
        ("6.18.0", false),
        ("7.3.0", true),
    ] {
        let rig = Rig::new(of(release, Machine::pseries()), SPAPR_TCE_IOMMU);
        let none = vfio_core::kernel::Arg::None;
        ioctl(
            &rig.sim,
            &rig.container,
            vfio_core::uapi::SPAPR_ENABLE,
            none,
        )
        .unwrap();
        let past = rig.unmap(0x3fff_f000, 2 * PAGE).0;
        let expected = if mended {
            (Ok(1), vec![])
        } else {
            (Ok(0), vec![Hazard::H1])
        };
        assert_eq!((past, rig.sim.hazards()), expected, "{release}");
        assert_eq!(rig.unmap(0x3fff_f000, PAGE).0, Ok(0), "{release}");
    }
}

/// A machine whose IOMMU takes every address, with a page at the end of them and one elsewhere.
fn with_the_last_page(release: &str, iommu: u32) -> (Rig, [Memory; 2]) {
    let mut machine = of(release, Machine::x86_64());
    for driver in &mut machine.iommus {
        if let Hardware::Type1(type1) = &mut driver.hardware {
            type1.ranges = vec![(0, u64::MAX)];
        }
    }
    let rig = Rig::new(machine, iommu);
    let pages = [Memory::new(&rig.sim, 1), Memory::new(&rig.sim, 1)];
    assert_eq!(rig.map(LAST, &pages[0]), Ok(0));
    assert_eq!(rig.map(0, &pages[1]), Ok(0));
    (rig, pages)
}

#[test]
fn h8_the_last_page_cannot_be_unmapped() {
    for iommu in [TYPE1_IOMMU, TYPE1V2_IOMMU] {
        let (rig, _pages) = with_the_last_page("6.12.95", iommu);
        assert_eq!(rig.sim.hazards(), [Hazard::H8]);
        assert_eq!(rig.unmap(LAST, PAGE), (Ok(0), 0));
        assert_eq!(
            rig.unmap(0, LAST),
            (Ok(0), PAGE),
            "what ends before it is found"
        );
        let all = unmap(&rig.sim, &rig.container, (0, 0), DMA_UNMAP_FLAG_ALL);
        assert_eq!(all, (Ok(0), 0));
        assert_eq!(rig.mapped(), [(LAST, PAGE)], "devices reach it still");
        leave(&rig.sim, &rig.group).unwrap();
        assert_eq!((rig.mapped(), rig.sim.locked()), (vec![], PAGE));
    }
}

#[test]
fn h8_is_mended() {
    for release in ["6.18.0", "7.3.0"] {
        let (rig, _pages) = with_the_last_page(release, TYPE1V2_IOMMU);
        assert_eq!(rig.unmap(LAST, PAGE), (Ok(0), PAGE), "{release}");
        rig.unmap(0, PAGE).0.unwrap();
        assert_eq!((rig.sim.locked(), rig.sim.hazards()), (0, vec![]));
    }
}
