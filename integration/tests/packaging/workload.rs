//! The DaemonSet: where its pods run, and what they may do on the node.

use serde_json::{Value, json};

use crate::{bundles, one};

/// Calls `check` with each bundle's name and the DaemonSet's `spec`.
fn each(check: impl Fn(&str, &Value)) {
    for (bundle, objects) in bundles() {
        check(bundle, &one(&objects, "DaemonSet")["spec"]);
    }
}

#[test]
fn the_agent_has_one_capability_and_no_way_to_more() {
    each(|bundle, spec| {
        let containers = spec["template"]["spec"]["containers"].as_array().unwrap();
        assert_eq!(containers.len(), 1, "{bundle}");
        let expected = json!({
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
            "readOnlyRootFilesystem": true,
            "seccompProfile": {"type": "RuntimeDefault"},
        });
        assert_eq!(containers[0]["securityContext"], expected, "{bundle}");
    });
}

#[test]
fn nothing_of_the_host_is_mounted() {
    each(|bundle, spec| {
        let pod = &spec["template"]["spec"];
        for volume in pod["volumes"].as_array().unwrap() {
            assert_eq!(volume["hostPath"], Value::Null, "{bundle}: {}", volume["name"]);
        }
        assert_eq!((&pod["hostPID"], &pod["hostIPC"]), (&Value::Null, &Value::Null), "{bundle}");
    });
}

#[test]
fn only_what_sets_sysctls_is_privileged_and_it_does_nothing_else() {
    let mut privileged = Vec::new();
    for (bundle, objects) in bundles() {
        let pod = &one(&objects, "DaemonSet")["spec"]["template"]["spec"];
        for container in pod["initContainers"].as_array().into_iter().flatten() {
            let command = container["command"].as_array().unwrap();
            assert!(command.contains(&"--init-only".into()), "{bundle}: {command:?}");
            assert_eq!(container["image"], pod["containers"][0]["image"], "{bundle}");
            assert_eq!(container["securityContext"]["privileged"], true, "{bundle}");
            privileged.push(bundle);
        }
    }
    assert_eq!(
        privileged,
        ["kustomize example", "chart with every value"],
        "only on demand, never by default"
    );
}

#[test]
fn it_runs_on_every_linux_node_and_is_the_last_to_go() {
    each(|bundle, spec| {
        let pod = &spec["template"]["spec"];
        assert_eq!(pod["hostNetwork"], true, "{bundle}");
        let is_changed = bundle == "chart with every value";
        let class = if is_changed { "edge-critical" } else { "system-node-critical" };
        assert_eq!(pod["priorityClassName"], class, "{bundle}");
        assert_eq!(pod["tolerations"], json!([{"operator": "Exists"}]), "{bundle}");
        assert_eq!(pod["nodeSelector"]["kubernetes.io/os"], "linux", "{bundle}");
        assert_eq!(pod["dnsPolicy"], "Default", "{bundle}: cluster DNS is behind a Service");
        let (selected, labels) = (&spec["selector"]["matchLabels"], &spec["template"]["metadata"]["labels"]);
        assert!(selected.as_object().unwrap().iter().all(|(name, value)| labels[name] == *value), "{bundle}");
        let limits = pod["containers"][0]["resources"]["limits"].as_object().unwrap();
        let limited: Vec<&String> = limits.keys().collect();
        assert_eq!(limited, ["memory"], "{bundle}: the last to go must not be the one that takes everything");
    });
}

#[test]
fn an_update_takes_a_tenth_of_the_nodes_at_a_time() {
    let expected = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}});
    for (bundle, objects) in bundles().into_iter().filter(|(bundle, _)| *bundle != "chart with every value") {
        assert_eq!(one(&objects, "DaemonSet")["spec"]["updateStrategy"], expected, "{bundle}");
    }
}

#[test]
fn every_node_has_its_own_name() {
    each(|bundle, spec| {
        let pod = &spec["template"]["spec"];
        let all = ["containers", "initContainers"].map(|list| pod[list].as_array());
        for container in all.into_iter().flatten().flatten() {
            let command = container["command"].as_array().unwrap();
            assert!(command.contains(&"--hostname-override=$(NODE_NAME)".into()), "{bundle}: {command:?}");
            let name =
                json!({"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}});
            assert_eq!(container["env"][0], name, "{bundle}");
        }
    });
}
