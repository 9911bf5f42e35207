//! The first program, on every simulated machine that has the device that it is about.
#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::process::Command;

use vfio_sim::Machine;

#[test]
fn it_moves_bytes_on_every_machine_that_has_an_iommu() {
    let mut moved = 0;
    for machine in Machine::all() {
        let mut devices = machine.groups.iter().flat_map(|group| &group.devices);
        let edu = devices.find(|device| device.device == 0x11e8).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_first-dma"))
            .args([&edu.bdf, &machine.name])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        match machine.name.as_str() {
            "noiommu" => assert!(
                said.contains("no backend") || !output.status.success(),
                "{said}"
            ),
            name => {
                assert!(output.status.success(), "{name}: {said}");
                assert!(
                    said.contains("64 random bytes went to the device and back"),
                    "{said}"
                );
                moved += 1;
            }
        }
    }
    assert_eq!(moved, 5);
}

#[test]
fn it_is_as_short_as_it_says_and_as_safe() {
    let source = include_str!("../src/bin/first-dma.rs");
    let (_, rest) = source.split_once("fn copy_by_device").unwrap();
    let (driver, _) = rest.split_once("\n}\n").unwrap();
    assert!(driver.lines().count() <= 30);
    assert!(!source.contains(concat!("un", "safe")) && !source.contains(concat!("cfg", "(")));
}
