//! Four months of random business compared with a model of plain numbers. The reports for any
//! moment add up the entries that count by then, whether or not they are rolled up or archived.

use std::collections::{BTreeMap, BTreeSet};

use postgres::Client;
use uuid::Uuid;
use wallet_tests::{Database, Decimal, Seed, dec, scale};

const ZONES: [&str; 5] = [
    "UTC",
    "Europe/Berlin",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "America/New_York",
];
pub(crate) const HOUR: i64 = 3_600_000_000;

/// An entry as it was booked, in plain numbers. Times are microseconds since 1970.
#[derive(Clone, Debug)]
struct Entry {
    id: Uuid,
    kind: String,
    call: String,
    amount: Decimal,
    /// When it was booked.
    booked: i64,
    /// The time from which it counts in a balance.
    counts: i64,
    /// The time of usage.
    used: i64,
    month: String,
    day: String,
    name: String,
    team: Option<String>,
    related: Option<Uuid>,
}

/// Books random entries. Adjustments are later turned into what grants add and lose by themselves.
fn book(client: &mut Client, seed: &mut Seed, wallet: &str) {
    for number in 0..scale(120) {
        let sql = match seed.below(20) {
            0..=10 => {
                // The tag has the same value as the team.
                let team = ["red", "blue", "green", "", ""][seed.below(5) as usize];
                format!(
                    "SELECT wallet.charge('{wallet}', amount => 0.000000001003 * {}, model => {}, team => nullif('{team}', ''),
                                          tags => CASE WHEN '{team}' <> '' THEN '{{\"project\":\"{team}\"}}'::jsonb END, event_at => {})",
                    1 + seed.below(5_000_000_000),
                    ["'m-1'", "'m-2'", "'m-3'", "NULL"][seed.below(4) as usize],
                    ["NULL", "now() - interval '1 day'"][seed.below(2) as usize],
                )
            }
            11..=13 => format!(
                "SELECT wallet.refund(e.wallet, e.entry_id, trunc(-e.amount / 3, 12))
                   FROM (SELECT * FROM wallet.entries e WHERE e.wallet = '{wallet}' AND e.kind = 'charge' AND e.amount < -0.01
                            AND NOT EXISTS (SELECT FROM wallet.refunds r WHERE r.wallet_id = e.wallet AND r.entry_id = e.entry_id)
                          ORDER BY md5(e.entry_id::text || {number}) LIMIT 1) e"
            ),
            14 => format!("SELECT wallet.fund('{wallet}', {}, reference => 'r-{number}')", 1 + seed.below(20)),
            15 => format!("SELECT wallet.transfer('{wallet}', 'other', 0.7)"),
            16 => format!("SELECT wallet.adjust('{wallet}', -0.03, reason => 'real')"),
            17 => format!("SELECT wallet.adjust('{wallet}', 2.5, reason => 'turn')"),
            _ => format!("SELECT wallet.adjust('{wallet}', -1.25, reason => 'end')"),
        };
        client.batch_execute(&sql).unwrap();
    }
}

