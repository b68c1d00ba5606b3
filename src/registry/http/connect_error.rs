//! Explains a failed exchange: no connection, no trust, a proxy, a rejected address.

use std::error::Error;
use std::io;
use std::iter::successors;

use rustls::{AlertDescription, CertificateError, InvalidMessage};

use super::tls::is_of_authority;
use crate::model::{FailureCause, RegistryFailureKind};
use crate::registry::error::RegistryError;

/// Returns the error of an exchange, by the innermost cause that explains it.
pub(crate) fn explain(error: &(dyn Error + 'static)) -> RegistryError {
    let (mut last, mut is_plain) = (error.to_string(), false);
    for cause in causes(error) {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            let (unquoted, cause) = explain_tls(tls);
            let error = RegistryError::quoting(RegistryFailureKind::Tls, unquoted, &tls.to_string());
            return RegistryError { cause, ..error };
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

/// Returns why there is no TLS connection, without names and times of a certificate that the peer wrote, and the cause that a person can
/// end.
fn explain_tls(error: &rustls::Error) -> (String, Option<FailureCause>) {
    use AlertDescription as Alert;
    match error {
        rustls::Error::InvalidCertificate(certificate) => {
            let (problem, cause) = explain_certificate(certificate);
            (format!("invalid peer certificate: {problem}"), cause)
        }
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            ("no TLS".to_owned(), Some(FailureCause::PlainHttp))
        }
        rustls::Error::AlertReceived(
            Alert::HandshakeFailure | Alert::ProtocolVersion | Alert::InsufficientSecurity,
        )
        | rustls::Error::PeerIncompatible(_) => {
            ("the TLS handshake failed".to_owned(), Some(FailureCause::NothingInCommon))
        }
        rustls::Error::AlertReceived(
            Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied,
        ) => ("the TLS handshake was refused".to_owned(), Some(FailureCause::ClientCertificateRequired)),
        rustls::Error::AlertReceived(_) => ("the TLS handshake was refused".to_owned(), None),
        _ => ("the TLS handshake failed".to_owned(), None),
    }
}

/// ECDSA with SHA-512 (RFC 5758), which keys of P-521 sign with: the value of its object identifier.
const ECDSA_WITH_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04];
/// RSA and ECDSA with SHA-1 (RFC 8017, RFC 3279).
const WITH_SHA1: [&[u8]; 2] =
    [&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05], &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01]];

fn explain_certificate(error: &CertificateError) -> (&'static str, Option<FailureCause>) {
    let signed_by = |algorithm: &[u8]| {
        let has = |oid: &[u8]| algorithm.windows(oid.len()).any(|part| part == oid);
        if has(ECDSA_WITH_SHA512) {
            FailureCause::CertificateWithP521
        } else if WITH_SHA1.iter().any(|oid| has(oid)) {
            FailureCause::CertificateWithSha1
        } else {
            FailureCause::CertificateAlgorithm
        }
    };
    let (problem, cause) = match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("it has expired", FailureCause::CertificateExpired)
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ("it is not valid yet", FailureCause::CertificateNotValidYet)
        }
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            ("it has no name", FailureCause::CertificateWithoutName)
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            ("it is not valid for the registry's name", FailureCause::CertificateOfOtherName)
        }
        CertificateError::UnknownIssuer => ("UnknownIssuer", FailureCause::CertificateOfUnknownAuthority),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            ("it is not for servers", FailureCause::CertificateOfOtherPurpose)
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { signature_algorithm_id, .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { signature_algorithm_id, .. } => {
            ("its algorithm is not supported", signed_by(signature_algorithm_id))
        }
        other if is_of_authority(other) => ("it is that of an authority", FailureCause::CertificateOfAuthority),
        CertificateError::Revoked => return ("it is revoked", None),
        _ => return ("it cannot be used", None),
    };
    (problem, Some(cause))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_algorithm_of_a_certificate_is_named() {
        // AlgorithmIdentifier (RFC 5280) of ECDSA with SHA-512, RSA with SHA-1, and Ed448.
        let p521 = [&[0x30, 0x0a, 0x06, 0x08], ECDSA_WITH_SHA512].concat();
        let sha1 = [&[0x30, 0x0d, 0x06, 0x09], WITH_SHA1[0], &[0x05, 0x00]].concat();
        let ed448 = vec![0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x71];
        for (algorithm, cause) in [
            (p521, FailureCause::CertificateWithP521),
            (sha1, FailureCause::CertificateWithSha1),
            (ed448, FailureCause::CertificateAlgorithm),
        ] {
            let error = CertificateError::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: algorithm,
                supported_algorithms: Vec::new(),
            };
            assert_eq!(explain_certificate(&error).1, Some(cause));
        }
    }
}
