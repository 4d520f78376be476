//! The kernel memory of an element.

use std::{fs, time::Duration};

use portolan::kernel::nftables::Tables;
use portolan_integration::{
    plan,
    synthetic::{Kinds, Synthetic},
};
use portolan_rules::ruleset::{Operation, Ruleset};

use super::{
    Result,
    arena::{compiler, fresh_kernel, retire},
    figure::Figure,
};

const ROUNDS: usize = 3;
/// After this time, the kernel has freed the temporary memory of a commit.
const SETTLED: Duration = Duration::from_millis(300);

/// The difference that a commit makes, per element: the median of some rounds, since memory is measured for the whole
/// machine.
pub fn measure(services: u32) -> Result<Vec<Figure>> {
    let mut whole = compiler();
    whole.load(&mut Synthetic::new(services, Kinds::Plain).state(), &Ruleset::default());
    let batch = plan::creation(&whole);
    let is_element = |operation: &&Operation| matches!(operation, Operation::AddElement { .. });
    let elements = batch.operations.iter().map(|(_, operation)| operation).filter(is_element).count();
    let mut differences = Vec::new();
    for _ in 0..ROUNDS {
        let mut kernel = fresh_kernel()?;
        std::thread::sleep(SETTLED);
        let before = used()?;
        kernel.commit(&batch)?;
        std::thread::sleep(SETTLED);
        differences.push(used()? - before);
        retire(kernel)?;
    }
    differences.sort_by(f64::total_cmp);
    let median = differences.get(ROUNDS / 2).copied().unwrap_or(f64::NAN);
    Ok(vec![Figure::new("kernel-memory", median / elements as f64).with(elements.to_string())])
}

/// Bytes that the kernel has allocated by size, which include elements and hash tables.
fn used() -> Result<f64> {
    let mut bytes = 0.0;
    for line in fs::read_to_string("/proc/slabinfo")?.lines().filter(|line| line.starts_with("kmalloc")) {
        let mut fields = line.split_whitespace().skip(1);
        let (Some(objects), Some(size)) = (fields.next(), fields.nth(1)) else { continue };
        bytes += objects.parse::<f64>()? * size.parse::<f64>()?;
    }
    let info = fs::read_to_string("/proc/meminfo")?;
    let large = info.lines().find_map(|line| line.strip_prefix("VmallocUsed:"));
    let kib: f64 = large.ok_or("no VmallocUsed in /proc/meminfo")?.trim_end_matches("kB").trim().parse()?;
    Ok(bytes + kib * 1024.0)
}
