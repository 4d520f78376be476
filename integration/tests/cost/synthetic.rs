//! The synthetic Services are the same from files and from memory.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use portolan::source::manifest::{Objects, Source};
use portolan_integration::synthetic::{Format, Kinds, NODE, Synthetic, service_name};

fn load(directory: &Path) -> Objects {
    let objects = Source::new([directory.to_path_buf()], NODE).load();
    assert!(objects.errors.is_empty() && objects.warnings.is_empty(), "{:?}", objects.errors);
    objects
}

#[test]
fn the_files_hold_the_same_services() {
    for kinds in [Kinds::Plain, Kinds::Mixed, Kinds::DualStack, Kinds::NodePorts(50), Kinds::Large(250)] {
        for format in [Format::Yaml, Format::Json] {
            let synthetic = Synthetic::new(100, kinds);
            let directory = tempfile::tempdir().unwrap();
            synthetic.write(directory.path(), 7, format).unwrap();
            let objects = load(directory.path());
            let services: BTreeMap<_, _> =
                (0..100).map(|n| (service_name(n), Arc::new(synthetic.service(n)))).collect();
            assert_eq!(objects.services, services, "{kinds:?} as {format:?}");
            let slices: BTreeMap<_, _> = (0..100)
                .flat_map(|n| synthetic.slices(n))
                .map(|slice| (slice.name.clone(), Arc::new(slice)))
                .collect();
            assert_eq!(objects.slices, slices, "{kinds:?} as {format:?}");
        }
    }
}
