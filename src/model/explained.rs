//! Enums whose variants each have one text.

/// Defines an enum whose variants each have one text, for the docs of the variant and for the reference pages.
macro_rules! explained {
    ($(#[doc = $about:literal])* $name:ident, $(#[doc = $about_text:literal])* $text:ident: $($variant:ident $meaning:literal,)*) => {
        $(#[doc = $about])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
        )]
        pub enum $name {
            $(#[doc = $meaning] $variant,)*
        }

        impl $name {
            /// Every variant, in display order.
            pub const ALL: [Self; [$(stringify!($variant)),*].len()] = [$(Self::$variant),*];

            /// Returns the name, as conditions, metric labels and reference pages show it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }

            $(#[doc = $about_text])*
            #[must_use]
            pub const fn $text(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.pad(self.as_str())
            }
        }
    };
}

pub(crate) use explained;
