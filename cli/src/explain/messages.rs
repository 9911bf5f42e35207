//! The messages that are known: one row each, with the diagnosis that it is.
//!
//! A pattern is a regular expression that is found anywhere in a line, without regard to case. What differs
//! from host to host (addresses, numbers, paths) is `\S+` or `.*`; what tells one cause from another is
//! written out, above all the errno.

/// A message that somebody prints.
pub(super) struct Message {
    /// The code of its diagnosis.
    pub(super) code: &'static str,
    /// Who prints it.
    pub(super) by: &'static str,
    pub(super) pattern: &'static str,
    /// What this one says beyond its diagnosis.
    pub(super) note: Option<&'static str>,
}

const fn message(code: &'static str, by: &'static str, pattern: &'static str) -> Message {
    Message {
        code,
        by,
        pattern,
        note: None,
    }
}

impl Message {
    const fn noting(self, note: &'static str) -> Self {
        Self {
            note: Some(note),
            ..self
        }
    }
}

const A_BRIDGE: &str = "vfio-pci answers -22 to a bridge too, which it never takes";
const SWITCH_IS_ON: &str =
    "this is a warning: the unsafe switch is on, and the device is used without isolation";
const OLDER_INTEL: &str =
    "with a DMAR line about RMRR in the kernel's log it is VFIO-06 instead (older kernels, Intel)";
const DENIED: &str =
    "Permission denied: it is the owner, mode or ACL of the node, or SELinux or AppArmor";
const FORBIDDEN: &str =
    "Operation not permitted: it is the device rules of a container, whatever the mode says";
const MEMORY: &str =
    "the range is memory and no BAR: without it the device cannot work, so this one is fatal";
const GIVES_BACK: &str =
    "an ordinary guest says this too, if something in it gives memory back while it runs";
const NOT_POWER: &str = "on x86 and arm64 the same words are VFIO-14";

