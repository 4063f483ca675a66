//! All errors that a caller can cause.
//!
//! Functions return [`Result`]. The boundary to SQL raises the error, in one place
//! ([`crate::pg::raise`]). Each code is an entry of [`Code`]. A test compares the table of codes in
//! the README with it.

use std::fmt::Display;

/// The result of a fallible function of the extension.
pub type Result<T> = std::result::Result<T, Error>;

macro_rules! codes {
    ($($variant:ident $sqlstate:literal $name:literal $meaning:literal;)*) => {
        /// The SQLSTATEs that the extension raises, in the order of the documentation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code {
            $(#[doc = $meaning] $variant,)*
        }

        impl Code {
            /// All codes.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The five characters that the client sees.
            pub const fn sqlstate(self) -> &'static str {
                match self { $(Code::$variant => $sqlstate,)* }
            }

            /// The condition's name.
            pub const fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)* }
            }

            /// The meaning of the code, as in the documentation.
            pub const fn meaning(self) -> &'static str {
                match self { $(Code::$variant => $meaning,)* }
            }
        }
    };
}

codes! {
    InsufficientFunds "WL001" "insufficient_funds" "the balance and the credit limit do not cover the amount";
    LimitExceeded "WL002" "limit_exceeded" "one limit, named with its period and its reset, does not allow the amount";
    WalletNotFound "WL003" "wallet_not_found" "there is no wallet of that name";
    WalletNotActive "WL004" "wallet_not_active" "the wallet is frozen or closed";
    PriceNotFound "WL005" "price_not_found" "a meter of the model has no price at that time";
    IdempotencyConflict "WL006" "idempotency_conflict" "the idempotency key was used for another request; the DETAIL says what differs";
    InvalidUsage "WL007" "invalid_usage" "the usage object cannot be understood, contradicts itself, or has numbers that nothing reads";
    HoldNotOpen "WL008" "hold_not_open" "the hold was settled, voided or has expired";
    NotPermitted "WL009" "not_permitted" "role, model, key, address or device is not allowed to do that";
    ImmutableLedger "WL010" "immutable_ledger" "ledger entries are never changed and never deleted";
    CardDataRefused "WL011" "card_data_refused" "an argument looks like card data";
    InvalidAmount "WL012" "invalid_amount" "an amount, rate, price or limit is NULL, NaN, infinite, negative, too large or too precise";
    FundingNotOpen "WL013" "funding_not_open" "the funding or grant is not in the state that the call needs";
    VoucherNotValid "WL014" "voucher_not_valid" "the voucher is unknown, expired or used up";
    RateNotFound "WL015" "rate_not_found" "a price or payment is in another currency, and no exchange rate had begun at that time";
    NotInThisTree "WL016" "not_in_this_tree" "the wallet's place in a tree of wallets does not allow the call";
    FeatureNotSupported "0A000" "feature_not_supported" "an argument asks for what this version cannot do";
    InvalidParameter "22023" "invalid_parameter_value" "another argument is missing or out of range";
    UniqueViolation "23505" "unique_violation" "a wallet of that name exists";
    SerializationFailure "40001" "serialization_failure" "another transaction came first; run this one again";
    InsufficientPrivilege "42501" "insufficient_privilege" "the database role was not granted the level for that wallet";
    ObjectNotFound "42704" "undefined_object" "there is no such limit, role or other object";
    OtherVersion "55000" "object_not_in_prerequisite_state" "this database has the extension in another version than the library; it needs ALTER EXTENSION wallet UPDATE";
    InternalError "XX000" "internal_error" "a state that must not exist; please report it";
}

/// An error with all fields that PostgreSQL can send to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The kind of the error, which gives the SQLSTATE.
    pub code: Code,
    /// The message: one line in lower case, without a final period, with names in double quotes.
    pub message: String,
    /// The numbers behind the message, in full sentences.
    pub detail: Option<String>,
    /// The HINT: advice to the caller, in full sentences.
    pub hint: Option<String>,
    /// The objects that the error is about.
    pub objects: Box<Objects>,
}

