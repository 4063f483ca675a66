//! The public functions and views in the catalog, each of which must have an entry.

use std::collections::BTreeSet;

use postgres::Client;

/// The functions and views that a level may use. Overloads are distinguished by the first argument.
/// The procedure upkeep() is not listed: it commits, so that a measured call could not be rolled
/// back. The functions it calls are.
const PUBLIC: &str = "
    SELECT DISTINCT p.object
           || CASE WHEN count(*) OVER (PARTITION BY p.object) > 1 THEN format('(%s)', p.first) ELSE '' END
      FROM (SELECT DISTINCT v.object, f.oid, f.proargnames[1] AS first
              FROM wallet.privileges() v
              JOIN pg_proc f ON f.proname = v.object AND f.pronamespace = 'wallet'::regnamespace AND f.prokind = 'f'
             WHERE v.object_kind = 'FUNCTION'
             UNION
            SELECT v.object, c.oid, NULL
              FROM wallet.privileges() v
              JOIN pg_class c ON c.relname = v.object AND c.relnamespace = 'wallet'::regnamespace AND c.relkind IN ('v', 'm')
             WHERE v.object_kind = 'TABLE') p
     WHERE p.object <> ALL ($1)";

/// The functions that docs/internals.md lists as parts of others.
fn parts() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/internals.md");
    let text = std::fs::read_to_string(path).expect(path);
    let section = |title: &str| {
        let (_, rest) = text
            .split_once(title)
            .expect("docs/internals.md lists them");
        let section = rest.split("\n## ").next().unwrap_or(rest);
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        let names = rows.filter_map(|row| row.split('|').nth(1));
        names
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .map(str::to_owned)
            .collect::<Vec<String>>()
    };
    let mut parts = section("## Internal functions");
    parts.extend(section("## Internal views"));
    parts
}

/// Every public function and view.
pub fn public(client: &mut Client) -> BTreeSet<String> {
    let rows = client.query(PUBLIC, &[&parts()]).expect("the catalog");
    rows.iter().map(|row| row.get(0)).collect()
}
