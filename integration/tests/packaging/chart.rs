//! Renders the chart with the functions of Helm's that it uses. What it does not know is an error.

use std::{collections::HashMap, fmt::Write, fs};

use gtmpl::{Context, Func, FuncError, Template, Value as GoValue};
use serde_json::{Value, json};

use crate::{documents, shipped};

const API_SERVER: &str = "https://192.0.2.10:6443";

/// The chart's objects with nothing set but what must be.
pub fn defaults() -> Vec<Value> {
    render(&json!({ "apiServer": API_SERVER }))
}

/// The chart's objects with no value at its default.
pub fn everything() -> Vec<Value> {
    let values = fs::read_to_string(shipped("helm/portolan/examples/everything.yaml")).unwrap();
    render(&serde_saphyr::from_str(&values).unwrap())
}

fn render(values: &Value) -> Vec<Value> {
    let manifests = ["rbac.yaml", "configmap.yaml", "daemonset.yaml"];
    let text = |name| render_file(name, values).unwrap_or_else(|error| panic!("{name}: {error}"));
    manifests.into_iter().flat_map(|name| documents(&text(name))).collect()
}

/// Renders one template for a release `portolan` in `kube-system`.
fn render_file(name: &str, values: &Value) -> Result<String, String> {
    let chart = shipped("helm/portolan");
    let read = |path: &str| fs::read_to_string(chart.join(path)).map_err(|error| error.to_string());
    let about: Value = serde_saphyr::from_str(&read("Chart.yaml")?).map_err(|error| error.to_string())?;
    let mut all: Value = serde_saphyr::from_str(&read("values.yaml")?).map_err(|error| error.to_string())?;
    merge(&mut all, values);
    let context = json!({
        "Chart": {"Name": about["name"], "AppVersion": about["appVersion"]},
        "Release": {"Name": "portolan", "Namespace": "kube-system"},
        "Values": all,
    });
    let mut template = Template::default();
    let functions: [(&str, Func); 6] = [
        ("toYaml", to_yaml),
        ("indent", indent),
        ("omit", omit),
        ("quote", quote),
        ("required", required),
        ("sha256sum", sha256sum),
    ];
    template.add_funcs(&functions);
    template.parse(read(&format!("templates/{name}"))?).map_err(|error| error.to_string())?;
    template.render(&Context::from(to_go(&context))).map_err(|error| error.to_string())
}

