//! LMDB's pages, checked without LMDB.
//!
//! ```text
//! meta page -> free tree:  transaction -> numbers of pages that are free
//!           -> main tree:  name -> tree of each database:  key -> value, or number of the pages that hold it
//! ```
//! LMDB trusts what its pages say: a flipped bit can send it beyond the end of the map, which kills the process, or have it write over
//! pages in use. So before it opens the file, each page of each tree must be what the page above says, each key must be where
//! a search finds it, and no page may be used twice, or be used and free. What values hold is left to their checksums.

use std::{
    cmp::Ordering,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use super::meta_page::{HEADER, MetaPages, NO_PAGE, TREE, WORD, half, long, word};

const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const OVERFLOW: u16 = 0x04;
const FLAGS: usize = WORD + 2;
const LOWER: usize = WORD + 4;
const UPPER: usize = WORD + 6;
/// Of an overflow page: how many pages there are.
const PAGES: usize = WORD + 4;

/// Of a node: data size (or the lower part of a page number), flags (or its upper part), key size, key, data.
const NODE: usize = 8;
const BIG: u16 = 0x01;
const SUBTREE: u16 = 0x02;

/// LMDB goes no deeper.
const DEEPEST: u16 = 32;
const INTEGER_KEYS: u16 = 0x08;

/// What is wrong.
#[derive(Debug)]
pub(super) enum Broken {
    Io(io::Error),
    Page(u64, &'static str),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

type Checked = Result<(), Broken>;

/// Checks all that LMDB will follow from the newest of `metas`.
pub(super) fn check(file: &File, metas: &MetaPages) -> Checked {
    let last_page = metas.last_page();
    let words = usize::try_from(last_page / 64 + 1).map_err(|_| Broken::Page(0, "the last page is beyond memory"))?;
    let length = file.metadata()?.len();
    // More pages than the file has may be known, but only as free ones, and never many more.
    if last_page / 2 > length / metas.page_size() as u64 + 1024 {
        return Err(Broken::Page(0, "the last page is far beyond the end of the file"));
    }
    let mut check = Check {
        file,
        page_size: metas.page_size(),
        last_page,
        transaction: metas.newest(),
        used: vec![0; words],
        found: Tree::default(),
    };
    check.used[0] |= 0b11;
    let [free, main] = metas.trees();
    check.tree(&Tree::read(free), Kind::Free)?;
    check.tree(&Tree::read(main), Kind::Main)
}

/// What a tree's leaves hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Free,
    Main,
    Database,
}

/// What is said of a tree, and what is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tree {
    pad: u32,
    flags: u16,
    depth: u16,
    branches: u64,
    leaves: u64,
    overflows: u64,
    entries: u64,
    root: u64,
}

impl Tree {
    fn read(bytes: &[u8]) -> Self {
        let number = |index: usize| word(bytes, 8 + index * WORD);
        Self {
            pad: long(bytes, 0),
            flags: half(bytes, 4),
            depth: half(bytes, 6),
            branches: number(0),
            leaves: number(1),
            overflows: number(2),
            entries: number(3),
            root: number(4),
        }
    }
}

struct Check<'a> {
    file: &'a File,
    page_size: usize,
    last_page: u64,
    transaction: u64,
    /// A bit for each page.
    used: Vec<u64>,
    /// Counts of the tree being walked.
    found: Tree,
}

/// The keys that a page may hold: from the first, before the second.
#[derive(Clone, Copy)]
struct Bounds<'k> {
    from: Option<&'k [u8]>,
    before: Option<&'k [u8]>,
}

