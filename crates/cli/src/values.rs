//! Values of arguments. What cannot be used is answered with what it is not, and what to give
//! instead.

use std::{net::IpAddr, str::FromStr};

use sextant_model::{HostPattern, Hostname};
use url::Url;

/// A TCP port.
pub fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(format!("\"{text}\" is not a port; give a number from 1 to 65535")),
    }
}

/// A whole number from 1 up.
pub fn count(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(count) if count != 0 => Ok(count),
        _ => Err(format!("\"{text}\" is not a whole number from 1 up")),
    }
}

/// The number of a release.
pub fn release_number(text: &str) -> Result<i32, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!(
            "\"{text}\" is not the number of a release; `sextant release list` shows them"
        )),
    }
}

/// An IPv6 or IPv4 address.
pub fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("\"{text}\" is not an address; write it like 2001:db8::7"))
}

/// A hostname, exact or a wildcard.
pub fn pattern(text: &str) -> Result<HostPattern, String> {
    host(text, HostPattern::new)
}

/// Reads a hostname with `read`; of a URL and the like it says which part is the hostname.
pub fn host<T, E: std::fmt::Display>(
    text: &str,
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<T, String> {
    read(text).map_err(|error| match mistaken_for_hostname(text) {
        Some((what, Some(host))) => format!("\"{text}\" {what}; give {host}"),
        Some((what, None)) => format!("\"{text}\" {what}; give a DNS name like shop.example.com"),
        None => error.to_string(),
    })
}

/// What a text is that somebody took for a hostname, and the hostname in it.
fn mistaken_for_hostname(text: &str) -> Option<(&'static str, Option<String>)> {
    let hostname = |host: &str| Hostname::new(host).ok().map(|host| host.to_string());
    if let Some((scheme, rest)) = text.split_once("://") {
        let from_url = Url::parse(text).ok().and_then(|url| url.host_str().and_then(hostname));
        let is_scheme = !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric());
        let before_path = rest.split('/').next().unwrap_or_default();
        return is_scheme.then(|| ("is a URL", from_url.or_else(|| hostname(before_path))));
    }
    if let Some((host, _)) = text.split_once('/') {
        let host = host.split_once(':').map_or(host, |(host, _)| host);
        return Some(("has a path", hostname(host)));
    }
    let (host, port) = text.rsplit_once(':')?;
    let host = hostname(host)?;
    (port.is_empty() || port.parse::<u16>().is_ok()).then_some(("has a port", Some(host)))
}

/// A hostname and a port, `HOST[:PORT]` or `:PORT`.
pub fn host_and_port<T, E: std::fmt::Display>(
    text: &str,
    form: &str,
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<(Option<T>, Option<u16>), String> {
    if text.is_empty() {
        return Err(format!("it is empty; {form}"));
    }
    // A URL's port is not what stands after its first colon.
    if text.contains('/') {
        return host(text, &read).map(|host| (Some(host), None));
    }
    // Of an IPv6 address the reader of hostnames says what it is.
    let parts =
        text.rsplit_once(':').filter(|(host, _)| !host.contains(':') || host.ends_with(']'));
    let (name, port) = match parts {
        Some((name, port)) => {
            (name, Some(self::port(port).map_err(|e| format!("{e}, or {form}"))?))
        }
        None => (text, None),
    };
    if name.is_empty() {
        return Ok((None, port));
    }
    let name = host(name, &read).map_err(|error| format!("{error}; {form}"))?;
    Ok((Some(name), port))
}

/// `NAME:PORT` and `NAME=COUNT`: a name and a number, each read by itself.
pub fn pair<N, V, E: std::fmt::Display>(
    text: &str,
    separator: char,
    form: &str,
    number: impl Fn(&str) -> Result<V, String>,
) -> Result<(N, V), String>
where
    N: FromStr<Err = E>,
{
    let (name, value) =
        text.split_once(separator).ok_or_else(|| format!("\"{text}\" is not complete; {form}"))?;
    let name = name.parse().map_err(|error| format!("{error}; {form}"))?;
    let value = number(value).map_err(|error| format!("{error}; {form}"))?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_hostname_is_named_with_the_hostname_in_it() {
        for (text, said) in [
            ("https://shop.example.com/", "is a URL; give shop.example.com"),
            ("http://shop.example.com:8080/cart?x=1", "is a URL; give shop.example.com"),
            ("HTTPS://Shop.Example.com", "is a URL; give shop.example.com"),
            ("https://*.example.com", "is a URL; give a DNS name"),
            ("https://[2001:db8::1]/", "is a URL; give a DNS name"),
            ("https://", "is a URL; give a DNS name"),
            ("shop.example.com/cart", "has a path; give shop.example.com"),
            ("shop.example.com:443", "has a port; give shop.example.com"),
            ("shop.example.com:", "has a port; give shop.example.com"),
            ("[::1]", "is an IP address"),
            ("2001:db8::1", "is an IP address"),
            ("a_b", "contains '_'"),
        ] {
            let error = pattern(text).expect_err(text);
            assert!(error.contains(said) && error.contains(text), "{text}: {error}");
        }
        assert!(pattern("*.example.com").is_ok() && pattern("Shop.example.com.").is_ok());
    }

    #[test]
    fn a_number_that_is_none_is_quoted_with_its_limits() {
        for bad in ["https", "", "0", "70000", "-1", "44 3"] {
            let error = port(bad).expect_err(bad);
            assert!(error.contains(&format!("\"{bad}\" is not a port")), "{error}");
        }
        assert!(count("0").is_err() && count("many").is_err() && count("7") == Ok(7));
        assert!(release_number("latest").expect_err("word").contains("release list"));
        assert!(
            address("localhost").expect_err("name").contains("\"localhost\" is not an address")
        );
    }

    #[test]
    fn a_host_and_a_port_are_read_apart() {
        let read = |text: &str| host_and_port(text, "give HOST[:PORT]", HostPattern::new);
        let name = |name: &str| Some(HostPattern::new(name).expect("name"));
        assert_eq!(read("a.test"), Ok((name("a.test"), None)));
        assert_eq!(read("*.a.test:8443"), Ok((name("*.a.test"), Some(8443))));
        assert_eq!(read(":5432"), Ok((None, Some(5432))));
        for (bad, said) in [
            ("", "HOST[:PORT]"),
            ("a.test:https", "\"https\" is not a port"),
            ("https://a.test/", "is a URL; give a.test"),
            ("[::1]:443", "is an IP address"),
            ("2001:db8::1", "is an IP address"),
        ] {
            let error = read(bad).expect_err(bad);
            assert!(error.contains(said), "{bad}: {error}");
        }
    }
}
