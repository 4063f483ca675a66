"""The examples of README and docs run, and print what the pages say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from conftest import PRICES, Mock

PACKAGE = Path(__file__).parent.parent
PAGES = ["README.md", "docs/django.md", "docs/sqlalchemy.md", "docs/asgi.md"]


def blocks(page: str, language: str) -> str:
    text = (PACKAGE / page).read_text()
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S))


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_run(page: str, mock: Mock, tmp_path: Path) -> None:
    name = f"wallet_docs_{PAGES.index(page)}"
    with psycopg.connect("dbname=postgres", autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
    try:
        with psycopg.connect(f"dbname={name}", autocommit=True) as db:
            db.execute("CREATE EXTENSION wallet")
            db.execute(PRICES)
            db.execute("SELECT wallet.create_wallet('acme')")
            db.execute("SELECT wallet.fund('acme', 10)")
        program = tmp_path / "example.py"
        program.write_text(blocks(page, "python").replace("/tmp/", f"{tmp_path}/"))
        environment = {
            **os.environ,
            "PGDATABASE": name,
            "OPENAI_BASE_URL": mock.base_url("openai"),
            "OPENAI_API_KEY": "x",
        }
        done = subprocess.run(
            [sys.executable, str(program)],
            capture_output=True,
            text=True,
            env=environment,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == blocks(page, "text").replace("\n\n", "\n")
    finally:
        with psycopg.connect("dbname=postgres", autocommit=True) as admin:
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def test_the_first_example_has_ten_lines() -> None:
    first = re.search(r"^```python\n(.*?)^```", (PACKAGE / "README.md").read_text(), re.M | re.S)
    assert first is not None
    assert len(first[1].splitlines()) <= 10


def test_lines_of_the_pages_are_short() -> None:
    for page in [*PAGES, "docs/litellm.md"]:
        for line in (PACKAGE / page).read_text().splitlines():
            assert len(line) <= 100 or line.startswith("|"), f"{page}: {line}"
