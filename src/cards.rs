//! Recognizes card data. Pure, and fast for texts with fewer than thirteen digits.
//!
//! A card number has 13 to 16 digits, either without separators or in groups separated by spaces or
//! dashes, or 17 to 19 digits in groups. It is in the range of a known issuer and has a valid check
//! digit (ISO/IEC 7812). Each group has at least three digits, or all groups have the same length.
//! Identifiers that merely contain digits are accepted: UUIDs, dates with a time, and digits inside
//! a token of letters and digits. So are 17 to 19 digits without separators. Many applications use
//! random 63-bit integers as ids. 99.9 % of these have that many digits, and one in 37 of those
//! would look like a card number. Cards with so many digits are rare, and people write them in
//! groups.

/// The minimum number of digits of a card number.
const MIN: usize = 13;
/// The maximum number of digits of a card number that is written without groups.
const MAX_UNGROUPED: usize = 16;
/// The maximum number of digits of a card number.
const MAX: usize = 19;
/// The maximum number of digits of one group of a longer card number: UnionPay writes groups of 6
/// and 13.
const MAX_GROUP: usize = 13;

/// Names of JSON keys under which applications store card data that must never be stored.
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

/// True if a key's name says that it contains card data. The case does not matter.
pub fn is_card_key(key: &str) -> bool {
    matches!(key.len(), 3..=5 | 6 | 10 | 11)
        && KEYS.iter().any(|known| key.eq_ignore_ascii_case(known))
}

/// True if the text contains something that looks like a card number.
pub fn has_card_number(text: &str) -> bool {
    let bytes = text.as_bytes();
    // Almost every text returns here.
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

/// True if an integer looks like a card number.
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
    let digits = &digits[first..];
    digits.len() <= MAX_UNGROUPED && judge(digits)
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

/// The end of a run of digit groups, each after at most three separators.
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

/// Checks all sequences of adjacent groups in a run whose total length is that of a card number.
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
        // Advances to the next group.
        while from < end && !is_separator(bytes[from]) {
            from += 1;
        }
        while from < end && is_separator(bytes[from]) {
            from += 1;
        }
    }
    false
}

/// False for groups that are unlike those of a card number, such as a date and a time, which are
/// short and differ in length. The last group may be shorter than the others. Also false for a long
/// number that has no groups, or that is a long id followed by a short number.
fn grouped_as_cards_are(run: &[u8]) -> bool {
    let lengths: Vec<usize> = run
        .split(|byte| is_separator(*byte))
        .map(<[u8]>::len)
        .filter(|length| *length > 0)
        .collect();
    let (last, others) = lengths.split_last().unwrap_or((&0, &[]));
    let digits: usize = lengths.iter().sum();
    if digits > MAX_UNGROUPED && lengths.iter().any(|length| *length > MAX_GROUP) {
        return false;
    }
    let long = lengths.iter().all(|length| *length >= 3);
    let equal = others
        .iter()
        .all(|length| *length == others[0] && *last <= *length);
    long || equal
}

/// False if the digits are part of an identifier: a UUID, or a token in which letters and digits
/// alternate. A word directly before or after the digits does not hide a number.
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

/// Checks length, issuer and check digit.
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
        // Dankort, Elo, RuPay, Troy
        5019 | 5066 | 5067 | 5080..=5089 | 6362 | 6363 | 9792 => length == 16,
        // Maestro
        5018 | 5020 | 5038 | 5600..=5899 | 6304 | 6390 | 6700..=6799 => true,
        _ => false,
    }
}

