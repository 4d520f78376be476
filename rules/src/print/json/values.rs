//! Values that elements and statements share.

use serde_json::{Value as Json, json};

use crate::ruleset::{Verdict, protocol_name};

/// Returns the item if there is exactly one, else what `many` makes of the items.
pub fn one_or(mut items: Vec<Json>, many: impl FnOnce(Vec<Json>) -> Json) -> Json {
    if items.len() == 1 { items.remove(0) } else { many(items) }
}

/// A protocol by name, or by number if it has none.
pub fn protocol(number: u8) -> Json {
    protocol_name(number).map_or_else(|| number.into(), Json::from)
}

/// A verdict.
pub fn verdict(verdict: &Verdict) -> Json {
    match verdict {
        Verdict::Accept => json!({ "accept": null }),
        Verdict::Drop => json!({ "drop": null }),
        Verdict::Return => json!({ "return": null }),
        Verdict::Jump(chain) => json!({ "jump": { "target": &**chain } }),
        Verdict::Goto(chain) => json!({ "goto": { "target": &**chain } }),
    }
}
