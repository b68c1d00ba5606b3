//! Lists the tags of a repository that are releases, page by page (OCI distribution specification 1.1, "Listing Tags"). Pages,
//! their size and the kept releases are bounded. A link to the next page is followed within the same list only.

use std::collections::BTreeSet;

use http::header;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use super::error::{RegistryError, Result};
use super::json_object::JsonObject;
use super::lookup::look_up;
use super::session::{Lookup, Session};
use crate::model::{RegistryFailureKind, Release};

/// Maximum number of pages.
const MAX_PAGES: usize = 100;
/// Maximum size of a page, in bytes; a thousand tags take about 30 KiB.
const MAX_PAGE: usize = 1024 * 1024;
/// Requested number of tags per page; registries may return fewer.
const TAGS_PER_PAGE: usize = 1000;
/// Maximum number of releases; the newest are kept.
const MAX_RELEASES: usize = 2000;

#[derive(Deserialize)]
struct Page {
    /// Some registries return `null` for a repository without tags.
    tags: Option<Releases>,
}

/// The tags that are releases. Others are skipped while the page is decoded.
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

/// Returns the releases among the tags of this repository. By [`Release`]'s rules, a rebuild (`v1.38.2-1`) is a release, but alpha,
/// beta and release candidates, and tags for one architecture, are not.
pub(super) async fn releases(session: &Session<'_>, repository: &str) -> Result<BTreeSet<Release>> {
    let mut found = BTreeSet::new();
    let mut path = format!("tags/list?n={TAGS_PER_PAGE}");
    for _ in 0..MAX_PAGES {
        let lookup = Lookup { repository, path: &path, accept: "application/json", limit: MAX_PAGE, head: false };
        let response = look_up(session, lookup).await?;
        found.extend(parse_page(&response.body)?);
        while found.len() > MAX_RELEASES {
            found.pop_first();
        }
        let link = response.headers.get(header::LINK).and_then(|link| link.to_str().ok());
        let next = link.map_or(Ok(None), |link| next_page(link, repository))?;
        match next {
            Some(next) if next == path => return Err(RegistryError::invalid("a page of tags that leads to itself")),
            Some(next) => path = next,
            None => return Ok(found),
        }
    }
    Err(RegistryError::new(RegistryFailureKind::TooLarge, format!("more than {MAX_PAGES} pages of tags")))
}

/// Returns the releases of one page.
pub(super) fn parse_page(body: &[u8]) -> Result<BTreeSet<Release>> {
    let JsonObject(page): JsonObject<Page> =
        serde_json::from_slice(body).map_err(|_| RegistryError::invalid("a list of tags that cannot be read"))?;
    Ok(page.tags.map(|Releases(releases)| releases).unwrap_or_default())
}

/// Returns the path of the next page from `</v2/REPOSITORY/tags/list?…>; rel="next"` (RFC 8288). Only the query is the registry's;
/// host and path are ours.
///
/// # Errors
/// There is a next page, but its link cannot be trusted: the list is incomplete.
pub(super) fn next_page(link: &str, repository: &str) -> Result<Option<String>> {
    let Some((target, parameters)) = link.trim().strip_prefix('<').and_then(|link| link.split_once('>')) else {
        return Err(RegistryError::invalid("a Link that cannot be read beside a list of tags"));
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
        _ => Err(RegistryError::invalid("a next page of tags that is not of the same list")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_belongs_to_the_same_list() {
        let next = |link: &str| next_page(link, "tigera/operator").map_err(|error| error.kind);
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
