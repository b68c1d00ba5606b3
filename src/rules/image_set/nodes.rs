//! Which nodes an image of a set must serve. Those of a platform that the cluster is made of hold the set back; a single node and
//! Windows nodes only get a warning. What one node reports must not stop the set of all others.

use std::collections::BTreeMap;

use crate::model::lists::{MOST_NAMED, first_sentences, list_first};
use crate::model::{Coverage, Feature, Finding, ImageName, Platform, Reason, ResolvedImage};
use crate::rules::image_set::spec::SetSpec;

impl SetSpec<'_> {
    /// Returns the platforms of all nodes that an image is for.
    pub(super) fn nodes_for<'a>(
        &'a self,
        name: &ImageName,
        image: &ResolvedImage,
    ) -> impl Iterator<Item = &'a Platform> {
        let nodes = self.snapshot.nodes.known().into_iter().flatten().map(|(platform, _)| platform);
        nodes.filter(|platform| image.is_for(name, platform))
    }

    /// Returns the platforms that hold back the set if an image does not have them: those that a person named, and those of Linux
    /// nodes. The platform of one node alone does not count in a cluster of three or more, unless the image serves nobody else.
    pub(super) fn deciding_nodes(&self, name: &ImageName, image: &ResolvedImage) -> Vec<&Platform> {
        let is_served =
            |platform: &&Platform| matches!(image.coverage(platform), Coverage::Covered | Coverage::Unchecked);
        let several = self.snapshot.nodes.known().map(Platform::of_several).unwrap_or_default();
        let mut nodes: Vec<&Platform> = several.into_iter().filter(|platform| image.is_for(name, platform)).collect();
        if nodes.is_empty() {
            let linux = self.nodes_for(name, image).filter(|platform| !platform.is_windows());
            let (served, others): (Vec<&Platform>, Vec<&Platform>) = linux.partition(is_served);
            nodes = if served.is_empty() { others } else { served };
        }
        let named = self.snapshot.required_platforms.iter().filter(|platform| image.is_for(name, platform));
        named.chain(nodes).collect()
    }

    /// Returns the platforms that hold back the set because this image does not cover them.
    pub(super) fn uncovered(&self, name: &ImageName, image: &ResolvedImage) -> Vec<Platform> {
        image.uncovered(name, self.deciding_nodes(name, image)).into_iter().cloned().collect()
    }

    /// Returns the finding about nodes that cannot run these images, where that does not hold back the set.
    pub(super) fn nodes_not_served<'a>(
        &self,
        images: impl Iterator<Item = (&'a ImageName, &'a ResolvedImage)>,
    ) -> Option<Finding> {
        let required = self.required_now();
        let mut lacking: BTreeMap<&Platform, Vec<&ImageName>> = BTreeMap::new();
        for (name, image) in images.filter(|(name, _)| required.contains(*name)) {
            let with_windows = self.is_on_windows_nodes(name, image);
            let nodes = self.nodes_for(name, image).filter(|node| with_windows || !node.is_windows());
            image.uncovered(name, nodes).into_iter().for_each(|node| lacking.entry(node).or_default().push(name));
        }
        let of_platform = |(platform, names): (&&Platform, &Vec<&ImageName>)| {
            format!("{} cannot run {}", self.name_nodes(platform), list_first(names, MOST_NAMED))
        };
        let nodes: Vec<String> = lacking.iter().map(of_platform).collect();
        (!nodes.is_empty()).then(|| Finding::new(Reason::NodesNotServed, self.object(), first_sentences(&nodes)))
    }

    /// Whether the operator runs the image on Windows nodes. It does so where the Installation has a Windows data plane; images that
    /// are for Windows alone also run for other components, such as the log collector.
    fn is_on_windows_nodes(&self, name: &ImageName, image: &ResolvedImage) -> bool {
        let has_data_plane = self.features().is_none_or(|features| features.contains(&Feature::WindowsHns));
        let is_windows_only = name.is_windows() || image.platforms().iter().all(|platform| platform.is_windows());
        has_data_plane || (is_windows_only && self.images.has_known_requirements())
    }

    /// Returns the names of the nodes of a platform, such as `win-1, win-2 (windows/amd64/10.0.26100.1742)`.
    fn name_nodes(&self, platform: &Platform) -> String {
        let count = self.snapshot.nodes.known().and_then(|nodes| nodes.get(platform)).copied().unwrap_or_default();
        let names = self.snapshot.node_names.get(platform).map_or(&[][..], Vec::as_slice);
        let more = usize::try_from(count).unwrap_or(usize::MAX).saturating_sub(names.len());
        match (names, more) {
            ([], more) => format!("{more} nodes of {platform}"),
            (names, 0) => format!("{} ({platform})", names.join(", ")),
            (names, more) => format!("{} and {more} more nodes ({platform})", names.join(", ")),
        }
    }
}
