//! Whether the API server is reached through a proxy: `proxy-url` of the kubeconfig, else `$HTTPS_PROXY` and
//! `$NO_PROXY`, as for client-go (Go's `httpproxy`).

use std::net::IpAddr;

use http::Uri;
use hyper_util::client::{
    legacy::connect::proxy::Tunnel,
    proxy::matcher::{Intercept, Matcher},
};

/// The proxy that the environment sets for a URL, unless the environment exempts the URL. `$HTTP_PROXY` is ignored: it
/// is for URLs without TLS.
///
/// # Errors
/// Why the proxy's URL is invalid, in one line.
pub(super) fn of_environment(
    url: &Uri,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Uri>, String> {
    let either = |names: [&'static str; 2]| {
        let mut values = names.into_iter().filter_map(|name| Some((name, variable(name)?)));
        values.find(|(_, value)| !value.is_empty())
    };
    let Some((name, proxy)) = either(["HTTPS_PROXY", "https_proxy"]) else { return Ok(None) };
    let Some(host) = url.host().filter(|_| url.scheme_str() == Some("https")) else { return Ok(None) };
    let is_loopback = host.trim_matches(['[', ']']).parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if host == "localhost" || is_loopback {
        return Ok(None);
    }
    let exempt = either(["NO_PROXY", "no_proxy"]).map(|(_, exempt)| exempt).unwrap_or_default();
    let exempt = of_port(&exempt, url.port_u16().unwrap_or(443));
    let matcher = Matcher::builder().https("http://proxy.invalid").no(exempt).build();
    if matcher.intercept(url).is_none() {
        return Ok(None);
    }
    parse(&proxy).map(Some).map_err(|reason| format!("${name}: {reason}"))
}

/// The entries of `$NO_PROXY` that apply to a port, without the port: the matcher would treat an entry with a port as
/// a name.
fn of_port(exempt: &str, port: u16) -> String {
    let entries = exempt.split(',').map(str::trim).filter_map(|entry| match entry.rsplit_once(':') {
        Some((host, number)) if !host.contains(':') || host.ends_with(']') => {
            (number.parse() == Ok(port)).then(|| host.trim_matches(['[', ']']))
        }
        _ => Some(entry),
    });
    entries.collect::<Vec<_>>().join(",")
}

/// Parses the URL of a proxy, whose scheme may be missing.
///
/// # Errors
/// Why the URL is invalid, in one line without its password.
pub(super) fn parse(text: &str) -> Result<Uri, String> {
    let text = text.trim();
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url: Option<Uri> =
        full.parse().ok().filter(|url: &Uri| url.host().is_some_and(|host| !host.is_empty()));
    let url = url.ok_or("the proxy is not a URL such as http://192.0.2.1:3128")?;
    match url.scheme_str() {
        Some("http") => Ok(url),
        scheme => {
            let scheme = scheme.unwrap_or_default();
            Err(format!("a proxy must have an http:// URL, not {scheme}://"))
        }
    }
}

/// Host and port of a proxy, without its password.
pub(super) fn shown(proxy: &Uri) -> String {
    let authority = proxy.authority().map_or("", |authority| authority.as_str());
    authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_owned()
}

/// Connections through a proxy (`CONNECT`).
pub(super) fn tunnel<C>(proxy: &Uri, connector: C) -> Tunnel<C> {
    // The matcher knows how to send the user name and the password in a URL.
    let matcher = Matcher::builder().https(proxy.to_string()).build();
    let intercept: Option<Intercept> = matcher.intercept(&Uri::from_static("https://any.invalid"));
    let url = intercept.as_ref().map_or(proxy, Intercept::uri).clone();
    let tunnel = Tunnel::new(url, connector);
    match intercept.as_ref().and_then(Intercept::basic_auth) {
        Some(login) => tunnel.with_auth(login.clone()),
        None => tunnel,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(url: &'static str, variables: &[(&str, &str)]) -> Result<Option<String>, String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        of_environment(&Uri::from_static(url), variable).map(|proxy| proxy.map(|proxy| shown(&proxy)))
    }

    #[test]
    fn the_environment_names_the_proxy_and_what_is_exempt_as_for_client_go() {
        let proxy = ("HTTPS_PROXY", "http://10.0.0.1:3128");
        let used = Ok(Some("10.0.0.1:3128".to_owned()));
        let url = "https://api.example.com:6443";
        assert_eq!(chosen(url, &[]), Ok(None));
        assert_eq!(chosen(url, &[proxy]), used);
        assert_eq!(chosen(url, &[("https_proxy", "10.0.0.1:3128")]), used, "lower case, no scheme");
        assert_eq!(chosen(url, &[("HTTP_PROXY", "http://10.0.0.1:3128")]), Ok(None));
        assert_eq!(chosen(url, &[("ALL_PROXY", "http://10.0.0.1:3128")]), Ok(None));
        assert_eq!(chosen("http://api.example.com", &[proxy]), Ok(None));
        for local in ["https://localhost:6443", "https://127.0.0.1:6443", "https://[::1]:6443"] {
            assert_eq!(chosen(local, &[proxy]), Ok(None), "{local}");
        }
        for (exempt, expected) in [
            ("example.com", Ok(None)),
            (".example.com", Ok(None)),
            ("a, api.example.com:6443", Ok(None)),
            ("api.example.com:443", used.clone()),
            ("*", Ok(None)),
            ("ample.com,10.0.0.0/8", used.clone()),
        ] {
            assert_eq!(chosen(url, &[proxy, ("NO_PROXY", exempt)]), expected, "{exempt}");
        }
        for (address, exempt) in [
            ("https://10.96.0.1", "10.96.0.0/12"),
            ("https://10.96.0.1", "10.96.0.1:443"),
            ("https://[2001:db8::1]:6443", "2001:db8::/32"),
            ("https://[2001:db8::1]:6443", "[2001:db8::1]:6443"),
        ] {
            assert_eq!(chosen(address, &[proxy, ("no_proxy", exempt)]), Ok(None), "{exempt}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let proxy = ("HTTPS_PROXY", "http://me:secret@10.0.0.1:3128");
        assert_eq!(chosen("https://192.0.2.1", &[proxy]), Ok(Some("10.0.0.1:3128".to_owned())));
        for proxy in ["socks5://me:secret@10.0.0.1", "http://me:secret@"] {
            let error = chosen("https://192.0.2.1", &[("HTTPS_PROXY", proxy)]).unwrap_err();
            assert!(error.starts_with("$HTTPS_PROXY: ") && !error.contains("secret"), "{error}");
        }
    }
}
