//! [`Authority`]: a CA of a test, and the files of certificates that it signs.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// A CA: two of the same name are two all the same.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate to be signed: by default for `millstream-worker`, valid, and for both ends.
#[derive(Clone)]
pub struct Certificate {
    params: CertificateParams,
}

impl Authority {
    /// A new one.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        Self { issuer: CertifiedIssuer::self_signed(params, key).unwrap() }
    }

    /// Its own certificate, as PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Signs a certificate; returns it and its key, as PEM.
    pub fn sign(&self, certificate: &Certificate) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let signed = certificate.params.signed_by(&key, &self.issuer).unwrap();
        (signed.pem(), key.serialize_pem())
    }

    /// Writes `ca.crt`, `tls.crt` and `tls.key` into a folder, each at once.
    pub fn write(&self, folder: &Path, certificate: &Certificate) {
        let (chain, key) = self.sign(certificate);
        fs::create_dir_all(folder).unwrap();
        for (name, text) in [("ca.crt", self.pem()), ("tls.crt", chain), ("tls.key", key)] {
            let beside = folder.join(format!(".{name}"));
            fs::write(&beside, text).unwrap();
            fs::rename(&beside, folder.join(name)).unwrap();
        }
    }
}

impl Default for Certificate {
    fn default() -> Self {
        Self::named("millstream-worker")
    }
}

impl Certificate {
    /// One that lacks nothing, for this DNS name.
    pub fn named(name: &str) -> Self {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        Self { params }
    }

    /// Valid in these years only.
    #[must_use]
    pub fn in_years(mut self, first: i32, last: i32) -> Self {
        self.params.not_before = date_time_ymd(first, 1, 1);
        self.params.not_after = date_time_ymd(last, 12, 31);
        self
    }

    /// That of another CA, which this one vouches for.
    #[must_use]
    pub fn of_ca(mut self) -> Self {
        self.params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self
    }

    /// Not for clients.
    #[must_use]
    pub fn for_servers(mut self) -> Self {
        self.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self
    }
}