impl Check<'_> {
    fn tree(&mut self, said: &Tree, kind: Kind) -> Checked {
        let fits = match kind {
            // The page size stands here.
            Kind::Free => said.flags == INTEGER_KEYS,
            Kind::Main | Kind::Database => said.flags == 0 && said.pad == 0,
        };
        if !fits || said.depth > DEEPEST || (said.depth == 0) != (said.root == NO_PAGE) {
            return Err(Broken::Page(said.root, "a tree is of a kind that is not used here"));
        }
        let outer = std::mem::replace(&mut self.found, Tree { pad: said.pad, flags: said.flags, ..Tree::default() });
        (self.found.depth, self.found.root) = (said.depth, said.root);
        if said.depth > 0 {
            self.page(said.root, said.depth, kind, Bounds { from: None, before: None })?;
        }
        let found = std::mem::replace(&mut self.found, outer);
        if found == *said { Ok(()) } else { Err(Broken::Page(said.root, "a tree has not what it says")) }
    }

    fn page(&mut self, number: u64, depth: u16, kind: Kind, bounds: Bounds<'_>) -> Checked {
        self.claim(number)?;
        let mut page = vec![0; self.page_size];
        self.read(number, &mut page)?;
        let broken = |what| Broken::Page(number, what);
        let expected = if depth == 1 { LEAF } else { BRANCH };
        if word(&page, 0) != number || half(&page, FLAGS) != expected || half(&page, WORD) != 0 {
            return Err(broken("a page is not the one that another points to"));
        }
        let nodes = nodes(&page, expected == BRANCH).ok_or_else(|| broken("a page's content is out of bounds"))?;
        if !in_order(&nodes, kind, bounds, expected == BRANCH) {
            return Err(broken("a page's keys are out of order"));
        }
        if expected == LEAF {
            self.found.leaves += 1;
            self.found.entries += nodes.len() as u64;
            return nodes.iter().try_for_each(|node| self.leaf(number, node, kind));
        }
        self.found.branches += 1;
        for (index, node) in nodes.iter().enumerate() {
            let from = if index == 0 { bounds.from } else { Some(node.key) };
            let before = nodes.get(index + 1).map(|next| next.key).or(bounds.before);
            self.page(node.child(), depth - 1, kind, Bounds { from, before })?;
        }
        Ok(())
    }

    fn leaf(&mut self, number: u64, node: &Node<'_>, kind: Kind) -> Checked {
        let broken = |what| Err(Broken::Page(number, what));
        match (kind, node.flags) {
            (Kind::Main, SUBTREE) if node.data.len() == TREE => self.tree(&Tree::read(node.data), Kind::Database),
            (Kind::Database, BIG) => self.overflow(node).map(drop),
            (Kind::Database, 0) => Ok(()),
            (Kind::Free, BIG) => {
                let first = self.overflow(node)?;
                let mut list = vec![0; node.size];
                self.read_at(first * self.page_size as u64 + HEADER as u64, &mut list)?;
                self.free(number, node.key, &list)
            }
            (Kind::Free, 0) => self.free(number, node.key, node.data),
            _ => broken("a value is of a kind that is not used here"),
        }
    }

    /// The pages that hold a value; returns the first.
    fn overflow(&mut self, node: &Node<'_>) -> Result<u64, Broken> {
        let first = word(node.data, 0);
        let mut header = [0; HEADER];
        self.claim(first)?;
        self.read(first, &mut header)?;
        // There may be more than the value needs: one that shrank within its transaction keeps its pages.
        let pages = u64::from(long(&header, PAGES));
        let is_whole = word(&header, 0) == first
            && half(&header, FLAGS) == OVERFLOW
            && half(&header, WORD) == 0
            && pages >= (HEADER + node.size).div_ceil(self.page_size) as u64;
        if !is_whole {
            return Err(Broken::Page(first, "a large value's page is not the one that its key points to"));
        }
        (first + 1..first + pages).try_for_each(|page| self.claim(page))?;
        let end = (first + pages).saturating_mul(self.page_size as u64);
        if end > self.file.metadata()?.len() {
            return Err(Broken::Page(first, "a large value is beyond the end of the file"));
        }
        self.found.overflows += pages;
        Ok(first)
    }

    /// The pages that a transaction has freed: their number, then each, falling.
    fn free(&mut self, number: u64, key: &[u8], list: &[u8]) -> Checked {
        let broken = |what| Err(Broken::Page(number, what));
        if key.len() != WORD || list.len() < WORD || !list.len().is_multiple_of(WORD) || word(key, 0) > self.transaction
        {
            return broken("a list of free pages is not one");
        }
        let count = word(list, 0);
        if count > (list.len() / WORD - 1) as u64 {
            return broken("a list of free pages is longer than it can be");
        }
        let mut before = NO_PAGE;
        for index in 1..=count as usize {
            let page = word(list, index * WORD);
            if page >= before {
                return broken("a list of free pages is out of order");
            }
            self.claim(page)?;
            before = page;
        }
        Ok(())
    }

    fn claim(&mut self, page: u64) -> Checked {
        if page > self.last_page {
            return Err(Broken::Page(page, "a page is beyond the last one"));
        }
        let (index, bit) = ((page / 64) as usize, 1 << (page % 64));
        if self.used[index] & bit != 0 {
            return Err(Broken::Page(page, "a page is used twice"));
        }
        self.used[index] |= bit;
        Ok(())
    }

    fn read(&self, page: u64, into: &mut [u8]) -> Checked {
        self.read_at(page * self.page_size as u64, into).map_err(|broken| match broken {
            Broken::Io(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => {
                Broken::Page(page, "a page is beyond the end of the file")
            }
            other => other,
        })
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Checked {
        let mut file = self.file;
        file.seek(SeekFrom::Start(offset))?;
        Ok(file.read_exact(into)?)
    }
}

/// An entry of a page.
struct Node<'p> {
    /// Of the data.
    size: usize,
    flags: u16,
    key: &'p [u8],
    /// What is on this page of the data.
    data: &'p [u8],
}

