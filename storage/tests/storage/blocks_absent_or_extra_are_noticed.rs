//! Blocks that vanished, or that nobody committed, are noticed when their state is read, and when they are superseded.

use std::path::Path;

use cofferdam_engine::{
    Attempt,
    checkpoint::store::{StateBackend as _, StoreErrorKind},
};
use cofferdam_storage::Lmdb;
use heed::{
    CommitOrAbort, Database, Error,
    types::{Bytes, Str},
};

use crate::{flip::checksum, support::*};

/// Does something to the blocks that no store would do, and leaves LMDB and the note content with it.
#[allow(unsafe_code)]
fn tamper(path: &Path, how: impl Fn(&Database<'_, Bytes, Bytes>, &mut heed::RwTxn<'_>)) {
    // Two transactions ahead of the note would be refused before any block is read: the note must learn of each. So the tampering is
    // the one transaction that the note may not know, and poses as one by rewriting the job's entry.
    // SAFETY: no store is open here.
    let env = unsafe { heed::EnvOpenOptions::new().max_dbs(3).map_size(1 << 24).open(path) }.unwrap();
    let transaction = env.write_txn().unwrap();
    env.create_databases_and_commit(transaction, |opener, transaction| {
        let block = opener.create_database::<Bytes, Bytes>(transaction, Some("block"))?;
        let job = opener.create_database::<Str, Bytes>(transaction, Some("job"))?;
        how(&block, transaction);
        let entry = job.get(transaction, "job")?.unwrap();
        let entry = next_attempt(&entry[..entry.len() - 8], transaction.id() as u64);
        job.put(transaction, "job", &entry)?;
        Ok::<_, Error>(CommitOrAbort::<(), ()>::Commit(()))
    })
    .unwrap();
}

fn next_attempt(json: &[u8], transaction: u64) -> Vec<u8> {
    let mut job: serde_json::Value = serde_json::from_slice(json).unwrap();
    job["attempt"] = (job["attempt"].as_u64().unwrap() + 1).into();
    job["transaction"] = transaction.into();
    let mut json = serde_json::to_vec(&job).unwrap();
    let checksum = checksum("job", b"job", &json);
    json.extend_from_slice(&checksum);
    json
}

fn tampered(how: impl Fn(&Database<'_, Bytes, Bytes>, &mut heed::RwTxn<'_>)) {
    let directory = tempfile::tempdir().unwrap();
    directory_up_to(directory.path(), 2);
    tamper(directory.path(), how);
    let mut store = Lmdb::at(directory.path()).open().unwrap();
    let (kind, message) = refusal(try_read(&mut *store, "total"));
    assert_eq!(kind, StoreErrorKind::Damaged, "{message}");
    assert!(message.contains("count/total"), "{message}");
}

#[test]
fn a_block_gone() {
    tampered(|block, transaction| {
        let (key, _) = block.first(transaction).unwrap().map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap();
        assert!(block.delete(transaction, &key).unwrap());
    });
}

#[test]
fn all_blocks_gone() {
    tampered(|block, transaction| block.clear(transaction).unwrap());
}

#[test]
fn a_block_at_anothers_place() {
    tampered(|block, transaction| {
        let (key, value) =
            block.first(transaction).unwrap().map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap();
        let mut other = key.clone();
        other[5] += 1;
        block.put(transaction, &other, &value).unwrap();
    });
}

#[test]
fn a_key_that_is_none() {
    tampered(|block, transaction| block.put(transaction, &[0, 0, 0, 0, 0, 1, 7], b"value").unwrap());
}

#[test]
fn when_superseded() {
    let directory = tempfile::tempdir().unwrap();
    directory_up_to(directory.path(), 2);
    tamper(directory.path(), |block, transaction| block.clear(transaction).unwrap());
    let mut store = Lmdb::at(directory.path()).open().unwrap();
    let next = checkpoint(Attempt(2), 3, vec![delta(3, "total", vec![full(0, b"new")])]);
    let (kind, message) = refusal(store.commit(&next));
    assert_eq!(kind, StoreErrorKind::Damaged, "{message}");
}
