//! The table of everything that comes from Debian.

use super::{Arch, Bundle, Dependencies, Suite};

/// QEMU for all three architectures, and every library that it or [`QEMU_10`] loads.
pub(crate) const QEMU_7: Bundle = Bundle {
    name: "qemu-7",
    suite: Suite::Bookworm,
    arch: Arch::Amd64,
    packages: &["qemu-system-x86", "qemu-system-ppc", "qemu-system-arm"],
    dependencies: Dependencies::Unpack { except: &[] },
};

/// A newer QEMU for x86_64. It runs with the libraries of [`QEMU_7`].
pub(crate) const QEMU_10: Bundle = Bundle {
    name: "qemu-10",
    suite: Suite::Backports,
    arch: Arch::Amd64,
    packages: &[
        "qemu-system-x86",
        "qemu-system-common",
        "qemu-system-data",
        "seabios",
    ],
    dependencies: Dependencies::Ignore,
};

/// What a kernel package wants for its installation, which does not happen here.
const KERNEL_INSTALLATION: &[&str] = &["initramfs-tools", "kmod", "linux-base"];

/// The cloud flavour: a third of the generic one's size, with everything that VFIO needs.
pub(crate) const KERNEL_AMD64: Bundle =
    kernel("kernel-amd64", Arch::Amd64, &["linux-image-cloud-amd64"]);

/// The flavour that has every driver, also that of AMD's IOMMU.
pub(crate) const KERNEL_AMD64_GENERIC: Bundle =
    kernel("kernel-amd64-generic", Arch::Amd64, &["linux-image-amd64"]);

/// The flavour with 64 KiB pages.
pub(crate) const KERNEL_PPC64EL: Bundle = kernel(
    "kernel-ppc64el",
    Arch::Ppc64el,
    &["linux-image-powerpc64le-64k"],
);

/// The flavour with 4 KiB pages.
pub(crate) const KERNEL_PPC64EL_4K: Bundle = kernel(
    "kernel-ppc64el-4k",
    Arch::Ppc64el,
    &["linux-image-powerpc64le"],
);

/// The cloud flavour: a third of the generic one's size, with SMMUv3 and VFIO.
pub(crate) const KERNEL_ARM64: Bundle =
    kernel("kernel-arm64", Arch::Arm64, &["linux-image-cloud-arm64"]);

const fn kernel(name: &'static str, arch: Arch, packages: &'static [&'static str]) -> Bundle {
    Bundle {
        name,
        suite: Suite::Backports,
        arch,
        packages,
        dependencies: Dependencies::Unpack {
            except: KERNEL_INSTALLATION,
        },
    }
}

/// The user space of a machine.
pub(crate) const BUSYBOX_AMD64: Bundle = busybox("busybox-amd64", Arch::Amd64);
/// The user space of a machine.
pub(crate) const BUSYBOX_PPC64EL: Bundle = busybox("busybox-ppc64el", Arch::Ppc64el);
/// The user space of a machine.
pub(crate) const BUSYBOX_ARM64: Bundle = busybox("busybox-arm64", Arch::Arm64);

const fn busybox(name: &'static str, arch: Arch) -> Bundle {
    Bundle {
        name,
        suite: Suite::Bookworm,
        arch,
        packages: &["busybox-static"],
        dependencies: Dependencies::Ignore,
    }
}

/// A Rust compiler of one version for all architectures, with the standard library for the host.
/// It runs with the host's own C library, as the build scripts that it makes do.
pub(crate) const RUSTC: Bundle = Bundle {
    name: "rustc",
    suite: Suite::Bookworm,
    arch: Arch::Amd64,
    packages: &["rustc-web"],
    dependencies: Dependencies::Unpack {
        except: &["binutils", "gcc", "libc-dev", "libc6", "libgcc-s1"],
    },
};

/// The standard library that belongs to [`RUSTC`].
pub(crate) const RUST_STD_PPC64EL: Bundle = rust_std("rust-std-ppc64el", Arch::Ppc64el);
/// The standard library that belongs to [`RUSTC`].
pub(crate) const RUST_STD_ARM64: Bundle = rust_std("rust-std-arm64", Arch::Arm64);

const fn rust_std(name: &'static str, arch: Arch) -> Bundle {
    Bundle {
        name,
        suite: Suite::Bookworm,
        arch,
        packages: &["libstd-rust-web-dev"],
        dependencies: Dependencies::Ignore,
    }
}

/// A linker with its C library, run with the host's own C library.
pub(crate) const GCC_PPC64EL: Bundle = gcc(
    "gcc-ppc64el",
    &["gcc-powerpc64le-linux-gnu", "libc6-dev-ppc64el-cross"],
    &[
        "libasan8-ppc64el-cross",
        "libc6",
        "libgcc-s1",
        "liblsan0-ppc64el-cross",
        "libtsan2-ppc64el-cross",
        "libubsan1-ppc64el-cross",
    ],
);

/// A linker with its C library, run with the host's own C library.
pub(crate) const GCC_ARM64: Bundle = gcc(
    "gcc-arm64",
    &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
    &[
        "libasan8-arm64-cross",
        "libc6",
        "libgcc-s1",
        "libhwasan0-arm64-cross",
        "liblsan0-arm64-cross",
        "libtsan2-arm64-cross",
        "libubsan1-arm64-cross",
    ],
);

const fn gcc(
    name: &'static str,
    packages: &'static [&'static str],
    except: &'static [&'static str],
) -> Bundle {
    Bundle {
        name,
        suite: Suite::Bookworm,
        arch: Arch::Amd64,
        packages,
        dependencies: Dependencies::Unpack { except },
    }
}

/// What loads drivers on a Debian: udev, and modprobe, with their libraries.
pub(crate) const UDEV_AMD64: Bundle = Bundle {
    name: "udev-amd64",
    suite: Suite::Bookworm,
    arch: Arch::Amd64,
    packages: &["udev", "kmod"],
    dependencies: Dependencies::Unpack {
        except: &[
            "adduser",
            "debconf",
            "dpkg",
            "perl-base",
            "passwd",
            "sysvinit-utils",
        ],
    },
};

/// Makes a bare Debian. It needs the host's wget and gpgv.
pub(crate) const DEBOOTSTRAP: Bundle = Bundle {
    name: "debootstrap",
    suite: Suite::Bookworm,
    arch: Arch::Amd64,
    packages: &["debootstrap"],
    dependencies: Dependencies::Ignore,
};

/// `lspci`, with its list of names. It runs with the host's own C library.
pub(crate) const PCIUTILS: Bundle = Bundle {
    name: "pciutils",
    suite: Suite::Bookworm,
    arch: Arch::Amd64,
    packages: &["pciutils"],
    dependencies: Dependencies::Unpack { except: &["libc6"] },
};

/// Counts instructions. It runs with the host's own C library, as what it runs does.
pub(crate) const VALGRIND: Bundle = Bundle {
    name: "valgrind",
    suite: Suite::Bookworm,
    arch: Arch::Amd64,
    packages: &["valgrind"],
    dependencies: Dependencies::Ignore,
};

/// What reads the output of `vfioctl`: `promtool`, `mandoc`, and graphviz's `nop` with its libraries (`dot` would load
/// many more). They run with the host's own C library.
pub(crate) const READERS: Bundle = Bundle {
    name: "readers",
    suite: Suite::Bookworm,
    arch: Arch::Amd64,
    packages: &[
        "prometheus",
        "mandoc",
        "zlib1g",
        "graphviz",
        "libcgraph6",
        "libcdt5",
    ],
    dependencies: Dependencies::Ignore,
};
