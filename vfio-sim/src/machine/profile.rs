//! What differs from one version of Linux to the next.

use std::ops::Range;

/// The version of a kernel, as far as its answers depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Profile {
    version: (u32, u32, u32),
}

impl Profile {
    /// Of a release as `uname` names it: `6.12.95+deb12-cloud-amd64`. What cannot be read counts as 0.
    pub(crate) fn of(release: &str) -> Self {
        let mut numbers = release
            .split(|c: char| !c.is_ascii_digit())
            .map(|number| number.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        Self {
            version: (next(), next(), next()),
        }
    }

    fn is_at_least(self, version: (u32, u32, u32)) -> bool {
        self.version >= version
    }

    /// A10: `EBADFD` for what is no container, not `EINVAL`.
    pub(crate) fn names_bad_containers(self) -> bool {
        self.is_at_least((6, 2, 0))
    }

    /// B25: pages that were never written are the process's own once they are pinned, and not the one page of zeros that
    /// all share and that nobody is accounted for.
    pub(crate) fn pins_own_zeros(self) -> bool {
        self.is_at_least((6, 2, 0))
    }

    /// B21: what is mapped to be written alone cannot be read where the IOMMU can do that: Intel's.
    pub(crate) fn keeps_write_only(self) -> bool {
        self.is_at_least((6, 16, 0))
    }

    /// F80: MSI-X vectors can be added on that architecture.
    pub(crate) fn grows_msix(self, arch: &str) -> bool {
        match arch {
            "aarch64" => self.is_at_least((7, 3, 0)),
            _ => self.adds_vectors(),
        }
    }

    /// F85: what an MSI or MSI-X call asks for beyond the vectors that were allocated is looked at vector by vector.
    pub(crate) fn adds_vectors(self) -> bool {
        self.is_at_least((6, 5, 0))
    }

    /// B33, F74: how many bytes of GET_INFO's answer are written where there is room for so many. Before 6.6 that is
    /// `cap_offset` whole or not at all, and never what is behind it.
    pub(crate) fn info_written(self, room: usize) -> usize {
        const CAP_OFFSET: Range<usize> = 16..20; // of a container as of a device
        if self.is_at_least((6, 6, 0)) {
            room
        } else if room < CAP_OFFSET.end {
            CAP_OFFSET.start
        } else {
            CAP_OFFSET.end
        }
    }

    /// B33: so many bytes, or a multiple of them, are between the capabilities of an info struct.
    pub(crate) fn cap_alignment(self) -> usize {
        match self.is_at_least((6, 6, 0)) {
            true => 8,
            false => 1,
        }
    }

    /// F88: a hot reset without fds is refused before anything else.
    pub(crate) fn counts_fds_first(self) -> bool {
        self.is_at_least((6, 6, 0))
    }

    /// F78: the largest access that a device sees when a region is read or written, in bytes.
    pub(crate) fn widest_access(self) -> usize {
        match self.is_at_least((6, 11, 0)) {
            true => 8,
            false => 4,
        }
    }

    /// F90: an eventfd can cause a write of 8 bytes. For a while, none could.
    pub(crate) fn writes_wide_on_events(self) -> bool {
        !self.is_at_least((6, 14, 0)) || self.is_at_least((7, 3, 0))
    }

    /// F89: the second kind of information about copies in advance.
    pub(crate) fn knows_precopy_info(self) -> bool {
        self.is_at_least((7, 1, 0))
    }

    /// F80: also what is not PCI Express has an interrupt for errors.
    pub(crate) fn all_report_errors(self) -> bool {
        self.is_at_least((7, 3, 0))
    }

    /// B18
    pub(crate) fn advertises_nesting(self) -> bool {
        !self.is_at_least((6, 13, 0))
    }

    /// B21, B30: a range that wraps is `EOVERFLOW`, not `EINVAL`.
    pub(crate) fn says_overflow(self) -> bool {
        self.is_at_least((6, 18, 0))
    }

    /// H8 is mended: a mapping that ends with the last address of all can be found again.
    pub(crate) fn finds_last_address(self) -> bool {
        self.is_at_least((6, 18, 0))
    }

    /// F92: KVM's VFIO device takes devices, not only groups.
    pub(crate) fn adds_devices_to_kvm(self) -> bool {
        self.is_at_least((6, 6, 0))
    }

    /// D59: under a hypervisor, KVM says that it puts what a guest maps into the windows of devices. That came with 6.15
    /// and into the versions before it.
    pub(crate) fn fills_tables_of_guests(self) -> bool {
        let (major, minor, patch) = self.version;
        match (major, minor) {
            (6, 12) => patch >= 24,
            (6, 13) => patch >= 12,
            (6, 14) => patch >= 3,
            _ => self.is_at_least((6, 15, 0)),
        }
    }

    /// D57b: a group that leaves clears the windows that it has shared. What is older than the first that was seen to do
    /// it is taken for not doing it.
    pub(crate) fn clears_windows_that_are_left(self) -> bool {
        self.is_at_least((6, 12, 0))
    }

    /// H1 is mended: an unmap that reaches past its window is refused. It was mended in 6.12.117 and in 7.3; what
    /// is between is taken for not mended.
    pub(crate) fn checks_unmap_range(self) -> bool {
        let (major, minor, patch) = self.version;
        self.is_at_least((7, 3, 0)) || (major, minor) == (6, 12) && patch >= 117
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_says_what_it_does() {
        let lab = Profile::of("6.12.95+deb12-cloud-amd64");
        assert_eq!(lab.version, (6, 12, 95));
        assert!(lab.advertises_nesting() && !lab.says_overflow() && !lab.checks_unmap_range());
        let old = Profile::of("6.1.0-50-cloud-amd64");
        assert!(lab.clears_windows_that_are_left() && !old.clears_windows_that_are_left());
        assert_eq!(old.version, (6, 1, 0));
        assert_eq!((old.widest_access(), lab.widest_access()), (4, 8));
        assert!(Profile::of("6.12.117").checks_unmap_range());
        let mended = Profile::of("6.18-rc1");
        assert!(mended.says_overflow() && mended.finds_last_address() && !lab.finds_last_address());
        assert!(
            !Profile::of("6.17.9").says_overflow() && !Profile::of("6.18.1").checks_unmap_range()
        );
        let new = Profile::of("7.3.0");
        assert!(new.checks_unmap_range() && new.says_overflow() && !new.advertises_nesting());
        assert_eq!(Profile::of("").version, (0, 0, 0));
    }
}
