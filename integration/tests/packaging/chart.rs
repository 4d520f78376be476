//! Renders the chart with the Helm functions that it uses. Any other function is an error.

use std::{collections::HashMap, fmt::Write, fs};

use gtmpl::{Context, Func, FuncError, Template, Value as GoValue};
use serde_json::{Value, json};

use crate::{documents, shipped};

const API_SERVER: &str = "https://192.0.2.10:6443";

/// Returns the values that must be set.
fn least() -> Value {
    json!({ "apiServer": API_SERVER, "config": {"clusterCIDR": "10.244.0.0/16"} })
}

/// Returns the chart's objects with only the required values set.
pub fn defaults() -> Vec<Value> {
    render(&least())
}

/// Returns the chart's objects with these values besides the required ones.
fn with(values: &Value) -> Vec<Value> {
    render(&with_least(values))
}

fn with_least(values: &Value) -> Value {
    let mut all = least();
    merge(&mut all, values);
    all
}

/// Returns the chart's objects with the values of `examples/everything.yaml`.
pub fn everything() -> Vec<Value> {
    let values = fs::read_to_string(shipped("helm/portolan/examples/everything.yaml")).unwrap();
    render(&serde_saphyr::from_str(&values).unwrap())
}

fn render(values: &Value) -> Vec<Value> {
    let manifests = ["rbac.yaml", "configmap.yaml", "daemonset.yaml", "monitoring.yaml"];
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
    let text = read(&format!("templates/{name}"))?;
    execute(&text, to_go(&context))
}

/// Executes a template with the Helm functions that the chart uses, and with its named templates.
fn execute(text: &str, context: GoValue) -> Result<String, String> {
    let functions: [(&str, Func); 13] = [
        ("default", default),
        ("fail", fail),
        ("filesGet", files_get),
        ("hasKey", has_key),
        ("hasPrefix", has_prefix),
        ("include", include),
        ("indent", indent),
        ("omit", omit),
        ("quote", quote),
        ("regexFind", trailing_digits),
        ("required", required),
        ("sha256sum", sha256sum),
        ("toYaml", to_yaml),
    ];
    let mut template = Template::default();
    template.add_funcs(&functions);
    let helpers = fs::read_to_string(shipped("helm/portolan/templates/_helpers.tpl"));
    // `gtmpl` supports neither methods with arguments nor comments before an end.
    let helpers = helpers.map_err(|error| error.to_string())?;
    let text = helpers + &text.replace(".Files.Get", "filesGet");
    template.parse(text).map_err(|error| error.to_string())?;
    template.render(&Context::from(context)).map_err(|error| error.to_string())
}

fn include(arguments: &[GoValue]) -> Result<GoValue, FuncError> {
    let [GoValue::String(name), context] = arguments else {
        return Err(FuncError::UnableToConvertFromValue);
    };
    let text = execute(&format!("{{{{- template {name:?} . -}}}}"), context.clone());
    text.map(|text| text.trim_start().into()).map_err(FuncError::Generic)
}

fn is_empty(value: &GoValue) -> bool {
    match value {
        GoValue::Nil | GoValue::NoValue => true,
        GoValue::String(text) => text.is_empty(),
        _ => false,
    }
}

fn default(arguments: &[GoValue]) -> Result<GoValue, FuncError> {
    match arguments {
        [otherwise] => Ok(otherwise.clone()),
        [otherwise, value] => Ok(if is_empty(value) { otherwise } else { value }.clone()),
        _ => Err(FuncError::ExactlyXArgs("default".into(), 2)),
    }
}

fn fail(arguments: &[GoValue]) -> Result<GoValue, FuncError> {
    Err(FuncError::Generic(arguments.first().map(ToString::to_string).unwrap_or_default()))
}

fn files_get(arguments: &[GoValue]) -> Result<GoValue, FuncError> {
    let [GoValue::String(path)] = arguments else { return Err(FuncError::UnableToConvertFromValue) };
    let text = fs::read_to_string(shipped("helm/portolan").join(path));
    text.map(GoValue::from).map_err(|error| FuncError::Generic(error.to_string()))
}

fn has_key(arguments: &[GoValue]) -> Result<GoValue, FuncError> {
    let [GoValue::Map(fields), GoValue::String(key)] = arguments else {
        return Err(FuncError::UnableToConvertFromValue);
    };
    Ok(fields.contains_key(key).into())
}

fn has_prefix(arguments: &[GoValue]) -> Result<GoValue, FuncError> {
    let [GoValue::String(prefix), GoValue::String(text)] = arguments else {
        return Err(FuncError::UnableToConvertFromValue);
    };
    Ok(text.starts_with(prefix.as_str()).into())
}

