//! LMDB's two meta pages, read without LMDB.
//!
//! ```text
//! page 0, page 1:   | page number | flags | magic, version | map size | 2 trees | last page | transaction |  zeros |
//!                     `------------- fixed when made ----´   `---- written by each second commit --------´  `fixed´
//! ```
//! Transaction *n* is committed by writing the second part of page *n mod 2*. The numbers are in the machine's own word size and order,
//! as in `mdb.c` (`MDB_page`, `MDB_meta`). LMDB follows what they say, wherever that leads, so they are checked first.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use xxhash_rust::xxh3::xxh3_64;

pub(super) const WORD: usize = size_of::<usize>();
pub(super) const HEADER: usize = WORD + 8;
pub(super) const TREE: usize = 8 + 5 * WORD;
const MAGIC: usize = HEADER;
const VERSION: usize = HEADER + 4;
/// Where the part begins that commits write.
const WRITTEN: usize = HEADER + 8 + WORD;
const FREE_TREE: usize = WRITTEN + WORD;
const MAIN_TREE: usize = FREE_TREE + TREE;
const LAST_PAGE: usize = MAIN_TREE + TREE;
const TRANSACTION: usize = LAST_PAGE + WORD;
/// Where it ends.
const END: usize = TRANSACTION + WORD;

/// Where there is none.
pub(super) const NO_PAGE: u64 = usize::MAX as u64;

const META_FLAG: u16 = 0x08;
const LEAF_FLAG: u16 = 0x02;
const LMDB_MAGIC: u32 = 0xBEEF_C0DE;
const LMDB_VERSION: u32 = 1;
const SMALLEST_PAGE: usize = 512;
const LARGEST_PAGE: usize = 1 << 15;

/// Both meta pages as they are in the file.
#[derive(Debug)]
pub(super) struct MetaPages {
    pages: [Vec<u8>; 2],
}

/// What the beginning of `data.mdb` is.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing was ever committed: there are no bytes or only zeros, or the meta pages are as LMDB made them.
    Blank(Option<MetaPages>),
    /// Two meta pages.
    Pages(MetaPages),
    /// Not a file of LMDB's, for this reason.
    Stranger(&'static str),
}

impl MetaPages {
    /// Reads what `file` begins with.
    pub(super) fn find(file: &File) -> io::Result<Found> {
        let mut start = Vec::new();
        read_from(file, 0, 2 * LARGEST_PAGE, &mut start)?;
        if start.iter().all(|byte| *byte == 0) {
            let is_all = file.metadata()?.len() == start.len() as u64;
            return Ok(if is_all { Found::Blank(None) } else { Found::Stranger("it begins with zeros") });
        }
        let page_size = match page_size(&start) {
            Ok(page_size) if start.len() >= 2 * page_size => page_size,
            Ok(_) => return Ok(Found::Stranger("it is shorter than LMDB's two meta pages")),
            Err(why) => return Ok(Found::Stranger(why)),
        };
        let pages = Self::of(&start, page_size);
        Ok(match pages.check_kind() {
            Err(why) => Found::Stranger(why),
            Ok(()) if pages.transaction(0) == 0 && pages.transaction(1) == 0 => Found::Blank(Some(pages)),
            Ok(()) => Found::Pages(pages),
        })
    }

    /// Reads two pages of `page_size`, whatever is on them.
    pub(super) fn read(file: &File, page_size: usize) -> io::Result<Option<Self>> {
        let mut start = Vec::new();
        read_from(file, 0, 2 * page_size, &mut start)?;
        let whole = page_size >= SMALLEST_PAGE && start.len() == 2 * page_size;
        Ok(whole.then(|| Self::of(&start, page_size)))
    }

    fn of(start: &[u8], page_size: usize) -> Self {
        Self { pages: [start[..page_size].to_vec(), start[page_size..2 * page_size].to_vec()] }
    }

    /// Both, as they are in the file.
    pub(super) fn pages(&self) -> &[Vec<u8>; 2] {
        &self.pages
    }

    pub(super) fn page_size(&self) -> usize {
        self.pages[0].len()
    }

    /// Hashes of both pages, whole.
    pub(super) fn hashes(&self) -> [u64; 2] {
        [xxh3_64(&self.pages[0]), xxh3_64(&self.pages[1])]
    }

    /// The transaction that page `index` is of.
    pub(super) fn transaction(&self, index: usize) -> u64 {
        word(&self.pages[index], TRANSACTION)
    }

    /// The newest transaction.
    pub(super) fn newest(&self) -> u64 {
        self.transaction(0).max(self.transaction(1))
    }

