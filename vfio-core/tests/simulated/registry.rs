//! The backends of a program.

use vfio_core::ErrorKind;
use vfio_core::iommu::Registry;

use crate::setup::{backend, v1, v2};

#[test]
fn an_empty_registry_says_which_line_is_missing() {
    for empty in [Registry::linked(), Registry::of([])] {
        let error = empty.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Registry);
        assert!(
            error.to_string().contains("use iommu_type1 as _;"),
            "{error}"
        );
        assert!(
            error.to_string().contains("use iommu_spapr as _;"),
            "{error}"
        );
    }
}

#[test]
fn two_of_one_name_are_refused() {
    // Another backend stands between them in the order of preference.
    let error = Registry::of([v1(), backend("v1", 1, 7), v2()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Registry);
    assert!(error.to_string().contains("\"v1\""), "{error}");
}

#[test]
fn they_are_listed_in_order_of_preference() {
    let registry = Registry::of([v1(), v2()]).unwrap();
    assert_eq!(
        registry.iter().map(|r| r.name).collect::<Vec<_>>(),
        ["v2", "v1"]
    );
}

#[test]
fn one_of_them_can_be_asked_for_by_name() {
    let registry = Registry::of([v1(), v2()]).unwrap();
    let only = registry.only("v1").unwrap();
    assert_eq!(only.iter().map(|r| r.name).collect::<Vec<_>>(), ["v1"]);
    let error = registry.only("v3").unwrap_err();
    assert!(error.to_string().contains("there are v2, v1"), "{error}");
}
