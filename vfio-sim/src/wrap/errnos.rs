//! What each call can fail with, from the project's page of kernel behaviours.

use vfio_core::Answer;
use vfio_core::kernel::Errno;

/// The page, as it was when this crate was built.
const PAGE: &str = include_str!("../../../docs/kernel-behaviour.md");

/// The heading of the table.
const HEADING: &str = "\n## Errnos by call\n";

/// What each call of VFIO can answer other than success, as the page's table says, in the order of the table: sorted
/// by call, for each call the errnos and then the positive numbers.
///
/// A call is named as [`Call::name`](super::Call::name) does it; one that differs by what it is asked of has that
/// behind it: `VFIO_IOMMU_MAP_DMA (type1)`, `VFIO_IOMMU_MAP_DMA (sPAPR)`, `open (group)`.
pub fn errnos() -> impl Iterator<Item = (&'static str, Answer)> {
    rows().flat_map(|[call, answers, _]| {
        quoted(answers)
            .filter_map(answer)
            .map(move |answer| (unquoted(call), answer))
    })
}

/// The table's rows, without what is above them.
fn rows() -> impl Iterator<Item = [&'static str; 3]> {
    let section = PAGE.split_once(HEADING).map_or("", |(_, section)| section);
    let section = section.split("\n## ").next().unwrap_or("");
    section.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        Some([cells.next()?, cells.next()?, cells.next()?])
    })
}

