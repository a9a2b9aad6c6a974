//! What can be the address of a node that is to be made.

use super::StartError;
use crate::addr::LogicalAddr;

/// What can be the address of a node: a [`LogicalAddr`], or text such as `1.2.3`.
pub trait IntoAddr {
    /// The address.
    ///
    /// # Errors
    ///
    /// [`StartError::Address`] when it is none.
    fn into_addr(self) -> Result<LogicalAddr, StartError>;
}

impl IntoAddr for LogicalAddr {
    fn into_addr(self) -> Result<LogicalAddr, StartError> {
        Ok(self)
    }
}

impl IntoAddr for &str {
    fn into_addr(self) -> Result<LogicalAddr, StartError> {
        self.parse().map_err(|error| StartError::Address { text: self.to_owned(), error })
    }
}

impl IntoAddr for String {
    fn into_addr(self) -> Result<LogicalAddr, StartError> {
        self.as_str().into_addr()
    }
}

impl IntoAddr for &String {
    fn into_addr(self) -> Result<LogicalAddr, StartError> {
        self.as_str().into_addr()
    }
}
