//! The capabilities that follow an info struct: a chain of offsets, which is walked but not trusted.

use zerocopy::FromBytes;

use crate::uapi::InfoCapHeader;

/// The capabilities in `info`, an info struct with what follows it; `first` is its `cap_offset`. Each
/// comes with its bytes, from its header to the end of `info`.
///
/// A chain that leaves the bytes ends there; one that runs in a circle ends after as many steps as
/// headers could fit.
pub fn capabilities(info: &[u8], first: u32) -> impl Iterator<Item = (InfoCapHeader, &[u8])> {
    let most = info.len() / size_of::<InfoCapHeader>();
    let mut next = first;
    std::iter::from_fn(move || {
        let bytes = info.get(usize::try_from(next).ok().filter(|&at| at != 0)?..)?;
        let (header, _) = InfoCapHeader::read_from_prefix(bytes).ok()?;
        next = header.next;
        Some((header, bytes))
    })
    .take(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    fn chain(headers: &[(u16, u32)]) -> Vec<u8> {
        let mut bytes = vec![0; 8];
        for &(id, next) in headers {
            let header = InfoCapHeader {
                id,
                version: 1,
                next,
            };
            bytes.extend(header.as_bytes());
        }
        bytes
    }

    fn ids(bytes: &[u8], first: u32) -> Vec<u16> {
        capabilities(bytes, first)
            .map(|(header, _)| header.id)
            .collect()
    }

    #[test]
    fn a_chain_is_walked_in_its_own_order() {
        let bytes = chain(&[(1, 0), (2, 8), (3, 16)]);
        assert_eq!(ids(&bytes, 24), [3, 2, 1]);
        assert_eq!(ids(&bytes, 0), []);
    }

    #[test]
    fn circles_and_offsets_out_of_the_struct_end_the_walk() {
        let circle = chain(&[(1, 16), (2, 8)]);
        assert_eq!(ids(&circle, 8).len(), 3);
        for beyond in [23, 24, 4096, u32::MAX] {
            assert_eq!(ids(&chain(&[(1, beyond), (2, 0)]), 8), [1]);
            assert_eq!(ids(&circle, beyond), []);
        }
    }
}
