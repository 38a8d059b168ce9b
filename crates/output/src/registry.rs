//! All outputs: a line each. From it come the settings, the opening and the list of names.
//! Nothing else in the program names an output.

use std::path::{Path, PathBuf};

use event::Field;
use processors::Condition;

use crate::remote::{Remote, Service};
use crate::{OpenError, Output, WhenFull};

/// What an output may need to know of the program it runs in.
#[derive(Debug, Clone)]
pub struct Place {
    /// The data directory; relative paths in the configuration lie below it.
    pub data: PathBuf,
    /// All fields that an event may have.
    pub fields: Vec<&'static Field>,
}

impl Place {
    /// A path of the configuration: below the data directory unless absolute.
    pub fn path(&self, configured: &Path) -> PathBuf {
        self.data.join(configured)
    }
}

/// How an output is opened.
type Open = dyn FnOnce(&Place) -> Result<Box<dyn Output>, OpenError>;

/// An output whose settings were found good.
pub struct Prepared {
    open: Box<Open>,
    when: Option<Condition>,
    when_full: Option<WhenFull>,
}

impl Prepared {
    /// Opens its files, and looks up the names of its servers.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(self, place: &Place) -> Result<Opened, OpenError> {
        Ok(Opened { output: (self.open)(place)?, when: self.when, when_full: self.when_full })
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").finish_non_exhaustive()
    }
}

/// An output that is ready, and what its queue is told.
pub struct Opened {
    /// The output.
    pub output: Box<dyn Output>,
    /// Which events go there; all unless said.
    pub when: Option<Condition>,
    /// What its full queue means, if that is said for it alone.
    pub when_full: Option<WhenFull>,
}

