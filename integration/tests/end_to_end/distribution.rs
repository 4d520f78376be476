//! Each of N endpoints gets 1/N of the connections.

use portolan_integration::{Answer, Family, Protocol, Slice};

use crate::scene::{Scene, assert_served, service};

/// The 99.9th percentile of the chi-square distribution with two degrees of freedom.
const LIMIT: f64 = 13.8155;

fn chi_square(counts: [u32; 3]) -> f64 {
    let expected = f64::from(counts.iter().sum::<u32>()) / 3.0;
    counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum()
}

#[test]
fn six_hundred_connections_over_three_endpoints_look_random() {
    let mut scene = Scene::new();
    let [one, two, three] = scene.web_pods();
    let names = ["web-1", "web-2", "web-3"];
    let address = scene.lab.cluster_ip(1);
    let service = service("web", address);
    let service = service.of_type("NodePort").port("http", Protocol::Tcp, 80).node_port(30_080);
    let mut objects = vec![service.object()];
    objects.extend(Slice::both("web", ("http", Protocol::Tcp, 8080), &[&one, &two, &three]));
    scene.manifests.put("web.yaml", &objects).unwrap();
    scene.run();
    for family in Family::BOTH {
        for (client, target) in [
            (scene.shell.client(), address.port(family, 80)),
            (scene.lab.client(), scene.lab.node_a.outside().port(family, 30_080)),
        ] {
            let sample = || {
                let answers: Vec<Answer> = client.many(Protocol::Tcp, target, 600, 4);
                for answer in &answers {
                    assert_served(answer, &names, "600 connections");
                }
                let counts = names
                    .map(|name| answers.iter().filter(|answer| answer.server() == Some(name)).count() as u32);
                println!("{} to {target}: {counts:?}, chi-square {:.2}", client.name(), chi_square(counts));
                chi_square(counts)
            };
            // A fair choice fails one sample in a thousand, and four in a row once in 10^12; an unfair choice
            // fails all of them.
            assert!((0..4).any(|_| sample() < LIMIT), "{} to {target} is not uniform", client.name());
        }
    }
}
