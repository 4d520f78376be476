//! `--show-config`, `--write-config-to`, and the file that kubeadm writes.

use portolan::{
    cli::arguments::{Cli, Command, RunArgs, normalize},
    config::{
        Options, Origin,
        options::{HEALTHZ_BIND_ADDRESS, METRICS_BIND_ADDRESS, MODE},
        settings::RunSettings,
    },
};

use crate::process::{HEAD, KUBEADM, TestFile, enter_namespace, portolan, ruleset};

fn parse(arguments: &[&str]) -> RunArgs {
    use clap::Parser as _;
    let arguments = [&["portolan", "run", "--hostname-override=node-a"], arguments].concat();
    let arguments = normalize(arguments.iter().map(Into::into));
    let Command::Run(args) = Cli::try_parse_from(arguments).unwrap().command else { panic!("run") };
    *args
}

pub fn resolve(arguments: &[&str]) -> RunSettings {
    parse(arguments).settings().unwrap()
}

/// The settings that the agent uses, without where they come from.
fn essence(mut settings: RunSettings) -> String {
    settings.origin = Origin::default();
    settings.options = Options::default();
    settings.without_effect.clear();
    format!("{settings:#?}")
}

#[test]
fn kubeadm_s_file_is_accepted_unchanged_and_means_the_defaults() {
    let file = TestFile::new(KUBEADM);
    let settings = resolve(&["--config", &file.name()]);
    assert_eq!(settings.without_effect, Vec::<String>::new());
    let flags =
        resolve(&["--cluster-cidr=10.244.0.0/16", "--kubeconfig=/var/lib/kube-proxy/kubeconfig.conf"]);
    assert_eq!(essence(settings), essence(flags));

    let shown = portolan(&["run", "--config", &file.name(), "--show-config"]);
    assert_eq!((shown.code, &*shown.stderr), (Some(0), ""));
    assert!(shown.stdout.contains("clusterCIDR: 10.244.0.0/16\n"), "{}", shown.stdout);
    assert!(shown.stdout.contains("mode: nftables\n"), "{}", shown.stdout);
    assert!(shown.stdout.contains("  tcpEstablishedTimeout: 24h\n"), "{}", shown.stdout);
}

#[test]
fn the_same_file_as_json_is_the_same() {
    let yaml = TestFile::new(KUBEADM);
    let value: serde_json::Value = { resolve(&["--config", &yaml.name()]).options.to_json() };
    let json = TestFile::new(&value.to_string());
    assert_eq!(essence(resolve(&["--config", &yaml.name()])), essence(resolve(&["--config", &json.name()])));
}

/// The name of the node is shown as the agent uses it.
#[test]
fn the_name_of_the_node_is_shown_as_it_is_in_effect() {
    for given in ["NODE.Upper", " node.UPPER "] {
        let shown = portolan(&["run", "--show-config", "--hostname-override", given]);
        assert!(shown.stdout.contains("hostnameOverride: node.upper\n"), "{}", shown.stdout);
    }
}

/// The table of Go's documentation, by flag and by file. Units may repeat and come in any order.
#[test]
fn durations_are_go_s() {
    for (text, shown) in
        [(".5s", "500ms"), ("1.5h30m", "2h"), ("1h1m1.5s", "1h1m1s500ms"), ("+5s", "5s"), ("10s1m", "1m10s")]
    {
        let file = TestFile::new(&format!("{HEAD}conntrack: {{udpTimeout: {text}}}\n"));
        for arguments in [&["--conntrack-udp-timeout", text][..], &["--config", &file.name()]] {
            let shown_is =
                portolan(&[&["run", "--show-config", "--hostname-override=n"], arguments].concat());
            assert!(
                shown_is.stdout.contains(&format!("udpTimeout: {shown}\n")),
                "{text}: {}",
                shown_is.stdout
            );
        }
    }
    let zero = portolan(&["run", "--show-config", "--hostname-override=n", "--conntrack-udp-timeout=0"]);
    assert!(zero.stdout.contains("udpTimeout: 0s\n"), "{}", zero.stdout);
}

