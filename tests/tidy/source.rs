//! Parses a file of `src`: the modules it uses, and what the rules check.

use std::collections::BTreeSet;
use std::path::Path;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, UseTree};

/// A file that is not a test.
pub struct Source {
    /// Its module, such as `pricing/rate`.
    pub name: String,
    /// The modules it uses.
    pub uses: BTreeSet<String>,
    /// Its functions, and the number of lines of each.
    pub functions: Vec<(String, usize)>,
    /// The number of lines without its tests.
    pub lines: usize,
    /// Whether it declares SQL functions.
    pub has_sql_functions: bool,
    /// Whether it has SQL of its own.
    pub has_statements: bool,
    /// Whether it has unsafe code.
    pub is_unsafe: bool,
    /// Whether it begins with a comment that says what it is for.
    pub says_what_it_is_for: bool,
}

impl Source {
    /// The folder or single file of `src` that contains it.
    pub fn folder(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }
}

/// All files below `src`, except tests.
pub fn read(src: &Path) -> Vec<Source> {
    let mut files = Vec::new();
    find(src, "", &mut files);
    let names: BTreeSet<String> = files.iter().map(|(name, _)| name.clone()).collect();
    let parsed: Vec<(String, String, syn::File)> = files
        .into_iter()
        .map(|(name, text)| {
            let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("src/{name}: {error}"));
            (name, text, file)
        })
        .collect();
    let mut tests = BTreeSet::new();
    for (name, _, file) in &parsed {
        for item in &file.items {
            if let Item::Mod(module) = item
                && module.content.is_none()
                && is_test(&module.attrs)
            {
                tests.insert(join(parent_of_modules(name), &module.ident.to_string()));
            }
        }
    }
    let is_test = |name: &str| {
        tests
            .iter()
            .any(|test| name == test || name.starts_with(&format!("{test}/")))
    };
    parsed
        .into_iter()
        .filter(|(name, ..)| !is_test(name) && !name.starts_with("bin/"))
        .map(|(name, text, file)| look(name, &text, &file, &names))
        .collect()
}

fn find(folder: &Path, prefix: &str, files: &mut Vec<(String, String)>) {
    let entries = std::fs::read_dir(folder).expect("a folder of src");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    for path in paths {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if path.is_dir() {
            find(&path, &join(prefix, name), files);
        } else if let Some(stem) = name.strip_suffix(".rs") {
            let module = match stem {
                "mod" => prefix.to_owned(),
                _ => join(prefix, stem),
            };
            files.push((
                module,
                std::fs::read_to_string(&path).expect("a file of src"),
            ));
        }
    }
}

fn join(prefix: &str, name: &str) -> String {
    match prefix {
        "" => name.to_owned(),
        _ => format!("{prefix}/{name}"),
    }
}

/// The folder that contains the modules a file declares.
fn parent_of_modules(name: &str) -> &str {
    match name {
        "lib" | "main" => "",
        name => name,
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let text = quote::quote!(#attribute).to_string();
        attribute.path().is_ident("cfg") && text.contains("test")
    })
}

struct Looking<'a> {
    module: Vec<String>,
    names: &'a BTreeSet<String>,
    source: Source,
    /// The number of lines of the tests inside the file.
    test_lines: usize,
}

fn look(name: String, text: &str, file: &syn::File, names: &BTreeSet<String>) -> Source {
    let module = match name.as_str() {
        "lib" | "main" => Vec::new(),
        name => name.split('/').map(str::to_owned).collect(),
    };
    let mut looking = Looking {
        module,
        names,
        source: Source {
            name,
            uses: BTreeSet::new(),
            functions: Vec::new(),
            lines: 0,
            has_sql_functions: text.contains("#[pg_extern"),
            has_statements: text.contains("statement!("),
            is_unsafe: false,
            says_what_it_is_for: text.starts_with("//!"),
        },
        test_lines: 0,
    };
    looking.visit_file(file);
    let Looking {
        mut source,
        test_lines,
        ..
    } = looking;
    source.lines = text.lines().count() - test_lines;
    source
}

impl Looking<'_> {
    /// Records the module that a path leads to: the longest prefix that is a module.
    fn note(&mut self, path: &[String]) {
        let mut absolute: Vec<String> = Vec::new();
        match path.first().map(String::as_str) {
            Some("crate") => {}
            Some("self") => absolute.clone_from(&self.module),
            Some("super") => absolute.clone_from(&self.module),
            _ => return,
        }
        for part in path {
            match part.as_str() {
                "crate" | "self" => {}
                "super" => {
                    absolute.pop();
                }
                part => absolute.push(part.to_owned()),
            }
        }
        while !absolute.is_empty() {
            let name = absolute.join("/");
            if self.names.contains(&name) {
                if name != self.source.name {
                    self.source.uses.insert(name);
                }
                return;
            }
            absolute.pop();
        }
    }

    fn note_tree(&mut self, tree: &UseTree, path: &mut Vec<String>) {
        match tree {
            UseTree::Path(part) => {
                path.push(part.ident.to_string());
                self.note_tree(&part.tree, path);
                path.pop();
            }
            UseTree::Name(name) => {
                path.push(name.ident.to_string());
                self.note(path);
                path.pop();
            }
            UseTree::Rename(name) => {
                path.push(name.ident.to_string());
                self.note(path);
                path.pop();
            }
            UseTree::Glob(_) => self.note(path),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.note_tree(tree, path);
                }
            }
        }
    }

    fn note_function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let lines = block.span().end().line + 1 - signature.span().start().line;
        self.source
            .functions
            .push((signature.ident.to_string(), lines));
    }
}

impl<'ast> Visit<'ast> for Looking<'_> {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if is_test(&module.attrs) {
            let span = module.span();
            self.test_lines += span.end().line + 1 - span.start().line;
            return;
        }
        visit::visit_item_mod(self, module);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        // A re-export is not a use.
        if matches!(item.vis, syn::Visibility::Inherited) {
            self.note_tree(&item.tree, &mut Vec::new());
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path
            .segments
            .iter()
            .map(|part| part.ident.to_string())
            .collect();
        self.note(&parts);
        visit::visit_path(self, path);
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if function
            .attrs
            .iter()
            .any(|attribute| attribute.path().is_ident("test"))
            || is_test(&function.attrs)
        {
            return;
        }
        self.note_function(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.note_function(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.source.is_unsafe = true;
        visit::visit_expr_unsafe(self, block);
    }
}
