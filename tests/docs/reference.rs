//! The reference agrees with the catalog. Every function that users call has a section. The
//! beginning of the section (purpose, arguments, result, level, errors) is the catalog's, its
//! arguments are explained, and its example runs. `RECORD=1` writes the beginnings and the outputs
//! of the examples.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use postgres::Client;
use wallet_tests::Database;

use crate::page::{Page, check, recording, turn};

/// The pages with sections on functions. docs/reference.md is their index.
const PAGES: &[&str] = &[
    "docs/reference/wallets.md",
    "docs/reference/trees.md",
    "docs/reference/plans.md",
    "docs/reference/fundings.md",
    "docs/reference/grants.md",
    "docs/reference/charges.md",
    "docs/reference/movements.md",
    "docs/reference/prices.md",
    "docs/reference/currencies.md",
    "docs/reference/limits.md",
    "docs/reference/holds.md",
    "docs/reference/alerts.md",
    "docs/reference/access.md",
    "docs/reference/reports.md",
    "docs/reference/proof.md",
];

/// The width at which a signature is wrapped.
const WIDTH: usize = 110;

/// A function as the catalog has it, with all overloads of its name.
#[derive(Default)]
pub struct Function {
    does: String,
    pub errors: String,
    level: String,
    writes: bool,
    pub has_key: bool,
    pub arguments: BTreeSet<String>,
    signatures: Vec<String>,
}

/// Name, comment, whether it writes, names of the arguments, arguments, and result. A result type
/// of a view is named, other row types are spelled out.
const CATALOG: &str = "
    SELECT p.proname::text, coalesce(obj_description(p.oid, 'pg_proc'), ''), p.provolatile = 'v',
           ARRAY(SELECT a.name FROM arguments(p) a WHERE a.mode = 'i'),
           ARRAY(SELECT concat(quote_ident(a.name), ' ', a.type,
                               ' = ' || regexp_replace(pg_get_function_arg_default(p.oid, a.n), '::[a-z ]+(\\[\\])?$', ''))
                   FROM arguments(p) a WHERE a.mode = 'i' ORDER BY a.n),
           CASE WHEN p.proretset THEN 'rows of ' ELSE '' END ||
           CASE WHEN p.prorettype = 'record'::regtype
                THEN (SELECT string_agg(concat(quote_ident(a.name), ' ', a.type), ', ' ORDER BY a.n) FROM arguments(p) a WHERE a.mode <> 'i')
                WHEN c.relkind = 'v' THEN 'wallet.' || c.relname
                WHEN c.relkind = 'c'
                THEN (SELECT string_agg(concat(attname, ' ', short(atttypid)), ', ' ORDER BY attnum)
                        FROM pg_attribute WHERE attrelid = c.oid AND NOT attisdropped)
                ELSE short(p.prorettype) END,
           coalesce((SELECT CASE WHEN bool_or(v.level = 'reader') THEN 'reader' WHEN bool_or(v.level = 'charger') THEN 'charger'
                                 WHEN bool_or(v.level = 'billing') AND bool_or(v.level = 'worker') THEN 'billing or worker'
                                 WHEN bool_or(v.level = 'billing') THEN 'billing' WHEN bool_or(v.level = 'worker') THEN 'worker'
                                 ELSE 'admin' END
                       FROM wallet.privileges() v WHERE v.object_kind = 'FUNCTION' AND v.object = p.proname), '')
      FROM pg_proc p
      JOIN pg_type t ON t.oid = p.prorettype
      LEFT JOIN pg_class c ON c.oid = t.typrelid
      JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
      JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'wallet'
     ORDER BY p.proname, p.pronargs DESC";

/// Helper functions of the query.
const HELPERS: &str = "
    CREATE FUNCTION short(type oid) RETURNS text LANGUAGE sql AS $$
        SELECT replace(replace(replace(format_type(type, NULL), 'timestamp with time zone', 'timestamptz'), 'character varying', 'text'),
                       'time without time zone', 'time') $$;
    CREATE FUNCTION arguments(p pg_proc) RETURNS TABLE (n int, name text, mode text, type text) LANGUAGE sql AS $$
        SELECT a.n::int, a.name, coalesce(a.mode::text, 'i'), short(a.type)
          FROM ROWS FROM (unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])), unnest(p.proargnames),
                          unnest(p.proargmodes)) WITH ORDINALITY a (type, name, mode, n)
         WHERE a.type IS NOT NULL $$;";

