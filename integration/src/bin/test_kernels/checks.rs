//! The checks in each virtual machine: existing tests, chosen so that all of them take minutes even though everything
//! is emulated.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::Error;

/// Tests of one executable.
pub struct Tests {
    /// The executable, by the name of its target.
    pub executable: &'static str,
    /// Their names.
    pub names: &'static [&'static str],
}

/// A row of the table: its text, and the tests that must pass.
pub const CHECKS: &[(&str, &[Tests])] = &[
    (
        "what is written is read back; the probe",
        &[Tests {
            executable: "kernel",
            names: &[
                "probe::this_kernel_has_what_every_run_needs",
                "probe::a_probe_commits_nothing",
                "probe::a_probe_beside_our_tables_leaves_them_alone",
                "roundtrip::the_data_plane_is_read_back_as_written",
                "commit::a_map_grows_within_one_transaction",
                "commit::two_connections_see_each_others_work",
                "counters::counts_are_read_with_what_they_belong_to",
            ],
        }],
    ),
    (
        "connections from pods, nodes and outside",
        &[Tests {
            executable: "end_to_end",
            names: &[
                "cluster_ip::reaches_every_endpoint_from_pod_node_and_outside",
                "cluster_ip::a_pod_reaches_itself_through_its_own_cluster_ip",
                "node_port::every_node_answers_also_the_one_without_endpoints",
                "load_balancer::a_vip_is_served_through_both_nodes_and_is_a_node_port_and_a_cluster_ip",
            ],
        }],
    ),
    (
        "refused connections",
        &[Tests {
            executable: "end_to_end",
            names: &[
                "refuse::a_service_with_unready_endpoints_only_refuses",
                "cluster_ip::a_port_that_no_service_has_refuses",
            ],
        }],
    ),
    (
        "policies with real packets",
        &[Tests {
            executable: "policies",
            names: &[
                "local::internal_local_leads_to_the_endpoint_of_this_node",
                "local::external_local_keeps_the_client_s_address_and_short_circuits_pods_and_the_node",
                "affinity::a_client_meets_one_endpoint_at_every_frontend_of_the_port",
                "balancing::source_hash_can_be_switched_on_and_off",
                "topology::zone_hints_keep_traffic_in_the_zone_and_follow_the_node_s_label",
                "service_cidrs::an_unallocated_cluster_ip_is_silent_and_follows_the_objects_at_once",
            ],
        }],
    ),
    (
        "source ranges, also once they changed",
        &[Tests {
            executable: "policies",
            names: &[
                "source_ranges::a_vip_is_for_sources_in_the_ranges_and_the_other_frontends_for_all",
                "source_ranges::changed_ranges_apply_also_under_policy_local",
            ],
        }],
    ),
    (
        "changes by others are repaired",
        &[Tests {
            executable: "repair",
            names: &[
                "changes::a_flushed_ruleset",
                "changes::one_deleted_table",
                "changes::one_deleted_element",
                "changes::a_rule_in_our_chain",
                "changes::a_table_put_to_sleep",
            ],
        }],
    ),
    (
        "a refused Service harms no other",
        &[
            Tests {
                executable: "kernel",
                names: &[
                    "isolation::a_service_that_the_kernel_refuses_is_left_out_and_reported",
                    "refusal::a_refusal_leaves_no_reply_behind",
                    "refusal::missing_objects_are_named",
                ],
            },
            Tests {
                executable: "repair",
                names: &["isolation::a_service_that_the_kernel_refuses_delays_no_other"],
            },
        ],
    ),
    (
        "crashes and restarts",
        &[Tests {
            executable: "end_to_end",
            names: &[
                "restart::the_rules_stay_after_sigterm_and_after_a_crash",
                "restart::a_restart_writes_nothing_when_nothing_changed",
            ],
        }],
    ),
];

/// The executables that run in the virtual machines, by name.
pub struct Executables(pub BTreeMap<String, PathBuf>);

impl Executables {
    /// Builds the executables with the cargo that runs this program, and copies this program into the directory.
    pub fn build(directory: &Path) -> Result<Self, Error> {
        // The build may replace the file.
        let guest = directory.join(GUEST);
        std::fs::copy("/proc/self/exe", &guest)?;
        let mut executables = BTreeMap::from([(GUEST.to_owned(), guest)]);
        let tests = CHECKS.iter().flat_map(|(_, tests)| tests.iter().map(|tests| tests.executable));
        let wanted: Vec<&str> = tests.chain(["portolan"]).collect();
        let tests = ["--test", "end_to_end", "--test", "kernel", "--test", "policies", "--test", "repair"];
        for arguments in [
            // The whole workspace, as `make test` builds it, so that nothing is built again with other features.
            [&["test", "--no-run", "--workspace"][..], &tests].concat(),
            vec!["build", "--workspace", "--bin", "portolan"],
        ] {
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            cargo.args(arguments).args(["--quiet", "--message-format=json"]).stderr(Stdio::inherit());
            let messages = crate::command::output(&mut cargo)?;
            for message in messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
                let name = message.pointer("/target/name").and_then(Value::as_str);
                let path = message.get("executable").and_then(Value::as_str);
                if let (Some(name), Some(path)) = (name, path)
                    && wanted.contains(&name)
                {
                    executables.insert(name.to_owned(), path.into());
                }
            }
        }
        Ok(Self(executables))
    }
}

/// The name of this program in the virtual machine.
pub const GUEST: &str = "test_kernels";
