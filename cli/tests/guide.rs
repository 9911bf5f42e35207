//! The guide shows what the program says: each command in it is run, and answers as it is printed there.
//!
//! `TRYCMD=overwrite cargo test -p vfioctl --test guide` writes the answers anew.
#![allow(clippy::unwrap_used)] // A test that cannot go on has failed.

#[test]
fn the_guide_shows_what_the_program_says() {
    std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).unwrap();
    trycmd::TestCases::new()
        .env("VFIOCTL_PCI_IDS", "")
        .case("docs/vfioctl.md");
}
