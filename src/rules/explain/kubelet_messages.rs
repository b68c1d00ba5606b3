//! Parser of the reasons and messages of kubelets and container runtimes about images that they cannot pull or run.

use crate::model::{Digest, PullFailureKind, foreign_text::escaped_to};

/// Maximum length of the message of a failure, in bytes.
pub(crate) const LONGEST_MESSAGE: usize = 240;

/// Reasons of the kubelet for a container whose image cannot be pulled.
pub(crate) const PULL_REASONS: [&str; 7] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "RegistryUnavailable",
    "ImageInspectError",
    "SignatureValidationFailed",
];

/// Phrases of container runtimes by cause, in lower case. The first match counts, so the order matters: containerd ends its
/// message about a missing platform with `not found`, and the response of a registry is more specific than an unreachable mirror.
pub(crate) const KEYWORDS: [(PullFailureKind, &[&str]); 13] = [
    (
        PullFailureKind::ContentInvalid,
        &[
            "unexpected commit digest",
            "manifest verification failed",
            "digest did not match",
            "does not match digest",
            "digest mismatch",
            "checksum mismatch",
            "failed size validation",
            "unexpected media type text/",
            "invalid character '<'",
        ],
    ),
    (PullFailureKind::DiskFull, &["no space left on device", "disk quota exceeded"]),
    (
        PullFailureKind::LayerInvalid,
        &[
            "failed to extract layer",
            "failed to register layer",
            "applying layer",
            "invalid tar header",
            "gzip: invalid header",
            "flate: corrupt input",
            "invalid checksum",
        ],
    ),
    (
        PullFailureKind::PlatformMissing,
        &[
            "no match for platform in manifest",
            "no match for current platform",
            "no matching manifest for",
            "no image found in image index for architecture",
            "no image found in manifest list for architecture",
            "cannot be used on this platform",
            "does not match the specified platform",
        ],
    ),
    (
        PullFailureKind::Refused,
        &[
            "412 precondition failed",
            "status code 412",
            "statuscode: 412",
            "status 412",
            "projectpolicyviolation",
            "due to configured policy",
            "source image rejected",
            "rejected by policy",
            "denied by policy",
            "blocked by policy",
            "a signature was required",
        ],
    ),
    (
        PullFailureKind::RateLimited,
        &["toomanyrequests", "too many requests", "status code 429", "statuscode: 429", "status 429", "rate limit"],
    ),
    (
        PullFailureKind::Unauthorized,
        &[
            "pull access denied",
            "insufficient_scope",
            "authentication required",
            "unauthorized",
            "not authorized",
            "authorization failed",
            "no basic auth credentials",
            "requested access to the resource is denied",
            "no pull access",
            "access denied",
            "403 forbidden",
            "403 (forbidden)",
            "statuscode: 401",
            "statuscode: 403",
            "access forbidden",
            ": denied: ",
            "unable to retrieve auth token",
            "invalid username/password",
        ],
    ),
    (
        PullFailureKind::NotFound,
        &[
            "not found",
            "manifest unknown",
            "name unknown",
            "repository name not known",
            "does not exist",
            "no such image",
            "statuscode: 404",
        ],
    ),
    (PullFailureKind::NameInvalid, &["invalid reference format", "couldn't parse image name", "must be lowercase"]),
    (PullFailureKind::NeverPolicy, &["pull policy of never"]),
    (
        PullFailureKind::RegistryFailing,
        &[
            "internal server error",
            "bad gateway",
            "service unavailable",
            "gateway time",
            "status code 5",
            "statuscode: 5",
            "status 5",
            "stream error",
            "internal_error",
            "received unexpected http status: 5",
        ],
    ),
    (
        PullFailureKind::Untrusted,
        &[
            "x509: ",
            " tls: ",
            "first record does not look like a tls handshake",
            "server gave http response",
            "certificate signed by unknown authority",
            "certificate has expired",
        ],
    ),
    (
        PullFailureKind::Timeout,
        &[
            "timeout",
            "timed out",
            "deadline exceeded",
            "deadlineexceeded",
            "connection refused",
            "connection reset",
            "connection lost",
            "broken pipe",
            "use of closed network connection",
            "no such host",
            "no route to host",
            "host is down",
            "network is unreachable",
            "server misbehaving",
            "temporary failure in name resolution",
            "tls handshake",
            ": eof",
            "unexpected eof",
            "proxyconnect",
            "context canceled",
        ],
    ),
];

