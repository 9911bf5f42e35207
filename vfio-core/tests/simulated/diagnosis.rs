//! Each diagnosis, on a host where that is wrong.

use std::sync::Arc;

use vfio_core::diagnosis::{Danger, Diagnosis};
use vfio_core::iommu::{IommuBackend, Reach, Registration, Registry};
use vfio_core::kernel::{Errno, Kernel};
use vfio_core::uapi::TYPE1V2_IOMMU;
use vfio_core::{Container, Error, ErrorKind, Result, Vfio};
use vfio_sim::machine::{Device, Group, Hardware};
use vfio_sim::{Machine, SimKernel};

use crate::overlay::Overlay;
use crate::setup::{BDF, alone, host, open, v2};

const SWITCH: &str = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts";
const ACPI: &str = "/sys/firmware/acpi/tables";

fn overlay(machine: Machine) -> Overlay {
    Overlay::new(SimKernel::new(machine))
}

/// What is said when [`BDF`] cannot be opened there.
fn diagnose_with(overlay: Overlay, backend: Registration) -> Option<Diagnosis> {
    let kernel: Arc<dyn Kernel> = Arc::new(overlay);
    let vfio = Vfio::on(Arc::clone(&kernel), Registry::of([backend]).unwrap());
    open(&vfio, BDF).unwrap_err().diagnose(&*kernel)
}

fn diagnose(overlay: Overlay) -> Diagnosis {
    diagnose_with(overlay, v2()).unwrap()
}

#[track_caller]
fn says(diagnosis: &Diagnosis, code: &str, words: &[&str]) {
    let text = format!("{diagnosis:?}");
    assert_eq!(diagnosis.code, code, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} in {text}");
    }
}

fn without_iommu(arch: &str) -> Machine {
    Machine {
        arch: arch.into(),
        container_node: Err(Errno::NOENT),
        groups: Vec::new(),
        iommus: Vec::new(),
        ungrouped: vec![Device::edu(BDF)],
        ..Machine::x86_64()
    }
}

#[test]
fn vfio_01_no_iommu() {
    let x86 = diagnose(overlay(without_iommu("x86_64")));
    says(
        &x86,
        "VFIO-01",
        &["no DMAR, IVRS or IORT", "VT-d", "intel_iommu=on", "empty"],
    );
    assert!(x86.cause.contains("no IOMMU that the kernel knows of"));

    let described = overlay(without_iommu("x86_64")).file(&format!("{ACPI}/DMAR"), "");
    let described = diagnose(described);
    says(&described, "VFIO-01", &["DMAR is there", "intel_iommu=on"]);
    assert!(described.cause.contains("the kernel does not use it"));
    assert!(!format!("{described:?}").contains("VT-d"));

    let arm = diagnose(overlay(without_iommu("aarch64")));
    says(&arm, "VFIO-01", &["SMMU"]);
    let power = diagnose(overlay(without_iommu("ppc64le")));
    says(&power, "VFIO-01", &["host bridges"]);
    for other in [&arm, &power] {
        assert!(
            !format!("{other:?}").contains("intel_iommu=on"),
            "{other:?}"
        );
        assert!(!format!("{other:?}").contains("DMAR"), "{other:?}");
    }
}

#[test]
fn vfio_01_no_iommu_and_so_no_vfio() {
    let kernel: Arc<dyn Kernel> = Arc::new(overlay(without_iommu("x86_64")));
    let error = Container::open(&kernel).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoVfio);
    says(&error.diagnose(&*kernel).unwrap(), "VFIO-01", &["VT-d"]);
}

#[test]
fn vfio_01_no_iommu_in_front_of_this_device() {
    let machine = Machine {
        ungrouped: vec![Device::edu(BDF)],
        ..host([Device::edu("0000:00:09.0")])
    };
    let diagnosis = diagnose(overlay(machine));
    says(&diagnosis, "VFIO-01", &["another slot", "1 entries"]);
    assert!(diagnosis.cause.contains("not in front of this device"));
}

#[test]
fn vfio_02_the_group_is_not_viable() {
    let spoiler = Device::nvme("0000:00:05.0").driven_by("nvme");
    let idle = Device::edu("0000:00:06.0").driven_by("pcieport");
    let diagnosis = diagnose(overlay(host([Device::edu(BDF), spoiler, idle])));
    says(
        &diagnosis,
        "VFIO-02",
        &[
            "group 2",
            "0000:00:05.0 (nvme)",
            "vfioctl bind 0000:00:05.0",
        ],
    );
    assert_eq!(diagnosis.evidence.len(), 1);
    assert!(!format!("{diagnosis:?}").contains("00:06.0"));
}

