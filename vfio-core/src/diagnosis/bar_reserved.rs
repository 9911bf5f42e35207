//! VFIO-07: the host's console has a BAR of the device.

use crate::host::{attribute, attribute_file, text};

use super::{Entry, Evidence, Examination, Patient, Remedy, Weight, of_no_error};

const IOMEM: &str = "/proc/iomem";
/// What the kernel calls the framebuffers that the firmware has left it, or their drivers, in lower case.
const FRAMEBUFFERS: [&str; 10] = [
    "bootfb",
    "efifb",
    "vesafb",
    "simplefb",
    "simple-framebuffer",
    "simpledrm",
    "efidrm",
    "vesadrm",
    "offb",
    "ofdrm",
];

pub(super) const ENTRY: Entry = Entry {
    code: "VFIO-07",
    name: "bar-reserved",
    of_error: of_no_error,
    examine,
};

fn examine(patient: &Patient<'_>, examination: &mut Examination) {
    let kernel = patient.kernel;
    let Some(bdf) = patient.device.map(|device| device.bdf) else {
        return;
    };
    let iomem = text(kernel, IOMEM).unwrap_or_default();
    let holder = framebuffer_in(&iomem, &bdf.to_string());
    let is_boot_display = attribute(kernel, bdf, "boot_vga").as_deref() == Some("1");
    let (weight, cause) = match (&holder, is_boot_display) {
        (Some(_), _) => (
            Weight::Blocks,
            format!("the host's console is in a BAR of {bdf}, which VFIO then cannot have"),
        ),
        (None, true) => (
            Weight::Limits,
            format!(
                "{bdf} is the display that the host has booted with: giving it away takes the console along"
            ),
        ),
        (None, false) => return,
    };
    let mut evidence = Vec::new();
    if let Some(name) = holder {
        evidence.push(Evidence::new(
            IOMEM,
            format!("{name} inside a BAR of {bdf}"),
        ));
    }
    if is_boot_display {
        evidence.push(Evidence::new(attribute_file(bdf, "boot_vga"), "1"));
    }
    examination.findings.push(ENTRY.found(
        weight,
        cause,
        evidence,
        vec![
            Remedy::disrupts("let the host boot with another display, by a setting of the firmware or another slot"),
            Remedy::disrupts(
                "take the console from it: `echo efi-framebuffer.0 > /sys/bus/platform/drivers/efi-framebuffer/unbind` \
                 (or simple-framebuffer); for good: video=efifb:off on the kernel's command line. \
                 initcall_blacklist=sysfb_init, often advised, does not help where simpledrm is built in",
            ),
        ],
    ));
}

/// The framebuffer below a line of this device; the lines below one are indented deeper. Without root the addresses are
/// zeros, and the names are there.
fn framebuffer_in(iomem: &str, bdf: &str) -> Option<String> {
    let mut inside = None;
    for line in iomem.lines() {
        let depth = line.len() - line.trim_start().len();
        let Some((_, name)) = line.split_once(" : ") else {
            continue;
        };
        if inside.is_some_and(|outer| depth <= outer) {
            inside = None;
        }
        if inside.is_some() && FRAMEBUFFERS.contains(&name.to_lowercase().as_str()) {
            return Some(name.to_owned());
        }
        if name == bdf {
            inside = Some(depth);
        }
    }
    None
}
