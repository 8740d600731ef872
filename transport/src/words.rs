//! What failures of TLS mean between the processes of a job, in words that say what to do.
//!
//! Asked by [`crate::files`] about a user's own files, by [`crate::connect`], [`crate::accept`] and
//! [`crate::socket`] about a peer.

use std::io;
use std::path::Path;

use jiff::Timestamp;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

use crate::NAME;
use crate::files::Files;

/// Said of a peer that is not started with TLS, by one that is.
pub(crate) const CLEAR: &str =
    "it does not speak TLS: start it with --tls, or this process without";
/// The other way round.
pub(crate) const SECURED: &str =
    "it speaks TLS: start it without --tls, or this process with --tls";

/// What is wrong with a peer, or what it finds wrong with this process.
pub(crate) fn of_peer(error: &io::Error, files: &Files) -> String {
    let Some(error) = of_tls(error) else { return error.to_string() };
    match error {
        Error::InvalidCertificate(_) => {
            format!("its certificate {}", of_certificate(error, &files.ca()))
        }
        Error::NoCertificatesPresented => {
            "it shows no certificate: start it with --tls, and files of the same CA".to_owned()
        }
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => CLEAR.to_owned(),
        Error::AlertReceived(alert) => of_alert(*alert, &files.chain()),
        error => format!("TLS fails: {error}"),
    }
}

/// The error of TLS in one of a socket.
pub(crate) fn of_tls(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn of_alert(alert: AlertDescription, chain: &Path) -> String {
    let chain = chain.display();
    match alert {
        AlertDescription::CertificateExpired => format!(
            "it says that the certificate in {chain} has expired, or is not valid yet: renew it, \
             or set the clocks right"
        ),
        AlertDescription::UnknownCA
        | AlertDescription::DecryptError
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown => format!(
            "it refuses the certificate in {chain} ({alert:?}): give both processes certificates \
             of one CA"
        ),
        alert => format!("it breaks off: {alert:?}"),
    }
}

/// What is wrong with a certificate, behind "a certificate that".
pub(crate) fn of_certificate(error: &Error, ca: &Path) -> String {
    let time = |time: u64| Timestamp::from_second(time as i64).unwrap_or(Timestamp::MAX);
    let Error::InvalidCertificate(error) = error else { return format!("is refused: {error}") };
    match error {
        // Another CA of the same name shows by its signature only.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
            "is not signed by the CA in {}: all processes of a job need certificates of one CA",
            ca.display()
        ),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("has expired, at {}: renew it", time(not_after.as_secs()))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            let from = time(not_before.as_secs());
            format!("is not valid before {from}: set the clocks right, or issue it anew")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("lacks the DNS name {NAME}: issue it with that as a subject alternative name")
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not for both ends of a connection: issue it with the extended key usages server \
             auth and client auth"
                .to_owned()
        }
        CertificateError::Other(error) => of_other(&format!("{:?}", error.0)),
        error => format!("cannot be used: {error}"),
    }
}

/// Of mistakes that have no name of their own in TLS: the two that are easily made.
fn of_other(name: &str) -> String {
    match name {
        "CaUsedAsEndEntity" => {
            "is that of a CA: let that sign another one, for this process".to_owned()
        }
        "UnsupportedCertVersion" => {
            format!("has no extensions: issue it anew, with {NAME} as a subject alternative name")
        }
        name => format!("cannot be used: {name}"),
    }
}