/// Gives every entry a time in the last four months, in the order of the chain of its lane. Many
/// entries share a time, and many have the first or last moment of a day or month. Only a test can
/// do that.
pub(crate) fn move_in_time(client: &mut Client, seed: &mut Seed, wallet: &str) {
    let rows = client
        .query(
            "SELECT entry_id, (extract(epoch FROM date_trunc('month', now(), time_zone)) * 1000000)::bigint, lane
               FROM wallet.ledger l JOIN wallet.wallets w USING (wallet_id) WHERE wallet_id = $1 ORDER BY lane, seq",
            &[&wallet],
        )
        .unwrap();
    let month: i64 = rows[0].get(1);
    let lanes: BTreeSet<i16> = rows.iter().map(|row| row.get(2)).collect();
    let (mut ids, mut booked, mut used, mut due) = (vec![], vec![], vec![], vec![]);
    for lane in lanes {
        let of_lane: Vec<Uuid> = rows
            .iter()
            .filter(|row| row.get::<_, i16>(2) == lane)
            .map(|row| row.get(0))
            .collect();
        let mut times: Vec<i64> = of_lane
            .iter()
            .map(|_| {
                let at = month - 2 * HOUR - seed.below(110 * 24) as i64 * HOUR;
                match seed.below(4) {
                    0 => at,
                    1 => at - at.rem_euclid(24 * HOUR),
                    2 => at - at.rem_euclid(24 * HOUR) - 1,
                    _ => at + seed.below(HOUR as u64) as i64,
                }
            })
            .collect();
        times.sort_unstable();
        for (id, at) in of_lane.into_iter().zip(times) {
            ids.push(id);
            booked.push(at);
            used.push(at - seed.below(40 * 24) as i64 * HOUR / 7);
            due.push(at - [0, 1, HOUR, 9 * 24 * HOUR, 40 * 24 * HOUR][seed.below(5) as usize]);
        }
    }
    let mut transaction = client.transaction().unwrap();
    transaction
        .batch_execute("SET LOCAL session_replication_role = replica; CREATE TEMP TABLE moved (old uuid, new uuid, at timestamptz, used timestamptz, due timestamptz) ON COMMIT DROP")
        .unwrap();
    transaction
        .execute(
            "INSERT INTO moved
             SELECT m.id, (lpad(to_hex(m.at / 1000), 12, '0') || right(replace(m.id::text, '-', ''), 20))::uuid,
                    to_timestamp(0) + m.at * interval '1 microsecond', to_timestamp(0) + m.used * interval '1 microsecond',
                    to_timestamp(0) + m.due * interval '1 microsecond'
               FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[]) AS m(id, at, used, due)",
            &[&ids, &booked, &used, &due],
        )
        .unwrap();
    transaction
        .batch_execute(
            "UPDATE wallet.ledger l
                SET entry_id = m.new, created_at = m.at,
                    related_id = coalesce((SELECT r.new FROM moved r WHERE r.old = l.related_id), l.related_id),
                    event_at = CASE WHEN l.kind = 'a' AND l.reason <> 'real' THEN m.due WHEN l.event_at IS NOT NULL THEN m.used END,
                    call = CASE WHEN l.reason = 'turn' THEN 'g' WHEN l.reason = 'end' THEN 'x' ELSE l.call END,
                    contra = CASE WHEN l.reason = 'turn' THEN 'funding:grant' WHEN l.reason = 'end' THEN 'expired:grant' ELSE l.contra END,
                    kind = CASE WHEN l.reason = 'turn' THEN 'f' WHEN l.reason = 'end' THEN 'x' ELSE l.kind END
               FROM moved m WHERE l.entry_id = m.old;
             UPDATE wallet.refunds r SET entry_id = m.new FROM moved m WHERE r.entry_id = m.old;
             UPDATE wallet.funding_requests f SET entry_id = m.new, created_at = m.at FROM moved m WHERE f.entry_id = m.old",
        )
        .unwrap();
    transaction
        .execute(
            "UPDATE wallet.wallets SET created_at = now() - interval '1 year' WHERE wallet_id = $1",
            &[&wallet],
        )
        .unwrap();
    transaction.commit().unwrap();
}

/// The rows of the ledger, interpreted by the documented rule.
fn entries(client: &mut Client, wallet: &str) -> Vec<Entry> {
    let rows = client
        .query(
            "SELECT l.entry_id, l.kind::text, l.call::text, l.amount, (extract(epoch FROM l.created_at) * 1000000)::bigint,
                    (extract(epoch FROM l.event_at) * 1000000)::bigint,
                    to_char(coalesce(l.event_at, l.created_at) AT TIME ZONE w.time_zone, 'YYYY-MM-01'),
                    to_char(l.created_at AT TIME ZONE w.time_zone, 'YYYY-MM-DD'), coalesce(l.model, l.service, 'usage'), l.team, l.related_id
               FROM (TABLE wallet.ledger UNION ALL TABLE wallet.ledger_archive) l JOIN wallet.wallets w USING (wallet_id)
              WHERE wallet_id = $1",
            &[&wallet],
        )
        .unwrap();
    let entry = |row: &postgres::Row| {
        let (kind, call): (String, String) = (row.get(1), row.get(2));
        let (booked, said): (i64, Option<i64>) = (row.get(4), row.get(5));
        let is_timed = call == "x" && kind == "x" || call == "g" && kind == "f";
        Entry {
            id: row.get(0),
            counts: said.filter(|_| is_timed).unwrap_or(booked),
            used: said.unwrap_or(booked),
            kind,
            call,
            amount: row.get(3),
            booked,
            month: row.get(6),
            day: row.get(7),
            name: row.get(8),
            team: row.get(9),
            related: row.get(10),
        }
    };
    rows.iter().map(entry).collect()
}

