//! What is told of one-way frames that did not arrive.

/// How many were lost with a session, or beyond a harbor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) at_most: u64,
    /// Known once the ends have compared their counts.
    pub(crate) exactly: Option<u64>,
    /// The bound that was told before, which this one takes the place of.
    pub(crate) instead_of: u64,
}

impl Loss {
    pub(crate) const fn bound(at_most: u64) -> Self {
        Self { at_most, exactly: None, instead_of: 0 }
    }
}
