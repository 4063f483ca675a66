//! `journal`: the ledger of a wallet for plain-text accounting (hledger, beancount).
//!
//! Every entry is a transaction with two postings, to the wallet's account and to the contra
//! account, on the day from which it counts. Due entries that are not booked yet are included. The
//! journal ends with a balance assertion. Up to now, it is the sum in the lanes; for an earlier
//! end, it is the sum of the roll-ups. Both are computed independently of the entries. So the
//! accounting program compares the two.
//!
//! Prices come first: the exchange rates of the wallet's currency, with which the programs can
//! value the accounts in other currencies.

use crate::error::{Error, Result};
use crate::money::Amount;
use crate::pg::clock::{self, Timestamp};
use crate::storage::plan::{Rows, Run, Value, statement};
use crate::storage::rows::uuid_text;
use sha2::{Digest, Sha256};
use std::fmt::Write;

statement!(
    SPAN,
    [TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, DATEOID, DATEOID],
    "SELECT s.first, s.last FROM wallet.span_of($1, $2, $3, $4, $5) s"
);

// One statement has one snapshot, so that entries, sums and lanes are consistent. A sub-select runs
// once, whatever the number of entries. An entry that is due and not booked yet has no id.
statement!(
    ENTRIES,
    [TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID],
    "SELECT w.currency,
            to_char(timezone(w.time_zone, $2), 'YYYY-MM-DD'),
            CASE WHEN $2 IS NULL THEN 0 ELSE (SELECT wallet.booked_before($1, $2)) END,
            CASE WHEN $3 IS NULL THEN
                 (SELECT coalesce(sum(a.booked), 0) FROM wallet.allowances a
                   WHERE a.wallet_id = $1 AND a.allowance_id = '00000000-0000-0000-0000-000000000000')
                 + (SELECT coalesce(sum(d.amount), 0) FROM wallet.due_entries($1, statement_timestamp()) d)
                 ELSE (SELECT wallet.booked_before($1, $3))
            END,
            to_char(timezone(w.time_zone, l.last), 'YYYY-MM-DD'),
            to_char(timezone(w.time_zone, l.last) + interval '1 day', 'YYYY-MM-DD'),
            e.entry_id, to_char(timezone(w.time_zone, e.at), 'YYYY-MM-DD'), e.kind, e.amount,
            e.contra, e.words
       FROM wallet.wallets w
      CROSS JOIN LATERAL (SELECT coalesce($3 - interval '1 microsecond', statement_timestamp()) AS last) l
       LEFT JOIN (
             SELECT e.entry_id, e.effective_at AS at, e.kind, e.amount, e.contra,
                    concat_ws(' ', e.user_id, e.reference, e.reason) AS words
               FROM wallet.entries e
              WHERE e.wallet = $1
              UNION ALL
             SELECT NULL, d.at, d.kind, d.amount, d.contra, ''
               FROM wallet.due_entries($1, statement_timestamp()) d) e
         ON ($2 IS NULL OR e.at >= $2) AND ($3 IS NULL OR e.at < $3)
      WHERE w.wallet_id = $1
      ORDER BY e.at, e.entry_id"
);