/// Phrases in lower case that begin a message about an image, of kubelets, containerd, CRI-O, docker and their clients.
pub(crate) const FRAMES: [&str; 39] = [
    "failed to pull image",
    "back-off pulling image",
    "errimagepull",
    "imagepullbackoff",
    "errimageneverpull",
    "invalidimagename",
    "imageinspecterror",
    "signaturevalidationfailed",
    "registryunavailable",
    "failed to inspect image",
    "failed to apply default image tag",
    "couldn't parse image name",
    "is not present with pull policy of never",
    "pullimage",
    "pulling image",
    "trying to pull",
    "failed to pull and unpack image",
    "failed to resolve reference",
    "failed to resolve image",
    "failed to fetch anonymous token",
    "failed to fetch oauth token",
    "failed to authorize",
    "failed commit on ref",
    "failed to extract layer",
    "failed to register layer",
    "failed to copy: httpreadseeker",
    "get image config descriptor",
    "no match for platform in manifest",
    "no matching manifest for",
    "choosing image instance",
    "no image found in image index",
    "initializing source docker://",
    "pinging container registry",
    "reading manifest",
    "manifest unknown",
    "pull access denied",
    "toomanyrequests",
    "/manifests/",
    "/v2/",
];

/// Phrases in lower case that begin the words of something else: behind them, no word is the registry's.
const OTHER_SPEAKERS: [&str; 6] = [
    "connection is unauthorized",
    "clusterinformation",
    "failed to create pod sandbox",
    "plugin type=",
    "datastore",
    "admission webhook",
];

/// Returns the cause if a container waits or has ended because of its image, from the kubelet's reason and message.
#[must_use]
pub fn classify(reason: &str, message: &str) -> Option<PullFailureKind> {
    if !PULL_REASONS.contains(&reason) {
        return is_exec_format_error(message).then_some(PullFailureKind::ExecFormat);
    }
    let words = message.to_ascii_lowercase();
    // A missing tool on the node is not a response of a registry.
    let words = without_quoted(&words).replace("executable file not found", "");
    let by_words = || KEYWORDS.iter().find(|(_, all)| all.iter().any(|one| words.contains(one))).map(|(kind, _)| *kind);
    let by_reason = match reason {
        "InvalidImageName" => Some(PullFailureKind::NameInvalid),
        "ErrImageNeverPull" => Some(PullFailureKind::NeverPolicy),
        "SignatureValidationFailed" => Some(PullFailureKind::Refused),
        "RegistryUnavailable" => Some(by_words().unwrap_or(PullFailureKind::Timeout)),
        _ => by_words(),
    };
    Some(by_reason.unwrap_or(PullFailureKind::Other))
}

/// Returns the cause if a text quotes a kubelet or a container runtime that cannot pull or start an image: an event, a condition, a line
/// of a log, or the description of a pod. Only words within the message about the image count, because texts quote others, too.
#[must_use]
pub fn classify_quoted(text: &str) -> Option<PullFailureKind> {
    if is_exec_format_error(text) {
        return Some(PullFailureKind::ExecFormat);
    }
    let text = without_outer_quotes(text);
    let words = text.to_ascii_lowercase();
    let unquoted = without_quoted(&words);
    let begins = FRAMES.iter().filter_map(|frame| words.find(frame)).min()?;
    let others = OTHER_SPEAKERS.iter().filter_map(|other| words[begins..].find(other)).min();
    let framed = &text[begins..others.map_or(text.len(), |length| begins + length)];
    let named = |reason: &&&str| unquoted.contains(&reason.to_ascii_lowercase());
    let reason = ["InvalidImageName", "ErrImageNeverPull", "SignatureValidationFailed"];
    match classify("ErrImagePull", framed) {
        Some(PullFailureKind::Other) => classify(reason.iter().find(named).unwrap_or(&"ErrImagePull"), framed),
        kind => kind,
    }
}

/// Removes the quotes around a quoted message, and the backslashes before those within, level by level: logs quote messages that quote
/// names.
pub(crate) fn without_outer_quotes(text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..MOST_LEVELS {
        if !text.contains("\\\"") {
            break;
        }
        let mut inner = String::with_capacity(text.len());
        let mut rest = text.chars();
        while let Some(one) = rest.next() {
            match one {
                '"' => inner.push(' '),
                '\\' => match rest.next() {
                    Some('n' | 't') => inner.push(' '),
                    Some(escaped) => inner.push(escaped),
                    None => {}
                },
                _ => inner.push(one),
            }
        }
        text = inner;
    }
    text
}

/// The most levels of quotes that are removed; a kubelet's log has three.
const MOST_LEVELS: usize = 5;

/// Whether a runtime reports an image of another platform than the node. CRI-O writes it with a capital.
fn is_exec_format_error(text: &str) -> bool {
    text.to_ascii_lowercase().contains("exec format error")
}

