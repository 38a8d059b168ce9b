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

            /// Opens every output that is enabled.
            ///
            /// # Errors
            /// The first that cannot be opened, and why.
            pub fn open(&self, place: &Place) -> Result<Vec<Opened>, OpenError> {
                let mut outputs = Vec::new();
                $(if self.$local.enabled {
                    let settings = &self.$local;
                    let output: Box<dyn Output> = Box::new(settings.open(place)?);
                    outputs.push(Opened { output, when: settings.when.clone(), when_full: settings.when_full });
                })*
                $(if self.$remote.enabled {
                    let (name, settings) = (stringify!($remote), &self.$remote);
                    let service = settings.service(&place.fields)?;
                    let output = Box::new(Remote::open(name, Box::new(service), place, &settings.backlog, &settings.bulk)?);
                    outputs.push(Opened { output, when: settings.when.clone(), when_full: settings.when_full });
                })*
                Ok(outputs)
            }

            /// Opens the service of an output, enabled or not; `None` if there is none of that name.
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
