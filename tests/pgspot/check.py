"""Searches the installation and upgrade scripts for security holes with pgspot: missing search paths, operators
and functions that another role could put before ours, objects that another role could have created first.

The findings must be exactly those in allowed.txt. A script that pgspot cannot parse is a failure.

    check.py INSTALL-SCRIPT [UPGRADE-SCRIPT...]
"""

import io
import re
import sys
from argparse import Namespace
from contextlib import redirect_stdout
from pathlib import Path

from pgspot import visitors
from pgspot.state import Counter, State

ALLOWED = Path(__file__).with_name("allowed.txt")

# Each of these must be found in this script: a check that finds nothing proves nothing.
HOSTILE = """
CREATE FUNCTION public.a() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE OR REPLACE FUNCTION public.b() RETURNS int LANGUAGE sql SET search_path = pg_catalog, pg_temp AS 'SELECT 1';
CREATE FUNCTION public.c() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
CREATE TABLE IF NOT EXISTS public.d (id int);
CREATE FUNCTION public.e() RETURNS SETOF text LANGUAGE plpgsql AS 'BEGIN RETURN NEXT format(''%s'', 1); END';
SELECT 1 + 1;
"""
HOSTILE_CODES = {"PS001", "PS002", "PS003", "PS005", "PS012", "PS016"}


def teach_return_next():
    """Works around pgspot 0.9.4, which parses the expression of RETURN NEXT as a statement and stops there."""
    visit = visitors.PLPGSQLVisitor.visit

    def with_return_next(self, node):
        if not isinstance(node, dict) or "PLpgSQL_stmt_return_next" not in node:
            return visit(self, node)
        expression = node["PLpgSQL_stmt_return_next"].get("expr")
        if expression is not None:
            visitors.visit_sql(self.state, "SELECT " + expression["PLpgSQL_expr"]["query"])

    visitors.PLPGSQLVisitor.visit = with_return_next


def teach_sql_bodies():
    """Works around pgspot 0.9.4, which knows only bodies that are strings. A body of the SQL standard is parsed when
    the function is created, so its names are found by the search path of the script, not by that of a caller. The
    visitor goes on to its expressions, as to those of the script."""
    visit = visitors.SQLVisitor.visit_CreateFunctionStmt

    def with_sql_body(self, ancestors, node):
        if node.sql_body is None:
            return visit(self, ancestors, node)
        name = visitors.format_function(node)
        if node.replace:
            self.state.warn("PS002", name)
        else:
            self.state.created_functions.append(name)
        if any(option.defname == "security" for option in node.options):
            self.state.error("PS003", name)

    visitors.SQLVisitor.visit_CreateFunctionStmt = with_sql_body


def findings(*scripts):
    """The findings in the last of the scripts, run after the others, without line numbers."""
    options = Namespace(
        plpgsql=True, summary_only=False, ignore=[], ignore_lang=[], sql_fn=[], proc_without_search_path=[]
    )
    state = State(Counter(options))
    for script in scripts:
        output = io.StringIO()
        with redirect_stdout(output):
            visitors.visit_sql(state, script, toplevel=True)
    return {re.sub(r" at line \d+$", "", line) for line in output.getvalue().splitlines()}


def allowed_in(script):
    """The findings that allowed.txt has for a script: lines that begin with its name."""
    lines = ALLOWED.read_text().splitlines()
    return {line.split(": ", 1)[1] for line in lines if line.startswith(f"{script.name}: ")}


def compare(found, allowed):
    """The differences, in words."""
    for finding in sorted(found - allowed):
        yield f"found: {finding}"
    for finding in sorted(allowed - found):
        yield f"allowed, but found no more: {finding}"


def main(paths):
    teach_return_next()
    teach_sql_bodies()
    tests = {"finds_what_is_there": lambda: compare({line[:5] for line in findings(HOSTILE)}, HOSTILE_CODES)}
    body = "CREATE OR REPLACE FUNCTION public.f() RETURNS int LANGUAGE sql SECURITY DEFINER RETURN 1 + 1;"
    tests["reads_sql_bodies"] = lambda: compare({line[:5] for line in findings(body)}, {"PS001", "PS002", "PS003"})
    install = paths[0].read_text()
    tests[paths[0].name] = lambda: compare(findings(install), allowed_in(paths[0]))
    for path in paths[1:]:
        tests[path.name] = lambda path=path: compare(findings(install, path.read_text()), allowed_in(path))
    failed = False
    for name, test in tests.items():
        try:
            wrong = list(test())
        except Exception as error:  # whatever it cannot read
            wrong = [f"{type(error).__name__}: {error}"]
        failed |= bool(wrong)
        print(f"test pgspot_{name:<32} ... {'FAILED' if wrong else 'ok'} {0:8} ms")
        for line in wrong:
            print(f"  {line}")
    sys.exit(failed)


main([Path(argument) for argument in sys.argv[1:]])
