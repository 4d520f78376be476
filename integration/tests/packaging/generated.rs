//! Files that are generated from the chart's values, the options and the metrics, and must not be edited.

use std::{fs, path::PathBuf};

use crate::{dashboard, metrics_page, readme, shipped, values_schema};

/// If this variable is set, the test writes the files instead of comparing them.
const UPDATE: &str = "PORTOLAN_UPDATE_DOCS";

fn files() -> [(PathBuf, String); 4] {
    let json = |value| format!("{value:#}\n");
    [
        (shipped("helm/portolan/values.schema.json"), json(values_schema::schema())),
        (shipped("helm/portolan/README.md"), readme::readme()),
        (shipped("helm/portolan/files/dashboard.json"), json(dashboard::dashboard())),
        (shipped("../docs/metrics.md"), metrics_page::page()),
    ]
}

#[test]
fn they_are_up_to_date() {
    for (path, expected) in files() {
        if std::env::var_os(UPDATE).is_some() {
            fs::write(&path, &expected).unwrap();
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == expected,
            "{} is stale: run `make generate`",
            path.canonicalize().unwrap_or(path).display()
        );
    }
}
