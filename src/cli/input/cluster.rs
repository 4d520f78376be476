//! The state of a cluster, listed once from its API server.

use std::{io::Cursor, path::PathBuf};

use jiff::{Timestamp, tz::TimeZone};

use super::load::{Input, load};
use crate::{
    cli::arguments::SourceArgs,
    config::settings::{ApiSettings, Settings},
    source::{
        cluster::{Cluster, Error, Listed, Options},
        manifest::Source,
    },
};

/// Lists the cluster of a kubeconfig, or of the Pod that this process runs in. Also returns a text that states when and
/// where. If only one namespace is wanted, its objects are enough where other namespaces may not be listed.
pub fn list(
    args: &SourceArgs,
    namespace: Option<&str>,
    settings: Settings,
) -> Result<(Input, String), Error> {
    let Listed { text, warnings, server } = open(args, &settings)?.list(namespace)?;
    for warning in warnings {
        eprintln!("portolan: warning: {warning}");
    }
    let source = Source::of_cluster(&server, Cursor::new(text), &settings.node_name)
        .with_proxy_name(settings.proxy_name.clone());
    // This host may well be a Pod or a workstation rather than the node, so its addresses are left out.
    let input = load(settings, source, args.logging);
    let now = Timestamp::now().to_zoned(TimeZone::UTC).strftime("%H:%M:%SZ");
    Ok((input, format!("from the API server {server}, listed at {now}")))
}

/// Opens the cluster of a kubeconfig, or of the Pod that this process runs in.
pub fn open(args: &SourceArgs, settings: &Settings) -> Result<Cluster, Error> {
    let kubeconfig = args.kubeconfig.clone().filter(|path| !path.as_os_str().is_empty());
    let api = ApiSettings {
        kubeconfig: kubeconfig.or_else(default_kubeconfig),
        context: args.context.clone().filter(|context| !context.is_empty()),
        master: None,
        ..ApiSettings::default()
    };
    Cluster::new(&api, Options::from(settings))
}

/// Whether a cluster is known without a flag: there is a kubeconfig, or this process runs in a Pod.
pub fn is_known() -> bool {
    default_kubeconfig().is_some() || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// Returns the first file of `$KUBECONFIG` that exists. If the variable is not set or empty, returns `~/.kube/config`
/// if that exists.
fn default_kubeconfig() -> Option<PathBuf> {
    let listed = std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty());
    let paths: Vec<PathBuf> = match &listed {
        Some(list) => std::env::split_paths(list).collect(),
        None => std::env::home_dir().map(|home| home.join(".kube/config")).into_iter().collect(),
    };
    paths.into_iter().find(|path| path.is_file())
}
