//! `hardware-tests --sim`: the program itself, on simulated machines; and its traces of them.
#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::process::Command;

fn hardware_tests(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_hardware-tests"))
        .args(args)
        .output()
        .unwrap();
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.code(), said)
}

/// The devices that were tested.
fn tested(said: &str) -> Vec<&str> {
    let lines = said
        .lines()
        .filter_map(|line| line.strip_prefix("device: "));
    lines
        .filter_map(|line| Some(line.split_once(' ')?.0))
        .collect()
}

#[test]
fn without_a_device_each_that_is_bound_is_tested() {
    for (machine, backend, devices) in [
        ("x86_64", "type1v2", ["0000:00:04.0", "0000:00:05.0"]),
        ("pseries", "sPAPR v2", ["0000:00:00.0", "0000:00:01.0"]),
    ] {
        let (status, said) = hardware_tests(&["--sim", machine, "memory"]);
        assert_eq!(status, Some(0), "{said}");
        let header = format!("simulated: machine {machine};");
        assert!(said.starts_with(&header), "{said}");
        assert!(said.contains(&format!("backend: {backend}\n")), "{said}");
        assert_eq!(tested(&said), devices, "{said}");
    }
}

#[test]
fn a_device_can_be_named() {
    let nvme = ["--sim", "aarch64", "--device", "0000:00:02.0"];
    let (status, said) = hardware_tests(&[nvme.as_slice(), &["msix"]].concat());
    assert_eq!((status, tested(&said)), (Some(0), vec!["0000:00:02.0"]));
    assert!(said.contains("\ntest the_device_raises_msix"), "{said}");
    assert!(said.contains("2 passed; 0 failed"), "{said}");
    let (status, said) = hardware_tests(&["--sim", "aarch64", "--device", "0fff:00:00.0"]);
    assert_eq!(status, Some(1), "{said}");
}

#[test]
fn a_machine_that_no_backend_is_for_fails() {
    let (status, said) = hardware_tests(&["--sim", "noiommu"]);
    assert_eq!(status, Some(4), "{said}");
    assert!(
        said.contains("error: ") && tested(&said).is_empty(),
        "{said}"
    );
}

#[test]
fn a_wrong_command_line_says_what_there_is() {
    let (status, said) = hardware_tests(&["--sim", "vax"]);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("powernv8"), "{said}");
    let (status, said) = hardware_tests(&[]);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("--device"), "{said}");
}

#[test]
fn the_program_records_and_checks() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("program.trace");
    let file = file.to_str().unwrap();
    let (status, said) = hardware_tests(&["--sim", "pseries", "--record", file]);
    assert_eq!(status, Some(0), "{said}");
    let (status, said) = hardware_tests(&["--check", file]);
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.ends_with(" 0 could not be; 0 answers differ\n"),
        "{said}"
    );

    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(
        file,
        text.replace("GET_API_VERSION 0 - -> 0", "GET_API_VERSION 0 - -> 1"),
    )
    .unwrap();
    let (status, said) = hardware_tests(&["--check", file]);
    assert_eq!(status, Some(1), "{said}");
    let difference = "VFIO_GET_API_VERSION 0 -\n  recorded  1\n  simulated 0\n";
    assert!(said.contains(difference), "{said}");

    std::fs::write(file, text.replace("vfio-trace 2", "vfio-trace 1")).unwrap();
    let (status, said) = hardware_tests(&["--check", file]);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("it is of version 1"), "{said}");
    let (status, _) = hardware_tests(&["--check", "no such file"]);
    assert_eq!(status, Some(2));
}
