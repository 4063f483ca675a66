//! The extension's files in the private installation.

use std::path::PathBuf;
use std::process::Command;

/// The version of this checkout.
pub fn this_version() -> String {
    let manifest = include_str!("../../Cargo.toml");
    let line = manifest
        .lines()
        .find_map(|line| line.strip_prefix("version = \""))
        .expect("Cargo.toml has a version");
    line.trim_end_matches('"').to_owned()
}

fn directory() -> PathBuf {
    // scripts/run puts the private installation first.
    let output = Command::new("pg_config")
        .arg("--sharedir")
        .output()
        .expect("pg_config");
    let text = String::from_utf8(output.stdout).expect("a path");
    PathBuf::from(text.trim()).join("extension")
}

/// The installation script of this version.
pub fn install_script() -> String {
    let path = directory().join(format!("wallet--{}.sql", this_version()));
    std::fs::read_to_string(&path).expect("the installation script")
}

/// Files next to the extension's own, removed at the end.
pub struct Files(Vec<PathBuf>);

impl Files {
    /// Writes files by name. An existing file is never overwritten.
    pub fn new(files: &[(String, &str)]) -> Files {
        let mut written = Files(Vec::new());
        for (name, text) in files {
            let path = directory().join(name);
            assert!(!path.exists(), "{} exists", path.display());
            std::fs::write(&path, text).expect("a script");
            written.0.push(path);
        }
        written
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for path in &self.0 {
            if let Err(error) = std::fs::remove_file(path) {
                eprintln!("{} was not removed: {error}", path.display());
            }
        }
    }
}
