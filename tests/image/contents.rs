//! An image as a registry has it: its configuration, and every entry of its layers.

use std::io::Read as _;

use flate2::read::GzDecoder;
use serde_json::Value;

use crate::testbox::Registry;
use crate::testbox::registry_client::digest_of;

const REPOSITORY: &str = "imageset-controller";
const BLOCK: usize = 512;

/// A file or a folder of a layer.
pub struct Entry {
    pub path: String,
    pub is_folder: bool,
    pub mode: u32,
    pub user: u32,
    pub group: u32,
    /// In seconds since 1970.
    pub modified: i64,
    pub content: Vec<u8>,
}

/// What was pushed.
pub struct Pushed {
    pub digest: String,
    pub configuration: Value,
    pub entries: Vec<Entry>,
    /// What a node keeps of it: the layers unpacked.
    pub stored: u64,
    /// What goes over the wire.
    pub transferred: u64,
}

impl Pushed {
    /// Reads it back.
    pub async fn read(registry: &Registry, tag: &str) -> Self {
        let access = registry.access().unwrap();
        let manifest = access.manifest(REPOSITORY, tag).await.unwrap();
        assert!(manifest.status.is_success(), "{}", manifest.status);
        let parsed: Value = serde_json::from_slice(&manifest.body).unwrap();
        let blob = async |part: &Value| {
            let digest = part["digest"].as_str().unwrap();
            let response = access.blob(REPOSITORY, digest).await.unwrap();
            assert_eq!(digest_of(&response.body), digest);
            response.body
        };
        let configuration = serde_json::from_slice(&blob(&parsed["config"]).await).unwrap();
        let (mut entries, mut stored, mut transferred) = (Vec::new(), 0, 0);
        for layer in parsed["layers"].as_array().unwrap() {
            let packed = blob(layer).await;
            let mut unpacked = Vec::new();
            GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
            stored += unpacked.len() as u64;
            transferred += packed.len() as u64;
            entries.extend(archive(&unpacked));
        }
        Self { digest: digest_of(&manifest.body), configuration, entries, stored, transferred }
    }
}

/// The entries of a tar archive. Whatever is not a plain file or folder with a short name is refused: the image needs none.
fn archive(bytes: &[u8]) -> Vec<Entry> {
    let text = |field: &[u8]| {
        let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
        String::from_utf8(field[..end].to_vec()).unwrap().trim().to_owned()
    };
    let mut entries = Vec::new();
    let mut rest = bytes;
    while rest.len() >= BLOCK && rest[0] != 0 {
        let header = &rest[..BLOCK];
        let number = |from: usize, to: usize| i64::from_str_radix(&text(&header[from..to]), 8).unwrap();
        let path = text(&header[..100]);
        let kind = header[156];
        assert!(matches!(kind, b'0' | b'5'), "{path} is of kind {}", char::from(kind));
        let size = usize::try_from(number(124, 136)).unwrap();
        let small = |from: usize, to: usize| u32::try_from(number(from, to)).unwrap();
        entries.push(Entry {
            path: path.trim_end_matches('/').to_owned(),
            is_folder: kind == b'5',
            mode: small(100, 108),
            user: small(108, 116),
            group: small(116, 124),
            modified: number(136, 148),
            content: rest[BLOCK..BLOCK + size].to_vec(),
        });
        rest = &rest[BLOCK + size.div_ceil(BLOCK) * BLOCK..];
    }
    entries
}