/// Every message that is known.
#[rustfmt::skip] // a message is a row
pub(super) const MESSAGES: &[Message] = &[
    message("VFIO-01", "QEMU", r"no iommu_group found"),
    message("VFIO-01", "the kernel", r"probe with driver \S*vfio\S* failed with error -22\b").noting(A_BRIDGE),
    message("VFIO-01", "the kernel", r"vfio\S*: probe of \S+ failed with error -22\b").noting(A_BRIDGE),
    message("VFIO-01", "DPDK", r"no supported IOMMU extensions found"),
    message("VFIO-01", "libvirt", r"No ACPI \w+ table found, IOMMU either disabled"),
    message("VFIO-01", "libvirt", r"IOMMU appears to be disabled in kernel"),
    message("VFIO-01", "libvirt", r"host doesn't support passthrough of host PCI devices"),
    message("VFIO-01", "vfioctl", r"it has no IOMMU group: no IOMMU translates its DMA"),

    message("VFIO-02", "QEMU", r"\bgroup \S+ is not viable"),
    message("VFIO-02", "QEMU", r"all devices within the iommu_group are bound to their vfio bus driver"),
    message("VFIO-02", "DPDK", r"VFIO group is not viable"),
    message("VFIO-02", "Cloud Hypervisor", r"\bgroup is not viable\b|\bGroupViable\b"),
    message("VFIO-02", "vfioctl", r"\buse group \d+: (in the way: |a member belongs to a kernel driver)"),

    message("VFIO-03", "libvirt", r"is behind a switch lacking ACS and cannot be assigned"),

    message("VFIO-04", "the kernel", r"vfio_pin_page\w*: .*RLIMIT_MEMLOCK \(\S+\) exceeded"),
    message("VFIO-04", "QEMU", r"VFIO_MAP_DMA(:| failed:) (-12\b|Cannot allocate memory)"),
    message("VFIO-04", "QEMU", r"\bvfio\w*_dma_map\b.* -12\b"),
    message("VFIO-04", "libvirt", r"cannot limit locked memory of process"),
    message("VFIO-04", "DPDK", r"cannot set up DMA remapping, error 12\b"),
    message("VFIO-04", "Cloud Hypervisor", r"memory map into iommu table: Cannot allocate memory|IommuDmaMap\(Error\(12\)\)"),
    message("VFIO-04", "vfioctl", r"\bVFIO_IOMMU_(MAP_DMA|ENABLE|SPAPR_REGISTER_MEMORY|SPAPR_TCE_CREATE) .*Cannot allocate memory"),

    message("VFIO-05", "the kernel", r"attach_group: No interrupt remapping support\b"),
    message("VFIO-05", "the kernel", r"MSI interrupts are not secure, they cannot be isolated by the platform").noting(SWITCH_IS_ON),
    message("VFIO-05", "QEMU", r"Failed to set iommu for container: Operation not permitted").noting(OLDER_INTEL),
    message("VFIO-05", "QEMU", r"error bind device fd=\S+ to iommufd=\S+: Operation not permitted"),
    message("VFIO-05", "DPDK", r"set IOMMU type 1 .*failed, error 1 ").noting(OLDER_INTEL),
    message("VFIO-05", "Cloud Hypervisor", r"failed to set container's IOMMU driver type as .*: Operation not permitted|ContainerSetIOMMU\(Error\(1\)\)").noting(OLDER_INTEL),
    message("VFIO-05", "vfioctl", r"\bVFIO_SET_IOMMU type (1|3): Operation not permitted").noting(OLDER_INTEL),

    message("VFIO-06", "the kernel", r"ineligible for IOMMU domain attach due to platform RMRR requirement"),
    message("VFIO-06", "the kernel", r"Firmware has requested this device have a 1:1 IOMMU mapping"),
    message("VFIO-06", "QEMU", r"Failed to set group container: Invalid argument"),
    message("VFIO-06", "vfioctl", r"\bVFIO_GROUP_SET_CONTAINER .*Invalid argument"),

    message("VFIO-07", "the kernel", r"vfio\S* \S+: BAR \d+\b.*: can't reserve"),

    message("VFIO-08", "a program", r"open.*/dev/(vfio/\S+|iommu'?)( container| group)?(: | \()?(\[Errno 13\] )?Permission denied").noting(DENIED),
    message("VFIO-08", "a program", r"open.*/dev/(vfio/\S+|iommu), error 13\b").noting(DENIED),
    message("VFIO-08", "a program", r"Permission denied: '/dev/(vfio/|iommu)").noting(DENIED),
    message("VFIO-08", "the kernel", r#"apparmor="DENIED" operation="open" .*name="/dev/(vfio/|iommu)"#).noting(DENIED),
    message("VFIO-08", "the kernel", r"avc: +denied .*\bvfio_device_t\b").noting(DENIED),
    message("VFIO-08", "a program", r"open.*/dev/(vfio/\S+|iommu'?)( container| group)?(: | \()?(\[Errno 1\] )?Operation not permitted").noting(FORBIDDEN),
    message("VFIO-08", "a program", r"open.*/dev/(vfio/\S+|iommu), error 1\b").noting(FORBIDDEN),
    message("VFIO-08", "a program", r"Operation not permitted: '/dev/(vfio/|iommu)").noting(FORBIDDEN),

    message("VFIO-09", "a program", r"open.*/dev/(vfio/\S+|iommu'?)( container| group)?(: | \()?(\[Errno 2\] )?No such file or directory"),
    message("VFIO-09", "a program", r"open.*/dev/(vfio/\S+|iommu), error 2\b"),
    message("VFIO-09", "a program", r"No such file or directory: '/dev/(vfio/|iommu)"),
    message("VFIO-09", "QEMU", r"couldn't open directory \S+/vfio-dev: No such file or directory"),
    message("VFIO-09", "QEMU", r#"failed to load "\S+/vfio-dev/"#),
    message("VFIO-09", "vfioctl", r"it is bound to \S+, not to a VFIO driver|it must be bound to a VFIO driver"),

    message("VFIO-10", "a program", r"open.*/dev/vfio/\S+( container| group)?(: | \()?(\[Errno 16\] )?Device or resource busy"),
    message("VFIO-10", "a program", r"Device or resource busy: '/dev/vfio/"),
    message("VFIO-10", "the kernel", r"No device request channel registered, blocked until released by user"),
    message("VFIO-10", "libvirt", r"PCI device \S+ is in use by driver \S+, domain "),

    message("VFIO-11", "QEMU", r"Cannot reset device \S+, no available reset mechanism"),
    message("VFIO-11", "QEMU", r"Cannot reset device \S+, depends on group \S+ which is not owned"),
    message("VFIO-11", "libvirt", r"Unable to reset PCI device"),

    message("VFIO-12", "the kernel", r"\bpci \S+: Unable to change power state from D3\w* to D0, device inaccessible"),
    message("VFIO-12", "the kernel", r"\bnot ready \d+ms after .*; giving up"),
    message("VFIO-12", "libvirt", r"Unknown PCI header type '127'"),
    message("VFIO-12", "QEMU", r"Unable to power on device, stuck in D3"),

    message("VFIO-13", "QEMU", r"\bvfio\w*_dma_map\b.* -14\b"),
    // The region of a BAR has a space in its name: "0000:18:00.0 BAR 0 mmaps[0]".
    message("VFIO-13", "QEMU", r"\bRegion \S+: vfio\w*_dma_map\b.* -14\b").noting(MEMORY),
    message("VFIO-13", "QEMU", r"VFIO_MAP_DMA(:| failed:) (-14\b|Bad address)"),
    message("VFIO-13", "QEMU", r"IOMMU_IOAS_MAP failed: Bad address"),
    message("VFIO-13", "QEMU", r"PCI peer-to-peer transactions on BARs are not supported"),
    message("VFIO-13", "DPDK", r"cannot set up DMA remapping, error 14\b").noting(MEMORY),
    message("VFIO-13", "Cloud Hypervisor", r"memory map into iommu table: Bad address|IommuDmaMap\(Error\(14\)\)"),
    message("VFIO-13", "vfioctl", r"\bVFIO_IOMMU_MAP_DMA .*Bad address"),

    message("VFIO-14", "QEMU", r"\bvfio\w*_dma_map\b.* -22\b"),
    message("VFIO-14", "QEMU", r"VFIO_MAP_DMA(:| failed:) (-22\b|Invalid argument)"),
    message("VFIO-14", "QEMU", r"\baw-bits \d+ > host aw-bits \d+"),
    message("VFIO-14", "DPDK", r"cannot set up DMA remapping, error 22\b"),
    message("VFIO-14", "Cloud Hypervisor", r"memory map into iommu table: Invalid argument|IommuDmaMap\(Error\(22\)\)"),
    message("VFIO-14", "vfioctl", r"\bVFIO_IOMMU_MAP_DMA .*Invalid argument"),

    message("VFIO-15", "QEMU", r"\bvfio\w*_dma_map\b.* -28\b"),
    message("VFIO-15", "QEMU", r"VFIO_MAP_DMA(:| failed:) (-28\b|No space left on device)"),
    message("VFIO-15", "QEMU", r"possibly running out of DMA mappings"),
    message("VFIO-15", "DPDK", r"cannot set up DMA remapping, error 28\b"),
    message("VFIO-15", "Cloud Hypervisor", r"memory map into iommu table: No space left on device|IommuDmaMap\(Error\(28\)\)"),
    message("VFIO-15", "vfioctl", r"\bVFIO_IOMMU_MAP_DMA .*No space left on device"),

    message("VFIO-16", "a shell", r"vfio\S*/new_id\b.*File exists"),
    message("VFIO-16", "a shell", r"/driver_override\b.*No such file or directory"),
    message("VFIO-16", "the kernel", r"vfio\S* \S+: Cannot bind to PF with SR-?IOV enabled"),
    message("VFIO-16", "DPDK", r"bind failed for \S+ - Cannot .*vfio"),

    message("VFIO-17", "the kernel", r"Adding kernel taint for vfio-noiommu group on device"),
    message("VFIO-17", "the kernel", r"vfio-noiommu device opened by user"),
    message("VFIO-17", "DPDK", r"IOMMU support is disabled, use --noiommu-mode"),

    message("VFIO-18", "the kernel", r"VF token (required to access|incorrectly provided)"),
    message("VFIO-18", "the kernel", r"Incorrect VF token provided for device"),
    message("VFIO-18", "vfioctl", r"it is a virtual function, and wants the token of its physical one|the token is not that of its physical function"),

    message("VFIO-19", "QEMU", r"Failed to create a window, ret = "),
    message("VFIO-19", "QEMU", r"Failed to create SPAPR window"),
    message("VFIO-19", "QEMU", r"Host doesn't support DMA window at \S+ must be "),
    message("VFIO-19", "QEMU", r"Host doesn't support page size \S+ the supported mask is "),
    message("VFIO-19", "QEMU", r"can't map guest IOVA region").noting(NOT_POWER),
    message("VFIO-19", "QEMU", r"Memory registering failed"),
    message("VFIO-19", "vfioctl", r"\bVFIO_IOMMU_SPAPR_TCE_(CREATE|REMOVE) .*(Invalid argument|Operation not permitted|No space left on device)"),

    message("VFIO-20", "QEMU", r"\bvfio\b.*: Cannot set discarding of RAM broken").noting(GIVES_BACK),
];