pub fn catalog(client: &mut Client) -> BTreeMap<String, Function> {
    client.batch_execute(HELPERS).expect("the helpers");
    let mut functions: BTreeMap<String, Function> = BTreeMap::new();
    for row in client.query(CATALOG, &[]).expect("the catalog") {
        let name: String = row.get(0);
        let comment: String = row.get(1);
        let arguments: Vec<String> = row.get(4);
        let returns: Option<String> = row.get(5);
        let function = functions.entry(name.clone()).or_default();
        let (does, errors) = comment.split_once(" Errors").unwrap_or((&comment, ""));
        let errors = errors
            .split_once(": ")
            .map_or("none of its own.", |(_, codes)| codes);
        if function.does.is_empty() {
            does.clone_into(&mut function.does);
        }
        assert!(
            function.errors.is_empty() || function.errors == errors,
            "the forms of {name} have other errors"
        );
        errors.clone_into(&mut function.errors);
        function.writes = row.get(2);
        let names: Vec<String> = row.get(3);
        function.has_key |= names.iter().any(|name| name == "idempotency_key");
        function.arguments.extend(names);
        function.level = row.get(6);
        let returns = returns.unwrap_or_else(|| "void".to_owned());
        function
            .signatures
            .push(signature(&name, &arguments, &returns));
    }
    functions
}

/// `name(argument, …)` and its result, wrapped if a line would be too long.
fn signature(name: &str, arguments: &[String], returns: &str) -> String {
    let call = broken(&format!("{name}("), &arguments.join(", "), name.len() + 1) + ")";
    format!("{call}\n{}", broken("→ ", returns, 2))
}

fn broken(head: &str, list: &str, indent: usize) -> String {
    let mut text = head.to_owned();
    let mut width = indent;
    for (index, item) in list.split(", ").enumerate() {
        if index > 0 {
            text.push(',');
            if width + item.chars().count() + 3 > WIDTH {
                text.push('\n');
                text.push_str(&" ".repeat(indent));
                width = indent;
            } else {
                text.push(' ');
            }
        }
        text.push_str(item);
        width += item.chars().count() + 2;
    }
    text
}

/// The text below the heading of a section.
fn beginning(function: &Function) -> Vec<String> {
    let mut lines = vec![
        String::new(),
        function.does.clone(),
        String::new(),
        "```".to_owned(),
    ];
    for signature in &function.signatures {
        lines.extend(signature.lines().map(str::to_owned));
    }
    lines.extend(["```".to_owned(), String::new()]);
    let level = match function.level.as_str() {
        "" => String::new(),
        level => format!("Level: {level}. "),
    };
    lines.push(format!("{level}Errors: {}", function.errors));
    lines
}

/// The sections on functions: their headings are `### name`.
fn sections(page: &Page) -> Vec<(String, Range<usize>)> {
    let fences = page.fences();
    let outside = |number: &usize| !fences.iter().any(|(_, range)| range.contains(number));
    let headings: Vec<usize> = (0..page.lines.len())
        .filter(outside)
        .filter(|&number| page.lines[number].starts_with('#'))
        .collect();
    let ends = headings.iter().skip(1).copied().chain([page.lines.len()]);
    headings
        .iter()
        .zip(ends)
        .filter_map(|(&begin, end)| {
            let name = page.lines[begin].strip_prefix("### ")?;
            let identifier = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            identifier.then(|| (name.to_owned(), begin..end))
        })
        .collect()
}

/// The arguments that the index explains for all functions.
fn common() -> String {
    let index = Page::read("docs/reference.md").lines.join("\n");
    let (_, rest) = index
        .split_once("## Arguments that many functions take")
        .expect("docs/reference.md explains common arguments");
    rest.split("\n## ").next().expect("a section").to_owned()
}

/// Whether a text contains an identifier in code.
fn mentions(text: &str, name: &str) -> bool {
    text.split('`').skip(1).step_by(2).any(|code| {
        code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .any(|word| word == name)
    })
}

