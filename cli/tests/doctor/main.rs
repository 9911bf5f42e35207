//! A host for each diagnosis, broken and mended: the doctor finds exactly that one, and nothing on the mended one.
//!
//! `cli/tests/hosts` has captures that were made in the lab (`cargo xtask captures` makes them anew), and for what the lab
//! cannot break, edits of a healthy one. What is said of each is in `cli/tests/doctor/snapshots`, as text and as JSON.
#![allow(clippy::unwrap_used, clippy::panic)] // A test that cannot go on has failed.

mod fixture;
mod other_hosts;

use fixture::Fixture;
use serde_json::Value;

/// Code, the broken host and the mended one, the arguments.
struct Case {
    code: &'static str,
    broken: &'static str,
    mended: &'static str,
    /// Which device is asked about, and for what.
    arguments: &'static [&'static str],
}

const fn case(
    code: &'static str,
    broken: &'static str,
    mended: &'static str,
    arguments: &'static [&'static str],
) -> Case {
    Case {
        code,
        broken,
        mended,
        arguments,
    }
}

/// The NVMe disk of the healthy host that is alone in its group.
const DISK: &[&str] = &["0000:00:04.0"];

const CASES: [Case; 20] = [
    case("VFIO-01", "no-IOMMU", "healthy", DISK),
    case("VFIO-02", "not-viable", "viable", &["0000:00:05.0"]),
    case("VFIO-03", "behind-a-bridge", "healthy", &["0000:01:01.0"]),
    case("VFIO-04", "little-memory", "the-users-node", DISK),
    case("VFIO-05", "no-remapping", "healthy", DISK),
    case("VFIO-06", "VFIO-06", "healthy", DISK),
    case("VFIO-07", "VFIO-07", "healthy", DISK),
    case("VFIO-08", "anothers-node", "the-users-node", DISK),
    case("VFIO-09", "not-bound", "healthy", DISK),
    case("VFIO-10", "busy", "healthy", DISK),
    case("VFIO-11", "no-reset", "healthy", &["0000:00:06.0"]),
    case("VFIO-12", "VFIO-12", "healthy", DISK),
    case("VFIO-13", "VFIO-13", "healthy", DISK),
    case(
        "VFIO-14",
        "a-large-guest",
        "a-guest-that-fits",
        &["0000:00:04.0", "--guest-memory", "1T"],
    ),
    case("VFIO-15", "few-mappings", "healthy", DISK),
    case("VFIO-16", "meant-and-not-bound", "healthy", DISK),
    case("VFIO-17", "VFIO-17", "healthy", DISK),
    case("VFIO-18", "a-token", "healthy", &["0000:00:14.0"]),
    case("VFIO-19", "no-windows", "windows", DISK),
    case("VFIO-20", "VFIO-20", "healthy", DISK),
];

fn codes(answer: &Value) -> Vec<&str> {
    let device = &answer["devices"][0];
    let general = answer["findings"].as_array().unwrap().iter();
    let own = device["findings"].as_array().unwrap().iter();
    general
        .chain(own)
        .map(|it| it["code"].as_str().unwrap())
        .collect()
}

#[test]
fn the_doctor_finds_exactly_what_is_wrong() {
    for case in &CASES {
        let broken = Fixture::open(case.broken);
        let json = broken.doctor(case.arguments, true);
        let answer: Value = serde_json::from_str(&json.stdout).unwrap();
        assert_eq!(codes(&answer), [case.code], "{}: {json:?}", case.broken);
        let text = broken.doctor(case.arguments, false);
        assert_eq!(text.status, json.status);
        assert_eq!(answer["ready"] == true, text.status == 0, "{text:?}");
        insta::assert_snapshot!(format!("{} text", case.code), text.shown());
        insta::assert_snapshot!(format!("{} json", case.code), json.shown());

        let mended = Fixture::open(case.mended).doctor(DISK, true);
        let answer: Value = serde_json::from_str(&mended.stdout).unwrap();
        assert_eq!(codes(&answer), [""; 0], "{}: {mended:?}", case.mended);
        assert_eq!(mended.status, 0, "{mended:?}");
    }
}

#[test]
fn what_is_safe_is_told_before_what_is_not() {
    const DANGERS: [&str; 3] = ["none", "disrupts", "unsafe"];
    for case in &CASES {
        let json = Fixture::open(case.broken).doctor(case.arguments, true);
        let answer: Value = serde_json::from_str(&json.stdout).unwrap();
        let own = answer["devices"][0]["findings"].as_array().unwrap().iter();
        for finding in answer["findings"].as_array().unwrap().iter().chain(own) {
            let remedies = finding["remedies"].as_array().unwrap().iter();
            let dangers =
                remedies.map(|it| DANGERS.iter().position(|known| it["danger"] == *known));
            assert!(dangers.is_sorted(), "{finding:#}");
        }
    }
}

#[test]
fn there_is_a_host_for_each_diagnosis() {
    let codes: Vec<_> = CASES.iter().map(|case| case.code).collect();
    let all: Vec<_> = (1..=20).map(|number| format!("VFIO-{number:02}")).collect();
    assert_eq!(codes, all);
}
