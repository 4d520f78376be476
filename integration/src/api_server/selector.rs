//! Label and field selectors, limited to equality and existence.

use serde_json::Value;

use super::Resource;

/// Selects the objects of a list or watch; the default selects all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Selector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    subject: Subject,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    Label(String),
    /// Names of the fields on the path to the value.
    Field(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Exists,
    Missing,
    Is(String),
    /// Also holds if there is no value, as the API defines.
    IsNot(String),
}

impl Selector {
    /// Reads the parameters `labelSelector` and `fieldSelector`.
    ///
    /// # Errors
    /// A message for the client, for set-based selectors and for fields that the resource cannot be selected by.
    pub fn parse(resource: Resource, labels: &str, fields: &str) -> Result<Self, String> {
        let mut requirements = Vec::new();
        for text in terms(labels) {
            if text.contains(['(', ' ']) {
                return Err(format!("unable to parse requirement: {text:?} is not supported here"));
            }
            let (key, test) = parse(text);
            requirements.push(Requirement { subject: Subject::Label(key.into()), test });
        }
        for text in terms(fields) {
            let (key, test) = parse(text);
            if matches!(test, Test::Exists | Test::Missing) {
                return Err(format!("invalid selector: {text:?}; can't understand it"));
            }
            if !resource.selectable_fields().contains(&key) {
                return Err(format!("field label not supported: {key}"));
            }
            let path = key.split('.').map(str::to_owned).collect();
            requirements.push(Requirement { subject: Subject::Field(path), test });
        }
        Ok(Self(requirements))
    }

    /// Whether every object is selected.
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object is selected.
    pub fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|requirement| requirement.holds(object))
    }
}

impl Requirement {
    fn holds(&self, object: &Value) -> bool {
        let value = match &self.subject {
            Subject::Label(key) => object["metadata"]["labels"][key].as_str(),
            // An unset field is selected like an empty string.
            Subject::Field(path) => {
                Some(path.iter().fold(object, |value, name| &value[name]).as_str().unwrap_or_default())
            }
        };
        match &self.test {
            Test::Exists => value.is_some(),
            Test::Missing => value.is_none(),
            Test::Is(wanted) => value == Some(wanted),
            Test::IsNot(unwanted) => value != Some(unwanted),
        }
    }
}

fn terms(selector: &str) -> impl Iterator<Item = &str> {
    selector.split(',').filter(|term| !term.is_empty())
}

fn parse(term: &str) -> (&str, Test) {
    if let Some((key, value)) = term.split_once("!=") {
        return (key, Test::IsNot(value.into()));
    }
    if let Some((key, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return (key, Test::Is(value.into()));
    }
    match term.strip_prefix('!') {
        Some(key) => (key, Test::Missing),
        None => (term, Test::Exists),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selected(labels: &str, fields: &str, object: &Value) -> bool {
        Selector::parse(Resource::Services, labels, fields).unwrap().matches(object)
    }

    #[test]
    fn labels_are_selected_by_existence_and_equality() {
        let object = json!({"metadata": {"labels": {"app": "web", "empty": ""}}});
        for (labels, expected) in [
            ("", true),
            ("app", true),
            ("!app", false),
            ("tier", false),
            ("!tier", true),
            ("empty", true),
            ("app=web", true),
            ("app==web", true),
            ("app=db", false),
            ("app!=db", true),
            ("app!=web", false),
            ("tier!=front", true),
            ("app=web,!tier", true),
            ("app=web,tier", false),
            ("!app/x,!a.b/c", true),
        ] {
            assert_eq!(selected(labels, "", &object), expected, "{labels}");
        }
        assert!(selected("!app", "", &json!({"metadata": {}})));
    }

    #[test]
    fn fields_are_selected_by_equality() {
        let object = json!({"metadata": {"name": "a"}, "spec": {"clusterIP": "None"}});
        assert!(selected("", "metadata.name=a", &object));
        assert!(!selected("", "metadata.name=b", &object));
        assert!(!selected("", "spec.clusterIP!=None", &object));
        assert!(selected("", "spec.clusterIP!=None", &json!({"spec": {}})));
        assert!(selected("", "spec.type=", &object), "an unset field is an empty one");
    }

    #[test]
    fn what_the_resource_cannot_be_selected_by_is_an_error() {
        let error = |labels, fields| Selector::parse(Resource::Nodes, labels, fields).unwrap_err();
        assert_eq!(error("", "spec.clusterIP!=None"), "field label not supported: spec.clusterIP");
        assert!(error("", "metadata.name").contains("can't understand"));
        assert!(error("app in (a,b)", "").contains("unable to parse"));
    }
}
