//! A kernel and its modules, from an unpacked Debian package.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSection};

/// Where packages have their modules: before and after Debian merged its directories.
const MODULES: [&str; 2] = ["lib/modules", "usr/lib/modules"];

/// What a machine boots.
pub(super) struct Kernel {
    pub(super) image: PathBuf,
    pub(super) release: String,
    /// The directory with all its modules.
    pub(super) tree: PathBuf,
    /// In the order in which they can be loaded.
    pub(super) modules: Vec<Module>,
}

/// A kernel module, decompressed.
pub(super) struct Module {
    pub(super) name: String,
    pub(super) content: Vec<u8>,
}

impl Kernel {
    /// Finds the kernel in `prefix`, and the modules of it that are `wanted` or needed by those.
    pub(super) fn load(prefix: &Path, wanted: &[&str]) -> Result<Self> {
        let modules = MODULES
            .map(|path| prefix.join(path))
            .into_iter()
            .find(|path| path.exists())
            .with_context(|| format!("find kernel modules in {}", prefix.display()))?;
        let release = only_entry(&modules)?;
        let modules = modules.join(&release);
        // Packages had the kernel where it is booted from, and have it with its modules from 7.x on.
        let image = ["vmlinuz", "vmlinux"]
            .into_iter()
            .flat_map(|name| {
                let booted = prefix.join(format!("boot/{name}-{release}"));
                [booted, modules.join(name)]
            })
            .find(|path| path.exists())
            .with_context(|| format!("find kernel {release} in {}", prefix.display()))?;
        let mut files = BTreeMap::new();
        find_modules(&modules.join("kernel"), &mut files)?;
        let mut loaded = Vec::new();
        for name in wanted {
            load_module(name, &files, &mut loaded)
                .with_context(|| format!("load module {name} of kernel {release}"))?;
        }
        Ok(Self {
            image,
            release,
            tree: modules,
            modules: loaded,
        })
    }
}

fn only_entry(directory: &Path) -> Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    match names.pop() {
        Some(name) if names.is_empty() => Ok(name),
        _ => bail!("{} should hold one kernel", directory.display()),
    }
}

/// Collects the modules below `directory` by their names.
fn find_modules(directory: &Path, found: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            find_modules(&entry.path(), found)?;
        } else if let Some(name) = module_name(&entry.file_name().to_string_lossy()) {
            found.insert(name, entry.path());
        }
    }
    Ok(())
}

/// The kernel's name for the module in this file.
fn module_name(file: &str) -> Option<String> {
    let (stem, _) = file.split_once(".ko")?;
    Some(stem.replace('-', "_"))
}

/// Appends a module after those that it depends on.
fn load_module(
    name: &str,
    files: &BTreeMap<String, PathBuf>,
    loaded: &mut Vec<Module>,
) -> Result<()> {
    if loaded.iter().any(|module| module.name == name) {
        return Ok(());
    }
    let path = files
        .get(name)
        .with_context(|| format!("the package has no module {name}"))?;
    let content = decompress(path).with_context(|| format!("read {}", path.display()))?;
    for dependency in dependencies(&content)? {
        load_module(&dependency, files, loaded)?;
    }
    loaded.push(Module {
        name: name.to_owned(),
        content,
    });
    Ok(())
}

fn decompress(path: &Path) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    if path.extension().is_some_and(|it| it == "xz") {
        lzma_rs::xz_decompress(&mut BufReader::new(File::open(path)?), &mut content)
            .map_err(|error| anyhow::anyhow!("decompress: {error:?}"))?;
    } else {
        content = fs::read(path)?;
    }
    Ok(content)
}

/// What the module says about itself in its `.modinfo`: `depends=NAME,NAME`.
fn dependencies(module: &[u8]) -> Result<Vec<String>> {
    let file = object::File::parse(module).context("parse as an object file")?;
    let section = file
        .section_by_name(".modinfo")
        .context("no section .modinfo")?;
    Ok(depends(section.data()?))
}

fn depends(modinfo: &[u8]) -> Vec<String> {
    modinfo
        .split(|&byte| byte == 0)
        .filter_map(|field| std::str::from_utf8(field).ok()?.strip_prefix("depends="))
        .flat_map(|names| names.split(','))
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_where_its_packages_have_it() {
        for (modules, image) in [
            ("lib/modules/6.1", "boot/vmlinuz-6.1"),
            ("usr/lib/modules/6.12", "boot/vmlinux-6.12"),
            ("usr/lib/modules/7.3", "usr/lib/modules/7.3/vmlinuz"),
        ] {
            let prefix = tempfile::tempdir().unwrap();
            let prefix = prefix.path();
            let image = prefix.join(image);
            fs::create_dir_all(prefix.join(modules).join("kernel")).unwrap();
            fs::create_dir_all(image.parent().unwrap()).unwrap();
            fs::write(&image, "").unwrap();
            let kernel = Kernel::load(prefix, &[]).unwrap();
            assert_eq!(kernel.image, image);
            assert!(modules.ends_with(&kernel.release), "{modules}");
        }
    }

    #[test]
    fn names_of_modules() {
        assert_eq!(module_name("vfio-pci.ko.xz").as_deref(), Some("vfio_pci"));
        assert_eq!(module_name("vfio.ko").as_deref(), Some("vfio"));
        assert_eq!(module_name("modules.order"), None);
    }

    #[test]
    fn dependencies_of_a_module() {
        let modinfo = b"license=GPL v2\0depends=vfio-pci-core,vfio\0name=vfio_pci\0";
        assert_eq!(depends(modinfo), ["vfio_pci_core", "vfio"]);
        assert_eq!(depends(b"depends=\0name=vfio\0"), [""; 0]);
    }
}
