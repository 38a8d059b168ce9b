//! Log lines on standard error; `TAPLINE_LOG` (such as `debug` or `collector=debug,info`) says how many.
//! Standard output is never logged to: it belongs to the data.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging; `default` is the level when `TAPLINE_LOG` says nothing.
pub fn start(default: &str) {
    let filter = EnvFilter::try_from_env("TAPLINE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let built = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // Where standard error is gone there is nobody to tell, and nothing to fail for.
        .log_internal_errors(false)
        .compact();
    // Journald and the supervisor write their own times.
    if std::env::var_os("JOURNAL_STREAM").is_some() || privilege::supervisor::is_supervised() {
        let _ = built.without_time().try_init();
    } else {
        let _ = built.try_init();
    }
}