#[test]
fn what_is_written_reads_back_to_the_same_settings() {
    enter_namespace();
    let file = TestFile::new("");
    for flags in [
        &[][..],
        &["--cluster-cidr=10.0.0.0/8,fd00::/8", "--nodeport-addresses=192.0.2.0/24,2001:db8::/64"],
        &["--masquerade-all", "--masquerade-bit=0", "--bind-address=2001:db8::7", "--bind-address-hard-fail"],
        &["--detect-local-mode=InterfaceNamePrefix", "--pod-interface-name-prefix=veth"],
        &["--detect-local-mode=BridgeInterface", "--pod-bridge-interface=br0"],
        &["--detect-local-mode=NodeCIDR", "--iptables-sync-period=1m30s", "--iptables-min-sync-period=250ms"],
        &["--conntrack-max-per-core=0", "--conntrack-min=7", "--conntrack-tcp-be-liberal"],
        &[
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=2h",
            "--oom-score-adj=-5",
        ],
        &[
            "--conntrack-udp-timeout=10s",
            "--conntrack-udp-timeout-stream=1m",
            "--logging-format=json",
            "-v=4",
        ],
        &["--healthz-bind-address=192.0.2.1", "--metrics-bind-address=[::]:9999", "--kubeconfig=k.conf"],
        &["--healthz-bind-address=", "--metrics-bind-address=", "--master=https://192.0.2.1:6443"],
        &["--table-name=edge", "--service-proxy-name=edge", "--full-sync-period=2h", "--table-owner"],
        &["--relist-period=24h"],
        &[
            "--healthz-port=0",
            "--metrics-bind-address=192.0.2.1",
            "--metrics-port=9999",
            "--master=192.0.2.1",
        ],
        &["--endpoint-counters", "--service-cluster-ip-range=10.96.0.0/12"],
        &["--feature-gates=A=true,B=false", "--ipvs-strict-arp", "--kube-api-qps=7.5", "--vmodule=x=4"],
    ] {
        let expected = resolve(flags);
        let written = portolan(
            &[&["run", "--hostname-override=node-a", "--write-config-to", &file.name()], flags].concat(),
        );
        assert_eq!((written.code, &*written.stdout), (Some(0), ""), "{written:?}");
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert!(text.contains("kind: KubeProxyConfiguration\n"), "{text}");
        let shown = portolan(&[&["run", "--hostname-override=node-a", "--show-config"], flags].concat());
        assert_eq!(shown.stdout, text);

        // Flags without a field in the file stand at its head, as arguments.
        let beside: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("#   ")).collect();
        assert_eq!(beside, expected.flags_beside_file);
        let name = file.name();
        let again = resolve(&[&["--config", &name], &*beside].concat());
        assert_eq!(essence(again), essence(expected), "{text}");
    }
    assert_eq!(ruleset(), "");
}

#[test]
fn the_flag_beats_the_file_where_kube_proxy_has_it_so() {
    let file = TestFile::new(&format!(
        "{HEAD}hostnameOverride: node-file\nlogging:\n  format: json\n  verbosity: 2\nclusterCIDR: 10.0.0.0/8\n"
    ));
    let settings = RunArgs { config: Some(file.path()), ..RunArgs::default() }.settings().unwrap();
    assert_eq!(&*settings.node.node_name, "node-file");
    assert!(settings.logging.is_json);
    let settings = resolve(&["--config", &file.name(), "--logging-format=text", "-v=4"]);
    assert_eq!(&*settings.node.node_name, "node-a");
    assert!(!settings.logging.is_json);
    assert_eq!(settings.logging.verbosity, 4);
    let beside = resolve(&["--config", &file.name(), "--cluster-cidr=172.16.0.0/12"]);
    let alone = resolve(&["--config", &file.name()]);
    assert_eq!(essence(beside.clone()), essence(alone));
    assert_eq!(beside.without_effect, ["--cluster-cidr"]);
}

