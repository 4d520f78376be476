//! `support-bundle`: collects everything that helps to diagnose a node into one archive.

use std::{
    collections::BTreeMap,
    ffi::CStr,
    fmt::Display,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use flate2::{Compression, write::GzEncoder};
use jiff::{Timestamp, tz::TimeZone};
use portolan_rules::{
    explanation::Finding,
    picture::count,
    print,
    ruleset::{Ruleset, diff::diff_into},
};
use rustix::system::uname;

use super::{
    arguments::ViewArgs,
    explain::{AgentError, Scene, agent, kernel, socket},
    output::{self, CommandError, Ended},
};
use crate::{
    config::settings::Settings,
    kernel::{
        conntrack::{self, Bounds},
        nftables::Kernel,
    },
    observe::state_text::{Format, parts},
};

/// The text at the end of the help.
pub(super) const HELP: &str = "\
Needs root. The archive has addresses and names of Services, endpoints and Nodes, but no tokens, certificates or Secrets.

Exit status: 0 the archive is written, and its errors.txt names what could not be collected, 2 an error.

Examples:
  portolan support-bundle
  portolan support-bundle --file /tmp/node-1.tar.gz
  kubectl -n kube-system exec ds/portolan -- portolan support-bundle --file - > node-1.tar.gz";

/// Arguments of `support-bundle`.
#[derive(Args, Clone, Debug)]
pub struct BundleArgs {
    /// File of the archive, or - for standard output [default: portolan-NODE-TIME.tar.gz in the current directory]
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// The agent to ask.
    #[command(flatten)]
    pub view: ViewArgs,
}

/// Sysctls to record, as paths below `/proc/sys/net`.
const SYSCTLS: [&str; 10] = [
    "netfilter/nf_conntrack_max",
    "netfilter/nf_conntrack_count",
    "netfilter/nf_conntrack_tcp_be_liberal",
    "netfilter/nf_conntrack_tcp_timeout_established",
    "netfilter/nf_conntrack_udp_timeout",
    "netfilter/nf_conntrack_acct",
    "ipv4/ip_forward",
    "ipv6/conf/all/forwarding",
    "ipv4/conf/all/rp_filter",
    "ipv4/conf/all/route_localnet",
];

/// The files of an archive.
#[derive(Default)]
struct Bundle {
    /// Name, description and content of each file.
    files: Vec<(&'static str, &'static str, Vec<u8>)>,
    errors: Vec<String>,
}

impl Bundle {
    fn add(
        &mut self,
        name: &'static str,
        what: &'static str,
        content: Result<impl Into<Vec<u8>>, impl Display>,
    ) {
        match content {
            Ok(content) => self.files.push((name, what, content.into())),
            Err(error) => self.errors.push(format!("{name}: {error}")),
        }
    }
}

/// Writes the archive. Exit status: 0, or 2 for an error.
pub fn bundle(args: &BundleArgs) -> Ended {
    let settings = Settings::new(&args.view.source.options.0)?;
    // Without the agent's answers, the archive would contain next to nothing.
    let socket = agent::socket_of(args.view.socket.as_deref(), &settings);
    if let Err(error @ AgentError::Denied(_)) = socket::get(&socket, "/configz") {
        return Err(error.into());
    }
    let mut bundle = collect(args, &settings, &socket);
    let now = Timestamp::now().to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ").to_string();
    let root = format!("portolan-{}-{now}", settings.node_name);
    let path = args.file.clone().unwrap_or_else(|| PathBuf::from(format!("{root}.tar.gz")));
    let contents = contents(&bundle);
    bundle.files.insert(0, ("README.txt", "this list", contents.clone().into_bytes()));
    if !bundle.errors.is_empty() {
        let errors: String = bundle.errors.iter().flat_map(|error| [error.as_str(), "\n"]).collect();
        bundle.files.push(("errors.txt", "", errors.into_bytes()));
    }
    let is_stdout = path == Path::new("-");
    let written = if is_stdout {
        write(io::stdout().lock(), &root, &bundle)
    } else {
        create(&path).and_then(|file| write(file, &root, &bundle))
    };
    written.map_err(|error| format!("{}: {error}", path.display()))?;
    if is_stdout {
        eprint!("{contents}");
    } else {
        output::print(format!("{}\n{contents}", path.display()).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Lists, for people, what the archive contains and what is missing.
fn contents(bundle: &Bundle) -> String {
    let line = |(name, what, content): &(&str, &str, Vec<u8>)| {
        format!("{name:<18} {:>9} bytes  {what}\n", content.len())
    };
    let files = bundle.files.iter().map(line);
    let errors = bundle.errors.iter().map(|error| format!("missing: {error}\n"));
    let end = "No tokens, certificates or Secrets; addresses and names are kept.\n".to_owned();
    files.chain(errors).chain([end]).collect()
}

fn collect(args: &BundleArgs, settings: &Settings, socket: &Path) -> Bundle {
    let mut bundle = Bundle::default();
    let table = &settings.config.table;
    let scene = Scene::open(&args.view).inspect_err(CommandError::report).ok();
    let state = match scene.as_ref().and_then(|scene| scene.live.as_ref()) {
        Some(live) => {
            Ok(parts(Format::Manifest, &live.state, live.snapshot.clone()).flatten().collect::<Vec<u8>>())
        }
        None => socket::get(socket, "/state"),
    };
    bundle.add("state.json", "what the agent holds, as manifests: every command takes it with -f", state);
    let asked = [
        ("/configz", "configuration.json", "the configuration in effect"),
        ("/statusz", "status.txt", "the agent's overview: reconciles, ages, problems"),
        ("/commits", "commits.json", "the last commits, and the last that failed"),
        ("/connections", "connections.json", "new connections of each endpoint, where they are counted"),
        ("/metrics", "metrics.txt", "metrics"),
    ];
    for (path, name, what) in asked {
        bundle.add(name, what, socket::get(socket, path));
    }
    bundle.add("versions.txt", "versions, and features of the kernel", versions(table));
    bundle.add("sysctls.txt", "sysctls of connection tracking and forwarding", Ok::<_, String>(sysctls()));
    if let Some(scene) = scene {
        bundle.add("findings.txt", "what keeps Services from answering", Ok::<_, String>(findings(&scene)));
        match kernel::tables(scene.view().compiler) {
            Ok(tables) => {
                bundle.add("tables.nft", "the kernel's tables", Ok::<_, String>(print::nft(&tables)));
                bundle.add(
                    "difference.txt",
                    "what would change to make the kernel what the agent holds",
                    difference(&scene, &tables),
                );
            }
            Err(error) => bundle.errors.push(format!("tables.nft, difference.txt: {error}")),
        }
    }
    bundle.add("flows.txt", "number of flows in connection tracking by destination", flows());
    bundle
}

fn versions(table: &str) -> Result<String, crate::kernel::nftables::Error> {
    let system = uname();
    let [name, release, machine] =
        [system.sysname(), system.release(), system.machine()].map(CStr::to_string_lossy);
    let features = Kernel::open()?.probe(table)?;
    let version = env!("CARGO_PKG_VERSION");
    Ok(format!("portolan {version}\n{name} {release} {machine}\nfeatures: {features}\n"))
}

fn sysctls() -> String {
    let read = |name: &&str| {
        let value = std::fs::read_to_string(Path::new("/proc/sys/net").join(name));
        let value = value.map_or_else(|error| format!("({error})"), |value| value.trim().to_owned());
        format!("net.{} = {value}\n", name.replace('/', "."))
    };
    SYSCTLS.iter().map(read).collect()
}

fn findings(scene: &Scene) -> String {
    let line = |finding: &Finding| {
        let Finding { severity, reason, service, subject } = finding;
        format!("{} Service {service} {subject}: {reason} [{}]\n", severity.name(), reason.code())
    };
    let (services, findings) = scene.findings();
    let lines: String = findings.iter().map(line).collect();
    format!("{}, {}\n{lines}", count(services, "Service", "Services"), scene.origin)
}

/// Returns the operations that would make the kernel match the agent's state, one per line.
fn difference(scene: &Scene, tables: &Ruleset) -> Result<String, String> {
    let Some(desired) = scene.compiled_for(tables) else { return Err("no agent listens".to_owned()) };
    let table = &scene.view().compiler.config().table;
    let transaction = diff_into(table, tables, desired);
    let line = |(family, operation)| print::operation(operation, family, table) + "\n";
    Ok(transaction.operations.iter().map(|(family, operation)| line((*family, operation))).collect())
}

fn flows() -> Result<String, crate::kernel::conntrack::Error> {
    let mut counts = BTreeMap::new();
    for flow in conntrack::list(&[], Bounds::NONE)?.flows {
        *counts.entry((flow.protocol, flow.frontend, flow.endpoint)).or_insert(0_u64) += 1;
    }
    let line =
        |((protocol, frontend, endpoint), count)| format!("{count:>8} {protocol} {frontend} -> {endpoint}\n");
    Ok(counts.into_iter().map(line).collect())
}

/// Creates a file that only its owner may read.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Writes the archive, with all files in one directory.
fn write(to: impl io::Write, root: &str, bundle: &Bundle) -> io::Result<()> {
    let mut archive = tar::Builder::new(GzEncoder::new(to, Compression::fast()));
    for (name, _, content) in &bundle.files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(Timestamp::now().as_second().unsigned_abs());
        archive.append_data(&mut header, format!("{root}/{name}"), content.as_slice())?;
    }
    archive.into_inner()?.finish()?.flush()
}
