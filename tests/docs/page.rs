//! Pages whose examples run. All SQL blocks of a page run in order in one psql, and print the text
//! block below each. `RECORD=1` writes the output into the page.

use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use wallet_tests::Database;

/// Serializes pages that create roles, which belong to the cluster, and all that write pages.
static TURN: Mutex<()> = Mutex::new(());

const CREATE_ROLE: &str = "CREATE ROLE ";

/// Separates the outputs of two blocks.
const MARK: &str = "---- the next example ----";

/// A page of the documents.
pub struct Page {
    name: String,
    pub lines: Vec<String>,
}

/// An SQL block and the text block below it, as line ranges.
struct Example {
    code: Range<usize>,
    printed: Option<Range<usize>>,
}

/// Whether differences are written into the page instead of reported.
pub fn recording() -> bool {
    std::env::var_os("RECORD").is_some()
}

/// Waits for pages that must not run at the same time.
pub fn turn(needed: bool) -> Option<MutexGuard<'static, ()>> {
    needed.then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Runs a page in a separate database, and compares or records what it prints.
pub fn check(name: &str, database: Database) {
    let makes_roles = Page::read(name)
        .lines
        .iter()
        .any(|line| line.contains(CREATE_ROLE));
    let _turn = turn(makes_roles || recording());
    Page::read(name).run(database);
}

/// Runs a shell command in the root of the project, with the database as the default one.
pub fn run_shell(command: &str, database: &Database) -> Output {
    Command::new("sh")
        .args(["-c", command])
        .current_dir(path_of("."))
        .env("PGDATABASE", database.name())
        .output()
        .expect("sh starts")
}

pub fn path_of(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(name)
}

impl Page {
    pub fn read(name: &str) -> Page {
        let text = std::fs::read_to_string(path_of(name))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        Page {
            name: name.to_owned(),
            lines: text.lines().map(str::to_owned).collect(),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn write(&self) {
        let text = self.lines.join("\n") + "\n";
        std::fs::write(path_of(&self.name), text).expect("the page can be written");
    }

    /// The fenced blocks: language and content.
    pub fn fences(&self) -> Vec<(&str, Range<usize>)> {
        let mut fences = Vec::new();
        let mut open = None;
        for (number, line) in self.lines.iter().enumerate() {
            let Some(language) = line.strip_prefix("```") else {
                continue;
            };
            open = match open {
                None => Some((language, number + 1)),
                Some((language, begin)) => {
                    fences.push((language, begin..number));
                    None
                }
            };
        }
        assert!(open.is_none(), "{}: a block does not end", self.name);
        fences
    }

    /// The shell block with these words.
    pub fn shell(&self, words: &str) -> String {
        self.fences()
            .iter()
            .filter(|(language, _)| *language == "sh")
            .map(|(_, lines)| self.lines[lines.clone()].join("\n"))
            .find(|block| block.contains(words))
            .unwrap_or_else(|| panic!("{} has no shell block with {words}", self.name))
    }

    fn examples(&self) -> Vec<Example> {
        let fences = self.fences();
        let mut examples = Vec::new();
        for (index, (language, code)) in fences.iter().enumerate() {
            if *language != "sql" {
                continue;
            }
            let below = fences.get(index + 1).filter(|(language, range)| {
                let between = &self.lines[code.end + 1..range.start - 1];
                *language == "text" && between.iter().all(|line| line.trim().is_empty())
            });
            examples.push(Example {
                code: code.clone(),
                printed: below.map(|(_, range)| range.clone()),
            });
        }
        examples
    }

    fn run(&mut self, database: Database) {
        let examples = self.examples();
        assert!(!examples.is_empty(), "{} has no example", self.name);
        let script: String = examples
            .iter()
            .map(|example| {
                let code = self.lines[example.code.clone()].join("\n");
                format!("{code}\n\\echo {MARK}\n")
            })
            .collect();
        let roles = roles_of(&script);
        drop_roles(&roles);
        let said = psql(database.name(), &script);
        drop(database);
        drop_roles(&roles);
        // A page that prints the date is right only on one day.
        for day in days() {
            assert!(!said.contains(&day), "{} prints {day}", self.name);
        }
        let said: Vec<Vec<String>> = said.split(MARK).map(tidy).collect();
        assert_eq!(said.len(), examples.len() + 1, "{}:\n{said:#?}", self.name);
        let mut wrong = Vec::new();
        for (example, said) in examples.into_iter().zip(said).rev() {
            let code = self.lines[example.code.clone()].join("\n");
            let Some(printed) = example.printed else {
                if said.iter().any(|line| line.contains("ERROR:")) {
                    wrong.push(format!("{code}\nsaid\n{}", said.join("\n")));
                }
                continue;
            };
            let expected = tidy(&self.lines[printed.clone()].join("\n"));
            if expected == said {
                continue;
            }
            if recording() {
                self.lines.splice(printed, said);
            } else {
                wrong.push(format!("{code}\nsaid\n{}", said.join("\n")));
            }
        }
        if recording() {
            self.write();
        }
        wrong.reverse();
        assert!(wrong.is_empty(), "{}:\n{}", self.name, wrong.join("\n\n"));
    }
}

/// Today and tomorrow, when limits reset.
fn days() -> Vec<String> {
    let sql = "SELECT (now() AT TIME ZONE 'UTC')::date + n || '' FROM generate_series(0, 1) n";
    let rows = Database::administrator().query(sql, &[]).expect("the days");
    rows.iter().map(|row| row.get(0)).collect()
}

/// The lines without psql's trailing blanks, and without empty lines at both ends.
fn tidy(text: &str) -> Vec<String> {
    text.trim_matches('\n')
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// What psql prints, with errors where they occur.
fn psql(database: &str, script: &str) -> String {
    // One pipe for stdout and stderr, as on a terminal.
    let mut psql = Command::new("sh")
        .args(["-c", "exec psql -Xq -d \"$0\" 2>&1", database])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("psql runs");
    let mut input = psql.stdin.take().expect("its input");
    let script = script.to_owned();
    // In a thread of its own, so that writing and reading do not wait for each other.
    let writer = std::thread::spawn(move || input.write_all(script.as_bytes()));
    let output = psql.wait_with_output().expect("psql ends");
    writer.join().expect("the writer").expect("psql reads");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The roles that a script creates.
fn roles_of(script: &str) -> Vec<String> {
    script
        .split(CREATE_ROLE)
        .skip(1)
        .filter_map(|rest| rest.split([' ', ';', '\n']).next())
        .map(str::to_owned)
        .collect()
}

fn drop_roles(roles: &[String]) {
    let mut client = Database::administrator();
    for role in roles {
        client
            .batch_execute(&format!("DROP ROLE IF EXISTS {role}"))
            .unwrap_or_else(|error| panic!("{role}: {error:?}"));
    }
}