// The rates that `convert_amount` uses within the time of the journal. For each other currency,
// these are the rates from the wallet's currency, and before the first of them those of the
// opposite pair. The programs know only days, so the last rate of each day is listed. The rate in
// force at the beginning is listed on its first day. The statement moves from pair to pair by
// index, however many rates there are.
statement!(
    PRICES,
    [TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID],
    "WITH RECURSIVE span AS (
         SELECT w.currency, w.time_zone, coalesce($2, w.created_at) AS first,
                coalesce($3 - interval '1 microsecond', statement_timestamp()) AS last
           FROM wallet.wallets w WHERE w.wallet_id = $1
     ), pairs AS (
         (SELECT r.from_currency, r.to_currency FROM wallet.fx_rates r ORDER BY 1, 2 LIMIT 1)
          UNION ALL
         SELECT n.from_currency, n.to_currency
           FROM pairs p
          CROSS JOIN LATERAL (
                SELECT r.from_currency, r.to_currency FROM wallet.fx_rates r
                 WHERE (r.from_currency, r.to_currency) > (p.from_currency, p.to_currency)
                 ORDER BY 1, 2 LIMIT 1) n
     ), rates AS (
         SELECT p.from_currency, p.to_currency, r.rate, r.rate_id, r.created_at, greatest(r.effective_from, s.first) AS at, s.time_zone,
                p.from_currency = s.currency AS direct,
                CASE WHEN p.from_currency = s.currency THEN p.to_currency ELSE p.from_currency END AS other
           FROM span s
           JOIN pairs p ON p.from_currency = s.currency OR p.to_currency = s.currency
          CROSS JOIN LATERAL (
                (SELECT r.rate, r.rate_id, r.created_at, r.effective_from FROM wallet.fx_rates r
                  WHERE r.from_currency = p.from_currency AND r.to_currency = p.to_currency AND r.effective_from <= s.first
                  ORDER BY r.effective_from DESC, r.created_at DESC, r.rate_id DESC LIMIT 1)
                 UNION ALL
                SELECT r.rate, r.rate_id, r.created_at, r.effective_from FROM wallet.fx_rates r
                 WHERE r.from_currency = p.from_currency AND r.to_currency = p.to_currency
                   AND r.effective_from > s.first AND r.effective_from <= s.last) r
     ), used AS (
         SELECT r.*, min(r.at) FILTER (WHERE r.direct) OVER (PARTITION BY r.other) AS direct_from FROM rates r
     ), dated AS (
         SELECT DISTINCT ON (u.other, d.day) d.day, u.from_currency, u.to_currency, u.rate
           FROM used u
          CROSS JOIN LATERAL (SELECT to_char(timezone(u.time_zone, u.at), 'YYYY-MM-DD') AS day) d
          WHERE (u.direct OR u.direct_from IS NULL OR u.at < u.direct_from) AND u.rate IS NOT NULL
          ORDER BY u.other, d.day, u.at DESC, u.created_at DESC, u.rate_id DESC
     )
     SELECT d.day, d.from_currency, d.to_currency, trim_scale(d.rate)::text
       FROM dated d
      ORDER BY d.day, d.from_currency, d.to_currency"
);

/// The two programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// hledger
    Hledger,
    /// beancount
    Beancount,
}

impl Format {
    /// Both programs.
    pub const ALL: &'static [Format] = &[Format::Hledger, Format::Beancount];

    /// The program's name in arguments.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Hledger => "hledger",
            Format::Beancount => "beancount",
        }
    }

    fn commodity(self, currency: &str) -> String {
        match self {
            Format::Hledger if currency.chars().all(|c| c.is_ascii_alphabetic()) => {
                currency.to_owned()
            }
            Format::Hledger => format!("\"{currency}\""),
            // Upper case, at least two characters, no underscore at the end.
            Format::Beancount => {
                let mut name = currency.to_ascii_uppercase();
                if name.len() < 2 || name.ends_with('_') {
                    name.push('0');
                }
                name
            }
        }
    }
}

/// A part of an account's name that both programs accept: letters, digits and dashes, beginning
/// with an upper-case letter or a digit. If this loses something, a part of a hash keeps different
/// names different.
fn component(part: &str) -> String {
    let mut name: String = part
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    if name.starts_with('-') || name.is_empty() {
        name.insert(0, 'X');
    }
    let lost = name != part || part.starts_with(|c: char| c.is_ascii_uppercase());
    name[..1].make_ascii_uppercase();
    if lost {
        let hash = Sha256::digest(part.as_bytes());
        // Writing to a String cannot fail.
        let _ = write!(name, "-{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2]);
    }
    name
}

/// The account of the other side of an entry.
fn contra_account(contra: &str) -> String {
    let mut parts = contra.split([':', '/']).filter(|part| !part.is_empty());
    let first = parts.next().unwrap_or("other");
    let root = match first {
        "usage" | "expired" => "Expenses",
        _ => "Equity",
    };
    let mut account = format!("{root}:{}", component(first));
    for part in parts {
        account.push(':');
        account.push_str(&component(part));
    }
    account
}

/// Text that ends neither its line nor its quotes, and begins no comment.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '"' => '\'',
            '\\' => '/',
            ';' | '|' => ',',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect()
}

