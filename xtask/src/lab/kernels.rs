//! The table of kernels. To add one, add it here.
//!
//! They are told apart by the suite of Debian that they come from: which version a suite has changes with time.

use crate::packages::Suite;

/// A kernel that machines can run, under the name that the machine's own has in its suite.
pub(crate) struct Choice {
    pub(crate) suite: Suite,
    /// What is special about it, for `--list`.
    pub(crate) what: &'static str,
}

/// All kernels.
pub(crate) static KERNELS: &[Choice] = &[
    Choice {
        suite: Suite::Bookworm,
        what: "6.1; on POWER it binds no device to vfio-pci",
    },
    Choice {
        suite: Suite::Backports,
        what: "6.12 with hazard H1 open; what runs unless another is asked for",
    },
    Choice {
        suite: Suite::Trixie,
        what: "6.12 with hazard H1 mended",
    },
    Choice {
        suite: Suite::TrixieBackports,
        what: "the newest of all",
    },
    Choice {
        suite: Suite::Forky,
        what: "the newest that the mirror has for POWER, where it has not the one before",
    },
];

/// The suite of this name, if there is a kernel of it.
pub(crate) fn find(name: &str) -> Option<Suite> {
    let mut suites = KERNELS.iter().map(|kernel| kernel.suite);
    suites.find(|suite| suite.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::machine::MACHINES;

    #[test]
    fn a_kernel_is_found_by_its_suite() {
        for kernel in KERNELS {
            assert_eq!(find(kernel.suite.name()), Some(kernel.suite));
        }
        assert_eq!(find("sid"), None);
    }

    #[test]
    fn another_suite_is_all_that_another_kernel_changes() {
        for machine in MACHINES {
            let own = machine.kernel(None);
            assert_eq!(own.suite, Suite::Backports);
            let other = machine.kernel(Some(Suite::Trixie));
            assert_eq!(other.suite, Suite::Trixie);
            assert_eq!(
                (other.name, other.arch, other.packages),
                (own.name, own.arch, own.packages)
            );
        }
    }
}
