//! The log: one entry behind the other, each put only if its number is free.
//!
//! ```text
//! 1 claim A   2 root   3 root   4 claim B   5 root        of the roots only the newest is left, of the claims all
//!                                 ^ A's next number: A is fenced
//! ```

use bytes::Bytes;
use cofferdam_engine::checkpoint::store::{StoreError, StoreErrorKind};

use super::{
    entry::{Claim, Content, Entry, Link, Root},
    fault, name,
    place::{Listing, Place, Put},
};

/// Claims that are kept. An owner that was stopped before all of these, and goes on now, would not be fenced.
const CLAIMS: usize = 1000;

/// The newest root and what leads to it.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The newest entry's number, zero in a place never used.
    pub(super) newest: u64,
    pub(super) generation: u64,
    /// `None` in a place never used.
    pub(super) root: Option<(Link, Root)>,
    /// Claims kept, the oldest first.
    pub(super) claims: Vec<u64>,
}

/// An owner's end of the log.
pub(super) struct Log {
    pub(super) generation: u64,
    owner: String,
    /// Its claim's number.
    pub(super) claim: u64,
    /// Claims that are kept, its own among them.
    pub(super) claims: Vec<u64>,
    /// The number of its last entry.
    last: u64,
}

/// Reads what `listing` shows; `None` if it is out of date.
pub(super) fn find(place: &Place, listing: &Listing) -> Result<Option<Found>, StoreError> {
    let Some(newest) = listing.newest() else {
        return match listing.has_data() {
            true => Err(fault::ruined(&place.name, "it holds data, and log/ is empty", None)),
            false => Ok(Some(Found::default())),
        };
    };
    let Some((entry, checksum)) = read(place, newest)? else { return gone(place, listing, newest) };
    match entry.content {
        Content::Claim(claim) => {
            let claims = with(claim.earlier, newest);
            let Some(link) = claim.root else {
                return match listing.has_data() {
                    true => Err(fault::ruined(&place.name, "it holds data, and no root in log/", None)),
                    false => Ok(Some(Found { newest, generation: entry.generation, root: None, claims })),
                };
            };
            let Some(root) = read_root(place, link)? else { return gone(place, listing, link.sequence) };
            Ok(Some(Found { newest, generation: entry.generation, root: Some((link, root)), claims }))
        }
        Content::Root(root) => {
            let Some((claim, _)) = read(place, root.claim)? else { return gone(place, listing, root.claim) };
            let Content::Claim(claim) = claim.content else { return Err(misplaced(place, root.claim)) };
            let claims = with(claim.earlier, root.claim);
            let link = Link { sequence: newest, checksum };
            Ok(Some(Found { newest, generation: entry.generation, root: Some((link, root)), claims }))
        }
    }
}

/// An entry that must be there is not: its owner went on meanwhile, or it is lost.
fn gone(place: &Place, listing: &Listing, sequence: u64) -> Result<Option<Found>, StoreError> {
    match place.list()?.newest() == listing.newest() {
        true => Err(fault::ruined(&place.name, format!("{} is missing", name::log(sequence)), None)),
        false => Ok(None),
    }
}

fn with(mut claims: Vec<u64>, last: u64) -> Vec<u64> {
    claims.push(last);
    claims
}

fn read(place: &Place, sequence: u64) -> Result<Option<(Entry, u64)>, StoreError> {
    let stored = place.get(&name::log(sequence))?;
    stored.map(|stored| Entry::decode(&place.name, sequence, &stored)).transpose()
}

fn read_root(place: &Place, link: Link) -> Result<Option<Root>, StoreError> {
    match read(place, link.sequence)? {
        None => Ok(None),
        Some((Entry { content: Content::Root(root), .. }, checksum)) if checksum == link.checksum => Ok(Some(root)),
        Some(_) => Err(misplaced(place, link.sequence)),
    }
}

fn misplaced(place: &Place, sequence: u64) -> StoreError {
    fault::ruined(&place.name, format!("{} is not the entry that the next one names", name::log(sequence)), None)
}

