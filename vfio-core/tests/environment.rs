//! The backend that the environment names.
//!
//! The environment is this process's, so the test runs itself with another. It is alone here: while a process is started,
//! it has what a simulated kernel of another test would take for an open fd.
#![allow(clippy::unwrap_used)] // a test that cannot be set up must fail

use std::process::Command;

use vfio_core::iommu::{BACKEND_VARIABLE, Reach, Registration, Registry};

/// One that nobody attaches.
fn backend(name: &'static str, preference: u32, extension: u32) -> Registration {
    Registration {
        name,
        preference,
        reach: Reach::Container {
            extension,
            attach: |_| unreachable!("it is only named"),
        },
    }
}

#[test]
fn the_environment_names_one_for_whoever_asks_it() {
    const WHAT: &str = "the_environment_names_one_for_whoever_asks_it";
    const EXPECTED: &str = "EXPECTED_BACKENDS";
    if let Ok(expected) = std::env::var(EXPECTED) {
        let both = [backend("v1", 20, 1), backend("v2", 10, 3)];
        let chosen = Registry::of(both).unwrap().from_env();
        let said = match chosen {
            Ok(chosen) => chosen.iter().map(|r| r.name).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        };
        assert!(said.contains(&expected), "{said}");
        return;
    }
    for (value, expected) in [
        (Some("v1"), "v1"),
        (Some(""), "v2 v1"),
        (None, "v2 v1"),
        (
            Some("v3"),
            "VFIO_IOMMU_BACKEND asks for it, and there are v2, v1",
        ),
    ] {
        let mut itself = Command::new(std::env::current_exe().unwrap());
        itself.args([WHAT, "--exact"]).env(EXPECTED, expected);
        match value {
            Some(value) => itself.env(BACKEND_VARIABLE, value),
            None => itself.env_remove(BACKEND_VARIABLE),
        };
        let output = itself.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{value:?}: {text}"
        );
    }
}
