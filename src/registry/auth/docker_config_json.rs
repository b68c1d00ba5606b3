//! The JSON of Docker's configuration, read as Go's decoder reads it for docker and the kubelet: letter case of field names does not
//! matter, `null` stands for nothing, and the last of two equal fields counts. A value of another type spoils its entry only.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::credentials::Secret;
use crate::registry::json_object::Shape;

/// The fields of `config.json` that matter.
pub(super) struct Config {
    pub auths: Shape<Entries>,
    /// It names a credential helper.
    pub names_helper: bool,
}

/// Entries by host.
#[derive(Default)]
pub(super) struct Entries(pub BTreeMap<String, Shape<ConfigEntry>>);

/// One entry.
#[derive(Default)]
pub(super) struct ConfigEntry {
    pub auth: Option<Secret>,
    pub username: Option<Secret>,
    pub password: Option<Secret>,
    pub identitytoken: Option<Secret>,
    pub registrytoken: Option<Secret>,
    /// One of these is no text.
    pub has_other_type: bool,
}

/// A text that may be missing.
enum Text {
    Set(Secret),
    Null,
    OtherType,
}

/// A value that is made field by field.
trait Fields: Default {
    /// Reads the value of this field.
    fn read<'de, A: MapAccess<'de>>(&mut self, name: String, map: &mut A) -> Result<(), A::Error>;
}

struct FieldsVisitor<T>(PhantomData<T>);

impl<'de, T: Fields> Visitor<'de> for FieldsVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut fields = T::default();
        while let Some(name) = map.next_key::<String>()? {
            fields.read(name, &mut map)?;
        }
        Ok(fields)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self { auths: Shape::Null, names_helper: false }
    }
}

impl Fields for Config {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: String, map: &mut A) -> Result<(), A::Error> {
        match name.to_ascii_lowercase().as_str() {
            "auths" => self.auths = map.next_value()?,
            "credsstore" => self.names_helper |= map.next_value::<Text>()?.set().is_some(),
            "credhelpers" => {
                let helpers = map.next_value::<Shape<BTreeMap<String, Text>>>()?;
                let Shape::Object(helpers) = helpers else { return Ok(()) };
                self.names_helper |= helpers.into_values().any(|helper| helper.set().is_some());
            }
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }
}

impl Fields for Entries {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: String, map: &mut A) -> Result<(), A::Error> {
        self.0.insert(name, map.next_value()?);
        Ok(())
    }
}

impl Fields for ConfigEntry {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: String, map: &mut A) -> Result<(), A::Error> {
        let field = match name.to_ascii_lowercase().as_str() {
            "auth" => &mut self.auth,
            "username" => &mut self.username,
            "password" => &mut self.password,
            "identitytoken" => &mut self.identitytoken,
            "registrytoken" => &mut self.registrytoken,
            _ => {
                map.next_value::<IgnoredAny>()?;
                return Ok(());
            }
        };
        match map.next_value::<Text>()? {
            Text::Set(text) => *field = Some(text),
            Text::Null => {}
            Text::OtherType => self.has_other_type = true,
        }
        Ok(())
    }
}

impl Text {
    /// Returns a text that is not empty.
    fn set(self) -> Option<Secret> {
        match self {
            Self::Set(text) => Some(text).filter(|text| !text.is_empty()),
            Self::Null | Self::OtherType => None,
        }
    }
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for ConfigEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text::Set(Secret::new(text.to_owned())))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Text, E> {
        Ok(Text::Set(Secret::new(text)))
    }

    fn visit_unit<E: Error>(self) -> Result<Text, E> {
        Ok(Text::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Text, E> {
        Ok(Text::OtherType)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Text, E> {
        Ok(Text::OtherType)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Text, E> {
        Ok(Text::OtherType)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Text, E> {
        Ok(Text::OtherType)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Text, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Text::OtherType)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Text, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Text::OtherType)
    }
}
