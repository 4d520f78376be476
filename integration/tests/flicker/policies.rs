//! Traffic policies and session affinity change; there is always an endpoint on the node.

use portolan_integration::Service;
use serde_json::json;

use crate::scene::{FRONTENDS, Scene};

const CHANGES: usize = 130;
/// `internalTrafficPolicy`, `externalTrafficPolicy`, and the seconds of session affinity.
const STATES: [(&str, &str, Option<u32>); 12] = [
    ("Cluster", "Local", None),
    ("Cluster", "Cluster", None),
    ("Local", "Cluster", None),
    ("Local", "Local", None),
    ("Cluster", "Cluster", Some(10_800)),
    ("Cluster", "Cluster", None),
    ("Cluster", "Cluster", Some(60)),
    ("Cluster", "Cluster", Some(600)),
    ("Local", "Cluster", Some(600)),
    ("Local", "Local", Some(7)),
    ("Local", "Local", None),
    ("Cluster", "Cluster", None),
];

#[test]
fn no_flow_is_lost_while_policies_and_affinity_change() {
    let scene = Scene::new();
    let shop = scene.shop();
    let with = |(internal, external, affinity): (&str, &str, Option<u32>)| -> Service {
        let service = shop.clone().with("/spec/internalTrafficPolicy", internal);
        let service = service.with("/spec/externalTrafficPolicy", external);
        let service = match external {
            "Local" => service.with("/spec/healthCheckNodePort", 32_090),
            _ => service,
        };
        match affinity {
            Some(seconds) => service
                .with("/spec/sessionAffinity", "ClientIP")
                .with("/spec/sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": seconds}})),
            None => service.with("/spec/sessionAffinity", "None"),
        }
    };
    // Two pods on this node and two on the other.
    let ready = [0, 1, 3, 4];
    scene.put("shop", &with(("Cluster", "Cluster", None)), &ready);
    scene.fire(&FRONTENDS, |scene| {
        for state in STATES.into_iter().cycle().take(CHANGES) {
            let (internal, external, affinity) = state;
            let what = format!("internal {internal}, external {external}, affinity {affinity:?}");
            scene.change(&what, |scene| scene.put("shop", &with(state), &ready));
        }
    });
}