    /// The newest page.
    fn current(&self) -> &[u8] {
        &self.pages[usize::from(self.transaction(1) > self.transaction(0))]
    }

    /// The number of the last page ever used.
    pub(super) fn last_page(&self) -> u64 {
        word(self.current(), LAST_PAGE)
    }

    /// What is said of the free tree and of the main tree.
    pub(super) fn trees(&self) -> [&[u8]; 2] {
        let current = self.current();
        [&current[FREE_TREE..MAIN_TREE], &current[MAIN_TREE..LAST_PAGE]]
    }

    /// Why page `written` cannot be what the transaction after the other page's made of it; `None` if it can.
    pub(super) fn misfit(&self, written: usize) -> Option<&'static str> {
        let (page, other) = (&self.pages[written], &self.pages[1 - written]);
        let last_page = word(page, LAST_PAGE);
        let root_fits = |tree: usize| {
            let root = word(page, tree + TREE - WORD);
            root == NO_PAGE || (2..=last_page).contains(&root)
        };
        if page[WORD..WRITTEN] != other[WORD..WRITTEN] || page[END..] != other[END..] {
            Some("a meta page changed where LMDB never writes")
        } else if word(page, 0) != written as u64 {
            Some("a meta page is not in its place")
        } else if word(page, TRANSACTION) != word(other, TRANSACTION).wrapping_add(1) {
            Some("a meta page is not of the next transaction")
        } else if page[FREE_TREE..FREE_TREE + 6] != other[FREE_TREE..FREE_TREE + 6] {
            Some("a meta page has another page size or other flags")
        } else if !root_fits(FREE_TREE) || !root_fits(MAIN_TREE) {
            Some("a meta page points beyond the last page")
        } else {
            None
        }
    }

    /// Whether the names at the root of the main tree, a single page with few databases, include `name`.
    pub(super) fn names(&self, file: &File, name: &[u8]) -> io::Result<bool> {
        let root = word(self.current(), MAIN_TREE + TREE - WORD);
        let Some(offset) = root.checked_mul(self.page_size() as u64) else { return Ok(false) };
        let mut page = Vec::new();
        read_from(file, offset, self.page_size(), &mut page)?;
        Ok(page.len() == self.page_size() && leaf_has(&page, name).unwrap_or(false))
    }

    fn check_kind(&self) -> Result<(), &'static str> {
        for (index, page) in self.pages.iter().enumerate() {
            if half(page, WORD + 2) & META_FLAG == 0 || word(page, 0) != index as u64 {
                return Err("it has no meta pages of LMDB's");
            }
            if long(page, MAGIC) != LMDB_MAGIC {
                return Err("it does not bear LMDB's mark");
            }
            if long(page, VERSION) != LMDB_VERSION {
                return Err("it is of another version of LMDB");
            }
        }
        Ok(())
    }
}

fn page_size(start: &[u8]) -> Result<usize, &'static str> {
    if start.len() < END || long(start, MAGIC) != LMDB_MAGIC {
        return Err("it does not bear LMDB's mark");
    }
    let size = long(start, FREE_TREE) as usize;
    let valid = size.is_power_of_two() && (SMALLEST_PAGE..=LARGEST_PAGE).contains(&size);
    if valid { Ok(size) } else { Err("its page size is none of LMDB's") }
}

/// `None` if the page is not a leaf, or not whole.
fn leaf_has(page: &[u8], name: &[u8]) -> Option<bool> {
    if half(page, WORD + 2) & LEAF_FLAG == 0 {
        return None;
    }
    let pointers = page.get(HEADER..usize::from(half(page, WORD + 4)))?;
    for pointer in pointers.chunks_exact(2) {
        let node = page.get(usize::from(half(pointer, 0))..)?;
        let length = usize::from(u16::from_ne_bytes(node.get(6..8)?.try_into().ok()?));
        if node.get(8..8 + length)? == name {
            return Some(true);
        }
    }
    Some(false)
}

/// Reads up to `length` bytes at `offset`; fewer where the file ends.
fn read_from(mut file: &File, offset: u64, length: usize, into: &mut Vec<u8>) -> io::Result<()> {
    file.seek(SeekFrom::Start(offset))?;
    file.take(length as u64).read_to_end(into)?;
    Ok(())
}

// Callers have checked that the page is longer than `END`.
fn bytes<const N: usize>(page: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&page[at..at + N]);
    bytes
}

pub(super) fn half(page: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(bytes(page, at))
}

pub(super) fn long(page: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes(page, at))
}

pub(super) fn word(page: &[u8], at: usize) -> u64 {
    usize::from_ne_bytes(bytes(page, at)) as u64
}
