//! Certificates: good, and bad in every way that matters.

use std::borrow::ToOwned;
use std::string::String;
use std::vec;
use std::vec::Vec;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

/// An authority of the tests' own.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What a server shows.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its certificate.
    pub certificate: Form,
    /// Its key, PKCS #8.
    pub key: Form,
}

/// The same in two forms.
#[derive(Clone, Debug)]
pub struct Form {
    /// As bytes.
    pub der: Vec<u8>,
    /// As text.
    pub pem: String,
}

impl Authority {
    /// One that nobody knows yet.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no name is a wrong one");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, key());
        Self(issuer.expect("a key signs itself"))
    }

    /// Its certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for this name that ends with this year.
    pub fn issue(&self, name: &str, until: i32) -> Identity {
        let key = key();
        let certificate = params(name, until).signed_by(&key, &self.0);
        identity(&certificate.expect("the authority signs"), &key)
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Identity {
    /// A certificate that nobody but itself has signed.
    pub fn self_signed(name: &str) -> Self {
        let key = key();
        let certificate = params(name, 2100).self_signed(&key);
        identity(&certificate.expect("a key signs itself"), &key)
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("there is randomness")
}

fn params(name: &str, until: i32) -> CertificateParams {
    let params = CertificateParams::new(vec![name.to_owned()]);
    let mut params = params.expect("a name of a test is a good one");
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params
}

fn identity(certificate: &rcgen::Certificate, key: &KeyPair) -> Identity {
    Identity {
        certificate: Form {
            der: certificate.der().to_vec(),
            pem: certificate.pem(),
        },
        key: Form {
            der: key.serialize_der(),
            pem: key.serialize_pem(),
        },
    }
}
