//! [`Files`]: the three files of a user, and what TLS makes of them.
//!
//! Opened by [`crate::Transport::tls`], asked by [`crate::connect`] and [`crate::accept`] at each
//! new connection.
//! Invariants: what is handed out fits together and would be taken by a peer with the same files;
//! files that do not are told of, and those before them stay in use.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::NAME;
use crate::words;

const CA: &str = "ca.crt";
const CHAIN: &str = "tls.crt";
const KEY: &str = "tls.key";
/// The largest file, in bytes: as much as a Secret of Kubernetes can hold.
const FILE_MAX: u64 = 1 << 20;
/// The one protocol that is spoken in the connections.
const PROTOCOL: &[u8] = b"h2";

/// What is wrong with the files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One is missing, or closed to this process.
    #[error(
        "cannot read {}: {source}: the folder must hold {CA}, {CHAIN} and {KEY}",
        file.display()
    )]
    Read {
        /// Which one.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// One does not hold what its name says.
    #[error("{} {reason}", file.display())]
    Unfit {
        /// Which one.
        file: PathBuf,
        /// What it is or lacks, and what to do.
        reason: String,
    },
}

/// The folder with a user's files, and what was read there last.
pub(crate) struct Files {
    folder: PathBuf,
    current: Mutex<Current>,
}

struct Current {
    read: Pem,
    keys: Arc<Keys>,
    /// What is wrong with newer files, if that is so.
    complaint: Option<String>,
}

/// The two ends of a connection, ready for use.
pub(crate) struct Keys {
    pub(crate) server: TlsAcceptor,
    pub(crate) client: TlsConnector,
}

/// The files' bytes.
#[derive(PartialEq, Eq)]
struct Pem {
    ca: Vec<u8>,
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl fmt::Debug for Files {
    /// Without what is in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Files").field(&self.folder).finish()
    }
}

impl Files {
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let read = Pem::read(folder)?;
        let keys = Arc::new(read.keys(folder)?);
        let current = Mutex::new(Current { read, keys, complaint: None });
        Ok(Self { folder: folder.to_owned(), current })
    }

    /// By the files as they are now. A few kilobytes are read and compared; only other ones than
    /// before are made sense of.
    pub(crate) async fn keys(self: &Arc<Self>) -> Arc<Keys> {
        let this = self.clone();
        let looked = tokio::task::spawn_blocking(move || this.look()).await;
        looked.unwrap_or_else(|_| self.lock().keys.clone())
    }

    fn look(&self) -> Arc<Keys> {
        let read = Pem::read(&self.folder);
        let mut current = self.lock();
        let newer = match read {
            Ok(read) if read == current.read => {
                current.complaint = None;
                return current.keys.clone();
            }
            Ok(read) => read.keys(&self.folder).map(|keys| (read, keys)),
            Err(error) => Err(error),
        };
        match newer {
            Ok((read, keys)) => {
                tracing::info!("takes new certificates from {}", self.folder.display());
                *current = Current { read, keys: Arc::new(keys), complaint: None };
            }
            // They may be in the course of being replaced, one by one.
            Err(error) => {
                let complaint = error.to_string();
                if current.complaint.as_ref() != Some(&complaint) {
                    tracing::warn!("goes on with the certificates from before: {complaint}");
                    current.complaint = Some(complaint);
                }
            }
        }
        current.keys.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.join(CA)
    }

    pub(crate) fn chain(&self) -> PathBuf {
        self.folder.join(CHAIN)
    }
}

impl Pem {
    fn read(folder: &Path) -> Result<Self, Error> {
        let read = |name: &str| read_file(&folder.join(name));
        Ok(Self { ca: read(CA)?, chain: read(CHAIN)?, key: read(KEY)? })
    }

    /// What TLS makes of the files, if they fit together.
    fn keys(&self, folder: &Path) -> Result<Keys, Error> {
        let (ca, crt, key_file) = (folder.join(CA), folder.join(CHAIN), folder.join(KEY));
        let roots = Arc::new(roots(&self.ca, &ca)?);
        let chain = certificates(&self.chain, &crt)?;
        let key = || {
            let key = PrivateKeyDer::from_pem_slice(&self.key);
            key.map_err(|error| unfit(&key_file, of_key(&error)))
        };
        let provider = Arc::new(ring::default_provider());
        let verifier = check(&roots, &chain, &provider).map_err(|error| {
            let reason = words::of_certificate(&error, &ca);
            unfit(&crt, format!("holds a certificate that {reason}"))
        })?;
        let misfit = |error| match error {
            rustls::Error::InconsistentKeys(_) => unfit(
                &key_file,
                format!(
                    "is not the key of the certificate in {}: give the two that belong \
                    together",
                    crt.display()
                ),
            ),
            error => unfit(&key_file, format!("holds a key that cannot be used: {error}")),
        };
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_protocol_versions(&[&TLS13]).map_err(misfit)?;
        let builder = builder.with_client_cert_verifier(verifier);
        let mut server = builder.with_single_cert(chain.clone(), key()?).map_err(misfit)?;
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(&[&TLS13]).map_err(misfit)?;
        let builder = builder.with_root_certificates(roots);
        let mut client = builder.with_client_auth_cert(chain, key()?).map_err(misfit)?;
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        // A session that is taken up again would not be checked again.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        client.resumption = Resumption::disabled();
        Ok(Keys { server: Arc::new(server).into(), client: Arc::new(client).into() })
    }
}

fn unfit(file: &Path, reason: String) -> Error {
    Error::Unfit { file: file.to_owned(), reason }
}

fn read_file(file: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let opened = File::open(file);
    let read = opened.and_then(|opened| opened.take(FILE_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|source| Error::Read { file: file.to_owned(), source })?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(unfit(file, format!("has more than {FILE_MAX} bytes: it is no such file")));
    }
    Ok(bytes)
}

fn certificates(pem: &[u8], file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|error| unfit(file, format!("cannot be read as PEM: {error}")))?;
    if read.is_empty() {
        let reason = "holds no certificate: it must have one as PEM, -----BEGIN CERTIFICATE-----";
        return Err(unfit(file, reason.to_owned()));
    }
    Ok(read)
}

fn of_key(error: &pem::Error) -> String {
    match error {
        pem::Error::NoItemsFound => "holds no private key: it must have one as PEM, \
            -----BEGIN PRIVATE KEY-----, not encrypted"
            .to_owned(),
        error => format!("cannot be read as PEM: {error}"),
    }
}

fn roots(pem: &[u8], file: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, file)? {
        let added = roots.add(certificate);
        added.map_err(|error| unfit(file, format!("holds no certificate of a CA: {error}")))?;
    }
    Ok(roots)
}

/// Whether peers with the same CA would take a certificate, at either end of a connection. Returns
/// what checks those of clients.
fn check(
    roots: &Arc<RootCertStore>,
    chain: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
    let fails =
        |error: rustls::server::VerifierBuilderError| rustls::Error::General(error.to_string());
    let (own, others) = chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
    let name =
        ServerName::try_from(NAME).map_err(|error| rustls::Error::General(error.to_string()))?;
    let now = UnixTime::now();
    let server = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone());
    server.build().map_err(fails)?.verify_server_cert(own, others, &name, &[], now)?;
    let client = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
    let client = client.build().map_err(fails)?;
    client.verify_client_cert(own, others, now)?;
    Ok(client)
}
