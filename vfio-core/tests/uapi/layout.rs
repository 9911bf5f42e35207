//! Our structs as data: name in the kernel's header, size, and where each field is.

use std::mem::{offset_of, size_of};

use vfio_core::uapi;

pub(crate) struct Layout {
    pub(crate) name: &'static str,
    pub(crate) size: usize,
    pub(crate) fields: Vec<(&'static str, usize)>,
}

/// `rust struct = "kernel struct": field = "kernel field", ...`
macro_rules! layouts {
    ($($ours:ident = $theirs:literal: $($field:ident = $name:literal),+;)*) => {
        vec![$(Layout {
            name: $theirs,
            size: size_of::<uapi::$ours>(),
            fields: vec![$(($name, offset_of!(uapi::$ours, $field))),+],
        }),*]
    };
}

pub(crate) fn ours() -> Vec<Layout> {
    layouts! {
        GroupStatus = "vfio_group_status": argsz = "argsz", flags = "flags";
        InfoCapHeader = "vfio_info_cap_header": id = "id", version = "version", next = "next";
        DeviceInfo = "vfio_device_info": argsz = "argsz", flags = "flags", num_regions = "num_regions",
            num_irqs = "num_irqs", cap_offset = "cap_offset";
        RegionInfo = "vfio_region_info": argsz = "argsz", flags = "flags", index = "index",
            cap_offset = "cap_offset", size = "size", offset = "offset";
        IrqInfo = "vfio_irq_info": argsz = "argsz", flags = "flags", index = "index", count = "count";
        IrqSet = "vfio_irq_set": argsz = "argsz", flags = "flags", index = "index", start = "start",
            count = "count";
        RegionInfoCapSparseMmap = "vfio_region_info_cap_sparse_mmap": header = "header",
            nr_areas = "nr_areas", reserved = "reserved";
        RegionSparseMmapArea = "vfio_region_sparse_mmap_area": offset = "offset", size = "size";
        RegionInfoCapType = "vfio_region_info_cap_type": header = "header", kind = "type",
            subtype = "subtype";
        PciHotResetInfo = "vfio_pci_hot_reset_info": argsz = "argsz", flags = "flags", count = "count";
        PciDependentDevice = "vfio_pci_dependent_device": segment = "segment", bus = "bus",
            devfn = "devfn";
        PciHotReset = "vfio_pci_hot_reset": argsz = "argsz", flags = "flags", count = "count";
        DeviceIoEventFd = "vfio_device_ioeventfd": argsz = "argsz", flags = "flags",
            offset = "offset", data = "data", fd = "fd";
        DeviceFeature = "vfio_device_feature": argsz = "argsz", flags = "flags";
        IommuType1Info = "vfio_iommu_type1_info": argsz = "argsz", flags = "flags",
            iova_pgsizes = "iova_pgsizes", cap_offset = "cap_offset";
        IommuType1CapIovaRange = "vfio_iommu_type1_info_cap_iova_range": header = "header",
            nr_iovas = "nr_iovas", reserved = "reserved";
        IovaRangeEntry = "vfio_iova_range": start = "start", end = "end";
        IommuType1CapMigration = "vfio_iommu_type1_info_cap_migration": header = "header",
            flags = "flags", pgsize_bitmap = "pgsize_bitmap",
            max_dirty_bitmap_size = "max_dirty_bitmap_size";
        IommuType1DmaAvail = "vfio_iommu_type1_info_dma_avail": header = "header", avail = "avail";
        DmaMap = "vfio_iommu_type1_dma_map": argsz = "argsz", flags = "flags", vaddr = "vaddr",
            iova = "iova", size = "size";
        DmaUnmap = "vfio_iommu_type1_dma_unmap": argsz = "argsz", flags = "flags", iova = "iova",
            size = "size";
        IommuType1DirtyBitmap = "vfio_iommu_type1_dirty_bitmap": argsz = "argsz", flags = "flags";
        IommuType1DirtyBitmapGet = "vfio_iommu_type1_dirty_bitmap_get": iova = "iova", size = "size",
            bitmap = "bitmap";
        Bitmap = "vfio_bitmap": pgsize = "pgsize", size = "size", data = "data";
        SpaprTceInfo = "vfio_iommu_spapr_tce_info": argsz = "argsz", flags = "flags",
            dma32_window_start = "dma32_window_start", dma32_window_size = "dma32_window_size",
            ddw = "ddw";
        SpaprTceDdwInfo = "vfio_iommu_spapr_tce_ddw_info": pgsizes = "pgsizes",
            max_dynamic_windows_supported = "max_dynamic_windows_supported", levels = "levels";
        SpaprRegisterMemory = "vfio_iommu_spapr_register_memory": argsz = "argsz", flags = "flags",
            vaddr = "vaddr", size = "size";
        SpaprTceCreate = "vfio_iommu_spapr_tce_create": argsz = "argsz", flags = "flags",
            page_shift = "page_shift", window_size = "window_size", levels = "levels",
            start_addr = "start_addr";
        SpaprTceRemove = "vfio_iommu_spapr_tce_remove": argsz = "argsz", flags = "flags",
            start_addr = "start_addr";
        EehPeOp = "vfio_eeh_pe_op": argsz = "argsz", flags = "flags", op = "op", err = "err";
        EehPeErr = "vfio_eeh_pe_err": kind = "type", func = "func", addr = "addr", mask = "mask";
    }
}