/// `regexFind`, for the only expression in the chart.
fn trailing_digits(arguments: &[GoValue]) -> Result<GoValue, FuncError> {
    match arguments {
        [GoValue::String(expression), GoValue::String(text)] if expression == "[0-9]+$" => {
            let rest = text.trim_end_matches(|character: char| character.is_ascii_digit());
            Ok(text[rest.len()..].into())
        }
        _ => Err(FuncError::UnableToConvertFromValue),
    }
}

/// Helm's merge: objects are merged key by key, null removes a key, any other value replaces.
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
    let known =
        ["NOTES.txt", "_helpers.tpl", "configmap.yaml", "daemonset.yaml", "monitoring.yaml", "rbac.yaml"];
    assert_eq!(names, known);
    let notes = render_file("NOTES.txt", &json!({})).unwrap();
    assert!(notes.contains("rollout status daemonset/portolan"), "{notes}");
    assert!(notes.contains("`helm uninstall`"), "{notes}");
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
    let error = render_file("configmap.yaml", &with_least(&json!({ "apiServer": "" }))).unwrap_err();
    assert!(error.contains("apiServer must be set"), "{error}");
}

#[test]
fn it_must_be_said_how_pods_are_recognised() {
    let error = render_file("configmap.yaml", &json!({ "apiServer": API_SERVER })).unwrap_err();
    assert!(error.contains("config.clusterCIDR must be set"), "{error}");
    for config in [json!({"detectLocalMode": "NodeCIDR"}), json!({"clusterCIDR": null})] {
        let values = json!({ "apiServer": API_SERVER, "config": config });
        render_file("configmap.yaml", &values).unwrap_or_else(|error| panic!("{config}: {error}"));
    }
}

#[test]
fn probes_and_ports_follow_the_configuration() {
    for (address, port, host) in [
        ("0.0.0.0:10256", 10256, None),
        ("[::]:10356", 10356, None),
        ("127.0.0.1:1234", 1234, Some("127.0.0.1")),
        ("[::1]:1235", 1235, Some("::1")),
    ] {
        let objects = with(&json!({"config": {"healthzBindAddress": address}}));
        let container = &crate::one(&objects, "DaemonSet")["spec"]["template"]["spec"]["containers"][0];
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let target = &container[probe]["httpGet"];
            assert_eq!((target["port"].as_u64(), target["host"].as_str()), (Some(port), host), "{address}");
        }
    }
    let monitored = |address: &str| {
        let values = json!({"config": {"metricsBindAddress": address}, "podMonitor": {"enabled": true}});
        let text = render_file("monitoring.yaml", &with_least(&values))?;
        render_file("daemonset.yaml", &with_least(&values)).map(|daemon_set| (text, daemon_set))
    };
    for loopback in ["", "127.0.0.1:10249", "[::1]:10249"] {
        let error = monitored(loopback).unwrap_err();
        assert!(error.contains("config.metricsBindAddress"), "{loopback}: {error}");
    }
    let (_, daemon_set) = monitored("0.0.0.0:9100").unwrap();
    assert!(daemon_set.contains("containerPort: 9100"), "{daemon_set}");
}

#[test]
fn an_account_of_another_s_making_may_be_used() {
    let objects = with(&json!({"serviceAccount": {"create": false, "name": "theirs"}}));
    assert!(!objects.iter().any(|object| object["kind"] == "ServiceAccount"));
    assert_eq!(crate::one(&objects, "ClusterRoleBinding")["subjects"][0]["name"], "theirs");
    let pod = &crate::one(&objects, "DaemonSet")["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "theirs");
}

#[test]
fn the_image_is_named_by_its_digest_if_there_is_one() {
    let image = |values: Value| -> String {
        let objects = with(&json!({ "image": values }));
        let pod = &crate::one(&objects, "DaemonSet")["spec"]["template"]["spec"];
        pod["containers"][0]["image"].as_str().unwrap().to_owned()
    };
    assert_eq!(image(json!({"tag": "1"})), "portolan:1");
    assert_eq!(image(json!({"tag": "1", "digest": "sha256:12"})), "portolan@sha256:12");
}

#[test]
fn a_whole_file_of_kubeadm_s_may_be_the_configuration() {
    let objects = with(&json!({
        "config": {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": ""},
    }));
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
    let without = with(&json!({"rbac": {"create": false}, "serviceAccount": {"create": false}}));
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
