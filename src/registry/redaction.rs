//! Takes secrets out of texts that come from outside. Pure.

use zeroize::Zeroizing;

use super::credentials::Secret;

/// Takes a secret out of a text: as it is, form-encoded, and as `Debug` quotes it (our messages quote headers so). Letter case
/// does not count, for media types and hosts are folded before they are quoted.
pub(super) fn without_secret(mut text: String, secret: &Secret) -> String {
    let encoded: Zeroizing<String> =
        Zeroizing::new(url::form_urlencoded::byte_serialize(secret.expose().as_bytes()).collect());
    let quoted = Zeroizing::new(format!("{:?}", secret.expose()));
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default();
    for form in [secret.expose(), encoded.as_str(), inner] {
        let form = Zeroizing::new(form.to_ascii_lowercase());
        if form.is_empty() {
            continue;
        }
        let mut kept = String::new();
        let mut from = 0;
        // Folding ASCII letters moves no byte, so positions are the same in both.
        let folded = text.to_ascii_lowercase();
        for (at, found) in folded.match_indices(form.as_str()) {
            kept.push_str(&text[from..at]);
            kept.push_str("[redacted]");
            from = at + found.len();
        }
        kept.push_str(&text[from..]);
        text = kept;
    }
    text
}
