//! Writes a JSON value as block-style YAML, as `kubectl get -o yaml` does: strings quoted, no anchors.

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
                *text += &format!("{:indent$}{}:", "", Value::from(key.as_str()));
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
        // JSON scalars and empty collections are YAML as they stand.
        scalar => *text += &format!("{:indent$}{scalar}\n", ""),
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
        scalar => *text += &format!(" {scalar}\n"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn nested_values_are_indented() {
        let value = serde_json::json!({"a": [{"b": 1, "c": []}, "x"], "d": {"e": true}});
        let expected = "---\n\"a\":\n- \"b\": 1\n  \"c\": []\n- \"x\"\n\"d\":\n  \"e\": true\n";
        assert_eq!(super::documents(&[value]), expected);
    }
}
