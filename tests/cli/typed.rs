//! What people type: versions and names that are nearly right get the right one as a hint, and digests that people pin themselves.

use std::fs;

use crate::generate::{calico_references, sets};
use crate::testbox::images::{self, Image};
use crate::testbox::{Kind, Registry};
use crate::{assert_contains, outcome, run};

#[test]
fn what_is_nearly_right_is_answered_with_what_is_meant() {
    let to = ["--to", "mirror.example.com"];
    let calico = "v3.32.1 is a Calico version; operators v1.42.3 and v1.42.4 install it";
    for (arguments, words) in [
        (&["generate", "v3.32.1"][..], calico),
        (&["generate", "v1.42.4", "3.32.1"], calico),
        (&["images", "calico-v3.32.1"], calico),
        (&[&["bundle", "v3.32.1"][..], &to].concat(), calico),
        (&["verify", "imageset.yaml", "--operator-version", "v3.32.1"], calico),
        (&["prepare", "v3.32.1"], calico),
        (&["generate", "v3.99.0"], "looks like a Calico version, which no known operator installs"),
        (&["generate", "1.42.4"], "did you mean v1.42.4?"),
        (&["prepare", "1.42.4"], "did you mean v1.42.4?"),
        (&["images", "v1.42"], "the newest known of this series is v1.42.4"),
        (&["generate", "v1.40.5-0-g91d909b"], "this is a rebuild of v1.40.5"),
        (&["generate", "v1.44.0"], "does not have operator v1.44.0 (its newest is v1.43.0)"),
        (&["generate", "v1.42.4", "--exclude", "calico/nodeee"], "no operator has an image calico/nodeee"),
        (&[&["bundle", "v1.42.4", "--exclude", "calico/nodeee"][..], &to].concat(), "did you mean calico/node?"),
        (&["prepare", "v1.42.4", "--wait", "--timeout", "10"], "\"10\" needs a unit, such as 10m"),
        (&["generate", "v1.42.4", "--digest", "calico/node"], "write NAME=DIGEST"),
        (&["generate", "v1.42.4", "--digest", "calico/node=sha256:12"], "calico/node=sha256:12"),
    ] {
        let (code, stdout, stderr) = outcome(&run(arguments));
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}");
        assert_contains(&stderr, &["error: ", words]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_image_is_pinned_to_a_rebuild_of_its_own() {
    let registry = Registry::start(Kind::Anonymous).await.unwrap();
    let access = registry.access().unwrap();
    let digests = images::push_release(&access, &calico_references("v1.42.4"), None).await.unwrap();
    let operator = Image::of_reference("quay.io/tigera/operator:v1.42.4").unwrap();
    images::push(&access, "tigera/operator", "v1.42.4", &operator).await.unwrap();
    let hardened = Image::index("hardened", images::LINUX_PLATFORMS).unwrap();
    let hardened = images::push(&access, "calico/node", "hardened", &hardened).await.unwrap();
    let host = registry.host();
    let at = ["--registry", &host, "--plain-http", &host];
    let pinned = format!("calico/node={hardened}");

    let (code, made, stderr) = outcome(&run(&[&["generate", "v1.42.4", "--digest", &pinned], &at[..]].concat()));
    assert_eq!((code, stderr.as_str()), (0, ""));
    let (_, plain, _) = outcome(&run(&[&["generate", "v1.42.4"], &at[..]].concat()));
    let different: Vec<_> =
        sets(&made).remove(0).2.into_iter().filter(|entry| !sets(&plain)[0].2.contains(entry)).collect();
    assert_eq!(different, [("calico/node".to_owned(), hardened.clone())]);
    assert_contains(&made, &[&format!(" --digest {pinned}\n")]);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("imageset.yaml");
    fs::write(&file, &made).unwrap();
    let verify = |more: &[&str]| outcome(&run(&[&["verify", file.to_str().unwrap()], &at[..], more].concat()));
    assert_eq!(verify(&["--digest", &pinned]).0, 0);
    let (code, stdout, _) = verify(&[]);
    assert_eq!(code, 1, "{stdout}");
    assert_contains(&stdout, &["22 of 23 entries in sync", "calico/node"]);

    // Under the tag of the release, where the mirror is asked for it.
    let bundle = ["bundle", "v1.42.4", "--to", "mirror.example.com", "--digest", &pinned];
    let (code, script, stderr) = outcome(&run(&[&bundle, &at[..]].concat()));
    assert_eq!((code, stderr.as_str()), (0, ""));
    let tag =
        calico_references("v1.42.4").iter().find_map(|one| one.strip_prefix("quay.io/calico/node:").map(str::to_owned));
    let copy = format!("'{host}/calico/node@{hardened}' 'mirror.example.com/calico/node:{}'", tag.unwrap());
    assert_contains(&script, &[&copy]);
    assert!(digests.values().any(|digest| script.contains(digest.as_str())), "{script}");

    for (more, words) in [
        (&["--digest", &format!("calico/ndoe={hardened}")][..], "did you mean calico/node?"),
        (
            &["--digest", &pinned, "--digest", &format!("calico/node=sha256:{}", "0".repeat(64))],
            "two digests for calico/node",
        ),
    ] {
        let (code, _, stderr) = outcome(&run(&[&["generate", "v1.42.4"], more, &at].concat()));
        assert_eq!(code, 2);
        assert_contains(&stderr, &[words]);
    }
}
