//! The table of machines. To add one, add it here.

use std::time::Duration;

use crate::packages::{Arch, Bundle, Suite, bundles};

/// A machine that QEMU emulates, with the kernel that runs in it.
pub(crate) struct Machine {
    pub(crate) name: &'static str,
    /// What a test that passes on it shows, for `--list`.
    pub(crate) proves: &'static str,
    pub(crate) arch: Arch,
    pub(super) qemu: &'static Bundle,
    /// What it runs unless another suite's is asked for.
    kernel: &'static Bundle,
    pub(super) busybox: &'static Bundle,
    /// QEMU's program.
    pub(super) emulator: &'static str,
    /// Its arguments: board, processor.
    pub(super) arguments: &'static [&'static str],
    /// More of them: an IOMMU that is not the board's own.
    pub(super) iommu: &'static [&'static str],
    pub(super) slots: Slots,
    /// In QEMU's notation.
    pub(super) memory: &'static str,
    /// The serial console's name in the kernel.
    pub(super) console: &'static str,
    /// More of the kernel's command line.
    pub(super) append: &'static str,
    /// Modules to load; those that they depend on are found.
    pub(super) modules: &'static [&'static str],
    /// A machine that takes longer to reach user space hangs.
    pub(super) boot_limit: Duration,
}

