//! Writes a JSON value as `kubectl get -o yaml` does: block style, quotes only where needed, no anchors.

use serde_json::Value;

/// The documents of a multi-document stream.
pub(crate) fn documents(objects: &[Value]) -> String {
    let mut text = String::new();
    for object in objects {
        text += "---\n";
        block(object, 0, &mut text);
    }
    text
}

/// A value that starts on its own line, at `indent` spaces.
fn block(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                *text += &format!("{:indent$}{}:", "", plain_or_quoted(key));
                after_key(value, indent, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let mut inner = String::new();
                block(item, indent + 2, &mut inner);
                *text += &format!("{:indent$}- {}", "", inner.trim_start());
            }
        }
        scalar => *text += &format!("{:indent$}{}\n", "", flow_style(scalar)),
    }
}

fn after_key(value: &Value, indent: usize, text: &mut String) {
    let empty = value.as_object().is_some_and(serde_json::Map::is_empty)
        || value.as_array().is_some_and(Vec::is_empty);
    match value {
        Value::Object(_) if !empty => {
            text.push('\n');
            block(value, indent + 2, text);
        }
        Value::Array(_) if !empty => {
            text.push('\n');
            block(value, indent, text);
        }
        scalar => *text += &format!(" {}\n", flow_style(scalar)),
    }
}

/// JSON scalars and empty collections are valid YAML as they are.
fn flow_style(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), plain_or_quoted)
}

/// Text without quotes, if it cannot be read as another type.
fn plain_or_quoted(text: &str) -> String {
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&&*text.to_lowercase())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    let is_address =
        text.parse::<std::net::IpAddr>().is_ok() && !text.starts_with(':') && !text.ends_with(':');
    if is_word || is_address { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    #[test]
    fn nested_values_are_indented() {
        let value = serde_json::json!({"a": [{"b": 1, "c": []}, "x", "12"], "d": {"e/f": true, "g": "true", "h": "::1"}});
        let expected =
            "---\na:\n- b: 1\n  c: []\n- x\n- \"12\"\nd:\n  e/f: true\n  g: \"true\"\n  h: \"::1\"\n";
        assert_eq!(super::documents(&[value]), expected);
    }
}
