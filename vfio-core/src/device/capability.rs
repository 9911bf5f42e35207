//! The capabilities of a region: parsed, and not trusted.

use zerocopy::FromBytes;

use crate::error::{Error, ErrorKind, Result};
use crate::info_chain;
use crate::uapi::{
    self, RegionInfo, RegionInfoCapSparseMmap, RegionInfoCapType, RegionSparseMmapArea,
};

/// More than any kernel has to say of a region, in bytes.
const MORE_THAN_ANY: usize = 1 << 20;

/// A part of a region that can be mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappableArea {
    /// Where it starts, in bytes from the start of the region.
    pub offset: u64,
    /// Size in bytes, never 0.
    pub size: u64,
}

/// What kind of region it is, where its number does not say (`VFIO_REGION_INFO_CAP_TYPE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegionType {
    /// The kind; with the highest bit, the lower 16 are a vendor's PCI id.
    pub kind: u32,
    /// Which of that kind.
    pub subtype: u32,
}

/// What the kernel says of a region beside its size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegionCapabilities {
    /// The parts that can be mapped, where that is not all of it. Each lies inside the region.
    pub sparse: Option<Vec<MappableArea>>,
    /// What kind of region it is.
    pub kind: Option<RegionType>,
    /// It can be mapped although the MSI-X table is in it (F75).
    pub msix_mappable: bool,
}

impl RegionCapabilities {
    /// Reads the answer of `VFIO_DEVICE_GET_REGION_INFO`: the struct with the capabilities behind it.
    ///
    /// A chain that runs in a circle or out of the bytes ends there; a capability that is not whole, and an area that
    /// is not inside the region, are an error: to map less than the kernel offers is safe, to map more is not.
    ///
    /// # Errors
    /// [`ErrorKind::Kernel`]: the answer makes no sense.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let (info, _) =
            RegionInfo::read_from_prefix(bytes).map_err(|_| nonsense("it is too short"))?;
        let mut found = Self::default();
        if info.flags & uapi::REGION_FLAG_CAPS == 0 {
            return Ok(found);
        }
        for (header, bytes) in info_chain::capabilities(bytes, info.cap_offset) {
            match header.id {
                // The first of a kind counts, so that a circle adds nothing.
                uapi::REGION_INFO_CAP_SPARSE_MMAP if found.sparse.is_none() => {
                    found.sparse = Some(areas(bytes, info.size)?);
                }
                uapi::REGION_INFO_CAP_TYPE if found.kind.is_none() => {
                    let (cap, _) = RegionInfoCapType::read_from_prefix(bytes)
                        .map_err(|_| nonsense("its type is cut off"))?;
                    found.kind = Some(RegionType {
                        kind: cap.kind,
                        subtype: cap.subtype,
                    });
                }
                uapi::REGION_INFO_CAP_MSIX_MAPPABLE => found.msix_mappable = true,
                _ => {}
            }
        }
        Ok(found)
    }
}

/// The areas of a sparse mapping.
fn areas(bytes: &[u8], region: u64) -> Result<Vec<MappableArea>> {
    let cut_off = || nonsense("its mappable areas are cut off");
    let (head, rest) = RegionInfoCapSparseMmap::read_from_prefix(bytes).map_err(|_| cut_off())?;
    let size = usize::try_from(head.nr_areas)
        .ok()
        .and_then(|count| count.checked_mul(size_of::<RegionSparseMmapArea>()))
        .ok_or_else(cut_off)?;
    let entries = rest.get(..size).ok_or_else(cut_off)?;
    let mut areas = Vec::new();
    for entry in entries.chunks_exact(size_of::<RegionSparseMmapArea>()) {
        let RegionSparseMmapArea { offset, size } =
            RegionSparseMmapArea::read_from_bytes(entry).map_err(|_| cut_off())?;
        let inside = offset.checked_add(size).is_some_and(|end| end <= region);
        match (inside, size) {
            (_, 0) => {} // nothing
            (true, _) => areas.push(MappableArea { offset, size }),
            (false, _) => return Err(nonsense("a mappable area is not inside of it")),
        }
    }
    Ok(areas)
}

fn nonsense(why: &str) -> Error {
    let operation = "read the answer of";
    Error::new(ErrorKind::Kernel, operation, "VFIO_DEVICE_GET_REGION_INFO").because(why)
}