struct Journal {
    format: Format,
    wallet: String,
    commodity: String,
    text: String,
}

impl Journal {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    fn header(&mut self, wallet: &str) {
        self.line(format_args!("; wallet {}", plain(wallet)));
        match self.format {
            Format::Hledger => self.line(format_args!("decimal-mark .")),
            // Accounts need no declaration, so that journals of several wallets can be joined.
            Format::Beancount => {
                self.line(format_args!("plugin \"beancount.plugins.auto_accounts\""));
            }
        }
        self.line(format_args!(""));
    }

    /// The value of one unit of a currency in another, from a day on.
    fn price(&mut self, date: &str, from: &str, to: &str, rate: &str) {
        let (from, to) = (self.format.commodity(from), self.format.commodity(to));
        // Two names may be equal in upper case.
        if from == to {
            return;
        }
        match self.format {
            Format::Hledger => self.line(format_args!("P {date} {from} {rate} {to}")),
            Format::Beancount => self.line(format_args!("{date} price {from} {rate} {to}")),
        }
    }

    fn transaction(
        &mut self,
        date: &str,
        id: Option<&str>,
        words: &str,
        amount: Amount,
        contra: &str,
    ) {
        match self.format {
            Format::Hledger => {
                let code = id.map_or_else(String::new, |id| format!("({id}) "));
                self.line(format_args!("{date} * {code}{}", plain(words)));
            }
            Format::Beancount => {
                self.line(format_args!("{date} * \"{}\"", plain(words)));
                if let Some(id) = id {
                    self.line(format_args!("  entry: \"{id}\""));
                }
            }
        }
        let (wallet, commodity) = (self.wallet.clone(), self.commodity.clone());
        self.line(format_args!("    {wallet}  {amount} {commodity}"));
        self.line(format_args!(
            "    {contra}  {} {commodity}",
            amount.negated()
        ));
        self.line(format_args!(""));
    }

    fn assertion(&mut self, on: &str, next: &str, balance: Amount) {
        let (wallet, commodity) = (self.wallet.clone(), self.commodity.clone());
        match self.format {
            Format::Hledger => {
                self.line(format_args!("{on} * balance"));
                self.line(format_args!(
                    "    {wallet}  0 {commodity} = {balance} {commodity}"
                ));
            }
            // The assertion holds at the beginning of its day.
            Format::Beancount => self.line(format_args!(
                "{next} balance {wallet}  {balance} ~ 0 {commodity}"
            )),
        }
    }
}

fn write(wallet: &str, rows: &Rows, prices: &Rows, format: Format) -> Result<String> {
    let currency: String = rows.need(0, 0)?;
    let mut journal = Journal {
        format,
        wallet: format!("Assets:Wallet:{}", component(wallet)),
        commodity: format.commodity(&currency),
        text: String::new(),
    };
    journal.header(wallet);
    for row in 0..prices.len() {
        let text = |column| prices.need::<String>(row, column);
        journal.price(&text(0)?, &text(1)?, &text(2)?, &text(3)?);
    }
    if !prices.is_empty() {
        journal.line(format_args!(""));
    }
    let opening = rows.amount(0, 2)?;
    if let Some(date) = rows.get::<String>(0, 1).filter(|_| !opening.is_zero()) {
        journal.transaction(&date, None, "opening balance", opening, "Equity:Opening");
    }
    for row in 0..rows.len() {
        // Nothing was booked in that time.
        let Some(date) = rows.get::<String>(row, 7) else {
            continue;
        };
        let kind: String = rows.need(row, 8)?;
        let (contra, words): (String, String) = (rows.need(row, 10)?, rows.need(row, 11)?);
        let words = format!("{kind} {words}");
        let id = rows.get::<[u8; 16]>(row, 6).map(uuid_text);
        let contra = contra_account(&contra);
        journal.transaction(
            &date,
            id.as_deref(),
            words.trim_end(),
            rows.amount(row, 9)?,
            &contra,
        );
    }
    let (on, next): (String, String) = (rows.need(0, 4)?, rows.need(0, 5)?);
    journal.assertion(&on, &next, rows.amount(0, 3)?);
    Ok(journal.text)
}