fn sum<'a>(entries: impl Iterator<Item = &'a Entry>) -> Decimal {
    entries.map(|entry| entry.amount).sum()
}

pub(crate) fn time(at: i64) -> String {
    format!("to_timestamp(0) + {at} * interval '1 microsecond'")
}

fn check_balance(client: &mut Client, wallet: &str, entries: &[Entry], at: i64) {
    let sql = format!("SELECT wallet.balance_at($1, {})", time(at));
    let said: Decimal = client.query_one(&sql, &[&wallet]).unwrap().get(0);
    let by_hand = sum(entries.iter().filter(|entry| entry.counts <= at));
    assert_eq!(said, by_hand, "balance_at {at} of {wallet}");
    let sql = format!(
        "SELECT own_balance FROM wallet.balances_in('USD', {}) WHERE wallet = $1",
        time(at)
    );
    let said: Decimal = client.query_one(&sql, &[&wallet]).unwrap().get(0);
    assert_eq!(said, by_hand, "balances_in at {at} of {wallet}");
}

fn check_statement(client: &mut Client, wallet: &str, entries: &[Entry], from: i64, to: i64) {
    let sql = format!(
        "SELECT kind, (extract(epoch FROM at) * 1000000)::bigint, amount, balance, description,
                to_char(at AT TIME ZONE (SELECT time_zone FROM wallet.wallets WHERE wallet_id = $1), 'YYYY-MM-DD')
           FROM wallet.statement($1, {}, {}) ORDER BY line",
        time(from),
        time(to)
    );
    let lines = client.query(&sql, &[&wallet]).unwrap();
    let within: Vec<&Entry> = entries
        .iter()
        .filter(|entry| (from..to).contains(&entry.counts))
        .collect();
    let (mut last, mut balance) = (i64::MIN, Decimal::ZERO);
    let mut charged: BTreeMap<(String, String), (u64, Decimal)> = BTreeMap::new();
    let mut others: Vec<(String, i64, Decimal)> = Vec::new();
    for line in &lines {
        let (kind, at): (String, i64) = (line.get(0), line.get(1));
        assert!(at >= last, "lines are in order");
        last = at;
        balance = line.get(3);
        let by_hand = sum(entries.iter().filter(|entry| entry.counts <= at));
        assert_eq!(balance, by_hand, "{kind} at {at} of {wallet}");
        let Some(amount) = line.get::<_, Option<Decimal>>(2) else {
            continue;
        };
        if kind == "charge" {
            let description: String = line.get(4);
            let (name, count) = description.rsplit_once(", ").unwrap();
            let count: u64 = count.split(' ').next().unwrap().parse().unwrap();
            let sums = charged.entry((line.get(5), name.to_owned())).or_default();
            *sums = (sums.0 + count, sums.1 + amount);
        } else {
            others.push((kind, at, amount));
        }
    }
    assert_eq!(
        balance,
        sum(entries.iter().filter(|entry| entry.counts < to))
    );
    let mut charges: BTreeMap<(String, String), (u64, Decimal)> = BTreeMap::new();
    for entry in within.iter().filter(|entry| entry.kind == "c") {
        let sums = charges
            .entry((entry.day.clone(), entry.name.clone()))
            .or_default();
        *sums = (sums.0 + 1, sums.1 + entry.amount);
    }
    assert_eq!(charged, charges, "charges of a day and a model");
    let word = |kind: &str| match kind {
        "f" => "funding",
        "r" => "refund",
        "a" => "adjustment",
        "x" => "expiry",
        "t" => "transfer",
        other => panic!("{other}"),
    };
    let mut by_hand: Vec<(String, i64, Decimal)> = within
        .iter()
        .filter(|entry| entry.kind != "c")
        .map(|entry| (word(&entry.kind).to_owned(), entry.counts, entry.amount))
        .collect();
    by_hand.sort();
    others.sort();
    assert_eq!(others, by_hand, "every other movement");
}

/// The transactions of a journal add up to what it asserts, which is the balance.
fn check_journal(client: &mut Client, wallet: &str, entries: &[Entry], from: i64, to: i64) {
    let sql = format!("SELECT wallet.journal($1, {}, {})", time(from), time(to));
    let text: String = client.query_one(&sql, &[&wallet]).unwrap().get(0);
    let mut total = Decimal::ZERO;
    let mut asserted = None;
    for line in text.lines().filter(|line| line.starts_with("    Assets:")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        total += dec(words[1]);
        if let ["=", balance, _] = words[3..] {
            asserted = Some(dec(balance));
        }
    }
    assert_eq!(asserted, Some(total), "{text}");
    check_summary(client, wallet, entries, &text, from, to);
    assert_eq!(total, sum(entries.iter().filter(|entry| entry.counts < to)));
}

