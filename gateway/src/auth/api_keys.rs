//! The keys of the server API: several at once, so that one can follow the other.

use std::fmt;

use rotunda_crds::config::AuthConfig;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::KeyError;

/// The keys of the server API, by name. Only their digests are kept: equally long, they take equally long to compare, however long the keys are.
#[derive(Default)]
pub struct ApiKeys(Vec<(String, [u8; 32])>);

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

impl ApiKeys {
    /// Takes the keys of a config. White space around a key is no part of it: editors and `kubectl create secret --from-file` add it.
    pub fn new<'a>(
        auth: &AuthConfig,
        file: impl Fn(&str) -> Option<&'a [u8]>,
    ) -> Result<Self, KeyError> {
        auth.api_keys
            .iter()
            .map(|key| {
                let bytes = file(&key.file)
                    .map(<[u8]>::trim_ascii)
                    .filter(|bytes| !bytes.is_empty());
                let missing = || KeyError::MissingApiKey {
                    name: key.name.clone(),
                    file: key.file.clone(),
                };
                Ok((key.name.clone(), digest(bytes.ok_or_else(missing)?)))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The name of the key that was presented. Takes as long for a near miss as for a far one, and looks at all keys.
    pub fn name_of(&self, presented: &str) -> Option<&str> {
        let presented = digest(presented.as_bytes());
        let mut found = None;
        for (name, key) in &self.0 {
            if bool::from(key.ct_eq(&presented)) {
                found = Some(name.as_str());
            }
        }
        found
    }
}

fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

#[cfg(test)]
mod tests {
    use rotunda_crds::config::ApiKeyConfig;

    use super::*;

    fn auth(names: &[&str]) -> AuthConfig {
        AuthConfig {
            api_keys: names
                .iter()
                .map(|name| ApiKeyConfig {
                    name: (*name).to_owned(),
                    file: format!("apikey.{name}"),
                })
                .collect(),
            ..AuthConfig::default()
        }
    }

    #[test]
    fn api_keys_are_found_by_value_several_at_once_and_never_printed() {
        let keys = ApiKeys::new(&auth(&["backend", "cron"]), |name| {
            Some(if name == "apikey.cron" {
                b"key-2"
            } else {
                b"key-1\n"
            })
        })
        .unwrap();
        assert_eq!(keys.name_of("key-1"), Some("backend"));
        assert_eq!(keys.name_of("key-2"), Some("cron"));
        for wrong in ["key-3", "key-", "key-11", "", "key-1\n"] {
            assert_eq!(keys.name_of(wrong), None, "{wrong}");
        }
        assert_eq!(format!("{keys:?}"), r#"["backend", "cron"]"#);
    }

    #[test]
    fn an_entry_without_a_key_is_refused_by_name() {
        let error = ApiKeys::new(&auth(&["backend"]), |_| Some(b" \n")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "API key `backend` needs the file `apikey.backend`, which is missing or empty"
        );
        assert_eq!(ApiKeys::default().name_of(""), None);
    }
}
