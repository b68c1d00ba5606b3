//! Lists the tags of a repository that are releases, page by page (OCI distribution specification 1.1, "Listing Tags").
//! Bounded: pages, their size and what is kept of them. Where the next page is, is believed within the same list only.

use std::collections::BTreeSet;

use http::header;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use super::failure::Trouble;
use super::object::Object;
use super::session::{Question, Session};
use crate::model::registry_failure::RegistryFailureKind;
use crate::model::release::Release;

/// The most pages that are read.
const MOST_PAGES: usize = 100;
/// The largest page that is read, in bytes; a thousand tags have some 30 KiB.
const LARGEST_PAGE: usize = 1024 * 1024;
/// How many tags we ask for at a time; registries may give fewer.
const TAGS_OF_A_PAGE: usize = 1000;
/// The most releases that are kept; the newest count.
const MOST_RELEASES: usize = 2000;

#[derive(Deserialize)]
struct Page {
    /// `null` for a repository without tags, as some registries write it.
    tags: Option<Releases>,
}

/// The tags that are releases; others are not even kept in memory.
struct Releases(BTreeSet<Release>);

impl<'de> Deserialize<'de> for Releases {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tags;
        impl<'de> Visitor<'de> for Tags {
            type Value = Releases;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a list of tags")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut tags: A) -> Result<Releases, A::Error> {
                let mut releases = BTreeSet::new();
                while let Some(tag) = tags.next_element::<String>()? {
                    releases.extend(tag.parse::<Release>());
                }
                Ok(Releases(releases))
            }
        }
        deserializer.deserialize_seq(Tags)
    }
}

/// The releases among the tags of this repository. Alpha, beta and release candidates, and tags for one architecture, are
/// none by [`Release`]'s own rules; a rebuild (`v1.38.2-1`) is one.
pub(super) async fn releases(session: &Session<'_>, repository: &str) -> Result<BTreeSet<Release>, Trouble> {
    let mut found = BTreeSet::new();
    let mut path = format!("tags/list?n={TAGS_OF_A_PAGE}");
    for _ in 0..MOST_PAGES {
        let question =
            Question { repository, path: &path, accept: "application/json", limit: LARGEST_PAGE, head: false };
        let answer = session.ask(question).await?;
        found.extend(page(&answer.body)?);
        while found.len() > MOST_RELEASES {
            found.pop_first();
        }
        let link = answer.headers.get(header::LINK).and_then(|link| link.to_str().ok());
        let next = link.map_or(Ok(None), |link| next_page(link, repository))?;
        match next {
            Some(next) if next == path => return Err(Trouble::invalid("a page of tags that leads to itself")),
            Some(next) => path = next,
            None => return Ok(found),
        }
    }
    Err(Trouble::new(RegistryFailureKind::TooLarge, format!("more than {MOST_PAGES} pages of tags")))
}

/// The releases of one page.
pub(super) fn page(body: &[u8]) -> Result<BTreeSet<Release>, Trouble> {
    let Object(page): Object<Page> =
        serde_json::from_slice(body).map_err(|_| Trouble::invalid("a list of tags that cannot be read"))?;
    Ok(page.tags.map(|Releases(releases)| releases).unwrap_or_default())
}

/// The query of `</v2/REPOSITORY/tags/list?…>; rel="next"` (RFC 8288), put behind our own path: only what the list is
/// continued with is taken from the registry, never where to.
///
/// # Errors
/// There is more, and where it is cannot be believed: what was read so far is not the list.
pub(super) fn next_page(link: &str, repository: &str) -> Result<Option<String>, Trouble> {
    let Some((target, parameters)) = link.trim().strip_prefix('<').and_then(|link| link.split_once('>')) else {
        return Err(Trouble::invalid("a Link that cannot be read beside a list of tags"));
    };
    if !parameters.split(';').any(|parameter| matches!(parameter.trim(), "rel=\"next\"" | "rel=next")) {
        return Ok(None);
    }
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\' | b'<' | b'>');
    match target.split_once('?') {
        Some((place, query))
            if place.ends_with(&format!("/v2/{repository}/tags/list"))
                && query.len() <= 2048
                && query.bytes().all(plain) =>
        {
            Ok(Some(format!("tags/list?{query}")))
        }
        _ => Err(Trouble::invalid("a next page of tags that is not of the same list")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_of_the_same_list() {
        let next = |link: &str| next_page(link, "tigera/operator").map_err(|trouble| trouble.kind);
        let path = "tags/list?n=2&last=v1.40.1".to_owned();
        assert_eq!(next("</v2/tigera/operator/tags/list?n=2&last=v1.40.1>; rel=\"next\""), Ok(Some(path.clone())));
        assert_eq!(next("<https://quay.io/v2/tigera/operator/tags/list?n=2&last=v1.40.1>; rel=next"), Ok(Some(path)));
        assert_eq!(next("</v2/tigera/operator/tags/list?n=2>"), Ok(None));
        assert_eq!(next("</v2/tigera/operator/tags/list?n=2>; rel=\"prev\""), Ok(None));
        for strange in [
            "",
            "</v2/other/tags/list?n=2>; rel=\"next\"",
            "</v2/tigera/operator/tags/list>; rel=\"next\"",
            "</v2/tigera/operator/tags/list?n=2#x>; rel=\"next\"",
        ] {
            assert_eq!(next(strange), Err(RegistryFailureKind::InvalidAnswer), "{strange}");
        }
    }

    #[test]
    fn only_releases_are_kept() {
        let read = |text: &str| serde_json::from_str::<Page>(text).map(|page| page.tags.map(|tags| tags.0));
        let tags = read(r#"{"name": "x", "tags": ["v1.42.4", "v1.42.4-amd64", "v1.43.0-rc1", "latest", "v1.38.2-1"]}"#);
        let tags: Vec<String> = tags.unwrap().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(tags, ["v1.38.2-1", "v1.42.4"]);
        assert_eq!(read(r#"{"tags": null}"#).unwrap(), None);
        assert!(read(r#"{"tags": "v1.42.4"}"#).is_err());
    }
}
