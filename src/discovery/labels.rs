//! The labels of a member. Pure.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

type Map = BTreeMap<String, String>;

static NONE: Map = BTreeMap::new();

/// Free words for those who pick: a [`BTreeMap`] of texts, which clones share until one of them is
/// changed. A node keeps labels that many members have once.
///
/// ```
/// use seaway::discovery::Labels;
/// let mut labels = Labels::from([("zone", "a"), ("version", "1.4")]);
/// labels.insert("weight".to_owned(), "10".to_owned());
/// assert_eq!(labels.get("zone").map(String::as_str), Some("a"));
/// assert_eq!(labels.len(), 3);
/// ```
#[derive(Clone, Default, Deserialize)]
#[serde(from = "BTreeMap<String, String>")]
pub struct Labels(Option<Arc<Map>>);

impl Deref for Labels {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Map {
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for Labels {
    fn deref_mut(&mut self) -> &mut Map {
        Arc::make_mut(self.0.get_or_insert_default())
    }
}

impl From<BTreeMap<String, String>> for Labels {
    fn from(labels: Map) -> Self {
        Self((!labels.is_empty()).then(|| Arc::new(labels)))
    }
}

impl<K: Into<String>, V: Into<String>, const N: usize> From<[(K, V); N]> for Labels {
    fn from(labels: [(K, V); N]) -> Self {
        labels.into_iter().collect()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Labels {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(labels: T) -> Self {
        let labels = labels.into_iter().map(|(key, value)| (key.into(), value.into()));
        labels.collect::<Map>().into()
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a String, &'a String);
    type IntoIter = std::collections::btree_map::Iter<'a, String, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Some(one), Some(two)) if Arc::ptr_eq(one, two) => Ordering::Equal,
            _ => Map::cmp(self, other),
        }
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Labels {}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Map::serialize(self, serializer)
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Map::fmt(self, f)
    }
}

/// Labels that several members have, each kept once.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    all: BTreeSet<Labels>,
    /// How many there may be until those are forgotten that nobody has any more.
    max: usize,
}

impl Shared {
    /// Lets these be the ones that others have, if they are the same.
    pub(crate) fn share(&mut self, labels: &mut Labels) {
        if labels.is_empty() {
            *labels = Labels::default();
        } else if let Some(known) = self.all.get(labels) {
            *labels = known.clone();
        } else {
            if self.all.len() >= self.max {
                let is_used =
                    |labels: &Labels| labels.0.as_ref().is_some_and(|it| Arc::strong_count(it) > 1);
                self.all.retain(is_used);
                self.max = 2 * self.all.len().max(SHARED_MIN);
            }
            self.all.insert(labels.clone());
        }
    }
}

/// Fewer are kept without a look at who has them.
const SHARED_MIN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> Labels {
        Labels::from([("zone", name)])
    }

    fn is_one(one: &Labels, two: &Labels) -> bool {
        std::ptr::eq::<Map>(&**one, &**two)
    }

    #[test]
    fn equal_labels_become_one_and_others_stay_apart() {
        let mut shared = Shared::default();
        let mut all = [zone("a"), zone("b"), zone("a")];
        all.iter_mut().for_each(|labels| shared.share(labels));
        assert!(is_one(&all[0], &all[2]) && !is_one(&all[0], &all[1]));
        assert_eq!(all, [zone("a"), zone("b"), zone("a")]);
    }

    #[test]
    fn changing_one_leaves_its_clones_as_they_are() {
        let one = zone("a");
        let mut two = one.clone();
        assert!(is_one(&one, &two));
        two.insert("weight".to_owned(), "3".to_owned());
        assert_eq!((one.len(), two.len()), (1, 2));
    }

    #[test]
    fn labels_that_nobody_has_any_more_are_forgotten() {
        let mut shared = Shared::default();
        let mut kept = zone("kept");
        shared.share(&mut kept);
        for number in 0..10_000 {
            shared.share(&mut zone(&number.to_string()));
        }
        assert!(shared.all.len() <= 2 * SHARED_MIN, "{}", shared.all.len());
        let mut again = zone("kept");
        shared.share(&mut again);
        assert!(is_one(&kept, &again));
    }

    #[test]
    fn no_labels_are_equal_however_they_came_to_be_none() {
        let mut emptied = zone("a");
        emptied.clear();
        assert_eq!(emptied, Labels::default());
        assert_eq!(serde_json::to_string(&zone("a")).unwrap(), r#"{"zone":"a"}"#);
        assert_eq!(serde_json::from_str::<Labels>("{}").unwrap(), emptied);
    }
}
