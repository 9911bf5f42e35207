//! A capture as an archive: a tree from a `.tar.gz` that somebody sent.
//!
//! Nothing is unpacked onto this host. What no capture has (links of files, devices, names that lead out of it) is refused,
//! and so is what unpacks to more than a capture would.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path};
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use flate2::read::MultiGzDecoder;
use tar::{Archive, Entry as TarEntry, EntryType};

use super::tree::{Directory, Entry, Tree};
use super::{LARGEST_FILE, is_read};

const BROKEN: &str = "the archive is broken";

/// What a gzip member starts with.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// The files of a host have so many bytes at most, all together.
const LARGEST_HOST: u64 = 1 << 30;
/// A host of 100,000 devices has three million.
const MOST_ENTRIES: u64 = 4_000_000;
/// The longest path that Linux takes.
const LONGEST_PATH: usize = 4096;
/// What may stand before the bytes of a file: its header, and the parts of its name that do not fit there.
const LARGEST_HEADER: u64 = 64 << 10;
/// What usually does, with what fills the last block of the file.
const USUAL_HEADER: u64 = 1024;

/// Reads an archive.
pub(crate) fn read(path: &Path) -> Result<Tree> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        bail!("it is neither a directory nor a file");
    }
    unpack(io::BufReader::new(file))
}

/// Unpacks an archive in memory.
pub(crate) fn unpack(compressed: impl Read) -> Result<Tree> {
    let mut first = Vec::new();
    let mut compressed = compressed;
    compressed.by_ref().take(2).read_to_end(&mut first)?;
    if first != GZIP {
        bail!("it is no archive of `vfioctl capture`: those are compressed by gzip");
    }
    let budget = Rc::new(Budget {
        in_all: Cell::new(LARGEST_HOST + MOST_ENTRIES * USUAL_HEADER),
        now: Cell::new(LARGEST_HEADER),
    });
    let bytes = Bounded {
        inner: MultiGzDecoder::new(first.chain(compressed)),
        budget: Rc::clone(&budget),
    };
    let mut archive = Archive::new(bytes);
    let mut tree = Tree::default();
    let (mut counted, mut size) = (0, 0_u64);
    for entry in archive.entries()? {
        let mut entry = entry.context(BROKEN)?;
        counted += 1;
        size = size.saturating_add(entry.size());
        if counted > MOST_ENTRIES || size > LARGEST_HOST {
            bail!("it unpacks to more than any host: {counted} files of {size} bytes so far");
        }
        budget.now.set(entry.size() + LARGEST_HEADER);
        add(&mut tree, &mut entry).with_context(|| shown(&entry))?;
    }
    if counted == 0 {
        bail!("the archive is empty");
    }
    // The checksum is behind the end of the archive.
    io::copy(&mut archive.into_inner(), &mut io::sink()).context(BROKEN)?;
    Ok(tree)
}

/// The name of an entry, for messages.
fn shown<R: Read>(entry: &TarEntry<'_, R>) -> String {
    String::from_utf8_lossy(&entry.path_bytes()).into_owned()
}

fn add<R: Read>(tree: &mut Tree, entry: &mut TarEntry<'_, R>) -> Result<()> {
    let kind = entry.header().entry_type();
    if kind == EntryType::XGlobalHeader {
        return Ok(());
    }
    let place = place(entry)?;
    let mode = entry.header().mode()?;
    let found = match kind {
        EntryType::Directory => Entry::Directory(Directory::default()),
        EntryType::Symlink => match entry.link_name()? {
            Some(target) => Entry::Link(target.into_owned()),
            None => bail!("it is a link to nowhere"),
        },
        EntryType::Regular | EntryType::Continuous => content(entry, mode)?,
        other => bail!("no capture has an entry of this kind ({other:?})"),
    };
    if place.is_empty() {
        return Ok(()); // `./`
    }
    Ok(tree.insert_exactly(&place, found)?)
}

fn content<R: Read>(entry: &mut TarEntry<'_, R>, mode: u32) -> Result<Entry> {
    if !is_read(mode) {
        return Ok(Entry::Unread);
    }
    if entry.size() > LARGEST_FILE {
        return Ok(Entry::TooLarge);
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    Ok(Entry::File(bytes))
}

/// Where an entry is, by the names of the directories that it is in.
fn place<R: Read>(entry: &TarEntry<'_, R>) -> Result<Vec<OsString>> {
    if entry.path_bytes().len() > LONGEST_PATH {
        bail!("its name is longer than a path can be");
    }
    let path = entry.path()?;
    let mut place = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => place.push(name.to_owned()),
            Component::CurDir => {}
            _ => bail!("its name leads out of the archive"),
        }
    }
    Ok(place)
}

/// How many bytes may yet be unpacked: a small archive can unpack to any number of them.
struct Budget {
    in_all: Cell<u64>,
    /// Until the header of the next file is read.
    now: Cell<u64>,
}

impl Budget {
    /// Spends some; `None` if there are not so many.
    fn spend(&self, count: u64) -> Option<()> {
        self.in_all.set(self.in_all.get().checked_sub(count)?);
        self.now.set(self.now.get().checked_sub(count)?);
        Some(())
    }
}

/// As many bytes as the budget has, and then an error.
struct Bounded<R> {
    inner: R,
    budget: Rc<Budget>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(bytes)?;
        match self.budget.spend(count as u64) {
            Some(()) => Ok(count),
            None => Err(io::Error::other("it unpacks to more than any host")),
        }
    }
}
