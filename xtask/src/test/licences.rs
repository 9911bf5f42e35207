//! Licences: everything that is linked into the product can be used under one that we accept.

use anyhow::{Context, Result, bail};
use cargo_metadata::Package;
use spdx::{Expression, LicenseReq};

use super::tally::Tally;

/// Permissive licences, which ask for no more than to be named.
const ACCEPTED: &[&str] = &[
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

pub(super) fn check(tally: &mut Tally) -> Result<()> {
    tally.check("licences", |_| {
        let metadata = super::metadata()?;
        let refused: Vec<_> = metadata
            .packages
            .iter()
            .filter_map(|package| judge(package).err())
            .map(|error| format!("{error:#}"))
            .collect();
        if !refused.is_empty() {
            bail!("{}", refused.join("; "));
        }
        Ok(())
    });
    Ok(())
}

fn judge(package: &Package) -> Result<()> {
    let licence = package
        .license
        .as_deref()
        .with_context(|| format!("{} names no licence", package.name))?;
    let expression = Expression::parse_mode(licence, spdx::ParseMode::LAX)
        .with_context(|| format!("{}: {licence}", package.name))?;
    if !expression.evaluate(is_accepted) {
        bail!(
            "{} is under {licence}, which is not in the list",
            package.name
        );
    }
    Ok(())
}

fn is_accepted(requirement: &LicenseReq) -> bool {
    requirement
        .license
        .id()
        .is_some_and(|id| ACCEPTED.contains(&id.name))
}
