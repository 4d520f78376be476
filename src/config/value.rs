//! The types of options: how a flag and a field of the file are read, and how a value is written.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::{
    Duration, Error, Place, Problem,
    document::{Node, Value as Yaml},
};

/// How a flag takes its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `--flag` alone means `--flag=true`, and only `=` may precede a value, as for pflag.
    Boolean,
    /// A number, which may be negative.
    Number,
    /// A time, which may be negative.
    Duration,
    /// A text.
    Text,
    /// A list, separated by commas; the flag may be repeated.
    List,
}

/// The type of an option.
pub(super) trait Value: Sized {
    /// How a flag takes it.
    const KIND: Kind;

    /// Reads the value of a flag.
    fn parse(text: &str) -> Result<Self, Problem>;

    /// Reads the value of a field, which is not null.
    fn read(node: &Node, place: &Place) -> Result<Self, Error>;

    /// The value as JSON, as the file has it.
    fn to_json(&self) -> Json;
}

/// Reads what Go's `strconv.ParseBool` does.
pub(crate) fn boolean(text: &str) -> Result<bool, Problem> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Problem::NotABoolean),
    }
}

impl Value for bool {
    const KIND: Kind = Kind::Boolean;

    fn parse(text: &str) -> Result<Self, Problem> {
        boolean(text)
    }

    fn read(node: &Node, place: &Place) -> Result<Self, Error> {
        match node.value {
            Yaml::Boolean(value) => Ok(value),
            _ => Err(Error::new(place.clone(), Problem::NotABoolean)),
        }
    }

    fn to_json(&self) -> Json {
        json!(self)
    }
}

macro_rules! number {
    ($type:ty, $problem:expr, $read:expr) => {
        impl Value for $type {
            const KIND: Kind = Kind::Number;

            fn parse(text: &str) -> Result<Self, Problem> {
                text.parse().map_err(|_| $problem)
            }

            fn read(node: &Node, place: &Place) -> Result<Self, Error> {
                let read: fn(&serde_json::Number) -> Option<Self> = $read;
                let value = if let Yaml::Number(number) = &node.value { read(number) } else { None };
                value.ok_or_else(|| Error::new(place.clone(), $problem))
            }

            fn to_json(&self) -> Json {
                json!(self)
            }
        }
    };
}

number!(i32, Problem::NotAnInteger, |number| number.as_i64()?.try_into().ok());
number!(u32, Problem::NotACount, |number| number.as_u64()?.try_into().ok());
number!(u16, Problem::NotACount, |number| number.as_u64()?.try_into().ok());
number!(f32, Problem::NotANumber, |number| Some(number.as_f64()? as f32));

impl Value for String {
    const KIND: Kind = Kind::Text;

    fn parse(text: &str) -> Result<Self, Problem> {
        Ok(text.to_owned())
    }

    fn read(node: &Node, place: &Place) -> Result<Self, Error> {
        match &node.value {
            Yaml::Text(text) => Ok(text.clone()),
            Yaml::Null => Err(Error::new(place.clone(), Problem::Null)),
            _ => Err(Error::new(place.clone(), Problem::NotText)),
        }
    }

    fn to_json(&self) -> Json {
        json!(self)
    }
}

impl Value for Duration {
    const KIND: Kind = Kind::Duration;

    fn parse(text: &str) -> Result<Self, Problem> {
        text.parse()
    }

    fn read(node: &Node, place: &Place) -> Result<Self, Error> {
        let text = match &node.value {
            Yaml::Text(text) => text.clone(),
            Yaml::Number(number) => number.to_string(),
            _ => return Err(Error::new(place.clone(), Problem::NotText)),
        };
        text.parse().map_err(|problem: Problem| Error::new(place.clone(), problem))
    }

    fn to_json(&self) -> Json {
        json!(self.to_string())
    }
}

/// A time that the file may also give in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Period(Duration);

impl Value for Period {
    const KIND: Kind = Kind::Duration;

    fn parse(text: &str) -> Result<Self, Problem> {
        text.parse().map(Self)
    }

    fn read(node: &Node, place: &Place) -> Result<Self, Error> {
        match &node.value {
            Yaml::Number(number) => {
                let nanoseconds = number.as_i64().map(Duration::from_nanos);
                nanoseconds.map(Self).ok_or_else(|| Error::new(place.clone(), Problem::NotAnInteger))
            }
            Yaml::Text(_) => Duration::read(node, place).map(Self),
            _ => Err(Error::new(place.clone(), Problem::NotAScalar)),
        }
    }

