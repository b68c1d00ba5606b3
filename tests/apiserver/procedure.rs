//! The documented procedure: docs/guide/by-hand.md is walked as people walk it, with kubectl and the plugin, on a control plane, a
//! registry with a password and an authority of its own, and the operator double.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::testbox::crds::Kind as OperatorKind;
use crate::testbox::{Kind, Walkthrough, process};
use crate::world::{CANARY, IMAGE_PATH, SOON, Scenery, USER, World, eventually};

impl World {
    /// Waits until the operator says this of its component `calico`.
    async fn until_calico_reports(&self, words: &str) {
        let api = OperatorKind::TigeraStatus.api(&self.client);
        let message = async || {
            let status = api.get_opt("calico").await.unwrap()?;
            status.data["status"].to_string().contains(words).then_some(())
        };
        eventually(&format!("TigeraStatus calico to say {words:?}"), message).await;
    }

    /// Replaces a set by one of the same content with another name, as after a typing error.
    async fn misname_set(&self, name: &str, wrong: &str) {
        let content = OperatorKind::ImageSet.api(&self.client).get(name).await.unwrap().data["spec"].clone();
        self.create(OperatorKind::ImageSet, wrong, content).await;
        self.delete_set(name).await;
    }
}

/// The operator's manifest in the shape in which releases publish it.
const MANIFEST: &str = include_str!("procedure/tigera-operator.yaml");

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_procedure_works_as_it_is_printed() {
    let kind = Kind::Htpasswd { user: USER.to_owned(), password: CANARY.to_owned() };
    let scenery = Scenery { name: "procedure", kind, tls: true, operator_kinds: false, ..Scenery::default() };
    let world = World::start(scenery).await;
    for set in ["calico-v3.31.7", "calico-v3.32.1", "calico-v3.32.0"] {
        world.recorder.allow_delete(set);
    }
    let double = world.double(|_| {});
    let folder = tempfile::tempdir().unwrap();
    let mut page = prepare(&world, folder.path()).await;
    let titles = page.sections();
    assert_eq!(titles.len(), 9, "{titles:?}");

    for title in titles {
        match title.as_str() {
            "Verify" => double.wait_adopted("calico-v3.31.7", SOON).await.unwrap(),
            "How can I tell whether there is a problem with my ImageSet?" => {
                double.wait_adopted("calico-v3.32.1", SOON).await.unwrap();
                world.edit_set("calico-v3.32.1", |images| images.retain(|entry| entry["image"] != "calico/csi")).await;
                world.until_calico_reports("did not contain image calico/csi").await;
            }
            "Why does the Installation not name my ImageSet?" => {
                world.misname_set("calico-v3.32.1", "calico-v3.32.0").await;
                world.until_calico_reports("none with the expected name calico-v3.32.1").await;
            }
            _ => {}
        }
        let walk = move || page.walk(&title).map(|()| page);
        page = tokio::task::spawn_blocking(walk).await.unwrap().unwrap();
    }
    double.wait_adopted("calico-v3.32.1", SOON).await.unwrap();
    let wanted = world.wanted("v1.42.4", false);
    assert_eq!(world.stored("calico-v3.32.1").await.unwrap(), wanted);
    world.finish(&[]).await;
}

/// What the page says that its reader has: the manifests of both releases, the tools in the path, and a `docker login`.
async fn prepare(world: &World, folder: &Path) -> Walkthrough {
    let crds: Vec<&str> = OperatorKind::ALL.into_iter().map(OperatorKind::yaml).collect();
    fs::write(folder.join("operator-crds.yaml"), crds.join("---\n")).unwrap();
    fs::create_dir(folder.join("next")).unwrap();
    for (file, version) in [("tigera-operator.yaml", "v1.40.15"), ("next/tigera-operator.yaml", "v1.42.4")] {
        let manifest = MANIFEST.replace("IMAGE", &world.mirror.operator_image(version)).replace("VERSION", version);
        fs::write(folder.join(file), manifest).unwrap();
    }
    let registry = &world.mirror.registry;
    fs::write(folder.join("ca.pem"), registry.ca_pem().unwrap()).unwrap();
    fs::create_dir(folder.join(".docker")).unwrap();
    fs::write(folder.join(".docker/config.json"), registry.docker_config_json()).unwrap();
    let tools = folder.join(".bin");
    fs::create_dir(&tools).unwrap();
    symlink(process::controlplane_binary().await.unwrap(), tools.join("kubectl")).unwrap();
    symlink(env!("CARGO_BIN_EXE_imageset-controller"), tools.join("kubectl-imageset")).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let environment = vec![
        ("PATH", format!("{}:/usr/bin:/bin", tools.display())),
        ("HOME", text(folder)),
        ("KUBECONFIG", text(world.control_plane.kubeconfig())),
        ("SSL_CERT_FILE", text(&folder.join("ca.pem"))),
    ];
    assert_eq!(IMAGE_PATH, "mirror/calico", "as the page says");
    let stands = vec![("registry.example.com", registry.host())];
    Walkthrough::of("docs/guide/by-hand.md", folder, environment, stands).unwrap()
}
