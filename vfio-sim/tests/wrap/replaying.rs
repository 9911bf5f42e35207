//! What was recorded is answered again, and what differs is seen.

use std::sync::Arc;

use vfio_core::address::HostRange;
use vfio_core::kernel::{Errno, Kernel};
use vfio_core::uapi::TYPE1V2_IOMMU;
use vfio_core::{Result, host};
use vfio_sim::machine::Device;
use vfio_sim::wrap::{Recording, Replay};
use vfio_sim::{Machine, SimKernel};

use crate::session::{first, over, session};

const SIZE: usize = 1 << 16;

/// The text of what is done with that machine.
fn record(machine: Machine, act: impl FnOnce(&Arc<dyn Kernel>)) -> String {
    let sim: Arc<dyn Kernel> = Arc::new(SimKernel::new(machine));
    let recording = Arc::new(Recording::of(&*sim));
    act(&over(sim, &recording));
    recording.text()
}

fn replay(text: &str) -> (Arc<Replay>, Arc<dyn Kernel>) {
    let replay = Arc::new(Replay::of(text).unwrap());
    (replay.clone(), replay)
}

/// Neither the kernel's answer to a deviation nor anything else is expected.
fn run(text: &str, act: impl FnOnce(&Arc<dyn Kernel>) -> Result<()>) -> Arc<Replay> {
    let (replay, kernel) = replay(text);
    let result = act(&kernel);
    assert_eq!(replay.deviation(), None);
    result.unwrap();
    replay
}

#[test]
fn a_session_is_answered_again() {
    let others = Machine::x86_64().with_devices([Device::assorted("0000:00:06.0")]);
    let machines = [
        Machine::x86_64(),
        Machine::aarch64(),
        Machine::pseries(),
        Machine::powernv9(),
        others,
    ];
    for machine in machines {
        let bdf = first(&machine);
        let text = record(machine.clone(), |kernel| {
            session(kernel, &bdf, SIZE).unwrap()
        });
        let replay = run(&text, |kernel| session(kernel, &bdf, SIZE));
        assert!(replay.is_finished(), "{}", machine.name);
        // Nothing in it differs from run to run, and a recording of the replay is the recording.
        let again = record(machine, |kernel| session(kernel, &bdf, SIZE).unwrap());
        assert_eq!(again, text);
        let (_, kernel) = self::replay(&text);
        let recording = Arc::new(Recording::of(&*kernel));
        session(&over(kernel, &recording), &bdf, SIZE).unwrap();
        assert_eq!(recording.text(), text);
    }
}

#[test]
fn what_makes_memory_present_is_in_no_recording() {
    let session = |kernel: &Arc<dyn Kernel>| {
        let start = kernel.mmap(SIZE)?;
        let memory = HostRange::new(start.as_ptr() as usize, SIZE).unwrap();
        let mut pages = vec![0; SIZE / kernel.page_size()];
        kernel.populate(memory, true)?;
        kernel.resident(memory, &mut pages)?;
        assert!(pages.iter().all(|page| page & 1 == 1));
        kernel.eventfd()
    };
    let text = record(Machine::x86_64(), |kernel| drop(session(kernel).unwrap()));
    let calls: Vec<_> = text.lines().skip(2).collect();
    assert_eq!(calls, ["mmap 65536 -> pages", "eventfd -> #0"]);
    let (replay, kernel) = replay(&text);
    session(&kernel).unwrap();
    assert!(replay.is_finished());
}

#[test]
fn a_refusal_is_answered_again() {
    let machine = Machine::x86_64().refuse(TYPE1V2_IOMMU, Errno::PERM);
    let text = record(machine, |kernel| {
        session(kernel, "0000:00:04.0", SIZE).unwrap();
    });
    assert!(text.contains("VFIO_SET_IOMMU 0 =3 -> E1\n"), "{text}");
    let replay = run(&text, |kernel| session(kernel, "0000:00:04.0", SIZE));
    assert!(replay.is_finished());
}

