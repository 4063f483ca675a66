//! Tests that need a backend; each runs in a transaction that is rolled back.

#[pgrx::pg_schema]
mod tests {
    use pgrx::datum::{FromDatum, IntoDatum};
    use pgrx::prelude::*;
    use rust_decimal::Decimal;

    use crate::money::Amount;
    use crate::pg::jsonb::Json;
    use crate::pg::jsonb::Jsonb;
    use crate::pg::jsonb_rows::Leaf;
    use crate::pg::jsonb_rows::array_of_objects;
    use crate::pg::jsonb_rows::array_of_sparse_objects;
    use crate::pg::numeric::Encoded;
    use crate::pg::numeric::Number;
    use crate::pg::numeric::amount_at;
    use crate::pg::numeric::decimal_datum;

    fn one(sql: &str) -> String {
        Spi::get_one::<String>(sql)
            .unwrap_or_default()
            .unwrap_or_default()
    }

    /// Reads a numeric through PostgreSQL's own input function.
    fn number(text: &str) -> Number {
        let value: pgrx::AnyNumeric = text.try_into().expect("a numeric");
        // SAFETY: the datum is the numeric just made.
        unsafe { Number::from_datum(value.into_datum().expect("a datum"), false) }
            .expect("a number")
    }

    /// Prints a numeric datum through PostgreSQL's own output function.
    fn print(datum: pgrx::pg_sys::Datum) -> String {
        // SAFETY: the datum is a numeric that this crate has just built.
        unsafe { pgrx::AnyNumeric::from_datum(datum, false) }
            .expect("a numeric")
            .to_string()
    }

    #[pg_test]
    fn numeric_reads_what_postgres_writes() {
        for text in [
            "0",
            "1",
            "-1",
            "10000",
            "9999",
            "0.0001",
            "0.00001",
            "123456789.123456789012",
            "-9999999999999999.999999999999",
            "0.000000000001",
            "100000000",
            "1e15",
            "0.00000000000100000",
        ] {
            let expected = Decimal::from_scientific(text)
                .or_else(|_| Decimal::from_str_exact(text))
                .expect("a decimal");
            let amount = Amount::from_decimal(expected).expect("an amount");
            assert_eq!(number(text).to_amount(), Ok(amount), "{text}");
            let value: pgrx::AnyNumeric = text.try_into().expect("a numeric");
            // SAFETY: the datum is the numeric just made.
            let in_place = unsafe { amount_at(value.into_datum().expect("a datum")) };
            assert_eq!(in_place, Ok(amount), "{text}");
            assert_eq!(
                number(text).to_decimal(),
                Some(expected.normalize()),
                "{text}"
            );
        }
        for text in [
            "1e40",
            "1e16",
            "-1e17",
            "1e-13",
            "NaN",
            "-Infinity",
            "1e1000",
        ] {
            let value: pgrx::AnyNumeric = text.try_into().expect("a numeric");
            // SAFETY: the datum is the numeric just made.
            let in_place = unsafe { amount_at(value.into_datum().expect("a datum")) };
            assert_eq!(in_place, number(text).to_amount(), "{text}");
            assert!(in_place.is_err(), "{text}");
        }
        assert_eq!(number("NaN"), Number::NaN);
        assert_eq!(number("Infinity"), Number::Infinite);
        assert_eq!(number("-Infinity"), Number::Infinite);
        assert!(number("1e40").to_amount().is_err());
        assert!(number("1e16").to_amount().is_err());
        assert!(number("1e-13").to_amount().is_err());
        assert!(number("1e1000").to_decimal().is_none());
    }

    #[pg_test]
    fn numeric_writes_what_postgres_reads() {
        for text in [
            "0",
            "1",
            "-1",
            "12345.6789",
            "-0.000000000001",
            "9999999999999999.999999999999",
        ] {
            let decimal = Decimal::from_str_exact(text).expect("a decimal");
            let amount = Amount::from_decimal(decimal).expect("an amount");
            assert_eq!(
                print(Encoded::fixed(amount).into_datum()),
                amount.to_fixed()
            );
            assert_eq!(
                print(amount.into_datum().expect("a datum")),
                amount.to_string()
            );
            assert_eq!(print(decimal_datum(decimal)), text);
        }
        // Equal bytes, so that numerics written directly hash and compare as PostgreSQL's own.
        for text in ["0.5", "100", "-7.25", "12345678.000000000001"] {
            let amount = number(text).to_amount().expect("an amount");
            let ours = print(Encoded::fixed(amount).into_datum());
            assert_eq!(ours, one(&format!("SELECT '{text}'::numeric(28,12)::text")));
        }
    }