/// Helm's merge: objects key by key, null removes, all else replaces.
fn merge(defaults: &mut Value, values: &Value) {
    let (Value::Object(defaults), Value::Object(values)) = (&mut *defaults, values) else {
        *defaults = values.clone();
        return;
    };
    for (key, value) in values {
        if value.is_null() {
            defaults.remove(key);
        } else {
            merge(defaults.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

fn to_go(value: &Value) -> GoValue {
    match value {
        Value::Null => GoValue::Nil,
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => number.as_i64().expect("values have no fractions").into(),
        Value::String(text) => text.clone().into(),
        Value::Array(items) => GoValue::Array(items.iter().map(to_go).collect()),
        Value::Object(fields) => GoValue::Map(
            fields.iter().map(|(key, value)| (key.clone(), to_go(value))).collect::<HashMap<_, _>>(),
        ),
    }
}

fn from_go(value: &GoValue) -> Result<Value, FuncError> {
    Ok(match value {
        GoValue::Nil => Value::Null,
        GoValue::Bool(flag) => (*flag).into(),
        GoValue::Number(number) => number.as_i64().into(),
        GoValue::String(text) => text.clone().into(),
        GoValue::Array(items) => Value::Array(items.iter().map(from_go).collect::<Result<_, _>>()?),
        GoValue::Map(fields) | GoValue::Object(fields) => {
            let field = |(key, value): (&String, &GoValue)| Ok((key.clone(), from_go(value)?));
            Value::Object(fields.iter().map(field).collect::<Result<_, FuncError>>()?)
        }
        other => return Err(FuncError::Generic(format!("{other} is no value of the chart"))),
    })
}

fn to_yaml(arguments: &[GoValue]) -> Result<GoValue, FuncError> {
    let [value] = arguments else { return Err(FuncError::ExactlyXArgs("toYaml".into(), 1)) };
    let text =
        serde_saphyr::to_string(&from_go(value)?).map_err(|error| FuncError::Generic(error.to_string()))?;
    Ok(text.trim_end().into())
}

fn indent(arguments: &[GoValue]) -> Result<GoValue, FuncError> {
    let [GoValue::Number(width), GoValue::String(text)] = arguments else {
        return Err(FuncError::UnableToConvertFromValue);
    };
    let pad = " ".repeat(width.as_i64().and_then(|width| width.try_into().ok()).unwrap_or(0));
    Ok(text.lines().map(|line| format!("{pad}{line}")).collect::<Vec<_>>().join("\n").into())
}

fn omit(arguments: &[GoValue]) -> Result<GoValue, FuncError> {
    let [GoValue::Map(fields), names @ ..] = arguments else {
        return Err(FuncError::UnableToConvertFromValue);
    };
    let is_named = |key: &str| names.iter().any(|name| matches!(name, GoValue::String(name) if name == key));
    let fields = fields.iter().filter(|(key, _)| !is_named(key));
    Ok(GoValue::Map(fields.map(|(key, value)| (key.clone(), value.clone())).collect()))
}

fn quote(arguments: &[GoValue]) -> Result<GoValue, FuncError> {
    let [GoValue::String(text)] = arguments else { return Err(FuncError::UnableToConvertFromValue) };
    Ok(Value::from(text.as_str()).to_string().into())
}

fn required(arguments: &[GoValue]) -> Result<GoValue, FuncError> {
    match arguments {
        [GoValue::String(_), GoValue::String(text)] if !text.is_empty() => Ok(text.clone().into()),
        [GoValue::String(message), ..] => Err(FuncError::Generic(message.clone())),
        _ => Err(FuncError::UnableToConvertFromValue),
    }
}

fn sha256sum(arguments: &[GoValue]) -> Result<GoValue, FuncError> {
    let [GoValue::String(text)] = arguments else { return Err(FuncError::UnableToConvertFromValue) };
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let mut hex = String::new();
    for byte in digest.as_ref() {
        write!(hex, "{byte:02x}").map_err(|error| FuncError::Generic(error.to_string()))?;
    }
    Ok(hex.into())
}

#[test]
fn every_template_is_rendered() {
    let templates = fs::read_dir(shipped("helm/portolan/templates")).unwrap();
    let names = templates.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["NOTES.txt", "configmap.yaml", "daemonset.yaml", "rbac.yaml"]);
    let notes = render_file("NOTES.txt", &json!({})).unwrap();
    assert!(notes.contains("rollout status daemonset/portolan"), "{notes}");
}

#[test]
fn the_chart_is_of_this_version() {
    for (bundle, objects) in
        [("chart", defaults()), ("example", crate::kustomize::build("kustomize/overlays/example"))]
    {
        let pod = &crate::one(&objects, "DaemonSet")["spec"]["template"]["spec"];
        let image = pod["containers"][0]["image"].as_str().unwrap();
        assert_eq!(image.rsplit_once(':').map(|(_, tag)| tag), Some(env!("CARGO_PKG_VERSION")), "{bundle}");
    }
}

#[test]
fn the_address_of_the_api_server_must_be_set() {
    let error = render_file("configmap.yaml", &json!({})).unwrap_err();
    assert!(error.contains("apiServer must be set"), "{error}");
}

#[test]
fn a_whole_file_of_kubeadm_s_may_be_the_configuration() {
    let values = json!({
        "apiServer": API_SERVER,
        "config": {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": ""},
    });
    let objects = render(&values);
    let text = crate::one(&objects, "ConfigMap")["data"]["config.conf"].as_str().unwrap();
    for key in ["apiVersion:", "kind:"] {
        assert_eq!(text.lines().filter(|line| line.starts_with(key)).count(), 1, "{text}");
    }
}

#[test]
fn every_value_matters() {
    let (defaults, everything) = (defaults(), everything());
    let text = Value::from(everything.clone()).to_string();
    let mut values = fs::read_to_string(shipped("helm/portolan/examples/everything.yaml")).unwrap();
    values = values.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    let values: Value = serde_saphyr::from_str(&values).unwrap();
    let mut leaves = Vec::new();
    collect_leaves(&values, &mut leaves);
    assert!(leaves.len() > 30, "{leaves:?}");
    for leaf in leaves.iter().filter(|leaf| *leaf != "true" && *leaf != "null") {
        assert!(text.contains(leaf.as_str()), "{leaf} is not in the rendering");
    }
    let checksum = |objects: &[Value]| {
        let template = &crate::one(objects, "DaemonSet")["spec"]["template"];
        template["metadata"]["annotations"]["checksum/config"].as_str().unwrap().to_owned()
    };
    assert_ne!(checksum(&defaults), checksum(&everything), "a changed configuration would not roll out");
    let without = render(&json!({ "apiServer": API_SERVER, "rbac": false }));
    let kinds: Vec<_> = without.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ConfigMap", "DaemonSet"]);
}

fn collect_leaves(value: &Value, leaves: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.values().for_each(|value| collect_leaves(value, leaves)),
        Value::Array(items) => items.iter().for_each(|value| collect_leaves(value, leaves)),
        Value::String(text) => leaves.push(text.clone()),
        scalar => leaves.push(scalar.to_string()),
    }
}