macro_rules! outputs {
    (
        local { $($(#[$local_doc:meta])* $local:ident;)* }
        remote { $($(#[$remote_doc:meta])* $remote:ident;)* }
    ) => {
        /// The settings of all outputs, each in a table of its own.
        #[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, serde::Serialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Settings {
            $($(#[$local_doc])* pub $local: crate::$local::Settings,)*
            $($(#[$remote_doc])* pub $remote: crate::$remote::Settings,)*
        }

        impl Settings {
            /// The names of all outputs there are.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($local),)* $(stringify!($remote)),*];

            /// Whether any output is enabled.
            pub fn is_any_enabled(&self) -> bool {
                false $(|| self.$local.enabled)* $(|| self.$remote.enabled)*
            }

            /// The directories that enabled outputs write to.
            pub fn directories(&self, place: &Place) -> Vec<PathBuf> {
                let mut directories = Vec::new();
                $(if self.$local.enabled { directories.extend(self.$local.directories(place)); })*
                $(if self.$remote.enabled { directories.push(Remote::directory(place, stringify!($remote))); })*
                directories
            }

            /// The TCP ports that enabled outputs connect to.
            pub fn tcp_ports(&self) -> Vec<u16> {
                let mut ports = Vec::new();
                $(if self.$remote.enabled { ports.extend(self.$remote.tcp_ports()); })*
                ports
            }

            /// Host and TCP port of the servers that enabled outputs connect to, as configured.
            pub fn servers(&self) -> Vec<(String, u16)> {
                let mut servers = Vec::new();
                $(if self.$remote.enabled { servers.extend(self.$remote.endpoints()); })*
                servers
            }

            /// Whether enabled outputs look up names behind the sandbox, such as those that brokers tell of themselves.
            pub fn looks_up_names(&self) -> bool {
                false $(|| self.$remote.enabled && self.$remote.looks_up_names())*
            }

            /// Judges the settings of every output that is enabled, and reads the files with secrets that they name; opens and looks up nothing.
            ///
            /// # Errors
            /// What is wrong with each, and what to do.
            pub fn prepare(&self, fields: &[&'static Field]) -> Result<Vec<Prepared>, Vec<OpenError>> {
                let (mut outputs, mut wrong) = (Vec::new(), Vec::new());
                $(if self.$local.enabled {
                    let settings = self.$local.clone();
                    let (when, when_full) = (settings.when.clone(), settings.when_full);
                    match settings.check() {
                        Ok(()) => outputs.push(Prepared {
                            open: Box::new(move |place| Ok(Box::new(settings.open(place)?))),
                            when,
                            when_full,
                        }),
                        Err(error) => wrong.push(error),
                    }
                })*
                $(if self.$remote.enabled {
                    let (name, settings) = (stringify!($remote), &self.$remote);
                    let (backlog, bulk) = (settings.backlog.clone(), settings.bulk.clone());
                    match settings.service(fields) {
                        Ok(mut service) => outputs.push(Prepared {
                            open: Box::new(move |place| {
                                service.look_up()?;
                                Ok(Box::new(Remote::open(name, Box::new(service), place, &backlog, &bulk)?))
                            }),
                            when: settings.when.clone(),
                            when_full: settings.when_full,
                        }),
                        Err(error) => wrong.push(error),
                    }
                })*
                if wrong.is_empty() { Ok(outputs) } else { Err(wrong) }
            }

            /// The service of an output, enabled or not; `None` if there is none of that name.
            ///
            /// # Errors
            /// When its settings cannot be used.
            pub fn service(&self, name: &str, fields: &[&'static Field]) -> Result<Option<Box<dyn Service>>, OpenError> {
                match name {
                    $(stringify!($remote) => Ok(Some(Box::new(self.$remote.service(fields)?))),)*
                    _ => Ok(None),
                }
            }
        }
    };
}

outputs! {
    local {
        /// Files of JSON lines.
        ndjson;
        /// JSON lines on standard output.
        stdout;
        /// The event store that the console reads.
        store;
    }
    remote {
        /// Elasticsearch and OpenSearch.
        elasticsearch;
        /// Kafka.
        kafka;
        /// Redis.
        redis;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(change: &dyn Fn(&mut Settings)) -> Result<usize, Vec<String>> {
        let mut settings = Settings::default();
        change(&mut settings);
        let prepared = settings.prepare(&[]).map(|outputs| outputs.len());
        prepared.map_err(|wrong| wrong.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_wrong_with_each_output_that_is_enabled_is_said() {
        let wrong = |settings: &mut Settings| {
            settings.ndjson.rotate_zone = "Mars".to_owned();
            settings.elasticsearch.hosts.clear();
            settings.kafka.topic = "a/b".to_owned();
            settings.redis.password_file = "/no/such/file".into();
            settings.store.period = std::time::Duration::ZERO;
        };
        assert_eq!(prepared(&|_| {}), Ok(1));
        let only = |settings: &mut Settings| (settings.ndjson.enabled, settings.stdout.enabled) = (false, true);
        assert_eq!(
            prepared(&|settings| (wrong(settings), only(settings)).1),
            Ok(1),
            "what is not enabled is not judged"
        );
        let all = |settings: &mut Settings| {
            wrong(settings);
            settings.store.enabled = true;
            settings.elasticsearch.enabled = true;
            settings.kafka.enabled = cfg!(feature = "kafka");
            settings.redis.enabled = true;
        };
        let said = prepared(&all).unwrap_err();
        let mut known = vec!["ndjson: rotate_zone", "store: period", "elasticsearch: hosts"];
        known.extend(cfg!(feature = "kafka").then_some("kafka: topic"));
        known.push("redis: password_file");
        assert_eq!(said.len(), known.len(), "{said:?}");
        for (said, known) in said.iter().zip(known) {
            assert!(said.starts_with(&format!("analyzer.output.{known}")), "{said}");
        }
    }

    #[test]
    fn names_are_looked_up_when_an_output_is_opened() {
        let data = tempfile::tempdir().unwrap();
        let place = Place { data: data.path().to_owned(), fields: Vec::new() };
        let mut settings = Settings::default();
        (settings.ndjson.enabled, settings.redis.enabled) = (false, true);
        settings.redis.hosts = vec!["no.such.host.invalid".to_owned()];
        let error = settings.prepare(&[]).unwrap().remove(0).open(&place).err().unwrap().to_string();
        assert!(error.contains("analyzer.output.redis") && error.contains("no.such.host.invalid"), "{error}");
    }
}
