//! The authentication scheme that a registry requires, from `WWW-Authenticate` (RFC 9110, section 11.6.1). Pure and bounded: any
//! bytes yield a list of schemes, possibly empty, and never a panic.

use http::{HeaderMap, HeaderValue, header};

/// Maximum length of a header value that is read, in bytes; real ones have about 200.
const MAX_HEADER: usize = 8 * 1024;
/// Maximum number of schemes, and of parameters of one scheme.
const MAX_ITEMS: usize = 16;

/// A way to authenticate that the registry accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AuthScheme {
    /// User and password with every request (RFC 7617).
    Basic,
    /// A token from a token service (Docker's token authentication specification).
    Bearer(BearerChallenge),
}

/// Where to fetch a token, and for what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct BearerChallenge {
    /// Address of the token service.
    pub realm: String,
    /// Name of the registry at the token service.
    pub service: Option<String>,
    /// The access that the rejected request needs, such as `repository:calico/node:pull`. Applies to no other request.
    pub scope: Option<String>,
    /// How the registry names its repositories at the token service, as far as one challenge showed.
    pub naming: ScopeNaming,
}

/// How names in scopes differ from names in addresses: Artifactory serves `docker-remote/calico/node` under the scope of
/// `calico/node`, or the other way round.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum ScopeNaming {
    /// They are the same.
    #[default]
    Same,
    /// Scopes lack this beginning.
    Without(String),
    /// Scopes have this before the name.
    With(String),
    /// No rule explains them: only the challenge of a repository tells its own.
    Unexplained,
}

impl ScopeNaming {
    /// Returns the naming by which `repository` is `named`.
    fn between(repository: &str, named: &str) -> Self {
        let ends_at_slash = |prefix: &&str| prefix.ends_with('/');
        if let Some(prefix) = repository.strip_suffix(named).filter(ends_at_slash) {
            Self::Without(prefix.to_owned())
        } else if let Some(prefix) = named.strip_suffix(repository).filter(ends_at_slash) {
            Self::With(prefix.to_owned())
        } else if repository == named {
            Self::Same
        } else {
            Self::Unexplained
        }
    }

    /// Returns a repository's name in scopes.
    fn name(&self, repository: &str) -> String {
        match self {
            Self::Same | Self::Unexplained => repository.to_owned(),
            Self::Without(prefix) => repository.strip_prefix(prefix.as_str()).unwrap_or(repository).to_owned(),
            Self::With(prefix) => format!("{prefix}{repository}"),
        }
    }
}

impl AuthScheme {
    /// Returns the scheme to use of those that a response offers: a token if there is a token service, else user and password.
    pub(crate) fn of_response(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(header::WWW_AUTHENTICATE);
        let mut schemes = parse(values.iter().map(HeaderValue::as_bytes));
        let bearer = schemes.iter().position(|scheme| matches!(scheme, Self::Bearer(_)));
        (!schemes.is_empty()).then(|| schemes.swap_remove(bearer.unwrap_or_default()))
    }

    /// Whether both schemes would get the same authorization for this repository.
    pub(crate) fn is_same_for(&self, other: &Self, repository: &str) -> bool {
        let is_usual = match self {
            Self::Basic => true,
            Self::Bearer(challenge) => scope(Some(challenge), repository) == scope(None, repository),
        };
        is_usual && self.without_scope() == other.without_scope()
    }

    /// Returns the scheme without the part that applies to one repository only.
    pub(crate) fn without_scope(&self) -> Self {
        match self {
            Self::Basic => Self::Basic,
            Self::Bearer(challenge) => Self::Bearer(BearerChallenge { scope: None, ..challenge.clone() }),
        }
    }

    /// Whether a repository may need a challenge of its own.
    pub(crate) fn has_unexplained_names(&self) -> bool {
        matches!(self, Self::Bearer(BearerChallenge { naming: ScopeNaming::Unexplained, .. }))
    }

    /// Returns the scheme with the naming that its challenge shows for this repository.
    pub(crate) fn named_for(self, repository: &str) -> Self {
        let Self::Bearer(challenge) = self else { return self };
        let naming = named(&challenge).map_or(ScopeNaming::Same, |named| ScopeNaming::between(repository, named));
        Self::Bearer(BearerChallenge { naming, ..challenge })
    }
}

