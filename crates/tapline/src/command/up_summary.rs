//! What `tapline up` prints when it ends: what was captured, where it is, and what was made of it.
//! Asks collector and analyzer; adds up nothing itself.

use std::path::Path;

use super::super::ask;

/// Prints to standard error, like everything else that `up` says.
pub fn print(collector: &Path, analyzer: &Path, data: &Path) {
    let mut text = String::from("\n");
    let balance = ask::json(collector, "/api/v1/balance");
    if let Some(balance) = balance.and_then(|answer| serde_json::from_value(answer).ok()) {
        text.push_str(&super::super::status::balance_text(&balance));
    }
    if let Some(status) = ask::json(analyzer, "/status") {
        let number = |name: &str| status["counters"][name].as_u64().unwrap_or(0);
        text.push_str(&format!("analysed {} packets, {} events\n", number("packets"), number("events")));
        for (name, count) in status["events_by_type"].as_object().into_iter().flatten() {
            text.push_str(&format!("  {name:<10} {:>10}\n", count.as_u64().unwrap_or(0)));
        }
    }
    text.push_str(&format!("events   {}\n", data.join("events").display()));
    text.push_str(&format!("packets  tapline grab [QUERY] -w FILE --archive {}\n", data.join("archive").display()));
    eprint!("{text}");
}
