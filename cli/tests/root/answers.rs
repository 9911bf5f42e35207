//! A captured host answers as it did itself.

use std::fs;
use std::path::Path;

use vfio_sim::Machine;

use crate::hosts::{Host, capture, json, probe, text, unpacked, vfioctl};

/// Every query about that machine, as text and as data.
fn queries(machine: &Machine) -> Vec<Vec<String>> {
    let mut queries = vec!["probe", "groups", "groups --tree", "groups --dot", "doctor"]
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    let grouped = machine.groups.iter().flat_map(|group| &group.devices);
    for device in grouped.chain(&machine.ungrouped) {
        queries.push(format!("device {}", device.bdf));
        queries.push(format!("doctor {} --guest-memory 16G", device.bdf));
    }
    let json = queries
        .iter()
        .filter(|query| !query.starts_with("groups --"))
        .map(|query| format!("{query} --json"));
    let all = queries.iter().cloned().chain(json);
    all.map(|query| query.split(' ').map(str::to_owned).collect())
        .collect()
}

/// The answer to a query, without the place of the capture, which only a captured host has.
fn answer(about: &str, place: &str, query: &[String]) -> (Option<i32>, String) {
    let query: Vec<_> = query.iter().map(String::as_str).collect();
    let output = vfioctl(&[&[about, place], &query[..]].concat());
    let mut said = text(&output.stdout);
    if query.contains(&"--json") {
        let mut json: serde_json::Value = serde_json::from_str(&said).unwrap();
        let captured = json.as_object_mut().unwrap().remove("captured");
        let expected = (about == "--root").then(|| place.into());
        assert_eq!(captured, expected);
        said = json.to_string();
    } else if about == "--root" && !query.contains(&"--dot") {
        let rest = said.strip_prefix(&format!("captured host {place} ("));
        said = rest.unwrap().replacen("): ", ": ", 1);
    }
    (output.status.code(), said + &text(&output.stderr))
}

#[test]
fn a_captured_machine_answers_as_it_did_itself() {
    for machine in Machine::all() {
        let directory = tempfile::tempdir().unwrap();
        let archive = directory.path().join("host.tgz");
        fs::write(&archive, capture(&["--sim", &machine.name])).unwrap();
        let unpacked = unpacked(&archive);
        for query in queries(&machine) {
            let there = answer("--sim", &machine.name, &query);
            for place in [&archive, unpacked.path()] as [&Path; 2] {
                let here = answer("--root", place.to_str().unwrap(), &query);
                assert_eq!(here, there, "{query:?} of {}", machine.name);
            }
        }
    }
}

#[test]
fn this_host_answers_the_same_from_its_capture() {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("host.tgz");
    fs::write(&archive, capture(&[])).unwrap();
    for query in ["probe", "groups", "doctor"] {
        let mut here = json(&["--root", archive.to_str().unwrap(), query, "--json"]);
        here.as_object_mut().unwrap().remove("captured").unwrap();
        assert_eq!(here, json(&[query, "--json"]));
    }
}

#[test]
fn a_capture_is_the_same_bytes_each_time_and_overwrites_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("host.tgz");
    let file = path.to_str().unwrap();
    let first = vfioctl(&["--sim", "pseries", "capture", file]);
    assert_eq!(first.status.code(), Some(0));
    assert!(text(&first.stderr).contains(&format!("tar tf {file}")));
    assert_eq!(text(&first.stdout), "");
    let bytes = capture(&["--sim", "pseries"]);
    assert_eq!(fs::read(&path).unwrap(), bytes);

    let other = ["--sim", "x86_64", "capture", file];
    let refused = vfioctl(&other);
    assert_eq!(refused.status.code(), Some(4));
    assert!(text(&refused.stderr).contains("--force"));
    assert_eq!(fs::read(&path).unwrap(), bytes);
    let forced = vfioctl(&[&other[..], &["--force"]].concat());
    assert_eq!(forced.status.code(), Some(0));
    assert_eq!(fs::read(&path).unwrap(), capture(&["--sim", "x86_64"]));
}

#[test]
fn what_opens_a_device_is_a_wrong_command_line() {
    for args in [
        &["--sim", "x86_64", "probe"][..],
        &["probe", "--verify"],
        &["device", "0000:00:01.0", "--open"],
        &["selftest", "0000:00:01.0"],
        &["bind", "0000:00:01.0"],
        &["unbind", "0000:00:01.0"],
        &["watch"],
    ] {
        let output = vfioctl(&[&["--root", "/nowhere"], args].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains("--root"), "{args:?}");
    }
}

#[test]
fn what_a_hand_made_copy_does_not_tell_is_unknown() {
    let host = Host::with_device();
    host.file("sys/class/misc/vfio/dev", "10:196\n");
    let stdout = text(&probe(Path::new(host.path())).stdout);
    for said in [
        "copied by hand",
        "Linux unknown on unknown",
        "unknown     VFIO could not be asked",
        "its capture does not tell",
    ] {
        assert!(stdout.contains(said), "{said:?} in {stdout}");
    }
    host.file("sys/class/iommu/dmar0/version", "1:0\n");
    host.file("proc/sys/kernel/osrelease", "6.1.0-test\n");
    let stdout = text(&probe(Path::new(host.path())).stdout);
    assert!(stdout.contains("Linux 6.1.0-test on x86_64"), "{stdout}");
}
