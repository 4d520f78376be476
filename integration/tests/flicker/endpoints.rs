//! The endpoint count changes to one that no other Service has, so that its class comes and goes with it.

use crate::scene::{FRONTENDS, Scene};

const CHANGES: usize = 130;

#[test]
fn no_flow_is_lost_while_the_number_of_endpoints_changes() {
    let scene = Scene::new();
    let shop = scene.shop();
    let first = |count: usize| (0..count).collect::<Vec<_>>();
    scene.put("shop", &shop, &first(2));
    scene.fire(&FRONTENDS, |scene| {
        let counts = [3, 2, 5, 6, 1, 4, 2, 6, 3, 1, 5, 4, 6, 2];
        for count in counts.into_iter().cycle().take(CHANGES) {
            scene.change(&format!("{count} endpoints"), |scene| scene.put("shop", &shop, &first(count)));
        }
    });
}
