//! The program itself, on whatever machine this is: with VFIO or without, as any user.

use std::process::{Command, Output};

fn vfioctl(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vfioctl"))
        .args(args)
        .output()
        .unwrap_or_else(|error| unreachable!("vfioctl does not start: {error}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_probe_answers_valid_json_whose_findings_agree_with_the_status() {
    let output = vfioctl(&["probe", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["schema_version"], 1);
    for list in ["backends", "groups", "findings"] {
        assert!(json[list].is_array(), "{list} in {json}");
    }
    let found_nothing = json["findings"].as_array().unwrap().is_empty();
    assert_eq!(output.status.success(), found_nothing, "{json}");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn a_group_that_is_not_there_does_not_cost_the_report() {
    let output = vfioctl(&["probe", "--json", "--verify=4294967295"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(matches!(output.status.code(), Some(1 | 3)), "{json}");
    assert!(!json["findings"].as_array().unwrap().is_empty(), "{json}");
}

#[test]
fn a_malformed_device_is_a_wrong_command_line() {
    let output = vfioctl(&["selftest", "00:99.9"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("is not a PCI address"));
}

#[test]
fn an_absent_device_is_a_finding() {
    let output = vfioctl(&["selftest", "0fff:00:00.0"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("0fff:00:00.0 is not there"), "{stderr}");
}

#[test]
fn help_names_the_commands_and_the_exit_statuses() {
    let output = vfioctl(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = text(&output.stdout);
    for words in ["probe", "selftest", "Exit status: 0 answered and fine"] {
        assert!(help.contains(words), "{words:?} in {help}");
    }
}
