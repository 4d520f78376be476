//! The features of kustomize that `docker/kustomize` uses. Any other feature in a kustomization is an error here, so
//! that nothing shipped goes unchecked.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{documents, shipped};

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Kustomization {
    api_version: String,
    kind: String,
    resources: Vec<String>,
    components: Vec<String>,
    config_map_generator: Vec<Generator>,
    patches: Vec<Patch>,
    images: Vec<Image>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Generator {
    name: String,
    namespace: String,
    behavior: Option<String>,
    files: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Patch {
    path: String,
    target: Target,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    kind: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Image {
    name: String,
    new_name: String,
    new_tag: String,
}

/// Returns the objects of a directory under `docker/`. Generated names have no hash.
pub fn build(directory: &str) -> Vec<Value> {
    let mut objects = Vec::new();
    accumulate(&shipped(directory), "Kustomization", &mut objects);
    objects
}

/// Returns the same with a component that no overlay has.
pub fn build_with(directory: &str, component: &str) -> Vec<Value> {
    let mut objects = build(directory);
    accumulate(&shipped(component), "Component", &mut objects);
    objects
}

fn accumulate(directory: &Path, kind: &str, objects: &mut Vec<Value>) {
    let text = read(&directory.join("kustomization.yaml"));
    let this: Kustomization = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}"));
    let version = if kind == "Component" { "v1alpha1" } else { "v1beta1" };
    assert_eq!(this.api_version, format!("kustomize.config.k8s.io/{version}"));
    assert_eq!(this.kind, kind, "{}", directory.display());

    for resource in &this.resources {
        let path = directory.join(resource);
        if path.is_dir() {
            accumulate(&path, "Kustomization", objects);
        } else {
            objects.extend(documents(&read(&path)));
        }
    }
    for generator in &this.config_map_generator {
        generate(directory, generator, objects);
    }
    for component in &this.components {
        accumulate(&directory.join(component), "Component", objects);
    }
    for patch in &this.patches {
        let operations = serde_saphyr::from_str(&read(&directory.join(&patch.path))).unwrap();
        let operations: json_patch::Patch = serde_json::from_value(operations).unwrap();
        let target = find(objects, &patch.target.kind, &patch.target.name);
        json_patch::patch(target, &operations).unwrap();
    }
    for image in &this.images {
        for object in &mut *objects {
            rename_image(object, image);
        }
    }
}

fn generate(directory: &Path, generator: &Generator, objects: &mut Vec<Value>) {
    let file = |name: &String| (name.clone(), read(&directory.join(name)).into());
    let data: Map<String, Value> = generator.files.iter().map(file).collect();
    if generator.behavior.as_deref() == Some("merge") {
        let map = find(objects, "ConfigMap", &generator.name);
        assert_eq!(map["metadata"]["namespace"], generator.namespace);
        map["data"].as_object_mut().unwrap().extend(data);
    } else {
        assert_eq!(generator.behavior, None, "only merge is known here");
        let metadata = json!({"name": generator.name, "namespace": generator.namespace});
        objects.push(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}));
    }
}

#[track_caller]
fn find<'a>(objects: &'a mut [Value], kind: &str, name: &str) -> &'a mut Value {
    let is_it = |object: &&mut Value| object["kind"] == kind && object["metadata"]["name"] == name;
    objects.iter_mut().find(is_it).unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

fn rename_image(object: &mut Value, image: &Image) {
    for template in ["/spec/template", "/spec/jobTemplate/spec/template"] {
        for list in ["containers", "initContainers"] {
            let containers = object.pointer_mut(&format!("{template}/spec/{list}"));
            for container in containers.and_then(Value::as_array_mut).into_iter().flatten() {
                if container["image"] == image.name {
                    container["image"] = format!("{}:{}", image.new_name, image.new_tag).into();
                }
            }
        }
    }
}

