//! The statement of a month, as a page and as CSV.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::civil::Date;
use maud::{Markup, html};
use serde::Deserialize;

use super::account::SignedIn;
use super::failure::Failure;
use super::layout;
use super::parts::{money, table};
use super::session::Asked;
use super::state::Pages;

/// $2 is the first day of the month; NULL is the running one.
const STATEMENT: &str = "SELECT pg_catalog.json_build_object('month', pg_catalog.to_char(t.month, 'YYYY-MM'), \
       'name', pg_catalog.to_char(t.month, 'FMMonth YYYY'), \
       'months', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(pg_catalog.to_char(m.month, 'YYYY-MM'), pg_catalog.to_char(m.month, 'FMMonth YYYY')) ORDER BY m.month DESC) \
            FROM pg_catalog.generate_series(greatest(pg_catalog.date_trunc('month', w.created_at AT TIME ZONE w.time_zone), t.this - interval '35 months'), \
                                            t.this, interval '1 month') AS m (month)), \
       'lines', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object( \
            'at', pg_catalog.to_char(s.at AT TIME ZONE w.time_zone, 'YYYY-MM-DD HH24:MI:SS'), 'kind', s.kind, \
            'description', s.description, 'amount', s.amount::text, 'balance', s.balance::text) ORDER BY s.line), '[]') \
       FROM wallet.statement(o.wallet, from_day => t.month, to_day => (t.month + interval '1 month')::date) s))::text \
  FROM wallet.key_owner($1) o JOIN wallet.wallets w ON w.wallet_id = o.wallet \
  CROSS JOIN LATERAL (SELECT pg_catalog.date_trunc('month', pg_catalog.now() AT TIME ZONE w.time_zone) AS this) n \
  CROSS JOIN LATERAL (SELECT n.this, coalesce($2::date, n.this::date) AS month) t";

/// The month, such as `2026-03`.
#[derive(Deserialize)]
pub struct Wanted {
    month: Option<String>,
}

#[derive(Deserialize)]
struct Statement {
    month: String,
    name: String,
    months: Option<Vec<(String, String)>>,
    lines: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    at: String,
    kind: String,
    description: Option<String>,
    amount: Option<String>,
    balance: Option<String>,
}

async fn read(pages: &Pages, person: &SignedIn, wanted: Wanted) -> Result<Statement, Failure> {
    let day = wanted.month.map(|month| {
        let date: Option<Date> = format!("{month}-01").parse().ok();
        let date = date.filter(|_| month.len() == "2026-03".len());
        date.map(|date| date.to_string())
            .ok_or_else(|| Failure::unreadable("The month is not one such as 2026-03."))
    });
    pages
        .read(&person.key, STATEMENT, vec![day.transpose()?])
        .await
}

/// The page.
pub async fn show(
    State(pages): State<Pages>,
    person: SignedIn,
    Asked(wanted): Asked<Wanted>,
) -> Result<Markup, Failure> {
    let statement = read(&pages, &person, wanted).await?;
    let currency = person.account.currency.as_str();
    let rows = html! {
        @for line in &statement.lines {
            tr {
                th scope="row" { (line.at) }
                td { (line.kind) }
                td { (line.description.as_deref().unwrap_or_default()) }
                td.number { @if let Some(amount) = &line.amount { (money(amount, currency)) } }
                td.number { @if let Some(balance) = &line.balance { (money(balance, currency)) } }
            }
        }
    };
    let caption = format!("Statement of {}", statement.name);
    Ok(layout::page(
        "Statement",
        "/statement",
        &person,
        html! {
            form.fields method="get" action="/statement" {
                div.field {
                    label for="month" { "Month" }
                    select #month name="month" {
                        @for (month, name) in statement.months.iter().flatten() {
                            option value=(month) selected[*month == statement.month] { (name) }
                        }
                    }
                }
                button type="submit" { "Show" }
            }
            p { a href={ "/statement.csv?month=" (statement.month) } download { "This statement as CSV" } }
            (table(&caption, &["Time", "Kind", "Description", "Amount", "Balance"], rows))
        },
    ))
}

/// The CSV file.
pub async fn csv(
    State(pages): State<Pages>,
    person: SignedIn,
    Asked(wanted): Asked<Wanted>,
) -> Result<Response, Failure> {
    let statement = read(&pages, &person, wanted).await?;
    let text = written(&statement, &person.account.currency)
        .map_err(|error| Failure::from(crate::db::DbError::Garbled(error.to_string())))?;
    let name = format!("attachment; filename=\"statement-{}.csv\"", statement.month);
    let headers = [
        (
            header::CONTENT_TYPE,
            "text/csv; charset=utf-8; header=present".to_owned(),
        ),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, text).into_response())
}

fn written(statement: &Statement, currency: &str) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "time",
        "kind",
        "description",
        "amount",
        "balance",
        "currency",
    ])?;
    for line in &statement.lines {
        let description = harmless(line.description.as_deref().unwrap_or_default());
        let amount = line.amount.as_deref().unwrap_or_default();
        let balance = line.balance.as_deref().unwrap_or_default();
        writer.write_record([
            &line.at,
            &line.kind,
            &description,
            amount,
            balance,
            currency,
        ])?;
    }
    Ok(writer.into_inner()?)
}

/// A text that no spreadsheet takes for a formula. Amounts are numbers and stay as they are.
fn harmless(text: &str) -> String {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']) {
        true => format!("'{text}"),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_is_a_text_in_the_file_and_an_amount_a_number() {
        let line = |description: &str| Line {
            at: "2026-03-01 12:00:00".to_owned(),
            kind: "charge".to_owned(),
            description: Some(description.to_owned()),
            amount: Some("-1.25".to_owned()),
            balance: Some("98.75".to_owned()),
        };
        let lines = [
            "=HYPERLINK(\"x\",\"y\")",
            "+1",
            "-1",
            "@x",
            "\t=1",
            "gpt-4o, \"new\"\nline",
        ];
        let statement = Statement {
            month: String::new(),
            name: String::new(),
            months: None,
            lines: lines.map(line).into(),
        };
        let text = written(&statement, "USD").unwrap();
        let mut reader = csv::Reader::from_reader(text.as_slice());
        let read: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        for (record, given) in read.iter().zip(lines) {
            let expected = if given.starts_with("gpt") {
                given.to_owned()
            } else {
                format!("'{given}")
            };
            assert_eq!(
                (&record[2], &record[3], &record[4], &record[5]),
                (expected.as_str(), "-1.25", "98.75", "USD")
            );
        }
        assert_eq!(read.len(), lines.len());
    }
}
