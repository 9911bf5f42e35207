//! What `--json` prints is what the schemas say, which are made from the types and kept in `cli/schema`.
#![allow(clippy::unwrap_used, clippy::panic)] // A test that cannot go on has failed.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

const COMMANDS: [&str; 7] = [
    "probe", "groups", "device", "doctor", "bind", "unbind", "explain",
];

fn vfioctl(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_vfioctl"))
        .args(args)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn kept(command: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("schema/{command}.json"))
}

#[test]
fn the_schemas_that_are_kept_are_those_of_the_types() {
    for command in COMMANDS {
        let kept = fs::read_to_string(kept(command)).unwrap();
        let made = vfioctl(&["schema", command]);
        assert!(
            kept == made,
            "renew it: vfioctl schema {command} > cli/schema/{command}.json"
        );
    }
}

/// Every field is described, so that the schema can be read.
#[test]
fn every_answer_of_every_machine_is_valid() {
    for command in COMMANDS {
        let schema: Value = serde_json::from_str(&vfioctl(&["schema", command])).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        for (machine, bdf) in [
            ("x86_64", "0000:00:05.0"),
            ("aarch64", "0000:00:01.0"),
            ("pseries", "0000:00:01.0"),
            ("powernv9", "0001:01:00.0"),
            ("powernv8", "0001:01:00.0"),
            ("noiommu", "0000:00:04.0"),
        ] {
            let more: &[&str] = match command {
                "probe" => &["--verify", "--guest-memory", "1T"],
                "device" if machine != "noiommu" => &[bdf, "--open"],
                "device" | "doctor" | "bind" | "unbind" => &[bdf],
                "explain" => &["vfio 0000:01:00.0: group 1 is not viable"],
                _ => &[],
            };
            let args = [&["--sim", machine, command, "--json"], more].concat();
            let answer: Value = serde_json::from_str(&vfioctl(&args)).unwrap();
            let wrong: Vec<_> = validator
                .iter_errors(&answer)
                .map(|it| it.to_string())
                .collect();
            assert!(wrong.is_empty(), "{args:?}: {wrong:?}\n{answer}");
        }
        let nothing = validator
            .iter_errors(&Value::Object(serde_json::Map::new()))
            .count();
        assert!(nothing > 0, "{command}: its schema asks for nothing");
    }
}

/// Programs that read one version go on reading it: what it has had stays.
#[test]
fn no_field_of_a_version_goes_away() {
    for (command, version, fields) in [
        (
            "probe",
            2,
            "architecture backends container findings groups interfaces iommu kernel memlock verified_with_group",
        ),
        ("groups", 1, "architecture groups kernel without_group"),
        (
            "device",
            1,
            "architecture bars bdf bridges class device driver group node power reserved reset vendor vfio",
        ),
        (
            "doctor",
            1,
            "architecture devices findings kernel ready unknown",
        ),
        (
            "bind",
            1,
            "architecture devices findings kernel loaded next warnings",
        ),
        (
            "unbind",
            1,
            "architecture devices findings kernel loaded next warnings",
        ),
        ("explain", 1, "found"),
    ] {
        let more: &[&str] = match command {
            "device" | "bind" | "unbind" => &["0000:00:05.0"],
            "explain" => &["VFIO-04"],
            _ => &[],
        };
        let args = [&["--sim", "x86_64", command, "--json"], more].concat();
        let answer: Value = serde_json::from_str(&vfioctl(&args)).unwrap();
        assert_eq!(answer["schema_version"], version);
        for field in fields.split(' ') {
            assert!(
                answer.get(field).is_some(),
                "{command} has no {field}: {answer}"
            );
        }
    }
}
