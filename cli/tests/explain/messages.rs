//! The messages that people meet, each with its diagnosis.

/// Code and message.
pub(crate) const MESSAGES: &[(&str, &str)] = &[
    (
        "VFIO-01",
        "vfio 0000:08:00.0: no iommu_group found: No such file or directory",
    ),
    (
        "VFIO-01",
        "vfio-pci 0000:08:00.0: probe with driver vfio-pci failed with error -22",
    ),
    (
        "VFIO-01",
        "probe with driver vfio-pci failed with error -22",
    ),
    (
        "VFIO-01",
        "vfio-pci: probe of 0000:08:00.0 failed with error -22",
    ),
    ("VFIO-01", "EAL: no supported IOMMU extensions found"),
    (
        "VFIO-01",
        "  QEMU: Checking for device assignment IOMMU support : WARN (No ACPI DMAR table found, IOMMU either disabled in BIOS or not supported by this hardware platform)",
    ),
    (
        "VFIO-01",
        "No ACPI IVRS table found, IOMMU either disabled in BIOS or not supported by this hardware platform",
    ),
    (
        "VFIO-01",
        "IOMMU appears to be disabled in kernel. Add intel_iommu=on to kernel cmdline arguments",
    ),
    (
        "VFIO-01",
        "open 0000:08:00.0: it has no IOMMU group: no IOMMU translates its DMA",
    ),
    ("VFIO-02", "vfio 0000:01:00.0: group 1 is not viable"),
    (
        "VFIO-02",
        "Please ensure all devices within the iommu_group are bound to their vfio bus driver.",
    ),
    (
        "VFIO-02",
        "EAL: 0000:01:00.0 VFIO group is not viable! Not all devices in IOMMU group bound to VFIO or unbound",
    ),
    (
        "VFIO-02",
        "Failed to create VfioDevice: group is not viable",
    ),
    (
        "VFIO-02",
        "use group 1: in the way: 0000:01:00.1 (snd_hda_intel)",
    ),
    (
        "VFIO-03",
        "Device 0000:0a:00.0 is behind a switch lacking ACS and cannot be assigned",
    ),
    (
        "VFIO-04",
        "vfio_pin_pages_remote: RLIMIT_MEMLOCK (4194304) exceeded",
    ),
    (
        "VFIO-04",
        "vfio_pin_page_external: Task qemu-kvm (4711) RLIMIT_MEMLOCK (65536) exceeded",
    ),
    ("VFIO-04", "VFIO_MAP_DMA failed: Cannot allocate memory"),
    (
        "VFIO-04",
        "vfio 0000:01:00.0: failed to setup container for group 12: memory listener initialization failed: Region pc.ram: vfio_container_dma_map(0x55d1c0, 0x0, 0x80000000, 0x7f2a40000000) = -12 (Cannot allocate memory)",
    ),
    (
        "VFIO-04",
        "cannot limit locked memory of process to 18253611008: Operation not permitted",
    ),
    (
        "VFIO-04",
        "EAL: Cannot set up DMA remapping, error 12 (Cannot allocate memory)",
    ),
    ("VFIO-04", "VfioMapRegion(DmaMap(IommuDmaMap(Error(12))))"),
    (
        "VFIO-04",
        "VFIO_IOMMU_MAP_DMA the type1v2 context, IOVA [0x1000-0x1fff]: Cannot allocate memory (os error 12)",
    ),
    (
        "VFIO-05",
        "vfio_iommu_type1_attach_group: No interrupt remapping support.  Use the module param \"allow_unsafe_interrupts\" to enable VFIO IOMMU support on this platform",
    ),
    (
        "VFIO-05",
        "Failed to set iommu for container: Operation not permitted",
    ),
    (
        "VFIO-05",
        "vfio 0000:01:00.0: failed to setup container for group 12: Failed to set iommu for container: Operation not permitted",
    ),
    (
        "VFIO-05",
        "vfio-pci 0000:01:00.0: MSI interrupts are not secure, they cannot be isolated by the platform. Check that platform features like interrupt remapping are enabled. Use the \"allow_unsafe_interrupts\" module parameter to override",
    ),
    (
        "VFIO-05",
        "vfio 0000:01:00.0: error bind device fd=23 to iommufd=24: Operation not permitted",
    ),
    (
        "VFIO-05",
        "VFIO_SET_IOMMU type 3: Operation not permitted (os error 1)",
    ),
    (
        "VFIO-06",
        "vfio-pci 0000:01:00.0: DMAR: Device is ineligible for IOMMU domain attach due to platform RMRR requirement.  Contact your platform vendor.",
    ),
    (
        "VFIO-06",
        "vfio-pci 0000:01:00.0: Firmware has requested this device have a 1:1 IOMMU mapping, rejecting configuring the device without a 1:1 mapping. Contact your platform vendor.",
    ),
    (
        "VFIO-06",
        "failed to setup container for group 13: Failed to set group container: Invalid argument",
    ),
    (
        "VFIO-07",
        "vfio-pci 0000:c3:00.0: BAR 0: can't reserve [mem 0x2800000000-0x2fffffffff 64bit pref]",
    ),
    ("VFIO-08", "failed to open /dev/vfio/72: Permission denied"),
    (
        "VFIO-08",
        "failed to open /dev/vfio/72: Operation not permitted",
    ),
    (
        "VFIO-08",
        "failed to setup container for group 106: failed to open /dev/vfio/vfio: Permission denied",
    ),
    ("VFIO-08", "Could not open '/dev/iommu': Permission denied"),
    (
        "VFIO-08",
        "PermissionError: [Errno 13] Permission denied: '/dev/vfio/10'",
    ),
    (
        "VFIO-08",
        "EAL: Cannot open VFIO container /dev/vfio/vfio, error 13 (Permission denied)",
    ),
    (
        "VFIO-08",
        "failed to open /dev/vfio/26 group: Operation not permitted (os error 1)",
    ),
    (
        "VFIO-08",
        "audit: type=1400 audit(1700000000.123:45): apparmor=\"DENIED\" operation=\"open\" class=\"file\" profile=\"libvirt-1\" name=\"/dev/vfio/42\" pid=4711",
    ),
    (
        "VFIO-08",
        "type=AVC msg=audit(1700000000.123:45): avc:  denied  { read write } for  pid=4711 comm=\"qemu-kvm\" name=\"42\" dev=\"devtmpfs\" tcontext=system_u:object_r:vfio_device_t:s0 tclass=chr_file",
    ),
    (
        "VFIO-09",
        "failed to open /dev/vfio/1: No such file or directory",
    ),
    (
        "VFIO-09",
        "cannot open VFIO device /dev/vfio/devices/vfio0: No such file or directory",
    ),
    (
        "VFIO-09",
        "EAL: Cannot open VFIO container /dev/vfio/vfio, error 2 (No such file or directory)",
    ),
    (
        "VFIO-09",
        "vfio 0000:01:00.0: vfio /sys/bus/pci/devices/0000:01:00.0: couldn't open directory /sys/bus/pci/devices/0000:01:00.0/vfio-dev: No such file or directory",
    ),
    (
        "VFIO-09",
        "vfio /sys/bus/pci/devices/0000:28:00.0/vfio-dev: failed to load \"/sys/bus/pci/devices/0000:28:00.0/vfio-dev/vfio0/dev\"",
    ),
    (
        "VFIO-09",
        "open 0000:01:00.0: it is bound to nvme, not to a VFIO driver",
    ),
    (
        "VFIO-10",
        "Failed to open /dev/vfio/10: [Errno 16] Device or resource busy",
    ),
    (
        "VFIO-10",
        "EAL: Cannot open /dev/vfio/151: Device or resource busy",
    ),
    (
        "VFIO-10",
        "vfio-pci 0000:01:00.0: No device request channel registered, blocked until released by user",
    ),
    (
        "VFIO-10",
        "Requested operation is not valid: PCI device 0000:01:00.0 is in use by driver QEMU, domain win11",
    ),
    (
        "VFIO-11",
        "vfio: Cannot reset device 0000:00:1f.3, no available reset mechanism.",
    ),
    (
        "VFIO-11",
        "vfio: Cannot reset device 0000:01:00.0, depends on group 14 which is not owned.",
    ),
    (
        "VFIO-12",
        "vfio-pci 0000:01:00.0: Unable to change power state from D3cold to D0, device inaccessible",
    ),
    ("VFIO-12", "not ready 65535ms after resume; giving up"),
    (
        "VFIO-12",
        "vfio-pci 0000:01:00.0: not ready 65535ms after bus reset; giving up",
    ),
    (
        "VFIO-12",
        "Unknown PCI header type '127' for device '0000:01:00.0'",
    ),
    (
        "VFIO-13",
        "vfio_container_dma_map(0x55d1c0, 0x380000000000, 0x4000, 0x7f2a40000000) = -14 (Bad address)",
    ),
    ("VFIO-13", "IOMMU_IOAS_MAP failed: Bad address, PCI BAR?"),
    (
        "VFIO-13",
        "0000:18:00.0: PCI peer-to-peer transactions on BARs are not supported.",
    ),
    (
        "VFIO-13",
        "Region dimm1: vfio_dma_map(0x555556d05a90, 0x100000000, 0xf80000000, 0x74c02fc00000) = -14 (Bad address)",
    ),
    ("VFIO-13", "Region dimm1: vfio_dma_map … -14"),
    (
        "VFIO-14",
        "vfio_container_dma_map(0x55d1c0, 0x8000000000, 0x4000, 0x7f2a40000000) = -22 (Invalid argument)",
    ),
    ("VFIO-14", "VFIO_MAP_DMA failed: Invalid argument"),
    (
        "VFIO-14",
        "VFIO_IOMMU_MAP_DMA the type1v2 context, IOVA [0x1000-0x1fff]: Invalid argument (os error 22)",
    ),
    ("VFIO-15", "VFIO_MAP_DMA failed: No space left on device"),
    (
        "VFIO-15",
        "vfio: warning: possibly running out of DMA mappings. E.g., try increasing the 'block-size' of virtio-mem devies. Maximum possible DMA mappings: 65535, Maximum possible memslots: 509",
    ),
    (
        "VFIO-15",
        "vfio_container_dma_map(0x55d1c0, 0x1000, 0x1000, 0x7f2a40000000) = -28 (No space left on device)",
    ),
    (
        "VFIO-16",
        "bash: /sys/bus/pci/drivers/vfio-pci/new_id: write error: File exists",
    ),
    (
        "VFIO-16",
        "sh: 1: cannot create /sys/bus/pci/devices/0000:01:00.0/driver_override: No such file or directory",
    ),
    (
        "VFIO-16",
        "vfio-pci 0000:01:00.0: Cannot bind to PF with SRIOV enabled",
    ),
    (
        "VFIO-16",
        "vfio-pci 0000:00:1c.0: Cannot bind to PF with SR-IOV enabled",
    ),
    (
        "VFIO-16",
        "Error: bind failed for 0000:01:00.0 - Cannot bind to driver vfio-pci: [Errno 19] No such device",
    ),
    (
        "VFIO-17",
        "vfio-pci 0000:01:00.0: Adding kernel taint for vfio-noiommu group on device",
    ),
    (
        "VFIO-17",
        "IOMMU support is disabled, use --noiommu-mode for binding in noiommu mode",
    ),
    (
        "VFIO-18",
        "vfio-pci 0000:4c:00.4: VF token required to access device",
    ),
    (
        "VFIO-18",
        "vfio-pci 0000:4c:00.4: Incorrect VF token provided for device",
    ),
    (
        "VFIO-19",
        "Failed to create a window, ret = -1 (Cannot allocate memory)",
    ),
    ("VFIO-19", "Failed to create a window, ret = %d (%m)"),
    (
        "VFIO-19",
        "Host doesn't support DMA window at 800000000000000, must be 0",
    ),
    (
        "VFIO-19",
        "Host doesn't support page size 0x1000000, the supported mask is 0x11000",
    ),
    (
        "VFIO-19",
        "Container 0x10034a20 can't map guest IOVA region 0x0..0x3fffffff",
    ),
    ("VFIO-19", "Memory registering failed"),
    (
        "VFIO-20",
        "vfio 0000:28:00.0: failed to setup container for group 66: Cannot set discarding of RAM broken: Device or resource busy",
    ),
    (
        "VFIO-20",
        "VFIO-20 confidential-needs-iommufd: the guest is confidential and the device has a group",
    ),
];
