//! Against `vfio-bindings`, which bindgen made of the kernel's header.

use std::mem::{offset_of, size_of};

use vfio_bindings::bindings::vfio as theirs;

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
