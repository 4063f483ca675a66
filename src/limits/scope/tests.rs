use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::attribution::{Attribution, UseContext};
use crate::limits::last_window::LastWindow;
use crate::limits::limit::{Limit, Mode, Spending, WHOLE, applicable};
use crate::limits::metric::Metric;
use crate::limits::period::Period;
use crate::money::Amount;
use crate::pg::clock::Timestamp;

fn name_of(text: &str) -> Result<String, NotAScope> {
    Scope::parse(text).map(|(scope, _)| scope.as_str().into_owned())
}

#[test]
fn a_scope_has_one_name() {
    for (text, name) in [
        ("wallet", "wallet"),
        ("key", "key"),
        ("model+user", "user+model"),
        ("service+model+key", "key+model+service"),
        ("team+user+tag:job", "user+team+tag:job"),
        ("tag:b+tag:a", "tag:a+tag:b"),
        ("tag:a++b", "tag:a++b"),
        ("user+tag:a+++tag:++b", "user+tag:++b+tag:a++"),
        ("tag:user", "tag:user"),
    ] {
        let (scope, _) = Scope::parse(text).unwrap();
        assert_eq!(scope.as_str(), name, "{text}");
        assert_eq!(Scope::parse(name).unwrap().0, scope, "{text}");
    }
    let of_tag = |text: &str| Scope::parse(text).unwrap().0;
    assert_eq!(
        of_tag("tag:a++b"),
        Scope::One(Dimension::Tag("a+b".to_owned()))
    );
}

#[test]
fn what_is_no_scope_is_refused() {
    let part = |text: &str| Err(NotAScope::UnknownPart(text.to_owned()));
    for (text, why) in [
        ("planet", Err(NotAScope::Unknown)),
        ("tag:", Err(NotAScope::Unknown)),
        ("", Err(NotAScope::Unknown)),
        ("user+planet", part("planet")),
        ("user+", part("")),
        ("+user", part("")),
        ("user++model", part("user+model")),
        ("tag:a+b", part("b")),
        ("tag:+", part("tag:")),
        ("user+wallet", Err(NotAScope::Wallet)),
        ("wallet+wallet", Err(NotAScope::Wallet)),
        (
            "tag:a+user",
            Err(NotAScope::TagFirst("user+tag:a".to_owned())),
        ),
        ("user+user", Err(NotAScope::Twice("user".to_owned()))),
        ("tag:a+tag:a", Err(NotAScope::Twice("tag:a".to_owned()))),
        ("user+team+model+service", Err(NotAScope::TooMany(4))),
    ] {
        assert_eq!(name_of(text), why, "{text}");
    }
}

fn target(scope: &str, subject: &str) -> Result<(Scope, Subject), NotASubject> {
    let (scope, order) = Scope::parse(scope).unwrap();
    let subject = Subject::parse(&scope, &order, subject)?;
    Ok((scope, subject))
}

#[test]
fn places_follow_their_dimensions() {
    for (scope, subject, text) in [
        ("user", "[\"a\"]", "[\"a\"]"),
        ("user+model", "*", "[\"*\",\"*\"]"),
        ("user+model", "[\"u\", \"m\"]", "[\"u\",\"m\"]"),
        ("model+user", " [\"m\",\"u\"] ", "[\"u\",\"m\"]"),
        (
            "model+team+tag:t",
            "[\"m\",\"t\",\"j\"]",
            "[\"t\",\"m\",\"j\"]",
        ),
        (
            "service+model+user",
            "[\"s\",\"m\",\"u\"]",
            "[\"u\",\"m\",\"s\"]",
        ),
        (
            "user+model",
            "[\"\\u0061\\/\\\"\",\"é\"]",
            "[\"a/\\\"\",\"é\"]",
        ),
    ] {
        let (scope, subject) = target(scope, subject).unwrap();
        assert_eq!(subject.as_str(), text);
        assert_eq!(Subject::stored(&scope, text.to_owned()), Some(subject));
    }
    for (subject, why) in [
        ("alice", NotASubject::NotAnArray),
        ("\"alice\"", NotASubject::NotAnArray),
        ("[\"a\", 1]", NotASubject::NotAnArray),
        ("[\"a\", null]", NotASubject::NotAnArray),
        ("[\"a\", \"\\u0000\"]", NotASubject::NotAnArray),
        ("{\"user\": \"a\"}", NotASubject::NotAnArray),
        ("[\"a\", \"b\"] c", NotASubject::NotAnArray),
        ("[]", NotASubject::Places(0)),
        ("[\"a\"]", NotASubject::Places(1)),
        ("[\"a\", \"b\", \"c\"]", NotASubject::Places(3)),
    ] {
        assert_eq!(target("user+model", subject), Err(why), "{subject}");
    }
}

