//! Names that a host can have, and a list of names: a terminal would obey them.

use std::path::Path;
use std::process::Command;

use crate::hosts::{DEVICE, Host, text};

/// Clears the screen, begins a line, reddens what follows, and turns its order round.
const DRIVER: &str = "a\u{1b}[2Jb\nbroken: line\u{9b}31m\u{202e}c\"d\\e";
const SHOWN_DRIVER: &str = "a\\u{1b}[2Jb\\nbroken: line\\u{9b}31m\\u{202e}c\"d\\e";
/// The same in a `pci.ids`, where a name ends with its line.
const NAME: &str = "V\u{1b}]0;owned\u{7} D\u{2067}\u{9b}31me\"f\\g";
const SHOWN_NAME: &str = "V\\u{1b}]0;owned\\u{7} D\\u{2067}\\u{9b}31me\"f\\g";

const BDF: &str = "0000:00:01.0";

/// A host of which whatever has a name has such a one.
fn host() -> Host {
    let host = Host::with_device();
    host.link(
        &format!("{DEVICE}/driver"),
        &format!("../../drivers/{DRIVER}"),
    );
    host.file("proc/sys/kernel/osrelease", DRIVER);
    host.file("proc/cmdline", "iommu=\u{1b}[2J\u{202e}\n");
    host.file("sys/class/iommu/dmar0\u{1b}[2J\u{202e}/version", "1:0\n");
    let (vendor, device) = NAME.split_once(' ').unwrap();
    let class = "C 02  \u{1b}[2J\u{202e}";
    host.file(
        "pci.ids",
        format!("1234  {vendor}\n\t5678  {device}\n{class}\n"),
    );
    host
}

/// What the program says of it, on both outputs.
fn ask(host: &Host, place: &str, query: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_vfioctl"))
        .args(["--root", place])
        .args(query.split(' '))
        .env("VFIOCTL_PCI_IDS", Path::new(host.path()).join("pci.ids"))
        .output()
        .unwrap();
    text(&output.stdout) + &text(&output.stderr)
}

/// What a terminal takes for an order, or shows in another one.
fn orders(said: &str) -> Vec<char> {
    let reorders =
        |letter: &char| matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_order = |letter: &char| reorders(letter) || letter.is_control() && *letter != '\n';
    said.chars().filter(is_order).collect()
}

#[test]
fn names_give_the_terminal_no_orders() {
    let host = host();
    for place in [host.path().into(), host.archive()] as [String; 2] {
        for query in [
            "probe",
            "groups",
            "groups --tree",
            &format!("device {BDF}"),
            &format!("doctor {BDF}"),
            &format!("bind --dry-run {BDF}"),
        ] {
            let said = ask(&host, &place, query);
            assert_eq!(orders(&said), [], "{query}: {said}");
            if !query.starts_with("bind") {
                assert!(said.contains(SHOWN_DRIVER), "{query}: {said}");
                assert!(said.contains(SHOWN_NAME), "{query}: {said}");
            }
        }
    }
}

#[test]
fn names_give_no_orders_in_a_form_for_programs_that_people_look_at() {
    let host = host();
    for query in [
        "probe --format prometheus",
        "groups --format prometheus",
        "probe --format nfd",
        "groups --format nfd",
        "groups --dot",
    ] {
        let said = ask(&host, host.path(), query);
        assert_eq!(orders(&said), [], "{query}: {said}");
    }
}

#[test]
fn programs_are_told_the_very_names() {
    let host = host();
    for (query, place) in [
        ("probe --json", "/groups/0/devices/0"),
        ("groups --json", "/groups/0/devices/0"),
        (&*format!("device {BDF} --json"), ""),
        (&*format!("doctor {BDF} --json"), "/devices/0"),
    ] {
        let said: serde_json::Value =
            serde_json::from_str(&ask(&host, host.path(), query)).unwrap();
        let device = said.pointer(place).unwrap();
        assert_eq!(device["driver"], DRIVER, "{query}: {said}");
        assert_eq!(device["name"], NAME, "{query}: {said}");
    }
}
