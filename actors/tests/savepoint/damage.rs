//! A file that is not whole is never started from.

use std::fs;

use cofferdam::{Savepoint, prelude::*};

use crate::support::*;

/// Every byte of a small savepoint, one after the other.
#[test]
fn a_flipped_bit_anywhere_and_a_file_cut_anywhere_are_noticed() {
    let places = Places::new();
    let info = stopped(&places, 30);
    let whole = fs::read(&info.path).unwrap();
    let copy = places.at("copy");
    let is_whole = || Savepoint::open(&copy).and_then(|mut savepoint| savepoint.verify()).is_ok();
    fs::write(&copy, &whole).unwrap();
    assert!(is_whole());
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&copy, &flipped).unwrap();
        assert!(!is_whole(), "byte {at} of {}", whole.len());
        fs::write(&copy, &whole[..at]).unwrap();
        assert!(!is_whole(), "cut to {at} of {} bytes", whole.len());
    }
    for more in [&b"\0"[..], &whole] {
        fs::write(&copy, [&whole, more].concat()).unwrap();
        assert!(!is_whole(), "{} bytes more", more.len());
    }
}

#[test]
fn a_start_from_it_is_refused_before_anything_is_written() {
    let places = Places::new();
    let info = stopped(&places, 3_000);
    let whole = fs::read(&info.path).unwrap();
    let (copy, state, output) = (places.at("copy"), places.at("new state"), places.at("new output"));
    let places_in_it = (0..40).map(|nth| nth * whole.len() / 40).chain([9, whole.len() - 1]);
    for at in places_in_it {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        fs::write(&copy, &flipped).unwrap();
        let builder = engine().backend(Lmdb::at(&state)).from_savepoint(&copy);
        let message = refused(builder, counting(&Limit::of(1), &output));
        assert!(message.contains("is damaged") || message.contains("is no savepoint"), "byte {at}: {message}");
        assert!(!output.exists());
    }
    fs::write(&copy, &whole).unwrap();
    let builder = engine().backend(Lmdb::at(&state)).from_savepoint(&copy);
    let job = builder.start_blocking(counting(&Limit::of(3_100), &output)).unwrap();
    run_to(&job, &output, 100);
    assert_eq!(together(published(&places.at("output")), published(&output)), expected(3_100));
}
