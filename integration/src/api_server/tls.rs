//! A certificate authority, the server's certificate, and TLS on accepted connections.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use axum::serve::Listener;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::CertificateDer,
        server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    },
    server::TlsStream,
};

use crate::wire::{Counted, Wire};

/// How long a client may take to set up TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The protocols that are offered by ALPN.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The server's certificate, and the authority that clients verify it with.
#[derive(Clone)]
pub(super) struct Identity {
    /// The authority's certificate, in PEM.
    pub authority: String,
    certificate: CertificateDer<'static>,
    key: Arc<KeyPair>,
    config: Arc<ServerConfig>,
}

/// A client's certificate and key, in PEM.
pub(super) struct ClientIdentity {
    pub certificate: String,
    pub key: String,
}

impl Identity {
    /// Creates an authority, and a certificate for this address.
    pub fn new(address: IpAddr) -> io::Result<Self> {
        let authority = authority().map_err(io::Error::other)?;
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = CertificateParams::new([address.to_string()]).map_err(io::Error::other)?;
        params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        let certificate = params.signed_by(&key, &authority).map_err(io::Error::other)?;
        let (certificate, key) = (certificate.der().clone(), Arc::new(key));
        let config = config(&certificate, &key, WebPkiClientVerifier::no_client_auth())?;
        Ok(Self { authority: authority.pem(), certificate, key, config })
    }

    /// Offers HTTP/2, or HTTP/1.1 only, as proxies in front of API servers may.
    pub fn offer_http2(&mut self, is_offered: bool) {
        let offered = if is_offered { ALPN.map(<[u8]>::to_vec).into() } else { Vec::new() };
        Arc::make_mut(&mut self.config).alpn_protocols = offered;
    }

    /// Accepts only clients whose certificate was signed by a new authority; creates that authority and such a
    /// certificate.
    pub fn demand_clients(&mut self) -> io::Result<ClientIdentity> {
        let authority = authority().map_err(io::Error::other)?;
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "system:kube-proxy");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &authority).map_err(io::Error::other)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).map_err(io::Error::other)?;
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        self.config = config(&self.certificate, &self.key, verifier.build().map_err(io::Error::other)?)?;
        Ok(ClientIdentity { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn config(
    certificate: &CertificateDer<'static>,
    key: &KeyPair,
    clients: Arc<dyn ClientCertVerifier>,
) -> io::Result<Arc<ServerConfig>> {
    let key = key.serialize_der().try_into().map_err(io::Error::other)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![certificate.clone()], key)
        .map_err(io::Error::other)?;
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
    Ok(Arc::new(config))
}

/// The certificate, in PEM, of an authority that has signed no certificate.
pub(super) fn foreign_authority() -> io::Result<String> {
    authority().map(|authority| authority.pem()).map_err(io::Error::other)
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.distinguished_name.push(DnType::CommonName, "kubernetes");
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

/// Connections whose TLS handshake is complete: a client with a slow handshake does not delay others.
pub(super) struct TlsListener(mpsc::Receiver<TlsStream<Counted>>);

impl TlsListener {
    /// Accepts connections until the runtime ends, and counts the sent bytes.
    pub fn new(listener: TcpListener, identity: &Identity, wire: Arc<Wire>) -> Self {
        let (ready, accepted) = mpsc::channel(16);
        let acceptor = TlsAcceptor::from(identity.config.clone());
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    // The receiver of the connections is gone.
                    () = ready.closed() => return,
                };
                let Ok((stream, _)) = accepted else {
                    // Out of file descriptors, or the client is gone: the next attempt may succeed.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                // Events are small; otherwise the kernel would delay them.
                let _ = stream.set_nodelay(true);
                let stream = Counted::new(stream, Arc::clone(&wire));
                let (acceptor, ready) = (acceptor.clone(), ready.clone());
                tokio::spawn(async move {
                    // A client that does not trust this server reports that to its user, not to the server.
                    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                        let _ = ready.send(stream).await;
                    }
                });
            }
        });
        Self(accepted)
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<Counted>;
    type Addr = ();

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.0.recv().await {
            Some(stream) => (stream, ()),
            // The runtime is about to end.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(())
    }
}
