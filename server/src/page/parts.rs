//! Small pieces of pages.

use maud::{Markup, html};

/// A hidden field of a form.
pub fn hidden(name: &str, value: &str) -> Markup {
    html! { input type="hidden" name=(name) value=(value); }
}

/// An amount with its currency.
pub fn money(amount: &str, currency: &str) -> Markup {
    html! { span.money { (amount) " " (currency) } }
}

/// A text, or a dash that is read as "none".
pub fn or_none(text: Option<&str>) -> Markup {
    html! {
        @match text.filter(|text| !text.is_empty()) {
            Some(text) => (text),
            None => span.quiet aria-label="none" role="img" { "–" },
        }
    }
}

/// A sentence about a change that was made.
pub fn done(text: Option<&str>) -> Markup {
    html! { @if let Some(text) = text { div.notice.right role="status" { p { (text) } } } }
}

/// The columns with numbers.
const NUMBERS: &[&str] = &[
    "Amount",
    "Balance",
    "Cost",
    "Held",
    "Left",
    "Maximum",
    "Of",
    "Per",
    "Quantity",
    "Requests",
    "Share",
    "Spent",
    "Threshold",
    "Tokens",
    "Unit price",
    "Used",
];

/// A table that scrolls within itself on a narrow screen, by keyboard too.
pub fn table(caption: &str, columns: &[&str], rows: Markup) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(caption) {
            table {
                caption { (caption) }
                thead { tr { @for column in columns { th.number[NUMBERS.contains(column)] scope="col" { (column) } } } }
                tbody { (rows) }
            }
        }
    }
}

/// The most rows of a table. Lists read one more, to see whether there is another page.
pub const ROWS: usize = 100;

/// The links to the pages of a list, which begin after the row of a cursor. The row that was read
/// too many is removed.
pub fn paging<T>(
    rows: &mut Vec<T>,
    address: &str,
    name: &str,
    from: Option<&str>,
    cursor: impl Fn(&T) -> String,
) -> Markup {
    let has_more = rows.len() > ROWS;
    rows.truncate(ROWS);
    let next = rows.last().filter(|_| has_more).map(cursor);
    let query = |cursor: &str| serde_urlencoded::to_string([("from", cursor)]).unwrap_or_default();
    html! {
        @if from.is_some() || next.is_some() {
            nav aria-label={ "Pages of " (name) } {
                ul.paging {
                    @if from.is_some() { li { a href=(address) { "First page" } } }
                    @if let Some(next) = &next {
                        li { a rel="next" href={ (address) "?" (query(next)) } { "Next page" } }
                    }
                }
            }
        }
    }
}

/// A choice.
pub fn select(id: &str, name: &str, label: &str, options: &[(&str, &str)], chosen: &str) -> Markup {
    html! {
        div.field {
            label for=(id) { (label) }
            select id=(id) name=(name) {
                @for (value, text) in options {
                    option value=(value) selected[*value == chosen] { (text) }
                }
            }
        }
    }
}

/// A field for text.
pub fn input(id: &str, name: &str, label: &str, value: &str, is_required: bool) -> Markup {
    html! {
        div.field {
            label for=(id) { (label) }
            input id=(id) name=(name) type="text" value=(value) required[is_required] maxlength="200"
                autocomplete="off" spellcheck="false";
        }
    }
}
