//! What this machine can do: the lab needs Linux on x86_64 with Debian's packages.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// Fails, in two lines, where the lab cannot work.
pub(crate) fn require_lab() -> Result<()> {
    let missing = if cfg!(not(target_os = "linux")) {
        format!("this machine runs {}", std::env::consts::OS)
    } else if cfg!(not(target_arch = "x86_64")) {
        format!("this machine is {}", std::env::consts::ARCH)
    } else if let Some(tool) = ["apt-get", "dpkg-deb"].into_iter().find(|it| !runs(it)) {
        format!("this machine has no {tool}")
    } else {
        return Ok(());
    };
    bail!(
        "the lab needs Linux on x86_64 with apt (Debian 12 or newer), but {missing}.\n\
         Possible here: `cargo xtask test --quick`, and on Linux `cargo xtask demo --sim`, and `hardware-tests` on \
         real devices."
    )
}

fn runs(tool: &str) -> bool {
    Command::new(tool)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
