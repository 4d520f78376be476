//! YAML as `kubectl` and the API's Go libraries print it, translated to JSON, which is read several times faster.
//!
//! This is a small part of YAML: mappings and lists in block style, each scalar on the line of its key, literal
//! blocks. Everything else is left to the YAML parser, including invalid text, and every scalar whose type depends on
//! the version of YAML. A translation has the same meaning as the text has to the YAML parser.

#[cfg(test)]
mod tests;

/// Deepest nesting of mappings and lists that is translated: less than the parser accepts.
const DEPTH: usize = 32;

/// Maximum number of keys of a mapping that is translated, since each key is compared with the keys before it.
const KEYS: usize = 64;

/// A mapping or list whose end has not been seen.
#[derive(Clone, Copy)]
struct Open {
    /// The column of its keys or dashes.
    column: usize,
    is_list: bool,
    /// How many keys the mappings around it have.
    keys_before: usize,
}

struct Translation<'a> {
    json: String,
    open: Vec<Open>,
    /// The keys of all open mappings.
    keys: Vec<&'a str>,
    /// Whether a value comes next, as after a key or a dash.
    wants_value: bool,
}

/// The document as JSON; `None` if the YAML parser has to read it.
pub(super) fn to_json(text: &str) -> Option<String> {
    let json = String::with_capacity(text.len());
    let mut translation = Translation { json, open: Vec::new(), keys: Vec::new(), wants_value: true };
    let mut rest = text.strip_prefix("---\n").unwrap_or(text);
    while !rest.is_empty() {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        rest = after;
        translation.line(line, &mut rest)?;
    }
    translation.finish()
}

impl<'a> Translation<'a> {
    fn line(&mut self, line: &'a str, rest: &mut &'a str) -> Option<()> {
        let mut content = line.trim_start_matches(' ');
        if content.is_empty() || content.starts_with('#') {
            return Some(());
        }
        let mut column = line.len() - content.len();
        let mut is_item = false;
        while let Some(item) = content.strip_prefix("- ") {
            self.item(column)?;
            let inner = item.trim_start_matches(' ');
            column += content.len() - inner.len();
            (content, is_item) = (inner, true);
        }
        let Some((key, value)) = split_key(content) else {
            return if is_item { self.scalar(content.trim_end_matches(' ')) } else { None };
        };
        self.key(column, key)?;
        match value.trim_matches(' ') {
            "" => self.wants_value = true,
            "|" => self.literal(column, rest)?,
            value => self.scalar(value)?,
        }
        Some(())
    }

    /// Begins an item of a list whose dashes are at this column.
    fn item(&mut self, column: usize) -> Option<()> {
        // The items of a key's list may stand at the column of the key.
        if self.wants_value
            && self.open.last().is_none_or(|outer| column >= outer.column + usize::from(outer.is_list))
        {
            self.begin(column, true)?;
        } else {
            self.end_where(|open| open.column > column);
            self.open.last().filter(|open| open.is_list && open.column == column)?;
            self.json.push(',');
        }
        self.wants_value = true;
        Some(())
    }

    /// Writes a key that is at this column.
    fn key(&mut self, column: usize, key: &'a str) -> Option<()> {
        if self.wants_value && self.open.last().is_none_or(|outer| column > outer.column) {
            self.begin(column, false)?;
        } else {
            self.end_where(|open| open.column > column || (open.column == column && open.is_list));
            let mapping = self.open.last().filter(|open| open.column == column)?;
            let keys = self.keys.get(mapping.keys_before..)?;
            if keys.len() == KEYS || keys.contains(&key) {
                return None;
            }
            self.json.push(',');
        }
        self.keys.push(key);
        self.string(key)?;
        self.json.push(':');
        Some(())
    }

    fn begin(&mut self, column: usize, is_list: bool) -> Option<()> {
        self.wants_value = false;
        self.json.push(if is_list { '[' } else { '{' });
        self.open.push(Open { column, is_list, keys_before: self.keys.len() });
        (self.open.len() <= DEPTH).then_some(())
    }

    /// Ends the innermost mappings and lists for which `is_at_end` is true. A value that is missing is null.
    fn end_where(&mut self, is_at_end: impl Fn(&Open) -> bool) {
        if std::mem::take(&mut self.wants_value) {
            self.json += "null";
        }
        while let Some(open) = self.open.pop_if(|open| is_at_end(open)) {
            self.json.push(if open.is_list { ']' } else { '}' });
            self.keys.truncate(open.keys_before);
        }
    }

    fn finish(mut self) -> Option<String> {
        if self.open.is_empty() {
            return None;
        }
        self.end_where(|_| true);
        Some(self.json)
    }

