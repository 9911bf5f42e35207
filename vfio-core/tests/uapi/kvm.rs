//! KVM's numbers and structs, those that the small door needs.

use std::fmt::Write as _;
use std::mem::{offset_of, size_of};

use vfio_core::kernel::Opcode;
use vfio_core::kvm::uapi::{
    self, CreateDevice, CreateSpaprTce64, DeviceAttr, UserspaceMemoryRegion, VfioSpaprTce,
};

use crate::layout::Layout;

/// Name in the kernel's header, our opcode, and its numbers: on POWER, and elsewhere.
const OPCODES: &[(&str, Opcode, u64, u64)] = &[
    ("KVM_CREATE_VM", uapi::CREATE_VM, 0x2000_ae01, 0xae01),
    (
        "KVM_CHECK_EXTENSION",
        uapi::CHECK_EXTENSION,
        0x2000_ae03,
        0xae03,
    ),
    (
        "KVM_SET_USER_MEMORY_REGION",
        uapi::SET_USER_MEMORY_REGION,
        0x8020_ae46,
        0x4020_ae46,
    ),
    (
        "KVM_CREATE_DEVICE",
        uapi::CREATE_DEVICE,
        0xc00c_aee0,
        0xc00c_aee0,
    ),
    (
        "KVM_SET_DEVICE_ATTR",
        uapi::SET_DEVICE_ATTR,
        0x8018_aee1,
        0x4018_aee1,
    ),
    (
        "KVM_HAS_DEVICE_ATTR",
        uapi::HAS_DEVICE_ATTR,
        0x8018_aee3,
        0x4018_aee3,
    ),
    (
        "KVM_CREATE_SPAPR_TCE_64",
        uapi::CREATE_SPAPR_TCE_64,
        0x8020_aea8,
        0x4020_aea8,
    ),
];

/// Name in the kernel's header, as older ones have it too, and our number.
const CONSTANTS: &[(&str, u64)] = &[
    ("KVM_CAP_USER_MEMORY", uapi::CAP_USER_MEMORY as u64),
    ("KVM_CAP_NR_MEMSLOTS", uapi::CAP_NR_MEMSLOTS as u64),
    ("KVM_CAP_READONLY_MEM", uapi::CAP_READONLY_MEM as u64),
    ("KVM_MEM_READONLY", uapi::MEM_READONLY as u64),
    ("KVM_CAP_DEVICE_CTRL", uapi::CAP_DEVICE_CTRL as u64),
    ("KVM_CAP_SPAPR_TCE_64", uapi::CAP_SPAPR_TCE_64 as u64),
    ("KVM_CAP_SPAPR_TCE_VFIO", uapi::CAP_SPAPR_TCE_VFIO as u64),
    ("KVM_DEV_TYPE_VFIO", uapi::DEV_TYPE_VFIO as u64),
    ("KVM_DEV_VFIO_GROUP", uapi::DEV_VFIO_FILE as u64),
    ("KVM_DEV_VFIO_GROUP_ADD", uapi::DEV_VFIO_FILE_ADD),
    ("KVM_DEV_VFIO_GROUP_DEL", uapi::DEV_VFIO_FILE_DEL),
    (
        "KVM_DEV_VFIO_GROUP_SET_SPAPR_TCE",
        uapi::DEV_VFIO_GROUP_SET_SPAPR_TCE,
    ),
    ("KVM_CREATE_DEVICE_TEST", uapi::CREATE_DEVICE_TEST as u64),
];

/// What only the headers of POWER have.
const OF_POWER: [&str; 2] = ["KVM_CREATE_SPAPR_TCE_64", "kvm_create_spapr_tce_64"];

fn layouts() -> Vec<Layout> {
    vec![
        Layout {
            name: "kvm_userspace_memory_region",
            size: size_of::<UserspaceMemoryRegion>(),
            fields: vec![
                ("slot", offset_of!(UserspaceMemoryRegion, slot)),
                ("flags", offset_of!(UserspaceMemoryRegion, flags)),
                (
                    "guest_phys_addr",
                    offset_of!(UserspaceMemoryRegion, guest_phys_addr),
                ),
                (
                    "memory_size",
                    offset_of!(UserspaceMemoryRegion, memory_size),
                ),
                (
                    "userspace_addr",
                    offset_of!(UserspaceMemoryRegion, userspace_addr),
                ),
            ],
        },
        Layout {
            name: "kvm_create_device",
            size: size_of::<CreateDevice>(),
            fields: vec![
                ("type", offset_of!(CreateDevice, kind)),
                ("fd", offset_of!(CreateDevice, fd)),
                ("flags", offset_of!(CreateDevice, flags)),
            ],
        },
        Layout {
            name: "kvm_device_attr",
            size: size_of::<DeviceAttr>(),
            fields: vec![
                ("flags", offset_of!(DeviceAttr, flags)),
                ("group", offset_of!(DeviceAttr, group)),
                ("attr", offset_of!(DeviceAttr, attr)),
                ("addr", offset_of!(DeviceAttr, addr)),
            ],
        },
        Layout {
            name: "kvm_vfio_spapr_tce",
            size: size_of::<VfioSpaprTce>(),
            fields: vec![
                ("groupfd", offset_of!(VfioSpaprTce, groupfd)),
                ("tablefd", offset_of!(VfioSpaprTce, tablefd)),
            ],
        },
        Layout {
            name: "kvm_create_spapr_tce_64",
            size: size_of::<CreateSpaprTce64>(),
            fields: vec![
                ("liobn", offset_of!(CreateSpaprTce64, liobn)),
                ("page_shift", offset_of!(CreateSpaprTce64, page_shift)),
                ("flags", offset_of!(CreateSpaprTce64, flags)),
                ("offset", offset_of!(CreateSpaprTce64, offset)),
                ("size", offset_of!(CreateSpaprTce64, size)),
            ],
        },
    ]
}

/// Lines of a C program that do not compile if header and table differ.
pub(crate) fn assertions(arch: &str) -> String {
    let is_power = arch == "powerpc64";
    let has = |name: &str| is_power || !OF_POWER.contains(&name);
    let mut c = String::new();
    for (name, _, power, other) in OPCODES.iter().filter(|row| has(row.0)) {
        let known = if is_power { power } else { other };
        writeln!(c, "_Static_assert({name} == {known:#x}, \"{name}\");").unwrap();
    }
    for (name, known) in CONSTANTS {
        writeln!(c, "_Static_assert({name} == {known:#x}, \"{name}\");").unwrap();
    }
    for layout in layouts().into_iter().filter(|layout| has(layout.name)) {
        let (name, size) = (layout.name, layout.size);
        writeln!(
            c,
            "_Static_assert(sizeof(struct {name}) == {size:#x}, \"{name}\");"
        )
        .unwrap();
        for (field, at) in layout.fields {
            writeln!(
                c,
                "_Static_assert(offsetof(struct {name}, {field}) == {at:#x}, \"{name}.{field}\");"
            )
            .unwrap();
        }
    }
    c
}

#[test]
fn opcodes_are_those_of_this_architecture() {
    for &(name, opcode, power, other) in OPCODES {
        let known = match std::env::consts::ARCH {
            "powerpc64" => power,
            _ => other,
        };
        assert_eq!(u64::from(opcode), known, "{name}");
    }
}