/// Whether a kubelet reports the cause. Before 1.32 it alternates between an ErrImagePull that does and an ImagePullBackOff that
/// does not.
#[must_use]
pub fn reports_cause(reason: &str, message: &str) -> bool {
    reason != "ImagePullBackOff"
        || !without_quoted(message).trim_end().ends_with("Back-off pulling image") && !message.is_empty()
}

/// Removes quoted parts. They hold names of images and addresses, which may contain any phrase.
pub(crate) fn without_quoted(text: &str) -> String {
    let parts: Vec<&str> = text.split('"').collect();
    if parts.len().is_multiple_of(2) {
        return text.to_owned();
    }
    parts.into_iter().step_by(2).collect()
}

/// Returns the digest of a running image. Only a repository digest is one that a registry serves. A bare `sha256:…` or an id is
/// the runtime's own (preloaded images, CRI-O) and proves nothing.
#[must_use]
pub fn repository_digest(image_id: &str) -> Option<Digest> {
    let (repository, digest) = image_id.rsplit_once('@')?;
    digest.parse().ok().filter(|_| !repository.is_empty())
}

/// Normalizes a message of a runtime, so that it is the same for every pod, node and attempt as far as possible. Prefixes before
/// the registry's response, ports and container ids are removed; the rest is escaped and cut.
#[must_use]
pub fn normalize(message: &str) -> String {
    let mut rest = message.trim();
    loop {
        let shorter = BEFORE_THE_RESPONSE.iter().find_map(|(start, end)| rest.strip_prefix(start)?.split_once(end));
        match shorter {
            Some((_, response)) if !response.is_empty() => rest = response.trim_start(),
            _ => break,
        }
    }
    let words: Vec<String> = rest.split_whitespace().map(same_for_all).collect();
    escaped_to(&words.join(" "), LONGEST_MESSAGE)
}

/// Prefixes before the registry's response, each by its start and its end.
pub(crate) const BEFORE_THE_RESPONSE: [(&str, &str); 5] = [
    ("Back-off pulling image \"", "\": "),
    ("ErrImagePull", ": "),
    ("rpc error: code = ", " desc = "),
    ("failed to pull and unpack image \"", "\": "),
    ("failed to resolve reference \"", "\": "),
];

