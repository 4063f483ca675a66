//! The priced lines of a charge and their compact form in the ledger. Pure.
//!
//! Two lines written as JSON take more space than the rest of an entry. The compact form has only
//! what is stored nowhere else: meter, quantity, amount and price id. Unit price and unit are in
//! the row of the price, which never changes. `docs/ledger.md` describes the form.

use rust_decimal::Decimal;

use crate::currency::Currency;
use crate::money::{Amount, Rate};

/// One priced meter of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The meter that is billed, such as `input_tokens`.
    pub meter: String,
    /// The quantity that is billed, in units of the meter.
    pub quantity: Decimal,
    /// Price of `per` units, in the currency of the price.
    pub unit_price: Decimal,
    /// The number of units that `unit_price` pays for.
    pub per: Decimal,
    /// The amount of the line, rounded once; below zero for a discount.
    pub amount: Amount,
    /// Id of the row in `wallet.prices`.
    pub price_id: [u8; 16],
    /// The exchange, if the price is in another currency.
    pub exchange: Option<Exchange>,
}

/// An exchange rate as it was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The currency of the price.
    pub from: Currency,
    /// The rate from that currency to the one of the cost.
    pub rate: Rate,
    /// The row of `wallet.fx_rates`.
    pub rate_id: [u8; 16],
}

/// A line as the ledger stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLine {
    /// The meter that was billed, such as `input_tokens`.
    pub meter: String,
    /// The quantity that was billed.
    pub quantity: Decimal,
    /// The amount of the line, in the wallet's currency; below zero for a discount.
    pub amount: Amount,
    /// Id of the row in `wallet.prices`, from which the unit price is read.
    pub price_id: [u8; 16],
    /// The exchange rate by which it was converted.
    pub exchange: Option<StoredExchange>,
}

/// The exchange rate of a line as the ledger stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoredExchange {
    /// The row of `wallet.fx_rates`.
    pub rate_id: [u8; 16],
    /// True if the row is of the opposite pair.
    pub is_inverse: bool,
}

impl StoredExchange {
    fn of(exchange: &Exchange) -> StoredExchange {
        StoredExchange {
            rate_id: exchange.rate_id,
            is_inverse: exchange.rate.is_inverse,
        }
    }
}

/// The first byte: the version of the form.
const VERSION: u8 = 1;

/// The bits of a line's second part. These have the number of decimals of the quantity.
const SCALE: u8 = 0x1f;
/// Set if the amount is below zero.
const NEGATIVE: u8 = 0x80;
/// How the line was converted: zero if it was not, or one of the three values below.
const EXCHANGE: u8 = 0x60;
/// Converted by a rate whose id follows.
const DIRECT: u8 = 0x20;
/// Converted by a rate of the opposite pair, whose id follows.
const INVERSE: u8 = 0x40;
/// Converted as the last converted line before.
const AS_BEFORE: u8 = 0x60;

/// Meters that take one byte. New ones are only appended, because the ledger stores the position,
/// counted from 1.
const METERS: &[&str] = &[
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
    "cache_read_audio_tokens",
    "cache_write_audio_tokens",
    "input_image_tokens",
    "output_image_tokens",
    "input_video_tokens",
    "output_video_tokens",
    "citation_tokens",
    "input_images",
    "images",
    "input_pixels",
    "output_pixels",
    "audio_seconds",
    "output_audio_seconds",
    "input_video_seconds",
    "video_seconds",
    "input_characters",
    "output_characters",
    "pages",
    "annotated_pages",
    "queries",
    "sessions",
    "requests",
    "gpu_seconds",
    "credits",
    "file_searches",
    "map_queries",
];

/// True for a meter that the extension knows, whether or not it has a price.
pub fn is_known_meter(name: &str) -> bool {
    METERS.contains(&name)
}

/// True for a meter that is counted in whole numbers.
pub fn is_countable(name: &str) -> bool {
    is_known_meter(name) && !name.ends_with("_seconds") && name != "credits"
}