/// A backend that fails with what the kernel says to `VFIO_IOMMU_ENABLE` on POWER.
fn out_of_memory() -> Registration {
    fn attach(_: Container) -> Result<Box<dyn IommuBackend>> {
        Err(Error::kernel("VFIO_IOMMU_ENABLE", "it", Errno::NOMEM))
    }
    let extension = TYPE1V2_IOMMU;
    Registration {
        name: "greedy",
        preference: 1,
        reach: Reach::Container { extension, attach },
    }
}

#[test]
fn vfio_04_too_little_memory_may_be_locked() {
    let limited = overlay(alone()).memlock(8 << 20);
    let diagnosis = diagnose_with(limited, out_of_memory()).unwrap();
    says(&diagnosis, "VFIO-04", &["8M", "8388608", "LimitMEMLOCK"]);
    assert_eq!(diagnose_with(overlay(alone()), out_of_memory()), None);
    for (capabilities, exempt) in [("0000000000004000", true), ("0000000000002000", false)] {
        let status = format!("Name:\tit\nCapEff:\t{capabilities}\n");
        let limited = overlay(alone())
            .memlock(8 << 20)
            .file("/proc/self/status", &status);
        assert_eq!(diagnose_with(limited, out_of_memory()).is_none(), exempt);
    }
    let limited = overlay(alone()).memlock(8 << 20);
    for error in [
        Error::kernel("VFIO_IOMMU_MAP_DMA", "it", Errno::INVAL),
        Error::kernel("mmap", "it", Errno::NOMEM),
    ] {
        assert_eq!(error.diagnose(&limited), None, "{error}");
    }
}

#[test]
fn vfio_05_interrupts_are_not_remapped() {
    let refused = || overlay(unsafe_interrupts().refuse(TYPE1V2_IOMMU, Errno::PERM));
    let diagnosis = diagnose(refused());
    says(&diagnosis, "VFIO-05", &["remap", "allow_unsafe_interrupts"]);
    let (last, first) = diagnosis.remedies.split_last().unwrap();
    assert!(last.what.contains("allow_unsafe_interrupts=1"));
    assert_eq!(last.danger, Danger::Unsafe);
    assert!(first.iter().all(|it| it.danger < Danger::Unsafe));
    // Somebody has thrown the switch, or they are remapped: then it is something else.
    assert_eq!(diagnose_with(refused().file(SWITCH, "Y\n"), v2()), None);
    let remapped = overlay(alone().refuse(TYPE1V2_IOMMU, Errno::PERM));
    assert_eq!(diagnose_with(remapped, v2()), None);
    let other = overlay(unsafe_interrupts().refuse(TYPE1V2_IOMMU, Errno::INVAL));
    assert_eq!(diagnose_with(other, v2()), None);
}

/// A host whose interrupts are not remapped.
fn unsafe_interrupts() -> Machine {
    let mut machine = alone();
    for iommu in &mut machine.iommus {
        if let Hardware::Type1(type1) = &mut iommu.hardware {
            type1.remaps_interrupts = false;
        }
    }
    machine
}

fn node(errno: Errno) -> Machine {
    let mut machine = alone();
    machine.groups[0].node = Err(errno);
    machine
}

#[test]
fn vfio_08_a_node_may_not_be_opened() {
    let user = diagnose(overlay(node(Errno::ACCESS)));
    says(&user, "VFIO-08", &["/dev/vfio/2", "chown USER /dev/vfio/2"]);
    let cgroup = diagnose(overlay(node(Errno::PERM)));
    says(&cgroup, "VFIO-08", &["docker: --device /dev/vfio/2"]);
    let container = Machine {
        container_node: Err(Errno::ACCESS),
        ..alone()
    };
    says(
        &diagnose(overlay(container)),
        "VFIO-08",
        &["chmod 0666 /dev/vfio/vfio"],
    );
}

#[test]
fn vfio_09_a_node_is_missing() {
    let module = Machine {
        container_node: Err(Errno::NOENT),
        ..alone()
    };
    says(
        &diagnose(overlay(module)),
        "VFIO-09",
        &["modprobe -a vfio-pci"],
    );
    let unbound = diagnose(overlay(host([Device::edu(BDF).unbound()])));
    says(
        &unbound,
        "VFIO-09",
        &[
            "no driver",
            "\"/sys/bus/pci/devices/0000:00:04.0/driver\"",
            "vfioctl bind 0000:00:04.0",
        ],
    );
    let group = diagnose(overlay(node(Errno::NOENT)));
    says(&group, "VFIO-09", &["/dev/vfio/2", "udev"]);
}