/// The words of a cell that are quoted as code.
fn quoted(cell: &'static str) -> impl Iterator<Item = &'static str> {
    cell.split_whitespace().map(unquoted)
}

fn unquoted(word: &'static str) -> &'static str {
    word.trim_matches('`')
}

/// `EINVAL` or `+4`; `None` for what the page must not have, which a test below holds.
fn answer(word: &str) -> Option<Answer> {
    if let Some(number) = word.strip_prefix('+') {
        return number.parse().ok().map(Answer::Returned);
    }
    let known = KNOWN.iter().find(|(name, _)| *name == word)?;
    Some(Answer::Errno(known.1))
}

/// What the table calls an errno.
pub(crate) fn errno_name(errno: Errno) -> Option<&'static str> {
    let known = KNOWN.iter().find(|(_, known)| *known == errno)?;
    Some(known.0)
}

/// The errnos of the table by their names.
const KNOWN: &[(&str, Errno)] = &[
    ("EACCES", Errno::ACCESS),
    ("EAGAIN", Errno::AGAIN),
    ("EBADF", Errno::BADF),
    ("EBADFD", Errno::BADFD),
    ("EBUSY", Errno::BUSY),
    ("EEXIST", Errno::EXIST),
    ("EFAULT", Errno::FAULT),
    ("EINVAL", Errno::INVAL),
    ("EIO", Errno::IO),
    ("ENODEV", Errno::NODEV),
    ("ENOENT", Errno::NOENT),
    ("ENOMEM", Errno::NOMEM),
    ("ENOSPC", Errno::NOSPC),
    ("ENOTTY", Errno::NOTTY),
    ("ENXIO", Errno::NXIO),
    ("EOVERFLOW", Errno::OVERFLOW),
    ("EPERM", Errno::PERM),
    ("ERANGE", Errno::RANGE),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::names;
    use vfio_core::uapi;

    /// The words of a text that name errnos.
    fn named(text: &str) -> BTreeSet<&str> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric());
        words
            .filter(|word| KNOWN.iter().any(|(name, _)| name == word))
            .collect()
    }

    /// What the page says under a number.
    fn paragraph(number: &str) -> &'static str {
        let start = format!("\n- **{number}** ");
        let text = PAGE.split_once(start.as_str());
        let (_, text) = text.unwrap_or_else(|| panic!("{number} is not on the page"));
        let end = text.find("\n- **").into_iter().chain(text.find("\n\n"));
        &text[..end.min().unwrap()]
    }

    #[test]
    fn every_word_of_the_table_is_understood() {
        assert!(rows().count() >= 30, "{} rows", rows().count());
        for [call, answers, from] in rows() {
            for word in quoted(answers) {
                assert!(answer(word).is_some(), "{call}: {word}");
            }
            assert!(!from.is_empty(), "{call}");
        }
        let words: usize = rows().map(|[_, answers, _]| quoted(answers).count()).sum();
        assert_eq!(errnos().count(), words);
        assert!(errnos().any(|row| row == ("VFIO_DEVICE_SET_IRQS", Answer::Returned(4))));
        assert!(errnos().any(|row| row == ("open (group)", Answer::Errno(Errno::BUSY))));
    }

    #[test]
    fn the_table_is_sorted_and_says_nothing_twice() {
        let calls: Vec<_> = rows().map(|[call, _, _]| unquoted(call)).collect();
        assert!(calls.is_sorted_by(|one, next| one < next), "{calls:?}");
        for [call, answers, _] in rows() {
            let names: Vec<_> = quoted(answers)
                .filter(|word| !word.starts_with('+'))
                .collect();
            assert!(
                names.is_sorted_by(|one, next| one < next),
                "{call}: {names:?}"
            );
        }
    }

    #[test]
    fn the_text_says_what_the_table_says() {
        for [call, answers, from] in rows() {
            let text: Vec<_> = from.split_whitespace().map(paragraph).collect();
            let said: BTreeSet<_> = text.iter().flat_map(|text| named(text)).collect();
            for errno in quoted(answers).filter(|word| !word.starts_with('+')) {
                assert!(said.contains(errno), "{call}: {errno} is not in {from}");
            }
            let positive = quoted(answers).any(|word| word.starts_with('+'));
            let failures = from
                .split_whitespace()
                .any(|number| number.starts_with('P'));
            assert_eq!(positive, failures, "{call}");
        }
    }

    /// Where a paragraph is of one call alone, the table leaves nothing of it out.
    #[test]
    fn the_table_says_what_the_text_says() {
        for (call, number) in [
            ("VFIO_DEVICE_FEATURE", "F89"),
            ("VFIO_DEVICE_IOEVENTFD", "F90"),
            ("VFIO_DEVICE_RESET", "F87"),
            ("VFIO_DEVICE_SET_IRQS", "F83"),
            ("VFIO_DEVICE_SET_IRQS", "F85"),
            ("VFIO_EEH_PE_OP", "D58"),
            ("VFIO_GROUP_GET_DEVICE_FD", "A14"),
            ("VFIO_GROUP_GET_STATUS", "A13"),
            ("VFIO_GROUP_SET_CONTAINER", "A10"),
            ("VFIO_GROUP_SET_CONTAINER", "B19"),
            ("VFIO_GROUP_SET_CONTAINER", "C37"),
            ("VFIO_GROUP_UNSET_CONTAINER", "A11"),
            ("VFIO_IOMMU_DIRTY_PAGES", "B34"),
            ("VFIO_IOMMU_ENABLE", "C41"),
            ("VFIO_IOMMU_MAP_DMA (sPAPR)", "C44"),
            ("VFIO_IOMMU_MAP_DMA (sPAPR)", "D52"),
            ("VFIO_IOMMU_MAP_DMA (type1)", "B21"),
            ("VFIO_IOMMU_MAP_DMA (type1)", "B32"),
            ("VFIO_IOMMU_SPAPR_REGISTER_MEMORY", "D49"),
            ("VFIO_IOMMU_SPAPR_TCE_CREATE", "D54"),
            ("VFIO_IOMMU_SPAPR_TCE_GET_INFO", "C39"),
            ("VFIO_IOMMU_SPAPR_TCE_REMOVE", "D56"),
            ("VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY", "D51"),
            ("VFIO_SET_IOMMU", "A5"),
            ("VFIO_SET_IOMMU", "C37"),
            ("open (group)", "A12"),
        ] {
            for name in named(paragraph(number)) {
                let errno = answer(name).unwrap();
                // B32 is of UNMAP too.
                let other = (call, name) == ("VFIO_IOMMU_MAP_DMA (type1)", "EBUSY");
                let listed = errnos().any(|row| row == (call, errno));
                assert!(listed || other, "{call}: {number} says {name}");
            }
        }
    }

    #[test]
    fn the_ioctls_of_the_table_have_the_names_of_calls() {
        let known: BTreeSet<_> = [
            names::Kind::Type1,
            names::Kind::Spapr,
            names::Kind::Group,
            names::Kind::Device,
        ]
        .into_iter()
        .flat_map(|kind| (0..32).filter_map(move |n| names::ioctl(uapi::vfio(n), Some(kind))))
        .collect();
        for (call, _) in errnos().filter(|(call, _)| call.starts_with("VFIO_")) {
            let name = call.split(' ').next().unwrap();
            assert!(known.contains(name), "{call}");
        }
    }
}
