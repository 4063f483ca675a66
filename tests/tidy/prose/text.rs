//! The prose of a file: paragraphs without code, and lines that are too long.

use super::literals;

/// The most characters of a line of prose.
pub const WIDTH: usize = 100;

/// The prose of a file.
#[derive(Default)]
pub struct Prose {
    /// Its paragraphs, list items and table cells, each in one line and without code.
    pub paragraphs: Vec<String>,
    /// The numbers of its lines that are longer than `WIDTH`.
    pub long_lines: Vec<usize>,
    open: String,
}

impl Prose {
    /// The prose of a file, by the ending of its name.
    pub fn of(path: &str, text: &str) -> Prose {
        let mut prose = Prose::default();
        if path.ends_with(".md") {
            prose.read_markdown(path, text);
        } else if path.ends_with(".sql") {
            prose.read_comments(text, &["--"]);
            prose.read_catalog_comments(text);
        } else if path.ends_with(".rs") {
            prose.read_comments(text, &["//!", "///", "//"]);
            if path.starts_with("src/") {
                prose.read_literals(path, text);
            }
        } else {
            prose.read_comments(text, &["#:", "#"]);
            if path.ends_with("Makefile") {
                prose.read_help(text);
            }
        }
        prose
    }

    fn end(&mut self) {
        let text = without_code(&std::mem::take(&mut self.open));
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if !text.is_empty() {
            self.paragraphs.push(text);
        }
    }

    fn add(&mut self, line: &str) {
        self.open.push(' ');
        self.open.push_str(line);
    }

    fn check_length(&mut self, number: usize, line: &str) {
        if line.chars().count() > WIDTH {
            self.long_lines.push(number);
        }
    }

    /// Leaves out blocks of code. Rows of tables and generated parts may be long.
    fn read_markdown(&mut self, path: &str, text: &str) {
        let (mut in_code, mut is_generated) = (false, false);
        for (index, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                self.end();
                in_code = !in_code;
                continue;
            }
            if in_code || line.starts_with("    ") {
                continue;
            }
            is_generated = match line {
                // Generated from the usage mappings, to the end of the page.
                "## Built-in mappings" => true,
                _ if path == "docs/usage.md" => is_generated,
                // Generated from the catalog, up to the level of the function.
                _ if line.starts_with("### ") => path.starts_with("docs/reference/"),
                _ if line.starts_with("Level: ") => {
                    self.end();
                    false
                }
                _ => is_generated,
            };
            // Also generated: the functions of each page in the index.
            let is_index = path == "docs/reference.md" && line.starts_with("- [");
            let is_row = line.starts_with('|');
            let is_item = line.trim_start().split_once(' ').is_some_and(|(mark, _)| {
                mark == "-"
                    || mark
                        .strip_suffix('.')
                        .is_some_and(|n| n.parse::<u8>().is_ok())
            });
            if line.is_empty() || is_row || is_item || line.starts_with('#') {
                self.end();
            }
            match is_row {
                true => line.split('|').for_each(|cell| {
                    self.add(cell);
                    self.end();
                }),
                false => self.add(line.trim_start_matches(['#', '-', ' '])),
            }
            if !is_row
                && !is_generated
                && !is_index
                && !line.starts_with("![")
                && !line.starts_with("Level: ")
            {
                self.check_length(index + 1, line);
            }
        }
        self.end();
    }

    /// Reads the lines that consist of a comment.
    fn read_comments(&mut self, text: &str, marks: &[&str]) {
        let mut in_code = false;
        for (index, line) in text.lines().enumerate() {
            let comment = marks
                .iter()
                .find_map(|mark| line.trim_start().strip_prefix(mark));
            // The first line of a script, and what shellcheck reads, are code.
            let comment =
                comment.filter(|text| !text.starts_with("!/") && !text.starts_with(" shellcheck "));
            let Some(comment) = comment else {
                self.end();
                in_code = false;
                continue;
            };
            // The help of a task in scripts/run is one line.
            if !line.starts_with("#:") {
                self.check_length(index + 1, line);
            }
            if comment.trim_start().starts_with("```") {
                in_code = !in_code;
            }
            if comment.trim().is_empty() {
                self.end();
            } else if !in_code && !comment.starts_with("     ") {
                self.add(comment);
            }
        }
        self.end();
    }

    /// Reads the string literals of Rust.
    fn read_literals(&mut self, path: &str, text: &str) {
        for literal in literals::of(path, text) {
            self.add(&literal);
            self.end();
        }
    }

    /// Reads the help of the tasks in Makefile.
    fn read_help(&mut self, text: &str) {
        for (_, help) in text.lines().filter_map(|line| line.split_once(" ## ")) {
            self.add(help);
            self.end();
        }
    }

    /// Reads the texts of COMMENT ON.
    fn read_catalog_comments(&mut self, text: &str) {
        for statement in text.split("\nCOMMENT ON ").skip(1) {
            let Some((_, literal)) = statement.split_once(" IS '") else {
                continue;
            };
            // A quote within the text is written twice.
            let literal = literal.replace("''", "’");
            let text = literal.split('\'').next().unwrap_or_default();
            self.add(text);
            self.end();
        }
    }
}

