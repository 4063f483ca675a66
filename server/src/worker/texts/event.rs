//! An event as the texts for people see it: every value is one line of limited length.

use serde_json::Value;

/// The most characters of a value. A name may be longer; a message shows its beginning.
const MOST: usize = 200;

/// An event.
pub struct Event<'a> {
    /// Its name, such as `wallet_balance_low`.
    pub name: &'a str,
    /// The wallet.
    pub wallet: &'a str,
    /// The wallet's currency, unless the wallet is gone.
    pub currency: Option<&'a str>,
    /// The threshold that was crossed.
    pub threshold: Option<&'a str>,
    /// The details.
    pub payload: &'a Value,
    /// When it happened.
    pub created_at: &'a str,
}

/// A value as people read it: one line, without characters that change how others look. A message
/// shows who wrote it, so a name must not look like the end of the text and another message.
pub fn line(text: &str) -> String {
    let is_plain = |c: char| !(c.is_control() || is_format(c));
    let mut plain: String = text
        .chars()
        .map(|c| if is_plain(c) { c } else { ' ' })
        .take(MOST + 1)
        .collect();
    if plain.chars().count() > MOST {
        plain = plain.chars().take(MOST).collect();
        plain.push('…');
    }
    plain
}

/// Characters that order, hide or break text.
fn is_format(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn minute(text: &str) -> String {
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        Err(_) => line(text),
    }
}

impl Event<'_> {
    /// The wallet's name.
    pub fn wallet(&self) -> String {
        line(self.wallet)
    }

    /// A value of the details. Numbers have all their digits.
    pub fn get(&self, key: &str) -> Option<String> {
        match self.payload.get(key)? {
            Value::Null => None,
            Value::String(text) => Some(line(text)),
            other => Some(line(&other.to_string())),
        }
    }

    /// A value of the details, or words that say that there is none.
    pub fn value(&self, key: &str) -> String {
        self.get(key)
            .unwrap_or_else(|| "an unknown value".to_owned())
    }

    /// An amount of the details, with its currency.
    pub fn money(&self, key: &str) -> String {
        match self.get(key) {
            Some(amount) => self.priced(&amount),
            None => "an unknown amount".to_owned(),
        }
    }

    /// The threshold as an amount.
    pub fn threshold_money(&self) -> String {
        match self.threshold {
            Some(amount) => self.priced(amount),
            None => "the threshold".to_owned(),
        }
    }

    fn priced(&self, amount: &str) -> String {
        let own = self.get("currency");
        match own.or_else(|| self.currency.map(line)) {
            Some(currency) => format!("{amount} {currency}"),
            None => amount.to_owned(),
        }
    }

    /// A number of a limit: money, or units of its metric.
    pub fn counted(&self, key: &str) -> String {
        match self.get("metric").as_deref() {
            None | Some("amount") => self.money(key),
            Some(metric) => format!("{} {metric}", self.value(key)),
        }
    }

    /// A time of the details, as people read it.
    pub fn time(&self, key: &str) -> Option<String> {
        self.get(key).map(|text| minute(&text))
    }

    /// When it happened.
    pub fn happened(&self) -> String {
        minute(self.created_at)
    }
}
