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
            fields: vec![$((stringify!($field), offset_of!(theirs::$name, $field))),+],
        }),*]
    };
}

fn bindings() -> Vec<Layout> {
    theirs! {
        vfio_group_status: argsz, flags;
        vfio_info_cap_header: id, version, next;
        vfio_device_info: argsz, flags, num_regions, num_irqs, cap_offset;
        vfio_region_info: argsz, flags, index, cap_offset, size, offset;
        vfio_irq_info: argsz, flags, index, count;
        vfio_irq_set: argsz, flags, index, start, count;
        vfio_iommu_type1_info: argsz, flags, iova_pgsizes, cap_offset;
        vfio_iommu_type1_info_cap_iova_range: header, nr_iovas, reserved;
        vfio_iova_range: start, end;
        vfio_iommu_type1_info_dma_avail: header, avail;
        vfio_iommu_type1_dma_map: argsz, flags, vaddr, iova, size;
        vfio_iommu_type1_dma_unmap: argsz, flags, iova, size;
        vfio_iommu_spapr_tce_info: argsz, flags, dma32_window_start, dma32_window_size, ddw;
        vfio_iommu_spapr_tce_ddw_info: pgsizes, max_dynamic_windows_supported, levels;
        vfio_iommu_spapr_register_memory: argsz, flags, vaddr, size;
        vfio_iommu_spapr_tce_create: argsz, flags, page_shift, window_size, levels, start_addr;
        vfio_iommu_spapr_tce_remove: argsz, flags, start_addr;
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
        IOMMU_INFO_PGSIZES = VFIO_IOMMU_INFO_PGSIZES;
        IOMMU_INFO_CAPS = VFIO_IOMMU_INFO_CAPS;
        IOMMU_TYPE1_INFO_CAP_IOVA_RANGE = VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE;
        IOMMU_TYPE1_INFO_DMA_AVAIL = VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL;
        DMA_MAP_FLAG_READ = VFIO_DMA_MAP_FLAG_READ;
        DMA_MAP_FLAG_WRITE = VFIO_DMA_MAP_FLAG_WRITE;
        SPAPR_TCE_IOMMU = VFIO_SPAPR_TCE_IOMMU;
        SPAPR_TCE_V2_IOMMU = VFIO_SPAPR_TCE_v2_IOMMU;
        SPAPR_INFO_DDW = VFIO_IOMMU_SPAPR_INFO_DDW;
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
