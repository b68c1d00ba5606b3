//! The clouds whose registries accept tokens of the cloud's own identities, and the host names of these registries. Pure.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A cloud that issues registry tokens to an identity of the process. Tokens are sent to the registries of that cloud only
/// ([`CloudProvider::of_host`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CloudProvider {
    /// Amazon ECR, private and public.
    #[serde(rename = "AWS")]
    Aws,
    /// Google Artifact Registry and Container Registry.
    #[serde(rename = "GCP")]
    Gcp,
    /// Azure Container Registry.
    Azure,
}

/// Where the tokens of a registry of Amazon ECR are issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EcrRegistry {
    /// Host of the API that issues the tokens.
    pub api_host: String,
    /// Region that requests to the API are signed for.
    pub region: String,
    /// Whether this is the public gallery, which has an API of its own.
    pub is_public: bool,
}

/// Domains of private ECR registries (`ACCOUNT.dkr.ecr.REGION.DOMAIN`): the commercial and GovCloud partitions, China, the European
/// sovereign cloud, and the isolated partitions. Source: the endpoints of the AWS SDKs, and amazon-ecr-credential-helper.
const ECR_DOMAINS: [&str; 7] = [
    "amazonaws.com",
    "amazonaws.com.cn",
    "amazonaws.eu",
    "c2s.ic.gov",
    "sc2s.sgov.gov",
    "cloud.adc-e.uk",
    "csp.hci.ic.gov",
];
/// Domains of registries that are reached by IPv6 as well (`ACCOUNT.dkr-ecr.REGION.DOMAIN`), and of their API.
const ECR_DUAL_STACK: [(&str, &str); 2] =
    [("on.aws", "api.aws"), ("on.amazonwebservices.com.cn", "api.amazonwebservices.com.cn")];
/// The public gallery, by both of its names. Its only API is in us-east-1.
const ECR_PUBLIC: [&str; 2] = ["public.ecr.aws", "ecr-public.aws.com"];

/// The error for a text that names no cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not AWS, GCP or Azure")]
pub struct UnknownCloud;

impl FromStr for CloudProvider {
    type Err = UnknownCloud;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|one| one.as_str() == text).ok_or(UnknownCloud)
    }
}

impl CloudProvider {
    /// Every cloud.
    pub const ALL: [Self; 3] = [Self::Aws, Self::Gcp, Self::Azure];

    /// Returns the cloud that a registry belongs to, by its host with optional port.
    #[must_use]
    pub fn of_host(host: &str) -> Option<Self> {
        let name = host_name(host)?;
        if EcrRegistry::of_host(host).is_some() {
            return Some(Self::Aws);
        }
        let ends_with = |suffix: &str| name.strip_suffix(suffix).is_some_and(|rest| !rest.is_empty());
        if name == "gcr.io" || ends_with(".gcr.io") || ends_with("-docker.pkg.dev") || name == "docker.s3nsregistry.fr"
        {
            return Some(Self::Gcp);
        }
        let azure = [".azurecr.io", ".azurecr.cn", ".azurecr.us", ".azurecr.de"];
        azure.into_iter().any(ends_with).then_some(Self::Azure)
    }

    /// Returns the name, as the policy and the command line write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "AWS",
            Self::Gcp => "GCP",
            Self::Azure => "Azure",
        }
    }

    /// Returns the host names of the cloud's registries, for messages.
    #[must_use]
    pub const fn hosts(self) -> &'static str {
        match self {
            Self::Aws => "ACCOUNT.dkr.ecr.REGION.amazonaws.com or public.ecr.aws",
            Self::Gcp => "REGION-docker.pkg.dev or gcr.io",
            Self::Azure => "NAME.azurecr.io",
        }
    }
}