/// How much room the kernel wants for its next answer, if that is more than it had and not beyond belief.
pub(super) fn wanted(answer: &RegionInfo, room: usize) -> Result<Option<usize>> {
    match answer.argsz as usize {
        wanted if wanted <= room => Ok(None),
        wanted if wanted <= MORE_THAN_ANY => Ok(Some(wanted)),
        _ => Err(nonsense(
            "the kernel wants more room than there is reason for",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uapi::InfoCapHeader;
    use zerocopy::IntoBytes;

    fn header(id: u16, next: usize) -> InfoCapHeader {
        InfoCapHeader {
            id,
            version: 1,
            next: u32::try_from(next).unwrap(),
        }
    }

    /// Info at 0, sparse areas at 32, the type at 80, MSI-X at 96 with a way back to the type.
    fn answer(areas: &[(u64, u64)], count: u32) -> Vec<u8> {
        let info = RegionInfo {
            argsz: 104,
            flags: uapi::REGION_FLAG_CAPS,
            cap_offset: 32,
            size: 0x4000,
            ..Default::default()
        };
        let sparse = RegionInfoCapSparseMmap {
            header: header(uapi::REGION_INFO_CAP_SPARSE_MMAP, 80),
            nr_areas: count,
            reserved: 0,
        };
        let kind = RegionInfoCapType {
            header: header(uapi::REGION_INFO_CAP_TYPE, 96),
            kind: 0x8000_8086,
            subtype: 2,
        };
        let mut bytes = [info.as_bytes(), sparse.as_bytes()].concat();
        for &(offset, size) in areas {
            bytes.extend(RegionSparseMmapArea { offset, size }.as_bytes());
        }
        bytes.resize(80, 0);
        bytes.extend(kind.as_bytes());
        bytes.extend(header(uapi::REGION_INFO_CAP_MSIX_MAPPABLE, 80).as_bytes());
        bytes
    }

    #[test]
    fn each_capability_is_read_and_a_circle_adds_nothing() {
        let read = RegionCapabilities::read(&answer(&[(0, 0x1000), (0x3000, 0x1000)], 2)).unwrap();
        let area = |offset, size| MappableArea { offset, size };
        assert_eq!(
            read.sparse,
            Some(vec![area(0, 0x1000), area(0x3000, 0x1000)])
        );
        let kind = RegionType {
            kind: 0x8000_8086,
            subtype: 2,
        };
        assert_eq!(read.kind, Some(kind));
        assert!(read.msix_mappable);
    }

    #[test]
    fn of_two_of_a_kind_the_first_counts() {
        let mut bytes = answer(&[(0, 0x1000)], 1);
        // The last one, MSI-X, becomes a second type, and leads to a second sparse capability.
        let kind = RegionInfoCapType {
            header: header(uapi::REGION_INFO_CAP_TYPE, 112),
            kind: 1,
            subtype: 1,
        };
        bytes.truncate(96);
        bytes.extend(kind.as_bytes());
        let sparse = RegionInfoCapSparseMmap {
            header: header(uapi::REGION_INFO_CAP_SPARSE_MMAP, 0),
            nr_areas: 0,
            reserved: 0,
        };
        bytes.extend(sparse.as_bytes());
        let read = RegionCapabilities::read(&bytes).unwrap();
        assert_eq!(read.kind.unwrap().subtype, 2);
        assert_eq!(read.sparse.unwrap().len(), 1);
    }

    #[test]
    fn an_area_that_is_not_inside_the_region_is_refused() {
        for area in [(0x3000, 0x1001), (0x4000, 1), (u64::MAX, 2), (1, u64::MAX)] {
            let error = RegionCapabilities::read(&answer(&[area], 1)).unwrap_err();
            assert!(error.to_string().contains("inside"), "{error}");
        }
        let empty = RegionCapabilities::read(&answer(&[(0x9000, 0)], 1)).unwrap();
        assert_eq!(empty.sparse, Some(Vec::new()));
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        for count in [8, u32::MAX] {
            let error = RegionCapabilities::read(&answer(&[(0, 0x1000)], count)).unwrap_err();
            assert!(error.to_string().contains("cut off"), "{error}");
        }
        let whole = answer(&[], 0);
        assert!(RegionCapabilities::read(&whole[..31]).is_err());
        let without_msix = RegionCapabilities::read(&whole[..96]).unwrap();
        assert!(!without_msix.msix_mappable && without_msix.kind.is_some());
        let error = RegionCapabilities::read(&whole[..90]).unwrap_err();
        assert!(error.to_string().contains("type"), "{error}");
    }

    #[test]
    fn without_the_flag_there_are_none() {
        let mut bytes = answer(&[(0, 0x1000)], 1);
        bytes[4..8].fill(0);
        let none = RegionCapabilities::read(&bytes).unwrap();
        assert_eq!(none, RegionCapabilities::default());
    }

    #[test]
    fn a_kernel_that_wants_more_room_gets_it_within_reason() {
        let wants = |argsz| RegionInfo {
            argsz,
            ..Default::default()
        };
        assert_eq!(wanted(&wants(32), 32).unwrap(), None);
        assert_eq!(wanted(&wants(40), 32).unwrap(), Some(40));
        assert_eq!(wanted(&wants(1 << 20), 32).unwrap(), Some(1 << 20));
        assert!(wanted(&wants((1 << 20) + 1), 32).is_err());
    }
}
