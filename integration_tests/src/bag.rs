//! Records whose order does not matter.

/// What `expected` has and `seen` has not, and the other way round; a record that is there twice counts twice.
pub(crate) fn difference<'a, T: PartialEq>(expected: &'a [T], seen: &'a [T]) -> (Vec<&'a T>, Vec<&'a T>) {
    let mut left: Vec<&T> = seen.iter().collect();
    let mut missing = Vec::new();
    for record in expected {
        match left.iter().position(|other| *other == record) {
            Some(found) => drop(left.swap_remove(found)),
            None => missing.push(record),
        }
    }
    (missing, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_there_twice_counts_twice() {
        assert_eq!(difference(&[1, 2, 2, 3], &[2, 3, 3, 1]), (vec![&2], vec![&3]));
        assert_eq!(difference(&[1, 2], &[2, 1]), (vec![], vec![]));
    }
}
