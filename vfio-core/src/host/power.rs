//! Whether a device answers at all, and how it can be reset.

use crate::kernel::Kernel;

use super::Bdf;
use super::text::text;

/// A file of a device's that has one line; `None` if it is not there.
pub fn attribute(kernel: &dyn Kernel, bdf: Bdf, name: &str) -> Option<String> {
    text(kernel, attribute_file(bdf, name)).ok()
}

/// Where such a file is.
pub(crate) fn attribute_file(bdf: Bdf, name: &str) -> String {
    format!("/sys/bus/pci/devices/{bdf}/{name}")
}

/// The ways in which the kernel can reset a device alone, in the order in which it tries them: `flr`, `pm`, `bus`. None: it
/// cannot, or it is one before 5.15, which does not say.
pub fn reset_methods(kernel: &dyn Kernel, bdf: Bdf) -> Vec<String> {
    let methods = attribute(kernel, bdf, "reset_method").unwrap_or_default();
    methods.split_whitespace().map(str::to_owned).collect()
}

/// Whether a device is on and answers nothing but ones, as one that has fallen off its bus does. `None`: it is asleep, and
/// reading would wake it up; or that cannot be read.
pub fn is_dead(kernel: &dyn Kernel, bdf: Bdf) -> Option<bool> {
    let is_on = matches!(
        attribute(kernel, bdf, "power/runtime_status").as_deref(),
        Some("active" | "unsupported" | "error")
    );
    if !is_on {
        return None;
    }
    let config = kernel.read(attribute_file(bdf, "config").as_ref()).ok()?;
    let ids = config.get(..4)?;
    Some(ids.iter().all(|byte| *byte == 0xff))
}
