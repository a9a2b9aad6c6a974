//! Maps that are looked into for each frame.

use std::collections::HashMap;

use foldhash::fast::RandomState;

/// With a hash that takes a tenth of the standard one's time. Its seed is random, but it is no
/// secret to one who could watch it long enough: what is in the map has to be bounded anyway.
pub(crate) type Map<K, V> = HashMap<K, V, RandomState>;
