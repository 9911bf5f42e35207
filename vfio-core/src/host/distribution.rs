//! Which distribution the host is, for commands that differ.

use crate::kernel::Kernel;

use super::text::text;

/// A family of distributions that have the same commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// Debian, Ubuntu and what comes from them.
    Debian,
    /// Fedora, Red Hat and what comes from them.
    Fedora,
    /// SUSE.
    Suse,
    /// Arch.
    Arch,
    /// Another one, or it does not say.
    Other,
}

impl Distribution {
    /// That of the host, by `/etc/os-release`.
    pub fn of(kernel: &dyn Kernel) -> Self {
        let release = text(kernel, "/etc/os-release").unwrap_or_default();
        let ids = release.lines().filter_map(|line| {
            let (name, value) = line.split_once('=')?;
            matches!(name, "ID" | "ID_LIKE").then(|| value.trim_matches(['"', '\'']))
        });
        let known = |id: &str| match id {
            "debian" | "ubuntu" => Some(Self::Debian),
            "fedora" | "rhel" => Some(Self::Fedora),
            "suse" | "opensuse" => Some(Self::Suse),
            "arch" => Some(Self::Arch),
            _ => None,
        };
        let mut words = ids.flat_map(str::split_whitespace);
        words.find_map(known).unwrap_or(Self::Other)
    }

    /// How an argument comes to the kernel's command line for good.
    pub fn add_boot_argument(self, argument: &str) -> String {
        match self {
            Self::Debian => format!(
                "add {argument} to GRUB_CMDLINE_LINUX in /etc/default/grub, run update-grub, reboot"
            ),
            Self::Fedora => format!("grubby --update-kernel=ALL --args={argument}, and reboot"),
            Self::Suse => format!(
                "add {argument} to GRUB_CMDLINE_LINUX in /etc/default/grub, run grub2-mkconfig -o /boot/grub2/grub.cfg, \
                 reboot"
            ),
            Self::Arch => format!(
                "add {argument} to GRUB_CMDLINE_LINUX in /etc/default/grub, run grub-mkconfig -o /boot/grub/grub.cfg, \
                 reboot"
            ),
            Self::Other => format!(
                "add {argument} to the kernel's command line in the boot loader, and reboot"
            ),
        }
    }
}
