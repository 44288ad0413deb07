//! The names of a simulated disk: for each path what it durably is and what it became since.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::world::Dice;

/// What a path may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Node {
    File(u64),
    Dir,
}

/// The first version is durable, the last one is what is seen. Never empty.
type Versions = Vec<(u64, Option<Node>)>;

#[derive(Clone)]
struct Rename {
    order: u64,
    source: PathBuf,
    target: PathBuf,
}

/// All paths.
#[derive(Clone, Default)]
pub(super) struct Namespace {
    names: BTreeMap<PathBuf, Versions>,
    renames: Vec<Rename>,
}

impl Namespace {
    pub(super) fn get(&self, path: &Path) -> Option<Node> {
        self.names.get(path)?.last()?.1
    }

    pub(super) fn inode(&self, path: &Path) -> Option<u64> {
        match self.get(path)? {
            Node::File(inode) => Some(inode),
            Node::Dir => None,
        }
    }

    /// The root and the empty path always are.
    pub(super) fn is_dir(&self, path: &Path) -> bool {
        path.parent().is_none() || self.get(path) == Some(Node::Dir)
    }

    pub(super) fn set(&mut self, path: &Path, order: u64, node: Option<Node>) {
        let versions = self
            .names
            .entry(path.to_owned())
            .or_insert_with(|| vec![(0, None)]);
        versions.push((order, node));
    }

    pub(super) fn set_durable(&mut self, path: &Path, node: Option<Node>) {
        self.names.insert(path.to_owned(), vec![(0, node)]);
    }

    pub(super) fn rename(&mut self, source: &Path, target: &Path, order: u64) {
        let node = self.get(source);
        self.set(target, order, node);
        self.set(source, order, None);
        let (source, target) = (source.to_owned(), target.to_owned());
        self.renames.push(Rename {
            order,
            source,
            target,
        });
    }

    /// The path and everything under it.
    pub(super) fn remove(&mut self, path: &Path, order: u64) {
        let under = |(name, versions): (&PathBuf, &Versions)| {
            let there = versions.last().is_some_and(|(_, node)| node.is_some());
            (there && name.starts_with(path)).then(|| name.clone())
        };
        let names: Vec<PathBuf> = self.names.iter().filter_map(under).collect();
        for name in names {
            self.set(&name, order, None);
        }
    }

    pub(super) fn list(&self, dir: &Path) -> Vec<PathBuf> {
        let there = |versions: &Versions| versions.last().is_some_and(|(_, n)| n.is_some());
        let inside = self
            .names
            .iter()
            .filter(|(name, _)| name.parent() == Some(dir));
        inside
            .filter(|(_, v)| there(v))
            .map(|(name, _)| name.clone())
            .collect()
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (&Path, u64)> {
        self.names
            .iter()
            .filter_map(|(name, versions)| match versions.last()?.1? {
                Node::File(inode) => Some((name.as_path(), inode)),
                Node::Dir => None,
            })
    }

    /// Makes the directory's entries durable as they were before `order`.
    pub(super) fn sync_dir(&mut self, dir: &Path, order: u64) {
        for (_, versions) in self
            .names
            .iter_mut()
            .filter(|(n, _)| n.parent() == Some(dir))
        {
            let changed = versions.partition_point(|(at, _)| *at < order);
            versions.drain(..changed.saturating_sub(1));
        }
    }

    /// After a power failure: each name is any of its versions, but no rename loses its file.
    pub(super) fn survive(&mut self, dice: &mut Dice) {
        let mut chosen: BTreeMap<PathBuf, (u64, Option<Node>)> = self
            .names
            .iter()
            .map(|(name, versions)| (name.clone(), *dice.pick(versions)))
            .collect();
        for rename in &self.renames {
            let order_of = |name: &Path| chosen.get(name).map_or(0, |c| c.0);
            let lost =
                order_of(&rename.source) >= rename.order && order_of(&rename.target) < rename.order;
            if lost && let Some((name, version)) = self.rescue(rename) {
                chosen.insert(name, version);
            }
        }
        let kept = chosen.into_iter().filter(|(_, (_, node))| node.is_some());
        self.names = kept
            .map(|(name, (_, node))| (name, vec![(0, node)]))
            .collect();
        self.renames.clear();
        self.drop_orphans();
    }

    /// The version that brings a renamed file back: under its old name if that is not durably
    /// gone, else under the new one.
    fn rescue(&self, rename: &Rename) -> Option<(PathBuf, (u64, Option<Node>))> {
        let before = self.names.get(&rename.source)?;
        if let Some(version) = before.iter().rev().find(|(at, _)| *at < rename.order) {
            return Some((rename.source.clone(), *version));
        }
        let after = self
            .names
            .get(&rename.target)?
            .iter()
            .find(|(at, _)| *at >= rename.order)?;
        Some((rename.target.clone(), *after))
    }

    fn drop_orphans(&mut self) {
        let orphan = |name: &Path, names: &BTreeMap<PathBuf, Versions>| {
            let mut above = name
                .ancestors()
                .skip(1)
                .filter(|dir| dir.parent().is_some());
            above.any(|dir| !names.contains_key(dir))
        };
        let names = self.names.clone();
        self.names.retain(|name, _| !orphan(name, &names));
    }

    /// After the process died and the machine did not: everything is as it was seen.
    pub(super) fn settle(&mut self) {
        for versions in self.names.values_mut() {
            versions.drain(..versions.len() - 1);
            versions[0].0 = 0;
        }
        self.renames.clear();
    }
}
