//! Compares the ledger over time: past balances, statements, journals.

use super::{Look, amount, number, text};
use crate::calendar::{At, month, text as moment};
use crate::units::{decimal, units};

/// The kinds of the ledger that are summed.
const KINDS: [&str; 7] = [
    "funding",
    "charge",
    "refund",
    "adjustment",
    "expiry",
    "transfer",
    "chargeback",
];

impl Look<'_> {
    /// A random moment in the past, often the time of an entry.
    fn past(&mut self) -> At {
        let entries = &self.wallet.entries;
        let choice = self.seed.below(3);
        if choice > 0 && !entries.is_empty() {
            // The moment of an entry, or a second before.
            let entry = &entries[self.seed.below(entries.len() as u64) as usize];
            return (entry.at - i64::from(choice == 1)).max(self.wallet.created);
        }
        let span = (self.now - self.wallet.created).max(1).unsigned_abs();
        self.wallet.created + self.seed.below(span).cast_signed()
    }

    pub(super) fn balance_at(&mut self) {
        let mut moments = vec![self.now];
        moments.extend((0..5).map(|_| self.past()));
        for at in moments {
            let sql = format!(
                "SELECT wallet.balance_at('{}', '{}') AS balance",
                self.name(),
                moment(at)
            );
            for row in self.rows("balance_at", &sql).unwrap_or_default() {
                let area = if at == self.now {
                    "balance_at(now)"
                } else {
                    "balance_at(past)"
                };
                self.equal(
                    area,
                    &moment(at),
                    amount(&row, "balance"),
                    self.wallet.balance_at(at),
                );
            }
        }
    }

    pub(super) fn statement(&mut self) {
        let (_, first, next) = month(self.past(), self.wallet.zone);
        let (one, other) = (self.past(), self.past());
        let ranges = [
            (None, None),
            (Some(first), Some(next)),
            (Some(one.min(other)), Some(one.max(other) + 1)),
        ];
        for (from, to) in ranges {
            self.statement_of(from, to);
        }
    }

    fn statement_of(&mut self, from: Option<At>, to: Option<At>) {
        let quoted =
            |at: Option<At>| at.map_or("NULL".to_owned(), |at| format!("'{}'", moment(at)));
        let sql = format!(
            "SELECT line, floor(extract(epoch FROM at))::bigint AS at, kind, description, amount, balance
               FROM wallet.statement('{}', {}, {}) ORDER BY line",
            self.name(),
            quoted(from),
            quoted(to)
        );
        let what = format!("from {} to {}", quoted(from), quoted(to));
        let Some(rows) = self.rows("statement", &sql) else {
            return;
        };
        // Up to now, including entries of this moment.
        let from_at = from.unwrap_or(self.wallet.created);
        let to_at = to.unwrap_or(self.now + 1).min(self.now + 1);
        let opening = self.wallet.balance_at(from_at - 1);
        let closing = self.wallet.balance_at(to_at - 1);
        let (Some(head), Some(tail)) = (rows.first(), rows.last()) else {
            return self.differs("statement", format!("{what}: no lines"));
        };
        self.equal("statement.opening", &what, amount(head, "balance"), opening);
        self.equal("statement.closing", &what, amount(tail, "balance"), closing);
        let sum: i128 = rows.iter().map(|row| amount(row, "amount")).sum();
        self.equal(
            "statement.sum",
            &format!("{what}: opening and amounts"),
            amount(head, "balance") + sum,
            amount(tail, "balance"),
        );
        for kind in KINDS {
            let shown = rows
                .iter()
                .filter(|row| text(row, "kind") == Some(kind))
                .map(|row| amount(row, "amount"))
                .sum();
            let expected = self.wallet.moved(kind, from_at, to_at);
            self.equal(
                "statement.kinds",
                &format!("{what}: {kind}"),
                shown,
                expected,
            );
        }
        if number(tail, "at") > self.now {
            self.differs(
                "statement.future",
                format!(
                    "{what}: the closing line is dated {}",
                    moment(number(tail, "at"))
                ),
            );
        }
        let lines: Vec<(i64, i128)> = rows[1..rows.len() - 1]
            .iter()
            .map(|row| (number(row, "at"), amount(row, "balance")))
            .collect();
        for (place, (at, balance)) in lines.iter().enumerate() {
            // Of several lines of one moment, the last one has its balance.
            if lines.get(place + 1).is_none_or(|next| next.0 > *at) {
                let expected = self.wallet.balance_at(*at);
                self.equal(
                    "statement.running",
                    &format!("{what}: line {} at {}", place + 2, moment(*at)),
                    *balance,
                    expected,
                );
            }
            if lines.get(place + 1).is_some_and(|next| next.0 < *at) {
                self.differs(
                    "statement.order",
                    format!(
                        "{what}: line {} at {} comes before an earlier one",
                        place + 2,
                        moment(*at)
                    ),
                );
            }
        }
    }

    pub(super) fn journal(&mut self) {
        let (from, to) = (self.past(), self.past());
        let (from, to) = (from.min(to), from.max(to) + 1);
        for format in ["hledger", "beancount"] {
            self.journal_of(format, "", self.wallet.balance_at(self.now));
            let range = format!("'{}', '{}', ", moment(from), moment(to));
            self.journal_of(format, &range, self.wallet.balance_at(to - 1));
        }
    }

    /// The postings of the wallet's account add up to what the journal asserts, and to the model.
    fn journal_of(&mut self, format: &str, range: &str, expected: i128) {
        let sql = format!(
            "SELECT wallet.journal('{}', {range}format => '{format}') AS journal",
            self.name()
        );
        let Some(rows) = self.rows("journal", &sql) else {
            return;
        };
        let journal = rows
            .first()
            .and_then(|row| text(row, "journal"))
            .unwrap_or_default()
            .to_owned();
        let (mut sum, mut asserted) = (0, None);
        let mut transaction = 0_i128;
        for line in journal.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [account, amount, "USD", rest @ ..] = &words[..]
                && account.starts_with("Assets:Wallet:")
            {
                sum += units(amount);
                transaction += units(amount);
                if let ["=", balance, "USD"] = rest {
                    asserted = Some(units(balance));
                }
            } else if let [_, "balance", _, balance, ..] = &words[..] {
                asserted = Some(units(balance));
            } else if line.starts_with("    ") && words.len() == 3 {
                transaction += units(words[1]);
            } else if line.is_empty() {
                self.equal("journal.transaction", format, transaction, 0);
                transaction = 0;
            }
        }
        let what = format!("{format} {range}");
        self.equal(
            "journal.own",
            &format!("{what}: the sum of its lines, compared with its assertion"),
            sum,
            asserted.unwrap_or(0),
        );
        self.equal("journal.assertion", &what, asserted.unwrap_or(0), expected);
    }

    /// The page of a month: its boxes add up, and agree with the model.
    pub(super) fn page(&mut self) {
        let (first, from, to) = month(self.past(), self.wallet.zone);
        let to = to.min(self.now + 1);
        let sql = format!(
            "SELECT wallet.statement_html('{}', '{first}') AS page",
            self.name()
        );
        let Some(rows) = self.rows("statement_html", &sql) else {
            return;
        };
        let page = rows
            .first()
            .and_then(|row| text(row, "page"))
            .unwrap_or_default()
            .to_owned();
        let boxes: Vec<(String, i128)> = page
            .split("<dt>")
            .skip(1)
            .filter_map(|rest| {
                let (name, rest) = rest.split_once("</dt>")?;
                let (_, rest) = rest.split_once("<dd>")?;
                let (value, _) = rest.split_once("</dd>")?;
                let value: String = value
                    .chars()
                    .filter(|c| c.is_ascii_digit() || "-.".contains(*c))
                    .collect();
                Some((name.to_owned(), units(&value)))
            })
            .collect();
        // Each box except the first shows its effect on the balance: + Money in, - Spent.
        let value = |name: &str| {
            let mut boxes = boxes.iter();
            boxes
                .find(|found| found.0.ends_with(name))
                .map(|found| decimal(found.1))
        };
        let wallet = self.wallet;
        let of = |kind: &str| wallet.moved(kind, from, to);
        let expected = [
            ("Opening balance", wallet.balance_at(from - 1)),
            ("Closing balance", wallet.balance_at(to - 1)),
            ("Spent", -of("charge")),
            ("Refunded", of("refund")),
        ];
        for (name, expected) in expected {
            let what = format!("{first}: {name}");
            self.same(
                "statement_html",
                &what,
                value(name),
                Some(decimal(expected)),
            );
        }
        let sum: i128 = boxes
            .iter()
            .map(|(name, value)| match name.chars().next() {
                Some('=') => 0,
                Some('-') => -value,
                _ => *value,
            })
            .sum();
        let shown = boxes
            .iter()
            .map(|(name, value)| format!("{name} {}", decimal(*value)))
            .collect::<Vec<_>>()
            .join(", ");
        let what = format!("{first}: {shown}");
        self.same(
            "statement_html.adds_up",
            &what,
            value("Closing balance"),
            Some(decimal(sum)),
        );
    }
}