/// Writes an unsigned integer with seven bits per byte, the lowest first.
fn push_varint(out: &mut Vec<u8>, mut value: u128) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_varint(bytes: &mut &[u8]) -> Option<u128> {
    let mut value: u128 = 0;
    for shift in (0..128).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u128::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn read_bytes<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

/// The compact form. Quantities are not negative.
pub fn encode(lines: &[Line]) -> Vec<u8> {
    // Most lines need less.
    let mut out = Vec::with_capacity(24 + 32 * lines.len());
    out.push(VERSION);
    let mut before = None;
    for line in lines {
        match METERS.iter().position(|meter| *meter == line.meter) {
            Some(index) => push_varint(&mut out, index as u128 + 1),
            None => {
                out.push(0);
                push_varint(&mut out, line.meter.len() as u128);
                out.extend_from_slice(line.meter.as_bytes());
            }
        }
        let exchange = line.exchange.as_ref().map(StoredExchange::of);
        let is_new = exchange.is_some() && exchange != before;
        let how = match exchange {
            None => 0,
            Some(_) if !is_new => AS_BEFORE,
            Some(exchange) if exchange.is_inverse => INVERSE,
            Some(_) => DIRECT,
        };
        let sign = if line.amount.is_negative() {
            NEGATIVE
        } else {
            0
        };
        out.push(line.quantity.scale() as u8 & SCALE | how | sign);
        push_varint(&mut out, line.quantity.mantissa().unsigned_abs());
        push_varint(&mut out, line.amount.units().unsigned_abs());
        out.extend_from_slice(&line.price_id);
        if let Some(exchange) = exchange.filter(|_| is_new) {
            out.extend_from_slice(&exchange.rate_id);
            before = Some(exchange);
        }
    }
    out
}

/// The lines of a compact form; `None` if it is damaged. Every length and index is checked, so
/// damaged bytes cannot panic. An exchange is stored with the first line that has it; later lines
/// refer to the last one stored.
pub fn decode(mut bytes: &[u8]) -> Option<Vec<StoredLine>> {
    let bytes = &mut bytes;
    if read_bytes(bytes, 1)? != [VERSION] {
        return None;
    }
    let mut lines = Vec::new();
    let mut before = None;
    while !bytes.is_empty() {
        let meter = match usize::try_from(read_varint(bytes)?).ok()? {
            0 => {
                let length = usize::try_from(read_varint(bytes)?).ok()?;
                std::str::from_utf8(read_bytes(bytes, length)?)
                    .ok()?
                    .to_owned()
            }
            index => (*METERS.get(index - 1)?).to_owned(),
        };
        let form = *read_bytes(bytes, 1)?.first()?;
        let scale = u32::from(form & SCALE);
        let mantissa = i128::try_from(read_varint(bytes)?).ok()?;
        let quantity = Decimal::try_from_i128_with_scale(mantissa, scale).ok()?;
        let amount = Amount::from_units(i128::try_from(read_varint(bytes)?).ok()?).ok()?;
        let amount = match form & NEGATIVE {
            0 => amount,
            _ => amount.negated(),
        };
        let price_id = read_bytes(bytes, 16)?.try_into().ok()?;
        let exchange = match form & EXCHANGE {
            0 => None,
            AS_BEFORE => Some(before?),
            how => {
                let rate_id = read_bytes(bytes, 16)?.try_into().ok()?;
                let is_inverse = how == INVERSE;
                before = Some(StoredExchange {
                    rate_id,
                    is_inverse,
                });
                before
            }
        };
        lines.push(StoredLine {
            meter,
            quantity,
            amount,
            price_id,
            exchange,
        });
    }
    Some(lines)
}

/// The sum of all kinds of tokens.
pub fn total_tokens<'a>(meters: impl Iterator<Item = (&'a str, Decimal)>) -> i64 {
    let tokens: Decimal = meters
        .filter(|(meter, _)| meter.ends_with("_tokens"))
        .map(|(_, quantity)| quantity)
        .sum();
    i64::try_from(tokens.trunc().mantissa()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_token_meter_has_a_weight() {
        let view = include_str!("../../sql/schema/metrics.sql");
        for meter in METERS.iter().filter(|meter| meter.ends_with("_tokens")) {
            assert!(view.contains(&format!("\"{meter}\": ")), "{meter}");
        }
    }

    proptest! {
        #[test]
        fn the_compact_form_reads_back(
            lines in prop::collection::vec(
                (
                    prop_oneof![
                        prop::sample::select(METERS).prop_map(str::to_owned),
                        "[a-zé_]{1,40}".prop_map(|s| s),
                    ],
                    0_i64..999_999_999_999, 0_u32..=28,
                    -10_i128.pow(28) + 1..10_i128.pow(28),
                    any::<[u8; 16]>(),
                    prop::option::of((0_u8..3, any::<bool>())),
                ),
                0..8,
            )
        ) {
            let lines: Vec<Line> = lines.into_iter().map(|(meter, q, scale, units, price_id, exchange)| Line {
                meter,
                quantity: Decimal::new(q, scale),
                unit_price: Decimal::ONE,
                per: Decimal::ONE,
                amount: Amount::from_units(units).unwrap(),
                price_id,
                exchange: exchange.map(|(rate_id, is_inverse)| Exchange {
                    from: Currency::USD,
                    rate: Rate { value: Decimal::TWO, is_inverse },
                    rate_id: [rate_id; 16],
                }),
            }).collect();
            let bytes = encode(&lines);
            let read = decode(&bytes).unwrap();
            prop_assert_eq!(read.len(), lines.len());
            for (read, line) in read.iter().zip(&lines) {
                prop_assert_eq!(&read.meter, &line.meter);
                prop_assert_eq!(read.quantity, line.quantity);
                prop_assert_eq!(read.quantity.scale(), line.quantity.scale());
                prop_assert_eq!(read.amount, line.amount);
                prop_assert_eq!(read.price_id, line.price_id);
                prop_assert_eq!(read.exchange, line.exchange.as_ref().map(StoredExchange::of));
            }
        }

        #[test]
        fn damage_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn two_lines_of_tokens_are_small() {
        let line = |meter: &str, quantity: i64| Line {
            meter: meter.to_owned(),
            quantity: Decimal::from(quantity),
            unit_price: Decimal::ONE,
            per: Decimal::ONE,
            amount: Amount::from_units(2_500_000_000).unwrap(),
            price_id: [7; 16],
            exchange: None,
        };
        assert!(encode(&[line("input_tokens", 1000), line("output_tokens", 450)]).len() <= 52);
    }

    #[test]
    fn seconds_may_be_fractions_and_tokens_may_not() {
        assert!(is_countable("input_tokens") && is_countable("images"));
        assert!(!is_countable("audio_seconds") && !is_countable("gpu_seconds"));
        assert!(!is_countable("my_own_meter"));
    }
}
