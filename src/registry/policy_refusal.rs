//! Refusals by a registry's own policy: a vulnerability, a missing signature, a quarantine, a quota. The image exists, and nodes are
//! refused as well. Pure.

use http::StatusCode;

/// Error codes of policies: Harbor's, and those of registries with quotas.
const CODES: [&str; 2] = ["PROJECTPOLICYVIOLATION", "QUOTA_EXCEEDED"];
/// What registries write into a 403 that no right would change: Xray and Curation of Artifactory, the firewall of Nexus, quotas of
/// Quay and Google. Compared in lower case.
const PHRASES: [&str; 10] = [
    "blocking policy",
    "curation policy",
    "policy violation",
    "xray",
    "quarantine",
    "vulnerab",
    "quota",
    "is not signed",
    "requires billing",
    "billing account",
];
/// What registries write where the account lacks a right, such as ECR about its repository policies.
const RIGHTS: [&str; 3] = ["not authorized", "permission", "iam "];
/// Maximum length of the words that are kept, in bytes.
const MAX_WORDS: usize = 300;
/// Words of such messages, in lower case. A message made of these alone can hold no credential.
const WORDS: &str = "a access action added adding administrator an and any approved are artifact artifacts as at be been before \
    billing blocked blocking by can cannot category configured configuring contact content continue cosign critical curation \
    current cve due download downloaded enabled exceed exceeded exempt exists expired failed firewall for found from has have help \
    high higher image images in infected integrity is it item items limit license list low malicious malware matched medium \
    negligible no not notary notation of on operational or organization package platform please policies policy prevent project \
    pull pulled pulling quarantine quarantined quota registry rejected repository request requested requires retry risk running \
    scan scanned scanning security see severity signature signed since size storage tag that the this through to trust unknown \
    unscanned unsigned upper usage violates violation violations vulnerabilities vulnerability vulnerable was which while will with \
    without xray your allowlist whitelist";

/// Whether a response refuses an image by a policy. `text` is what its body says.
pub(crate) fn is_one(status: StatusCode, code: Option<&str>, text: &str) -> bool {
    match status {
        StatusCode::PAYMENT_REQUIRED
        | StatusCode::PRECONDITION_FAILED
        | StatusCode::LOCKED
        | StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS => true,
        status if status.is_client_error() && code.is_some_and(|code| CODES.contains(&code)) => true,
        StatusCode::FORBIDDEN => {
            let text = text.to_lowercase();
            let names = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
            names(&PHRASES) && !names(&RIGHTS)
        }
        _ => false,
    }
}

/// Whether a word is one of those that messages are made of, or the mark of those that are left out.
pub(crate) fn is_known_word(word: &str) -> bool {
    word == "…" || WORDS.split_whitespace().any(|known| known.eq_ignore_ascii_case(word))
}

/// Returns what a refusal says as far as it is made of known words; each run of others is left out. `None` if nothing is left.
pub(crate) fn known_words(text: &str) -> Option<String> {
    let mut kept = String::new();
    let (mut count, mut is_gap) = (0, false);
    for part in text.split_whitespace() {
        let word = part.trim_matches(|character: char| !character.is_ascii_alphanumeric());
        if word.is_empty() || !is_known_word(word) {
            is_gap = true;
            continue;
        }
        if kept.len() + word.len() > MAX_WORDS {
            break;
        }
        if is_gap && count > 0 {
            kept.push_str(" …");
        }
        if count > 0 {
            kept.push(' ');
        }
        kept.push_str(&word.to_ascii_lowercase());
        (count, is_gap) = (count + 1, false);
    }
    // A single word says nothing.
    (count > 2).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_by_policy_are_told_from_missing_rights() {
        let refuses =
            |status: u16, code: Option<&str>, text: &str| is_one(StatusCode::from_u16(status).unwrap(), code, text);
        assert!(refuses(412, Some("PROJECTPOLICYVIOLATION"), ""));
        assert!(refuses(403, Some("PROJECTPOLICYVIOLATION"), ""));
        assert!(refuses(402, None, "") && refuses(451, None, ""));
        assert!(refuses(
            403,
            None,
            " Artifact download request rejected due to the download blocking policy configured in Xray"
        ));
        assert!(refuses(403, None, " REQUESTED ITEM IS QUARANTINED"));
        assert!(refuses(403, Some("DENIED"), " DENIED Quota exceeded"));
        assert!(!refuses(403, Some("DENIED"), " DENIED requested access to the resource is denied"));
        let ecr = " DENIED User: arn:aws:iam::1:user/x is not authorized to perform: ecr:BatchGetImage because no \
                   resource-based policy allows it (quota)";
        assert!(!refuses(403, Some("DENIED"), ecr));
        assert!(!refuses(404, None, " policy violation") && !refuses(429, None, " quota"));
    }

    #[test]
    fn only_known_words_of_a_refusal_are_kept() {
        let harbor = "PROJECTPOLICYVIOLATION current image with \"High\" vulnerability cannot be pulled due to configured policy in \
                      'Prevent images with vulnerability severity of \"Medium\" or higher from running.' hunter2";
        assert_eq!(
            known_words(harbor).unwrap(),
            "current image with high vulnerability cannot be pulled due to configured policy in prevent images with \
             vulnerability severity of medium or higher from running"
        );
        assert_eq!(known_words("hunter2 aHVudGVyMg=="), None);
        assert_eq!(known_words("the robot hunter2 is not signed").unwrap(), "the … is not signed");
    }
}