impl Log {
    /// Claims the generation after what was found, and shows what there is then; `None` if somebody else wrote meanwhile.
    pub(super) fn claim(place: &Place, found: &Found) -> Result<Option<(Self, Listing)>, StoreError> {
        let too_many = found.claims.len().saturating_sub(CLAIMS - 1);
        let earlier = found.claims[too_many..].to_vec();
        let mut log = Self {
            generation: found.generation + 1,
            owner: random_id(&place.name)?,
            claim: found.newest + 1,
            claims: with(earlier.clone(), found.newest + 1),
            last: found.newest,
        };
        let claim = Content::Claim(Claim { root: found.root.as_ref().map(|(link, _)| *link), earlier });
        match log.append(place, claim.clone()) {
            Err(error) if error.kind == StoreErrorKind::Fenced => return Ok(None),
            appended => appended?,
        };
        let listing = place.list()?;
        if listing.newest() != Some(log.claim) {
            // Somebody came after it, or its number was another owner's before, who is far beyond it. It stays: it may be what keeps the owner
            // before it out.
            return Ok(None);
        }
        if !place.is_local {
            log.check_conditional_puts(place, claim)?;
        }
        Ok(Some((log, listing)))
    }

    /// Everything rests on them, and there are servers that ignore the condition.
    fn check_conditional_puts(&self, place: &Place, claim: Content) -> Result<(), StoreError> {
        let (bytes, _) = Entry::new(self.generation, &self.owner, claim).encode(&place.name, self.claim)?;
        match place.put_new(&name::log(self.claim), bytes.into()) {
            Put::Taken => Ok(()),
            Put::Done => {
                Err(fault::foreign(&place.name, "it replaces objects that were to be put only if there were none"))
            }
            Put::Unknown(cause) => Err(place.failed("check that objects are not replaced", cause)),
        }
    }

    /// Puts the next entry, durably. Refused as fenced if its number is somebody else's; with kind `NotStored` it is not there, and after any other error it may be or not.
    pub(super) fn append(&mut self, place: &Place, content: Content) -> Result<Link, StoreError> {
        let sequence = self.last + 1;
        let (bytes, checksum) = Entry::new(self.generation, &self.owner, content).encode(&place.name, sequence)?;
        match place.put_new(&name::log(sequence), Bytes::from(bytes)) {
            Put::Done => {}
            put => self.settle(place, sequence, checksum, put)?,
        }
        self.last = sequence;
        Ok(Link { sequence, checksum })
    }

    /// Reads back what a put that did not simply succeed has left. One that was repeated below may have found itself.
    fn settle(&self, place: &Place, sequence: u64, checksum: u64, put: Put) -> Result<(), StoreError> {
        let name = name::log(sequence);
        match (read(place, sequence), put) {
            (Ok(Some((entry, stored))), _) if entry.owner == self.owner && stored == checksum => Ok(()),
            (Ok(Some((entry, _))), _) => {
                Err(fault::fenced(&place.name, format!("{name} is of generation {}", entry.generation)))
            }
            // A call that has returned is not carried out later, as a request may be.
            (Ok(None), Put::Unknown(cause)) if place.is_local => {
                Err(fault::not_stored(place.failed(format!("write {name}"), cause)))
            }
            (_, Put::Unknown(cause)) => Err(place.failed(format!("write {name}"), cause)),
            (Err(error), _) if error.kind == StoreErrorKind::Io => Err(error),
            _ => Err(fault::fenced(&place.name, format!("{name} is another one's"))),
        }
    }
}

fn random_id(place: &str) -> Result<String, StoreError> {
    let (high, low) = getrandom::u64().and_then(|high| Ok((high, getrandom::u64()?))).map_err(|cause| {
        StoreError::new(StoreErrorKind::Io, format!("no random id for the owner of {place}"), Some(cause.into()))
    })?;
    Ok(format!("{high:016x}{low:016x}"))
}
