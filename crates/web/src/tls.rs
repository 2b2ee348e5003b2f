//! TLS on a listener: a certificate chain and its key from two PEM files, read once at the start.

use std::path::Path;
use std::sync::Arc;

use kernel::Fault;
use kernel::limits::HEAD_TIME;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::{Error, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

/// What a listener proves itself with. Cloning shares it.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl Tls {
    /// Reads a certificate chain (PEM, its own certificate first) and its private key (PEM: PKCS #8, PKCS #1 or SEC 1).
    ///
    /// # Errors
    /// When a file cannot be read or is not that, or the key is another certificate's.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, Fault> {
        let chain = CertificateDer::pem_file_iter(certificate).and_then(|all| all.collect::<Result<Vec<_>, _>>());
        let chain = chain.map_err(|error| unread(certificate, "a certificate in PEM", &error))?;
        if chain.is_empty() {
            return Err(unread(certificate, "a certificate in PEM", &Error::NoItemsFound));
        }
        let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unread(key, "a private key in PEM", &error))?;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Fault::internal(format!("TLS: {error}")))?
            .with_no_client_auth()
            .with_single_cert(chain, key);
        let mut config = config.map_err(|error| {
            Fault::invalid(format!("certificate {} and its key do not serve: {error}", certificate.display()))
                .hint("give the key that the certificate was made for")
        })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// Greets a client.
    pub(crate) async fn greet(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        // Whoever connects and says nothing must not hold a connection for long.
        timeout(HEAD_TIME, self.0.accept(stream)).await.map_err(|_| std::io::ErrorKind::TimedOut)?
    }
}

fn unread(path: &Path, wanted: &str, error: &Error) -> Fault {
    let why = match error {
        Error::Io(error) => error.to_string(),
        other => format!("it is not {wanted}: {other:?}"),
    };
    Fault::invalid(format!("{} cannot be used: {why}", path.display())).hint(format!("name a file with {wanted}"))
}
