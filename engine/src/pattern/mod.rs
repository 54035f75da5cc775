//! What is to come in which order, and which records of a key are that: for [`pattern`](crate::topology::KeyedStream::pattern).
//!
//! | file | holds |
//! |---|---|
//! | here | what a user says: [`Pattern`] |
//! | `shape` | what of it is data: stages, how often and how close, and what is wrong with them |
//! | `partial` | matches that have begun, and what a record makes of them |
//! | `matched` | a match, as the user's function sees it |
//!
//! Nothing here keeps state, has a clock or knows of streams: records go in, in order, and matches come out.

mod matched;
mod partial;
mod shape;
#[cfg(test)]
mod tests;

use std::{marker::PhantomData, time::Duration};

pub use matched::Match;
pub(crate) use partial::Partial;
pub use shape::Times;
use shape::{Forbidden, Link, Shape};

/// What records are to be, stage by stage: made by [`Pattern::begin`], one call for each stage behind it.
///
/// ```
/// use std::time::Duration;
/// use cofferdam_engine::pattern::Pattern;
///
/// struct Login { succeeded: bool }
///
/// // Three failed log-ins, then a success, within ten minutes.
/// let guessed = Pattern::begin("failed", |login: &Login| !login.succeeded)
///     .times(3)
///     .next("succeeded", |login| login.succeeded)
///     .within(Duration::from_secs(600));
/// # let _ = guessed;
/// ```
///
/// What is said of a stage, such as [`times`](Self::times), is said behind it, before the next one.
#[must_use = "a pattern does nothing until it is given to a keyed stream"]
pub struct Pattern<T, C = ()> {
    shape: Shape,
    conditions: C,
    records: PhantomData<fn(&T)>,
}

impl<T, C: Clone> Clone for Pattern<T, C> {
    fn clone(&self) -> Self {
        Self { shape: self.shape.clone(), conditions: self.conditions.clone(), records: PhantomData }
    }
}

/// The conditions of a pattern, by number. Nobody else implements it.
pub trait Conditions<T>: Clone + Send + 'static {
    #[doc(hidden)]
    fn holds(&self, number: usize, record: &T) -> bool;
}

impl<T> Conditions<T> for () {
    #[inline]
    fn holds(&self, _: usize, _: &T) -> bool {
        false
    }
}

/// Conditions, and one more.
#[derive(Clone, Debug)]
pub struct And<C, F> {
    before: C,
    number: usize,
    condition: F,
}

impl<T, C: Conditions<T>, F: Fn(&T) -> bool + Clone + Send + 'static> Conditions<T> for And<C, F> {
    #[inline]
    fn holds(&self, number: usize, record: &T) -> bool {
        if number == self.number { (self.condition)(record) } else { self.before.holds(number, record) }
    }
}

impl<T> Pattern<T> {
    /// A pattern that begins with a record for which `condition` holds. Each such record may begin a match.
    pub fn begin<F>(name: impl Into<String>, condition: F) -> Pattern<T, And<(), F>>
    where
        F: Fn(&T) -> bool + Clone + Send + 'static,
    {
        let nothing = Pattern { shape: Shape::default(), conditions: (), records: PhantomData };
        nothing.stage(name.into(), Link::Strict, condition)
    }
}

impl<T, C> Pattern<T, C> {
    fn and<F>(self, condition: F) -> Pattern<T, And<C, F>> {
        let Self { mut shape, conditions, .. } = self;
        let number = shape.new_condition();
        Pattern { shape, conditions: And { before: conditions, number, condition }, records: PhantomData }
    }

    fn stage<F>(self, name: String, entry: Link, condition: F) -> Pattern<T, And<C, F>> {
        let mut pattern = self.and(condition);
        pattern.shape.add_stage(name, entry);
        pattern
    }

    fn forbid<F>(self, what: Forbidden, condition: F) -> Pattern<T, And<C, F>> {
        let mut pattern = self.and(condition);
        pattern.shape.forbid(what);
        pattern
    }

    /// Then, as the very next record of the key, one for which `condition` holds.
    pub fn next<F>(self, name: impl Into<String>, condition: F) -> Pattern<T, And<C, F>>
    where
        F: Fn(&T) -> bool + Clone + Send + 'static,
    {
        self.stage(name.into(), Link::Strict, condition)
    }

    /// Then one for which `condition` holds, whatever comes in between: the first such record, no later one.
    pub fn followed_by<F>(self, name: impl Into<String>, condition: F) -> Pattern<T, And<C, F>>
    where
        F: Fn(&T) -> bool + Clone + Send + 'static,
    {
        self.stage(name.into(), Link::Relaxed, condition)
    }

    /// Then not, as the very next record, one for which `condition` holds. What is to come instead is said behind it, and may be that record.
    ///
    /// ```
    /// # use cofferdam_engine::pattern::Pattern;
    /// # use std::time::Duration;
    /// // An alarm that is not acknowledged at once, then another one.
    /// let ignored = Pattern::begin("alarm", |event: &&str| *event == "alarm")
    ///     .not_next(|event| *event == "acknowledged")
    ///     .followed_by("again", |event| *event == "alarm");
    /// # let _ = ignored;
    /// ```
    pub fn not_next<F>(self, condition: F) -> Pattern<T, And<C, F>>
    where
        F: Fn(&T) -> bool + Clone + Send + 'static,
    {
        self.forbid(Forbidden::Next, condition)
    }

    /// Then no record for which `condition` holds, up to the first record of what is said behind it, and that neither.
    pub fn not_followed_by<F>(self, condition: F) -> Pattern<T, And<C, F>>
    where
        F: Fn(&T) -> bool + Clone + Send + 'static,
    {
        self.forbid(Forbidden::Until, condition)
    }

    /// This stage so many times: `3`, `2..=5` or `2..`. One directly behind the other, unless the stage is [`relaxed`](Self::relaxed).
    pub fn times(mut self, times: impl Into<Times>) -> Self {
        self.shape.last_stage().times = times.into();
        self
    }

    /// This stage once or several times in a row: `times(1..)`.
    pub fn one_or_more(self) -> Self {
        self.times(1..)
    }

    /// Between one time and the next of this stage there may be other records: each time is the first record behind the one before for which the condition holds.
    pub fn relaxed(mut self) -> Self {
        self.shape.last_stage().between = Link::Relaxed;
        self
    }

    /// This stage or, without it, the next one, as close to the stage before as its own call says.
    pub fn optional(mut self) -> Self {
        self.shape.last_stage().is_optional = true;
        self
    }

    /// The last record of a match is no more than so long after the first: at least a millisecond, and whole ones. What has begun is forgotten when it can no longer be in time.
    pub fn within(mut self, within: Duration) -> Self {
        self.shape.within = Some(within);
        self
    }

    /// Every match, also those that share records. Without this, what begins at a record of a match, or before it, is forgotten when that match is found: the next one begins behind it.
    pub fn overlapping(mut self) -> Self {
        self.shape.is_overlapping = true;
        self
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }
}
