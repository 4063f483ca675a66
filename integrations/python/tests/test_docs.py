"""The examples of README and docs run, and print what the pages say."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from conftest import Mock
from test_litellm import proxied

from pg_wallet.litellm import Settings

PACKAGE = Path(__file__).parent.parent
PAGES = ["README.md", "docs/django.md", "docs/sqlalchemy.md", "docs/asgi.md"]


def blocks(page: str, language: str) -> str:
    text = (PACKAGE / page).read_text()
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S))


@pytest.fixture
def environment(mock: Mock) -> Iterator[dict[str, str]]:
    """A database that has been set up as README.md says, and how programs find it."""
    name, role = "wallet_docs", "wallet_docs_app"
    with psycopg.connect("dbname=postgres", autocommit=True) as admin:
        clean = f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"DROP ROLE IF EXISTS {role}"
        for statement in clean:
            admin.execute(statement)
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        try:
            with psycopg.connect(f"dbname={name}", autocommit=True) as db:
                db.execute(blocks("README.md", "sql").replace("my_app", role))
                # The examples of Django and SQLAlchemy create tables of their own.
                db.execute(f"GRANT CREATE ON SCHEMA public TO {role}")
            yield {
                **os.environ,
                "PGDATABASE": name,
                "PGUSER": role,
                "OPENAI_BASE_URL": mock.base_url("openai"),
                "OPENAI_API_KEY": "x",
            }
        finally:
            for statement in clean:
                admin.execute(statement)


def printed(page: str, tmp_path: Path, environment: dict[str, str], port: int = 0) -> str:
    """What the examples of a page print, one after the other."""
    program = tmp_path / "example.py"
    text = blocks(page, "python").replace("/tmp/", f"{tmp_path}/")
    program.write_text(text.replace("localhost:4000", f"localhost:{port}"))
    command = [sys.executable, str(program)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


def promised(page: str) -> str:
    return blocks(page, "text").replace("\n\n", "\n")


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_run(page: str, environment: dict[str, str], tmp_path: Path) -> None:
    assert printed(page, tmp_path, environment) == promised(page)


@pytest.mark.long
def test_the_proxy_of_the_page_on_litellm_runs(environment: dict[str, str], tmp_path: Path) -> None:
    page = "docs/litellm.md"
    config = tmp_path / "config.yaml"
    text = blocks(page, "yaml").replace("dbname=app", "dbname=wallet_docs")
    config.write_text(text.replace("my_app", environment["PGUSER"]))
    environment = {**environment, "LITELLM_MASTER_KEY": f"sk-{secrets.token_hex(32)}"}
    with proxied(config, tmp_path / "log", environment) as url:
        output = printed(page, tmp_path, environment, int(url.rpartition(":")[2]))
    assert output == promised(page)


def test_the_page_on_litellm_has_every_setting() -> None:
    text = (PACKAGE / "docs/litellm.md").read_text()
    table = text[text.index("| setting |") : text.index("A source is")]
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\|([^|]*)\|", table, re.M))))
    assert named == set(vars(Settings()))


def test_the_first_example_has_ten_lines() -> None:
    first = re.search(r"^```python\n(.*?)^```", (PACKAGE / "README.md").read_text(), re.M | re.S)
    assert first is not None
    assert len(first[1].splitlines()) <= 10


def test_lines_of_the_pages_are_short() -> None:
    for page in [*PAGES, "docs/litellm.md"]:
        for line in (PACKAGE / page).read_text().splitlines():
            assert len(line) <= 100 or line.startswith("|"), f"{page}: {line}"
