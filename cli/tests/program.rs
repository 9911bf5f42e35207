//! The program itself, on whatever machine this is: with VFIO or without, as any user.

use std::path::Path;
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
    assert_eq!(json["schema_version"], 2);
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
fn a_simulated_machine_is_probed_and_said_to_be_one() {
    for (machine, first, others) in [
        ("x86_64", "type1v2  verified", "sPAPR v2 absent"),
        ("aarch64", "type1v2  verified", "sPAPR v2 absent"),
        ("pseries", "sPAPR v2 verified", "type1v2  absent"),
        ("powernv9", "sPAPR v2 verified", "type1v2  absent"),
        ("powernv8", "sPAPR v2 verified", "type1v2  absent"),
    ] {
        let output = vfioctl(&["--sim", machine, "probe", "--verify"]);
        let stdout = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{stdout}");
        assert_eq!(text(&output.stderr), "");
        let header = format!("simulated machine {machine}: ");
        assert!(stdout.starts_with(&header), "{stdout}");
        assert!(
            stdout.contains(first) && stdout.contains(others),
            "{stdout}"
        );
        let asked = vfioctl(&["probe", "--sim", machine]);
        assert!(text(&asked.stdout).contains("advertised"), "{machine}");
    }
}

#[test]
fn only_the_json_of_a_simulated_machine_names_it() {
    let json = |args: &[&str]| {
        let output = vfioctl(args);
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let simulated = json(&["--sim", "pseries", "probe", "--json"]);
    assert_eq!(simulated["simulated"], "pseries");
    assert_eq!(simulated["schema_version"], 2);
    assert_eq!(simulated["architecture"], "ppc64le");
    let real = json(&["probe", "--json"]);
    assert_eq!(real.get("simulated"), None, "{real}");
}

#[test]
fn devices_of_simulated_machines_are_tested() {
    for (machine, bdf) in [("x86_64", "0000:00:05.0"), ("powernv9", "0001:01:00.0")] {
        let output = vfioctl(&["--sim", machine, "selftest", bdf]);
        let stdout = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{stdout}");
        assert!(stdout.starts_with("simulated machine "), "{stdout}");
        assert!(stdout.contains("ok  release "), "{stdout}");
    }
    let absent = vfioctl(&["--sim", "x86_64", "selftest", "0fff:00:00.0"]);
    assert_eq!(absent.status.code(), Some(1));
}

#[test]
fn a_simulated_device_is_bound_and_unbound_and_no_file_is_written() {
    let there = Path::new("/run/vfioctl").exists();
    for (command, words) in [
        ("bind", "0000:00:05.0  vfio-pci, as before  /dev/vfio/3"),
        ("unbind", "0000:00:05.0  vfio-pci -> no driver"),
    ] {
        let output = vfioctl(&["--sim", "x86_64", command, "0000:00:05.0"]);
        let stdout = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{stdout}");
        assert!(stdout.starts_with("simulated machine "), "{stdout}");
        assert!(stdout.contains(words), "{stdout}");
    }
    assert_eq!(Path::new("/run/vfioctl").exists(), there);
}

#[test]
fn a_dry_run_prints_commands_alone() {
    let output = vfioctl(&["--sim", "x86_64", "unbind", "--dry-run", "0000:00:05.0"]);
    let place = "/sys/bus/pci/devices/0000:00:05.0/driver/unbind";
    let commands =
        format!("echo 0000:00:05.0 > {place}\necho 0000:00:05.0 > /sys/bus/pci/drivers_probe\n");
    assert_eq!(text(&output.stdout), commands);
}

#[test]
fn what_is_no_driver_of_vfios_is_a_wrong_command_line() {
    let output = vfioctl(&["bind", "--driver", "nvme", "0000:00:05.0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no driver of VFIO's"));
    assert_eq!(vfioctl(&["bind"]).status.code(), Some(2));
}

#[test]
fn a_machine_without_an_iommu_is_no_machine_for_this_program() {
    for args in [["probe", "--json"], ["probe", "--verify"]] {
        let output = vfioctl(&[["--sim", "noiommu"], args].concat());
        let stdout = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{stdout}");
        assert!(
            stdout.contains("VFIO-17") && !stdout.contains("modprobe"),
            "{stdout}"
        );
    }
    // The finding is made from what the simulated kernel answers, not from what this host does.
    let output = vfioctl(&["--sim", "noiommu", "selftest", "0000:00:04.0"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    assert!(
        stderr.contains("VFIO-09") && stderr.contains("noiommu"),
        "{stderr}"
    );
}

#[test]
fn an_unknown_machine_is_a_wrong_command_line_that_lists_the_known_ones() {
    let output = vfioctl(&["--sim", "vax", "probe"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    for name in [
        "x86_64", "aarch64", "pseries", "powernv9", "powernv8", "noiommu",
    ] {
        assert!(stderr.contains(name), "{name} in {stderr}");
    }
}

#[test]
fn help_names_the_commands_and_the_exit_statuses() {
    let output = vfioctl(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = text(&output.stdout);
    for words in [
        "probe",
        "selftest",
        "bind",
        "unbind",
        "Exit status: 0 answered and fine",
    ] {
        assert!(help.contains(words), "{words:?} in {help}");
    }
}

#[test]
fn there_are_colours_where_they_are_wanted_and_nowhere_else() {
    let doctor = |more: &[&str], variables: &[(&str, &str)]| {
        let output = Command::new(env!("CARGO_BIN_EXE_vfioctl"))
            .args(["--sim", "x86_64", "doctor", "0000:00:04.0"])
            .args(more)
            .env_remove("NO_COLOR")
            .env_remove("CLICOLOR_FORCE")
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        text(&output.stdout)
    };
    let plain = doctor(&[], &[]);
    assert!(!plain.contains('\x1b'), "{plain:?}");
    let coloured = doctor(&["--color", "always"], &[]);
    assert!(coloured.contains("\x1b[33mVFIO-11"), "{coloured:?}");
    assert_eq!(doctor(&[], &[("CLICOLOR_FORCE", "1")]), coloured);
    let both = [("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")];
    assert_eq!(doctor(&[], &both), plain);
    assert_eq!(
        doctor(&["--color", "never"], &[("CLICOLOR_FORCE", "1")]),
        plain
    );
    let json = doctor(&["--color", "always", "--json"], &[]);
    assert!(!json.contains('\x1b'), "{json:?}");
}
