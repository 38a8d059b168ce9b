//! All outputs: a line each. From it come the settings, the opening and the list of names.
//! Nothing else in the program names an output.

use std::path::{Path, PathBuf};

use crate::{OpenError, Output};

/// What an output may need to know of the program it runs in.
#[derive(Debug, Clone)]
pub struct Place {
    /// The data directory; relative paths in the configuration lie below it.
    pub data: PathBuf,
}

impl Place {
    /// A path of the configuration: below the data directory unless absolute.
    pub fn path(&self, configured: &Path) -> PathBuf {
        self.data.join(configured)
    }
}

macro_rules! outputs {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        /// The settings of all outputs, each in a table of its own.
        #[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, serde::Serialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Settings {
            $($(#[$doc])* pub $name: crate::$name::Settings,)*
        }

        impl Settings {
            /// The names of all outputs there are.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            /// Whether any output is enabled.
            pub fn is_any_enabled(&self) -> bool {
                false $(|| self.$name.enabled)*
            }

            /// The directories that enabled outputs write to.
            pub fn directories(&self, place: &Place) -> Vec<PathBuf> {
                let mut directories = Vec::new();
                $(if self.$name.enabled { directories.extend(self.$name.directories(place)); })*
                directories
            }

            /// Opens every output that is enabled.
            ///
            /// # Errors
            /// The first that cannot be opened, and why.
            pub fn open(&self, place: &Place) -> Result<Vec<Box<dyn Output>>, OpenError> {
                let mut outputs: Vec<Box<dyn Output>> = Vec::new();
                $(if self.$name.enabled { outputs.push(Box::new(self.$name.open(place)?)); })*
                Ok(outputs)
            }
        }
    };
}

outputs! {
    /// Files of JSON lines.
    ndjson;
    /// JSON lines on standard output.
    stdout;
    /// The event store that the console reads.
    store;
}
