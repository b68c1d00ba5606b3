//! A JSON object, and nothing else. Serde also accepts a list in the place of an object, field by field. Other readers of the
//! same bytes do not, and content that two readers understand differently must not be trusted.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// A value that is decoded from a JSON object only.
pub(crate) struct JsonObject<T>(pub T);

/// What stands in the place of an object.
pub(crate) enum Shape<T> {
    Object(T),
    Null,
    List,
    /// A text, a number, true or false.
    Value,
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Option<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields)).map(Some)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<T>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for JsonObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = deserializer.deserialize_map(ObjectVisitor(PhantomData))?;
        value.map(Self).ok_or_else(|| Error::invalid_type(Unexpected::Seq, &"an object"))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shape<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor(PhantomData))
    }
}

struct ShapeVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ShapeVisitor<T> {
    type Value = Shape<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Shape<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields)).map(Shape::Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shape<T>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Shape::List)
    }

    fn visit_unit<E: Error>(self) -> Result<Shape<T>, E> {
        Ok(Shape::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Shape<T>, E> {
        Ok(Shape::Value)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Shape<T>, E> {
        Ok(Shape::Value)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Shape<T>, E> {
        Ok(Shape::Value)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Shape<T>, E> {
        Ok(Shape::Value)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Shape<T>, E> {
        Ok(Shape::Value)
    }
}
