//! Forms that plain technical English avoids, each with better ones.

use regex::Regex;

/// A form to avoid.
pub struct Form {
    /// Its name in the list of counts.
    pub name: &'static str,
    /// What to write instead.
    pub better: &'static str,
    pattern: Regex,
    /// Matches of `pattern` that are correct English.
    except: Option<Regex>,
}

impl Form {
    /// How often a text has the form.
    pub fn count(&self, text: &str) -> usize {
        self.matches(text).len()
    }

    /// The matches of a text.
    pub fn matches<'a>(&self, text: &'a str) -> Vec<&'a str> {
        self.pattern
            .find_iter(text)
            .map(|found| found.as_str())
            .filter(|found| !self.except.as_ref().is_some_and(|e| e.is_match(found)))
            .collect()
    }
}

/// Name, pattern, pattern of matches that are right, better forms. The texts contain no code.
const FORMS: &[(&str, &str, &str, &str)] = &[
    (
        "stands",
        r"(?i)\b(?:stands?|stood|standing)\b(?: for)?",
        r"(?i)for$",
        "is, is stored, is written",
    ),
    ("lies", r"(?i)\blies\b", "", "is, is stored"),
    (
        "comes to",
        r"(?i)\b(?:comes?|came|coming) to (?:an?|the|its|one|nothing|that|this|what)\b|\b(?:is|are|was|were) come to\b",
        "",
        "reaches, arrives at",
    ),
    (
        "goes by",
        r"(?i)\b(?:goes?|went|going) by\b",
        "",
        "depends on, follows",
    ),
    (
        "beside",
        r"(?i)\bbesides?\b",
        "",
        "next to, compared with, in addition to",
    ),
    (
        "else",
        r"(?i)(?:\b\w+ )?\belse\b",
        r"(?i)^(?:\w+(?:thing|where|body|one)|what|whatever|who|whoever|whom|no|nothing|an|the|all|any) else$",
        "otherwise",
    ),
    (
        "a row a wallet",
        r"(?i)\b(?:one|an?|each|every|some) (?:row|line|lock|entry|event|message|call|page|figure|lot|file) (?:an?|one) \w+",
        "",
        "one row per wallet",
    ),
    (
        "what X is",
        r"(?:^|[.;:] )What [^.?!]*[.!;:]",
        "",
        "a noun: the amount, the reason, the rows that …",
    ),
    (
        "no more",
        r"(?i)\bno more\b(?: than)?|\bno more than that may\b",
        r"(?i)than$",
        "no longer; at most",
    ),
    ("of late", r"(?i)\bof late\b", "", "recently"),
    ("anew", r"(?i)\banew\b", "", "again"),
    ("as ever", r"(?i)\bas ever\b", "", "as usual"),
    (
        "for ever",
        r"(?i)\bfor ever\b",
        "",
        "permanently, never ends",
    ),
    ("once more", r"(?i)\bonce more\b", "", "again"),
    ("belongs into", r"(?i)\bbelongs? into\b", "", "belongs in"),
    (
        "has X do Y",
        r"(?i)\b(?:has|have|had) (?:an?|the|its|all|each|every) \w+ (?:do|last|look|read|wait|begin|book|pay|take|write|count|ask|go|come|give)\b",
        "",
        "makes, lets, or the verb itself: extends",
    ),
    (
        "nothing for none",
        r"(?i)[;:,] nothing (?:where|if|when|for|of)\b|\bor nothing\b",
        "",
        "NULL, `None`, no row",
    ),
    (
        "Of the balance:",
        r"(?:^|[.] )Of [^.:?]{1,60}: ",
        "",
        "a sentence whose subject is the thing",
    ),
    (
        "give back",
        r"(?i)\b(?:gives?|gave|given|giving) (?:\w+ ){0,3}back\b",
        "",
        "releases, returns, refunds",
    ),
    (
        "but for",
        r"(?i)\b(?:all|nothing|none|nobody|any|every\w*|each) but\b|\bbut for\b",
        "",
        "except",
    ),
    (
        "put together",
        r"(?i)\bput together\b",
        "",
        "combined, built",
    ),
    (
        "may nothing",
        r"(?i)\bmay (?:nothing|all|everything|what)\b",
        "",
        "may do, cannot do anything",
    ),
    (
        "The same",
        r"(?:^|[.] )The same(?:\.| (?:of|with|where|as|for|once|in|by|without|from|again)\b)",
        "",
        "the noun that is meant",
    ),
    ("he", r"(?i)\b(?:he|him|his)\b", "", "they, their"),
];

/// The forms, compiled.
pub fn forms() -> Vec<Form> {
    let compile = |pattern: &str| Regex::new(pattern).unwrap_or_else(|error| panic!("{error}"));
    FORMS
        .iter()
        .map(|(name, pattern, except, better)| Form {
            name,
            better,
            pattern: compile(pattern),
            except: (!except.is_empty()).then(|| compile(except)),
        })
        .collect()
}

#[test]
fn every_form_is_found_and_its_better_one_is_not() {
    let pairs = [
        (
            "stands",
            "The event stands in the view.",
            "NULL stands for no limit.",
        ),
        (
            "lies",
            "The entry lies in the archive.",
            "It relies on that.",
        ),
        (
            "comes to",
            "The window comes to its level.",
            "It comes through.",
        ),
        (
            "goes by",
            "The report goes by the day.",
            "The report follows it.",
        ),
        (
            "beside",
            "The rate beside the amount.",
            "The rate next to it.",
        ),
        (
            "else",
            "It is refused, or else booked.",
            "Somewhere else, nothing else.",
        ),
        (
            "a row a wallet",
            "One row a wallet: its rules.",
            "One row per wallet.",
        ),
        ("what X is", "What is held.", "What is held?"),
        ("no more", "It is read no more.", "It has no more than ten."),
        (
            "of late",
            "The rate of late.",
            "The recent rate, of later days.",
        ),
        ("anew", "It is cut anew.", "It is cut again."),
        ("as ever", "Booked as ever.", "Booked as usual."),
        ("for ever", "Kept for ever.", "Kept forever."),
        ("once more", "Read once more.", "Read once. More follows."),
        (
            "belongs into",
            "It belongs into a table.",
            "It belongs in a table.",
        ),
        (
            "has X do Y",
            "Has a hold last until then.",
            "It has a hold.",
        ),
        (
            "nothing for none",
            "Its limit; nothing if it has none.",
            "It books nothing.",
        ),
        (
            "Of the balance:",
            "Of the balance: counts changes.",
            "Of the two, one wins.",
        ),
        (
            "give back",
            "It gives the rest back.",
            "It gives the background.",
        ),
        ("but for", "All but the last.", "All, but not the last."),
        (
            "put together",
            "Put together from parts.",
            "It is put there.",
        ),
        (
            "may nothing",
            "A blocked member may nothing.",
            "It may do all.",
        ),
        (
            "The same",
            "The same of a hold.",
            "The same key books once.",
        ),
        ("he", "If he asks.", "If they ask; the others."),
    ];
    let forms = forms();
    assert_eq!(forms.len(), pairs.len(), "each form has a pair");
    for (form, (name, bad, good)) in forms.iter().zip(pairs) {
        assert_eq!(form.name, name);
        assert_eq!(form.count(bad), 1, "{name}: {bad}");
        assert_eq!(form.count(good), 0, "{name}: {good}");
    }
}
