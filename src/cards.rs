//! What looks like card data. Pure, and cheap for what has no thirteen digits.
//!
//! A card number is 13 to 19 digits, single or in groups parted by spaces or dashes, in the range
//! of a known issuer and with the right check digit (ISO/IEC 7812). The groups have three digits or more,
//! or all the same number. Identifiers that merely contain digits are let
//! through: UUIDs, dates with a time, and digits in the midst of a token of letters and digits.

/// Fewest digits of a card number.
const MIN: usize = 13;
/// Most digits of a card number.
const MAX: usize = 19;

/// Names under which card data is kept that must never be stored.
const KEYS: &[&str] = &[
    "cvv",
    "cvc",
    "pan",
    "pin",
    "track",
    "cvv2",
    "cvc2",
    "track1",
    "track2",
    "card_number",
    "cardnumber",
];

/// True for the name of a key that holds card data, in whatever case.
pub fn is_card_key(key: &str) -> bool {
    matches!(key.len(), 3..=5 | 6 | 10 | 11)
        && KEYS.iter().any(|known| key.eq_ignore_ascii_case(known))
}

/// True when the text contains what looks like a card number.
pub fn has_card_number(text: &str) -> bool {
    let bytes = text.as_bytes();
    // Almost every text ends here.
    if bytes.len() < MIN {
        return false;
    }
    let mut at = 0;
    while let Some(start) = next_digit(bytes, at) {
        let end = run_end(bytes, start);
        if end - start >= MIN && run_has_card(bytes, start, end) {
            return true;
        }
        at = end;
    }
    false
}

/// True when a whole number looks like a card number.
pub fn is_card_number(value: u128) -> bool {
    let mut digits = [0; MAX];
    let mut rest = value;
    let mut first = MAX;
    while rest > 0 {
        if first == 0 {
            return false;
        }
        first -= 1;
        digits[first] = (rest % 10) as u8;
        rest /= 10;
    }
    judge(&digits[first..])
}

fn next_digit(bytes: &[u8], from: usize) -> Option<usize> {
    bytes
        .get(from..)?
        .iter()
        .position(u8::is_ascii_digit)
        .map(|offset| from + offset)
}

fn is_separator(byte: u8) -> bool {
    byte == b' ' || byte == b'-'
}

/// The end of digits and of groups of digits that follow after up to three separators.
fn run_end(bytes: &[u8], start: usize) -> usize {
    let mut end = start;
    loop {
        while bytes.get(end).is_some_and(u8::is_ascii_digit) {
            end += 1;
        }
        let gap = bytes[end..]
            .iter()
            .take(3)
            .take_while(|byte| is_separator(**byte))
            .count();
        if gap == 0 || !bytes.get(end + gap).is_some_and(u8::is_ascii_digit) {
            return end;
        }
        end += gap;
    }
}

/// Looks at all neighbouring groups of a run that together have the length of a card number.
fn run_has_card(bytes: &[u8], start: usize, end: usize) -> bool {
    let mut from = start;
    while from < end {
        let first_group = from;
        let mut digits = [0; MAX];
        let mut count = 0;
        let mut at = first_group;
        while at < end {
            if is_separator(bytes[at]) {
                at += 1;
                continue;
            }
            if count == MAX {
                break;
            }
            digits[count] = bytes[at] - b'0';
            count += 1;
            at += 1;
            let group_ends = at == end || is_separator(bytes[at]);
            if group_ends
                && judge(&digits[..count])
                && grouped_as_cards_are(&bytes[first_group..at])
                && stands_alone(bytes, first_group, at)
            {
                return true;
            }
        }
        // The next group.
        while from < end && !is_separator(bytes[from]) {
            from += 1;
        }
        while from < end && is_separator(bytes[from]) {
            from += 1;
        }
    }
    false
}

/// False for groups such as those of a date and a time, which are short and of several lengths. The last
/// one may be shorter than the others.
fn grouped_as_cards_are(run: &[u8]) -> bool {
    let lengths: Vec<usize> = run
        .split(|byte| is_separator(*byte))
        .map(<[u8]>::len)
        .filter(|length| *length > 0)
        .collect();
    let (last, others) = lengths.split_last().unwrap_or((&0, &[]));
    let long = lengths.iter().all(|length| *length >= 3);
    let equal = others
        .iter()
        .all(|length| *length == others[0] && *last <= *length);
    long || equal
}

/// False where the digits are part of an identifier: of a UUID, or of a token in which letters
/// and digits take turns. A word before or after them does not hide a number.
fn stands_alone(bytes: &[u8], start: usize, end: usize) -> bool {
    let letter = |byte: &u8| byte.is_ascii_alphabetic();
    let before = bytes[..start]
        .iter()
        .rev()
        .take_while(|b| letter(b))
        .count();
    let after = bytes[end..].iter().take_while(|b| letter(b)).count();
    let digit_before = before > 0
        && bytes[..start - before]
            .last()
            .is_some_and(u8::is_ascii_digit);
    let digit_after = after > 0 && bytes.get(end + after).is_some_and(u8::is_ascii_digit);
    !digit_before && !digit_after && !in_uuid(bytes, start, end)
}

