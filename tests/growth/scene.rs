//! What is measured, as data: wallets of a shape and size, and the calls that are made on them.

/// How a cost may grow with the size of a scene: the exponent, 0 for not at all and 1 for in proportion.
pub type Growth = f64;

/// The same at any size, but for what an index needs to be deeper.
pub const CONSTANT: Growth = 0.25;

/// In proportion to the size, but for what a sort needs.
pub const LINEAR: Growth = 1.15;

/// Wallets of a shape.
pub struct Scene {
    /// Its name in the table.
    pub name: &'static str,
    /// What makes it, behind `base.sql`, with `{n}` for its size. Each part is sent alone, since a `CALL` that commits has to be.
    pub setup: &'static [&'static str],
    /// The smallest size of the long form, which measures it at four and sixteen times that too.
    pub size: usize,
    /// The smaller of the two sizes of the short form.
    pub short: usize,
    /// Names and the queries that give their values: calls have the names in braces.
    pub ids: &'static [(&'static str, &'static str)],
    /// The wallet on which the everyday calls are measured as well; all of them must not grow.
    pub everyday: Option<&'static str>,
    /// Those of them that may grow in proportion, as the table names them.
    pub linear: &'static [&'static str],
    /// What is known to grow faster than it may, as the table names it: it is told and does not fail.
    pub pending: &'static [&'static str],
    /// What is measured.
    pub calls: &'static [Call],
}

/// A call that is measured.
#[derive(Clone, Copy)]
pub struct Call {
    /// The function or view that it is an entry of, as the catalog has it.
    pub of: &'static str,
    /// What is particular about it.
    pub name: &'static str,
    /// The query.
    pub sql: &'static str,
    /// How its cost may grow.
    pub allowed: Growth,
    /// Whether a role makes it that has a level on some wallets.
    pub as_role: bool,
    /// The SQLSTATE where it is refused.
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

    /// A role makes it that is no superuser, so that rights and row-level security count.
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
    /// Its calls, and those of every day that it has not measured in a way of its own.
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

    /// Whether a call of it is known to grow faster than it may.
    pub fn is_pending(&self, call: &Call) -> bool {
        self.pending.contains(&call.title().as_str())
    }

    /// What its lists name and it does not measure.
    pub fn unknown_titles(&self) -> Vec<String> {
        let calls: Vec<String> = self.all_calls().iter().map(Call::title).collect();
        let listed = self.linear.iter().chain(self.pending);
        listed
            .filter(|title| !calls.iter().any(|call| call == *title))
            .map(|title| format!("{}: {title}", self.name))
            .collect()
    }

    /// A text of it with its values.
    pub fn filled(&self, text: &str, n: usize, role: &str) -> String {
        text.replace("{n}", &n.to_string())
            .replace("{w}", self.everyday.unwrap_or("w"))
            .replace("{role}", role)
    }
}
