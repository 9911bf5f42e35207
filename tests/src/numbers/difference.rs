//! What differs between two reports.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Stands where words are expected, or nothing: no number, and no yes or no.
pub(super) const WORDS: &str = "(words)";

/// Where they differ, and how; a line each.
pub(super) fn differences(expected: &Value, printed: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", Some(expected), Some(printed), &mut found);
    found
}

fn compare(
    place: &str,
    expected: Option<&Value>,
    printed: Option<&Value>,
    found: &mut Vec<String>,
) {
    match (expected, printed) {
        (Some(Value::Object(expected)), Some(Value::Object(printed))) => {
            for key in keys(expected, printed) {
                let place = format!("{place}.{key}");
                compare(&place, expected.get(key), printed.get(key), found);
            }
        }
        (Some(Value::Array(expected)), Some(Value::Array(printed))) => {
            for at in 0..expected.len().max(printed.len()) {
                let place = format!("{place}[{at}]");
                compare(&place, expected.get(at), printed.get(at), found);
            }
        }
        (Some(Value::String(words)), Some(printed)) if words == WORDS && is_words(printed) => {}
        (expected, printed) if expected == printed => {}
        (expected, printed) => {
            let [expected, printed] =
                [expected, printed].map(|it| it.map_or("nothing".to_owned(), Value::to_string));
            found.push(format!("{place}: {printed} is printed, {expected} is so"));
        }
    }
}

fn keys<'a>(
    expected: &'a Map<String, Value>,
    printed: &'a Map<String, Value>,
) -> BTreeSet<&'a String> {
    expected.keys().chain(printed.keys()).collect()
}

/// Whether nothing in it is a number, or a yes or no.
fn is_words(value: &Value) -> bool {
    match value {
        Value::Null | Value::String(_) => true,
        Value::Bool(_) | Value::Number(_) => false,
        Value::Array(values) => values.iter().all(is_words),
        Value::Object(fields) => fields.values().all(is_words),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_difference_is_found_where_it_is() {
        let expected = json!({ "a": [1, true], "b": { "c": "x", "d": null }, "e": 7 });
        let printed = json!({ "a": [1, false, 2], "b": { "c": "y", "d": null }, "f": 8 });
        assert_eq!(differences(&expected, &expected), Vec::<String>::new());
        assert_eq!(
            differences(&expected, &printed),
            [
                ".a[1]: false is printed, true is so",
                ".a[2]: 2 is printed, nothing is so",
                ".b.c: \"y\" is printed, \"x\" is so",
                ".e: nothing is printed, 7 is so",
                ".f: 8 is printed, nothing is so",
            ]
        );
    }

    #[test]
    fn among_words_is_no_number() {
        let words = json!({ "why": WORDS });
        for printed in [json!("it is so"), json!(null), json!([{ "what": "that" }])] {
            assert!(differences(&words, &json!({ "why": printed })).is_empty());
        }
        for printed in [
            json!(7),
            json!(false),
            json!([{ "what": "that", "how often": 7 }]),
        ] {
            assert_eq!(differences(&words, &json!({ "why": printed })).len(), 1);
        }
        assert_eq!(differences(&words, &json!({})).len(), 1);
    }
}
