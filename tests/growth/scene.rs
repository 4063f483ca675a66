//! The measurements as data: wallets of a shape and size, and the calls that are made on them.

/// How a cost may grow with the size of a scene: the exponent, 0 for not at all and 1 for in
/// proportion.
pub type Growth = f64;

/// Constant, apart from the growing depth of indexes.
pub const CONSTANT: Growth = 0.25;

/// In proportion to the size, apart from the extra cost of sorting.
pub const LINEAR: Growth = 1.15;

/// Wallets of a shape.
pub struct Scene {
    /// Its name in the table.
    pub name: &'static str,
    /// The statements after `base.sql` that create it, with `{n}` for the size. Each part is sent
    /// separately, as a `CALL` that commits requires.
    pub setup: &'static [&'static str],
    /// The smallest size of the long form, which also measures four and sixteen times that size.
    pub size: usize,
    /// The smaller of the two sizes of the short form.
    pub short: usize,
    /// Names, and the queries for their values: calls contain the names in braces.
    pub ids: &'static [(&'static str, &'static str)],
    /// The wallet on which the everyday calls are measured, too. None of them may grow.
    pub everyday: Option<&'static str>,
    /// The everyday calls that may grow in proportion, by their names in the table.
    pub linear: &'static [&'static str],
    /// The calls that are known to grow too fast, by their names in the table. They are reported
    /// and do not fail.
    pub pending: &'static [&'static str],
    /// The calls that are measured.
    pub calls: &'static [Call],
}

/// A call that is measured.
#[derive(Clone, Copy)]
pub struct Call {
    /// The function or view that this is an entry for, as the catalog names it.
    pub of: &'static str,
    /// What is special about the call.
    pub name: &'static str,
    /// The query.
    pub sql: &'static str,
    /// How its cost may grow.
    pub allowed: Growth,
    /// Whether the caller is a role that has a level on some wallets.
    pub as_role: bool,
    /// The SQLSTATE if the call is refused.
    pub refused: Option<&'static str>,
}

/// A call.
pub const fn call(
    of: &'static str,
    name: &'static str,
    allowed: Growth,
    sql: &'static str,
) -> Call {
    Call {
        of,
        name,
        sql,
        allowed,
        as_role: false,
        refused: None,
    }
}

impl Call {
    /// Its name in the table.
    pub fn title(&self) -> String {
        match self.name {
            "" => self.of.to_owned(),
            name => format!("{}, {name}", self.of),
        }
    }

    /// The caller is not a superuser, so that rights and row-level security count.
    pub const fn as_role(mut self) -> Call {
        self.as_role = true;
        self
    }

    /// It is refused.
    pub const fn refused(mut self, sqlstate: &'static str) -> Call {
        self.refused = Some(sqlstate);
        self
    }
}

impl Scene {
    /// Its calls, and the everyday calls that it does not measure in its own way.
    pub fn all_calls(&self) -> Vec<Call> {
        let mut calls = self.calls.to_vec();
        if self.everyday.is_some() {
            let own = |call: &Call| {
                let same = |own: &Call| own.of == call.of && own.name == call.name;
                self.calls.iter().any(same)
            };
            let everyday = crate::scenes::everyday::CALLS.iter();
            let everyday = everyday.filter(|call| !own(call)).map(|call| Call {
                allowed: match self.linear.contains(&call.title().as_str()) {
                    true => LINEAR,
                    false => call.allowed,
                },
                ..*call
            });
            calls.extend(everyday);
        }
        calls
    }

    /// Whether a call is known to grow too fast.
    pub fn is_pending(&self, call: &Call) -> bool {
        self.pending.contains(&call.title().as_str())
    }

    /// The names in its lists that it does not measure.
    pub fn unknown_titles(&self) -> Vec<String> {
        let calls: Vec<String> = self.all_calls().iter().map(Call::title).collect();
        let listed = self.linear.iter().chain(self.pending);
        listed
            .filter(|title| !calls.iter().any(|call| call == *title))
            .map(|title| format!("{}: {title}", self.name))
            .collect()
    }

    /// A text with the values filled in.
    pub fn filled(&self, text: &str, n: usize, role: &str) -> String {
        text.replace("{n}", &n.to_string())
            .replace("{w}", self.everyday.unwrap_or("w"))
            .replace("{role}", role)
    }
}
