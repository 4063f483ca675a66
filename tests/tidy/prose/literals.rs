//! The string literals of a Rust file that are for readers: no SQL, no attributes.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The words that SQL begins with.
const SQL: &[&str] = &["SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "CREATE"];

/// The string literals of a file, except SQL: the arguments of `statement!`, and strings that begin
/// with a word of SQL or have a CASE. Doc comments are attributes, so they are not included.
pub fn of(path: &str, text: &str) -> Vec<String> {
    let tokens: TokenStream = text
        .parse()
        .unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut literals = Vec::new();
    collect(tokens, &mut literals);
    literals
}

fn collect(tokens: TokenStream, literals: &mut Vec<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (index, token) in tokens.iter().enumerate() {
        let before = |n: usize| index.checked_sub(n).and_then(|at| tokens.get(at));
        match token {
            TokenTree::Group(group) => {
                let is_attribute = group.delimiter() == Delimiter::Bracket
                    && (is(before(1), "#") || is(before(1), "!") && is(before(2), "#"));
                let is_statement = is(before(1), "!") && is(before(2), "statement");
                let is_query =
                    is(before(1), "!")
                        && is(before(2), "concat")
                        && group.stream().into_iter().next().is_some_and(|first| {
                            string(&first).is_some_and(|first| is_sql(&first))
                        });
                if !is_attribute && !is_statement && !is_query {
                    collect(group.stream(), literals);
                }
            }
            token => literals.extend(string(token).filter(|text| !is_sql(text))),
        }
    }
}

fn is(token: Option<&TokenTree>, text: &str) -> bool {
    token.is_some_and(|token| token.to_string() == text)
}

fn string(token: &TokenTree) -> Option<String> {
    match token {
        TokenTree::Literal(literal) => match syn::Lit::new(literal.clone()) {
            syn::Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

fn is_sql(text: &str) -> bool {
    let text = text.trim_start();
    text.contains("CASE WHEN ")
        || SQL.iter().any(|word| {
            text.strip_prefix(word)
                .is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric()))
        })
}

#[test]
fn literals_are_read_and_sql_and_attributes_are_not() {
    let rust = r##"
        //! Zero.
        #![allow(a, reason = "one")]
        /// Two.
        #[doc = "three"]
        fn f() {
            let a = "four";
            statement!(A, [], concat!("five", "six"));
            let sql = concat!("SELECT seven ", "eight");
            bail!(format!("nine {a}"), concat!("ten", r#"eleven"#));
            let sql = "\n  UPDATE twelve", "a, CASE WHEN twelve";
            let text = ("UPDATED thirteen", 'f', b"fifteen", 16);
        }
    "##;
    let found = ["four", "nine {a}", "ten", "eleven", "UPDATED thirteen"];
    assert_eq!(of("src/a.rs", rust), found);
}