impl Node<'_> {
    /// On the page.
    fn length(&self) -> usize {
        (NODE + self.key.len() + self.data.len()).next_multiple_of(2)
    }

    /// Of a branch's node.
    fn child(&self) -> u64 {
        let low = self.size as u64;
        if usize::BITS == 64 { low | u64::from(self.flags) << 32 } else { low }
    }
}

/// All nodes of a page, if they fill it from `UPPER` to its end without gaps: LMDB adds and removes them by moving those below.
fn nodes(page: &[u8], is_branch: bool) -> Option<Vec<Node<'_>>> {
    let (lower, upper) = (usize::from(half(page, LOWER)), usize::from(half(page, UPPER)));
    let pointers = page.get(HEADER..lower).filter(|pointers| pointers.len().is_multiple_of(2))?;
    let places: Vec<usize> = pointers.chunks_exact(2).map(|pointer| usize::from(half(pointer, 0))).collect();
    let nodes = places.iter().map(|at| node(page.get(*at..)?, is_branch)).collect::<Option<Vec<_>>>()?;
    let mut extents: Vec<_> = places.iter().zip(&nodes).map(|(at, node)| (*at, at + node.length())).collect();
    extents.sort_unstable();
    let starts_at_upper = extents.first().is_some_and(|(start, _)| *start == upper && upper >= lower);
    let has_no_gaps = extents.windows(2).all(|pair| pair[0].1 == pair[1].0);
    let ends_with_page = extents.last().is_some_and(|(_, end)| *end == page.len());
    (starts_at_upper && has_no_gaps && ends_with_page).then_some(nodes)
}

fn node(bytes: &[u8], is_branch: bool) -> Option<Node<'_>> {
    let (head, rest) = bytes.split_at_checked(NODE)?;
    let (size, flags) = (long(head, 0) as usize, half(head, 4));
    let (key, rest) = rest.split_at_checked(usize::from(half(head, 6)))?;
    let here = match (is_branch, flags & BIG != 0) {
        (true, _) => 0,
        (false, true) => WORD,
        (false, false) => size,
    };
    Some(Node { size, flags, key, data: rest.get(..here)? })
}

/// A branch's first key is left out, and means: from wherever the page begins.
fn in_order(nodes: &[Node<'_>], kind: Kind, bounds: Bounds<'_>, is_branch: bool) -> bool {
    let keyed = &nodes[usize::from(is_branch)..];
    let less = |left: &[u8], right: &[u8]| compare(kind, left, right) == Ordering::Less;
    keyed.windows(2).all(|pair| less(pair[0].key, pair[1].key))
        && keyed.first().is_none_or(|node| bounds.from.is_none_or(|from| !less(node.key, from)))
        && keyed.last().is_none_or(|node| bounds.before.is_none_or(|before| less(node.key, before)))
}

fn compare(kind: Kind, left: &[u8], right: &[u8]) -> Ordering {
    if kind == Kind::Free && left.len() == WORD && right.len() == WORD {
        return word(left, 0).cmp(&word(right, 0));
    }
    left.cmp(right)
}
