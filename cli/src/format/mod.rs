//! The forms in which an answer can be printed.

pub(crate) mod nfd;
pub(crate) mod prometheus;

use clap::ValueEnum;

/// In which form an inventory is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs; `vfioctl schema` prints its JSON Schema.
    Json,
    /// For the textfile collector of Prometheus' node exporter.
    Prometheus,
    /// A file of features for Kubernetes' Node Feature Discovery.
    Nfd,
}

/// Which form is wanted.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct FormatArgs {
    /// In which form
    #[arg(long, value_enum, default_value = "text", value_name = "FORM")]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

impl FormatArgs {
    pub(crate) fn format(self) -> Format {
        match self.json {
            true => Format::Json,
            false => self.format,
        }
    }
}
