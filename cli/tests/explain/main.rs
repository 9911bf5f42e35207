//! `vfioctl explain`: messages as people paste them, whole logs, and everything that is neither.

#![allow(clippy::unwrap_used)] // what is not as expected ends a test

mod messages;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::{Command, Output, Stdio};
use std::thread;

use messages::MESSAGES;
use regex::{Captures, Regex};
use serde_json::Value;

/// What does not mean any of the diagnoses, though it looks like one.
const UNRELATED: &str = include_str!("unrelated.txt");

/// What different logs put before a line.
const PREFIXES: [&str; 6] = [
    "[   12.345678] ",
    "Mar 04 12:01:02 host kernel: ",
    "2026-03-04T11:02:03.123456+0000 host qemu-system-x86_64[4711]: ",
    "2026-03-04 11:02:03.456+0000: 4711: error : qemuProcessReportLogError:1920 : internal error: ",
    "2026-03-04T11:02:03.789Z qemu-system-x86_64: -device vfio-pci,host=0000:01:00.0,id=hostdev0: ",
    "ovs|00020|dpdk|ERR|",
];

fn explain(args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_vfioctl"))
        .arg("explain")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || match stdin.write_all(input) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => unreachable!("{error}"),
            _ => drop(stdin),
        });
        child.wait_with_output().unwrap()
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What is found in a log, and the exit status agrees with it.
fn found(log: &[u8]) -> Vec<Value> {
    let output = explain(&["--json"], log);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["schema_version"], 1);
    let found = json["found"].as_array().unwrap().clone();
    assert_eq!(output.status.code(), Some(i32::from(found.is_empty())));
    found
}

fn codes(found: &[Value]) -> Vec<&str> {
    found
        .iter()
        .map(|found| found["code"].as_str().unwrap())
        .collect()
}

/// The message with other addresses, devices, groups and sizes: those of another host.
fn with_other_numbers(message: &str) -> String {
    let host = r"(?-u)0x[0-9a-f]+|\b[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.|(group |/dev/vfio/|fd=)\d+|\(\d{3,}\)";
    let other = Regex::new(host)
        .unwrap()
        .replace_all(message, |found: &Captures| {
            let digits = found[0].chars();
            let other = digits.map(|char| match char {
                '1'..='8' => char::from(char as u8 + 1),
                _ => char,
            });
            other.collect::<String>()
        });
    other.into_owned()
}

#[test]
fn each_message_is_its_diagnosis_alone() {
    for (code, message) in MESSAGES {
        let output = explain(&["--json", message], b"");
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            codes(json["found"].as_array().unwrap()),
            [*code],
            "{message}"
        );
        assert_eq!(json["found"][0]["lines"], 1, "{message}");
        assert_eq!(output.status.code(), Some(0), "{message}");
    }
}

#[test]
fn every_diagnosis_has_a_message_here() {
    for number in 1..=20 {
        let code = format!("VFIO-{number:02}");
        assert!(MESSAGES.iter().any(|(of, _)| *of == code), "{code}");
    }
}

#[test]
fn a_message_is_found_in_a_log_behind_whatever_prefix_and_with_other_numbers() {
    let mut log = String::new();
    let mut expected = BTreeMap::new();
    for (code, message) in MESSAGES {
        let other = with_other_numbers(message);
        for (prefix, noise) in PREFIXES.iter().zip(UNRELATED.lines()) {
            log += &format!("{noise}\n{prefix}{message}\r\n{noise}\n{prefix}{other}\n");
            *expected.entry(code.to_string()).or_insert(0) += 2;
        }
    }
    let found: BTreeMap<_, _> = found(log.as_bytes())
        .iter()
        .map(|found| {
            let code = found["code"].as_str().unwrap();
            (code.to_owned(), found["lines"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn the_numbers_of_a_host_are_changed_and_no_others() {
    assert_eq!(
        with_other_numbers("vfio 0000:08:00.0: group 13 at 0x12 = -22, error 12 (1:1) (4194304)"),
        "vfio 0000:09:00.0: group 24 at 0x23 = -22, error 12 (1:1) (5295405)"
    );
}

#[test]
fn a_log_with_everything_in_it_tells_each_once_in_order_of_appearance() {
    let log: String = UNRELATED
        .lines()
        .zip(MESSAGES.iter().rev().cycle())
        .flat_map(|(noise, (_, message))| [noise, "\n", message, "\n"])
        .collect();
    let mut expected: Vec<_> = (1..=20).map(|number| format!("VFIO-{number:02}")).collect();
    expected.reverse();
    assert_eq!(codes(&found(log.as_bytes())), expected);
}

#[test]
fn unrelated_lines_are_not_known() {
    assert!(UNRELATED.lines().count() >= 60);
    assert_eq!(found(UNRELATED.as_bytes()), [Value::Null; 0]);
    let output = explain(&[], UNRELATED.as_bytes());
    let stdout = text(&output.stdout);
    assert!(stdout.starts_with("not known: "), "{stdout}");
    assert!(stdout.contains("vfioctl doctor"), "{stdout}");
}

#[test]
fn people_get_the_line_the_page_and_the_command_for_the_device() {
    let log = b"\x1b]0;title\x07vfio 0000:0a:00.1: group 3 is not viable\n";
    let stdout = text(&explain(&["-"], log).stdout);
    for part in [
        "VFIO-02 group-not-viable, said by QEMU:",
        r"\u{1b}]0;title\u{7}vfio 0000:0a:00.1: group 3 is not viable",
        "on the host itself: vfioctl doctor 0000:0a:00.1",
        include_str!("../../../docs/diagnoses/VFIO-02.md").trim_end(),
    ] {
        assert!(stdout.contains(part), "{part:?} in {stdout}");
    }
    assert!(!stdout.contains('\x1b'));
}

#[test]
fn a_code_alone_is_its_page() {
    let page = include_str!("../../../docs/diagnoses/VFIO-17.md");
    assert_eq!(text(&explain(&["vfio-17"], b"").stdout), page);
    let output = explain(&["--json", "VFIO-17"], b"");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["found"][0]["page"], page);
    assert_eq!(json["found"][0]["first"], Value::Null);
    assert_eq!(explain(&["17"], b"").status.code(), Some(1));
}

#[test]
fn words_of_a_message_need_no_quotes() {
    let output = explain(&["group", "1", "is", "not", "viable"], b"");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
}

#[test]
fn junk_and_a_line_of_ten_megabytes_do_no_harm() {
    let mut junk: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    junk.resize(11 << 20, b'x');
    junk.extend(b"\nvfio 0000:01:00.0: VF token required to access device");
    assert_eq!(codes(&found(&junk)), ["VFIO-18"]);
    assert_eq!(found(b""), [Value::Null; 0]);
}

#[test]
fn input_that_cannot_be_read_is_an_error() {
    let output = Command::new(env!("CARGO_BIN_EXE_vfioctl"))
        .arg("explain")
        .stdin(std::fs::File::open("/").unwrap())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4));
    let stderr = text(&output.stderr);
    assert!(
        stderr.starts_with("vfioctl: read standard input: "),
        "{stderr}"
    );
    assert_eq!(explain(&["--yaml"], b"").status.code(), Some(2));
}