/// The section without its blocks, and the blocks.
fn parts(page: &Page, section: &Range<usize>) -> (String, Vec<(String, String)>) {
    let mut prose = String::new();
    let mut fences = Vec::new();
    let mut next = section.start;
    for (language, range) in page.fences() {
        if section.contains(&range.start) {
            prose.push_str(&page.lines[next..range.start - 1].join("\n"));
            prose.push('\n');
            fences.push((language.to_owned(), page.lines[range.clone()].join("\n")));
            next = range.end + 1;
        }
    }
    prose.push_str(&page.lines[next..section.end].join("\n"));
    (prose, fences)
}

/// The errors in a section. Its beginning is written when recording.
fn complaints(
    page: &mut Page,
    name: &str,
    section: Range<usize>,
    function: &Function,
    common: &str,
) -> Vec<String> {
    let mut complaints = Vec::new();
    let expected = beginning(function);
    let end = page.lines[section.clone()]
        .iter()
        .position(|line| line.starts_with("Errors: ") || line.starts_with("Level: "));
    let found = section.start + 1..end.map_or(section.start + 1, |end| section.start + end + 1);
    let mut section = section;
    if page.lines[found.clone()] != expected[..] {
        if recording() {
            section.end = section.end + expected.len() - found.len();
            page.lines.splice(found, expected);
        } else {
            complaints.push(format!(
                "does not begin with what the catalog says:\n{}",
                expected.join("\n")
            ));
        }
    }
    let (prose, fences) = parts(page, &section);
    for argument in &function.arguments {
        if !mentions(&prose, argument) && !mentions(common, argument) {
            complaints.push(format!("does not explain `{argument}`"));
        }
    }
    if function.writes && !prose.contains("\nRetry: ") {
        complaints.push("does not say what a retry gets: a paragraph \"Retry: …\"".to_owned());
    }
    let calls = |(language, code): &(String, String)| {
        language == "sql" && code.contains(&format!("wallet.{name}("))
    };
    let shown = fences
        .windows(2)
        .any(|pair| calls(&pair[0]) && pair[1].0 == "text");
    if !shown {
        complaints.push(
            "has no example (a block of sql that calls it, a block of text below)".to_owned(),
        );
    }
    complaints
        .iter()
        .map(|complaint| format!("{} ### {name} {complaint}", page.name()))
        .collect()
}

