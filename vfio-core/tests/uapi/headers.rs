//! Against the kernel's own header, as a C compiler reads it.
//!
//! `UAPI_CC` names the compilers, as `ARCH=COMMAND`, a line each (ARCH as Rust's `target_arch` names it);
//! without it, the host's `cc` is asked about the host. A struct or number that an older header
//! does not have is not compared by it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::kvm;
use crate::layout::ours;
use crate::opcodes::{OPCODES, first};

/// A C program that does not compile if header and table differ.
fn program(arch: &str) -> String {
    let mut c =
        String::from("#include <stddef.h>\n#include <linux/vfio.h>\n#include <linux/kvm.h>\n");
    for (name, _, number) in OPCODES {
        let known = first(arch) + u32::from(*number);
        writeln!(c, "_Static_assert({name} == {known:#x}, \"{name}\");").unwrap();
    }
    for layout in ours() {
        let (name, size) = (layout.name, layout.size);
        // A header may have grown fields at the end, never moved one.
        writeln!(
            c,
            "_Static_assert(sizeof(struct {name}) <= {size}, \"{name}\");"
        )
        .unwrap();
        for (field, at) in layout.fields {
            writeln!(
                c,
                "_Static_assert(offsetof(struct {name}, {field}) == {at}, \"{name}.{field}\");"
            )
            .unwrap();
        }
    }
    c + &kvm::assertions(arch)
}

fn compiles(command: &str, program: &str) -> Result<(), String> {
    let mut child = Command::new(command)
        .args(["-std=gnu11", "-fsyntax-only", "-x", "c", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{command}: {error}"))?;
    child
        .stdin
        .take()
        .unwrap()
        .write_all(program.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

#[test]
fn numbers_and_structs_are_those_of_the_header() {
    let asked = std::env::var("UAPI_CC").unwrap_or(format!("{}=cc", std::env::consts::ARCH));
    for one in asked.lines() {
        let (arch, command) = one.split_once('=').expect("ARCH=COMMAND");
        if std::env::var_os("UAPI_CC").is_none()
            && compiles(command, "#include <linux/vfio.h>\n").is_err()
        {
            eprintln!("not compared: {command} with the kernel's headers is not to be had here");
            continue;
        }
        compiles(command, &program(arch)).unwrap();
        let moved = program(arch).replace("== 0x", "== 1 + 0x");
        compiles(command, &moved).expect_err("the comparison sees a wrong number");
    }
}