fn read(path: &PathBuf) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_example_overlay_replaces_every_placeholder() {
    let text = Value::from(build("kustomize/overlays/example")).to_string();
    assert!(!text.contains("api-server.example"), "the address of the API server is still the base's");
    assert!(!text.contains(r#""image":"portolan""#), "an image is still the base's");
    assert!(text.contains(concat!(
        r#""image":"registry.example/portolan:"#,
        env!("CARGO_PKG_VERSION"),
        "\""
    )));
    assert!(text.contains(r#""service-proxy":"portolan""#), "the component node-by-node is not applied");
}

#[test]
fn the_job_that_checks_a_node_has_the_configuration_of_the_agent() {
    let objects = build("kustomize/overlays/example");
    let template = &crate::one(&objects, "CronJob")["spec"];
    assert_eq!(template["suspend"], true, "it runs only on demand");
    let (job, agent) =
        (&template["jobTemplate"]["spec"]["template"]["spec"], crate::one(&objects, "DaemonSet"));
    let agent = &agent["spec"]["template"]["spec"];
    for field in ["serviceAccountName", "hostNetwork", "volumes", "dnsPolicy", "tolerations"] {
        assert_eq!(job[field], agent[field], "{field}");
    }
    assert_eq!(
        job["nodeSelector"],
        json!({"kubernetes.io/os": "linux"}),
        "it must also run on nodes that still have kube-proxy"
    );
    let (job, agent) = (&job["containers"][0], &agent["containers"][0]);
    for field in ["image", "env", "volumeMounts"] {
        assert_eq!(job[field], agent[field], "{field}");
    }
    assert_eq!(job["command"][1], "precheck");
    let flags = |container: &Value| container["command"].as_array().unwrap()[2..].to_vec();
    assert_eq!(flags(job), flags(agent));
}

#[test]
fn the_test_of_connections_is_of_the_api_and_may_create_what_it_creates() {
    let objects = build("kustomize/connectivity-test");
    for object in &objects {
        assert_eq!(crate::schema::problems(object), [""; 0], "{}", object["kind"]);
        let namespace = &object["metadata"]["namespace"];
        let is_cluster_wide =
            ["Namespace", "ClusterRole", "ClusterRoleBinding"].contains(&object["kind"].as_str().unwrap());
        assert!(is_cluster_wide || namespace == "portolan-connectivity-test", "{object:#}");
    }
    let granted = crate::rbac::granted(&crate::one(&objects, "Role")["rules"]);
    for (group, resource) in [("", "services"), ("apps", "daemonsets")] {
        for verb in ["create", "get", "delete"] {
            assert!(granted.contains(&[group, resource, verb].map(str::to_owned)), "{verb} {resource}");
        }
    }
    let container = &crate::one(&objects, "Job")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["command"][1], "connectivity-test");
    assert_eq!(container["command"][2], "--namespace=$(POD_NAMESPACE)");
    let names: Vec<&Value> =
        container["env"].as_array().unwrap().iter().map(|variable| &variable["name"]).collect();
    assert_eq!(names, ["POD_NAME", "POD_NAMESPACE", "NODE_NAME"]);
}

#[test]
fn the_servers_of_the_test_of_connections_are_of_the_api() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src/cli/connectivity_test/servers.yaml");
    let objects = documents(&read(&path).replace("SUFFIX", "abcde"));
    let find = |kind: &str, name: &str| {
        let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
        objects.iter().find(is_it).unwrap()
    };
    for object in &objects {
        let mut object = object.clone();
        object["metadata"]["namespace"] = "test".into();
        assert_eq!(crate::schema::problems(&object), [""; 0], "{}", object["kind"]);
    }
    for name in ["server-abcde", "node-abcde"] {
        let (service, set) = (find("Service", name), find("DaemonSet", name));
        let pod = &set["spec"]["template"];
        assert_eq!(service["spec"]["selector"], pod["metadata"]["labels"]);
        assert_eq!(set["spec"]["selector"]["matchLabels"], pod["metadata"]["labels"]);
        let container = &pod["spec"]["containers"][0];
        let command = container["command"].as_array().unwrap();
        let port = &service["spec"]["ports"][0]["targetPort"];
        assert!(command.contains(&format!("--port={port}").into()), "{command:?}");
        assert_eq!(&container["readinessProbe"]["tcpSocket"]["port"], port);
        assert_eq!(container["image"], "IMAGE", "`connectivity-test` replaces it");
    }
}
