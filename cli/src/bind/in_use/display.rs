//! The display that this host shows itself on.

use std::path::Path;

use vfio_core::host::Bdf;
use vfio_core::kernel::Kernel;

use super::{Use, Uses, directory, names, of_device, word};

const CONSOLES: &str = "/sys/class/vtconsole";

pub(super) fn look(kernel: &dyn Kernel, bdf: Bdf, uses: &mut Uses) {
    if word(kernel, &directory(bdf).join("boot_vga")).as_deref() == Some("1") {
        uses.found.push(Use::Display);
        return;
    }
    let graphics = of_device(kernel, "graphics", bdf);
    let framebuffer = graphics.into_iter().find(|name| name.starts_with("fb"));
    if let Some(framebuffer) = framebuffer.filter(|_| console_is_drawn(kernel)) {
        uses.found.push(Use::Console { framebuffer });
    }
}

/// Whether the console is on a framebuffer.
fn console_is_drawn(kernel: &dyn Kernel) -> bool {
    let read = |console: &str, file| word(kernel, &Path::new(CONSOLES).join(console).join(file));
    names(kernel, CONSOLES.as_ref()).iter().any(|console| {
        read(console, "bind").as_deref() == Some("1")
            && read(console, "name").is_some_and(|name| name.contains("frame buffer"))
    })
}
