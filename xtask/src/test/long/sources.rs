//! The digest of sources: the same on every machine as long as no file changes, comes or goes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// Of each of `paths` below `root`: of a package its `src` and `tests`, of another directory every file,
/// of a file itself.
pub(super) fn digest(root: &Path, paths: &[&str]) -> Result<String> {
    let mut files = BTreeMap::new();
    for path in paths {
        if root.join(path).join("Cargo.toml").is_file() {
            for part in ["src", "tests"] {
                let part = format!("{path}/{part}");
                if root.join(&part).is_dir() {
                    collect(root, part, &mut files)?;
                }
            }
        } else {
            collect(root, (*path).to_owned(), &mut files)?;
        }
    }
    let mut hasher = Sha256::new();
    for (path, content) in files {
        for part in [path.as_bytes(), &content] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    let mut digest = String::from("sha256:");
    for byte in hasher.finalize() {
        write!(digest, "{byte:02x}").context("write a digest")?;
    }
    Ok(digest)
}

/// What a compiler looks at: lines that are comments, those of documentation too, change no result.
fn without_comments(source: &[u8]) -> Vec<u8> {
    let lines = source.split_inclusive(|byte| *byte == b'\n');
    let code = lines.filter(|line| !line.trim_ascii_start().starts_with(b"//"));
    code.flatten().copied().collect()
}

/// Reads `path` below `root`, or the files that are in it, each under its path with slashes.
fn collect(root: &Path, path: String, files: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    let place = root.join(&path);
    if !place.is_dir() {
        let content = fs::read(&place).with_context(|| format!("read {path}"))?;
        let content = if path.ends_with(".rs") {
            without_comments(&content)
        } else {
            content
        };
        files.insert(path, content);
        return Ok(());
    }
    let entries = fs::read_dir(&place).with_context(|| format!("list {path}"))?;
    for entry in entries {
        let name = entry.with_context(|| format!("list {path}"))?.file_name();
        let Some(name) = name.to_str() else {
            bail!("{path} has a file whose name is not UTF-8");
        };
        collect(root, format!("{path}/{name}"), files)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        dir
    }

    fn of(files: &[(&str, &str)]) -> String {
        digest(tree(files).path(), &["one", "two.toml"]).unwrap()
    }

    #[test]
    fn the_digest_is_that_of_names_and_contents() {
        let files = [
            ("one/Cargo.toml", ""),
            ("one/src/lib.rs", "ab"),
            ("one/tests/t.rs", "c"),
            ("two.toml", "d"),
        ];
        let known = of(&files);
        // Worked out apart from this code: a digest that changed would make every report stale.
        assert_eq!(
            known,
            "sha256:3d4418f2ad5787380089c3d222e26c70f9f791ccdeb6fa782d8dbf133dc48cc8"
        );
        for (at, change) in [
            (1, ("one/src/lib.rs", "ac")),
            (1, ("one/src/main.rs", "ab")),
            (2, ("one/tests/t.rs", "")),
            (3, ("two.toml", "e")),
        ] {
            let mut changed = files;
            changed[at] = change;
            assert_ne!(of(&changed), known, "{change:?}");
        }
        let unseen = [files.as_slice(), &[("one/benches/b.rs", "x")]].concat();
        assert_eq!(of(&unseen), known);
        let mut commented = files;
        commented[1].1 = "    // what it is for\n/// and why\nab";
        assert_eq!(of(&commented), known);
    }

    #[test]
    fn what_is_covered_must_be_there() {
        let dir = tree(&[("one/Cargo.toml", "")]);
        let error = digest(dir.path(), &["one", "two.toml"]).unwrap_err();
        assert!(error.to_string().contains("two.toml"), "{error:#}");
    }
}