/// The journal of a span of time, or of days in the wallet's time zone.
pub fn of(
    wallet: &str,
    span: [Value<'_>; 2],
    days: [Value<'_>; 2],
    as_of: Option<Timestamp>,
    format: Format,
) -> Result<String> {
    let [from, to] = span;
    let [from_day, to_day] = days;
    let span = SPAN.run(&[Value::Text(wallet), from, to, from_day, to_day])?;
    let (from, to): (Option<Timestamp>, Option<Timestamp>) = (span.get(0, 0), span.get(0, 1));
    // The assertions of balances need days. An infinite span has none at this end.
    if from.is_some_and(|from| !from.is_finite() && from > clock::now())
        || to.is_some_and(|to| !to.is_finite() && to < clock::now())
    {
        return Err(Error::argument("the span of time is infinitely far away")
            .detail("It begins at infinity, or ends at -infinity.")
            .hint("Leave a bound out for all times."));
    }
    // An entry counts from its booking, so what was known at a time ends at that time.
    let known = as_of.map(|at| Timestamp(at.0.saturating_add(1)));
    let to = to.into_iter().chain(known).min();
    // Nothing is known of the future.
    let to = to.filter(|to| *to <= clock::now());
    let values = [
        Value::Text(wallet),
        Value::OptTime(from),
        Value::OptTime(to),
    ];
    let rows = ENTRIES.run(&values)?;
    if rows.is_empty() {
        return Err(Error::wallet_not_found(wallet));
    }
    write(wallet, &rows, &PRICES.run(&values)?, format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_what_both_programs_take() {
        assert_eq!(component("acme"), "Acme");
        assert_eq!(component("gpt-4o"), "Gpt-4o");
        assert_ne!(component("acme"), component("Acme"));
        assert_ne!(component("a b"), component("a.b"));
        assert!(component("ü").starts_with("X--"));
        assert_eq!(
            contra_account("usage:openai/gpt-4o"),
            "Expenses:Usage:Openai:Gpt-4o"
        );
        assert_eq!(contra_account("funding:card"), "Equity:Funding:Card");
    }

    #[test]
    fn commodities_are_what_both_programs_take() {
        assert_eq!(Format::Hledger.commodity("credits_2"), "\"credits_2\"");
        assert_eq!(Format::Beancount.commodity("credits_"), "CREDITS_0");
        assert_eq!(Format::Beancount.commodity("x"), "X0");
    }

    #[test]
    fn text_stays_on_its_line() {
        assert_eq!(plain("a\n\"b\"; c\\"), "a 'b', c/");
    }

    #[test]
    fn prices_have_the_names_of_the_postings() {
        let written = |format: Format| {
            let mut journal = Journal {
                format,
                wallet: String::new(),
                commodity: String::new(),
                text: String::new(),
            };
            journal.price("2026-03-01", "USD", "CHF", "0.8125123");
            journal.price("2026-03-02", "credits_1", "CHF", "0.01");
            journal.price("2026-03-03", "x", "x0", "2");
            journal.text
        };
        assert_eq!(
            written(Format::Hledger),
            "P 2026-03-01 USD 0.8125123 CHF\nP 2026-03-02 \"credits_1\" 0.01 CHF\nP 2026-03-03 x 2 \"x0\"\n"
        );
        // For beancount, the last two are equal.
        assert_eq!(
            written(Format::Beancount),
            "2026-03-01 price USD 0.8125123 CHF\n2026-03-02 price CREDITS_1 0.01 CHF\n"
        );
    }
}