    #[pg_test]
    fn jsonb_reads_every_kind() {
        let read = |text: &str| {
            let value = Spi::get_one_with_args::<Jsonb>("SELECT $1::jsonb", &[text.into()]);
            value
                .expect("valid JSON")
                .expect("a value")
                .read("argument", 1000)
        };
        assert_eq!(read("null"), Ok(Json::Null));
        assert_eq!(read("\"x\""), Ok(Json::String("x".to_owned())));
        assert_eq!(read("[]"), Ok(Json::Array(vec![])));
        assert_eq!(
            read("{\"a\": [true, {\"b\": null}]}"),
            Ok(Json::Object(vec![(
                "a".to_owned(),
                Json::Array(vec![
                    Json::Bool(true),
                    Json::Object(vec![("b".to_owned(), Json::Null)]),
                ]),
            )]))
        );
        assert!(read(&format!("{}{}", "[".repeat(65), "]".repeat(65))).is_err());
        assert!(read(&format!("\"{}\"", "x".repeat(2000))).is_err());
    }

    #[pg_test]
    fn rows_are_written_as_postgres_writes_them() {
        let bytes = |value: Jsonb| {
            // SAFETY: a jsonb datum is a varlena.
            unsafe { Vec::<u8>::from_datum(value.0, false) }.expect("bytes")
        };
        for count in [0, 1, 2, 31, 32, 33, 70] {
            let names: Vec<String> = (0..count).map(|n| "né".repeat(n % 5)).collect();
            let number = |n: usize| Decimal::new(n as i64 * 1_000_003, (n % 7) as u32);
            let ours = array_of_objects(
                ["n", "aa", "bb", "text"],
                names.iter().enumerate().map(|(n, name)| {
                    [
                        Leaf::Number(Encoded::decimal(number(n))),
                        Leaf::Text(name),
                        Leaf::Number(Encoded::decimal(number(n * n))),
                        Leaf::Text("constant"),
                    ]
                }),
            );
            let rows: Vec<String> = names
                .iter()
                .enumerate()
                .map(|(n, name)| {
                    format!(
                        "{{\"text\":\"constant\",\"aa\":\"{name}\",\"bb\":{},\"n\":{}}}",
                        number(n * n),
                        number(n)
                    )
                })
                .collect();
            let text = format!("[{}]", rows.join(","));
            let theirs = Spi::get_one_with_args::<Jsonb>("SELECT $1::jsonb", &[text.into()])
                .expect("valid JSON")
                .expect("a value");
            assert_eq!(bytes(ours), bytes(theirs), "{count} rows");
        }
    }

