//! Whole commands on simulated machines.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use clap::Parser;
use serde_json::Value;
use vfio_core::Vfio;
use vfio_core::host::Bdf;
use vfio_core::iommu::Registry;
use vfio_core::kernel::{Errno, Kernel};
use vfio_sim::machine::{Device, Group};
use vfio_sim::wrap::{Call, Counted, FailNth, Mode, Request, Watch, Watched};
use vfio_sim::{Machine, Rights, SimKernel};

use super::overlay::Overlay;
use super::plan::Binding;
use super::*;
use crate::{Command, host};

const DISK: &str = "0000:00:05.0";
const SIBLING: &str = "0000:00:05.1";
const BRIDGE: &str = "0000:00:1c.0";
const EDU: &str = "0000:00:06.0";

/// A disk that shares its group with another one and a bridge, and a device that no driver of the kernel's own takes.
fn machine() -> Machine {
    let disk = |bdf| Device {
        own_driver: Some("nvme".into()),
        ..Device::nvme(bdf).driven_by("nvme")
    };
    let bridge = Device::bare(BRIDGE, 0x8086, 0x1234, 0x06_0400).driven_by("pcieport");
    Machine {
        groups: vec![
            Group::new(7, [disk(DISK), disk(SIBLING), bridge]),
            Group::new(8, [Device::edu(EDU).unbound()]),
        ],
        ..Machine::x86_64()
    }
}

/// A host, with a directory for its files.
struct Board {
    sim: SimKernel,
    kernel: Arc<dyn Kernel>,
    dir: tempfile::TempDir,
}

/// What a command answered.
#[derive(Debug)]
struct Answer {
    status: u8,
    json: Value,
}

impl Board {
    fn new(machine: Machine) -> Self {
        let sim = SimKernel::new(machine);
        Self {
            kernel: Arc::new(sim.clone()),
            sim,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// The same host, through a watch.
    fn watched<W: Watch + 'static>(&self, watch: Arc<W>) -> Arc<dyn Kernel> {
        Arc::new(Watched::new(Arc::new(self.sim.clone()), watch))
    }

    fn run(&self, words: &str) -> Answer {
        self.run_on(&self.kernel, words)
    }

    fn run_on(&self, kernel: &Arc<dyn Kernel>, words: &str) -> Answer {
        let host = host::Host {
            simulated: Some("board".into()),
            ..host::Host::real(Vfio::on(Arc::clone(kernel), Registry::linked().unwrap()))
        };
        let state = self.dir.path().display();
        let words = format!("vfioctl {words} --state {state}");
        let words = words.split(' ');
        let mut report = Report::new(&host);
        let mut commands = Vec::new();
        let outcome = match crate::Args::parse_from(words).command {
            Command::Bind(args) => bind(&host, &args, &mut report, &mut commands),
            Command::Unbind(args) => undo::unbind(&host, &args, &mut report, &mut commands),
            other => unreachable!("{other:?}"),
        };
        let (status, json) = report.close(outcome);
        let mut json = serde_json::to_value(json).unwrap();
        json["commands"] = commands.into();
        Answer {
            status: status.number(),
            json,
        }
    }

    /// Every driver and override.
    fn state(&self) -> Vec<(String, Binding)> {
        let read = |name: &str| {
            let bdf: Bdf = name.parse().unwrap();
            (name.to_owned(), Binding::read(&self.sim, bdf).unwrap())
        };
        [DISK, SIBLING, BRIDGE, EDU].map(read).to_vec()
    }

    fn driver(&self, bdf: &str) -> Option<String> {
        let bdf: Bdf = bdf.parse().unwrap();
        Binding::read(&self.sim, bdf).unwrap().driver
    }

    /// The files that were written, by where they are.
    fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut next = vec![self.dir.path().to_owned()];
        while let Some(dir) = next.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => next.push(path),
                    false => {
                        let path = path.strip_prefix(self.dir.path()).unwrap();
                        found.push(path.display().to_string());
                    }
                }
            }
        }
        found.sort();
        found
    }

    fn file(&self, path: &str) -> String {
        fs::read_to_string(self.dir.path().join(path)).unwrap()
    }
}