/// The functions that docs/internals.md lists as called only by others of the extension.
pub fn inside() -> BTreeSet<String> {
    let internals = Page::read("docs/internals.md").lines.join("\n");
    let (_, rest) = internals
        .split_once("## Internal functions")
        .expect("docs/internals.md lists them");
    let section = rest.split("\n## ").next().expect("a section");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

/// Checks that the index has a line for each page, with its functions.
fn index(contents: &[(&str, Vec<String>)]) -> Vec<String> {
    let mut index = Page::read("docs/reference.md");
    let mut wrong = Vec::new();
    for (name, functions) in contents {
        let target = name.strip_prefix("docs/").expect("a page of docs/");
        let title = Page::read(name).lines[0].replace("# ", "");
        let links: Vec<String> = functions
            .iter()
            .map(|function| format!("[{function}]({target}#{function})"))
            .collect();
        let line = format!("- [{title}]({target}): {}", links.join(", "));
        let begin = format!("- [{title}]({target}):");
        match index.lines.iter().position(|line| line.starts_with(&begin)) {
            Some(number) if index.lines[number] == line => {}
            Some(number) if recording() => index.lines[number] = line,
            _ => wrong.push(format!("docs/reference.md lacks the line {line}")),
        }
    }
    if recording() {
        index.write();
    }
    wrong
}

#[test]
fn every_function_has_its_section() {
    let _turn = turn(recording());
    let database = Database::new();
    let functions = catalog(&mut database.connect());
    let (common, inside) = (common(), inside());
    let mut wrong = Vec::new();
    let mut seen = BTreeMap::new();
    let mut contents = Vec::new();
    for name in PAGES {
        let mut page = Page::read(name);
        contents.push((
            *name,
            sections(&page)
                .into_iter()
                .map(|(function, _)| function)
                .collect(),
        ));
        // Backwards, so that writing does not move the sections that follow.
        for (function, section) in sections(&page).into_iter().rev() {
            match functions.get(&function) {
                None => wrong.push(format!("{name} ### {function}: there is no such function")),
                Some(known) => {
                    wrong.extend(complaints(&mut page, &function, section, known, &common));
                }
            }
            if let Some(other) = seen.insert(function.clone(), *name) {
                wrong.push(format!("{function} has a section in {other} and in {name}"));
            }
        }
        if recording() {
            page.write();
        }
    }
    wrong.extend(index(&contents));
    for function in functions.keys() {
        match (seen.contains_key(function), inside.contains(function)) {
            (false, false) => wrong.push(format!("{function}() has no section in docs/reference/")),
            (true, true) => wrong.push(format!("{function}() is documented and inside")),
            _ => {}
        }
    }
    for name in inside {
        if !functions.contains_key(&name) {
            wrong.push(format!(
                "docs/internals.md lists {name}, which does not exist"
            ));
        }
    }
    println!("{} functions", seen.len());
    assert!(
        wrong.is_empty(),
        "{} complaints:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Views, comments, columns with their types, and name and comment of the commented columns.
const VIEWS: &str = "
    SELECT c.relname::text, coalesce(obj_description(c.oid, 'pg_class'), ''),
           ARRAY(SELECT concat(quote_ident(attname), ' ', short(atttypid)) FROM pg_attribute
                  WHERE attrelid = c.oid AND attnum > 0 ORDER BY attnum),
           ARRAY(SELECT format('- `%s`: %s', attname, col_description(attrelid, attnum)) FROM pg_attribute
                  WHERE attrelid = c.oid AND attnum > 0 AND col_description(attrelid, attnum) IS NOT NULL ORDER BY attnum)
      FROM pg_class c
      JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
      JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'wallet'
     WHERE c.relkind = 'v'";

/// A section of docs/reference/views.md is generated completely from the catalog.
fn view_section(comment: &str, columns: &[String], commented: Vec<String>) -> Vec<String> {
    let mut lines = vec![
        String::new(),
        comment.to_owned(),
        String::new(),
        "```".to_owned(),
    ];
    let columns = broken("", &columns.join(", "), 0);
    lines.extend(columns.lines().map(str::to_owned));
    lines.extend(["```".to_owned(), String::new()]);
    if !commented.is_empty() {
        lines.extend(commented);
        lines.push(String::new());
    }
    lines
}

#[test]
fn every_view_has_its_section() {
    let _turn = turn(recording());
    let database = Database::new();
    let mut client = database.connect();
    client.batch_execute(HELPERS).expect("the helpers");
    let mut views: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in client.query(VIEWS, &[]).expect("the views") {
        let (comment, columns): (String, Vec<String>) = (row.get(1), row.get(2));
        views.insert(row.get(0), view_section(&comment, &columns, row.get(3)));
    }
    let mut page = Page::read("docs/reference/views.md");
    let mut wrong = Vec::new();
    for (name, section) in sections(&page).into_iter().rev() {
        let Some(expected) = views.remove(&name) else {
            wrong.push(format!("### {name}: there is no such view"));
            continue;
        };
        let found = section.start + 1..section.end;
        let same = page.lines[found.clone()].join("\n").trim() == expected.join("\n").trim();
        if !same && recording() {
            page.lines.splice(found, expected);
        } else if !same {
            wrong.push(format!("### {name} is not\n{}", expected.join("\n")));
        }
    }
    if recording() {
        page.write();
    }
    wrong.extend(
        views
            .keys()
            .map(|name| format!("the view {name} has no section")),
    );
    assert!(
        wrong.is_empty(),
        "docs/reference/views.md:\n{}",
        wrong.join("\n")
    );
}

/// One test per page, so that the pages run in parallel.
macro_rules! examples {
    ($($test:ident => $page:literal)*) => {
        $(#[test]
        fn $test() {
            check($page, Database::new());
        })*

        #[test]
        fn every_reference_page_runs() {
            assert_eq!(PAGES, [$($page),*]);
        }
    };
}

examples! {
    wallets => "docs/reference/wallets.md"
    trees => "docs/reference/trees.md"
    plans => "docs/reference/plans.md"
    fundings => "docs/reference/fundings.md"
    grants => "docs/reference/grants.md"
    charges => "docs/reference/charges.md"
    movements => "docs/reference/movements.md"
    prices => "docs/reference/prices.md"
    currencies => "docs/reference/currencies.md"
    limits => "docs/reference/limits.md"
    holds => "docs/reference/holds.md"
    alerts => "docs/reference/alerts.md"
    access => "docs/reference/access.md"
    reports => "docs/reference/reports.md"
    proof => "docs/reference/proof.md"
}
