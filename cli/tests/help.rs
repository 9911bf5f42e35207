//! The help of each command has an example, which runs; the manual and the completions are made from the same source.
#![allow(clippy::unwrap_used, clippy::panic)] // A test that cannot go on has failed.

use std::fs;
use std::process::{Command, Output};

fn vfioctl(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vfioctl"))
        .args(args)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The names of all commands, from the program's own help.
fn commands() -> Vec<String> {
    let help = text(&vfioctl(&["--help"]).stdout);
    let list = help.split("Commands:\n").nth(1).unwrap();
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_command_has_an_example_that_runs() {
    let commands = commands();
    assert!(commands.len() >= 8, "{commands:?}");
    for command in &commands {
        let help = text(&vfioctl(&[command, "--help"]).stdout);
        let example = help.split("Example:\n  ").nth(1);
        let example = example.and_then(|rest| rest.lines().next());
        let example = example.unwrap_or_else(|| panic!("{command} has no example:\n{help}"));
        assert!(example.contains(&format!(" {command}")), "{example}");
        let mut shell = Command::new("sh");
        let path = format!("{}:{}", program_directory(), std::env::var("PATH").unwrap());
        let output = shell
            .args(["-c", example])
            .env("PATH", path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{example}: {output:?}");
        assert!(!output.stdout.is_empty(), "{example} says nothing");
    }
}

fn program_directory() -> String {
    let program = env!("CARGO_BIN_EXE_vfioctl");
    program.rsplit_once('/').unwrap().0.to_owned()
}

#[test]
fn each_command_has_a_page_of_the_manual() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    assert!(vfioctl(&["man", "--out", path]).status.success());
    for command in commands() {
        let page = directory.path().join(format!("vfioctl-{command}.1"));
        let page = fs::read_to_string(page).unwrap();
        assert_eq!(
            page.trim_end(),
            text(&vfioctl(&["man", &command]).stdout).trim_end()
        );
        for part in [".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION", "Example:"] {
            assert!(page.contains(part), "{part} in {page}");
        }
    }
    let program = fs::read_to_string(directory.path().join("vfioctl.1")).unwrap();
    assert!(
        program.contains("Exit status: 0 answered and fine; 1 findings; 2 usage; 3 not permitted")
    );
    assert_eq!(vfioctl(&["man", "no-such-command"]).status.code(), Some(4));
}

/// What bash itself makes of it: the addresses of this host's devices, and options.
#[test]
fn bash_completes_commands_options_and_addresses() {
    let complete = |words: &str, begun: &str| {
        let script = format!(
            "source <(vfioctl completions bash)
             COMP_WORDS=({words} {begun}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_TYPE=9
             _clap_complete_vfioctl vfioctl '{begun}' ''
             printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let path = format!("{}:{}", program_directory(), std::env::var("PATH").unwrap());
        let output = Command::new("bash")
            .args(["-c", &script])
            .env("PATH", path)
            .output()
            .unwrap();
        text(&output.stdout)
    };
    assert_eq!(complete("vfioctl", "doct").trim(), "doctor");
    assert!(complete("vfioctl doctor", "--guest").contains("--guest-memory"));
    let devices = fs::read_dir("/sys/bus/pci/devices");
    let devices = devices.into_iter().flatten().flatten();
    let mut names: Vec<_> = devices
        .map(|it| it.file_name().into_string().unwrap())
        .collect();
    names.sort();
    let begun = names.first().map_or("ffff:", |name| &name[..6]);
    let fitting = names.iter().filter(|name| name.starts_with(begun));
    let completed = complete("vfioctl device", begun);
    let mut completed: Vec<_> = completed
        .lines()
        .map(str::trim)
        .filter(|it| !it.is_empty())
        .collect();
    completed.sort_unstable();
    assert_eq!(completed, fitting.collect::<Vec<_>>());
}
