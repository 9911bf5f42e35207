//! A host's files in memory: what an archive unpacks to, and what a capture is put together in.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use vfio_core::kernel::{Errno, Result};

use super::NOT_LISTED;

/// The kernel follows so many links, and no more.
const MOST_LINKS: usize = 40;

/// Something of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    Directory(Directory),
    File(Vec<u8>),
    /// A name that nobody has looked behind.
    Unread,
    /// A file of more bytes than are kept.
    TooLarge,
    /// Where it leads is data: it may be anything.
    Link(PathBuf),
}

/// The names in a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Directory(BTreeMap<OsString, Entry>);

/// The tree of a host. A path is absolute here whether it says so or not, and nothing leads out of the tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tree(Directory);

/// A part of a path, and what is there.
type Step<'a, 'p> = (&'p OsStr, Option<&'a Entry>);

impl Tree {
    pub(crate) fn read(&self, path: &Path) -> Result<Vec<u8>> {
        match self.find(path, true)? {
            Some(Entry::File(bytes)) => Ok(bytes.clone()),
            Some(Entry::Unread) => Err(Errno::NODATA),
            Some(Entry::TooLarge) => Err(Errno::FBIG),
            // A link would have been followed.
            Some(Entry::Link(_) | Entry::Directory(_)) | None => Err(Errno::ISDIR),
        }
    }

    pub(crate) fn list(&self, path: &Path) -> Result<Vec<OsString>> {
        let directory = match self.find(path, true)? {
            Some(Entry::Directory(directory)) => directory,
            None => &self.0,
            Some(Entry::Unread) => return Err(Errno::NODATA), // it may be one
            Some(_) => return Err(Errno::NOTDIR),
        };
        Ok(directory.0.keys().cloned().collect())
    }

    pub(crate) fn read_link(&self, path: &Path) -> Result<PathBuf> {
        match self.find(path, false)? {
            Some(Entry::Link(target)) => Ok(target.clone()),
            Some(Entry::Unread) => Err(Errno::NODATA), // it may be one
            _ => Err(Errno::INVAL),
        }
    }

    /// Puts something where a path leads, with the directories that it is in. What is there is replaced, but for a directory
    /// by a directory, which keeps what it has.
    ///
    /// # Errors
    /// The path leads through something that is no directory, in a circle, or to the root.
    pub(crate) fn insert(&mut self, path: &Path, entry: Entry) -> Result<()> {
        let place = self.place(path, false)?;
        self.insert_exactly(&place, entry)
    }

    /// Puts something exactly there: no link is followed.
    ///
    /// # Errors
    /// `ENOTDIR`: the path leads through something that is no directory.
    pub(crate) fn insert_exactly(&mut self, place: &[OsString], entry: Entry) -> Result<()> {
        match place.split_last() {
            Some((name, parents)) => self.0.insert(parents, name, entry),
            None => Err(Errno::ISDIR),
        }
    }

    /// Puts these names into a directory, and answers where that is; behind those that are new there, nobody has looked.
    ///
    /// # Errors
    /// Those of [`insert`](Self::insert); `ENOTDIR`.
    pub(crate) fn add_names(
        &mut self,
        path: &Path,
        names: impl IntoIterator<Item = OsString>,
    ) -> Result<Vec<OsString>> {
        let place = self.place(path, true)?;
        let mut directory = &mut self.0;
        for name in &place {
            directory = directory.enter(name.clone())?;
        }
        for name in names {
            directory.0.entry(name).or_insert(Entry::Unread);
        }
        Ok(place)
    }

    /// Marks all directories but those as [not listed](NOT_LISTED).
    pub(crate) fn mark(&mut self, listed: &BTreeSet<Vec<OsString>>) {
        self.0.mark(&mut Vec::new(), listed);
    }

    /// Takes what is in a directory of the root as a tree of its own.
    pub(crate) fn take(&mut self, name: &str) -> Option<Tree> {
        match self.0.0.remove(OsStr::new(name))? {
            Entry::Directory(directory) => Some(Tree(directory)),
            _ => None,
        }
    }

    /// The names in the root, sorted, with what they are.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&OsStr, &Entry)> {
        self.0.entries()
    }

    /// What a path leads to; `None` is the root. A link at its end is followed if asked for.
    fn find(&self, path: &Path, follow: bool) -> Result<Option<&Entry>> {
        match self.walk(path, follow)?.pop() {
            Some((_, entry)) => entry.ok_or(Errno::NOENT).map(Some),
            None => Ok(None),
        }
    }

    /// Where a path leads, as a path without links.
    fn place(&self, path: &Path, follow: bool) -> Result<Vec<OsString>> {
        let steps = self.walk(path, follow)?.into_iter();
        Ok(steps.map(|(name, _)| name.to_owned()).collect())
    }

    /// Where a path leads, step by step from the root and without links; what is not there stands for itself.
    fn walk<'a: 'p, 'p>(&'a self, path: &'p Path, follow: bool) -> Result<Vec<Step<'a, 'p>>> {
        let mut steps: Vec<Step<'a, 'p>> = Vec::new();
        let mut ahead: Vec<Component<'p>> = path.components().rev().collect();
        let mut links = 0;
        while let Some(component) = ahead.pop() {
            let name = match component {
                Component::Normal(name) => name,
                Component::CurDir | Component::Prefix(_) => continue,
                Component::RootDir => {
                    steps.clear();
                    continue;
                }
                Component::ParentDir => {
                    steps.pop(); // above the root is the root
                    continue;
                }
            };
            let entry = match steps.last() {
                None => self.0.0.get(name),
                Some((_, None)) => None,
                Some((_, Some(Entry::Directory(directory)))) => directory.0.get(name),
                Some((_, Some(Entry::Unread))) => return Err(Errno::NODATA),
                Some((_, Some(_))) => return Err(Errno::NOTDIR),
            };
            match entry {
                Some(Entry::Link(target)) if follow || !ahead.is_empty() => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Errno::LOOP);
                    }
                    ahead.extend(target.components().rev());
                }
                entry => steps.push((name, entry)),
            }
        }
        Ok(steps)
    }
}

