//! The types of options: how the values of flags and of fields of the file are read.

use serde_json::{Number, Value as Json, json};

use super::{
    document::{Node, Value},
    go_duration,
};

/// The type of an option. Texts and lists have the placeholder that stands for a value in help texts.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `--flag` alone means `--flag=true`, and only `=` may precede a value, as for pflag.
    Boolean,
    /// A whole number of this range.
    Number(i64, i64),
    /// Any number.
    Float,
    /// A duration in Go's notation that is not negative.
    Duration,
    /// A duration in Go's notation of more than zero. In a file, zero stands for the default.
    Period,
    /// A duration in Go's notation that is not negative, or a number of nanoseconds.
    Nanoseconds,
    /// A text, or a number.
    Size,
    /// A text.
    Text(&'static str),
    /// A text; the flag alone means the second string.
    TextOr(&'static str, &'static str),
    /// One of these words. The word is checked where it is used.
    Choice(&'static str, &'static [&'static str]),
    /// A list of texts, separated by commas; the flag may be repeated.
    List(&'static str),
    /// Feature gates.
    Gates,
    /// klog's verbosity of single source files.
    Vmodule,
}

/// A value of a field that cannot be used.
pub(super) struct Problem {
    /// The line.
    pub line: u64,
    /// The entry of the field, as `[1]` or `.name`; empty if it has none.
    pub entry: String,
    /// What is wrong.
    pub message: String,
}

impl Kind {
    /// What stands for the value in help texts.
    pub fn placeholder(self) -> &'static str {
        match self {
            Self::Boolean => "BOOL",
            Self::Number(..) | Self::Float => "N",
            Self::Duration | Self::Period | Self::Nanoseconds => "DURATION",
            Self::Size => "SIZE",
            Self::Text(name) | Self::TextOr(name, _) | Self::Choice(name, _) | Self::List(name) => name,
            Self::Gates => "GATE=BOOL,…",
            Self::Vmodule => "FILE=LEVEL,…",
        }
    }

    /// Whether the flag may be repeated, each time with a part of the value.
    pub fn is_list(self) -> bool {
        matches!(self, Self::List(_) | Self::Gates | Self::Vmodule)
    }

    fn expected(self) -> String {
        match self {
            Self::Boolean => "is neither true nor false".to_owned(),
            Self::Number(from, to) => format!("is not a whole number from {from} to {to}"),
            Self::Float => "is not a number".to_owned(),
            Self::Duration | Self::Nanoseconds => "is not a duration such as 30s or 1m30s".to_owned(),
            Self::Period => "is not a duration of more than zero such as 30s or 1m30s".to_owned(),
            Self::Size => "is neither text nor a number".to_owned(),
            Self::Text(_) | Self::TextOr(..) | Self::Choice(..) => "is not text".to_owned(),
            Self::List(_) => "is not a list".to_owned(),
            Self::Gates => "is not an entry such as Gate=true".to_owned(),
            Self::Vmodule => "is not an entry such as file=4".to_owned(),
        }
    }

    /// Reads the value of a flag.
    pub(super) fn parse(self, text: &str) -> Result<Json, String> {
        let entries = || text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        // An entry such as `Gate=true`.
        let pair = |entry: &str, kind: Self| {
            let (name, value) = entry.split_once('=')?;
            Some((name.trim().to_owned(), kind.parse(value.trim()).ok()?))
        };
        let problem = |entry: &str| format!("{entry:?} {}", self.expected());
        match self {
            Self::List(_) => Ok(entries().collect()),
            Self::Gates => entries()
                .map(|entry| pair(entry, Self::Boolean).ok_or_else(|| problem(entry)))
                .collect::<Result<serde_json::Map<_, _>, _>>()
                .map(Json::Object),
            Self::Vmodule => entries()
                .map(|entry| {
                    let (file, level) = pair(entry, LEVEL).ok_or_else(|| problem(entry))?;
                    Ok(json!({ "filePattern": file, "verbosity": level }))
                })
                .collect(),
            Self::Boolean => boolean(text).map(Json::from),
            Self::Number(..) => self.scalar(&text.parse::<i64>().map_or_else(|_| text.into(), Json::from)),
            Self::Float => self.scalar(&text.parse::<f64>().map_or_else(|_| text.into(), Json::from)),
            Self::Period if go_duration::parse(text).is_some_and(|time| time.is_zero()) => Err(problem(text)),
            _ => self.scalar(&text.into()),
        }
    }

    /// Reads the value of a field, which is not null.
    pub(super) fn read(self, node: &Node) -> Result<Json, Problem> {
        let invalid = |entry: String, message| Problem { line: node.line, entry, message };
        let within = |entry: String| move |problem: Problem| Problem { entry, ..problem };
        match (self, &node.value) {
            (Self::List(_) | Self::Vmodule, Value::List(list)) => {
                let kind = if matches!(self, Self::Vmodule) { Self::Vmodule } else { ENTRY };
                let read = |(at, node)| kind.entry(node).map_err(within(format!("[{at}]")));
                list.iter().enumerate().map(read).collect()
            }
            (Self::Gates, Value::Mapping(gates)) => {
                let read = |(name, node): &(serde_saphyr::Spanned<String>, Node)| {
                    let value = Self::Boolean.read(node).map_err(within(format!(".{}", name.value)))?;
                    Ok((name.value.clone(), value))
                };
                gates.iter().map(read).collect::<Result<_, _>>().map(Json::Object)
            }
            (Self::Gates, _) => {
                Err(invalid(String::new(), "is not a mapping of fields to values".to_owned()))
            }
            (Self::Vmodule, _) => Err(invalid(String::new(), Self::List("").expected())),
            (_, Value::Scalar(value)) => {
                self.scalar(value).map_err(|problem| invalid(String::new(), problem))
            }
            _ => Err(invalid(String::new(), self.expected())),
        }
    }

    /// Reads an entry of a list of the file.
    fn entry(self, node: &Node) -> Result<Json, Problem> {
        let invalid =
            |message: &str| Problem { line: node.line, entry: String::new(), message: message.to_owned() };
        if !matches!(self, Self::Vmodule) {
            return match self.read(node)? {
                Json::String(text) if text.trim().is_empty() => Err(invalid("is empty")),
                value => Ok(value),
            };
        }
        let (Some(file), Some(level)) = (node.get("filePattern"), node.get("verbosity")) else {
            return Err(invalid("is not an entry such as {filePattern: file, verbosity: 4}"));
        };
        Ok(json!({ "filePattern": ENTRY.read(file)?, "verbosity": LEVEL.read(level)? }))
    }

    /// Checks a scalar, and normalises it, so that equal values look the same.
    fn scalar(self, value: &Json) -> Result<Json, String> {
        let read = match (self, value) {
            (Self::Boolean, Json::Bool(_))
            | (Self::Text(_) | Self::TextOr(..) | Self::Choice(..) | Self::Size, Json::String(_))
            | (Self::Size | Self::Nanoseconds, Json::Number(_)) => Some(value.clone()),
            (Self::Number(from, to), Json::Number(number)) => {
                number.as_i64().filter(|number| (from..=to).contains(number)).map(Json::from)
            }
            (Self::Float, Json::Number(number)) => {
                number.as_f64().and_then(Number::from_f64).map(Json::Number)
            }
            (Self::Duration | Self::Period | Self::Nanoseconds, Json::String(text)) => {
                go_duration::parse(text).map(|duration| go_duration::print(duration).into())
            }
            _ => None,
        };
        read.ok_or_else(|| format!("{value} {}", self.expected()))
    }
}

const LEVEL: Kind = Kind::Number(0, i32::MAX as i64);
const ENTRY: Kind = Kind::Text("");

/// Reads a boolean as Go's `strconv.ParseBool` does.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{text:?} {}", Kind::Boolean.expected())),
    }
}