#[test]
fn messages_name_each_place() {
    let describe = |scope: &str, subject: &str| Scope::parse(scope).unwrap().0.describe(subject);
    assert_eq!(describe("user", "[\"a\"]"), "user \"[\"a\"]\"");
    assert_eq!(describe("tag:a++b", "x"), "tag \"a+b\" \"x\"");
    assert_eq!(
        describe("user+model", "[\"alice\",\"gpt-4o\"]"),
        "user \"alice\" and model \"gpt-4o\""
    );
    assert_eq!(
        describe("user+model+tag:job", "[\"a\",\"m\",\"x\"]"),
        "user \"a\", model \"m\" and tag \"job\" \"x\""
    );
}

fn limit(scope: &str, subject: &str) -> Limit {
    let (scope, subject) = target(scope, subject).unwrap();
    Limit {
        id: *uuid::Uuid::now_v7().as_bytes(),
        scope,
        subject,
        period: Period::Day,
        period_name: "day".to_owned(),
        metric: Metric::Amount,
        mode: Mode::Hard,
        max: Amount::from_units(WHOLE).unwrap(),
        raises: Vec::new(),
        warn_at: Vec::new(),
        zone: TimeZone::UTC,
        from: None,
        rollover: None,
        default: None,
        last_window: LastWindow::default(),
    }
}

/// The positions of the limits that apply to the use of a model by a user of a team, and whose
/// windows count it.
fn applied(limits: &[Limit], values: [Option<&str>; 3]) -> BTreeSet<(usize, String)> {
    let [user_id, team, model] = values;
    let spending = Spending {
        attribution: Attribution {
            user_id,
            team,
            ..Attribution::default()
        },
        context: UseContext {
            model,
            ..UseContext::default()
        },
        ..Spending::default()
    };
    let position = |id| limits.iter().position(|limit| limit.id == id).unwrap();
    applicable(limits, &spending, Timestamp(0))
        .unwrap()
        .counted
        .into_iter()
        .map(|applied| (position(applied.limit.id), applied.subject))
        .collect()
}

/// The table of docs/reference/limits.md says of each two limits on alice's use of gpt-4o which of
/// them applies.
#[test]
fn the_table_of_the_reference_is_true() {
    let page = include_str!("../../../docs/reference/limits.md");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .skip_while(|line| !line.starts_with("| | subject | A |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), 8);
    let subject = |row: usize| rows[row][1].trim_matches('`');
    for (a, row) in rows.iter().enumerate() {
        assert_eq!(row.len(), 2 + rows.len());
        for b in 0..rows.len() {
            let said = row[2 + b];
            if a >= b {
                assert_eq!(said, "", "{a} {b}");
                continue;
            }
            let both = [a, b].map(|row| limit("user+model", subject(row)));
            let applied = applied(&both, [Some("alice"), None, Some("gpt-4o")]);
            let names: Vec<&str> = applied
                .iter()
                .map(|(place, _)| rows[[a, b][*place]][0])
                .collect();
            assert_eq!(names.join(" "), said, "{} {}", subject(a), subject(b));
        }
    }
}

#[test]
fn a_missing_value_is_in_no_combination() {
    let limits = [
        limit("user+model", "*"),
        limit("user+team+model", "[\"*\",\"red\",\"gpt*\"]"),
    ];
    let names = |values| {
        let applied = applied(&limits, values);
        applied
            .into_iter()
            .map(|(_, subject)| subject)
            .collect::<Vec<String>>()
    };
    assert!(names([Some("a"), Some("red"), None]).is_empty());
    assert_eq!(names([Some("a"), None, Some("gpt")]), ["[\"a\",\"gpt\"]"]);
    assert_eq!(
        names([Some("a"), Some("red"), Some("gpt-4")]),
        ["[\"a\",\"gpt-4\"]", "[\"a\",\"red\",\"gpt*\"]"]
    );
}

/// Whether a glob matches a name, character by character.
fn globs(glob: &[u8], name: &[u8]) -> bool {
    match (glob, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => globs(rest, name) || !name.is_empty() && globs(glob, &name[1..]),
        ([a, glob @ ..], [b, name @ ..]) => a == b && globs(glob, name),
        _ => false,
    }
}

/// All names of at most four letters.
fn names() -> Vec<String> {
    let mut all = vec![String::new()];
    for length in 0..4 {
        let longer = all.iter().filter(|name| name.len() == length);
        let longer: Vec<String> = longer
            .flat_map(|name| ["a", "b"].map(|letter| format!("{name}{letter}")))
            .collect();
        all.extend(longer);
    }
    all
}

/// The naive model: the limits that apply to a request. A limit with fewer named places gives way
/// to one that names more, if all names that the second one covers are among those of the first.
fn expected(limits: &[Vec<String>], values: &[Option<&str>]) -> BTreeSet<(usize, String)> {
    let all = names();
    let applies = |limit: &Vec<String>| {
        let mut pairs = limit.iter().zip(values);
        pairs.all(|(place, value)| value.is_some_and(|v| globs(place.as_bytes(), v.as_bytes())))
    };
    let covered = |place: &String| -> BTreeSet<&String> {
        let inside = all
            .iter()
            .filter(|name| globs(place.as_bytes(), name.as_bytes()));
        inside.collect()
    };
    let named = |limit: &Vec<String>| -> BTreeSet<usize> {
        (0..limit.len()).filter(|at| limit[*at] != "*").collect()
    };
    let gives_way = |limit: &Vec<String>| {
        limits.iter().filter(|other| applies(other)).any(|other| {
            let (mine, theirs) = (named(limit), named(other));
            theirs.len() > mine.len()
                && theirs.is_superset(&mine)
                && mine
                    .iter()
                    .all(|at| covered(&other[*at]).is_subset(&covered(&limit[*at])))
        })
    };
    let kept = limits
        .iter()
        .enumerate()
        .filter(|(_, limit)| applies(limit) && !gives_way(limit));
    kept.map(|(position, limit)| {
        let places = limit.iter().zip(values).map(|(place, value)| match value {
            Some(value) if place == "*" => format!("\"{value}\""),
            _ => format!("\"{place}\""),
        });
        let places: Vec<String> = places.collect();
        (position, format!("[{}]", places.join(",")))
    })
    .collect()
}

fn place() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just("*".to_owned()),
        3 => "[ab]{1,2}",
        2 => "[ab]{0,1}\\*[ab]{1}|[ab]{1,2}\\*",
    ]
}

