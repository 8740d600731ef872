//! Two ends of a connection on loopback: who gets through, who is refused, and what is said.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::fs;
use std::future::poll_fn;
use std::iter::successors;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use millstream_testkit::{Authority, Certificate};
use millstream_transport::{NAME, Transport};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::body::Body;
use tonic::codegen::{Service as _, http};
use tonic::service::Routes;
use tonic::transport::{Endpoint, Server};

const PATIENCE: Duration = Duration::from_secs(20);

/// Folders with files of CAs.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A transport by files that this CA signs.
    fn of(&self, name: &str, ca: &Authority) -> Transport {
        ca.write(&self.folder(name), &Certificate::default());
        Transport::tls(&self.folder(name)).unwrap()
    }
}

/// Serves until it is dropped.
async fn serve(transport: &Transport) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = transport.accept(listener);
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let server = Server::builder().add_routes(Routes::default());
        server.serve_with_incoming(incoming).await.unwrap();
    });
    (address, serving)
}

/// Calls a method that nobody has: the answer of gRPC says that the call went through.
async fn call(transport: &Transport, address: SocketAddr) -> Result<(), String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let endpoint = endpoint.connect_timeout(Duration::from_secs(5));
    let called = async {
        let mut channel = transport.connect(&endpoint).await?;
        poll_fn(|cx| channel.poll_ready(cx)).await?;
        let request = http::Request::post("/none/none").header("content-type", "application/grpc");
        channel.call(request.body(Body::empty()).unwrap()).await
    };
    match timeout(PATIENCE, called).await.expect("it hangs") {
        Ok(answer) => {
            assert_eq!(answer.headers()["grpc-status"], "12");
            Ok(())
        }
        Err(error) => Err(chain(&error)),
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[track_caller]
fn says(said: Result<(), String>, words: &str) {
    let said = said.unwrap_err();
    assert!(said.contains(words), "{said}");
}

#[tokio::test]
async fn processes_of_one_ca_talk_and_those_of_another_are_refused_at_both_ends() {
    let place = Place::new();
    let ca = Authority::new("ca");
    let (one, two) = (place.of("one", &ca), place.of("two", &ca));
    let (address, _serving) = serve(&one).await;
    assert_eq!(call(&two, address).await, Ok(()));
    // Another name, and the same name with another key.
    for name in ["other", "ca"] {
        let other = place.of("three", &Authority::new(name));
        let file = place.folder("three").join("ca.crt");
        let words = format!("its certificate is not signed by the CA in {}: ", file.display());
        says(call(&other, address).await, &words);
        // It would take the server's, and is refused itself.
        fs::write(&file, Authority::new(name).pem() + &other_and(&file, &ca)).unwrap();
        let other = Transport::tls(&place.folder("three")).unwrap();
        let file = place.folder("three").join("tls.crt");
        let words = format!("it refuses the certificate in {} (", file.display());
        says(call(&other, address).await, &words);
    }
    assert_eq!(call(&two, address).await, Ok(()));
}

/// The certificates in a file and that of a CA.
fn other_and(file: &Path, ca: &Authority) -> String {
    fs::read_to_string(file).unwrap() + &ca.pem()
}

#[tokio::test]
async fn one_side_with_tls_and_one_without_hear_so() {
    let place = Place::new();
    let (secured, clear) = (place.of("one", &Authority::new("ca")), Transport::default());
    let (address, _serving) = serve(&secured).await;
    says(call(&clear, address).await, "it speaks TLS: start it without --tls, or ");
    let (address, _serving) = serve(&clear).await;
    says(call(&secured, address).await, "it does not speak TLS: start it with --tls, or ");
    assert_eq!(call(&clear, address).await, Ok(()));
}

/// A client of another make, with this certificate or none; what it hears first.
async fn foreign(ca: &Authority, own: Option<&Certificate>, address: SocketAddr) -> String {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots(ca));
    let config = match own {
        Some(own) => {
            let (chain, key) = signed(ca, own);
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(NAME).unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    // Much, so that it is not read before it is refused.
    let _ = stream.write_all(&vec![0; 100_000]).await;
    stream.read_u8().await.unwrap_err().to_string()
}

fn roots(ca: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()).unwrap();
    roots
}

fn signed(
    ca: &Authority,
    certificate: &Certificate,
) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let (chain, key) = ca.sign(certificate);
    let chain = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
    (vec![chain], PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
}

#[tokio::test]
async fn a_client_without_a_certificate_or_with_one_that_is_not_valid_is_refused() {
    let place = Place::new();
    let ca = Authority::new("ca");
    let (address, _serving) = serve(&place.of("one", &ca)).await;
    let said = foreign(&ca, None, address).await;
    assert!(said.contains("CertificateRequired"), "{said}");
    let expired = Certificate::default().in_years(2001, 2002);
    let said = foreign(&ca, Some(&expired), address).await;
    assert!(said.contains("CertificateExpired"), "{said}");
    let no_client = Certificate::default().for_servers();
    let said = foreign(&ca, Some(&no_client), address).await;
    assert!(said.contains("UnsupportedCertificate"), "{said}");
}

#[tokio::test]
async fn a_server_whose_certificate_is_of_another_name_or_not_valid_is_not_talked_to() {
    let place = Place::new();
    let ca = Authority::new("ca");
    let transport = place.of("one", &ca);
    for (certificate, words) in [
        (Certificate::named("localhost"), "its certificate lacks the DNS name millstream-worker: "),
        (
            Certificate::default().in_years(2001, 2002),
            "its certificate has expired, at 2002-12-31T00:00:00Z: renew it",
        ),
        (
            Certificate::default().in_years(3001, 3002),
            "its certificate is not valid before 3001-01-01T00:00:00Z: ",
        ),
    ] {
        let (chain, key) = signed(&ca, &certificate);
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            TlsAcceptor::from(Arc::new(config)).accept(stream).await.unwrap_err();
        });
        says(call(&transport, address).await, words);
    }
}

