//! The kernels that the README names are those of the table that `make test-kernels` printed.

use std::fs;

use super::top;

#[test]
fn the_readme_names_the_kernels_on_which_all_checks_passed() {
    let text = |path: &str| fs::read_to_string(top().join(path)).unwrap();
    let limits = text("docs/limits.md");
    let mut table = limits.lines().skip_while(|line| !line.starts_with("|  | Linux "));
    let head = table.next().expect("docs/limits.md has the table");
    let kernels: Vec<&str> = head.split('|').filter_map(|cell| cell.trim().strip_prefix("Linux ")).collect();
    let (last, others) = kernels.split_last().expect("the table has kernels");
    let named =
        format!("boots Debian's kernels {} and {last} in QEMU: all of its checks passed", others.join(", "));
    let readme = text("README.md").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(readme.contains(&named), "README.md does not say: {named}");
    // The rows after the checks describe the kernels.
    let checks: Vec<&str> = table.skip(1).take_while(|line| !line.starts_with("| came to its end")).collect();
    assert!(checks.len() > 10, "{checks:?}");
    for check in checks {
        assert_eq!(check.matches("| ok (").count(), kernels.len(), "{check}");
    }
}
