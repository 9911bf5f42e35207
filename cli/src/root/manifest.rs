//! `host.json` of a capture: what a host answered that is no file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use vfio_core::kernel::{Errno, Node};

/// What this program writes, and the newest that it reads.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// A host, but for its files.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    /// The program that made it.
    pub(crate) made_by: String,
    /// The name of the machine, if it was a simulated one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) simulated: Option<String>,
    pub(crate) architecture: String,
    pub(crate) release: String,
    /// In bytes.
    pub(crate) page_size: usize,
    /// What the user who asked may lock, in bytes; `None` is no limit.
    pub(crate) memlock_limit: Option<u64>,
    /// What VFIO's container answered, if it could be opened.
    pub(crate) container: Option<ContainerAnswers>,
    pub(crate) nodes: BTreeMap<PathBuf, NodeRow>,
    /// What was asked and not answered, where the files do not say the same.
    pub(crate) refused: Vec<Refusal>,
}

/// What a container without a group was asked.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct ContainerAnswers {
    pub(crate) api_version: Option<Answer>,
    /// By the number of the extension.
    pub(crate) extensions: BTreeMap<u32, Answer>,
}

/// What an ioctl answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Returned(u32),
    Errno(Code),
}

impl Answer {
    pub(crate) fn result(self) -> vfio_core::kernel::Result<u32> {
        match self {
            Self::Returned(value) => Ok(value),
            Self::Errno(Code(errno)) => Err(errno),
        }
    }
}

/// Whose a node is, and what came of asking for reading and writing.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct NodeRow {
    /// The permissions in octal, as `ls` and `chmod` would have them: `0660`.
    mode: Octal,
    owner: u32,
    group: u32,
    /// Why it may not be opened.
    refused: Option<Code>,
}

impl From<Node> for NodeRow {
    fn from(node: Node) -> Self {
        Self {
            mode: Octal(node.mode),
            owner: node.owner,
            group: node.group,
            refused: node.access.err().map(Code),
        }
    }
}

impl From<NodeRow> for Node {
    fn from(row: NodeRow) -> Self {
        Self {
            mode: row.mode.0,
            owner: row.owner,
            group: row.group,
            access: row.refused.map_or(Ok(()), |Code(errno)| Err(errno)),
        }
    }
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) path: PathBuf,
    pub(crate) operation: Operation,
    pub(crate) errno: Code,
}

/// What can be asked of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Operation {
    Open,
    Read,
    List,
    ReadLink,
    Node,
}

/// An errno, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "i32", into = "i32")]
pub(crate) struct Code(pub(crate) Errno);

impl TryFrom<i32> for Code {
    type Error = String;

    fn try_from(number: i32) -> std::result::Result<Self, String> {
        Errno::from_io_error(&std::io::Error::from_raw_os_error(number))
            .map(Self)
            .ok_or_else(|| format!("{number} is no errno"))
    }
}

impl From<Code> for i32 {
    fn from(Code(errno): Code) -> Self {
        errno.raw_os_error()
    }
}

impl PartialOrd for Code {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Code {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.raw_os_error().cmp(&other.0.raw_os_error())
    }
}

/// The lower twelve bits of a mode.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Octal(u32);

impl TryFrom<String> for Octal {
    type Error = String;

    fn try_from(digits: String) -> std::result::Result<Self, String> {
        u32::from_str_radix(&digits, 8)
            .ok()
            .filter(|mode| *mode <= 0o7777)
            .map(Self)
            .ok_or_else(|| format!("{digits:?} is no mode"))
    }
}

impl From<Octal> for String {
    fn from(Octal(mode): Octal) -> Self {
        format!("{mode:04o}")
    }
}

impl Manifest {
    /// Reads it, and believes nothing that this program could stumble over.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        /// What every version has.
        #[derive(Deserialize)]
        struct Versioned {
            schema_version: u32,
        }
        let Versioned { schema_version } =
            serde_json::from_slice(bytes).context("host.json is none of a capture")?;
        if schema_version > SCHEMA_VERSION {
            bail!(
                "host.json has version {schema_version}, and this program reads {SCHEMA_VERSION}: use a \
                 newer vfioctl"
            );
        }
        let manifest: Self = serde_json::from_slice(bytes).context("host.json makes no sense")?;
        let page_sizes = 4096..=1 << 20;
        if !manifest.page_size.is_power_of_two() || !page_sizes.contains(&manifest.page_size) {
            bail!(
                "host.json makes no sense: pages of {} bytes",
                manifest.page_size
            );
        }
        Ok(manifest)
    }
}