/// The summary of a journal has the sums of its postings, by day and account of the wallet. For each
/// contra account, it has the sum of its entries. Debits equal credits.
fn check_summary(
    client: &mut Client,
    wallet: &str,
    entries: &[Entry],
    text: &str,
    from: i64,
    to: i64,
) {
    let mut by_day: BTreeMap<String, (i64, Decimal)> = BTreeMap::new();
    let mut day = "";
    for line in text.lines() {
        match line.split_once(" * ") {
            // The opening balance and the assertion are no entries.
            Some((_, words)) if words == "opening balance" || words == "balance" => day = "",
            Some((date, _)) => day = date,
            None if line.starts_with("    Assets:") && !day.is_empty() => {
                let sums = by_day.entry(day.to_owned()).or_default();
                let amount = dec(line.split_whitespace().nth(1).unwrap());
                *sums = (sums.0 + 1, sums.1 + amount);
            }
            None => {}
        }
    }
    let span = format!("\"from\" => {}, \"to\" => {}", time(from), time(to));
    let sql = format!(
        "SELECT to_char(day, 'YYYY-MM-DD'), sum(entries)::bigint, sum(debit - credit), sum(debit), sum(credit)
           FROM wallet.journal_summary(ARRAY[$1], {span}) WHERE account = 'wallet:' || $1 GROUP BY 1"
    );
    let rows = client.query(&sql, &[&wallet]).unwrap();
    let said: BTreeMap<String, (i64, Decimal)> = rows
        .iter()
        .map(|row| (row.get(0), (row.get(1), row.get(2))))
        .collect();
    assert_eq!(said, by_day, "{span}");
    let sql = format!(
        "SELECT sum(debit), sum(credit), coalesce(sum(debit - credit) FILTER (WHERE account LIKE 'usage:%'), 0),
                bool_and(account <> contra AND debit >= 0 AND credit >= 0)
           FROM wallet.journal_summary(ARRAY[$1], {span})"
    );
    let row = client.query_one(&sql, &[&wallet]).unwrap();
    let (debit, credit): (Option<Decimal>, Option<Decimal>) = (row.get(0), row.get(1));
    assert_eq!(debit, credit, "{span}");
    let used = sum(entries
        .iter()
        .filter(|entry| (from..to).contains(&entry.counts) && matches!(&*entry.kind, "c" | "r")));
    assert_eq!(row.get::<_, Decimal>(2), -used, "{span}");
    assert_ne!(row.get::<_, Option<bool>>(3), Some(false), "{span}");
}

fn check_usage(client: &mut Client, wallet: &str, entries: &[Entry], from: i64, to: i64) {
    let within = |kind: &str| {
        sum(entries
            .iter()
            .filter(|entry| entry.kind == kind && (from..to).contains(&entry.used)))
    };
    for dimension in ["user", "team", "model", "day", "hour"] {
        let sql = format!(
            "SELECT coalesce(sum(cost), 0), coalesce(sum(refunded), 0), sum(share), count(*) = count(DISTINCT coalesce(value, ''))
               FROM wallet.usage_by($1, '{dimension}', {}, {})",
            time(from),
            time(to)
        );
        let row = client.query_one(&sql, &[&wallet]).unwrap();
        let (cost, refunded): (Decimal, Decimal) = (row.get(0), row.get(1));
        assert_eq!((cost, refunded), (-within("c"), within("r")), "{dimension}");
        let share: Option<Decimal> = row.get(2);
        assert_eq!(
            share,
            (!cost.is_zero()).then_some(Decimal::ONE),
            "{dimension}"
        );
        assert!(row.get::<_, bool>(3), "{dimension}");
    }
}