#[test]
fn vfio_09_a_group_that_is_not_bound_is_not_said_to_be() {
    let missing = || Error::kernel("open", "/dev/vfio/2", Errno::NOENT).of_group(2);
    let not_bound = Error::new(ErrorKind::NotBound, "verify", "group 2").of_group(2);
    let bridge = Device {
        class: 0x06_0400,
        ..Device::edu("0000:00:03.0").driven_by("pcieport")
    };
    let nvme = Device::nvme("0000:00:05.0").driven_by("nvme");
    let kernel = overlay(host([bridge.clone(), nvme]));
    for error in [&missing(), &not_bound] {
        let diagnosis = error.diagnose(&kernel).unwrap();
        says(&diagnosis, "VFIO-09", &["no member of group 2", "pcieport"]);
        assert_eq!(diagnosis.remedies.len(), 1);
        assert!(
            diagnosis.remedies[0]
                .what
                .contains("vfioctl bind 0000:00:05.0")
        );
    }
    let bridge = not_bound.diagnose(&overlay(host([bridge]))).unwrap();
    says(&bridge, "VFIO-09", &["use another group"]);
    assert_eq!(missing().of_group(99).diagnose(&kernel), None);
}

#[test]
fn vfio_10_somebody_has_the_group() {
    let busy = || overlay(node(Errno::BUSY));
    let unseen = diagnose(
        busy()
            .link("/proc/12/fd/3", "/dev/vfio/9")
            .file("/proc/cpuinfo", ""),
    );
    says(&unseen, "VFIO-10", &["may not look into"]);
    assert!(unseen.evidence.is_empty());
    let seen = busy()
        .link("/proc/77/fd/3", "/dev/null")
        .link("/proc/77/fd/9", "/dev/vfio/2")
        .file("/proc/77/comm", "qemu-system-x86\n");
    let seen = diagnose(seen);
    says(&seen, "VFIO-10", &["/proc/77/fd/9", "fuser -v /dev/vfio/2"]);
    assert_eq!(
        seen.cause,
        "qemu-system-x86 (process 77) has /dev/vfio/2 open"
    );
}

#[test]
fn what_is_not_known_is_not_guessed() {
    let kernel = overlay(alone());
    for error in [
        Error::new(ErrorKind::Invalid, "map", "it"),
        Error::new(ErrorKind::Busy, "unmap", "it").of_group(2),
        Error::kernel("VFIO_SET_IOMMU", "type 3", Errno::PERM),
        Error::kernel("mmap", "a region", Errno::ACCESS),
        Error::new(ErrorKind::NoSuchDevice, "open", "it"),
    ] {
        assert_eq!(error.diagnose(&kernel), None, "{error}");
    }
}

#[test]
fn members_that_went_away_meanwhile_are_left_out_and_others_are_not() {
    let member = "/sys/kernel/iommu_groups/2/devices/0000:00:0a.0";
    let gone = overlay(alone()).link(member, "../../../../devices/0000:00:0a.0");
    assert_eq!(vfio_core::host::group(&gone, 2).unwrap().devices.len(), 1);
    assert_eq!(vfio_core::host::groups(&gone).unwrap().len(), 1);
    let odd = gone.file("/sys/bus/pci/devices/0000:00:0a.0/vendor", "what?");
    let error = vfio_core::host::groups(&odd).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::INVAL), "{error}");
}

/// Its directory goes away between the list of groups and the look into it.
#[test]
fn groups_that_went_away_meanwhile_are_left_out() {
    let gone = overlay(alone()).file("/sys/kernel/iommu_groups/3/name", "");
    let ids: Vec<_> = vfio_core::host::groups(&gone)
        .unwrap()
        .iter()
        .map(|group| group.id)
        .collect();
    assert_eq!(ids, [2]);
}

#[test]
fn groups_say_whether_they_are_ready() {
    let machine = Machine {
        groups: vec![
            Group::new(4, [Device::edu("0000:00:01.0").unbound()]),
            Group::new(3, [Device::edu("0000:00:02.0")]),
            Group::new(
                11,
                [
                    Device::edu("0000:00:03.0"),
                    Device::nvme("0000:00:05.0").driven_by("nvme"),
                ],
            ),
        ],
        ..Machine::x86_64()
    };
    let groups = vfio_core::host::groups(&SimKernel::new(machine)).unwrap();
    let shown: Vec<_> = groups
        .iter()
        .map(|group| (group.id, group.is_ready()))
        .collect();
    assert_eq!(shown, [(3, true), (4, false), (11, false)]);
}
