//! What reqwest's errors mean.

use std::error::Error;
use std::io;

use lightship_link::{Failure, Misconduct, Unreachable};

/// Names an error of reqwest by what lies at its bottom.
pub(super) fn of(error: &reqwest::Error) -> Failure {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if let Some(named) = named(cause) {
            return named;
        }
        next = cause.source();
    }
    if error.is_timeout() {
        Failure::Unreachable(Unreachable::Silent)
    } else if error.is_connect() {
        Failure::Unreachable(Unreachable::Connect)
    } else {
        Failure::Unreachable(Unreachable::Broken)
    }
}

fn named(cause: &(dyn Error + 'static)) -> Option<Failure> {
    if let Some(error) = cause.downcast_ref::<rustls::Error>() {
        return Some(tls(error));
    }
    if let Some(error) = cause.downcast_ref::<io::Error>() {
        // What a custom I/O error holds is not its source.
        let inner = error.get_ref()?;
        return named(inner);
    }
    if let Some(error) = cause.downcast_ref::<hyper::Error>()
        && error.is_parse()
    {
        return Some(Failure::Misbehaved(Misconduct::Garbage));
    }
    // The resolver's error has no public type, but it is the only one of this name.
    if std::format!("{cause:?}").starts_with("ConnectError(\"dns error\"") {
        return Some(Failure::Unreachable(Unreachable::Name));
    }
    None
}

fn tls(error: &rustls::Error) -> Failure {
    use rustls::Error as Tls;
    match error {
        Tls::InvalidCertificate(_)
        | Tls::NoCertificatesPresented
        | Tls::InvalidCertRevocationList(_)
        | Tls::PeerIncompatible(_)
        | Tls::AlertReceived(_) => Failure::Untrusted,
        _ => Failure::Misbehaved(Misconduct::Garbage),
    }
}