impl Directory {
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&OsStr, &Entry)> {
        self.0.iter().map(|(name, entry)| (name.as_os_str(), entry))
    }

    fn mark(&mut self, place: &mut Vec<OsString>, listed: &BTreeSet<Vec<OsString>>) {
        for (name, entry) in &mut self.0 {
            if let Entry::Directory(directory) = entry {
                place.push(name.clone());
                directory.mark(place, listed);
                place.pop();
            }
        }
        if !listed.contains(place) {
            self.0.insert(NOT_LISTED.into(), Entry::Unread);
        }
    }

    fn insert(&mut self, parents: &[OsString], name: &OsStr, entry: Entry) -> Result<()> {
        let mut directory = self;
        for parent in parents {
            directory = directory.enter(parent.clone())?;
        }
        match (directory.0.get(name), entry) {
            (Some(Entry::Directory(_)), Entry::Directory(_)) => {}
            (_, entry) => {
                directory.0.insert(name.to_owned(), entry);
            }
        }
        Ok(())
    }

    /// A directory in this one, which is made if nothing is there, or nobody has looked behind its name.
    fn enter(&mut self, name: OsString) -> Result<&mut Directory> {
        let there = self.0.entry(name).or_insert(Entry::Unread);
        if *there == Entry::Unread {
            *there = Entry::Directory(Directory::default());
        }
        match there {
            Entry::Directory(directory) => Ok(directory),
            _ => Err(Errno::NOTDIR),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(entries: &[(&str, Entry)]) -> Tree {
        let mut tree = Tree::default();
        for (path, entry) in entries {
            tree.insert(path.as_ref(), entry.clone()).unwrap();
        }
        tree
    }

    fn file(text: &str) -> Entry {
        Entry::File(text.into())
    }

    fn link(target: &str) -> Entry {
        Entry::Link(target.into())
    }

    #[test]
    fn links_lead_on_inside_the_tree_and_never_out_of_it() {
        let tree = tree(&[
            ("/sys/devices/card/vendor", file("1")),
            ("/sys/bus/card", link("../devices/card")),
            ("/sys/out", link("../../../../etc/passwd")),
            ("/sys/absolute", link("/sys/bus/card")),
            ("/etc/passwd", file("captured")),
        ]);
        let read = |path: &str| tree.read(path.as_ref()).map(|it| it[0]);
        assert_eq!(read("/sys/bus/card/vendor"), Ok(b'1'));
        assert_eq!(read("/sys/absolute/vendor"), Ok(b'1'));
        assert_eq!(read("/../../sys/absolute/../card/vendor"), Ok(b'1'));
        assert_eq!(read("/sys/out"), Ok(b'c'));
        assert_eq!(read("/sys/bus/card"), Err(Errno::ISDIR));
        assert_eq!(read("/sys/bus/none"), Err(Errno::NOENT));
        assert_eq!(read("/etc/passwd/x"), Err(Errno::NOTDIR));
        let target = tree.read_link("/sys/out".as_ref());
        assert_eq!(target, Ok(PathBuf::from("../../../../etc/passwd")));
    }

    #[test]
    fn a_circle_of_links_ends() {
        let tree = tree(&[
            ("/a", link("b")),
            ("/b", link("/a")),
            ("/deeper", link("deeper/deeper")),
        ]);
        for path in ["/a", "/b/x", "/deeper"] {
            assert_eq!(tree.read(path.as_ref()), Err(Errno::LOOP), "{path}");
            assert_eq!(tree.list(path.as_ref()), Err(Errno::LOOP), "{path}");
        }
    }

    #[test]
    fn what_nobody_has_looked_behind_is_not_said_to_be_absent_or_empty() {
        let mut tree = tree(&[("/sys/a/known", file("1"))]);
        let names = ["known", "other"].map(OsString::from);
        tree.add_names("/sys/a".as_ref(), names.clone()).unwrap();
        assert_eq!(tree.list("/sys/a".as_ref()), Ok(names.to_vec()));
        let other = Path::new("/sys/a/other");
        assert_eq!(tree.read(other), Err(Errno::NODATA));
        assert_eq!(tree.read_link(other), Err(Errno::NODATA));
        assert_eq!(tree.list(other), Err(Errno::NODATA));
        assert_eq!(tree.read(&other.join("deeper")), Err(Errno::NODATA));
        assert_eq!(tree.read("/sys/a/known".as_ref()).unwrap(), b"1");
    }

    #[test]
    fn what_is_put_through_a_link_is_where_it_leads() {
        let mut tree = tree(&[("/sys/bus/card", link("../devices/card"))]);
        let vendor = Path::new("/sys/bus/card/vendor");
        tree.insert(vendor, file("1")).unwrap();
        assert_eq!(
            tree.read("/sys/devices/card/vendor".as_ref()).unwrap(),
            b"1"
        );
        assert_eq!(tree.read(vendor).unwrap(), b"1");
        tree.add_names("/sys/class".as_ref(), ["iommu".into()])
            .unwrap();
        let within = Path::new("/sys/class/iommu");
        tree.add_names(within, ["dmar0".into()]).unwrap();
        assert_eq!(tree.list(within), Ok(vec!["dmar0".into()]));
        let exact = ["sys", "bus", "card", "x"].map(OsString::from);
        assert_eq!(tree.insert_exactly(&exact, file("2")), Err(Errno::NOTDIR));
    }
}