#[test]
fn the_bind_address_picks_the_family_of_the_listeners() {
    let listeners = |flags: &[&str]| {
        let settings = resolve(flags);
        [settings.healthz, settings.metrics].map(|address| address.unwrap().to_string())
    };
    assert_eq!(listeners(&[]), ["0.0.0.0:10256", "127.0.0.1:10249"]);
    assert_eq!(listeners(&["--bind-address=::"]), ["[::]:10256", "[::1]:10249"]);
    assert_eq!(
        listeners(&["--healthz-bind-address=192.0.2.1", "--metrics-bind-address=::"]),
        ["192.0.2.1:10256", "[::]:10249"]
    );
}

#[test]
fn flags_may_be_spelt_as_kube_proxy_s() {
    let same = |given: &[&str], expected: &[&str]| {
        assert_eq!(essence(resolve(given)), essence(resolve(expected)), "{given:?}");
    };
    same(&["--cluster_cidr=10.0.0.0/8"], &["--cluster-cidr=10.0.0.0/8"]);
    same(&["--detect_local_mode", "NodeCIDR"], &["--detect-local-mode=NodeCIDR"]);
    same(&["--masquerade_all"], &["--masquerade-all=true"]);
    same(&["--version=false"], &[]);
    // Scripts write empty values for unknown ones.
    same(&["--config=", "--kubeconfig=", "--master=", "--cluster-cidr=", "--write-config-to="], &[]);
    same(&["--config", "", "--nodeport-addresses=", "--feature-gates=", "--proxy-mode="], &[]);
    assert_eq!(portolan(&["run", "--version=true"]).stdout, portolan(&["run", "--version"]).stdout);
}

#[test]
fn the_api_server_may_be_a_host_without_a_scheme() {
    for master in ["192.0.2.1:6443", "api.example", "[2001:db8::1]:6443", "https://192.0.2.1/prefix"] {
        assert_eq!(resolve(&["--master", master]).api.master.as_deref(), Some(master));
    }
}

#[test]
fn ports_of_servers_may_be_given_apart() {
    let servers = |flags: &[&str]| {
        let settings = resolve(flags);
        ([settings.healthz, settings.metrics].map(|at| at.map(|at| at.to_string())), settings.without_effect)
    };
    let at = |healthz: &str, metrics: &str| [Some(healthz.to_owned()), Some(metrics.to_owned())];
    let (none, silent) = ([None, None], Vec::<String>::new());
    assert_eq!(servers(&["--healthz-port=0", "--metrics-port=0"]), (none, silent.clone()));
    assert_eq!(
        servers(&["--healthz-bind-address=::", "--healthz-port=1", "--metrics-port=10249"]),
        (at("[::]:1", "127.0.0.1:10249"), silent)
    );
    // If both are given, the address takes effect.
    let both = servers(&["--healthz-bind-address=0.0.0.0:1", "--healthz-port=2", "--metrics-port=3"]);
    assert_eq!(
        both,
        (at("0.0.0.0:1", "127.0.0.1:10249"), vec!["--healthz-port".into(), "--metrics-port".into()])
    );
    // With a file they have no effect, as in kube-proxy.
    let file = TestFile::new(HEAD);
    let beside = servers(&["--config", &file.name(), "--healthz-port=0"]);
    assert_eq!(beside, (at("0.0.0.0:10256", "127.0.0.1:10249"), vec!["--healthz-port".into()]));
}

#[test]
fn a_server_that_there_is_not_is_shown_without_an_address() {
    let settings = resolve(&["--healthz-bind-address="]);
    assert_eq!(settings.options.get(&HEALTHZ_BIND_ADDRESS), Some(&"".into()));
    assert_eq!(settings.options.text(&METRICS_BIND_ADDRESS), "127.0.0.1:10249");
}