fn value() -> impl Strategy<Value = Option<String>> {
    prop_oneof![1 => Just(None), 9 => "[ab]{1,3}".prop_map(Some)]
}

proptest! {
    /// Of any set of limits of two or three dimensions those apply that the naive model keeps.
    #[test]
    fn overriding_is_what_the_model_says(
        two in prop::collection::btree_set(prop::collection::vec(place(), 2), 0..7),
        three in prop::collection::btree_set(prop::collection::vec(place(), 3), 0..7),
        values in prop::collection::vec(value(), 3),
    ) {
        let values: Vec<Option<&str>> = values.iter().map(Option::as_deref).collect();
        let quoted = |places: &Vec<String>| format!("{places:?}");
        let [user, team, model] = [values[0], values[1], values[2]];
        let two: Vec<Vec<String>> = two.into_iter().collect();
        let limits: Vec<Limit> = two.iter().map(|of| limit("user+model", &quoted(of))).collect();
        prop_assert_eq!(
            applied(&limits, [user, team, model]),
            expected(&two, &[user, model])
        );
        let three: Vec<Vec<String>> = three.into_iter().collect();
        let limits: Vec<Limit> =
            three.iter().map(|of| limit("user+team+model", &quoted(of))).collect();
        prop_assert_eq!(
            applied(&limits, [user, team, model]),
            expected(&three, &[user, team, model])
        );
    }

    /// Any name of a tag survives, and any subject.
    #[test]
    fn scopes_and_subjects_survive_their_text(
        tags in prop::collection::btree_set("[a-c+:é ]{1,4}", 1..4),
        places in prop::collection::vec("[^\\x00]{1,5}", 3),
    ) {
        let dimensions: Vec<Dimension> = tags.into_iter().map(Dimension::Tag).collect();
        let count = dimensions.len();
        let scope = match count {
            1 => Scope::One(dimensions[0].clone()),
            _ => Scope::Several(dimensions),
        };
        let (read, order) = Scope::parse(&scope.as_str()).unwrap();
        prop_assert_eq!(&read, &scope);
        if count > 1 {
            let text = array(&places[..count]);
            let subject = Subject::parse(&scope, &order, &text).unwrap();
            prop_assert_eq!(subject.places(), &places[..count]);
            prop_assert_eq!(subject.as_str(), text);
        }
    }
}
