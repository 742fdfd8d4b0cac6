//! Which web pages may connect. Browsers say where a page came from in `Origin`; a client without one is no browser and passes.

/// The origins of a config, ready to be matched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<Pattern>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Any,
    Exact(String),
    /// `https://*.example.org:8443`: what stands before and after the `*`.
    Subdomains {
        scheme: String,
        suffix: String,
    },
}

impl Origins {
    pub fn new(allowed: &[String]) -> Self {
        Self(
            allowed
                .iter()
                .map(|text| {
                    let text = text.trim_end_matches('/').to_ascii_lowercase();
                    match text.split_once("://*.") {
                        _ if text == "*" => Pattern::Any,
                        Some((scheme, domain)) => Pattern::Subdomains {
                            scheme: format!("{scheme}://"),
                            suffix: format!(".{domain}"),
                        },
                        None => Pattern::Exact(text),
                    }
                })
                .collect(),
        )
    }

    /// Whether a page of this origin may connect to this host: listed, or served by the gateway itself.
    pub fn allow(&self, origin: &str, host: Option<&str>) -> bool {
        let origin = origin.to_ascii_lowercase();
        let own = || {
            origin.split_once("://").is_some_and(|(_, authority)| {
                host.is_some_and(|host| host.eq_ignore_ascii_case(authority))
            })
        };
        own()
            || self.0.iter().any(|pattern| match pattern {
                Pattern::Any => true,
                Pattern::Exact(exact) => *exact == origin,
                Pattern::Subdomains { scheme, suffix } => origin
                    .strip_prefix(scheme)
                    .and_then(|authority| authority.strip_suffix(suffix))
                    .is_some_and(|label| {
                        !label.is_empty()
                            && label
                                .bytes()
                                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
                    }),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(allowed: &[&str]) -> Origins {
        Origins::new(
            &allowed
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn exact_origins_and_subdomains_are_told_from_look_alikes() {
        let origins = origins(&[
            "https://app.example.com",
            "https://*.example.org",
            "http://localhost:3000",
        ]);
        for good in [
            "https://app.example.com",
            "https://APP.example.com",
            "https://a.example.org",
            "https://a.b.example.org",
            "http://localhost:3000",
        ] {
            assert!(origins.allow(good, Some("rt.example.net")), "{good}");
        }
        for bad in [
            "http://app.example.com",
            "https://app.example.com:8443",
            "https://app.example.com.evil.net",
            "https://evilapp.example.com",
            "https://example.org",
            "https://evilexample.org",
            "https://.example.org",
            "https://user@evil.net/.example.org",
            "http://localhost:3001",
            "null",
            "",
        ] {
            assert!(!origins.allow(bad, Some("rt.example.net")), "{bad}");
        }
    }

    #[test]
    fn null_must_be_listed() {
        assert!(origins(&["null"]).allow("null", None));
        assert!(!origins(&[]).allow("null", None));
    }

    #[test]
    fn the_gateways_own_pages_are_not_foreign() {
        let none = origins(&[]);
        assert!(none.allow("http://127.0.0.1:8080", Some("127.0.0.1:8080")));
        assert!(!none.allow("http://127.0.0.1:8081", Some("127.0.0.1:8080")));
        assert!(!none.allow("http://127.0.0.1:8080", None));
    }

    #[test]
    fn a_star_lets_every_page_in() {
        assert!(origins(&["*"]).allow("https://anything.example", None));
    }
}
