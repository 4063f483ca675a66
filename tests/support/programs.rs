//! Programs installed on the machine.

use std::process::Command;

/// A Python that has a module. Debian's packages of Python modules are for /usr/bin/python3.
///
/// # Panics
/// When there is none.
pub fn python_with(module: &str) -> &'static str {
    let has_it = |python: &&str| {
        let import = format!("import {module}");
        let test = Command::new(python).args(["-c", &import]).output();
        test.is_ok_and(|output| output.status.success())
    };
    let pythons = ["python3", "/usr/bin/python3"];
    pythons
        .into_iter()
        .find(has_it)
        .unwrap_or_else(|| panic!("no Python has {module}: make setup installs it"))
}
