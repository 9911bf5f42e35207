//! What is printed beside the cases.
#![allow(clippy::print_stdout)] // A program's output; no other module prints.

use vfio_core::address::Size;
use vfio_core::iommu::Capabilities;
use vfio_sim::wrap::Again;

use crate::suites::Rig;

/// Says that what follows is not about the host that runs this program.
pub fn simulated(machine: &str) {
    println!("simulated: machine {machine}; this says nothing about the host that you are on");
}

/// Says what the simulation answered otherwise than a trace has it.
pub fn compared(again: &Again) {
    for difference in &again.differences {
        println!("{difference}");
    }
    for asked in &again.not_made {
        println!("{asked}\n  could not be made");
    }
    println!(
        "{} calls were made, {} could not be; {} answers differ",
        again.made,
        again.not_made.len(),
        again.differences.len()
    );
}

/// Says what is tested, and on what.
///
/// # Errors
/// The kernel does not say what its IOMMU can do.
pub fn header(rig: &Rig) -> vfio_core::Result<()> {
    let (arch, release) = rig.vfio().kernel().identity();
    let device = rig.sysfs();
    let domain = rig.device().domain();
    println!("kernel: {arch} {release}");
    println!(
        "device: {} ({:04x}:{:04x}, class {:06x})",
        device.bdf, device.vendor, device.device, device.class
    );
    println!("backend: {}", domain.name());
    print_capabilities(&domain.capabilities()?);
    match rig.model() {
        Some(model) => println!("suite: full DMA ({} driver)", model.name),
        None => println!(
            "suite: attach only (no driver for {:04x}:{:04x})",
            device.vendor, device.device
        ),
    }
    Ok(())
}

fn print_capabilities(capabilities: &Capabilities) {
    println!("page sizes: {}", capabilities.page_sizes);
    for aperture in &capabilities.apertures {
        let (range, page_size) = (aperture.range, Size(aperture.page_size));
        println!("aperture: {range} in steps of {page_size}");
    }
    if let Some(windows) = capabilities.windows {
        println!(
            "windows: at most {}, with pages of {}, and tables of up to {} levels",
            windows.count, windows.page_sizes, windows.levels
        );
    }
    if let Some(left) = capabilities.mappings_left {
        println!("mappings: {left} can still be made");
    }
}
