//! The BARs of devices on simulated machines, as their layouts are on hosts with small and with large pages, also after
//! the MSI-X table was moved.

use std::sync::Arc;

use iommu_type1 as _;
use pci_device::bar::{BARS, Bars, PageSize, Slice, SliceKind};
use vfio_core::Vfio;
use vfio_core::iommu::Registry;
use vfio_sim::machine::Device;
use vfio_sim::{Machine, SimKernel};

pub(crate) const BDF: &str = "0000:00:05.0";

/// The BARs of that device on a machine with pages of that size.
fn bars(device: Device, page: u64) -> (Bars, PageSize) {
    let machine = Machine {
        page_size: usize::try_from(page).unwrap(),
        ..Machine::x86_64().with_devices([device])
    };
    let vfio = Vfio::on(
        Arc::new(SimKernel::new(machine)),
        Registry::linked().unwrap(),
    );
    let device = vfio.open(BDF.parse().unwrap()).unwrap();
    (Bars::of(&device).unwrap(), PageSize::new(page).unwrap())
}

fn shown(slices: &[Slice]) -> Vec<(u64, u64, SliceKind)> {
    let one = |it: &Slice| (it.range.start, it.range.end, it.kind);
    slices.iter().map(one).collect()
}

#[test]
fn a_table_amid_registers_costs_its_own_pages() {
    let (bars, page) = bars(Device::nvme(BDF), 4096);
    assert_eq!(bars.msix.unwrap().vectors, 65);
    let bar = bars.bars[0].as_ref().unwrap();
    assert_eq!(
        shown(&bar.shape.slices(page)),
        [
            (0x0000, 0x2000, SliceKind::Mapped),
            (0x2000, 0x2410, SliceKind::Table),
            (0x2410, 0x3000, SliceKind::Trapped),
            (0x3000, 0x3010, SliceKind::Pending),
            (0x3010, 0x4000, SliceKind::Trapped),
        ]
    );
}

#[test]
fn on_large_pages_nothing_beside_a_table_is_mapped() {
    let (bars, page) = bars(Device::nvme(BDF), 65536);
    let bar = bars.bars[0].as_ref().unwrap();
    let slices = bar.shape.slices(page);
    assert!(slices.iter().all(|it| it.kind != SliceKind::Mapped));
    assert_eq!(bar.shape.sub_page(page), None); // the table is in it
}

#[test]
fn ports_are_trapped_and_small_bars_are_mapped_where_they_start_a_page() {
    let (bars, page) = bars(Device::assorted(BDF), 4096);
    let there: Vec<_> = (0..BARS).filter(|n| bars.bars[*n].is_some()).collect();
    assert_eq!(there, [0, 1, 2, 4]);
    let bar = |number: usize| bars.bars[number].as_ref().unwrap();
    assert!(bar(1).kind.is_io());
    assert_eq!(
        shown(&bar(1).shape.slices(page)),
        [(0, 0x20, SliceKind::Trapped)]
    );
    assert_eq!(
        shown(&bar(0).shape.slices(page)),
        [(0, 0x100, SliceKind::Trapped)]
    );
    assert!(bar(0).shape.sub_page(page).is_some());
    assert!(bar(2).kind.has_two_registers());
    assert_eq!(
        shown(&bar(2).shape.slices(page)),
        [(0, 4 << 20, SliceKind::Mapped)]
    );
}

/// What a device of a simulated machine has in a BAR after the move.
fn after(device: Device, page: u64, to: u8, bar: usize) -> Vec<(u64, u64, SliceKind)> {
    let (bars, page) = bars(device, page);
    let moved = bars.with_msix_in(to, page).unwrap();
    shown(&moved.bars[bar].as_ref().unwrap().shape.slices(page))
}

#[test]
fn registers_beside_a_table_are_mapped_when_it_is_gone() {
    use SliceKind::{Empty, Mapped, Pending, Table};

    let nvme = || Device::nvme(BDF);
    assert_eq!(after(nvme(), 0x1000, 2, 0), [(0, 0x4000, Mapped)]);
    assert_eq!(
        after(nvme(), 0x1000, 2, 2),
        [
            (0, 0x410, Table),
            (0x410, 0x420, Pending),
            (0x420, 0x1000, Empty)
        ]
    );
    // Behind the end of its own BAR: the first page of the host is the registers', the next one is not.
    assert_eq!(
        after(nvme(), 0x1_0000, 0, 0),
        [
            (0, 0x1_0000, Mapped),
            (0x1_0000, 0x1_0410, Table),
            (0x1_0410, 0x1_0420, Pending),
            (0x1_0420, 0x2_0000, Empty),
        ]
    );
}

#[test]
fn a_bar_without_its_table_may_be_one_that_is_mapped_alone() {
    for device in [Device::nvme(BDF), Device::assorted(BDF)] {
        let (bars, page) = bars(device, 0x1_0000);
        let table = usize::from(bars.msix.unwrap().table.bar);
        let small = |bars: &Bars| bars.bars[table].as_ref().unwrap().shape.sub_page(page);
        assert_eq!(small(&bars), None);
        assert!(small(&bars.with_msix_in(5, page).unwrap()).is_some());
    }
}

#[test]
fn what_cannot_be_is_refused_in_words() {
    for page in [0x1000, 0x1_0000] {
        let (bars, page) = bars(Device::assorted(BDF), page);
        for (to, words) in [
            (1, "it has ports"),
            (3, "the upper half"),
            (6, "a device has 6 BARs"),
            (u8::MAX, "a device has 6 BARs"),
        ] {
            let error = bars.with_msix_in(to, page).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let mut large = bars.clone();
        large.bars[4].as_mut().unwrap().shape.size = 1 << 31; // the most that 32 bits can say
        let error = large.with_msix_in(4, page).unwrap_err().to_string();
        assert!(error.contains("it cannot become so large"), "{error}");

        let none = Bars { msix: None, ..bars };
        let error = none.with_msix_in(5, page).unwrap_err().to_string();
        assert!(error.contains("the device has none"), "{error}");
    }
}