    #[pg_test]
    fn rows_that_lack_keys_are_written_as_postgres_writes_them() {
        let bytes = |value: Jsonb| {
            // SAFETY: a jsonb datum is a varlena.
            unsafe { Vec::<u8>::from_datum(value.0, false) }.expect("bytes")
        };
        // Every way in which four keys may be there or lacking.
        let leaf = |there: bool, leaf| if there { leaf } else { Leaf::Absent };
        let ours = array_of_sparse_objects(
            ["n", "aa", "bb", "text"],
            (0..16_u32).map(|bits| {
                let number = Encoded::decimal(Decimal::new(bits.into(), 1));
                [
                    leaf(bits & 1 != 0, Leaf::Number(number)),
                    leaf(bits & 2 != 0, Leaf::True),
                    leaf(bits & 4 != 0, Leaf::Text("né")),
                    leaf(bits & 8 != 0, Leaf::Text("")),
                ]
            }),
        );
        let theirs = Spi::get_one::<Jsonb>(
            "SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                        'n', CASE WHEN b & 1 <> 0 THEN trim_scale(b * 0.1) END, 'aa', CASE WHEN b & 2 <> 0 THEN true END,
                        'bb', CASE WHEN b & 4 <> 0 THEN 'né' END, 'text', CASE WHEN b & 8 <> 0 THEN '' END)) ORDER BY b)
               FROM generate_series(0, 15) b",
        );
        let theirs = theirs.expect("valid JSON").expect("a value");
        assert_eq!(ours.to_text(), theirs.to_text());
        assert_eq!(bytes(ours), bytes(theirs));
    }

    #[pg_test]
    fn equal_json_has_one_canonical_form() {
        let canonical = |text: &str| {
            let value = Spi::get_one_with_args::<Jsonb>("SELECT $1::jsonb", &[text.into()]);
            let mut out = String::new();
            value
                .expect("valid JSON")
                .expect("a value")
                .read("argument", 1000)
                .expect("small")
                .write_canonical(&mut out);
            out
        };
        assert_eq!(
            canonical("{\"a\": 1.5, \"b\": 2}"),
            canonical("{\"b\": 2.00, \"a\": 1.50}")
        );
        assert_ne!(canonical("{\"a\": 1}"), canonical("{\"a\": \"1\"}"));
        assert_ne!(canonical("[1, 2]"), canonical("[12]"));
        assert_ne!(canonical("{\"a\": -1}"), canonical("{\"a\": 1}"));
        assert_ne!(canonical("10000"), canonical("1"));
    }

    /// Books the same requests both ways and compares the rows of the tables. Ids and
    /// times differ and are left out, and so is the number of the lane.
    #[pg_test]
    fn both_ways_to_the_tables_answer_the_same() {
        Spi::run(
            "SELECT wallet.set_price('m', 'input_tokens', 2.5, 1000000, effective_from => '2020-01-01');
             SELECT wallet.create_wallet('direct', low_balance => '{5}');
             SELECT wallet.create_wallet('spi', low_balance => '{5}')",
        )
        .expect("set up");
        for way in ["direct", "spi"] {
            let storage = if way == "spi" { "spi" } else { "auto" };
            Spi::run(&format!(
                "SET LOCAL wallet.storage = {storage};
                 SELECT wallet.fund('{way}', 10, reference => 'r');
                 SELECT wallet.set_limit('{way}', 9, 'day', 'user');
                 SELECT wallet.charge('{way}', '{{\"model\": \"m\", \"input_tokens\": 1000000}}',
                                      user_id => 'u', tags => '{{\"a\": \"1\"}}', idempotency_key => 'k');
                 SELECT wallet.charge('{way}', '{{\"model\": \"m\", \"input_tokens\": 1000000}}',
                                      user_id => 'u', tags => '{{\"a\": \"1\"}}', idempotency_key => 'k');
                 SELECT wallet.charge('{way}', amount => 3.000000000001, user_id => 'u');
                 -- Then every lane gets the same amount, whichever pays next.
                 SELECT wallet.fund('{way}', 0.000000000001, reference => 's');
                 SELECT wallet.set_lanes('{way}', 3);
                 SELECT wallet.charge('{way}', amount => 1, user_id => 'v', idempotency_key => 'l');
                 SELECT wallet.charge('{way}', amount => 1, user_id => 'v', idempotency_key => 'l')"
            ))
            .expect(way);
        }
        for sql in [
            "SELECT string_agg(concat_ws('|', l.amount, l.lane_balance, l.balance, l.user_id,
                    l.lines, l.usage, l.tags, l.kind, l.call, l.idempotency_key, l.fingerprint,
                    l.contra, l.reference), E'\\n' ORDER BY l.created_at)
               FROM wallet.ledger l WHERE l.wallet_id = ",
            "SELECT string_agg(concat_ws('|', a.lane > 0, a.allotted - a.spent, a.held, a.watermark,
                    a.subject), E'\\n' ORDER BY a.lane > 0, a.allotted - a.spent, a.subject)
               FROM wallet.allowances a WHERE a.wallet_id = ",
            "SELECT string_agg(concat_ws('|', t.kind, t.threshold, t.state), E'\\n' ORDER BY t)
               FROM (SELECT kind, threshold, state, wallet_id FROM wallet.thresholds) t
              WHERE t.wallet_id = ",
        ] {
            let direct = one(&format!("{sql} 'direct'")).replace("direct", "");
            let spi = one(&format!("{sql} 'spi'")).replace("spi", "");
            assert!(!direct.is_empty());
            assert_eq!(direct, spi);
        }
    }

    #[pg_test]
    fn both_ways_to_the_exchange_rates_answer_the_same() {
        Spi::run(
            "SELECT wallet.set_fx_rate(f, t, r, make_timestamptz(2026, 1, d, 0, 0, 0, 'UTC'))
               FROM (VALUES (1, 'b', 'a', 0.5), (2, 'a', 'b', 1.1), (2, 'a', 'b', 1.2), (3, 'b', 'a', 0.9), (4, 'a', 'b', NULL),
                            (5, 'b', 'a', 0.8), (6, 'b', 'a', NULL), (6, 'a', 'b', 1.3), (7, 'a', 'c', 9)) r (d, f, t, r)",
        )
        .expect("set up");
        let mut answers = Vec::new();
        for storage in ["auto", "spi"] {
            Spi::run(&format!(
                "SET LOCAL wallet.storage = {storage};
                 -- So that nothing is known of the rates.
                 SELECT wallet.set_fx_rate('x', '{storage}', 1)"
            ))
            .expect(storage);
            answers.push(one(
                "SELECT string_agg(concat_ws('|', at, c.amount, c.rate, c.inverse, d.amount, d.inverse), E'\\n' ORDER BY at)
                   FROM generate_series(1, 8) day, generate_series(-1, 1) m,
                        LATERAL (SELECT make_timestamptz(2026, 1, day, 0, 0, 0, 'UTC') + m * '1 microsecond'::interval) t (at),
                        LATERAL wallet.convert_amount(7, 'a', 'b', at) c, LATERAL wallet.convert_amount(7, 'b', 'a', at) d
                  WHERE at >= '2026-01-01Z'",
            ));
        }
        assert!(answers[0].lines().count() == 23, "{}", answers[0]);
        assert_eq!(answers[0], answers[1]);
    }

    #[pg_test(error = "insufficient funds in wallet \"poor\"")]
    fn a_charge_without_funds_is_refused() {
        Spi::run("SELECT wallet.create_wallet('poor'); SELECT wallet.charge('poor', amount => 1)")
            .expect("refused");
    }
}
