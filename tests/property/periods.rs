//! Periods are closed and opened between random late usage. A model of plain numbers says on which
//! day each use counts, and reports of closed periods are compared as text after every call.
//!
//! What could go wrong: late usage appears in a closed period; it is lost, or counted twice; a retry,
//! a refund, a rule of cost allocation, a roll-up or the archive changes a report of the past; usage
//! that was moved returns when the period is opened.

use std::collections::BTreeMap;

use postgres::Client;
use wallet_tests::{Database, Seed, archive, audit, create, dec, scale};

const WALLETS: [&str; 2] = ["one", "many"];
const TEAMS: [&str; 3] = ["red", "blue", ""];
/// The months in which usage happens, before the month of the test.
const MONTHS: [&str; 5] = [
    "2026-01-01",
    "2026-02-01",
    "2026-03-01",
    "2026-04-01",
    "2026-05-01",
];
/// The place in the model of usage that counts when it is booked.
const NOW: usize = MONTHS.len();

/// Cents by wallet, month and team.
type Counted = BTreeMap<(usize, usize, &'static str), i64>;

struct Run {
    client: Client,
    seed: Seed,
    counted: Counted,
    /// The number of closed months of each wallet and, at the end, of all.
    closed: [usize; 3],
    /// Uses that were booked late.
    late: i64,
    /// The charges so far: wallet, cents, team, month and key.
    charges: Vec<(usize, i64, &'static str, usize, String)>,
    /// What the reports of closed months said, by wallet and month.
    said: BTreeMap<(usize, usize), String>,
}

impl Run {
    fn one_of(&mut self, count: usize) -> usize {
        self.seed.below(count as u64) as usize
    }

    fn is_closed(&self, wallet: usize, month: usize) -> bool {
        month < self.closed[wallet].max(self.closed[2])
    }

    /// The charge of `place`, which is in the middle of its month. Returns whether it is a replay.
    fn send(&mut self, place: usize) -> bool {
        let (wallet, cents, team, month, key) = &self.charges[place];
        let amount = wallet_tests::Decimal::new(*cents, 2).to_string();
        let row = self.client.query_one(
            "SELECT replayed FROM wallet.charge($1, amount => $2::text::numeric, team => nullif($3, ''),
                 event_at => ($4::text || ' 00:00Z')::timestamptz + interval '9 days', idempotency_key => $5)",
            &[&WALLETS[*wallet], &amount, team, &MONTHS[*month], key],
        );
        row.unwrap().get(0)
    }

    fn charge(&mut self, step: usize) {
        let (wallet, cents) = (self.one_of(2), 1 + self.one_of(900) as i64);
        let (team, month) = (TEAMS[self.one_of(3)], self.one_of(NOW));
        let key = format!("c{step}");
        self.charges.push((wallet, cents, team, month, key));
        assert!(!self.send(self.charges.len() - 1));
        let is_late = self.is_closed(wallet, month);
        self.late += i64::from(is_late);
        let counts = if is_late { NOW } else { month };
        *self.counted.entry((wallet, counts, team)).or_default() += cents;
    }

    fn retry(&mut self) {
        if !self.charges.is_empty() {
            let place = self.one_of(self.charges.len());
            assert!(self.send(place));
        }
    }

    /// Closes or opens a number of months, of a wallet or of all.
    fn set(&mut self) {
        let (which, months) = (self.one_of(3), self.one_of(NOW));
        let name = ["one", "many", "*"][which];
        let call = match months {
            0 => format!("SELECT wallet.reopen_period('{name}')"),
            _ if months < self.closed[which] => {
                format!(
                    "SELECT wallet.reopen_period('{name}', '{} 00:00Z')",
                    MONTHS[months]
                )
            }
            _ => format!(
                "SELECT wallet.close_period('{name}', '{} 00:00Z')",
                MONTHS[months]
            ),
        };
        self.client.batch_execute(&call).unwrap();
        self.closed[which] = months;
        let closed: Vec<(usize, usize)> = (0..2)
            .flat_map(|wallet| (0..NOW).map(move |month| (wallet, month)))
            .filter(|(wallet, month)| self.is_closed(*wallet, *month))
            .collect();
        self.said.retain(|place, _| closed.contains(place));
        for place in closed {
            let now = self.report(place);
            self.said.entry(place).or_insert(now);
        }
    }

    fn keep_house(&mut self) {
        let wallet = WALLETS[self.one_of(2)];
        let calls = [
            format!(
                "SELECT wallet.refund('{wallet}', entry_id) FROM wallet.entries
                  WHERE wallet = '{wallet}' AND kind = 'charge' ORDER BY hash LIMIT 1"
            ),
            format!("SELECT wallet.set_chargeback_rule('{wallet}', 'even')"),
            format!("SELECT wallet.set_chargeback_rule('{wallet}', 'use')"),
            format!(
                "SELECT wallet.set_chargeback_rule('{wallet}', 'fixed', '{{\"red\": 0.5}}', effective_from => '2026-05-31')"
            ),
            "SELECT wallet.roll_up(now())".to_owned(),
            format!("SELECT wallet.set_member('{wallet}', 'ann', team => 'red')"),
        ];
        let call = &calls[self.one_of(calls.len())];
        // A charge that was refunded before is refused.
        let _ = self.client.batch_execute(call);
        if self.one_of(4) == 0 {
            archive(&mut self.client, wallet, Some(3)).unwrap();
        }
    }

    /// The reports of a month, as one text.
    fn report(&mut self, (wallet, month): (usize, usize)) -> String {
        let row = self.client.query_one(
            "SELECT concat(
                (SELECT string_agg(u::text, ' ') FROM wallet.usage_by($1, 'day', from_day => $2::text::date, to_day => ($2::text::date + interval '1 month')::date) u),
                (SELECT string_agg(u::text, ' ') FROM wallet.usage(ARRAY[$1], '{team,model}', from_day => $2::text::date, to_day => ($2::text::date + interval '1 month')::date) u),
                (SELECT string_agg(c::text, ' ') FROM wallet.chargeback($1::text, $2::text::date) c))",
            &[&WALLETS[wallet], &MONTHS[month]],
        );
        row.unwrap().get(0)
    }

    fn check(&mut self) {
        for (place, said) in self.said.clone() {
            assert_eq!(self.report(place), said, "{place:?} of {:?}", self.closed);
        }
    }

    /// Compares every wallet, month and team with the model.
    fn compare(&mut self) {
        let mut found = Counted::new();
        let rows = self.client.query(
            "SELECT wallet, to_char(day, 'YYYY-MM-01'), coalesce(team, ''), sum(cost * 100)::bigint
               FROM wallet.usage_daily GROUP BY 1, 2, 3 HAVING sum(cost) <> 0",
            &[],
        );
        for row in rows.unwrap() {
            let (name, first, team): (String, String, String) =
                (row.get(0), row.get(1), row.get(2));
            let wallet = WALLETS.iter().position(|one| *one == name).unwrap();
            let month = MONTHS.iter().position(|one| *one == first).unwrap_or(NOW);
            let team = TEAMS.into_iter().find(|one| *one == team).unwrap();
            *found.entry((wallet, month, team)).or_default() += row.get::<_, i64>(3);
        }
        assert_eq!(found, self.counted);
        let late = "SELECT count(*) FROM wallet.entries WHERE used_at IS NOT NULL AND event_at = created_at AND used_at < '2026-06-01Z'";
        assert_eq!(
            self.client.query_one(late, &[]).unwrap().get::<_, i64>(0),
            self.late
        );
    }
}

#[test]
fn reports_of_closed_periods_do_not_change() {
    let database = Database::new();
    let mut client = database.connect();
    for (wallet, lanes) in WALLETS.into_iter().zip([1, 3]) {
        create(&mut client, wallet, lanes, &[], dec("100000"));
    }
    let mut run = Run {
        client,
        seed: Seed::of("periods"),
        counted: Counted::new(),
        closed: [0; 3],
        late: 0,
        charges: Vec::new(),
        said: BTreeMap::new(),
    };
    for step in 0..scale(120) {
        match run.seed.below(20) {
            0..=11 => run.charge(step),
            12..=13 => run.retry(),
            14..=15 => run.set(),
            _ => run.keep_house(),
        }
        run.check();
        if step % 20 == 19 {
            run.compare();
        }
    }
    run.compare();
    assert!(run.late > 0, "no usage was late");
    for wallet in WALLETS {
        audit(&mut run.client, wallet);
    }
}
