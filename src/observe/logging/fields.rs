//! Names of fields.

use std::borrow::Cow;

/// A field's name as Kubernetes components write it: lower camel case, and `err` for the error.
pub fn key(name: &str) -> Cow<'_, str> {
    match name {
        "error" => "err".into(),
        name if !name.contains('_') => name.into(),
        name => {
            let mut words = name.split('_');
            let mut key = words.next().unwrap_or_default().to_owned();
            for word in words {
                let mut letters = word.chars();
                key.extend(letters.next().map(|first| first.to_ascii_uppercase()));
                key.push_str(letters.as_str());
            }
            key.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_camel_case() {
        assert_eq!(key("endpoint_slices"), "endpointSlices");
        assert_eq!(key("operations"), "operations");
        assert_eq!(key("error"), "err");
    }
}