/// Where a machine has room for devices.
#[derive(Clone, Copy)]
pub(super) enum Slots {
    /// On its root bus, which is PCI domain 0.
    RootBus { name: &'static str },
    /// In ports `pcie.0`, `pcie.1`, … with one slot each. Each port has a PCI domain of its own.
    Ports { count: u32 },
}

/// The board that all machines with that processor have.
const X86_64: Machine = Machine {
    name: "x86_64",
    proves: "type1 v1 and v2 over VT-d with interrupt remapping; 4 KiB pages",
    arch: Arch::Amd64,
    qemu: &bundles::QEMU_10,
    kernel: &bundles::KERNEL_AMD64,
    busybox: &bundles::BUSYBOX_AMD64,
    emulator: "qemu-system-x86_64",
    arguments: &["-nodefaults", "-machine", "q35", "-cpu", "max"],
    iommu: &["-device", "intel-iommu,intremap=on,caching-mode=on"],
    slots: Slots::RootBus { name: "pcie.0" },
    memory: "512M",
    console: "ttyS0",
    // The check of the timer takes a processor that has to wait for its host for one that is broken.
    append: "intel_iommu=on no_timer_check",
    modules: &["vfio_iommu_type1", "vfio_pci"],
    boot_limit: Duration::from_secs(60),
};

/// The board that all guests of a hypervisor on POWER have.
const PSERIES: Machine = Machine {
    name: "pseries",
    proves: "sPAPR v1 and v2 under a hypervisor: one group per host bridge; 64 KiB pages",
    arch: Arch::Ppc64el,
    qemu: &bundles::QEMU_7,
    kernel: &bundles::KERNEL_PPC64EL,
    busybox: &bundles::BUSYBOX_PPC64EL,
    emulator: "qemu-system-ppc64",
    arguments: &[
        "-nodefaults",
        "-machine",
        "pseries,x-vof=on,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken",
        "-cpu",
        "power9",
        "-vga",
        "none",
    ],
    iommu: &[],
    slots: Slots::RootBus { name: "pci.0" },
    memory: "2G",
    console: "hvc0",
    append: "",
    modules: &["vfio_iommu_spapr_tce", "vfio_pci"],
    boot_limit: Duration::from_secs(60),
};

const POWERNV9: Machine = Machine {
    name: "powernv9",
    proves: "sPAPR v1 and v2 on bare metal: EEH, multi-level tables, one group per device",
    arch: Arch::Ppc64el,
    qemu: &bundles::QEMU_7,
    kernel: &bundles::KERNEL_PPC64EL,
    busybox: &bundles::BUSYBOX_PPC64EL,
    emulator: "qemu-system-ppc64",
    // Never -nodefaults: it removes the ports.
    arguments: &["-machine", "powernv9", "-vga", "none"],
    iommu: &[],
    slots: Slots::Ports { count: 6 },
    memory: "2G",
    console: "hvc0",
    append: "",
    modules: &["vfio_iommu_spapr_tce", "vfio_pci"],
    // Its firmware alone waits six seconds for the links of the ports.
    boot_limit: Duration::from_secs(90),
};

const AARCH64: Machine = Machine {
    name: "aarch64",
    proves: "type1 v1 and v2 over an SMMUv3; IOVA ranges with a hole for MSIs",
    arch: Arch::Arm64,
    qemu: &bundles::QEMU_7,
    kernel: &bundles::KERNEL_ARM64,
    busybox: &bundles::BUSYBOX_ARM64,
    emulator: "qemu-system-aarch64",
    arguments: &[
        "-nodefaults",
        "-machine",
        "virt,iommu=smmuv3,gic-version=3",
        "-cpu",
        "cortex-a57",
    ],
    iommu: &[],
    slots: Slots::RootBus { name: "pcie.0" },
    memory: "1G",
    console: "ttyAMA0",
    append: "",
    modules: &["vfio_iommu_type1", "vfio_pci"],
    boot_limit: Duration::from_secs(60),
};

/// All machines.
pub(crate) static MACHINES: &[Machine] = &[
    X86_64,
    Machine {
        name: "x86_64-kvm",
        proves: "KVM beside VFIO on x86: groups of a VM",
        modules: &["vfio_iommu_type1", "vfio_pci", "kvm_amd"],
        ..X86_64
    },
    Machine {
        name: "x86_64-39bit",
        proves: "type1 over VT-d with 39 address bits, as many laptops have it",
        iommu: &[
            "-device",
            "intel-iommu,intremap=on,caching-mode=on,aw-bits=39",
        ],
        ..X86_64
    },
    Machine {
        name: "x86_64-virtio",
        proves: "type1 over virtio-iommu, which remaps no interrupts: VFIO is told that this is wanted",
        iommu: &["-device", "virtio-iommu-pci,addr=3"],
        append: "no_timer_check vfio_iommu_type1.allow_unsafe_interrupts=1",
        modules: &["virtio_iommu", "vfio_iommu_type1", "vfio_pci"],
        ..X86_64
    },
    Machine {
        name: "x86_64-amd",
        proves: "type1 over AMD-Vi: IOVA up to 2^64, with a hole for HyperTransport",
        // Version 10 hangs.
        qemu: &bundles::QEMU_7,
        // The cloud flavour has no driver for it.
        kernel: &bundles::KERNEL_AMD64_GENERIC,
        iommu: &["-device", "amd-iommu,intremap=on"],
        append: "no_timer_check",
        ..X86_64
    },
    PSERIES,
    Machine {
        name: "pseries-4k",
        proves: "sPAPR v1 and v2 under a hypervisor, with 4 KiB pages",
        kernel: &bundles::KERNEL_PPC64EL_4K,
        ..PSERIES
    },
    Machine {
        name: "pseries-kvm",
        proves: "KVM beside VFIO in a guest of POWER: groups of a VM, and TCE tables in the kernel",
        arguments: &[
            "-nodefaults",
            "-machine",
            "pseries,x-vof=on,cap-nested-hv=on,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken",
            "-cpu",
            "power9",
            "-vga",
            "none",
        ],
        modules: &["vfio_iommu_spapr_tce", "vfio_pci", "kvm_hv"],
        ..PSERIES
    },
    POWERNV9,
    Machine {
        name: "powernv9-kvm",
        proves: "KVM beside VFIO on bare metal of POWER: groups of a VM, and TCE tables in the kernel",
        modules: &["vfio_iommu_spapr_tce", "vfio_pci", "kvm_hv"],
        ..POWERNV9
    },
    AARCH64,
    Machine {
        name: "aarch64-kvm",
        proves: "KVM beside VFIO on arm64: groups of a VM",
        arguments: &[
            "-nodefaults",
            "-machine",
            "virt,virtualization=on,iommu=smmuv3,gic-version=3",
            "-cpu",
            "cortex-a57",
        ],
        ..AARCH64
    },
];

impl Machine {
    /// The machine of this name.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        MACHINES.iter().find(|machine| machine.name == name)
    }

    /// Its kernel, from its own suite or from another one.
    pub(super) fn kernel(&self, suite: Option<Suite>) -> Bundle {
        Bundle {
            suite: suite.unwrap_or(self.kernel.suite),
            ..*self.kernel
        }
    }
}