/// What each team bears in a month by usage: its own, plus its share of the shared cost of each
/// month. Refunds of shared cost, booked now or later, reduce the cost of their month. The share of
/// a team is its part of the usage of all teams.
fn check_chargeback(client: &mut Client, wallet: &str, entries: &[Entry], month: &str) {
    let charges: BTreeMap<Uuid, &Entry> = entries
        .iter()
        .filter(|entry| entry.kind == "c")
        .map(|entry| (entry.id, entry))
        .collect();
    let own = |month: &str, team: Option<&str>| {
        -sum(charges
            .values()
            .copied()
            .filter(|entry| entry.month == month && entry.team.as_deref() == team))
    };
    let mut pools: BTreeMap<&str, Decimal> = BTreeMap::from([(month, own(month, None))]);
    let refunds = |entry: &&Entry| entry.kind == "r" && entry.month == month;
    for refund in entries
        .iter()
        .filter(refunds)
        .filter(|entry| entry.team.is_none())
    {
        let charge = charges[&refund.related.unwrap()];
        *pools.entry(&charge.month).or_default() -= refund.amount;
    }
    let teams = ["blue", "green", "red"];
    let mut shared: BTreeMap<&str, Decimal> = BTreeMap::new();
    for (month, pool) in &pools {
        let all: Decimal = teams.iter().map(|team| own(month, Some(team))).sum();
        for team in teams.iter().filter(|_| !all.is_zero()) {
            *shared.entry(team).or_default() += pool * own(month, Some(team)) / all;
        }
    }
    let sql = format!(
        "SELECT team, direct_cost, shared_cost, total_cost, share, refunded FROM wallet.chargeback($1, '{month}')"
    );
    let rows = client.query(&sql, &[&wallet]).unwrap();
    let texts = |client: &mut Client, dimension: &str| -> Vec<String> {
        let sql = format!(
            "SELECT c::text FROM wallet.chargeback($1, '{month}', dimension => '{dimension}') c"
        );
        let rows = client.query(&sql, &[&wallet]).unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    };
    assert_eq!(texts(client, "team"), texts(client, "tag:project"));
    let (mut total, mut shares, mut refunded) = (Decimal::ZERO, Decimal::ZERO, Decimal::ZERO);
    for row in &rows {
        let team: Option<String> = row.get(0);
        let (direct, bears): (Decimal, Decimal) = (row.get(1), row.get(2));
        assert_eq!(direct, own(month, team.as_deref()), "{team:?} of {month}");
        let by_hand = match &team {
            Some(team) => shared.remove(team.as_str()).unwrap_or_default(),
            None => -rows
                .iter()
                .filter(|row| row.get::<_, Option<String>>(0).is_some())
                .map(|row| row.get::<_, Decimal>(2))
                .sum::<Decimal>(),
        };
        assert!(
            (bears - by_hand).abs() < dec("0.00000000001"),
            "{team:?} of {month}: {bears}, by hand {by_hand}"
        );
        assert_eq!(row.get::<_, Decimal>(3), direct + bears);
        total += direct + bears;
        shares += row.get::<_, Option<Decimal>>(4).unwrap_or_default();
        refunded += row.get::<_, Decimal>(5);
    }
    shared.retain(|_, bears| bears.abs() > dec("0.00000000001"));
    assert_eq!(shared, BTreeMap::new(), "who is missing in {month}");
    let charged = -sum(charges
        .values()
        .copied()
        .filter(|entry| entry.month == month));
    assert_eq!(total, charged, "{month}");
    assert_eq!(refunded, sum(entries.iter().filter(refunds)));
    assert!(
        total.is_zero() || shares == Decimal::ONE,
        "{month}: {shares}"
    );
}

/// The allocation of several wallets is the sum of theirs, per currency.
fn check_several(client: &mut Client, wallets: &[String], month: &str) {
    let columns = "requests, tokens, direct_cost, shared_cost, total_cost, refunded";
    let read =
        |client: &mut Client, from: &str| -> BTreeMap<(String, Option<String>), Vec<Decimal>> {
            let sql = format!("SELECT currency, team, {columns} FROM {from}")
                .replace("requests, tokens", "requests::numeric, tokens::numeric");
            let rows = client.query(&sql, &[]).unwrap();
            let numbers = |row: &postgres::Row| (2..8).map(|column| row.get(column)).collect();
            rows.iter()
                .map(|row| ((row.get(0), row.get(1)), numbers(row)))
                .collect()
        };
    let mut sums = BTreeMap::new();
    for wallet in wallets {
        for (group, numbers) in read(client, &format!("wallet.chargeback('{wallet}', '{month}')")) {
            let sum: &mut Vec<Decimal> =
                sums.entry(group).or_insert_with(|| vec![Decimal::ZERO; 6]);
            sum.iter_mut()
                .zip(numbers)
                .for_each(|(sum, number)| *sum += number);
        }
    }
    let list = format!("ARRAY['{}']", wallets.join("','"));
    for dimension in ["team", "tag:project"] {
        let from = format!("wallet.chargeback({list}, '{month}', '{dimension}')");
        assert_eq!(read(client, &from), sums, "{from}");
        let sql = format!(
            "SELECT currency, sum(share) FROM {from} GROUP BY 1 HAVING sum(total_cost) <> 0"
        );
        for row in client.query(&sql, &[]).unwrap() {
            assert_eq!(row.get::<_, Decimal>(1), Decimal::ONE, "{from}");
        }
    }
}

