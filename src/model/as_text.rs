//! Serialization of values that the status, records and snapshot files keep as text.

/// Implements the conversions that `#[serde(try_from = "String", into = "String")]` requires by `Display` and `FromStr`.
macro_rules! as_text {
    ($($type:ident),*) => {$(
        impl TryFrom<String> for $type {
            type Error = <Self as std::str::FromStr>::Err;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    )*};
}
pub(crate) use as_text;
