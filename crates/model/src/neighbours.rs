//! Hostnames that belong to one org because one could pass for a part of the other.
//!
//! A wildcard and the names it covers are neighbours, wherever they are. Below the platform's own
//! domain, where a claim needs no proof, so are all names at or below the same label directly below
//! it, a *site*: nobody stands under another tenant's name, or above it.

use std::collections::{BTreeSet, VecDeque};

use crate::hostname::{HostPattern, Hostname};

/// The site of a hostname: the name directly below the platform's `domain` that it is, or lies
/// below. None for what is elsewhere, and for what belongs to the platform ([`is_reserved`]).
pub fn site(hostname: &HostPattern, domain: &Hostname) -> Option<String> {
    let name = hostname.domain().as_str().strip_suffix(domain.as_str())?.strip_suffix('.')?;
    let label = name.rsplit('.').next()?;
    Some(format!("{label}.{domain}"))
}

/// Whether a hostname is the platform's own `domain`, or the star directly below it, which would
/// take from every tenant, or the star that covers it; or a name of a service below it, which speaks
/// for the domain itself (`_acme-challenge`, `_mta-sts`: RFC 8552).
pub fn is_reserved(hostname: &HostPattern, domain: &Hostname) -> bool {
    hostname.domain() == domain
        || hostname.matches(domain.as_str())
        || site(hostname, domain).is_some_and(|site| site.starts_with('_'))
}

/// Those of `owned` that must go to another org together with `hostname`: itself, its neighbours,
/// theirs, and so on.
pub fn that_go_along(
    hostname: &HostPattern,
    owned: impl IntoIterator<Item = HostPattern>,
    domain: Option<&Hostname>,
) -> BTreeSet<HostPattern> {
    let mut rest: BTreeSet<HostPattern> = owned.into_iter().collect();
    rest.remove(hostname);
    let mut along = BTreeSet::from([hostname.clone()]);
    let mut queue = VecDeque::from([hostname.clone()]);
    while let Some(name) = queue.pop_front() {
        let found: Vec<_> =
            rest.iter().filter(|o| are_neighbours(&name, o, domain)).cloned().collect();
        for other in found {
            rest.remove(&other);
            along.insert(other.clone());
            queue.push_back(other);
        }
    }
    along
}

fn are_neighbours(one: &HostPattern, other: &HostPattern, domain: Option<&Hostname>) -> bool {
    let covered = one.is_wildcard() != other.is_wildcard() && one.parent() == other.parent();
    let of = |name| domain.and_then(|domain| site(name, domain));
    covered || of(one).is_some_and(|site| of(other) == Some(site))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        HostPattern::new(text).expect(text)
    }

    fn domain() -> Hostname {
        Hostname::new("apps.example").expect("domain")
    }

    #[test]
    fn a_site_is_one_label_below_the_platforms_domain() {
        for (name, expected) in [
            ("shop.apps.example", Some("shop.apps.example")),
            ("*.shop.apps.example", Some("shop.apps.example")),
            ("a.b.shop.apps.example", Some("shop.apps.example")),
            ("apps.example", None),
            ("*.apps.example", None),
            ("*.example", None),
            ("shop.example", None),
            ("badapps.example", None),
            ("shop.badapps.example", None),
        ] {
            assert_eq!(site(&pattern(name), &domain()).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn the_domain_the_stars_around_it_and_its_services_are_the_platforms() {
        for (name, expected) in [
            ("apps.example", true),
            ("*.apps.example", true),
            ("*.example", true),
            ("shop.apps.example", false),
            ("*.shop.apps.example", false),
            ("_mta-sts.apps.example", true),
            ("a._tcp.apps.example", true),
            ("*._tcp.apps.example", true),
            ("_acme-challenge.shop.apps.example", false),
            ("my_app.apps.example", false),
            ("_dmarc.other.example", false),
            ("other.example", false),
        ] {
            assert_eq!(is_reserved(&pattern(name), &domain()), expected, "{name}");
        }
    }

    #[test]
    fn neighbours_go_along_and_take_theirs() {
        let owned = [
            "*.a.test",
            "x.a.test",
            "y.a.test",
            "a.test",
            "z.x.a.test",
            "shop.apps.example",
            "login.shop.apps.example",
            "*.shop.apps.example",
            "other.apps.example",
        ];
        let site = ["*.shop.apps.example", "login.shop.apps.example", "shop.apps.example"];
        for (moved, expected) in [
            ("x.a.test", vec!["*.a.test", "x.a.test", "y.a.test"]),
            ("*.a.test", vec!["*.a.test", "x.a.test", "y.a.test"]),
            ("a.test", vec!["a.test"]),
            ("z.x.a.test", vec!["z.x.a.test"]),
            ("login.shop.apps.example", site.to_vec()),
            ("shop.apps.example", site.to_vec()),
            ("other.apps.example", vec!["other.apps.example"]),
        ] {
            let along = that_go_along(&pattern(moved), owned.map(pattern), Some(&domain()));
            let expected: BTreeSet<_> = expected.into_iter().map(pattern).collect();
            assert_eq!(along, expected, "{moved}");
        }
        let along = that_go_along(&pattern("shop.apps.example"), owned.map(pattern), None);
        assert_eq!(along, [pattern("shop.apps.example")].into(), "the platform has no domain");
    }
}
