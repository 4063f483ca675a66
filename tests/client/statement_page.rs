//! The page of a month in headless Chromium, as wide as on a desktop and on a phone, and printed.
//! Its figures are the reports', and names are shown as text.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use wallet_tests::{Database, dec};

/// Runs at the end of the page, and writes what a reader sees into an element.
const PROBE: &str = "<script>addEventListener('load', () => {
    const texts = (within, what) => [...within.querySelectorAll(what)].map(e => e.textContent);
    const rows = table => [...table.querySelectorAll('tr')].map(row => texts(row, 'td')).filter(row => row.length);
    const seen = {
        width: innerWidth,
        overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        title: document.title,
        heading: document.querySelector('h1').textContent,
        tiles: texts(document, 'dd'),
        names: texts(document, 'dt'),
        // Contents that do not fit into their box.
        cramped: [...document.querySelectorAll('dd, td.name')].filter(e => e.scrollWidth > e.clientWidth || e.clientWidth < 90).map(e => e.textContent),
        // Numbers on more than one line, and tables wider than their container.
        broken: [...document.querySelectorAll('dd, td.n, td.d')].filter(e => {
            const range = document.createRange();
            range.selectNodeContents(e);
            return new Set([...range.getClientRects()].map(r => Math.round(r.top))).size > 1;
        }).map(e => e.textContent),
        wide: [...document.querySelectorAll('table, tr, td, dd')].filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth
            || e.scrollWidth > e.clientWidth + 1).map(e => e.textContent),
        tables: Object.fromEntries([...document.querySelectorAll('h2')].filter(h => h.nextElementSibling.matches('.use, .moves'))
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
    parent.document.documentElement.append(out);
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

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(database: &Database) -> Folder {
        let path = std::env::temp_dir().join(database.name());
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    /// The URL of a page that shows this one in a frame of this size: a browser window cannot be as
    /// narrow as a phone.
    fn framed(&self, html: &str, (width, height): (u32, u32), name: &str) -> String {
        let inner = html.replace('&', "&amp;").replace('"', "&quot;");
        let page = self.0.join(format!("{name}.html"));
        let frame = format!(
            "<!DOCTYPE html><body style=\"margin:0\"><iframe style=\"width:{width}px;height:{height}px;border:0\" srcdoc=\"{inner}\"></iframe>"
        );
        std::fs::write(&page, frame).unwrap();
        format!("file://{}", page.display())
    }

    /// The page on a screen of this size.
    fn seen(&self, html: &str, size: (u32, u32)) -> Value {
        let url = self.framed(html, size, "framed");
        let profile = self.0.join(format!("profile-{}", size.0));
        let output = chromium(&profile, &["--window-size=1300,1000", "--dump-dom", &url]);
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

/// Decodes the output of `btoa`.
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
    // Every kind of movement, and more digits than expected.
    for sql in [
        "SELECT wallet.fund($1, 123456789.123456789012, 'bank', reference => 'large')",
        "SELECT wallet.reverse_funding(wallet, entry_id, 'charged back') FROM wallet.fund($1, 30, 'card', reference => 'disputed'),
                LATERAL (SELECT $1 AS wallet) w",
        "SELECT wallet.void_grant(wallet, entry_id) FROM wallet.fund($1, 7.25, 'grant', promotional => true, priority => 200),
                LATERAL (SELECT $1 AS wallet) w",
        "SELECT wallet.adjust($1, -0.000000000003, reason => 'a correction')",
        "SELECT wallet.create_wallet('other'), $1::text",
        "SELECT wallet.transfer($1, 'other', 11.5)",
        "SELECT wallet.charge($1, amount => 0.01, model => 'm-' || n) FROM generate_series(1, 14) n",
    ] {
        client.execute(sql, &[&WALLET]).unwrap();
    }
}

/// The rows of a query as text, as psql prints them.
fn rows(client: &mut postgres::Client, sql: &str) -> Vec<Vec<String>> {
    let sql = format!("SELECT array_agg(x)::text[] FROM ({sql}) AS t(n, x) GROUP BY n ORDER BY n");
    let rows = client.query(&sql, &[&WALLET]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn the_page_shows_the_reports_numbers_and_names_as_text() {
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
    let probed = html.replace("</body>", &format!("{PROBE}</body>"));

    client
        .batch_execute(
            "CREATE TEMP TABLE bounds AS
             SELECT m AT TIME ZONE 'Europe/Berlin' AS first, (m + interval '1 month') AT TIME ZONE 'Europe/Berlin' AS last
               FROM date_trunc('month', now() AT TIME ZONE 'Europe/Berlin') m",
        )
        .unwrap();
    let movements = rows(
        &mut client,
        "SELECT l.line, unnest(ARRAY[to_char(greatest(l.at, first) AT TIME ZONE 'Europe/Berlin', 'YYYY-MM-DD'), l.kind, l.description,
                                     coalesce(l.amount::text, ''), l.balance::text])
           FROM bounds, wallet.statement($1, first, last) l",
    );
    let shown_by = |client: &mut postgres::Client, dimension: &str| {
        rows(
            client,
            &format!(
                "WITH u AS (
                     SELECT row_number() OVER (ORDER BY cost DESC, value) AS place, count(*) OVER () AS count, u.*
                       FROM bounds, wallet.usage_by($1, '{dimension}', first, last) u)
                 SELECT place, unnest(ARRAY[value, '', requests::text, round(cost, greatest(min_scale(cost), 2))::text])
                   FROM (SELECT place, coalesce(value, '(none)') AS value, requests, cost FROM u WHERE place <= CASE WHEN count > 12 THEN 11 ELSE 12 END
                          UNION ALL
                         SELECT 12, '(' || count(*) || ' more)', sum(requests), sum(cost) FROM u WHERE count > 12 AND place > 11 HAVING count(*) > 0
                          UNION ALL
                         SELECT 13, 'All', sum(requests), sum(cost) FROM u) r"
            ),
        )
    };
    let by = [
        ("By model", shown_by(&mut client, "model")),
        ("By team", shown_by(&mut client, "team")),
        ("By user", shown_by(&mut client, "user")),
    ];
    let sums = rows(
        &mut client,
        "SELECT n, unnest(ARRAY[name, round(v, greatest(min_scale(v), 2))::text])
           FROM (SELECT (array_agg(balance ORDER BY line))[1] AS opening, (array_agg(balance ORDER BY line DESC))[1] AS closing,
                        jsonb_object_agg(kind, amount) AS of
                   FROM (SELECT min(line) AS line, kind, sum(amount) AS amount, min(balance) AS balance
                           FROM bounds, wallet.statement($1, first, last) GROUP BY kind) k) s
          CROSS JOIN LATERAL (VALUES (1, 'Opening balance', opening), (2, '+ Money in', (of ->> 'funding')::numeric),
               (3, '- Spent', -(of ->> 'charge')::numeric), (4, '+ Refunded', (of ->> 'refund')::numeric),
               (5, '+ Transfers', (of ->> 'transfer')::numeric), (6, '- Chargebacks', -(of ->> 'chargeback')::numeric),
               (7, '+ Adjustments', (of ->> 'adjustment')::numeric), (8, '- Expired or voided', -(of ->> 'expiry')::numeric),
               (9, '= Closing balance', closing)) t(n, name, v)",
    );
    let names: Vec<&String> = sums.iter().map(|sum| &sum[0]).collect();
    let tiles: Vec<&String> = sums.iter().map(|sum| &sum[1]).collect();
    // Added up like a reader does.
    let value = |place: usize| dec(tiles[place]);
    let sum = value(0) + value(1) - value(2) + value(3) + value(4) - value(5) + value(6) - value(7);
    assert_eq!(sum, value(8));
    let balance: String = client
        .query_one(
            "SELECT balance::text FROM wallet.balances WHERE wallet = $1",
            &[&WALLET],
        )
        .unwrap()
        .get(0);
    assert_eq!(&balance, tiles[8]);
    let today: String = client
        .query_one(
            "SELECT to_char(now() AT TIME ZONE 'Europe/Berlin', 'YYYY-MM-DD')",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(
        movements.last().unwrap()[0],
        today,
        "nothing is dated in the future"
    );

    for size in [(1280, 900), (390, 844)] {
        let seen = folder.seen(&probed, size);
        let is = |name: &str, wanted: Value| assert_eq!(seen[name], wanted, "{name} at {size:?}");
        is("width", size.0.into());
        is("heading", WALLET.into());
        is("tiles", serde_json::json!(tiles));
        is("names", serde_json::json!(names));
        is("broken", serde_json::json!([]));
        is("wide", serde_json::json!([]));
        for (title, rows) in &by {
            assert_eq!(
                seen["tables"][title],
                serde_json::json!(rows),
                "{title} at {size:?}"
            );
        }
        assert_eq!(
            seen["tables"]["Movements"],
            serde_json::json!(movements),
            "{size:?}"
        );
        is("ran", serde_json::json!([]));
        is("foreign", 0.into());
        is("loaded", 0.into());
        // Nothing is wider than the screen.
        is("overflow", 0.into());
        is("cramped", serde_json::json!([]));
        assert!(
            seen["visible"]
                .as_str()
                .unwrap()
                .contains("<script>ran_3=1</script>")
        );
        // One bar for every day. Only the day with spending is visible.
        let bars = seen["bars"].as_array().unwrap();
        assert!((28..=31).contains(&bars.len()));
        let high: Vec<_> = bars.iter().filter(|bar| bar[1] != 0.0).collect();
        assert_eq!(high.len(), 1);
        let said = format!("{} USD", tiles[2]);
        assert!(high[0][0].as_str().unwrap().ends_with(&said), "{high:?}");
    }

    // Keeps the page for inspection.
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
        let scheme = "@media (prefers-color-scheme: dark)";
        assert!(html.contains(scheme));
        let dark = html.replace(scheme, "@media all");
        for (name, size, html) in [
            ("desk", (1280, 2600), &html),
            ("phone", (390, 5200), &html),
            ("dark", (1280, 2600), &dark),
            ("dark-phone", (390, 5200), &dark),
        ] {
            let url = folder.framed(html, size, name);
            let size = format!("{},{}", size.0, size.1);
            let shot = format!("--screenshot={kept}/{name}.png");
            chromium(
                &folder.0.join("profile-shot"),
                &[&format!("--window-size={size}"), &shot, &url],
            );
        }
    }
}
