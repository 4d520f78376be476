//! Network namespaces for tests, and nft as the reference.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use portolan::kernel::nftables::{Kernel, Tables};
use portolan_integration::Expecting;
pub use portolan_integration::enter_fresh_namespace as enter;
use portolan_rules::ruleset::{Family, Ruleset, Transaction};

/// Opens a connection in a fresh network namespace.
pub fn kernel() -> Kernel {
    enter();
    Kernel::open().expect("nf_tables")
}

/// Commits and expects success.
pub fn commit(kernel: &mut Kernel, transaction: &Transaction) {
    if let Err(error) = kernel.commit(transaction) {
        panic!("{error}: {:?}", refused_operation(&error, transaction));
    }
}

fn refused_operation<'a>(
    error: &portolan::kernel::nftables::Error,
    transaction: &'a Transaction,
) -> Option<&'a impl std::fmt::Debug> {
    match error {
        portolan::kernel::nftables::Error::Refused { operation: Some(index), .. }
        | portolan::kernel::nftables::Error::Unencodable { operation: index, .. } => {
            transaction.operations.get(*index)
        }
        _ => None,
    }
}

/// Reads the tables, commits nothing, and expects exactly this ruleset.
#[track_caller]
pub fn expect(kernel: &mut Kernel, expected: &Ruleset) {
    let found = kernel.read("portolan", &mut Expecting(expected)).expect("a dump");
    for (family, table) in &expected.tables {
        let other = found.tables.get(family).unwrap_or_else(|| panic!("no table of family {family}"));
        for (name, set) in &table.sets {
            assert_eq!(other.sets.get(name), Some(set), "{family} set {name}");
        }
        for (name, chain) in &table.chains {
            let found = other.chains.get(name).unwrap_or_else(|| panic!("{family} chain {name}"));
            assert_eq!(found.base, chain.base, "{family} chain {name}");
            for (i, rule) in chain.rules.iter().enumerate() {
                assert_eq!(found.rules.get(i), Some(rule), "{family} chain {name} rule {i}");
            }
        }
    }
    assert_eq!(&found, expected);
}

/// Runs nft with these arguments and, if any, this input. Returns its output.
#[track_caller]
pub fn nft(arguments: &[&str], input: Option<&str>) -> String {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("nft");
    child.stdin.take().expect("piped").write_all(input.unwrap_or_default().as_bytes()).expect("nft reads");
    let output = child.wait_with_output().expect("nft ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nft {arguments:?}: {}\n{errors}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

/// Returns nft's listing of the table in both families.
#[track_caller]
pub fn list() -> String {
    nft(&["list", "ruleset"], None)
}

/// Returns the part of a compiled ruleset that nft 1.0.6 loads as it is printed: with an IPv6 address in the key, nft
/// overwrites the end of the key with the data of an update.
pub fn loadable(ruleset: Ruleset) -> Ruleset {
    Ruleset { tables: ruleset.tables.into_iter().filter(|(family, _)| *family == Family::Ip).collect() }
}
