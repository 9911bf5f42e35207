//! A file of features, as Kubernetes' Node Feature Discovery reads it (its source `local`): a line is a label of the node.

use std::io;

use crate::answer::Answer;
use crate::output::Output;

/// Labels have no more letters in their name, and none in their value.
const MOST: usize = 63;
/// What each name begins with. NFD gives names without a namespace its own, and says that it will no longer.
const NAMESPACE: &str = "feature.node.kubernetes.io/";

/// The features of a host.
#[derive(Default)]
pub(crate) struct Features(Vec<Line>);

enum Line {
    Label(String, String),
    Unknown(String, String),
}

impl Features {
    pub(crate) fn add(&mut self, name: &str, value: impl ToString) {
        let label = Line::Label(label(name), label(&value.to_string()));
        self.0.push(label);
    }

    /// An answer that is not known is a comment.
    pub(crate) fn add_answer(&mut self, name: &str, answer: &Answer) {
        match answer {
            Answer::Yes => self.add(name, true),
            Answer::No(_) => self.add(name, false),
            Answer::Unknown(why) => self.0.push(Line::Unknown(label(name), why.clone())),
        }
    }

    pub(crate) fn print(&self, out: &mut Output) -> io::Result<()> {
        for line in &self.0 {
            match line {
                Line::Label(name, value) => {
                    out.line(format_args!("{NAMESPACE}vfio.{name}={value}"))?
                }
                Line::Unknown(name, why) => {
                    out.line(format_args!("# vfio.{name} is unknown: {why}"))?;
                }
            }
        }
        Ok(())
    }
}

/// A name or value of a label: letters, digits, `.`, `_` and `-`, beginning and ending with a letter or digit.
fn label(text: &str) -> String {
    let fit = |letter: char| match letter {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' => letter,
        _ => '-',
    };
    let text: String = text.chars().map(fit).take(MOST - "vfio.".len()).collect();
    text.trim_matches(|letter: char| !letter.is_ascii_alphanumeric())
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_the_letters_that_labels_may_have() {
        assert_eq!(label("backend.sPAPR v2"), "backend.sPAPR-v2");
        assert_eq!(label("-\x1b[31m-"), "31m");
        assert_eq!(label(&"x".repeat(100)).len(), 58);
    }
}
