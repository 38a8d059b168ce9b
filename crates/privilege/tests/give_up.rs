//! What is left after giving up: read from the kernel, in a process of its own (a test thread cannot undo it).

use std::process::Command;

#[test]
fn nothing_is_left_and_nothing_comes_back() {
    if std::env::var_os("TAPLINE_TEST_GIVE_UP").is_some() {
        let user = privilege::user(None).unwrap();
        privilege::give_up(&user).unwrap();
        print!(
            "{}",
            std::fs::read_to_string("/proc/self/task/self/status")
                .unwrap_or_else(|_| { std::fs::read_to_string("/proc/thread-self/status").unwrap() })
        );
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "nothing_is_left_and_nothing_comes_back", "--nocapture", "--test-threads=1"])
        .env("TAPLINE_TEST_GIVE_UP", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .unwrap_or_else(|| panic!("no {name} in {text}"))
            .trim()
            .to_owned()
    };
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&value(set), 16), Ok(0), "{set}");
    }
    assert_eq!(value("NoNewPrivs"), "1");
    assert!(!value("Uid").split_whitespace().any(|uid| uid == "0"), "still root: {}", value("Uid"));
}