    /// Writes a scalar, or an empty mapping or list.
    fn scalar(&mut self, value: &str) -> Option<()> {
        self.wants_value = false;
        if let Some(quoted) = value.strip_prefix('"') {
            let inner = quoted.strip_suffix('"').filter(|inner| is_same_in_json(inner))?;
            self.json.push('"');
            self.json += inner;
            self.json.push('"');
        } else if let Some(quoted) = value.strip_prefix('\'') {
            let inner = quoted.strip_suffix('\'')?;
            let text = inner.replace("''", "");
            if text.contains('\'') {
                return None;
            }
            self.string(&inner.replace("''", "'"))?;
        } else if matches!(value, "{}" | "[]" | "null" | "true" | "false") || is_number(value) {
            self.json += value;
        } else if is_text(value) {
            self.string(value)?;
        } else {
            return None;
        }
        Some(())
    }

    /// Writes the lines of a literal block whose key is at this column.
    fn literal(&mut self, column: usize, rest: &mut &'a str) -> Option<()> {
        let first = rest.trim_start_matches(' ');
        let indentation = rest.len() - first.len();
        if indentation <= column || first.starts_with('\n') || !rest.ends_with('\n') {
            return None;
        }
        self.json.push('"');
        let mut blank_lines = 0;
        while let Some((line, after)) = rest.split_once('\n') {
            let content = line.trim_start_matches(' ');
            let blanks = line.len() - content.len();
            match content {
                "" if blanks > indentation => return None,
                "" => blank_lines += 1,
                _ if blanks >= indentation => {
                    (0..std::mem::take(&mut blank_lines)).for_each(|_| self.json += "\\n");
                    self.escaped(line.get(indentation..)?)?;
                    self.json += "\\n";
                }
                _ if blanks > column => return None,
                _ => break,
            }
            *rest = after;
        }
        self.json.push('"');
        Some(())
    }

    fn string(&mut self, text: &str) -> Option<()> {
        self.json.push('"');
        self.escaped(text)?;
        self.json.push('"');
        Some(())
    }

    /// Appends text in which only quotes and backslashes need to be escaped.
    fn escaped(&mut self, text: &str) -> Option<()> {
        if !text.bytes().all(is_printable) {
            return None;
        }
        for part in text.split_inclusive(['"', '\\']) {
            match part.strip_suffix(['"', '\\']) {
                Some(before) => {
                    self.json += before;
                    self.json.push('\\');
                    self.json += &part[before.len()..];
                }
                None => self.json += part,
            }
        }
        Some(())
    }
}

/// A line's key, and the text after the colon; `None` if there is no key, or if the key may not be text.
fn split_key(content: &str) -> Option<(&str, &str)> {
    let (key, value) = if let Some(quoted) = content.strip_prefix('"') {
        let (key, after) = quoted.split_once('"').filter(|(key, _)| !key.contains('\\'))?;
        (key, after.strip_prefix(':')?)
    } else {
        let is_end = |at: &usize| matches!(content.as_bytes().get(at + 1), None | Some(b' '));
        let end = content.match_indices(':').map(|(at, _)| at).find(is_end)?;
        let (key, value) = (content.get(..end)?, content.get(end + 1..)?);
        (Some(key).filter(|key| *key == "." || (!key.contains(' ') && is_text(key)))?, value)
    };
    (value.is_empty() || value.starts_with(' ')).then_some((key, value))
}

fn is_printable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

/// Whether text between double quotes is the same in JSON.
fn is_same_in_json(quoted: &str) -> bool {
    let mut bytes = quoted.bytes();
    while let Some(byte) = bytes.next() {
        let is_same = match byte {
            b'"' => false,
            b'\\' => matches!(bytes.next(), Some(b'"' | b'\\' | b'n' | b't')),
            byte => is_printable(byte),
        };
        if !is_same {
            return false;
        }
    }
    true
}

/// Whether a plain scalar is a whole number in every version of YAML, and is written in the same way in JSON.
fn is_number(value: &str) -> bool {
    let is_short = (1..=18).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit());
    is_short && (value == "0" || !value.starts_with('0'))
}

/// Whether a plain scalar is text in every version of YAML, and all of it on this line.
fn is_text(value: &str) -> bool {
    /// Words that are a boolean, null or a number in some version of YAML, in lower case.
    const DOUBTFUL: [&str; 12] =
        ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf", "infinity"];
    // Options of commands begin with dashes.
    let word = value.strip_prefix("--").or_else(|| value.strip_prefix('-')).unwrap_or(value);
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    let is_text = match word.as_bytes().get(digits) {
        Some(first) if digits == 0 => {
            let is_doubtful = DOUBTFUL.iter().any(|doubtful| word.eq_ignore_ascii_case(doubtful));
            (first.is_ascii_alphabetic() && !is_doubtful) || value.starts_with('/')
        }
        _ if word.len() < value.len() => false,
        // A quantity; an address, a version or an identifier.
        Some(b'm' | b'k' | b'M' | b'G' | b'T' | b'K' | b's') => {
            value.bytes().skip(digits).all(|byte| byte.is_ascii_alphabetic())
        }
        Some(_) => {
            let count = |mark| value.bytes().filter(|byte| *byte == mark).count();
            count(b'.') > 1 || count(b'-') > 1 || value.contains("::")
        }
        None => false,
    };
    is_text && !value.ends_with(':') && !value.contains(": ") && !value.contains(" #")
}
