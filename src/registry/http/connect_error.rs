//! Explains a failed exchange: no connection, no trust, a proxy, a rejected address.

use std::error::Error;
use std::io;

use rustls::CertificateError;

use super::error_chain::causes;
use super::proxy::ProxyFailed;
use super::resolver::AddressRejected;
use crate::model::registry_failure::RegistryFailureKind;
use crate::registry::error::RegistryError;

/// Returns the error of an exchange, by the innermost cause that explains it.
pub(crate) fn explain(error: &(dyn Error + 'static)) -> RegistryError {
    let (mut last, mut is_plain) = (error.to_string(), false);
    for cause in causes(error) {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return RegistryError::quoting(RegistryFailureKind::Tls, tls_message(tls), &tls.to_string());
        }
        if let Some(failed) = cause.downcast_ref::<ProxyFailed>() {
            return failed.clone().into();
        }
        if let Some(AddressRejected(name)) = cause.downcast_ref::<AddressRejected>() {
            let further = "whose addresses are further inside than the registry's";
            let (unquoted, text) = (format!("sent to a host {further}"), format!("sent to {name}, {further}"));
            return RegistryError::rejected_target(unquoted, &text);
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
