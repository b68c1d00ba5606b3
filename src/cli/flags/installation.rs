//! What an Installation has, as people type it.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::model::{Feature, Variant};

/// The product that the operator installs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(in crate::cli) enum VariantValue {
    /// Open-source Calico.
    #[default]
    #[value(name = "Calico")]
    Calico,
    /// Calico Enterprise, by the names that Installations have for it, too.
    #[value(name = "Enterprise", alias = "TigeraSecureEnterprise", alias = "CalicoEnterprise")]
    Enterprise,
}

impl From<VariantValue> for Variant {
    fn from(value: VariantValue) -> Self {
        match value {
            VariantValue::Calico => Self::Calico,
            VariantValue::Enterprise => Self::Enterprise,
        }
    }
}

/// An object that makes the operator require further images, by its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) struct FeatureValue(pub Feature);

impl ValueEnum for FeatureValue {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [FeatureValue; Feature::ALL.len()] = {
            let mut all = [FeatureValue(Feature::ApiServer); Feature::ALL.len()];
            let mut at = 0;
            while at < all.len() {
                all[at] = FeatureValue(Feature::ALL[at]);
                at += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.kind()))
    }
}
