//! Values by number. Pure.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::mem::replace;
use std::sync::Arc;

/// How many numbers share a page: as many as a word has bits.
const PAGE: u16 = 64;

/// Values by numbers below 4096, in their order. They lie in 64 pages of 64, so that little is
/// copied when one changes: its page, and the list of pages. All else is shared with what this was
/// cloned from.
#[derive(Debug)]
pub(super) struct Paged<V> {
    /// None of them is empty.
    pages: Page<Page<V>>,
    len: usize,
}

/// Values by numbers below 64, in their order.
#[derive(Debug)]
struct Page<V> {
    /// A bit for each number that has a value. So its place is known without a search.
    taken: u64,
    values: Vec<Arc<V>>,
}

impl<V> Paged<V> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, number: u16) -> Option<&Arc<V>> {
        self.pages.get(number / PAGE)?.get(number % PAGE)
    }

    /// The values, some at a time: for few, iterating in two steps is twice as fast.
    pub(super) fn pages(&self) -> impl Iterator<Item = &[Arc<V>]> {
        self.pages.values.iter().map(|page| &page.values[..])
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Arc<V>> {
        self.pages().flatten()
    }

    /// Other values for the same numbers.
    pub(super) fn map(&self, other: impl Fn(&V) -> V) -> Self {
        Self { pages: self.pages.map(|page| page.map(&other)), len: self.len }
    }

    /// Puts a value into its place; `None` takes away what is there. Returns what was there.
    pub(super) fn set(&mut self, number: u16, value: Option<Arc<V>>) -> Option<Arc<V>> {
        self.len += usize::from(value.is_some());
        let mut page = self.pages.set(number / PAGE, None).unwrap_or_default();
        let before = Arc::make_mut(&mut page).set(number % PAGE, value);
        self.pages.set(number / PAGE, (page.taken != 0).then_some(page));
        self.len -= usize::from(before.is_some());
        before
    }
}

impl<V> Page<V> {
    fn get(&self, number: u16) -> Option<&Arc<V>> {
        let (is_there, at) = self.place(number);
        self.values.get(at).filter(|_| is_there)
    }

    fn map(&self, other: impl Fn(&V) -> V) -> Self {
        let values = self.values.iter().map(|value| Arc::new(other(value)));
        Self { taken: self.taken, values: values.collect() }
    }

    fn set(&mut self, number: u16, value: Option<Arc<V>>) -> Option<Arc<V>> {
        let (is_there, at) = self.place(number);
        match (value, is_there) {
            (Some(value), true) => Some(replace(self.values.get_mut(at)?, value)),
            (Some(value), false) => {
                self.taken |= 1 << number;
                self.values.insert(at, value);
                None
            }
            (None, true) => {
                self.taken &= !(1 << number);
                Some(self.values.remove(at))
            }
            (None, false) => None,
        }
    }

    /// Whether a number has a value, and the place where it is or would be.
    fn place(&self, number: u16) -> (bool, usize) {
        let bit = 1_u64 << number;
        let before = (self.taken & (bit - 1)).count_ones();
        // At most 64.
        (self.taken & bit != 0, before as usize)
    }
}

impl<V> Default for Paged<V> {
    fn default() -> Self {
        Self { pages: Page::default(), len: 0 }
    }
}

impl<V> Clone for Paged<V> {
    fn clone(&self) -> Self {
        Self { pages: self.pages.clone(), len: self.len }
    }
}

impl<V> Default for Page<V> {
    fn default() -> Self {
        Self { taken: 0, values: Vec::new() }
    }
}

impl<V> Clone for Page<V> {
    fn clone(&self) -> Self {
        Self { taken: self.taken, values: self.values.clone() }
    }
}

#[cfg(test)]
mod tests;