fn check(client: &mut Client, wallet: &str, entries: &[Entry], spans: &[(i64, i64)]) {
    for (from, to) in spans {
        check_balance(client, wallet, entries, *from);
        check_balance(client, wallet, entries, *to);
        check_statement(client, wallet, entries, *from, *to);
        check_journal(client, wallet, entries, *from, *to);
        check_usage(client, wallet, entries, *from, *to);
    }
    let months: BTreeSet<&String> = entries.iter().map(|entry| &entry.month).collect();
    for month in months {
        check_chargeback(client, wallet, entries, month);
    }
}

#[test]
fn reports_of_any_moment_add_up_the_entries_that_count_by_then() {
    let mut seed = Seed::of("reports_of_any_moment_add_up_the_entries_that_count_by_then");
    let database = Database::new();
    let mut client = database.connect();
    client
        .batch_execute("SELECT wallet.create_wallet('other')")
        .unwrap();
    let wallets: Vec<String> = (1..=3).map(|number| format!("w{number}")).collect();
    let mut all = Vec::new();
    for (place, wallet) in wallets.iter().enumerate() {
        let zone = ZONES[seed.below(5) as usize];
        client
            .batch_execute(&format!(
                "SELECT wallet.create_wallet('{wallet}', time_zone => '{zone}', lanes => {});
                 SELECT wallet.set_chargeback_rule('{wallet}', 'use'), wallet.set_chargeback_rule('{wallet}', 'use', dimension => 'tag:project');
                 SELECT wallet.fund('{wallet}', 100000, reference => 'first')",
                [1, 1, 3][place]
            ))
            .unwrap();
        book(&mut client, &mut seed, wallet);
        move_in_time(&mut client, &mut seed, wallet);
        let booked = entries(&mut client, wallet);
        assert!(
            booked
                .iter()
                .any(|entry| entry.counts < entry.booked && entry.call == "x")
        );
        // Moments are often those of entries, or next to them, or the beginning of a month.
        let mut moment = || {
            let entry = &booked[seed.below(booked.len() as u64) as usize];
            match seed.below(4) {
                0 => entry.counts,
                1 => entry.booked + 1,
                2 => entry.counts - entry.counts.rem_euclid(24 * HOUR),
                _ => entry.booked - seed.below(30 * 24) as i64 * HOUR,
            }
        };
        let spans: Vec<(i64, i64)> = (0..scale(8))
            .map(|_| {
                let (a, b) = (moment(), moment());
                (a.min(b), a.max(b))
            })
            .collect();
        check(&mut client, wallet, &booked, &spans);
        all.push((wallet, booked, spans));
    }
    // Rolled up in steps, and again after one half was archived.
    for days in [70, 45, 0] {
        let sql = format!("SELECT wallet.roll_up(now() - interval '{days} days')");
        client.batch_execute(&sql).unwrap();
        for (wallet, booked, spans) in &all {
            check(&mut client, wallet, booked, spans);
        }
        let months: BTreeSet<&String> = all
            .iter()
            .flat_map(|(_, booked, _)| booked)
            .map(|entry| &entry.month)
            .collect();
        for month in months {
            check_several(&mut client, &wallets, month);
        }
    }
    let row = client
        .query_one(
            "SELECT count(*) FILTER (WHERE dated_ids IS NOT NULL), count(*) FROM wallet.rollup_chunks",
            &[],
        )
        .unwrap();
    let (dated, chunks): (i64, i64) = (row.get(0), row.get(1));
    assert!(dated > 5 && chunks > 30, "{dated} of {chunks}");
    for (wallet, booked, spans) in &all {
        let sql =
            format!("SELECT archived FROM wallet.archive('{wallet}', now() - interval '60 days')");
        let moved: i64 = client.query_one(&sql, &[]).unwrap().get(0);
        assert!(moved > 10, "{moved}");
        assert_eq!(entries(&mut client, wallet).len(), booked.len());
        check(&mut client, wallet, booked, spans);
    }
}
