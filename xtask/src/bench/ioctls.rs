//! How many ioctls it takes to open devices, and to map memory, ours and the peer's counted in one program, on a real kernel.

use anyhow::{Context, Result, ensure};

use super::{Goal, Measured, programs};
use crate::lab::{Machine, Request};
use crate::ui::Ui;

/// Who registers and maps each page, as DPDK does.
const PAGE_BY_PAGE: &str = "page by page";

/// How the bench calls what it takes to map memory.
const MEMORY: &str = "ioctls to map ";

/// To open devices.
pub(super) fn of_devices(ui: &Ui) -> Result<Vec<Measured>> {
    let mut measured = measure(ui)?;
    measured.retain(|one| !one.name.starts_with(MEMORY));
    Ok(measured)
}

/// To map memory of many sections that leave together.
pub(super) fn of_memory(ui: &Ui) -> Result<Vec<Measured>> {
    let mut measured = measure(ui)?;
    measured.retain(|one| one.name.starts_with(MEMORY));
    ensure!(!measured.is_empty(), "no memory was mapped");
    Ok(measured)
}

/// On POWER: to give a device a window with all of a guest's memory in it, and a guest's list of TCEs. The blocks, the
/// windows and the runs of memory that follow each other each take one.
pub(super) fn of_windows(ui: &Ui) -> Result<Vec<Measured>> {
    const BLOCKS_WINDOW_RUNS: u64 = 3 + 1 + 3;
    let machine = Machine::find("pseries").context("there is no machine pseries")?;
    let request = Request {
        devices: vec!["nvme".to_owned()],
        ..Request::new(machine, ["sh", "-c", "/bin/windows $BDF"])
    };
    let output = programs::in_machine("windows", request, ui)?;
    let lines = output.lines().filter_map(programs::line);
    let measured: Vec<_> = lines
        .map(|(name, ours, peer)| {
            let limit = match name.contains("list") {
                true => 1,
                false => BLOCKS_WINDOW_RUNS,
            };
            let pairs = [(ours, peer)];
            Measured::of_pairs(name, "ioctls", &pairs, PAGE_BY_PAGE, Goal::Below(limit + 1))
        })
        .collect();
    ensure!(measured.len() == 2, "not all was measured:\n{output}");
    Ok(measured)
}

/// Both.
pub(super) fn measure(ui: &Ui) -> Result<Vec<Measured>> {
    let machine = Machine::find("x86_64").context("there is no machine x86_64")?;
    // Behind this bridge both are in one group.
    let devices = [
        "pcie-pci-bridge,id=bridge",
        "edu,bus=bridge,addr=1",
        "nvme,bus=bridge,addr=2",
    ];
    let script = "for bdf in $BDF $BDF2; do\n\
                  echo vfio-pci >/sys/bus/pci/devices/$bdf/driver_override\n\
                  if [ -e /sys/bus/pci/devices/$bdf/driver ]; then \
                  echo $bdf >/sys/bus/pci/devices/$bdf/driver/unbind; fi\n\
                  echo $bdf >/sys/bus/pci/drivers_probe; done; /bin/bench $BDF $BDF2";
    let request = Request {
        devices: devices.map(str::to_owned).to_vec(),
        bind: false,
        ..Request::new(machine, ["sh", "-c", script])
    };
    let output = programs::in_machine("bench", request, ui)?;
    let lines = output.lines().filter_map(programs::line);
    let measured: Vec<_> = lines
        .map(|(name, ours, peer)| {
            let goal = match name.starts_with(MEMORY) {
                true => Goal::Below(2),
                false => Goal::AsThePeer,
            };
            Measured::new(name, "ioctls", ours, peer, goal)
        })
        .collect();
    ensure!(!measured.is_empty(), "nothing was measured:\n{output}");
    Ok(measured)
}
