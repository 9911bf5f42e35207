//! From the part of a line in front of the arrow to the call.

use std::ops::Range;

use super::super::objects::Tag;
use super::mask::fields;
use super::parse::bytes;

/// What was asked, as far as it can be asked again.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Ask<'a> {
    Open(&'a str),
    Eventfd,
    Close(Tag),
    Mmap(usize),
    Munmap(Name),
    /// So many bytes from an offset on.
    Pread(Tag, usize, u64),
    Ioctl(&'a str, Tag, Given),
    /// What is not asked again: it writes to a device, or is about the host, or about what was not opened here.
    Other,
}

/// What an ioctl is given.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Given {
    Nothing,
    Value(usize),
    /// Bytes, and what stands in parts of them.
    Bytes(Vec<u8>, Vec<(Range<usize>, Name)>),
}

/// What an fd or an address stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Name {
    Object(Tag),
    /// In that memory, so many bytes from its start.
    Memory(usize, u64),
    Nowhere,
    Unknown,
}

/// More than this is not read at once, nor mapped.
const MOST: usize = 1 << 24;

/// What a text asks; `None` if it is no call.
pub(in super::super) fn parse(text: &str) -> Option<Ask<'_>> {
    let words: Vec<_> = text.split(' ').collect();
    Some(match words[..] {
        ["open", path] if path.contains('\\') => Ask::Other,
        ["open", path] => Ask::Open(path),
        ["eventfd"] => Ask::Eventfd,
        ["close", object] => Ask::Close(object.parse().ok()?),
        ["mmap", len] => Ask::Mmap(length(len)?),
        ["munmap", place, len] => {
            length(len)?;
            Ask::Munmap(name(place)?)
        }
        ["pread", object, len, "at", offset] => match object {
            "?" => Ask::Other,
            object => Ask::Pread(object.parse().ok()?, length(len)?, hexadecimal(offset)?),
        },
        ["pwrite", _, _, "at", _]
        | ["map_region", _, _, "at", _, _, "align", _]
        | ["keep_from_children", _, _]
        | ["read" | "list" | "read_link", _]
        | ["write", _, _]
        | ["ioctl", ..] => Ask::Other,
        [call, object, given, ref names @ ..] if call.starts_with("VFIO_") => {
            let given = self::given(call, given, names)?;
            match object {
                "?" => Ask::Other,
                object => Ask::Ioctl(call, object.parse().ok()?, given),
            }
        }
        _ => return None,
    })
}

fn length(text: &str) -> Option<usize> {
    text.parse().ok().filter(|len| *len <= MOST)
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

fn given(call: &str, text: &str, names: &[&str]) -> Option<Given> {
    if text == "-" {
        return names.is_empty().then_some(Given::Nothing);
    }
    if let Some(value) = text.strip_prefix('=') {
        return names
            .is_empty()
            .then_some(Given::Value(value.parse().ok()?));
    }
    let bytes = bytes(text)?;
    let fields = fields(call, &bytes);
    let places: Vec<_> = fields.iter().filter_map(|it| it.place(&bytes)).collect();
    let names = names.iter().map(|text| name(text));
    let names = names.collect::<Option<Vec<_>>>()?;
    let fit = places.len() == names.len();
    let named = places.into_iter().zip(names).collect();
    fit.then_some(Given::Bytes(bytes, named))
}

fn name(text: &str) -> Option<Name> {
    if let Some(tag) = text.strip_prefix('#') {
        return tag.parse().ok().map(Name::Object);
    }
    match text {
        "nowhere" => Some(Name::Nowhere),
        "?" => Some(Name::Unknown),
        _ => {
            let memory = text.strip_prefix('m')?;
            let Some((memory, offset)) = memory.split_once('+') else {
                return memory.parse::<usize>().ok().map(|_| Name::Unknown);
            };
            Some(Name::Memory(memory.parse().ok()?, hexadecimal(offset)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_read_with_what_its_parts_stand_for() {
        assert_eq!(
            parse("VFIO_GROUP_SET_CONTAINER 1 x00000000 #7"),
            Some(Ask::Ioctl(
                "VFIO_GROUP_SET_CONTAINER",
                1,
                Given::Bytes(vec![0; 4], vec![(0..4, Name::Object(7))])
            ))
        );
        let map = parse("VFIO_IOMMU_MAP_DMA 0 x2000000003000000[24] m2+0x1000");
        let Some(Ask::Ioctl(_, 0, Given::Bytes(bytes, names))) = map else {
            unreachable!("{map:?}")
        };
        assert_eq!(
            (bytes.len(), names),
            (32, vec![(8..16, Name::Memory(2, 0x1000))])
        );
        assert_eq!(
            parse("pread 4 256 at 0x70000000000"),
            Some(Ask::Pread(4, 256, 7 << 40))
        );
        assert_eq!(parse("open /dev/vfio/2"), Some(Ask::Open("/dev/vfio/2")));
        assert_eq!(parse("pwrite 4 x00 at 0x0"), Some(Ask::Other));
    }

    #[test]
    fn what_is_no_call_is_nothing() {
        for text in [
            "",
            "open",
            "close x",
            "mmap 99999999999",
            "pread 4 8 at 0",
            "VFIO_SET_IOMMU 0",
            "VFIO_SET_IOMMU 0 =",
            "VFIO_SET_IOMMU 0 =3 #1",
            "VFIO_GROUP_SET_CONTAINER 1 x00000000",
            "VFIO_GROUP_SET_CONTAINER 1 x00000000 #1 #2",
            "VFIO_GROUP_SET_CONTAINER 1 x00000000 m",
            "somersault 3",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
