//! Reads what a registry demands in `WWW-Authenticate` (RFC 9110, section 11.6.1). Pure and bounded: any bytes give a list of
//! challenges, possibly empty, and never a panic.

/// The longest header value that is looked at, in bytes; real ones have some 200.
const LONGEST_HEADER: usize = 8 * 1024;
/// The most challenges and the most parameters of one challenge that are kept.
const MOST_ITEMS: usize = 16;

/// One way of proving who we are that the registry accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// User and password with every request (RFC 7617).
    Basic,
    /// A token from a token service (Docker's token authentication specification).
    Bearer(BearerChallenge),
    /// A scheme that is not ours, such as `Negotiate`.
    Other(String),
}

/// Where and for what a token is to be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BearerChallenge {
    /// Address of the token service.
    pub realm: String,
    /// What the registry calls itself towards the token service.
    pub service: Option<String>,
    /// What the refused request would need, such as `repository:calico/node:pull`.
    pub scope: Option<String>,
}

/// Reads all `WWW-Authenticate` values of an answer, in order.
#[must_use]
pub fn read<'a>(headers: impl IntoIterator<Item = &'a [u8]>) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    for header in headers.into_iter().take(MOST_ITEMS) {
        if let Ok(text) = std::str::from_utf8(header)
            && text.len() <= LONGEST_HEADER
        {
            read_one(text, &mut challenges);
        }
    }
    challenges.truncate(MOST_ITEMS);
    challenges
}

/// A comma separates both parameters and challenges; a word that is not followed by `=` begins a new challenge.
fn read_one(text: &str, challenges: &mut Vec<Challenge>) {
    let mut rest = text.trim_start_matches(is_gap);
    let mut scheme = "";
    let mut parameters: Vec<(String, String)> = Vec::new();
    while !rest.is_empty() && challenges.len() < MOST_ITEMS {
        let (word, after) = token(rest);
        if word.is_empty() {
            // Not a token: skip one character, so that the loop always ends.
            rest = rest.chars().next().map_or("", |first| &rest[first.len_utf8()..]).trim_start_matches(is_gap);
            continue;
        }
        let spaced = after.trim_start_matches([' ', '\t']);
        match spaced.strip_prefix('=') {
            Some(value) if !scheme.is_empty() => {
                let (value, after) = parameter_value(value.trim_start_matches([' ', '\t']));
                if parameters.len() < MOST_ITEMS {
                    parameters.push((word.to_ascii_lowercase(), value));
                }
                rest = after.trim_start_matches(is_gap);
            }
            _ => {
                push(scheme, &mut parameters, challenges);
                scheme = word;
                rest = after.trim_start_matches(is_gap);
            }
        }
    }
    push(scheme, &mut parameters, challenges);
}

fn push(scheme: &str, parameters: &mut Vec<(String, String)>, challenges: &mut Vec<Challenge>) {
    let mut parameter = |name: &str| {
        // The first of two counts; a parameter that comes twice is against the rules anyway.
        let position = parameters.iter().position(|(key, _)| key == name)?;
        Some(parameters.remove(position).1)
    };
    match scheme.to_ascii_lowercase().as_str() {
        "" => {}
        "basic" => challenges.push(Challenge::Basic),
        "bearer" => {
            if let Some(realm) = parameter("realm") {
                let (service, scope) = (parameter("service"), parameter("scope"));
                challenges.push(Challenge::Bearer(BearerChallenge { realm, service, scope }));
            } else {
                challenges.push(Challenge::Other("Bearer without realm".to_owned()));
            }
        }
        _ => challenges.push(Challenge::Other(scheme.to_owned())),
    }
    parameters.clear();
}

fn is_gap(character: char) -> bool {
    matches!(character, ' ' | '\t' | ',')
}

/// The longest token (RFC 9110, section 5.6.2) at the start of `text`, and what follows it.
fn token(text: &str) -> (&str, &str) {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let end = text.bytes().position(|byte| !is_token(byte)).unwrap_or(text.len());
    text.split_at(end)
}

/// A quoted string or a bare word; registries in the wild leave out the quotes around addresses.
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

    fn one(text: &str) -> Vec<Challenge> {
        read([text.as_bytes()])
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer(BearerChallenge { realm: realm.to_owned(), service: owned(service), scope: owned(scope) })
    }

    #[test]
    fn challenges_of_real_registries() {
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
            (r#"Basic realm="Registry Realm""#, vec![Challenge::Basic]),
            (
                r#"bearer realm=https://r.example/token, service=r"#,
                vec![bearer("https://r.example/token", Some("r"), None)],
            ),
            (
                r#"Negotiate, Basic realm="a, b", Bearer realm="https://r.example/t",error="invalid_token""#,
                vec![
                    Challenge::Other("Negotiate".to_owned()),
                    Challenge::Basic,
                    bearer("https://r.example/t", None, None),
                ],
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(one(text), expected, "{text}");
        }
    }

    #[test]
    fn several_headers_are_read_in_order() {
        let headers: [&[u8]; 2] = [br#"Bearer realm="https://r.example/t""#, b"Basic realm=x"];
        assert_eq!(read(headers), [bearer("https://r.example/t", None, None), Challenge::Basic]);
    }

    #[test]
    fn nonsense_gives_little_and_never_panics() {
        assert_eq!(one(""), []);
        assert_eq!(one("Bearer"), [Challenge::Other("Bearer without realm".to_owned())]);
        for text in
            ["=,=,=", "\"", "Bearer realm=\"unclosed", "Bearer realm=\"a\\", "é=é", ",,,,", "Bearer =x", "a b c d"]
        {
            let _ = one(text);
        }
        assert!(one(&"a,".repeat(LONGEST_HEADER)).is_empty());
        assert!(one(&"a,".repeat(1000)).len() <= MOST_ITEMS);
        let _ = read([&[0xff, 0xfe, b'='][..]]);
        assert_eq!(one(r#"Bearer realm="a\"b""#), [bearer("a\"b", None, None)]);
    }

    #[test]
    fn the_first_of_two_equal_parameters_counts() {
        let twice = r#"Bearer realm="a",service="b",scope="c",scope="d",service="e",realm="f""#;
        assert_eq!(one(twice), [bearer("a", Some("b"), Some("c"))]);
    }

    #[test]
    fn every_short_text_of_the_grammars_own_characters_is_survived() {
        let alphabet = ['B', '=', '"', ',', ' ', '\\', 'é'];
        let mut texts = vec![String::new()];
        for _ in 0..5 {
            texts = texts.iter().flat_map(|text| alphabet.map(|next| format!("{text}{next}"))).collect();
            texts.iter().for_each(|text| drop(one(text)));
        }
    }
}
