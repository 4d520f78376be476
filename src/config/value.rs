//! The types of options: how a flag and a field of the file are read, and how a value is written.

use std::{collections::BTreeMap, str::FromStr};

use serde_json::{Value as Json, json};

use super::{
    Duration,
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

/// A value of a field that cannot be used.
pub(super) struct Invalid {
    /// The line.
    pub line: u64,
    /// The entry of the field, as `[1]` or `.name`; empty if it has none.
    pub entry: String,
    /// What is wrong.
    pub problem: String,
}

impl Invalid {
    fn new(node: &Node, problem: impl Into<String>) -> Self {
        Self { line: node.line, entry: String::new(), problem: problem.into() }
    }

    /// The same in an entry.
    fn within(self, entry: String) -> Self {
        Self { entry, ..self }
    }
}

/// The type of an option.
pub(super) trait Value: Sized {
    /// How a flag takes it.
    const KIND: Kind;

    /// Reads the value of a flag.
    fn parse(text: &str) -> Result<Self, String>;

    /// Reads the value of a field, which is not null.
    fn read(node: &Node) -> Result<Self, Invalid>;

    /// The value as JSON, as the file has it.
    fn to_json(&self) -> Json;
}

const BOOLEAN: &str = "is neither true nor false";
const INTEGER: &str = "is not a whole number, or too large";
const COUNT: &str = "is not a whole number from 0 on, or too large";
const NUMBER: &str = "is not a number";

/// Reads what Go's `strconv.ParseBool` does.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{text:?} {BOOLEAN}")),
    }
}

/// Reads a number of a flag.
fn number<T: FromStr>(text: &str, problem: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} {problem}"))
}

/// A quantity or time that the file may also give as a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantity(String);

impl Quantity {
    /// The value as it is given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! scalars {
    ($($type:ty: $kind:ident, $parse:expr, $read:expr, $to_json:expr;)*) => {$(
        impl Value for $type {
            const KIND: Kind = Kind::$kind;

            fn parse(text: &str) -> Result<Self, String> {
                let parse: fn(&str) -> Result<Self, String> = $parse;
                parse(text)
            }

            fn read(node: &Node) -> Result<Self, Invalid> {
                let read: fn(&Yaml) -> Result<Self, String> = $read;
                read(&node.value).map_err(|problem| Invalid::new(node, problem))
            }

            fn to_json(&self) -> Json {
                let to_json: fn(&Self) -> Json = $to_json;
                to_json(self)
            }
        }
    )*};
}

// Columns: type: kind, from a flag, from the file, to JSON.
scalars! {
    bool: Boolean, boolean, Yaml::boolean, |value| json!(value);
    i32: Number, |text| number(text, INTEGER), |value| value.integer(INTEGER), |value| json!(value);
    u32: Number, |text| number(text, COUNT), |value| value.integer(COUNT), |value| json!(value);
    u16: Number, |text| number(text, COUNT), |value| value.integer(COUNT), |value| json!(value);
    f32: Number, |text| number(text, NUMBER), |value| value.float(NUMBER), |value| json!(value);
    String: Text, |text| Ok(text.to_owned()), |value| value.text().map(str::to_owned), |value| json!(value);
    Duration: Duration, str::parse, |value| value.text_or_number()?.parse(), |value| json!(value.to_string());
    Quantity: Text, |text| Ok(Self(text.to_owned())), |value| value.text_or_number().map(Self), |value| json!(value.0);
}

/// Readers of scalars.
impl Yaml {
    fn boolean(&self) -> Result<bool, String> {
        if let Self::Boolean(value) = self { Ok(*value) } else { Err(BOOLEAN.to_owned()) }
    }

    fn integer<T: TryFrom<i64>>(&self, problem: &str) -> Result<T, String> {
        let number = if let Self::Number(number) = self { number.as_i64() } else { None };
        number.and_then(|number| number.try_into().ok()).ok_or_else(|| problem.to_owned())
    }

    fn float(&self, problem: &str) -> Result<f32, String> {
        let number = if let Self::Number(number) = self { number.as_f64() } else { None };
        number.map(|number| number as f32).ok_or_else(|| problem.to_owned())
    }

    fn text(&self) -> Result<&str, String> {
        if let Self::Text(text) = self { Ok(text) } else { Err("is not a text".to_owned()) }
    }

    fn text_or_number(&self) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::Number(number) => Ok(number.to_string()),
            _ => Err("is neither a text nor a number".to_owned()),
        }
    }
}

/// The entries of a list that are separated by commas.
fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// Reads entries such as `Gate=true`.
fn pairs<T, C: FromIterator<T>>(
    list: &str,
    example: &str,
    read: impl Fn(&str, &str) -> Option<T>,
) -> Result<C, String> {
    let read = |entry: &str| {
        let pair = entry.split_once('=').and_then(|(name, value)| read(name.trim(), value.trim()));
        pair.ok_or_else(|| format!("{entry:?} is not an entry such as {example}"))
    };
    entries(list).map(read).collect()
}

/// Reads the entries of a list of the file.
fn list<T>(node: &Node, read: impl Fn(&Node) -> Result<T, Invalid>) -> Result<Vec<T>, Invalid> {
    let Yaml::List(list) = &node.value else { return Err(Invalid::new(node, "is not a list")) };
    let read = |(at, entry)| read(entry).map_err(|invalid| invalid.within(format!("[{at}]")));
    list.iter().enumerate().map(read).collect()
}

impl Value for Vec<String> {
    const KIND: Kind = Kind::List;

    fn parse(text: &str) -> Result<Self, String> {
        Ok(entries(text).map(str::to_owned).collect())
    }

    fn read(node: &Node) -> Result<Self, Invalid> {
        list(node, String::read)
    }

    fn to_json(&self) -> Json {
        json!(self)
    }
}

/// Feature gates.
impl Value for BTreeMap<String, bool> {
    const KIND: Kind = Kind::List;

    fn parse(text: &str) -> Result<Self, String> {
        pairs(text, "Gate=true", |name, value| Some((name.to_owned(), boolean(value).ok()?)))
    }

    fn read(node: &Node) -> Result<Self, Invalid> {
        let Yaml::Mapping(gates) = &node.value else {
            return Err(Invalid::new(node, "is not a mapping of fields to values"));
        };
        let mut read = Self::new();
        for (name, value) in gates {
            let value = bool::read(value).map_err(|invalid| invalid.within(format!(".{}", name.value)))?;
            read.insert(name.value.clone(), value);
        }
        Ok(read)
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

    fn parse(text: &str) -> Result<Self, String> {
        pairs(text, "file=4", |file, level| Some((file.to_owned(), level.parse().ok()?))).map(Self)
    }

    fn read(node: &Node) -> Result<Self, Invalid> {
        let item = |item: &Node| {
            let (file, level) = (item.get("filePattern"), item.get("verbosity"));
            let (Some(file), Some(level)) = (file, level) else {
                return Err(Invalid::new(item, "is not an entry such as {filePattern: file, verbosity: 4}"));
            };
            Ok((String::read(file)?, u32::read(level)?))
        };
        list(node, item).map(Self)
    }

    fn to_json(&self) -> Json {
        let item = |(file, level): &(String, u32)| json!({ "filePattern": file, "verbosity": level });
        self.0.iter().map(item).collect()
    }
}
