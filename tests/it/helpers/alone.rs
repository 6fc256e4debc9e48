//! Tests that need a process of their own.

use std::{env, process::Command};

/// Set in a process that runs a single test.
const ALONE: &str = "JUMPSTARTER_ROUTER_TEST_ALONE";

/// Whether no other test runs in this process. If others may, this one is run again where none does, and must do
/// nothing more here.
///
/// For tests that measure the memory of the process they run in, or set what holds for all of it.
macro_rules! alone {
    () => {{
        fn here() {}
        $crate::helpers::alone::here_or_again(std::any::type_name_of_val(&here))
    }};
}

pub(crate) use alone;

/// `here`: the path of a function in the test.
pub fn here_or_again(here: &str) -> bool {
    if env::var_os(ALONE).is_some() {
        return true;
    }
    let (_, path) = here.split_once("::").unwrap();
    let test = path.trim_end_matches("::here");
    let test = test.trim_end_matches("::{{closure}}");
    let output = Command::new(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    let passed = output.status.success() && said.contains(" 1 passed");
    assert!(passed, "{test}, in a process of its own: {}", output.status);
    false
}
