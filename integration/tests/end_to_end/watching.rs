//! Sources of manifests while the binary runs, and repairs of the kernel's tables.

use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};

use portolan_integration::{Agent, Client, Family, Manifests, Pod, Protocol, Slice, nft};
use serde_json::Value;

use crate::scene::{Scene, assert_served, service, wait_until};

/// Returns the objects of a Service `web`, port 80, with these pods.
fn web(scene: &Scene, pods: &[&Pod]) -> Vec<Value> {
    let service = service("web", scene.lab.cluster_ip(1)).port("http", Protocol::Tcp, 80);
    let slices = Slice::both("web", ("http", Protocol::Tcp, 8080), pods);
    std::iter::once(service.object()).chain(slices).collect()
}

fn run(scene: &Scene, path: &Path) -> Agent {
    Agent::start(&scene.lab.node_a, path, &[]).unwrap_or_else(|error| panic!("{error}"))
}

fn wait_for(client: &Client, scene: &Scene, server: &str) {
    let client = client.within(Duration::from_secs(1));
    let target = scene.lab.cluster_ip(1).port(Family::V4, 80);
    let time = wait_until(&format!("{server} serves"), || client.tcp(target).server() == Some(server));
    println!("{server} serves after {time:?}");
}

#[test]
fn a_single_file_is_followed_however_it_is_replaced() {
    let scene = Scene::new();
    let [one, two, three] = scene.web_pods();
    let manifests = Manifests::new().unwrap();
    let file = manifests.file("cluster.yaml");
    fs::write(&file, Manifests::text(&web(&scene, &[&one]))).unwrap();
    let _agent = run(&scene, &file);
    let client = scene.shell.client();
    wait_for(&client, &scene, "web-1");
    // By renaming, in place, and by removing and writing anew, as editors do.
    manifests.put("cluster.yaml", &web(&scene, &[&two])).unwrap();
    wait_for(&client, &scene, "web-2");
    fs::write(&file, Manifests::text(&web(&scene, &[&three]))).unwrap();
    wait_for(&client, &scene, "web-3");
    fs::rename(&file, manifests.file("cluster.yaml~")).unwrap();
    fs::write(&file, Manifests::text(&web(&scene, &[&one]))).unwrap();
    wait_for(&client, &scene, "web-1");
}

#[test]
fn a_mounted_config_map_is_followed() {
    let scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    let mount = tempfile::tempdir().unwrap();
    let path = |name: &str| mount.path().join(name);
    // The kubelet's layout: files are links through `..data`, which is swapped for a new directory.
    let publish = |version: &str, pods: &[&Pod]| {
        fs::create_dir(path(version)).unwrap();
        fs::write(path(version).join("web.yaml"), Manifests::text(&web(&scene, pods))).unwrap();
        symlink(version, path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
    };
    publish("..2024_01_01", &[&one]);
    symlink("..data/web.yaml", path("web.yaml")).unwrap();
    let _agent = run(&scene, mount.path());
    let client = scene.shell.client();
    wait_for(&client, &scene, "web-1");
    publish("..2024_01_02", &[&two]);
    fs::remove_dir_all(path("..2024_01_01")).unwrap();
    wait_for(&client, &scene, "web-2");
    publish("..2024_01_03", &[&one]);
    wait_for(&client, &scene, "web-1");
}

#[test]
fn files_and_directories_add_up() {
    let scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    let (first, second) = (Manifests::new().unwrap(), Manifests::new().unwrap());
    let objects = web(&scene, &[&one, &two]);
    first.put("service.yaml", &objects[..1]).unwrap();
    // One slice in a separate JSON file in another directory; the slice of the other family in a third directory.
    fs::write(second.file("slice.json"), objects[1].to_string()).unwrap();
    let more = Manifests::new().unwrap();
    more.put("six.yml", &objects[2..]).unwrap();
    let (second_path, more_path) = (second.path().to_str().unwrap(), more.file("six.yml"));
    let arguments = ["-f", second_path, "-f", more_path.to_str().unwrap()];
    let agent = Agent::start(&scene.lab.node_a, first.path(), &arguments);
    let _agent = agent.unwrap_or_else(|error| panic!("{error}"));
    for family in Family::BOTH {
        let answer = scene.shell.client().tcp(scene.lab.cluster_ip(1).port(family, 80));
        assert_served(&answer, &["web-1", "web-2"], &format!("over {family}"));
    }
    // Only a slice goes away: the Service stays, without endpoints in that family. A directory without any
    // manifest would be an error, and would remove nothing.
    fs::write(second.file("other.yaml"), "{apiVersion: v1, kind: ConfigMap, metadata: {name: other}}")
        .unwrap();
    fs::remove_file(second.file("slice.json")).unwrap();
    let target = scene.lab.cluster_ip(1).port(Family::V4, 80);
    wait_until("IPv4 has no endpoints", || scene.shell.client().tcp(target).is_refused());
    let answer = scene.shell.client().tcp(scene.lab.cluster_ip(1).port(Family::V6, 80));
    assert_served(&answer, &["web-1", "web-2"], "IPv6 is as before");
}

#[test]
fn a_change_that_the_kernel_refuses_is_applied_after_reading_the_kernel_anew() {
    let mut scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    scene.manifests.put("web.yaml", &web(&scene, &[&one])).unwrap();
    scene.run();
    let namespace = scene.lab.node_a.namespace().clone();
    let client = scene.shell.client();
    for (command, pod) in [
        ("flush ruleset", &two),
        ("flush map ip portolan endpoints", &one),
        ("delete table ip portolan", &two),
    ] {
        // After another process changed the kernel's tables, the change of one endpoint no longer fits them.
        nft(&namespace, &["-f", "-"], &format!("{command}\n")).unwrap();
        scene.manifests.put("web.yaml", &web(&scene, &[pod])).unwrap();
        wait_for(&client, &scene, pod.name());
    }
}