impl EcrRegistry {
    /// Returns what the host name of a registry says; `None` if it is not one of ECR.
    #[must_use]
    pub fn of_host(host: &str) -> Option<Self> {
        let name = host_name(host)?;
        if ECR_PUBLIC.contains(&name.as_str()) {
            let region = "us-east-1".to_owned();
            return Some(Self {
                api_host: "api.ecr-public.us-east-1.amazonaws.com".to_owned(),
                region,
                is_public: true,
            });
        }
        let (account, rest) = name.split_once('.')?;
        if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let kinds = [
            ("dkr.ecr.", false, false),
            ("dkr.ecr-fips.", false, true),
            ("dkr-ecr.", true, false),
            ("dkr-ecr-fips.", true, true),
        ];
        let (rest, dual_stack, fips) =
            kinds.into_iter().find_map(|(prefix, dual, fips)| Some((rest.strip_prefix(prefix)?, dual, fips)))?;
        let (region, domain) = rest.split_once('.')?;
        let api_domain = match dual_stack {
            false => ECR_DOMAINS.contains(&domain).then_some(domain)?,
            true => ECR_DUAL_STACK.into_iter().find_map(|(own, api)| (own == domain).then_some(api))?,
        };
        if region.is_empty() || !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return None;
        }
        let service = match (dual_stack, fips) {
            (_, true) => "ecr-fips",
            (true, false) => "ecr",
            (false, false) => "api.ecr",
        };
        Some(Self { api_host: format!("{service}.{region}.{api_domain}"), region: region.to_owned(), is_public: false })
    }
}

/// Returns the name of a host in lower case; `None` if it is not a name, or has another port than that of HTTPS.
fn host_name(host: &str) -> Option<String> {
    let name = host.strip_suffix(":443").unwrap_or(host);
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    name.bytes().all(is_of_name).then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_of_clouds_are_known_by_their_hosts() {
        use CloudProvider::{Aws, Azure, Gcp};
        for (host, provider) in [
            ("111122223333.dkr.ecr.eu-west-1.amazonaws.com", Some(Aws)),
            ("111122223333.DKR.ecr.us-gov-west-1.amazonaws.com:443", Some(Aws)),
            ("public.ecr.aws", Some(Aws)),
            ("europe-west1-docker.pkg.dev", Some(Gcp)),
            ("gcr.io", Some(Gcp)),
            ("eu.gcr.io", Some(Gcp)),
            ("team.azurecr.io", Some(Azure)),
            ("team.azurecr.cn", Some(Azure)),
            (".azurecr.io", None),
            ("-docker.pkg.dev", None),
            ("gcr.io.evil.example", None),
            ("evil.example/.azurecr.io", None),
            ("1.dkr.ecr.eu-west-1.amazonaws.com", None),
            ("111122223333.dkr.ecr.eu-west-1.amazonaws.com.evil.example", None),
            ("111122223333.dkr.ecr.evil.example", None),
            ("111122223333.dkr.ecr..amazonaws.com", None),
            ("111122223333.dkr.ecr.eu-west-1.amazonaws.com:5000", None),
            ("quay.io", None),
        ] {
            assert_eq!(CloudProvider::of_host(host), provider, "{host}");
        }
    }

    #[test]
    fn each_registry_of_ecr_has_the_api_of_its_partition() {
        for (host, api, region) in [
            ("111122223333.dkr.ecr.eu-west-1.amazonaws.com", "api.ecr.eu-west-1.amazonaws.com", "eu-west-1"),
            (
                "111122223333.dkr.ecr.us-gov-west-1.amazonaws.com",
                "api.ecr.us-gov-west-1.amazonaws.com",
                "us-gov-west-1",
            ),
            (
                "111122223333.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
                "ecr-fips.us-gov-west-1.amazonaws.com",
                "us-gov-west-1",
            ),
            ("111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn", "api.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            ("111122223333.dkr-ecr.us-west-2.on.aws", "ecr.us-west-2.api.aws", "us-west-2"),
            ("111122223333.dkr-ecr-fips.us-west-2.on.aws", "ecr-fips.us-west-2.api.aws", "us-west-2"),
            (
                "111122223333.dkr.ecr.eusc-de-east-1.amazonaws.eu",
                "api.ecr.eusc-de-east-1.amazonaws.eu",
                "eusc-de-east-1",
            ),
            ("public.ecr.aws", "api.ecr-public.us-east-1.amazonaws.com", "us-east-1"),
        ] {
            let found = EcrRegistry::of_host(host).unwrap();
            assert_eq!((found.api_host.as_str(), found.region.as_str()), (api, region), "{host}");
        }
        assert_eq!(EcrRegistry::of_host("111122223333.dkr.ecr.us-west-2.on.aws"), None);
    }
}