/// The text without code between backticks and without link targets.
fn without_code(text: &str) -> String {
    let words = text.split('`').enumerate();
    let text: String = words
        .map(|(index, part)| if index % 2 == 0 { part } else { "…" })
        .collect();
    let mut parts = text.split("](");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let after = part.split_once(')').map_or("", |(_, after)| after);
        out.push(']');
        out.push_str(after);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_tables_and_generated_parts_of_markdown_may_be_long() {
        let long = "x ".repeat(60);
        let text = format!(
            "# A `b`\n\nOne\ntwo. {long}\n\n- [three](four)\n- 5\n\n| {long} | six |\n\n\
             ```sql\n{long}\n```\n\n### f\n\n{long}\n\nLevel: {long}\n\n{long}\n"
        );
        let prose = Prose::of("docs/reference/a.md", &text);
        assert_eq!(prose.long_lines, [4, 21]);
        let long = long.trim();
        let paragraphs = [
            "A …",
            &format!("One two. {long}"),
            "[three]",
            "5",
            long,
            "six",
            "f",
            long,
            &format!("Level: {long}"),
            long,
        ];
        assert_eq!(prose.paragraphs, paragraphs);
        let page = format!("{long}\n\n## Built-in mappings\n\n{long}\n\n### f\n\n{long}\n");
        assert_eq!(Prose::of("docs/usage.md", &page).long_lines, [1]);
    }

    #[test]
    fn comments_of_rust_and_sql_are_prose() {
        let rust =
            "//! One\n//! `two`.\n\nfn f() {\n    // Three.\n    let s = \"four\"; // five\n}\n";
        let prose = Prose::of("src/a.rs", rust);
        assert_eq!(prose.paragraphs, ["One ….", "Three.", "four"]);
        let sql = "-- One.\nSELECT 'two';\nCOMMENT ON TABLE t IS 'It''s three; four.';\n";
        let prose = Prose::of("sql/a.sql", sql);
        assert_eq!(prose.paragraphs, ["One.", "It’s three; four."]);
    }

    #[test]
    fn comments_of_scripts_and_the_help_of_makefile_are_prose() {
        let script = "#!/bin/sh\n# One\n# two.\n\n#: A | three\necho '# four' # five\n";
        let prose = Prose::of("scripts/a", script);
        assert_eq!(prose.paragraphs, ["One two.", "A | three"]);
        let makefile = "# One.\ntwo: three ## four\n\t@five # six\n";
        let prose = Prose::of("Makefile", makefile);
        assert_eq!(prose.paragraphs, ["One.", "four"]);
    }
}
