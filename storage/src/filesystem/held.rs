//! Data objects that a looker reads: on a local disk their files, held open.
//!
//! A file that is open stays readable when its name goes, so that a job may delete what it needs no more.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    ops::Range,
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use cofferdam_engine::checkpoint::store::StoreError;
use parking_lot::Mutex;

use super::{fault, manifest::Catalog, place::Place, reader::Objects};

/// Files that are held open at most; the others are opened as they are read.
const FILES: usize = 512;

/// See the module.
pub(super) struct Held {
    place: Arc<Place>,
    /// By the object's name.
    files: BTreeMap<String, Mutex<File>>,
}

impl Held {
    /// Opens what `catalog` needs, if the place is in `directory`. What cannot be opened is missed when it is read.
    pub(super) fn of(place: Arc<Place>, directory: Option<&Path>, catalog: &Catalog) -> Self {
        let mut files = BTreeMap::new();
        if let Some(directory) = directory {
            let names = catalog.objects.keys().take(FILES).map(ToString::to_string);
            let open = |name: String| Some((name.clone(), Mutex::new(File::open(directory.join(name)).ok()?)));
            files.extend(names.filter_map(open));
        }
        Self { place, files }
    }

    fn read(&self, name: &str, file: &Mutex<File>, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, StoreError> {
        let mut file = file.lock();
        let read = ranges.iter().map(|range| read_range(&mut file, range).map_err(|cause| (range.end, cause)));
        read.collect::<Result<_, _>>().map_err(|(end, cause)| match cause.kind() {
            io::ErrorKind::UnexpectedEof => {
                fault::damaged(self.place(), format!("{name} is cut short: {end} bytes are needed"))
            }
            _ => fault::io(Path::new(self.place()), format!("read {name}"), cause),
        })
    }
}

fn read_range(file: &mut File, range: &Range<u64>) -> io::Result<Bytes> {
    let length = range.end.saturating_sub(range.start);
    file.seek(SeekFrom::Start(range.start))?;
    // What the manifest says of a length is not believed before there are as many bytes.
    let mut bytes = Vec::new();
    match file.take(length).read_to_end(&mut bytes)? as u64 == length {
        true => Ok(bytes.into()),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

impl Objects for Held {
    fn place(&self) -> &str {
        &self.place.name
    }

    fn get_ranges(&self, wanted: Vec<(String, Vec<Range<u64>>)>) -> Result<Vec<Vec<Bytes>>, StoreError> {
        if self.files.is_empty() {
            return self.place.get_ranges(wanted);
        }
        let read = |(name, ranges): (String, Vec<Range<u64>>)| match self.files.get(&name) {
            Some(file) => self.read(&name, file, &ranges),
            None => Ok(self.place.get_ranges(vec![(name, ranges)])?.into_iter().flatten().collect()),
        };
        wanted.into_iter().map(read).collect()
    }
}
