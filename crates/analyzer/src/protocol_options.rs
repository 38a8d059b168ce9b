//! Options of the protocols as they stand in the configuration: checked one by one while they are read, so that a mistake is named with its line.
//! What the options mean is the protocols' own.

use std::collections::BTreeMap;
use std::fmt;

use decode::config::{Config, ConfigError, Profile};
use decode::protocols;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

/// `[analyzer.protocols]`: by name of the protocol, its options.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(transparent)]
pub struct ProtocolOptions(pub BTreeMap<String, toml::Table>);

impl<'de> Deserialize<'de> for ProtocolOptions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = ProtocolOptions;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of protocols")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ProtocolOptions, A::Error> {
                let mut all = BTreeMap::new();
                while let Some(name) = map.next_key_seed(Name)? {
                    let options = map.next_value_seed(Options(&name))?;
                    all.insert(name, options);
                }
                Ok(ProtocolOptions(all))
            }
        }
        deserializer.deserialize_map(All)
    }
}

/// The name of a protocol that exists.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        let name = String::deserialize(deserializer)?;
        if protocols::ALL.iter().any(|protocol| protocol.name == name) {
            return Ok(name);
        }
        let known: Vec<String> = protocols::ALL.iter().map(|protocol| format!("`{}`", protocol.name)).collect();
        Err(D::Error::custom(format_args!("unknown field `{name}`, expected one of {}", known.join(", "))))
    }
}

/// The options of one protocol.
struct Options<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Options<'_> {
    type Value = toml::Table;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<toml::Table, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Options<'_> {
    type Value = toml::Table;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a table of the options of {}", self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<toml::Table, A::Error> {
        let mut options = toml::Table::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(OptionValue { protocol: self.0, key: &key })?;
            options.insert(key, value);
        }
        Ok(options)
    }
}

/// The value of one option, checked alone.
struct OptionValue<'a> {
    protocol: &'a str,
    key: &'a str,
}

impl<'de> DeserializeSeed<'de> for OptionValue<'_> {
    type Value = toml::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<toml::Value, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        let alone = toml::Table::from_iter([(self.key.to_owned(), value.clone())]);
        let config = Config {
            protocols: BTreeMap::from([(self.protocol.to_owned(), alone)]),
            profile: Profile::Full,
            ..Config::default()
        };
        match config.check() {
            Ok(()) => Ok(value),
            Err(ConfigError::Option { problem, .. }) if problem.starts_with("unknown field") => {
                // Those that the engine takes out before the protocol sees its options.
                let problem = problem.replace("there are no fields", "expected");
                Err(D::Error::custom(format_args!("{problem}, `enabled`, `ports`")))
            }
            Err(ConfigError::Option { problem, .. }) => Err(D::Error::custom(problem)),
            Err(other) => Err(D::Error::custom(other)),
        }
    }
}