fn in_uuid(bytes: &[u8], start: usize, end: usize) -> bool {
    let part = |byte: &&u8| byte.is_ascii_hexdigit() || **byte == b'-';
    let before = bytes[..start].iter().rev().take_while(part).count();
    let after = bytes[end..].iter().take_while(part).count();
    let token = &bytes[start - before..end + after];
    token.len() == 36 && [8, 13, 18, 23].iter().all(|dash| token[*dash] == b'-')
}

/// Length, issuer and check digit.
fn judge(digits: &[u8]) -> bool {
    (MIN..=MAX).contains(&digits.len()) && known_issuer(digits) && luhn(digits)
}

fn known_issuer(digits: &[u8]) -> bool {
    let prefix = |n: usize| {
        digits[..n]
            .iter()
            .fold(0_u32, |sum, d| sum * 10 + u32::from(*d))
    };
    let length = digits.len();
    match prefix(4) {
        // Visa
        4000..=4999 => matches!(length, 13 | 16 | 19),
        // Mastercard
        5100..=5599 | 2221..=2720 => length == 16,
        // American Express
        3400..=3499 | 3700..=3799 => length == 15,
        // Diners Club
        3000..=3059 | 3095 | 3600..=3699 | 3800..=3999 => (14..=19).contains(&length),
        // JCB, Discover, UnionPay, RuPay, Mir
        3528..=3589
        | 6011
        | 6440..=6599
        | 6200..=6299
        | 6000..=6010
        | 6012..=6099
        | 8100..=8299
        | 2200..=2204 => (16..=19).contains(&length),
        // Maestro
        5018 | 5020 | 5038 | 5600..=5899 | 6304 | 6390 | 6700..=6799 => true,
        _ => false,
    }
}

/// The check digit of ISO/IEC 7812: every second digit from the right doubled, the digits of all
/// that summed, divisible by ten.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let value = u32::from(*digit) << (place % 2);
            value / 10 + value % 10
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn test_numbers_of_the_issuers_are_found() {
        for number in [
            "4111111111111111",
            "4222222222222",
            "5555555555554444",
            "2223003122003222",
            "378282246310005",
            "6011111111111117",
            "30569309025904",
            "3530111333300000",
            "6200000000000005",
            "6759649826438453",
        ] {
            assert!(has_card_number(number), "{number}");
            assert!(is_card_number(number.parse().unwrap()), "{number}");
            let grouped: Vec<&str> = number
                .as_bytes()
                .chunks(4)
                .map(|group| std::str::from_utf8(group).unwrap())
                .collect();
            for separator in [" ", "-", " - "] {
                let text = format!("paid with {}, 3 items", grouped.join(separator));
                assert!(has_card_number(&text), "{text}");
            }
            assert!(has_card_number(&format!("card{number}")));
            assert!(has_card_number(&format!("2026 {number} 12")));
            // One digit off.
            let last = number.as_bytes()[number.len() - 1] - b'0';
            let wrong = format!("{}{}", &number[..number.len() - 1], (last + 1) % 10);
            assert!(!has_card_number(&wrong), "{wrong}");
        }
    }

    #[test]
    fn identifiers_pass() {
        for text in [
            "",
            "4111",
            "1764000000000",
            "2026-11-24 04:12:14.123456",
            "550e8400-e29b-41d4-4111-111111111111",
            "ch_3a4111111111111111b9",
            "41111111111111111111111111",
            "9111111111111111",
        ] {
            assert!(!has_card_number(text), "{text}");
        }
        assert!(!is_card_number(0));
        assert!(!is_card_number(u128::MAX));
    }

    #[test]
    fn keys_in_any_case() {
        assert!(is_card_key("CVV") && is_card_key("Pan") && is_card_key("track2"));
        assert!(!is_card_key("pine") && !is_card_key("span") && !is_card_key("company"));
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>()) {
            has_card_number(&text);
        }

        #[test]
        fn digits_and_separators_never_panic(text in "[0-9 a-]{0,80}") {
            has_card_number(&text);
        }

        #[test]
        fn a_number_before_a_date_and_a_time_passes(
            number in 0_u32..100_000, month in 1..13, day in 1..29, hour in 0..24, minute in 0..60, second in 0..60,
        ) {
            let text = format!("{number}-2026-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
            prop_assert!(!has_card_number(&text), "{}", text);
            let text = format!("{number}-2026-{month:02}-{day:02}-{hour:02}-{minute:02}-{second:02}");
            prop_assert!(!has_card_number(&text), "{}", text);
        }

        #[test]
        fn a_visa_number_is_found_wherever_it_stands(
            body in 0_u64..10_u64.pow(14), before in "[a-z,.:]{0,9}", after in "[,.:]{0,9}",
        ) {
            let digits = format!("4{body:014}");
            let check = (0..10).find(|check| {
                let all: Vec<u8> = format!("{digits}{check}").bytes().map(|b| b - b'0').collect();
                luhn(&all)
            }).unwrap();
            let text = format!("{before}{digits}{check}{after}");
            prop_assert!(has_card_number(&text));
        }
    }
}