/// Unless the mode is nftables, kube-proxy reads the section `iptables`.
#[test]
fn the_iptables_section_is_in_force_unless_the_file_asks_for_nftables() {
    let section = "iptables: {masqueradeAll: true, masqueradeBit: 13, syncPeriod: 1m, minSyncPeriod: 2s}\n";
    let node = |text: &str, flags: &[&str]| {
        let file = TestFile::new(&format!("{HEAD}{text}"));
        let settings = resolve(&[&["--config", &file.name()], flags].concat());
        let RunSettings { node, sync, without_effect, .. } = settings;
        let config = node.config;
        let periods = [sync.period, sync.min_period].map(|period| period.as_secs());
        (config.masquerade_all, config.masquerade_bit, periods, without_effect)
    };
    let silent = Vec::<String>::new();
    let in_force = (true, 13, [60, 2], silent.clone());
    assert_eq!(node(section, &[]), in_force);
    assert_eq!(node(&format!("mode: \"\"\n{section}"), &[]), in_force);
    assert_eq!(node(&format!("mode: iptables\n{section}"), &["--proxy-mode=nftables"]), in_force);
    // kubeadm writes zeros for unset fields of the section `nftables`.
    let zeros = "nftables: {masqueradeAll: false, masqueradeBit: null, syncPeriod: 0s, minSyncPeriod: 0s}\n";
    assert_eq!(node(&format!("{zeros}{section}"), &[]), in_force);
    // Fields that the section `nftables` sets take precedence.
    let own = "nftables: {masqueradeBit: 3, syncPeriod: 10s}\n";
    let fields = ["iptables.masqueradeBit", "iptables.syncPeriod"].map(str::to_owned).to_vec();
    assert_eq!(node(&format!("{own}{section}"), &[]), (true, 3, [10, 2], fields));
    let (all, bit, periods, without_effect) = node(&format!("mode: nftables\n{section}"), &[]);
    assert_eq!((all, bit, periods, without_effect.len()), (false, 14, [30, 0], 4));
    // The error names the field as the file has it.
    let file = TestFile::new(&format!("{HEAD}iptables: {{minSyncPeriod: 1m}}\n"));
    let error = parse(&["--config", &file.name()]).settings().unwrap_err().to_string();
    let expected = "iptables.minSyncPeriod: 1m is longer than nftables.syncPeriod (30s)";
    assert_eq!(error, format!("{}: {expected}", file.name()));
}

#[test]
fn the_proxy_mode_beside_a_file_overrides_its_mode() {
    for mode in ["iptables", "ipvs", "nftables", "\"\""] {
        let file = TestFile::new(&format!("{HEAD}mode: {mode}\n"));
        let settings = resolve(&["--config", &file.name(), "--proxy-mode", "nftables"]);
        assert_eq!(settings.options.text(&MODE), "nftables");
        assert_eq!(settings.without_effect, Vec::<String>::new());
        let error = parse(&["--config", &file.name(), "--proxy-mode=ipvs"]).settings().unwrap_err();
        assert!(error.to_string().starts_with("--proxy-mode: "), "{error}");
    }
}

#[test]
fn the_file_that_people_have_is_taken() {
    let alone = format!("{HEAD}clusterCIDR: 10.0.0.0/8\n");
    let expected = essence(resolve(&["--config", &TestFile::new(&alone).name()]));
    let block = alone.replace('\n', "\n    ");
    for text in [
        format!(
            "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\nnodeRegistration: {{}}\n---\n{alone}"
        ),
        format!("{alone}---\napiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n"),
        format!(
            "apiVersion: v1\nkind: ConfigMap\ndata:\n  config.conf: |-\n    {block}\n  kubeconfig.conf: x\n"
        ),
        format!("apiVersion: v1\nkind: ConfigMap\ndata:\n  config: |-\n    {block}\n"),
    ] {
        let settings = resolve(&["--config", &TestFile::new(&text).name()]);
        assert_eq!(settings.warnings.len(), 0, "{text}");
        assert_eq!(essence(settings), expected, "{text}");
    }
}
