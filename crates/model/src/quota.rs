//! What one org may have: its share of the platform, so that no org takes it from the others.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is limited per org.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Quota {
    /// Apps.
    Apps,
    /// Environments of all its apps.
    Environments,
    /// Workloads that have not been withdrawn.
    Workloads,
    /// Workloads that one deploy places.
    WorkloadsPerDeploy,
    /// Releases that no later one has replaced.
    Releases,
    /// Routes.
    Routes,
    /// Hostnames, owned and pending.
    Hostnames,
    /// API tokens that work.
    ApiTokens,
    /// Streams of events open at one replica.
    Streams,
    /// Events that its operators cause at one replica in a minute.
    EventsPerMinute,
}

impl Quota {
    /// All there are.
    pub const ALL: &'static [Self] = &[
        Self::Apps,
        Self::Environments,
        Self::Workloads,
        Self::WorkloadsPerDeploy,
        Self::Releases,
        Self::Routes,
        Self::Hostnames,
        Self::ApiTokens,
        Self::Streams,
        Self::EventsPerMinute,
    ];

    /// The word in the configuration and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apps => "apps",
            Self::Environments => "environments",
            Self::Workloads => "workloads",
            Self::WorkloadsPerDeploy => "workloads_per_deploy",
            Self::Releases => "releases",
            Self::Routes => "routes",
            Self::Hostnames => "hostnames",
            Self::ApiTokens => "api_tokens",
            Self::Streams => "streams",
            Self::EventsPerMinute => "events_per_minute",
        }
    }

    /// The limit where nobody has said anything.
    pub fn by_default(self) -> u64 {
        match self {
            Self::Apps | Self::Streams => 100,
            Self::Environments | Self::WorkloadsPerDeploy | Self::ApiTokens => 200,
            Self::Workloads | Self::Releases | Self::Routes => 1000,
            Self::Hostnames => 10_000,
            Self::EventsPerMinute => 6000,
        }
    }
}

impl std::fmt::Display for Quota {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no quota.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no quota; there are {all}", all = words())]
pub struct UnknownQuota(String);

fn words() -> String {
    Quota::ALL.iter().map(|quota| quota.as_str()).collect::<Vec<_>>().join(", ")
}

impl std::str::FromStr for Quota {
    type Err = UnknownQuota;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.iter().find(|quota| quota.as_str() == text);
        named.copied().ok_or_else(|| UnknownQuota(text.chars().take(40).collect()))
    }
}

/// Limits of the platform, for every org that has no other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quotas(BTreeMap<Quota, u64>);

impl Quotas {
    /// The limit of `quota`.
    pub fn limit(&self, quota: Quota) -> u64 {
        self.0.get(&quota).copied().unwrap_or_else(|| quota.by_default())
    }

    /// The same with another limit.
    #[must_use]
    pub fn with(mut self, quota: Quota, limit: u64) -> Self {
        self.0.insert(quota, limit);
        self
    }
}

/// Whether `more` may come on top of what is `used`.
pub fn check(quota: Quota, limit: u64, used: u64, more: u64) -> Result<(), QuotaExceeded> {
    if used.saturating_add(more) <= limit {
        Ok(())
    } else {
        Err(QuotaExceeded { quota, limit, used, more })
    }
}

/// The org has its share already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the org's quota \"{quota}\" is {limit}: {used} are used and {more} more were asked for; give \
     some back, or let an operator of the platform raise it with `sextant org quota`"
)]
pub struct QuotaExceeded {
    /// Which quota.
    pub quota: Quota,
    /// How many there may be.
    pub limit: u64,
    /// How many there are.
    pub used: u64,
    /// How many were to come.
    pub more: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_may_be_used_up_and_not_exceeded() {
        assert_eq!(check(Quota::Apps, 3, 2, 1), Ok(()));
        let refused = check(Quota::Apps, 3, 3, 1).expect_err("one too many");
        assert!(refused.to_string().contains("\"apps\" is 3: 3 are used and 1 more"), "{refused}");
        check(Quota::Apps, u64::MAX, u64::MAX, 1).expect("no overflow");
        check(Quota::Apps, 3, 5, 1).expect_err("lowered below what is there");
    }

    #[test]
    fn every_quota_has_its_word_in_configuration_and_api() {
        for quota in Quota::ALL {
            assert_eq!(quota.as_str().parse(), Ok(*quota));
            assert_eq!(serde_json::to_value(quota).expect("JSON"), quota.as_str());
            assert_eq!(Quotas::default().limit(*quota), quota.by_default());
            assert_eq!(Quotas::default().with(*quota, 7).limit(*quota), 7);
        }
        assert!("colours".parse::<Quota>().expect_err("unknown").to_string().contains("workloads"));
    }
}
