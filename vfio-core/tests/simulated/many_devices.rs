//! A host with many devices is looked at in a time that grows with them, and not with their square.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use vfio_core::diagnosis::{Examiner, Question};
use vfio_core::kernel::Kernel;
use vfio_sim::machine::{Device, Group};
use vfio_sim::wrap::{Call, Outcome, Request, Watch, Watched};
use vfio_sim::{Machine, SimKernel};

/// How often which directory was listed.
#[derive(Debug, Default)]
struct Listed(Mutex<BTreeMap<PathBuf, u32>>);

impl Watch for Listed {
    fn after(&self, call: &Call<'_>, _: &Outcome<'_>) {
        if let Request::List { path } = call.request {
            *self.0.lock().unwrap().entry(path.to_owned()).or_default() += 1;
        }
    }
}

#[test]
fn what_is_of_the_whole_host_is_asked_once() {
    let bdfs: Vec<String> = (0..8)
        .map(|device| format!("0000:00:{device:02x}.0"))
        .collect();
    let groups = (0..).zip(&bdfs);
    let machine = Machine {
        groups: groups
            .map(|(id, bdf)| Group::new(id, [Device::edu(bdf)]))
            .collect(),
        ..Machine::x86_64()
    };
    let listed = Arc::new(Listed::default());
    let kernel = Watched::new(Arc::new(SimKernel::new(machine)), Arc::clone(&listed));
    let examiner = Examiner::of(&kernel as &dyn Kernel);
    for bdf in &bdfs {
        examiner
            .examine(Question::of(bdf.parse().unwrap()))
            .unwrap();
    }
    let listed = listed.0.lock().unwrap();
    for of_all in [
        "/proc",
        "/sys/class/vfio-dev",
        "/sys/bus/pci/devices",
        "/sys/kernel/iommu_groups",
    ] {
        let count = listed.get(of_all.as_ref() as &std::path::Path).copied();
        assert!(count.unwrap_or(0) <= 1, "{of_all}: {count:?}");
    }
    assert_eq!(listed.get("/proc".as_ref() as &std::path::Path), Some(&1));
}
