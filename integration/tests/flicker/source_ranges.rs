//! `loadBalancerSourceRanges` come, go, change and overlap; one of them always contains the client.

use serde_json::json;

use crate::scene::{FRONTENDS, Scene};

const CHANGES: usize = 125;
/// The networks of the pod, the node and the client outside, whole and in parts.
const STATES: [&[&str]; 9] = [
    &["203.0.113.0/24", "192.0.2.0/24", "10.128.0.0/16", "2001:db8::/32", "fd00::/8"],
    &[],
    &[
        "203.0.113.8/29",
        "192.0.2.11/32",
        "10.128.1.0/24",
        "2001:db8:1::/64",
        "2001:db8:2::/64",
        "fd00:10:128::/48",
    ],
    // Beside and inside the previous ranges.
    &["203.0.113.0/28", "192.0.2.8/29", "10.128.0.0/9", "2001:db8:0::/46", "fd00:10::/32"],
    &[],
    &["203.0.113.0/25", "203.0.113.8/30", "192.0.0.0/8", "10.0.0.0/8", "2001:db8::/33", "fd00:10:128:1::/64"],
    &["128.0.0.0/1", "10.128.1.0/25", "2000::/3", "fd00:10:128:1::/65"],
    // Of one family only: the other family is open to all.
    &["203.0.113.10/32", "192.0.2.0/27", "10.128.0.0/10"],
    &["2001:db8:1::11/128", "2001:db8:2::10/128", "fd00:10:128:1::/80"],
];

#[test]
fn no_flow_of_an_allowed_client_is_lost_while_source_ranges_change() {
    let scene = Scene::new();
    let shop = scene.shop();
    let ready = [0, 3];
    scene.put("shop", &shop, &ready);
    scene.fire(&FRONTENDS[2..3], |scene| {
        for ranges in STATES.into_iter().cycle().take(CHANGES) {
            let service = shop.clone().with("/spec/loadBalancerSourceRanges", json!(ranges));
            scene.change(&format!("ranges {ranges:?}"), |scene| scene.put("shop", &service, &ready));
        }
    });
}
