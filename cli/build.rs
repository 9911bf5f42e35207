//! Puts the names of devices into a form that takes little room in the program: the text of a `pci.ids`, compressed.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::{env, error};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use pci_ids::{Classes, Vendors};

fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let directory = env::var_os("OUT_DIR").ok_or("cargo names no directory")?;
    let file = Path::new(&directory).join("pci.ids.deflate");
    compress(&text()?, &file)?;
    Ok(())
}

/// Vendors with their devices and those devices' subsystems, and the classes.
fn text() -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for vendor in Vendors::iter() {
        writeln!(text, "{:04x}  {}", vendor.id(), vendor.name())?;
        for device in vendor.devices() {
            writeln!(text, "\t{:04x}  {}", device.id(), device.name())?;
            for card in device.subsystems() {
                let (vendor, id) = (card.subvendor(), card.subdevice());
                writeln!(text, "\t\t{vendor:04x} {id:04x}  {}", card.name())?;
            }
        }
    }
    for class in Classes::iter() {
        writeln!(text, "C {:02x}  {}", class.id(), class.name())?;
        for sub in class.subclasses() {
            writeln!(text, "\t{:02x}  {}", sub.id(), sub.name())?;
        }
    }
    Ok(text)
}

fn compress(text: &str, file: &Path) -> io::Result<()> {
    let mut encoder = DeflateEncoder::new(File::create(file)?, Compression::best());
    encoder.write_all(text.as_bytes())?;
    encoder.finish()?.sync_all()
}