impl Answer {
    fn text(&self) -> String {
        self.json.to_string()
    }

    /// Ended so, and with these words somewhere.
    #[track_caller]
    fn says(&self, status: u8, words: &[&str]) {
        assert_eq!(self.status, status, "{self:#?}");
        for word in words {
            assert!(self.text().contains(word), "{word:?} in {self:#?}");
        }
    }
}

#[test]
fn a_device_goes_to_vfio_and_comes_back_to_the_driver_that_had_it() {
    let board = Board::new(machine());
    let before = board.state();
    board
        .run(&format!("bind {EDU}"))
        .says(0, &["/dev/vfio/8", "chown USER /dev/vfio/8"]);
    board.run(&format!("bind {DISK}")).says(
        0,
        &[r#""from":"nvme""#, r#""driver":"vfio-pci""#, "/dev/vfio/7"],
    );
    assert_eq!(board.driver(DISK).as_deref(), Some("vfio-pci"));
    assert_eq!(
        board.files(),
        [format!("run/vfioctl/{DISK}"), format!("run/vfioctl/{EDU}")]
    );
    board
        .run(&format!("unbind {DISK} {EDU}"))
        .says(0, &[r#""driver":"nvme""#]);
    assert_eq!(board.state(), before);
    assert_eq!(board.files(), [""; 0]);
}

#[test]
fn what_is_bound_already_is_fine_and_so_is_what_is_not() {
    let board = Board::new(machine());
    for _ in 0..2 {
        board.run(&format!("bind {EDU}")).says(0, &["vfio-pci"]);
    }
    board.run(&format!("unbind {EDU}")).says(0, &[]);
    assert_eq!(board.driver(EDU), None);
    let before = board.state();
    board
        .run(&format!("unbind {EDU} {DISK}"))
        .says(0, &[r#""from":"nvme""#]);
    assert_eq!(board.state(), before);
}

#[test]
fn a_sibling_in_the_way_is_named_with_the_command_that_helps() {
    let board = Board::new(machine());
    let answer = board.run(&format!("bind {DISK}"));
    answer.says(0, &[&format!("{SIBLING} (nvme): vfioctl bind {SIBLING}")]);
    assert!(!answer.text().contains("chown"), "{answer:#?}");
    board
        .run(&format!("bind {SIBLING}"))
        .says(0, &["chown USER /dev/vfio/7"]);
}

#[test]
fn a_group_goes_as_a_whole_but_for_its_bridge() {
    let board = Board::new(machine());
    board
        .run(&format!("bind --group {DISK}"))
        .says(0, &["chown"]);
    for (bdf, driver) in [
        (DISK, "vfio-pci"),
        (SIBLING, "vfio-pci"),
        (BRIDGE, "pcieport"),
    ] {
        assert_eq!(board.driver(bdf).as_deref(), Some(driver), "{bdf}");
    }
    board
        .run(&format!("bind {BRIDGE}"))
        .says(1, &["is a bridge"]);
}

#[test]
fn whichever_call_fails_everything_is_as_it_was() {
    for command in [
        format!("bind {EDU} --group {DISK}"),
        format!("unbind {EDU} {DISK} {SIBLING}"),
    ] {
        let mut failed = 0;
        for n in 0.. {
            let board = Board::new(machine());
            if command.starts_with("unbind") {
                board
                    .run(&format!("bind {EDU} {DISK} {SIBLING}"))
                    .says(0, &[]);
            }
            let (before, files) = (board.state(), board.files());
            let failing = Arc::new(FailNth::counting(Counted::ALL));
            let kernel = board.watched(Arc::clone(&failing));
            failing.arm(n, Errno::IO.into(), Mode::Once);
            let answer = board.run_on(&kernel, &command);
            if failing.failed().is_none() {
                answer.says(0, &[]);
                break;
            }
            if answer.status == 0 {
                continue; // it was of something that nothing depends on
            }
            failed += 1;
            assert_eq!(board.state(), before, "call {n} of {command}: {answer:#?}");
            assert_eq!(board.files(), files, "call {n} of {command}: {answer:#?}");
        }
        assert!(failed > 20, "{failed} failures of {command}");
    }
}

/// From some write on, no write works.
#[derive(Debug)]
struct NoWrites {
    from: usize,
    seen: std::sync::atomic::AtomicUsize,
}

impl Watch for NoWrites {
    fn before(&self, call: &Call<'_>) -> std::result::Result<(), vfio_core::Answer> {
        let is_write = matches!(call.request, Request::Write { .. });
        let count = || self.seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        match is_write && count() >= self.from {
            true => Err(Errno::IO.into()),
            false => Ok(()),
        }
    }
}

#[test]
fn what_cannot_be_put_back_is_told_exactly() {
    let board = |from| {
        let board = Board::new(machine());
        let seen = 0.into();
        let kernel = board.watched(Arc::new(NoWrites { from, seen }));
        let answer = board.run_on(&kernel, &format!("bind {DISK}"));
        (board, answer)
    };
    let (all, answer) = board(0);
    answer.says(4, &["driver_override", "everything is as it was"]);
    assert_eq!(all.driver(DISK).as_deref(), Some("nvme"));

    let left = "not as it was: 0000:00:05.0 had nvme (driver_override: empty) and has";
    for (writes, has) in [
        (1, "nvme (driver_override: vfio-pci)"),
        (2, "no driver (driver_override: vfio-pci)"),
    ] {
        let (board, answer) = board(writes);
        answer.says(4, &[&format!("{left} {has}")]);
        // The record is what it can be undone by.
        assert_eq!(board.files(), [format!("run/vfioctl/{DISK}")]);
        board.run(&format!("unbind {DISK}")).says(0, &[]);
        assert_eq!(board.state(), Board::new(machine()).state());
    }
}

#[test]
fn a_driver_that_does_not_take_a_device_leaves_everything_as_it_was() {
    let mut machine = machine();
    machine.groups[0].devices[1].refused_by = vec!["vfio-pci".into()];
    let board = Board::new(machine);
    let before = board.state();
    let answer = board.run(&format!("bind {DISK} {SIBLING}"));
    answer.says(
        1,
        &[
            "VFIO-16",
            "no driver afterwards",
            "everything is as it was",
            "dmesg | grep",
        ],
    );
    assert_eq!(board.state(), before);
    assert_eq!(board.files(), [""; 0]);
}

#[test]
fn without_rights_the_command_for_root_is_told() {
    let board = Board::new(machine());
    board.sim.set_rights(Rights::user(0));
    let before = board.state();
    let command = format!("bind --group {DISK}");
    board
        .run(&command)
        .says(3, &[&format!("as root: vfioctl {command}")]);
    assert_eq!(board.state(), before);
    assert_eq!(board.files(), [""; 0]);
}

/// A host on which that file says that the device is in use.
fn in_use(mounted_at: &str) -> Board {
    let board = Board::new(machine());
    let overlay = Overlay::new(board.sim.clone())
        .link(
            "/sys/class/block/nvme0n1",
            &format!("../../devices/pci0000:00/{DISK}/nvme/nvme0/nvme0n1"),
        )
        .file("/sys/class/block/nvme0n1/dev", "259:0")
        .file(
            "/proc/self/mountinfo",
            format!("30 1 259:0 / {mounted_at} rw - ext4 /dev/nvme0n1 rw"),
        );
    Board {
        kernel: Arc::new(overlay),
        ..board
    }
}

#[test]
fn a_device_in_use_is_refused_unless_it_is_forced() {
    let board = in_use("/srv");
    let before = board.state();
    for options in ["", "--dry-run ", "--group "] {
        let answer = board.run(&format!("bind {options}{DISK}"));
        answer.says(
            1,
            &[
                "in-use",
                "its disk nvme0n1 is mounted at /srv",
                r#""commands":[]"#,
            ],
        );
    }
    // One that may not go keeps the others.
    board
        .run(&format!("bind {EDU} {DISK} {BRIDGE}"))
        .says(1, &["in-use", "is a bridge"]);
    assert_eq!(board.state(), before);
    assert_eq!(board.files(), [""; 0]);
    board
        .run(&format!("bind --force {DISK}"))
        .says(0, &["by force: its disk nvme0n1 is mounted"]);
    assert_eq!(board.driver(DISK).as_deref(), Some("vfio-pci"));
}

#[test]
fn what_the_host_lives_on_is_not_taken_by_force() {
    let board = in_use("/");
    board
        .run(&format!("bind --force {DISK}"))
        .says(1, &["--force does not help"]);
    assert_eq!(board.driver(DISK).as_deref(), Some("nvme"));
}

#[test]
fn a_device_that_a_process_has_open_is_not_unbound() {
    let board = Board::new(machine());
    board.run(&format!("bind {EDU}")).says(0, &[]);
    let overlay = Overlay::new(board.sim.clone())
        .link("/proc/4242/fd/3", "/dev/vfio/8")
        .file("/proc/4242/comm", "qemu");
    let kernel: Arc<dyn Kernel> = Arc::new(overlay);
    let answer = board.run_on(&kernel, &format!("unbind {EDU}"));
    answer.says(1, &["qemu (process 4242) has /dev/vfio/8 open"]);
    assert_eq!(board.driver(EDU).as_deref(), Some("vfio-pci"));
    let answer = board.run_on(&kernel, &format!("unbind --force {EDU}"));
    answer.says(0, &["by force: qemu"]);
}

#[test]
fn a_kernel_that_would_end_is_not_given_a_second_device_back() {
    let board = Board::new(machine());
    board
        .run(&format!("bind {DISK} {SIBLING} {EDU}"))
        .says(0, &[]);
    let calls = "/sys/firmware/devicetree/base/rtas/ibm,hypertas-functions";
    let kernel: Arc<dyn Kernel> = Arc::new(Overlay::new(board.sim.clone()).file(calls, ""));
    let answer = board.run_on(&kernel, &format!("unbind {DISK} {SIBLING}"));
    answer.says(1, &["kernel-would-end", &format!("{DISK} is one")]);
    assert_eq!(board.driver(DISK).as_deref(), Some("vfio-pci"));
    board
        .run_on(&kernel, &format!("unbind {DISK} {EDU}"))
        .says(0, &[]);
    let last = format!("unbind {SIBLING}");
    board.run_on(&kernel, &last).says(1, &["kernel-would-end"]);
    board
        .run_on(&kernel, &format!("{last} --force"))
        .says(0, &[]);
}

#[test]
fn a_dry_run_prints_the_writes_and_changes_nothing() {
    let board = Board::new(machine());
    let before = board.state();
    let answer = board.run(&format!("bind --dry-run {DISK}"));
    let place = format!("/sys/bus/pci/devices/{DISK}");
    let writes = [
        format!("echo vfio-pci > {place}/driver_override"),
        format!("echo {DISK} > {place}/driver/unbind"),
        format!("echo {DISK} > /sys/bus/pci/drivers_probe"),
    ];
    assert_eq!(answer.json["commands"], serde_json::json!(writes));
    let answer = board.run(&format!(
        "bind --dry-run --driver mlx5_vfio_pci --persist {EDU}"
    ));
    answer.says(
        0,
        &[
            "modprobe mlx5_vfio_pci",
            "cat > /etc/vfioctl/devices",
            "10-vfioctl.rules",
        ],
    );
    board
        .run(&format!("unbind --dry-run {DISK}"))
        .says(0, &[r#""commands":[]"#]);
    assert_eq!(board.state(), before);
    assert_eq!(board.files(), [""; 0]);
}

#[test]
fn a_device_without_an_iommu_is_not_taken_from_its_driver() {
    let lonely = "0000:02:00.0";
    let board = Board::new(Machine {
        ungrouped: vec![Device::nvme(lonely).driven_by("nvme")],
        ..machine()
    });
    board.run(&format!("bind {lonely}")).says(1, &["VFIO-01"]);
    assert_eq!(board.driver(lonely).as_deref(), Some("nvme"));
}

#[test]
fn a_driver_that_is_not_loaded_is_an_error_that_says_what_to_do() {
    let board = Board::new(machine());
    let answer = board.run(&format!("bind --driver mlx5_vfio_pci {DISK}"));
    answer.says(4, &["mlx5_vfio_pci is not loaded", "uname -r"]);
    assert_eq!(board.driver(DISK).as_deref(), Some("nvme"));
}

#[test]
fn a_variant_goes_by_its_own_name_and_the_first_driver_is_remembered() {
    let variant = Device::edu("0000:00:09.0").driven_by("mlx5_vfio_pci");
    let mut machine = machine();
    machine.groups.push(Group::new(9, [variant])); // so that it is loaded
    let board = Board::new(machine);
    let before = board.state();
    board.run(&format!("bind {DISK}")).says(0, &[]);
    board
        .run(&format!("bind --driver mlx5-vfio-pci {DISK}"))
        .says(0, &[]);
    assert_eq!(board.driver(DISK).as_deref(), Some("mlx5_vfio_pci"));
    board
        .run(&format!("unbind {DISK}"))
        .says(0, &[r#""driver":"nvme""#]);
    assert_eq!(board.state(), before);
}

#[test]
fn without_a_record_the_kernels_own_driver_takes_it() {
    for record in [
        None,
        Some("junk"),
        Some(
            r#"{"vendor":1,"device":1,"driver":"x","driver_override":null,"bound_to":"vfio-pci"}"#,
        ),
    ] {
        let board = Board::new(machine());
        let before = board.state();
        board.run(&format!("bind {DISK}")).says(0, &[]);
        let file = board.dir.path().join(format!("run/vfioctl/{DISK}"));
        match record {
            None => fs::remove_file(&file).unwrap(),
            Some(text) => fs::write(&file, text).unwrap(),
        }
        board.run(&format!("unbind {DISK}")).says(0, &[]);
        assert_eq!(board.state(), before, "{record:?}");
        assert!(!Path::new(&file).exists());
    }
}

#[test]
fn what_persists_is_a_readable_file_and_the_rule_that_is_made_of_it() {
    const DEVICES: &str = "etc/vfioctl/devices";
    const RULES: &str = "etc/udev/rules.d/10-vfioctl.rules";

    let board = Board::new(machine());
    board
        .run(&format!("bind --persist {EDU} {DISK}"))
        .says(0, &[r#""persistent":true"#, "initramfs"]);
    let lines = format!("{DISK} vfio-pci 1b36:0010\n{EDU} vfio-pci 1234:11e8\n");
    assert!(
        board.file(DEVICES).ends_with(&lines),
        "{}",
        board.file(DEVICES)
    );
    let line = format!(
        r#"KERNEL=="{DISK}", ATTR{{vendor}}=="0x1b36", ATTR{{device}}=="0x0010", ENV{{.vfioctl}}="vfio-pci""#
    );
    assert!(board.file(RULES).contains(&line), "{}", board.file(RULES));

    board
        .run(&format!("unbind {EDU}"))
        .says(0, &["vfioctl unbind --persist"]);
    board
        .run(&format!("unbind --persist {EDU}"))
        .says(0, &[r#""persistent":false"#]);
    assert!(!board.file(DEVICES).contains(EDU) && !board.file(RULES).contains(EDU));
    // One that is gone can be taken from the list all the same.
    let gone = "0000:77:00.0";
    board
        .run(&format!("unbind {gone}"))
        .says(1, &["is not there"]);
    board
        .run(&format!("unbind --persist {gone} {DISK}"))
        .says(0, &[]);
    assert_eq!(board.files(), [""; 0]);
}

#[test]
fn a_line_that_makes_no_sense_is_named_and_kept() {
    let board = Board::new(machine());
    let dir = board.dir.path().join("etc/vfioctl");
    fs::create_dir_all(&dir).unwrap();
    for line in [
        "what",
        "0000:00:05.0 ../x 1:1",
        "0000:00:05.0 vfio-pci 1b36",
    ] {
        let text = format!("# mine\n{line}\n");
        fs::write(dir.join("devices"), &text).unwrap();
        board
            .run(&format!("bind --persist {EDU}"))
            .says(4, &["line 2 "]);
        assert_eq!(board.file("etc/vfioctl/devices"), text);
    }
}

#[test]
fn a_driver_is_one_of_vfios() {
    for name in ["nvme", "vfio/../x", "", "vfio pci", "vfio\"pci"] {
        assert!(vfio_driver(name).is_err(), "{name}");
    }
    assert_eq!(vfio_driver("mlx5_vfio_pci"), Ok("mlx5_vfio_pci".into()));
}