#[tokio::test]
async fn connections_that_say_nothing_hold_up_no_other() {
    let place = Place::new();
    let transport = place.of("one", &Authority::new("ca"));
    let (address, _serving) = serve(&transport).await;
    let mut silent = Vec::new();
    for n in 0..20 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The beginning of a record of TLS, or not even that.
        stream.write_all(&[0x16, 3, 1][..n % 4]).await.unwrap();
        silent.push(stream);
    }
    assert_eq!(call(&transport, address).await, Ok(()));
    // They are closed in the end.
    for mut stream in silent {
        let closed = timeout(PATIENCE, stream.read(&mut [0; 16])).await.expect("it stays open");
        assert!(!matches!(closed, Ok(1..)), "{closed:?}");
    }
}

#[tokio::test]
async fn files_that_are_replaced_are_taken_by_new_connections_without_a_restart() {
    let place = Place::new();
    let (old, new) = (Authority::new("ca"), Authority::new("ca"));
    let (one, two) = (place.of("one", &old), place.of("two", &old));
    let stale = place.of("three", &old);
    let (address, _serving) = serve(&one).await;
    assert_eq!(call(&two, address).await, Ok(()));
    // One after the other, as a renewal does it that is not all at once.
    let folder = place.folder("one");
    let (chain, key) = new.sign(&Certificate::default());
    fs::write(folder.join("tls.crt"), chain).unwrap();
    assert_eq!(call(&two, address).await, Ok(()));
    fs::remove_file(folder.join("tls.key")).unwrap();
    assert_eq!(call(&two, address).await, Ok(()));
    fs::write(folder.join("tls.key"), key).unwrap();
    assert_eq!(call(&two, address).await, Ok(()));
    fs::write(folder.join("ca.crt"), new.pem()).unwrap();
    // From here on the server is of the new CA; the client follows it.
    says(call(&stale, address).await, "its certificate is not signed by the CA in ");
    new.write(&place.folder("two"), &Certificate::default());
    assert_eq!(call(&two, address).await, Ok(()));
    says(call(&stale, address).await, "its certificate is not signed by the CA in ");
}

#[test]
fn files_that_are_of_no_use_are_named_with_what_to_do() {
    let place = Place::new();
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let refused = |change: &dyn Fn(&Path), file: &str, words: &str| {
        let folder = place.folder("files");
        let _ = fs::remove_dir_all(&folder);
        ca.write(&folder, &Certificate::default());
        Transport::tls(&folder).unwrap();
        change(&folder);
        let said = Transport::tls(&folder).unwrap_err().to_string();
        assert!(
            said.contains(&format!("{} ", folder.join(file).display()))
                || said.contains(&format!("{}: ", folder.join(file).display())),
            "{said}"
        );
        assert!(said.contains(words), "{said}");
    };
    let own = |certificate: Certificate| {
        let ca = &ca;
        move |folder: &Path| ca.write(folder, &certificate)
    };
    for file in ["ca.crt", "tls.crt", "tls.key"] {
        let gone = |folder: &Path| fs::remove_file(folder.join(file)).unwrap();
        refused(
            &gone,
            file,
            "No such file or directory (os error 2): the folder must hold ca.crt, ",
        );
        let long = |folder: &Path| fs::write(folder.join(file), vec![b' '; 2 << 20]).unwrap();
        refused(&long, file, "has more than 1048576 bytes");
        let cut = |folder: &Path| {
            let text = fs::read_to_string(folder.join(file)).unwrap();
            fs::write(folder.join(file), &text[..text.len() / 2]).unwrap();
        };
        refused(&cut, file, "cannot be read as PEM: ");
    }
    let empty = |file: &'static str| move |folder: &Path| fs::write(folder.join(file), "").unwrap();
    refused(&empty("ca.crt"), "ca.crt", "holds no certificate: ");
    refused(&empty("tls.crt"), "tls.crt", "holds no certificate: ");
    refused(&empty("tls.key"), "tls.key", "holds no private key: ");
    let other_key = |folder: &Path| {
        fs::write(folder.join("tls.key"), ca.sign(&Certificate::default()).1).unwrap();
    };
    refused(&other_key, "tls.key", "is not the key of the certificate in ");
    let other_ca = |folder: &Path| fs::write(folder.join("ca.crt"), other.pem()).unwrap();
    refused(&other_ca, "tls.crt", "holds a certificate that is not signed by the CA in ");
    let expired = own(Certificate::default().in_years(2001, 2002));
    refused(&expired, "tls.crt", "that has expired, at 2002-12-31T00:00:00Z: renew it");
    let early = own(Certificate::default().in_years(3001, 3002));
    refused(&early, "tls.crt", "that is not valid before 3001-01-01T00:00:00Z: ");
    refused(&own(Certificate::named("localhost")), "tls.crt", "lacks the DNS name millstream-");
    let of_ca = own(Certificate::default().of_ca());
    refused(&of_ca, "tls.crt", "that is that of a CA: let that sign another one, ");
    let no_client = own(Certificate::default().for_servers());
    refused(&no_client, "tls.crt", "extended key usages server auth and client auth");
}
