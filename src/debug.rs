//! `{:?}` of errors: their text, behind the name to match on.

/// Implements `Debug` for an error by its text; takes the names of all its variants.
macro_rules! debug_by_text {
    ($error:ident: $($variant:ident),+ $(,)?) => {
        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let name = match self {
                    $(Self::$variant { .. } => stringify!($variant),)+
                };
                write!(f, "{name}: {self}")
            }
        }
    };
}
pub(crate) use debug_by_text;
