//! The page of a month in headless Chromium, at the width of a desk and of a phone, and on paper: its
//! numbers are the reports', and what stands in names is text.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use wallet_tests::Database;

/// Runs at the end of the page, and leaves what a reader would see in an element of its own.
const PROBE: &str = "<script>addEventListener('load', () => {
    const texts = (within, what) => [...within.querySelectorAll(what)].map(e => e.textContent);
    const rows = table => [...table.querySelectorAll('tr')].map(row => texts(row, 'td')).filter(row => row.length);
    const seen = {
        width: innerWidth,
        overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        title: document.title,
        heading: document.querySelector('h1').textContent,
        tiles: texts(document, 'dd'),
        // What does not fit into its box.
        cramped: [...document.querySelectorAll('dd, td.name')].filter(e => e.scrollWidth > e.clientWidth || e.clientWidth < 90).map(e => e.textContent),
        tables: Object.fromEntries([...document.querySelectorAll('h2')].filter(h => h.nextElementSibling.matches('table, .scroll'))
            .map(h => [h.textContent, rows(h.nextElementSibling)])),
        bars: [...document.querySelectorAll('svg rect')].map(r => [r.querySelector('title').textContent, r.getBoundingClientRect().height]),
        ran: Object.keys(window).filter(name => name.startsWith('ran_')),
        foreign: document.querySelectorAll('h1 *, td > :not(.bar), img, iframe, object, link').length,
        loaded: performance.getEntriesByType('resource').length,
        visible: document.body.innerText,
    };
    const out = document.createElement('pre');
    out.id = 'probe';
    out.textContent = btoa(unescape(encodeURIComponent(JSON.stringify(seen))));
    document.documentElement.append(out);
});</script>";

fn chromium(profile: &Path, arguments: &[&str]) -> Output {
    for program in ["chromium", "chromium-browser", "google-chrome"] {
        let run = Command::new(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-dev-shm-usage",
            ])
            .arg(format!("--user-data-dir={}", profile.display()))
            .args(arguments)
            .output();
        if let Ok(output) = run {
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            return output;
        }
    }
    panic!("there is no Chromium; make setup installs it");
}

/// A folder that is gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(database: &Database) -> Folder {
        let path = std::env::temp_dir().join(database.name());
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    /// The page as a browser of that size has it.
    fn seen(&self, page: &Path, size: &str) -> Value {
        let url = format!("file://{}", page.display());
        let profile = self.0.join(format!("profile-{size}"));
        let output = chromium(
            &profile,
            &[&format!("--window-size={size}"), "--dump-dom", &url],
        );
        let dom = String::from_utf8(output.stdout).unwrap();
        let start = dom.find("<pre id=\"probe\">").expect("the probe ran") + 16;
        let end = start + dom[start..].find('<').expect("the element ends");
        let json = decode(&dom[start..end]);
        serde_json::from_slice(&json).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} stays: {error}", self.0.display());
        }
    }
}