    fn to_json(&self) -> Json {
        self.0.to_json()
    }
}

/// A quantity, such as `64Ki`, which the file may also give as a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantity(String);

impl Value for Quantity {
    const KIND: Kind = Kind::Text;

    fn parse(text: &str) -> Result<Self, Problem> {
        Ok(Self(text.to_owned()))
    }

    fn read(node: &Node, place: &Place) -> Result<Self, Error> {
        match &node.value {
            Yaml::Number(number) => Ok(Self(number.to_string())),
            Yaml::Text(text) => Ok(Self(text.clone())),
            _ => Err(Error::new(place.clone(), Problem::NotAScalar)),
        }
    }

    fn to_json(&self) -> Json {
        json!(self.0)
    }
}

/// The entries of a list that are separated by commas.
fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// Reads entries such as `Gate=true`.
fn pairs<T, C: FromIterator<T>>(
    list: &str,
    example: &'static str,
    read: impl Fn(&str, &str) -> Option<T>,
) -> Result<C, Problem> {
    let read = |entry: &str| {
        let pair = entry.split_once('=').and_then(|(name, value)| read(name.trim(), value.trim()));
        pair.ok_or_else(|| Problem::Pair { value: entry.to_owned(), example })
    };
    entries(list).map(read).collect()
}

impl Value for Vec<String> {
    const KIND: Kind = Kind::List;

    fn parse(text: &str) -> Result<Self, Problem> {
        Ok(entries(text).map(str::to_owned).collect())
    }

    fn read(node: &Node, place: &Place) -> Result<Self, Error> {
        let Yaml::List(list) = &node.value else {
            return Err(Error::new(place.clone(), Problem::NotAList));
        };
        let entries = list.iter().enumerate();
        entries.map(|(at, entry)| String::read(entry, &place.entry(&format!("[{at}]"), entry.line))).collect()
    }

    fn to_json(&self) -> Json {
        json!(self)
    }
}

/// Feature gates.
impl Value for BTreeMap<String, bool> {
    const KIND: Kind = Kind::List;

    fn parse(text: &str) -> Result<Self, Problem> {
        pairs(text, "Gate=true", |name, value| Some((name.to_owned(), boolean(value).ok()?)))
    }

    fn read(node: &Node, place: &Place) -> Result<Self, Error> {
        let Yaml::Mapping(gates) = &node.value else {
            return Err(Error::new(place.clone(), Problem::NotAMapping));
        };
        let gate = |(name, value): &(serde_saphyr::Spanned<String>, Node)| {
            let place = place.entry(&format!(".{}", name.value), value.line);
            Ok((name.value.clone(), bool::read(value, &place)?))
        };
        gates.iter().map(gate).collect()
    }

    fn to_json(&self) -> Json {
        json!(self)
    }
}

/// klog's verbosity of single source files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vmodule(Vec<(String, u32)>);

impl Value for Vmodule {
    const KIND: Kind = Kind::List;

    fn parse(text: &str) -> Result<Self, Problem> {
        pairs(text, "file=4", |file, level| Some((file.to_owned(), level.parse().ok()?))).map(Self)
    }

    fn read(node: &Node, place: &Place) -> Result<Self, Error> {
        let Yaml::List(list) = &node.value else {
            return Err(Error::new(place.clone(), Problem::NotAList));
        };
        let item = |(at, item): (usize, &Node)| {
            let field = |name: &str| item.get(name).filter(|node| !matches!(node.value, Yaml::Null));
            let place = |name: &str| place.entry(&format!("[{at}].{name}"), item.line);
            if !matches!(item.value, Yaml::Mapping(_)) {
                return Err(Error::new(place("filePattern"), Problem::NotAMapping));
            }
            let file = field("filePattern").map(|node| String::read(node, &place("filePattern")));
            let level = field("verbosity").map(|node| u32::read(node, &place("verbosity")));
            Ok((file.transpose()?.unwrap_or_default(), level.transpose()?.unwrap_or_default()))
        };
        list.iter().enumerate().map(item).collect::<Result<_, _>>().map(Self)
    }

    fn to_json(&self) -> Json {
        let item = |(file, level): &(String, u32)| json!({ "filePattern": file, "verbosity": level });
        self.0.iter().map(item).collect()
    }
}
