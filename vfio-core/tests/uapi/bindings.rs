//! Against `vfio-bindings`, which bindgen made of the kernel's header.

use std::mem::{offset_of, size_of};

use vfio_bindings::bindings::vfio as theirs;
use vfio_core::uapi;

use crate::layout::{Layout, ours};

macro_rules! theirs {
    ($($name:ident: $($field:ident),+;)*) => {
        vec![$(Layout {
            name: stringify!($name),
            size: size_of::<theirs::$name>(),
            fields: vec![$((named(stringify!($field)), offset_of!(theirs::$name, $field))),+],
        }),*]
    };
}

/// The header's name of a field: bindgen renames what is a word of Rust, and what has no name (the union that `err` is in).
fn named(field: &'static str) -> &'static str {
    match field {
        "__bindgen_anon_1" => "err",
        other => other.trim_end_matches('_'),
    }
}

fn bindings() -> Vec<Layout> {
    theirs! {
        vfio_group_status: argsz, flags;
        vfio_info_cap_header: id, version, next;
        vfio_device_info: argsz, flags, num_regions, num_irqs, cap_offset;
        vfio_region_info: argsz, flags, index, cap_offset, size, offset;
        vfio_irq_info: argsz, flags, index, count;
        vfio_irq_set: argsz, flags, index, start, count;
        vfio_region_info_cap_sparse_mmap: header, nr_areas, reserved;
        vfio_region_sparse_mmap_area: offset, size;
        vfio_region_info_cap_type: header, type_, subtype;
        vfio_pci_hot_reset_info: argsz, flags, count;
        vfio_pci_dependent_device: segment, bus, devfn;
        vfio_pci_hot_reset: argsz, flags, count;
        vfio_device_ioeventfd: argsz, flags, offset, data, fd;
        vfio_device_feature: argsz, flags;
        vfio_iommu_type1_info: argsz, flags, iova_pgsizes, cap_offset;
        vfio_iommu_type1_info_cap_iova_range: header, nr_iovas, reserved;
        vfio_iova_range: start, end;
        vfio_iommu_type1_info_cap_migration: header, flags, pgsize_bitmap, max_dirty_bitmap_size;
        vfio_iommu_type1_info_dma_avail: header, avail;
        vfio_iommu_type1_dma_map: argsz, flags, vaddr, iova, size;
        vfio_iommu_type1_dma_unmap: argsz, flags, iova, size;
        vfio_iommu_type1_dirty_bitmap: argsz, flags;
        vfio_iommu_type1_dirty_bitmap_get: iova, size, bitmap;
        vfio_bitmap: pgsize, size, data;
        vfio_iommu_spapr_tce_info: argsz, flags, dma32_window_start, dma32_window_size, ddw;
        vfio_iommu_spapr_tce_ddw_info: pgsizes, max_dynamic_windows_supported, levels;
        vfio_iommu_spapr_register_memory: argsz, flags, vaddr, size;
        vfio_iommu_spapr_tce_create: argsz, flags, page_shift, window_size, levels, start_addr;
        vfio_iommu_spapr_tce_remove: argsz, flags, start_addr;
        vfio_eeh_pe_op: argsz, flags, op, __bindgen_anon_1;
        vfio_eeh_pe_err: type_, func, addr, mask;
    }
}

/// Our constants and bindgen's.
macro_rules! constants {
    ($($ours:ident = $theirs:ident;)*) => {
        [$((stringify!($theirs), u64::from(uapi::$ours), u64::from(theirs::$theirs))),*]
    };
}

#[test]
fn every_constant_is_as_bindgen_has_it() {
    let constants = constants! {
        API_VERSION = VFIO_API_VERSION;
        GROUP_FLAGS_VIABLE = VFIO_GROUP_FLAGS_VIABLE;
        GROUP_FLAGS_CONTAINER_SET = VFIO_GROUP_FLAGS_CONTAINER_SET;
        DEVICE_FLAGS_RESET = VFIO_DEVICE_FLAGS_RESET;
        DEVICE_FLAGS_PCI = VFIO_DEVICE_FLAGS_PCI;
        REGION_FLAG_READ = VFIO_REGION_INFO_FLAG_READ;
        REGION_FLAG_WRITE = VFIO_REGION_INFO_FLAG_WRITE;
        REGION_FLAG_MMAP = VFIO_REGION_INFO_FLAG_MMAP;
        PCI_BAR0_REGION_INDEX = VFIO_PCI_BAR0_REGION_INDEX;
        PCI_ROM_REGION_INDEX = VFIO_PCI_ROM_REGION_INDEX;
        PCI_CONFIG_REGION_INDEX = VFIO_PCI_CONFIG_REGION_INDEX;
        PCI_INTX_IRQ_INDEX = VFIO_PCI_INTX_IRQ_INDEX;
        PCI_MSI_IRQ_INDEX = VFIO_PCI_MSI_IRQ_INDEX;
        PCI_MSIX_IRQ_INDEX = VFIO_PCI_MSIX_IRQ_INDEX;
        REGION_FLAG_CAPS = VFIO_REGION_INFO_FLAG_CAPS;
        REGION_INFO_CAP_SPARSE_MMAP = VFIO_REGION_INFO_CAP_SPARSE_MMAP;
        REGION_INFO_CAP_TYPE = VFIO_REGION_INFO_CAP_TYPE;
        REGION_INFO_CAP_MSIX_MAPPABLE = VFIO_REGION_INFO_CAP_MSIX_MAPPABLE;
        PCI_VGA_REGION_INDEX = VFIO_PCI_VGA_REGION_INDEX;
        PCI_ERR_IRQ_INDEX = VFIO_PCI_ERR_IRQ_INDEX;
        PCI_REQ_IRQ_INDEX = VFIO_PCI_REQ_IRQ_INDEX;
        DEVICE_IOEVENTFD_8 = VFIO_DEVICE_IOEVENTFD_8;
        DEVICE_IOEVENTFD_16 = VFIO_DEVICE_IOEVENTFD_16;
        DEVICE_IOEVENTFD_32 = VFIO_DEVICE_IOEVENTFD_32;
        DEVICE_IOEVENTFD_64 = VFIO_DEVICE_IOEVENTFD_64;
        DEVICE_FEATURE_MASK = VFIO_DEVICE_FEATURE_MASK;
        DEVICE_FEATURE_GET = VFIO_DEVICE_FEATURE_GET;
        DEVICE_FEATURE_SET = VFIO_DEVICE_FEATURE_SET;
        DEVICE_FEATURE_PROBE = VFIO_DEVICE_FEATURE_PROBE;
        DEVICE_FEATURE_PCI_VF_TOKEN = VFIO_DEVICE_FEATURE_PCI_VF_TOKEN;
        DEVICE_FEATURE_MIGRATION = VFIO_DEVICE_FEATURE_MIGRATION;
        DEVICE_FEATURE_LOW_POWER_ENTRY = VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY;
        DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP = VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP;
        DEVICE_FEATURE_LOW_POWER_EXIT = VFIO_DEVICE_FEATURE_LOW_POWER_EXIT;
        IRQ_INFO_EVENTFD = VFIO_IRQ_INFO_EVENTFD;
        IRQ_INFO_MASKABLE = VFIO_IRQ_INFO_MASKABLE;
        IRQ_INFO_AUTOMASKED = VFIO_IRQ_INFO_AUTOMASKED;
        IRQ_INFO_NORESIZE = VFIO_IRQ_INFO_NORESIZE;
        IRQ_SET_DATA_NONE = VFIO_IRQ_SET_DATA_NONE;
        IRQ_SET_DATA_BOOL = VFIO_IRQ_SET_DATA_BOOL;
        IRQ_SET_DATA_EVENTFD = VFIO_IRQ_SET_DATA_EVENTFD;
        IRQ_SET_ACTION_MASK = VFIO_IRQ_SET_ACTION_MASK;
        IRQ_SET_ACTION_UNMASK = VFIO_IRQ_SET_ACTION_UNMASK;
        IRQ_SET_ACTION_TRIGGER = VFIO_IRQ_SET_ACTION_TRIGGER;
        TYPE1_IOMMU = VFIO_TYPE1_IOMMU;
        TYPE1V2_IOMMU = VFIO_TYPE1v2_IOMMU;
        DMA_CC_IOMMU = VFIO_DMA_CC_IOMMU;
        NOIOMMU_IOMMU = VFIO_NOIOMMU_IOMMU;
        UNMAP_ALL = VFIO_UNMAP_ALL;
        UPDATE_VADDR = VFIO_UPDATE_VADDR;
        EEH = VFIO_EEH;
        DMA_MAP_FLAG_VADDR = VFIO_DMA_MAP_FLAG_VADDR;
        DMA_UNMAP_FLAG_GET_DIRTY_BITMAP = VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP;
        DMA_UNMAP_FLAG_ALL = VFIO_DMA_UNMAP_FLAG_ALL;
        DMA_UNMAP_FLAG_VADDR = VFIO_DMA_UNMAP_FLAG_VADDR;
        IOMMU_DIRTY_PAGES_FLAG_START = VFIO_IOMMU_DIRTY_PAGES_FLAG_START;
        IOMMU_DIRTY_PAGES_FLAG_STOP = VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP;
        IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP;
        IOMMU_TYPE1_INFO_CAP_MIGRATION = VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION;
        IOMMU_INFO_PGSIZES = VFIO_IOMMU_INFO_PGSIZES;
        IOMMU_INFO_CAPS = VFIO_IOMMU_INFO_CAPS;
        IOMMU_TYPE1_INFO_CAP_IOVA_RANGE = VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE;
        IOMMU_TYPE1_INFO_DMA_AVAIL = VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL;
        DMA_MAP_FLAG_READ = VFIO_DMA_MAP_FLAG_READ;
        DMA_MAP_FLAG_WRITE = VFIO_DMA_MAP_FLAG_WRITE;
        SPAPR_TCE_IOMMU = VFIO_SPAPR_TCE_IOMMU;
        SPAPR_TCE_V2_IOMMU = VFIO_SPAPR_TCE_v2_IOMMU;
        SPAPR_INFO_DDW = VFIO_IOMMU_SPAPR_INFO_DDW;
        EEH_PE_DISABLE = VFIO_EEH_PE_DISABLE;
        EEH_PE_ENABLE = VFIO_EEH_PE_ENABLE;
        EEH_PE_UNFREEZE_IO = VFIO_EEH_PE_UNFREEZE_IO;
        EEH_PE_UNFREEZE_DMA = VFIO_EEH_PE_UNFREEZE_DMA;
        EEH_PE_GET_STATE = VFIO_EEH_PE_GET_STATE;
        EEH_PE_RESET_DEACTIVATE = VFIO_EEH_PE_RESET_DEACTIVATE;
        EEH_PE_RESET_HOT = VFIO_EEH_PE_RESET_HOT;
        EEH_PE_RESET_FUNDAMENTAL = VFIO_EEH_PE_RESET_FUNDAMENTAL;
        EEH_PE_CONFIGURE = VFIO_EEH_PE_CONFIGURE;
        EEH_PE_INJECT_ERR = VFIO_EEH_PE_INJECT_ERR;
        EEH_PE_STATE_NORMAL = VFIO_EEH_PE_STATE_NORMAL;
        EEH_PE_STATE_RESET = VFIO_EEH_PE_STATE_RESET;
        EEH_PE_STATE_STOPPED = VFIO_EEH_PE_STATE_STOPPED;
        EEH_PE_STATE_STOPPED_DMA = VFIO_EEH_PE_STATE_STOPPED_DMA;
        EEH_PE_STATE_UNAVAIL = VFIO_EEH_PE_STATE_UNAVAIL;
    };
    for (name, ours, theirs) in constants {
        assert_eq!(ours, theirs, "{name}");
    }
}

#[test]
fn every_struct_is_laid_out_as_bindgen_has_it() {
    let bindings = bindings();
    let ours = ours();
    assert_eq!(ours.len(), bindings.len());
    for (ours, theirs) in ours.iter().zip(&bindings) {
        assert_eq!(ours.name, theirs.name);
        assert_eq!(ours.size, theirs.size, "size of {}", ours.name);
        assert_eq!(ours.fields, theirs.fields, "fields of {}", ours.name);
    }
}
