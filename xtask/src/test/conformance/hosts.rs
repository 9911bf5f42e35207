//! The hosts whose kernels are asked.

/// A machine, what is plugged in, and what is done there before the kernel is asked.
pub(super) struct Host {
    pub(super) machine: &'static str,
    pub(super) devices: &'static [&'static str],
    pub(super) qemu_args: &'static [&'static str],
    /// More of the kernel's command line.
    pub(super) append: &'static str,
    pub(super) prepare: &'static str,
    /// Clauses with one of these words between `|` in their numbers or their sentence.
    pub(super) filter: &'static str,
}

/// A machine, with the devices of [`HOSTS`] to be named.
const HOST: Host = Host {
    machine: "",
    devices: &[],
    qemu_args: &[],
    append: "",
    prepare: "true",
    filter: "",
};

/// What `ivshmem-plain` shares: a BAR of memory.
const SHARED: &[&str] = &["-object", "memory-backend-ram,id=shared,size=1M,share=on"];

/// Every physical function makes a virtual one, which goes to VFIO; the physical one stays where it is.
const VIRTUAL_FUNCTIONS: &str = "\
    echo 1 >/sys/module/vfio_pci/parameters/enable_sriov; \
    for file in /sys/bus/pci/devices/*/sriov_numvfs; do \
        physical=${file%/*}; \
        echo 0 >$physical/sriov_drivers_autoprobe; \
        echo 1 >$file; \
        virtual=$(readlink $physical/virtfn0); \
        echo vfio-pci >$physical/virtfn0/driver_override; \
        [ -e $physical/virtfn0/driver ] || \
            echo ${virtual##*/} >/sys/bus/pci/drivers/vfio-pci/bind || exit; \
    done";

/// Between them they have what every clause needs. The first devices are those that open quickly.
pub(super) const HOSTS: &[Host] = &[
    Host {
        machine: "x86_64",
        devices: &[
            "edu",
            "nvme",
            "pcie-pci-bridge,id=bridge",
            "edu,bus=bridge,addr=1",
            "edu,bus=bridge,addr=2",
            "secondary-vga,vgamem_mb=1",
            "sdhci-pci",
            "nec-usb-xhci",
            "pci-testdev",
            "ivshmem-plain,memdev=shared",
            "pci-serial,bus=bridge,addr=3",
            "pcie-root-port,id=rp,disable-acs=on",
            "igb,bus=rp,addr=0",
            "e1000e",
            "VGA",
        ],
        qemu_args: &[
            SHARED[0],
            SHARED[1],
            "-device",
            "nvme-subsys,id=subsystem",
            "-device",
            "nvme,subsys=subsystem,serial=sriov,sriov_max_vfs=1,sriov_vq_flexible=2,\
             sriov_vi_flexible=1,max_ioqpairs=4,msix_qsize=5,addr=0x1c",
        ],
        prepare: VIRTUAL_FUNCTIONS,
        ..HOST
    },
    // Interrupts are not remapped.
    Host {
        machine: "x86_64",
        devices: &["edu", "nvme"],
        append: "intremap=off",
        prepare: "echo Y >/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
        filter: "B19",
        ..HOST
    },
    Host {
        machine: "aarch64",
        devices: &[
            "edu",
            "nvme",
            "nec-usb-xhci",
            "pci-testdev",
            "ivshmem-plain,memdev=shared",
            "sdhci-pci",
            "sdhci-pci",
            "secondary-vga,vgamem_mb=1",
            "e1000e",
        ],
        qemu_args: SHARED,
        ..HOST
    },
    Host {
        machine: "pseries",
        devices: &[
            "edu",
            "nvme",
            "nec-usb-xhci",
            "pci-testdev",
            "pci-serial",
            "spapr-pci-host-bridge,index=1,id=second",
            "nvme,bus=second.0,addr=1",
            "spapr-pci-host-bridge,index=2,id=spare",
            "nvme,bus=spare.0,addr=1",
            "sdhci-pci",
            "e1000e",
        ],
        ..HOST
    },
    Host {
        machine: "powernv9",
        devices: &["nvme", "nvme"],
        ..HOST
    },
    // To open one that has no function level reset takes ten seconds there: its bus is reset.
    Host {
        machine: "powernv9",
        devices: &["nvme", "nvme", "edu", "e1000e"],
        filter: "reach|ports|two levels|MSI stays on|alone on a bus",
        ..HOST
    },
];