/// The objects that an error is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    /// The table whose constraint was violated.
    pub table: Option<&'static str>,
    /// The constraint that was violated.
    pub constraint: Option<String>,
    /// The wallet that pays, if the error is about that one and not about the wallet of the call.
    pub payer: Option<String>,
    /// The argument. A call with many items tells from it where the value is.
    pub argument: Option<String>,
}

impl Error {
    /// An error with a message. Other methods add the other fields.
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error {
            code,
            message: message.into(),
            detail: None,
            hint: None,
            objects: Box::default(),
        }
    }

    /// 22023: an argument is missing or invalid.
    pub fn argument(message: impl Into<String>) -> Error {
        Error::new(Code::InvalidParameter, message)
    }

    /// WL003: there is no wallet with that id.
    pub fn wallet_not_found(wallet: &str) -> Error {
        Error::new(
            Code::WalletNotFound,
            format!("wallet {} does not exist", quoted(wallet)),
        )
        .detail("No wallet of that name was created.")
        .hint("Create it with create_wallet(), or check the name.")
    }

    /// XX000: a state that only a bug or a change that bypassed the extension can cause.
    pub fn internal(message: impl Into<String>) -> Error {
        Error::new(Code::InternalError, message)
            .hint("Please report this; verify the ledger before going on.")
    }

    /// Notes that the error is about a wallet above the one of the call.
    pub fn of_payer(mut self, wallet: &str) -> Error {
        if self.objects.payer.is_some() {
            return self;
        }
        let is_of_rule = matches!(self.code, Code::LimitExceeded | Code::NotPermitted);
        let name = quoted(wallet);
        if is_of_rule && !self.message.contains(&name) {
            self.message.push_str(&format!(" in wallet {name}"));
        }
        self.objects.payer = Some(wallet.to_owned());
        self
    }

    /// Adds the DETAIL: the numbers behind the message, in full sentences.
    pub fn detail(mut self, detail: impl Into<String>) -> Error {
        self.detail = Some(detail.into());
        self
    }

    /// Adds the HINT: advice to the caller, in full sentences.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the argument that the error is about, unless a more exact one is known.
    pub fn about(mut self, argument: &str) -> Error {
        let known = &mut self.objects.argument;
        known.get_or_insert_with(|| argument.to_owned());
        self
    }

    /// Adds the table and the constraint that was violated.
    pub fn constraint(mut self, table: &'static str, constraint: impl Into<String>) -> Error {
        self.objects.table = Some(table);
        self.objects.constraint = Some(constraint.into());
        self
    }
}

/// A text as an SQL literal, for a HINT that can be executed.
pub fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    match doubled.contains('\\') {
        false => format!("'{doubled}'"),
        true => format!("E'{}'", doubled.replace('\\', "\\\\")),
    }
}

/// A name in a message: in double quotes, and shortened to at most one line.
pub fn quoted(name: impl Display) -> String {
    let name = name.to_string();
    match name.char_indices().nth(80) {
        Some((end, _)) => format!("\"{}…\"", &name[..end]),
        None => format!("\"{name}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_lists_every_code() {
        let readme = include_str!("../README.md");
        for code in Code::ALL {
            let row = format!(
                "| `{}` | {} | {} |",
                code.sqlstate(),
                code.name(),
                code.meaning()
            );
            assert!(readme.contains(&row), "README.md lacks the row\n{row}");
        }
        let listed = readme.lines().filter(|line| {
            line.strip_prefix("| `")
                .and_then(|line| line.split_once("` | "))
                .is_some_and(|(code, _)| code.len() == 5 && !code.contains(char::is_lowercase))
        });
        assert_eq!(listed.count(), Code::ALL.len());
    }

    #[test]
    fn a_literal_is_what_sql_reads() {
        assert_eq!(literal("acme"), "'acme'");
        assert_eq!(literal("o'neil"), "'o''neil'");
        assert_eq!(literal("a\\'b"), "E'a\\\\''b'");
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(quoted("acme"), "\"acme\"");
        assert_eq!(quoted("é".repeat(10_000)).chars().count(), 83);
    }
}
