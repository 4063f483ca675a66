//! The overview as HTML.

use maud::{Markup, html};

use super::data::{Alert, Dimension, Forecast, Grant, Limit, Overview};
use crate::page::account::SignedIn;
use crate::page::chart::{Bar, bars};
use crate::page::layout;
use crate::page::parts::{money, or_none, table};

/// The days that the chart shows after today.
const AHEAD: usize = 7;

fn is_zero(amount: &str) -> bool {
    amount.bytes().all(|byte| matches!(byte, b'0' | b'.'))
}

/// The page.
pub fn page(person: &SignedIn, overview: &Overview) -> Markup {
    let currency = person.account.currency.as_str();
    layout::page(
        "Overview",
        "/",
        person,
        html! {
            (balance(overview, currency))
            div #spending {
                (trend(overview, currency))
                (limits(&overview.limits, currency))
                (spending(overview, currency))
            }
            (alerts(&overview.alerts))
            (grants(&overview.grants, currency))
        },
    )
}

fn balance(overview: &Overview, currency: &str) -> Markup {
    html! {
        section aria-labelledby="h-balance" {
            h2 #h-balance { "Balance" }
            dl.figures {
                div { dt { "Available" } dd.big { span data-live="available" { (overview.available) } " " (currency) } }
                div { dt { "Balance" } dd { span data-live="balance" { (overview.balance) } " " (currency) } }
                div { dt { "Held" } dd { span data-live="held" { (overview.held) } " " (currency) } }
                div { dt { "Pending fundings" } dd { (money(&overview.pending, currency)) } }
                div { dt { "Spent in " (overview.month) } dd { (money(&overview.spent, currency)) } }
                @if !is_zero(&overview.debt) { div { dt { "Debt" } dd { (money(&overview.debt, currency)) } } }
                @if !is_zero(&overview.credit_limit) { div { dt { "Credit limit" } dd { (money(&overview.credit_limit, currency)) } } }
            }
            p.quiet #live hidden { "The figures follow the wallet." }
        }
    }
}

fn trend(overview: &Overview, currency: &str) -> Markup {
    let forecast = &overview.forecast;
    let mut shown: Vec<Bar> = overview
        .days
        .iter()
        .map(|day| Bar::spent(&day.label, &day.cost))
        .collect();
    if let Some(burn) = &forecast.daily_burn {
        shown.extend((1..=AHEAD).map(|days| Bar::expected(&format!("+{days}"), burn)));
    }
    let rows = html! {
        @for day in overview.days.iter().rev() {
            tr { th scope="row" { (day.day) } td.number { (money(&day.cost, currency)) } }
        }
    };
    html! {
        section aria-labelledby="h-trend" {
            h2 #h-trend { "Daily spending" }
            (bars("trend", "Spending per day of the last 30 days", &sentence(forecast, currency), &shown))
            p { (sentence(forecast, currency)) }
            details {
                summary { "The figures of the chart" }
                (table("Spending per day", &["Day", "Spent"], rows))
            }
        }
    }
}

fn sentence(forecast: &Forecast, currency: &str) -> String {
    let Some(burn) = &forecast.daily_burn else {
        return "There is no forecast yet.".to_owned();
    };
    let mut text = format!("The forecast, which the last bars show, is {burn} {currency} per day");
    if let Some(basis) = &forecast.basis {
        text.push_str(&format!(" ({basis})"));
    }
    text.push('.');
    if let (Some(left), Some(end)) = (&forecast.days_left, &forecast.runs_out) {
        text.push_str(&format!(" The money lasts {left} days, until {end}"));
        if let (Some(first), Some(last)) = (&forecast.earliest, &forecast.latest) {
            text.push_str(&format!(" (between {first} and {last})"));
        }
        text.push('.');
    }
    if let Some(amount) = forecast
        .suggested
        .as_deref()
        .filter(|amount| !is_zero(amount))
    {
        text.push_str(&format!(
            " With a top-up of {amount} {currency} it lasts 30 days."
        ));
    }
    text
}

fn limits(limits: &[Limit], currency: &str) -> Markup {
    html! {
        section aria-labelledby="h-limits" {
            h2 #h-limits { "Limits" }
            @if limits.is_empty() { p { "The wallet has no limits." } }
            ul.meters {
                @for (place, limit) in limits.iter().enumerate() { li { (meter(place, limit, currency)) } }
            }
        }
    }
}

fn meter(place: usize, limit: &Limit, currency: &str) -> Markup {
    let id = format!("limit-{place}");
    let none = || "0".to_owned();
    let percent = limit.percent.clone().unwrap_or_else(none);
    let unit = limit.unit(currency);
    html! {
        label for=(id) { (limit.name()) @if limit.paused { " (paused)" } @if limit.mode != "hard" { " (" (limit.mode) ")" } }
        meter id=(id) min="0" max="100" low="80" high="99.9" optimum="0" value=(percent) { (percent) " %" }
        p.quiet {
            (limit.used.clone().unwrap_or_else(none)) " of " (limit.max.clone().unwrap_or_default()) " " (unit)
            " used, " (limit.held.clone().unwrap_or_else(none)) " held, " (limit.remaining.clone().unwrap_or_else(none)) " left (" (percent) " %)"
            @if let Some(time) = &limit.resets_at { ". It resets at " (time) }
        }
    }
}

fn spending(overview: &Overview, currency: &str) -> Markup {
    html! {
        section aria-labelledby="h-by" {
            h2 #h-by { "Spent in " (overview.month) }
            div.columns { @for dimension in &overview.by { (by(dimension, currency)) } }
        }
    }
}

fn by(dimension: &Dimension, currency: &str) -> Markup {
    let caption = format!("By {}", dimension.name.to_lowercase());
    let rows = html! {
        @for used in &dimension.rows {
            tr {
                th scope="row" { (or_none(used.value.as_deref())) }
                td.number { (money(&used.cost, currency)) }
                td.number { (used.percent.as_deref().unwrap_or("0")) " %" }
                td.number { (used.requests) }
                td.number { (used.tokens) }
            }
        }
    };
    table(
        &caption,
        &[&dimension.name, "Cost", "Share", "Requests", "Tokens"],
        rows,
    )
}

fn alerts(alerts: &[Alert]) -> Markup {
    let rows = html! {
        @for alert in alerts {
            tr {
                td { (alert.at) }
                td { (alert.event.replace('_', " ")) }
                td { (or_none(alert.subject.as_deref())) }
                td.number { (or_none(alert.threshold.as_deref())) }
            }
        }
    };
    html! {
        section aria-labelledby="h-alerts" {
            h2 #h-alerts { "Alerts" }
            @if alerts.is_empty() { p { "There are no alerts." } }
            @else { (table("The last events of the wallet", &["Time", "Event", "Subject", "Threshold"], rows)) }
        }
    }
}

fn grants(grants: &[Grant], currency: &str) -> Markup {
    let rows = html! {
        @for grant in grants {
            tr {
                td.number { (money(&grant.remaining, currency)) }
                td.number { (money(&grant.amount, currency)) }
                td { @if grant.promotional { "promotional" } @else { "paid" } }
                td { (or_none(grant.expires_at.as_deref())) }
            }
        }
    };
    html! {
        section aria-labelledby="h-grants" {
            h2 #h-grants { "Credit" }
            @if grants.is_empty() { p { "There is no credit." } }
            @else { (table("Credit, in the order in which it is spent", &["Left", "Of", "Kind", "Expires"], rows)) }
        }
    }
}