/// What `btoa` made.
fn decode(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        let place = alphabet.iter().position(|known| *known == letter);
        bits = bits << 6 | place.expect("a letter of Base64") as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

const WALLET: &str = "<script>ran_1=1</script> & \"Sohn\"";

fn fill(database: &Database) {
    let mut client = database.connect();
    client
        .execute(
            "SELECT wallet.create_wallet($1, time_zone => 'Europe/Berlin')",
            &[&WALLET],
        )
        .unwrap();
    client
        .execute(
            "SELECT wallet.fund($1, 500, reference => '<img src=x onerror=ran_2=1>')",
            &[&WALLET],
        )
        .unwrap();
    let models = [
        "<script>ran_3=1</script>",
        "gpt-4o",
        "javascript:ran_4=1",
        "a-model-whose-name-is-so-long-that-no-telephone-has-a-line-for-it-in-one-piece",
    ];
    for number in 0..40_i32 {
        client
            .execute(
                "SELECT wallet.charge($1, amount => 0.013 * $2::integer * $2::integer + 0.000000000001, model => $3, user_id => $4, team => $5)",
                &[
                    &WALLET,
                    &number,
                    &models[number as usize % models.len()],
                    &["ann", "</td><script>ran_5=1</script>", "Zoë 😀"][number as usize % 3],
                    &[Some("red"), Some("<b>blue</b>"), None][number as usize % 3],
                ],
            )
            .unwrap();
    }
    client
        .execute(
            "SELECT wallet.refund($1, entry_id, amount => 0.5) FROM wallet.entries
              WHERE wallet = $1 AND kind = 'charge' AND amount < -5 LIMIT 1",
            &[&WALLET],
        )
        .unwrap();
}

/// A query's rows as texts, as psql prints them.
fn rows(client: &mut postgres::Client, sql: &str) -> Vec<Vec<String>> {
    let sql = format!("SELECT array_agg(x)::text[] FROM ({sql}) AS t(n, x) GROUP BY n ORDER BY n");
    let rows = client.query(&sql, &[&WALLET]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn a_reader_sees_the_reports_numbers_and_names_as_text() {
    let database = Database::new();
    fill(&database);
    let mut client = database.connect();
    let html: String = client
        .query_one(
            "SELECT wallet.statement_html($1, (now() AT TIME ZONE 'Europe/Berlin')::date)",
            &[&WALLET],
        )
        .unwrap()
        .get(0);
    let folder = Folder::new(&database);
    let page = folder.0.join("probed.html");
    std::fs::write(&page, html.replace("</body>", &format!("{PROBE}</body>"))).unwrap();

    client
        .batch_execute(
            "CREATE TEMP TABLE bounds AS
             SELECT m AT TIME ZONE 'Europe/Berlin' AS first, (m + interval '1 month') AT TIME ZONE 'Europe/Berlin' AS last
               FROM date_trunc('month', now() AT TIME ZONE 'Europe/Berlin') m",
        )
        .unwrap();
    let movements = rows(
        &mut client,
        "SELECT l.line, unnest(ARRAY[to_char(l.at AT TIME ZONE 'Europe/Berlin', 'YYYY-MM-DD'), l.kind, l.description,
                                     coalesce(l.amount::text, ''), l.balance::text])
           FROM bounds, wallet.statement($1, first, last) l",
    );
    let shown_by = |client: &mut postgres::Client, dimension: &str| {
        rows(
            client,
            &format!(
                "SELECT u.place, unnest(ARRAY[coalesce(u.value, '(none)'), '', u.requests::text, u.cost::text])
                   FROM (SELECT row_number() OVER (ORDER BY cost DESC, value) AS place, u.*
                           FROM bounds, wallet.usage_by($1, '{dimension}', first, last) u) u"
            ),
        )
    };
    let by = [
        ("By model", shown_by(&mut client, "model")),
        ("By team", shown_by(&mut client, "team")),
        ("By user", shown_by(&mut client, "user")),
    ];
    let tiles: Vec<String> = client
        .query_one(
            "SELECT ARRAY[(array_agg(balance ORDER BY line))[1],
                          coalesce(sum(amount) FILTER (WHERE kind NOT IN ('charge', 'refund')), 0),
                          -sum(amount) FILTER (WHERE kind = 'charge'), sum(amount) FILTER (WHERE kind = 'refund'),
                          (array_agg(balance ORDER BY line DESC))[1]]::text[]
               FROM bounds, wallet.statement($1, first, last)",
            &[&WALLET],
        )
        .unwrap()
        .get(0);

    for size in ["1280,900", "390,844"] {
        let seen = folder.seen(&page, size);
        let is = |name: &str, wanted: Value| assert_eq!(seen[name], wanted, "{name} at {size}");
        is("heading", WALLET.into());
        is("tiles", serde_json::json!(tiles));
        for (title, rows) in &by {
            assert_eq!(
                seen["tables"][title],
                serde_json::json!(rows),
                "{title} at {size}"
            );
        }
        assert_eq!(
            seen["tables"]["Movements"],
            serde_json::json!(movements),
            "{size}"
        );
        is("ran", serde_json::json!([]));
        is("foreign", 0.into());
        is("loaded", 0.into());
        // Nothing runs out of the screen: wide tables scroll in themselves.
        is("overflow", 0.into());
        is("cramped", serde_json::json!([]));
        assert!(
            seen["visible"]
                .as_str()
                .unwrap()
                .contains("<script>ran_3=1</script>")
        );
        // A bar for every day; the one that was spent on is the only one to be seen.
        let bars = seen["bars"].as_array().unwrap();
        assert!((28..=31).contains(&bars.len()));
        let high: Vec<_> = bars.iter().filter(|bar| bar[1] != 0.0).collect();
        assert_eq!(high.len(), 1);
        let said = format!("{} USD", tiles[2]);
        assert!(high[0][0].as_str().unwrap().ends_with(&said), "{high:?}");
    }

    // The page as it is, for whoever wants to look at it.
    let page = folder.0.join("page.html");
    std::fs::write(&page, &html).unwrap();
    let url = format!("file://{}", page.display());
    let paper = folder.0.join("page.pdf");
    let print = format!("--print-to-pdf={}", paper.display());
    chromium(&folder.0.join("profile-print"), &[&print, &url]);
    let paper = std::fs::read(&paper).unwrap();
    let paper = String::from_utf8_lossy(&paper);
    assert!(
        paper.contains("MediaBox [0 0 594.9"),
        "A4, and no other paper"
    );
    if let Ok(kept) = std::env::var("WALLET_KEEP_PAGE") {
        std::fs::create_dir_all(&kept).unwrap();
        std::fs::write(Path::new(&kept).join("page.html"), &html).unwrap();
        std::fs::copy(folder.0.join("page.pdf"), Path::new(&kept).join("page.pdf")).unwrap();
        for (name, size) in [("desk", "1280,1400"), ("phone", "390,1400")] {
            let shot = format!("--screenshot={kept}/{name}.png");
            chromium(
                &folder.0.join("profile-shot"),
                &[&format!("--window-size={size}"), &shot, &url],
            );
        }
    }
}