/// Returns the scope to request: that of the challenge reduced to pulling, if it names a repository (some registries rewrite
/// names), else ours.
pub(crate) fn scope(challenge: Option<&BearerChallenge>, repository: &str) -> String {
    match challenge.and_then(named) {
        Some(named) => format!("repository:{named}:pull"),
        None => format!("repository:{}:pull", challenge.map_or(&ScopeNaming::Same, |one| &one.naming).name(repository)),
    }
}

/// Returns the scope to request for a repository other than the one of the challenge.
pub(crate) fn scope_of_other(challenge: &BearerChallenge, repository: &str) -> String {
    format!("repository:{}:pull", challenge.naming.name(repository))
}

/// Returns the repository that a challenge's scope names.
fn named(challenge: &BearerChallenge) -> Option<&str> {
    let (name, _) = challenge.scope.as_deref()?.strip_prefix("repository:")?.rsplit_once(':')?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:".contains(&byte);
    (!name.is_empty() && name.len() <= 256 && name.bytes().all(plain)).then_some(name)
}

/// Parses all `WWW-Authenticate` values of a response, in order. Schemes that are not supported are left out.
pub(crate) fn parse<'a>(headers: impl IntoIterator<Item = &'a [u8]>) -> Vec<AuthScheme> {
    let mut schemes = Vec::new();
    for header in headers.into_iter().take(MAX_ITEMS) {
        if let Ok(text) = std::str::from_utf8(header)
            && text.len() <= MAX_HEADER
        {
            parse_one(text, &mut schemes);
        }
    }
    schemes.truncate(MAX_ITEMS);
    schemes
}

/// A comma separates both parameters and schemes; a word that is not followed by `=` begins a new scheme.
fn parse_one(text: &str, schemes: &mut Vec<AuthScheme>) {
    let mut rest = text.trim_start_matches(is_gap);
    let mut name = "";
    let mut parameters: Vec<(String, String)> = Vec::new();
    while !rest.is_empty() && schemes.len() < MAX_ITEMS {
        let (word, after) = token(rest);
        if word.is_empty() {
            // Not a token: skip one character, so that the loop always ends.
            rest = rest.chars().next().map_or("", |first| &rest[first.len_utf8()..]).trim_start_matches(is_gap);
            continue;
        }
        let spaced = after.trim_start_matches([' ', '\t']);
        match spaced.strip_prefix('=') {
            Some(value) if !name.is_empty() => {
                let (value, after) = parameter_value(value.trim_start_matches([' ', '\t']));
                if parameters.len() < MAX_ITEMS {
                    parameters.push((word.to_ascii_lowercase(), value));
                }
                rest = after.trim_start_matches(is_gap);
            }
            _ => {
                schemes.extend(scheme(name, &mut parameters));
                name = word;
                rest = after.trim_start_matches(is_gap);
            }
        }
    }
    schemes.extend(scheme(name, &mut parameters));
}

fn scheme(name: &str, parameters: &mut Vec<(String, String)>) -> Option<AuthScheme> {
    let mut parameters = std::mem::take(parameters);
    let mut parameter = |name: &str| {
        // The first of two counts; the grammar forbids a second one.
        let position = parameters.iter().position(|(key, _)| key == name)?;
        Some(parameters.remove(position).1)
    };
    match name.to_ascii_lowercase().as_str() {
        "basic" => Some(AuthScheme::Basic),
        "bearer" => {
            let (realm, service, scope) = (parameter("realm")?, parameter("service"), parameter("scope"));
            let naming = ScopeNaming::default();
            Some(AuthScheme::Bearer(BearerChallenge { realm, service, scope, naming }))
        }
        _ => None,
    }
}

fn is_gap(character: char) -> bool {
    matches!(character, ' ' | '\t' | ',')
}

/// Returns the longest token (RFC 9110, section 5.6.2) at the start of `text`, and the rest.
fn token(text: &str) -> (&str, &str) {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let end = text.bytes().position(|byte| !is_token(byte)).unwrap_or(text.len());
    text.split_at(end)
}

