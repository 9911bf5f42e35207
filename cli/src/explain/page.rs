//! The pages of documentation, one a diagnosis, as they are in `docs/diagnoses`.

use vfio_core::diagnosis::catalogue;

/// What there is to say about a diagnosis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    pub(super) code: &'static str,
    pub(super) name: &'static str,
    /// Markdown that can be read as it is.
    pub(super) text: &'static str,
}

impl Page {
    /// Every page, by code.
    pub(super) fn all() -> Vec<Self> {
        let entries = catalogue().into_iter();
        entries
            .filter_map(|entry| {
                let (code, text) = *TEXTS.iter().find(|(code, _)| *code == entry.code)?;
                Some(Self {
                    code,
                    name: entry.name,
                    text,
                })
            })
            .collect()
    }

    /// The page of that code, in whatever case it is written.
    pub(super) fn of(code: &str) -> Option<Self> {
        let mut pages = Self::all().into_iter();
        pages.find(|page| page.code.eq_ignore_ascii_case(code))
    }
}

macro_rules! text {
    ($code:literal) => {
        (
            $code,
            include_str!(concat!("../../../docs/diagnoses/", $code, ".md")),
        )
    };
}

/// The text of each page, by the code of its diagnosis.
const TEXTS: &[(&str, &str)] = &[
    text!("VFIO-01"),
    text!("VFIO-02"),
    text!("VFIO-03"),
    text!("VFIO-04"),
    text!("VFIO-05"),
    text!("VFIO-06"),
    text!("VFIO-07"),
    text!("VFIO-08"),
    text!("VFIO-09"),
    text!("VFIO-10"),
    text!("VFIO-11"),
    text!("VFIO-12"),
    text!("VFIO-13"),
    text!("VFIO-14"),
    text!("VFIO-15"),
    text!("VFIO-16"),
    text!("VFIO-17"),
    text!("VFIO-18"),
    text!("VFIO-19"),
    text!("VFIO-20"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_diagnosis_of_the_catalogue_has_a_page() {
        assert_eq!(Page::all().len(), catalogue().len());
        assert_eq!(TEXTS.len(), catalogue().len());
    }

    #[test]
    fn the_title_of_a_page_is_its_code_and_name() {
        for page in Page::all() {
            let title = format!("# {} {}: ", page.code, page.name);
            assert!(page.text.starts_with(&title), "{title}");
        }
    }

    #[test]
    fn the_index_has_every_page_with_its_title() {
        let index = include_str!("../../../docs/diagnoses/README.md");
        for Page { code, name, text } in Page::all() {
            let title = text.lines().next().unwrap();
            let said = title.split_once(": ").unwrap().1;
            let row = format!("| [{code}]({code}.md) | {name} | {said} |");
            assert!(index.contains(&row), "{row}");
        }
        let rows = index.lines().filter(|line| line.starts_with("| [VFIO-"));
        assert_eq!(rows.count(), Page::all().len());
    }

    #[test]
    fn a_page_is_found_by_its_whole_code_alone() {
        assert_eq!(Page::of("vfio-04").unwrap().name, "memlock");
        for other in ["4", "04", "VFIO-4", "VFIO-21", "VFIO-04 ", ""] {
            assert!(Page::of(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_page_fits_a_terminal() {
        for Page { code, text, .. } in Page::all() {
            assert!(text.lines().count() <= 50, "{code} is long");
            let lines = text.lines().filter(|line| !line.starts_with("    ")); // not what is quoted
            for line in lines {
                assert!(line.chars().count() <= 110, "{code}: {line}");
            }
        }
    }
}
