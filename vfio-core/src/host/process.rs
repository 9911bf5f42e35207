//! Who asks: the user, and what this process may.

use crate::kernel::Kernel;

use super::text::text;

/// The user that this process acts as, and the groups of users that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The effective user id.
    pub id: u32,
    /// The effective group id and the supplementary ones.
    pub groups: Vec<u32>,
}

impl User {
    /// Who asks; `None` if proc does not say.
    pub fn of(kernel: &dyn Kernel) -> Option<Self> {
        let status = text(kernel, "/proc/self/status").ok()?;
        let numbers = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let numbers = line.split_whitespace().map(|word| word.parse().ok());
            numbers.collect::<Option<Vec<u32>>>()
        };
        // Real, effective, saved, of the file system.
        let effective = |name| numbers(name)?.get(1).copied();
        let mut groups = vec![effective("Gid:")?];
        groups.extend(numbers("Groups:").unwrap_or_default());
        groups.sort_unstable();
        groups.dedup();
        Some(Self {
            id: effective("Uid:")?,
            groups,
        })
    }
}