/// Returns a quoted string or a bare word, and the rest. Some registries omit the quotes around addresses.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((position, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[position + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(character),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Vec<AuthScheme> {
        parse([text.as_bytes()])
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> AuthScheme {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let (service, scope) = (owned(service), owned(scope));
        AuthScheme::Bearer(BearerChallenge { realm: realm.to_owned(), service, scope, naming: ScopeNaming::Same })
    }

    #[test]
    fn schemes_of_real_registries_are_parsed() {
        let cases = [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:calico/node:pull""#,
                vec![bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:calico/node:pull"),
                )],
            ),
            (
                r#"Bearer realm="https://quay.io/v2/auth",service="quay.io",scope="repository:calico/node:pull,push""#,
                vec![bearer("https://quay.io/v2/auth", Some("quay.io"), Some("repository:calico/node:pull,push"))],
            ),
            (r#"Basic realm="Registry Realm""#, vec![AuthScheme::Basic]),
            (
                r#"bearer realm=https://r.example/token, service=r"#,
                vec![bearer("https://r.example/token", Some("r"), None)],
            ),
            (
                r#"Negotiate, Basic realm="a, b", Bearer realm="https://r.example/t",error="invalid_token""#,
                vec![AuthScheme::Basic, bearer("https://r.example/t", None, None)],
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(one(text), expected, "{text}");
        }
    }

    #[test]
    fn several_headers_are_parsed_in_order() {
        let headers: [&[u8]; 2] = [br#"Bearer realm="https://r.example/t""#, b"Basic realm=x"];
        assert_eq!(parse(headers), [bearer("https://r.example/t", None, None), AuthScheme::Basic]);
    }

    #[test]
    fn malformed_headers_yield_little_and_never_panic() {
        assert_eq!(one(""), []);
        assert_eq!(one("Bearer"), []);
        for text in
            ["=,=,=", "\"", "Bearer realm=\"unclosed", "Bearer realm=\"a\\", "é=é", ",,,,", "Bearer =x", "a b c d"]
        {
            let _ = one(text);
        }
        assert!(one(&"a,".repeat(MAX_HEADER)).is_empty());
        assert!(one(&"a,".repeat(1000)).len() <= MAX_ITEMS);
        let _ = parse([&[0xff, 0xfe, b'='][..]]);
        assert_eq!(one(r#"Bearer realm="a\"b""#), [bearer("a\"b", None, None)]);
    }

    #[test]
    fn the_first_of_two_equal_parameters_counts() {
        let twice = r#"Bearer realm="a",service="b",scope="c",scope="d",service="e",realm="f""#;
        assert_eq!(one(twice), [bearer("a", Some("b"), Some("c"))]);
    }

    #[test]
    fn no_short_text_of_the_grammars_own_characters_panics() {
        let alphabet = ['B', '=', '"', ',', ' ', '\\', 'é'];
        let mut texts = vec![String::new()];
        for _ in 0..5 {
            texts = texts.iter().flat_map(|text| alphabet.map(|next| format!("{text}{next}"))).collect();
            texts.iter().for_each(|text| drop(one(text)));
        }
    }

    #[test]
    fn the_naming_of_one_challenge_serves_other_repositories() {
        let named = |repository: &str, scope: &str| {
            let scheme = bearer("https://r.example/t", None, Some(&format!("repository:{scope}:pull")));
            match scheme.named_for(repository) {
                AuthScheme::Bearer(challenge) => scope_of_other(&challenge, "docker/calico/cni"),
                AuthScheme::Basic => String::new(),
            }
        };
        assert_eq!(named("docker/calico/node", "calico/node"), "repository:calico/cni:pull");
        assert_eq!(named("calico/node", "docker/calico/node"), "repository:docker/docker/calico/cni:pull");
        for same in ["docker/calico/node", "co/node", "x", "other/calico/node"] {
            assert_eq!(named("docker/calico/node", same), "repository:docker/calico/cni:pull", "{same}");
        }
    }

    #[test]
    fn a_scope_requests_pulling_only() {
        let with = |scope: &str| BearerChallenge { scope: Some(scope.to_owned()), ..BearerChallenge::default() };
        assert_eq!(scope(None, "calico/node"), "repository:calico/node:pull");
        assert_eq!(
            scope(Some(&with("repository:cache/calico/node:pull,push,*")), "x"),
            "repository:cache/calico/node:pull"
        );
        for strange in ["registry:catalog:*", "repository::pull", "repository:a b:pull", "repository:x"] {
            assert_eq!(scope(Some(&with(strange)), "calico/node"), "repository:calico/node:pull", "{strange}");
        }
    }
}