/// Checks the check digit of ISO/IEC 7812: every second digit from the right is doubled, and the
/// sum of all resulting digits must be divisible by ten.
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

    /// Test numbers that card schemes and payment providers publish, with the lengths of their
    /// groups.
    const PUBLISHED: &[(&str, &[usize])] = &[
        // Visa
        ("4111111111111111", &[4, 4, 4, 4]),
        ("4242424242424242", &[4, 4, 4, 4]),
        ("4000056655665556", &[4, 4, 4, 4]),
        ("4012888888881881", &[4, 4, 4, 4]),
        ("4444333322221111", &[4, 4, 4, 4]),
        ("4917610000000000", &[4, 4, 4, 4]),
        ("4917300800000000", &[4, 4, 4, 4]),
        ("4222222222222", &[4, 3, 3, 3]),
        ("4007000000027", &[4, 3, 3, 3]),
        // Mastercard
        ("5555555555554444", &[4, 4, 4, 4]),
        ("5105105105105100", &[4, 4, 4, 4]),
        ("5200828282828210", &[4, 4, 4, 4]),
        ("5424000000000015", &[4, 4, 4, 4]),
        ("5454545454545454", &[4, 4, 4, 4]),
        ("2223003122003222", &[4, 4, 4, 4]),
        ("2221000000000009", &[4, 4, 4, 4]),
        // American Express
        ("378282246310005", &[4, 6, 5]),
        ("371449635398431", &[4, 6, 5]),
        ("378734493671000", &[4, 6, 5]),
        ("370000000000002", &[4, 6, 5]),
        ("343434343434343", &[4, 6, 5]),
        // Discover
        ("6011111111111117", &[4, 4, 4, 4]),
        ("6011000990139424", &[4, 4, 4, 4]),
        ("6011981111111113", &[4, 4, 4, 4]),
        ("6011000000000012", &[4, 4, 4, 4]),
        ("6445644564456445", &[4, 4, 4, 4]),
        // Diners Club
        ("30569309025904", &[4, 6, 4]),
        ("38520000023237", &[4, 6, 4]),
        ("36227206271667", &[4, 6, 4]),
        ("36006666333344", &[4, 6, 4]),
        ("3056930009020004", &[4, 4, 4, 4]),
        // JCB
        ("3530111333300000", &[4, 4, 4, 4]),
        ("3566002020360505", &[4, 4, 4, 4]),
        ("3569990010095841", &[4, 4, 4, 4]),
        // UnionPay
        ("6200000000000005", &[4, 4, 4, 4]),
        ("6200000000000047", &[4, 4, 4, 4]),
        ("6250946000000016", &[4, 4, 4, 4]),
        ("6243030000000001", &[4, 4, 4, 4]),
        // Maestro
        ("6759649826438453", &[4, 4, 4, 4]),
        ("6771798021000008", &[4, 4, 4, 4]),
        ("6771798025000004", &[4, 4, 4, 4]),
        ("6304000000000000", &[4, 4, 4, 4]),
        // Hipercard, Mir
        ("6062828888666688", &[4, 4, 4, 4]),
        ("2200000000000004", &[4, 4, 4, 4]),
        // Dankort, Elo, Troy
        ("5019717010103742", &[4, 4, 4, 4]),
        ("5019555544445555", &[4, 4, 4, 4]),
        ("5066991111111118", &[4, 4, 4, 4]),
        ("6362970000457013", &[4, 4, 4, 4]),
        ("9792030394440796", &[4, 4, 4, 4]),
    ];

    /// Test numbers with more than 16 digits, which are refused only in groups.
    const PUBLISHED_LONG: &[(&str, &[usize])] = &[
        // UnionPay
        ("6205500000000000004", &[4, 4, 4, 4, 3]),
        ("6205500000000000004", &[6, 13]),
        // Maestro
        ("6799990100000000019", &[4, 4, 4, 4, 3]),
    ];

    /// The digits of a number in groups, with a separator between the groups.
    fn grouped(number: &str, lengths: &[usize], separator: &str) -> String {
        assert_eq!(lengths.iter().sum::<usize>(), number.len(), "{number}");
        let mut rest = number;
        let groups: Vec<&str> = lengths
            .iter()
            .map(|length| {
                let (group, others) = rest.split_at(*length);
                rest = others;
                group
            })
            .collect();
        groups.join(separator)
    }

    #[test]
    fn published_test_numbers_are_found() {
        for (number, lengths) in PUBLISHED {
            let number = *number;
            assert!(has_card_number(number), "{number}");
            assert!(is_card_number(number.parse().unwrap()), "{number}");
            let fours: Vec<usize> = number.as_bytes().chunks(4).map(<[u8]>::len).collect();
            for lengths in [lengths, &fours[..]] {
                for separator in [" ", "-", " - "] {
                    let number = grouped(number, lengths, separator);
                    let text = format!("paid with {number}, 3 items");
                    assert!(has_card_number(&text), "{text}");
                }
            }
            assert!(has_card_number(&format!("card{number}")));
            assert!(has_card_number(&format!("req_{number}")));
            assert!(has_card_number(&format!("2026 {number} 12")));
            // The number with its last digit incremented.
            let last = number.as_bytes()[number.len() - 1] - b'0';
            let wrong = format!("{}{}", &number[..number.len() - 1], (last + 1) % 10);
            assert!(!has_card_number(&wrong), "{wrong}");
        }
    }

    #[test]
    fn longer_numbers_are_found_in_groups_alone() {
        for (number, lengths) in PUBLISHED_LONG {
            for separator in [" ", "-", " - "] {
                let text = format!("paid with {}, 3 items", grouped(number, lengths, separator));
                assert!(has_card_number(&text), "{text}");
            }
            assert!(!has_card_number(number), "{number}");
            assert!(!has_card_number(&format!("req_{number}")), "{number}");
            assert!(!is_card_number(number.parse().unwrap()), "{number}");
        }
    }

    /// The next number of a random sequence (SplitMix64).
    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Of all integers, one in a thousand has 16 digits or fewer. Such an integer looks like a card
    /// number if it matches an issuer's range and has a valid check digit: one in 27,000 of all
    /// integers. These cannot be distinguished from card numbers.
    #[test]
    fn a_million_random_integers_are_keys() {
        let seed: u64 = std::env::var("WALLET_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(rand_seed);
        println!("WALLET_SEED={seed}");
        let mut state = seed;
        let (mut keys, mut short, mut refused) = (0, 0, 0);
        while keys < 1_000_000 {
            let number = random(&mut state) >> 1;
            let text = number.to_string();
            if text.len() <= MAX_UNGROUPED {
                short += 1;
                refused += u32::from(has_card_number(&text));
                continue;
            }
            keys += 1;
            for key in [
                text.clone(),
                format!("req_{text}"),
                format!("req-{text}"),
                format!("{text}-1"),
                format!("{text}-23"),
                format!("{text}-456"),
                format!("order {text} 7"),
            ] {
                assert!(!has_card_number(&key), "{key}");
            }
            assert!(!is_card_number(number.into()), "{number}");
        }
        assert!(short < 2_000 && refused < 200, "{short} {refused}");
    }

    fn rand_seed() -> u64 {
        uuid::Uuid::now_v7().as_u64_pair().1
    }

    #[test]
    fn identifiers_are_no_card_numbers() {
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
    fn card_keys_are_found_in_any_case() {
        assert!(is_card_key("CVV") && is_card_key("Pan") && is_card_key("track2"));
        assert!(!is_card_key("pine") && !is_card_key("span") && !is_card_key("company"));
    }

    proptest! {
        #[test]
        fn any_text_is_searched_without_a_panic(text in any::<String>()) {
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
        fn a_visa_number_is_found_wherever_it_is(
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
