//! Every shipped document is valid in the Kubernetes API, field by field.

use std::fs;

use serde_json::Value;

use crate::{bundles, documents, schema, shipped};

#[test]
fn every_object_is_of_the_api() {
    for (bundle, objects) in bundles() {
        assert!(objects.len() >= 5, "{bundle}: {} objects", objects.len());
        for object in &objects {
            let problems = schema::problems(object);
            assert!(problems.is_empty(), "{bundle}: {}: {problems:#?}", object["kind"]);
        }
    }
}

/// One pod per node: `NODE` stands for the node's name.
#[test]
fn the_pods_that_clean_up_are_of_the_api_and_run_once_on_a_node() {
    let mut count = 0;
    for file in fs::read_dir(shipped("cleanup")).unwrap() {
        let path = file.unwrap().path();
        let pod = documents(&fs::read_to_string(&path).unwrap()).remove(0);
        let problems = schema::problems(&pod);
        assert!(problems.is_empty(), "{}: {problems:#?}", path.display());
        assert_eq!(pod["kind"], "Pod");
        assert_eq!(pod["spec"]["nodeName"], "NODE");
        assert_eq!(pod["spec"]["hostNetwork"], true);
        assert_eq!(pod["spec"]["restartPolicy"], "OnFailure", "it ends when the rules are gone");
        assert_eq!(pod["spec"]["tolerations"][0]["operator"], "Exists");
        count += 1;
    }
    assert_eq!(count, 2, "after kube-proxy, and after Portolan");
}

/// The base and the chart run the same container: a change of one needs the same change of the other.
#[test]
fn the_chart_and_the_base_run_the_same_container() {
    let containers = bundles().into_iter().filter(|(name, _)| ["kustomize base", "chart"].contains(name));
    let containers: Vec<Value> = containers
        .map(|(_, objects)| {
            let spec = &crate::one(&objects, "DaemonSet")["spec"];
            let mut container = spec["template"]["spec"]["containers"][0].clone();
            // The chart mounts file by file, and its image has a tag.
            container["volumeMounts"] = Value::Null;
            container["image"] = container["image"].as_str().unwrap().split(':').next().unwrap().into();
            container
        })
        .collect();
    assert_eq!(containers[0], containers[1]);
}