#[test]
fn what_sysfs_and_registers_say_is_answered_again() {
    let scan = |kernel: &Arc<dyn Kernel>| {
        let device = host::device(&**kernel, "0000:00:04.0".parse().unwrap()).unwrap();
        let groups = host::groups(&**kernel).unwrap();
        let (arch, release) = kernel.identity();
        format!(
            "{device:?} {groups:?} {arch} {release} {}",
            kernel.page_size()
        )
    };
    let mut seen = String::new();
    let text = record(Machine::x86_64(), |kernel| seen = scan(kernel));
    let (replay, kernel) = replay(&text);
    assert_eq!(scan(&kernel), seen);
    assert!(replay.is_finished());
}

#[test]
fn a_call_that_differs_is_seen_and_everything_after_it_fails() {
    let text = record(Machine::x86_64(), |kernel| {
        session(kernel, "0000:00:04.0", SIZE).unwrap();
    });
    let (replay, kernel) = replay(&text);
    let error = session(&kernel, "0000:00:04.0", 2 * SIZE).unwrap_err();
    assert_eq!(error.errno(), Some(Replay::DEVIATED));
    assert!(!replay.is_finished());
    let deviation = replay.deviation().unwrap();
    assert_eq!(deviation.asked, "mmap 131072");
    assert_eq!(deviation.recorded.as_deref(), Some("mmap 65536 -> pages"));
    let said = deviation.to_string();
    assert!(said.contains("`mmap 131072` was asked"), "{said}");
    // The first one is kept, and what would have been right is no more.
    assert_eq!(kernel.mmap(SIZE).unwrap_err(), Replay::DEVIATED);
    assert_eq!(replay.deviation(), Some(deviation));
}

#[test]
fn what_an_ioctl_is_given_is_compared() {
    let text = record(Machine::x86_64(), |kernel| {
        session(kernel, "0000:00:04.0", SIZE).unwrap();
    });
    // The same session where a byte of the recorded IOVA differs: offset 16 of 32 bytes.
    let map = text.find("VFIO_IOMMU_MAP_DMA").unwrap();
    let iova = map + text[map..].find(" x").unwrap() + 2 + 2 * 19;
    let mut changed = text.clone();
    changed.replace_range(iova..iova + 2, "ee");
    assert_ne!(changed, text);
    let (replay, kernel) = replay(&changed);
    session(&kernel, "0000:00:04.0", SIZE).unwrap_err();
    let deviation = replay.deviation().unwrap();
    assert!(
        deviation.asked.starts_with("VFIO_IOMMU_MAP_DMA"),
        "{deviation}"
    );
}

#[test]
fn a_session_that_ends_early_is_not_finished_and_one_that_goes_on_deviates() {
    let open = |kernel: &Arc<dyn Kernel>| {
        vfio_core::Container::open(kernel)?.check_extension(TYPE1V2_IOMMU)
    };
    let text = record(Machine::x86_64(), |kernel| assert!(open(kernel).unwrap()));
    let (replay, kernel) = replay(&text);
    assert!(!replay.is_finished());
    assert!(open(&kernel).unwrap());
    assert!(replay.is_finished());
    open(&kernel).unwrap_err();
    assert!(!replay.is_finished());
    assert_eq!(replay.deviation().unwrap().recorded, None);
}

#[test]
fn a_recording_is_written_as_it_is_documented() {
    let text = record(Machine::x86_64(), |kernel| {
        let container = vfio_core::Container::open(kernel).unwrap();
        assert!(container.check_extension(TYPE1V2_IOMMU).unwrap());
        kernel.open("/dev/vfio/a b".as_ref()).unwrap_err();
    });
    let (_, calls) = text.split_once("memlock").unwrap();
    let calls: Vec<_> = calls.lines().skip(1).collect();
    assert_eq!(
        calls,
        [
            "open /dev/vfio/vfio -> #0",
            "VFIO_GET_API_VERSION 0 - -> 0",
            "VFIO_CHECK_EXTENSION 0 =3 -> 1",
            "open /dev/vfio/a\\x20b -> E2",
        ]
    );
}
