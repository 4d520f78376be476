//! Services that are not all alike.

use portolan_integration::synthetic::Kinds;

use super::{Result, changes::swaps, cold::Cold, figure::Figure};

/// Above this number of Services, variants are measured only in a full run.
const MOST: u32 = 10_000;

/// A cold start and a swapped endpoint, for each variant.
pub fn measure(services: u32, full: bool) -> Result<Vec<Figure>> {
    let variants = [
        ("dual-stack", Kinds::DualStack),
        ("mixed", Kinds::Mixed),
        ("large", Kinds::Large(10_000)),
        ("node-ports", Kinds::NodePorts(5_000)),
    ];
    let mut figures = Vec::new();
    for (name, kinds) in variants {
        if services > MOST && !full {
            continue;
        }
        figures.push(Cold::measure(services, kinds)?.figure(name));
        figures.push(swaps(services, kinds)?.figure(&format!("{name}-swap")));
    }
    Ok(figures)
}