/// Normalizes a word: removes the local end of a connection, shortens digests and removes other long numbers.
pub(crate) fn same_for_all(word: &str) -> String {
    let word = word.rsplit_once("->").map_or(word, |(_, far)| far);
    let mut same = String::new();
    let mut rest = word;
    while let Some(start) = rest.find(|one: char| one.is_ascii_hexdigit()) {
        let (before, from) = rest.split_at(start);
        let length = from.find(|one: char| !one.is_ascii_hexdigit()).unwrap_or(from.len());
        let (number, after) = from.split_at(length);
        same.push_str(before);
        match number.len() {
            32.. if same.ends_with("sha256:") => same.push_str(&number[..12]),
            32.. => same.push_str("..."),
            _ => same.push_str(number),
        }
        rest = after;
    }
    same + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages as pods show them, from containerd, CRI-O (containers/image) and docker (cri-dockerd).
    const MESSAGES: &[(PullFailureKind, &str)] = &[
        (
            PullFailureKind::NotFound,
            r#"rpc error: code = NotFound desc = failed to pull and unpack image "registry.example/calico/node@sha256:e684c5ccef0e2de6e758e01576ae3eb2add65aa7b63e916c5e475c09c4db3c94": failed to resolve reference "registry.example/calico/node@sha256:e684c5ccef0e2de6e758e01576ae3eb2add65aa7b63e916c5e475c09c4db3c94": registry.example/calico/node@sha256:e684c5ccef0e2de6e758e01576ae3eb2add65aa7b63e916c5e475c09c4db3c94: not found"#,
        ),
        (
            PullFailureKind::NotFound,
            r#"failed to pull and unpack image "quay.io/calico/node@sha256:01": failed to copy: httpReadSeeker: failed open: content at https://quay.io/v2/calico/node/manifests/sha256:01 not found: not found"#,
        ),
        (
            PullFailureKind::NotFound,
            "rpc error: code = Unknown desc = Error reading manifest latest in registry.mydomain/image: manifest unknown: manifest unknown",
        ),
        (PullFailureKind::NotFound, "reading manifest sha256:01 in quay.io/calico/node: manifest unknown"),
        (
            PullFailureKind::NotFound,
            "(Mirrors also failed: [mirror.example/calico/node@sha256:01: pinging container registry mirror.example: Get \"https://mirror.example/v2/\": dial tcp 10.0.0.9:443: i/o timeout]): quay.io/calico/node@sha256:01: reading manifest sha256:01 in quay.io/calico/node: manifest unknown",
        ),
        (
            PullFailureKind::NotFound,
            "rpc error: code = Unknown desc = Error response from daemon: manifest for registry.example/calico/node@sha256:01 not found: manifest unknown: manifest unknown",
        ),
        (
            PullFailureKind::Unauthorized,
            r#"rpc error: code = Unknown desc = failed to pull and unpack image "docker.io/library/thisisfine:v1": failed to resolve reference "docker.io/library/thisisfine:v1": pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed"#,
        ),
        (
            PullFailureKind::Unauthorized,
            r#"failed to pull and unpack image "registry.example/a@sha256:01": failed to resolve reference "registry.example/a@sha256:01": failed to authorize: failed to fetch anonymous token: unexpected status from GET request to https://registry.example/token?scope=repository%3Aa%3Apull&service=registry.example: 401 Unauthorized"#,
        ),
        (
            PullFailureKind::Unauthorized,
            r#"failed to pull and unpack image "registry.example/a@sha256:01": failed to resolve reference "registry.example/a@sha256:01": unexpected status from HEAD request to https://registry.example/v2/a/manifests/sha256:01: 403 Forbidden"#,
        ),
        (
            PullFailureKind::Unauthorized,
            "rpc error: code = Unknown desc = Error reading manifest latest in docker.io/crio/busybox: errors:\ndenied: requested access to the resource is denied\nunauthorized: authentication required\n",
        ),
        (
            PullFailureKind::Unauthorized,
            "rpc error: code = Unknown desc = Error response from daemon: pull access denied for rmeuser-auth, repository does not exist or may require 'docker login'",
        ),
        (
            PullFailureKind::Unauthorized,
            "rpc error: code = Unknown desc = Error response from daemon: Head \"https://registry.example/v2/a/manifests/v1\": no basic auth credentials",
        ),
        (
            PullFailureKind::PlatformMissing,
            r#"rpc error: code = NotFound desc = failed to pull and unpack image "ghcr.io/kubewarden/kubewarden-controller:latest": no match for platform in manifest: not found"#,
        ),
        (
            PullFailureKind::PlatformMissing,
            "no match for current platform linux/arm/v7 in manifest sha256:32efb15cbb8a46f4b564857e534fd4c26a4a15813885f91b1a95b5758fea3fd5: not found",
        ),
        (
            PullFailureKind::PlatformMissing,
            r#"rpc error: code = Unknown desc = choosing image instance: no image found in image index for architecture "arm64", variant "v8", OS "linux""#,
        ),
        (
            PullFailureKind::PlatformMissing,
            "rpc error: code = Unknown desc = no matching manifest for linux/amd64 in the manifest list entries",
        ),
        (
            PullFailureKind::RateLimited,
            r#"rpc error: code = Unknown desc = failed to pull and unpack image "docker.io/library/busybox:latest": failed to copy: httpReadSeeker: failed open: unexpected status code https://registry-1.docker.io/v2/library/busybox/manifests/sha256:50aa4698fa6262977cff89181b2664b99d8a56dbca847bf62f2ef04854597cf8: 429 Too Many Requests - Server message: toomanyrequests: You have reached your pull rate limit. You may increase the limit by authenticating and upgrading: https://www.docker.com/increase-rate-limit"#,
        ),
        (
            PullFailureKind::RateLimited,
            "rpc error: code = Unknown desc = Error response from daemon: toomanyrequests: You have reached your pull rate limit. You may increase the limit by authenticating and upgrading: https://www.docker.com/increase-rate-limit",
        ),
        (
            PullFailureKind::Timeout,
            r#"failed to pull and unpack image "quay.io/a@sha256:01": failed to resolve reference "quay.io/a@sha256:01": failed to do request: Head "https://quay.io/v2/a/manifests/sha256:01": dial tcp 3.211.1.2:443: i/o timeout"#,
        ),
        (
            PullFailureKind::Timeout,
            r#"failed to pull and unpack image "quay.io/a@sha256:01": failed to resolve reference "quay.io/a@sha256:01": failed to do request: Head "https://quay.io/v2/a/manifests/sha256:01": dial tcp: lookup quay.io on 10.96.0.10:53: no such host"#,
        ),
        (
            PullFailureKind::Untrusted,
            r#"failed to resolve reference "not found/unauthorized:1": failed to do request: Head "https://r.example/v2/unauthorized/manifests/1": tls: failed to verify certificate: x509: certificate signed by unknown authority"#,
        ),
        (
            PullFailureKind::Timeout,
            r#"pinging container registry r.example: Get "https://r.example/v2/": dial tcp 10.0.0.9:443: connect: connection refused"#,
        ),
        (
            PullFailureKind::Timeout,
            "rpc error: code = Unknown desc = Error response from daemon: Get \"https://r.example/v2/\": net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)",
        ),
        (PullFailureKind::Timeout, "rpc error: code = DeadlineExceeded desc = context deadline exceeded"),
        (PullFailureKind::Timeout, "failed to pull and unpack image: failed to copy: httpReadSeeker: context canceled"),
        (PullFailureKind::NotFound, "reading manifest v3 in r.example/calico/node: StatusCode: 404, <html>"),
        (PullFailureKind::Unauthorized, "reading manifest v3 in r.example/calico/node: StatusCode: 403, <html>"),
        (PullFailureKind::RateLimited, "reading manifest v3 in r.example/calico/node: StatusCode: 429, <html>"),
        (
            PullFailureKind::DiskFull,
            r#"failed to extract layer sha256:01: mount callback failed: write /var/lib/x: no space left on device: unknown"#,
        ),
        (PullFailureKind::Other, "pull QPS exceeded"),
        (
            PullFailureKind::Other,
            "error getting credentials - err: exec: \"docker-credential-x\": executable file not found in $PATH",
        ),
    ];

    #[test]
    fn the_messages_of_every_runtime_are_classified() {
        for (kind, message) in MESSAGES {
            assert_eq!(classify("ErrImagePull", message), Some(*kind), "{message}");
            let passed_on = format!("Back-off pulling image \"quay.io/a@sha256:01\": ErrImagePull: {message}");
            assert_eq!(classify("ImagePullBackOff", &passed_on), Some(*kind), "{passed_on}");
            assert!(reports_cause("ImagePullBackOff", &passed_on));
            assert_eq!(normalize(&passed_on), normalize(message));
        }
        let silent = "Back-off pulling image \"quay.io/calico/node@sha256:01\"";
        assert_eq!(classify("ImagePullBackOff", silent), Some(PullFailureKind::Other));
        assert!(!reports_cause("ImagePullBackOff", silent));
        assert_eq!(classify("RegistryUnavailable", "Failed to check registry"), Some(PullFailureKind::Timeout));
        let never = "Container image \"a\" is not present with pull policy of Never";
        assert_eq!(classify("ErrImageNeverPull", never), Some(PullFailureKind::NeverPolicy));
    }

    #[test]
    fn an_image_of_another_platform_is_distinguished_from_a_failing_container() {
        for (reason, message) in [
            (
                "StartError",
                r#"failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: exec: "/usr/bin/start_runit": exec format error: unknown"#,
            ),
            (
                "RunContainerError",
                r#"failed to start container "0123": Error response from daemon: exec: "/x": exec format error"#,
            ),
            ("Error", "exec /usr/bin/start_runit: exec format error\n"),
            ("CreateContainerError", "container create failed: exec container process `/x`: Exec format error"),
        ] {
            assert_eq!(classify(reason, message), Some(PullFailureKind::ExecFormat), "{message}");
        }
        assert_eq!(classify("CrashLoopBackOff", "back-off 5m0s restarting failed container=calico-node"), None);
        assert_eq!(classify("Error", "the datastore was not found"), None);
        assert_eq!(classify("ContainerCreating", ""), None);
        let quoted = "exec container process `/x`: Exec format error";
        assert_eq!(classify_quoted(quoted), Some(PullFailureKind::ExecFormat));
        assert_eq!(classify_quoted("the datastore was not found"), None);
    }

    #[test]
    fn a_normalized_message_is_the_same_for_every_pod_and_bounded() {
        let first = MESSAGES[0].1;
        assert_eq!(normalize(first), "registry.example/calico/node@sha256:e684c5ccef0e: not found");
        let near = |port: u16, id: &str| {
            let id = id.repeat(16);
            format!("failed to start \"{id}\": read udp 10.244.0.9:{port}->10.96.0.10:53: i/o timeout")
        };
        assert_eq!(normalize(&near(41_000, "0a1b")), "failed to start \"...\": read udp 10.96.0.10:53: i/o timeout");
        assert_eq!(normalize(&near(41_000, "0a1b")), normalize(&near(52_123, "ffff")));
        assert_eq!(normalize("a\u{1b}[31m\nb"), "a\\u{1b}[31m b");
        assert_eq!(normalize(&"long ".repeat(1000)).len(), LONGEST_MESSAGE);
        assert_eq!(normalize(""), "");
    }
}
