//! Explains a failed exchange: no connection, no trust, a proxy, a rejected address.

use std::error::Error;
use std::io;
use std::iter::successors;

use rustls::CertificateError;

use crate::model::RegistryFailureKind;
use crate::registry::error::RegistryError;

/// Returns the error of an exchange, by the innermost cause that explains it.
pub(crate) fn explain(error: &(dyn Error + 'static)) -> RegistryError {
    let (mut last, mut is_plain) = (error.to_string(), false);
    for cause in causes(error) {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return RegistryError::quoting(RegistryFailureKind::Tls, tls_message(tls), &tls.to_string());
        }
        // Of a proxy or the resolver.
        if let Some(error) = cause.downcast_ref::<RegistryError>() {
            return error.clone();
        }
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>()
            && hyper.is_parse()
        {
            return RegistryError::invalid(format!("no HTTP: {hyper}"));
        }
        last = cause.to_string();
        // The text is the system's or hyper's; an HTTP/2 error may contain the peer's.
        is_plain = cause.is::<io::Error>() || cause.is::<hyper::Error>();
    }
    let unquoted = if is_plain { last.clone() } else { "the connection failed".to_owned() };
    RegistryError::quoting(RegistryFailureKind::Unreachable, unquoted, &last)
}

/// Returns why a connection is not trusted, without names and times of a certificate that the peer wrote.
fn tls_message(error: &rustls::Error) -> String {
    let problem = match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet",
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "it is not valid for the registry's name"
            }
            CertificateError::UnknownIssuer => "UnknownIssuer",
            CertificateError::Revoked => "it is revoked",
            _ => "it cannot be used",
        },
        rustls::Error::AlertReceived(_) => return "the TLS handshake was refused".to_owned(),
        _ => return "the TLS handshake failed".to_owned(),
    };
    format!("invalid peer certificate: {problem}")
}

/// Returns an error and its causes, the innermost last.
pub(crate) fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |error| cause_of(*error))
}

/// `io::Error::source` would skip the error that it wraps.
fn cause_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>() {
        Some(error) => error.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    }
}
