"""The wheel: built, installed into a clean environment, and used there without any extra."""

from __future__ import annotations

import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from conftest import Ledger

PACKAGE = Path(__file__).parent.parent

USE = """
import sys
from psycopg_pool import ConnectionPool
import pg_wallet
from pg_wallet import Wallet
assert "site-packages" in pg_wallet.__file__
assert not {"openai", "anthropic", "litellm", "fastapi", "opentelemetry"} & set(sys.modules)
with ConnectionPool(sys.argv[1], open=True) as pool:
    print(Wallet(pool, sys.argv[2]).charge(amount=1).cost)
"""


@pytest.mark.long
def test_the_wheel_installs_into_a_clean_environment(
    tmp_path: Path, conninfo: str, name: str
) -> None:
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path)]
    subprocess.run([*build, str(PACKAGE)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    (sdist,) = tmp_path.glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    assert "pg_wallet/py.typed" in names
    assert not [one for one in names if not one.startswith(("pg_wallet", "pg_wallet-"))]
    for number, package in enumerate((wheel, sdist)):
        environment = tmp_path / f"clean{number}"
        venv.create(environment, with_pip=True)
        python = str(environment / "bin" / "python")
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, str(package), "psycopg[binary]"], check=True)
        done = subprocess.run(
            [python, "-c", USE, conninfo, name], check=True, capture_output=True, text=True
        )
        assert done.stdout == "1.00\n"


def oldest(extra: str) -> str:
    """The lowest requirement of an extra, as a pin."""
    text = (PACKAGE / "pyproject.toml").read_text()
    found = re.search(rf'^{extra} = \["(.*)>=(.*)"\]', text, re.M)
    assert found is not None
    return f"{found[1]}=={found[2]}"


@pytest.mark.long
def test_the_oldest_sdks_are_charged(
    tmp_path: Path, conninfo: str, name: str, ledger: Ledger
) -> None:
    venv.create(tmp_path / "old", with_pip=True)
    python = str(tmp_path / "old" / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    sdks = [oldest("openai"), oldest("anthropic"), "httpx<0.28", "psycopg[binary]"]
    subprocess.run([*install, "--no-compile", str(PACKAGE), *sdks], check=True)
    done = subprocess.run(
        [python, str(PACKAGE / "tests" / "oldest.py"), conninfo, name],
        capture_output=True,
        text=True,
        timeout=60,
    )
    chat, claude = "0.000075", "0.000105"
    expected = [chat, f"1 {chat}", claude, claude, "refused", f"1 {chat}", claude]
    assert done.stdout.splitlines() == expected, done.stderr
    assert ledger.holds() == ["settled"] * 6
