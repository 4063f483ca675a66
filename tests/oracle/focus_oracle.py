"""focus_csv() before the validator of the FOCUS project, with the rules of FOCUS 1.2 that it comes with.

Every kind of entry is booked, at times on both sides of a month's end. The validator must accept the file, must
refuse it when it is damaged, and the file's sums must be those of what was booked.
"""

import csv
import io
import os
import re
import subprocess
import sys
import tempfile
from decimal import Decimal
from importlib import resources
from pathlib import Path

# What the wallet has of what a provider may support.
SUPPORTED = (
    "ACCOUNT_NAMING_SUPPORTED,MULTIPLE_BILLING_ACCOUNT_TYPES_SUPPORTED,MULTIPLE_SUB_ACCOUNT_TYPES_SUPPORTED,"
    "NEGOTIATED_PRICING_SUPPORTED,PRICING_BILLING_CURRENCY_DIFFERENCES_SUPPORTED,PUBLIC_PRICE_LIST_SUPPORTED,"
    "REGION_SUPPORTED,SUB_ACCOUNT_SUPPORTED,TAGGING_SUPPORTED,UNIT_PRICING_SUPPORTED,USAGE_MEASUREMENT_SUPPORTED"
)

# The model lets InvoiceId be NULL in all rows (004) or in none (005), so that one of the two fails with every file; the
# rule above them (003) says whether it is right.
ONE_OF_TWO = {"InvoiceId-C-005-C"}

SCENE = """
CREATE EXTENSION wallet;
SELECT wallet.create_wallet('acme', time_zone => 'Europe/Berlin'), wallet.create_wallet('other');
SELECT wallet.fund('acme', 100, 'card', reference => 'in_1'), wallet.fund('acme', 20, 'bonus', promotional => true);
SELECT wallet.create_voucher('FOCUS-ORACLE', 7), wallet.redeem_voucher('acme', 'FOCUS-ORACLE');
SELECT wallet.set_price('m', meter, price, per => per, provider => 'openai', effective_from => '2025-01-01Z')
  FROM (VALUES ('input_tokens', 2.5, 1000000), ('output_tokens', 10, 1000000), ('images', 0.04, 1), ('audio_seconds', 0.006, 60),
               ('input_characters', 15, 1000000), ('pages', 1, 3), ('mine', 0.1, 1)) AS p (meter, price, per);
SELECT entry_id AS charged FROM wallet.charge('acme', amount => 30, model => 'a, "b"', tags => '{"note":"a, \\"b\\"\\nc","n":"1.5"}', user_id => 'ann') \\gset
SELECT wallet.refund('acme', :'charged', amount => 5);
SELECT wallet.charge('acme', '{"model":"m","input_tokens":1000,"output_tokens":333,"images":2,"audio_seconds":61.5,"input_characters":1234,"pages":7,"mine":0.25}',
                     team => 'red', region => 'eu', event_at => '2026-02-28T23:30:00Z');
SELECT wallet.charge('acme', '{"model":"m","input_tokens":1000,"cost":0.5}', cost_from => 'provider', event_at => '2026-03-01Z');
SELECT hold_id AS hold FROM wallet.hold('acme', amount => 1) \\gset
SELECT wallet.settle('acme', :'hold', usage => '{"model":"m","images":50,"pages":1}', over => 'cap');
SELECT entry_id AS bounced FROM wallet.fund('acme', 50, 'card', reference => 'in_2') \\gset
SELECT wallet.reverse_funding('acme', :'bounced');
SELECT wallet.fund('acme', 4, 'card', expires_at => now() + interval '1 hour') \\gset
SELECT wallet.adjust('acme', 1, reason => 'gift'), wallet.adjust('acme', -1), wallet.transfer('acme', 'other', 2);
SELECT wallet.update_wallet('acme', unknown_price => 'unpriced');
SELECT wallet.charge('acme', '{"model":"late","images":1}');
SELECT wallet.set_price('late', 'images', 0.25, effective_from => '2025-01-01Z');
SELECT wallet.price_unpriced('acme');
"""


def psql(*arguments, text=None):
    database = os.environ["WALLET_ORACLE_DATABASE"]
    command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, *arguments]
    run = subprocess.run(command, input=text, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"psql: {run.stderr}")
    return run.stdout


def validate(text):
    """The rules that fail, and how many hold."""
    package = Path(str(resources.files("focus_validator")))
    with tempfile.NamedTemporaryFile("w", suffix=".csv", newline="") as file:
        file.write(text)
        file.flush()
        # It looks for its list of currencies from here.
        run = subprocess.run(
            [str(Path(sys.executable).with_name("focus-validator")), "--data-file", file.name, "--validate-version", "1.2.0.1",
             "--block-download", "--applicability-criteria", SUPPORTED],
            cwd=package.parent, capture_output=True, text=True, timeout=300,
        )
    totals = re.search(r"Pass: (\d+) \| Fail: (\d+)", run.stdout)
    if run.returncode or not totals:
        sys.exit(f"the validator failed:\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
    failed = set(re.findall(r"^- (\S+): violations=", run.stdout, re.M))
    assert len(failed) == int(totals[2]), run.stdout[-2000:]
    return failed, int(totals[1])


def accept(name, text):
    failed, passed = validate(text)
    if failed != ONE_OF_TWO or passed < 200:
        sys.exit(f"{name}: {passed} rules hold, and these do not: {sorted(failed)}")
    print(f"{name}: {passed} rules of FOCUS 1.2 hold")


def write(rows):
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def main():
    psql(text=SCENE.replace("\\\\", "\\"))
    text = psql("-c", "SELECT wallet.focus_csv(NULL, NULL)")
    accept("all entries", text)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) > 20 and all(None not in row.values() for row in rows), "rows with fewer values than columns"
    accept("use alone", write([row for row in rows if row["ChargeCategory"] == "Usage"]))
    accept("a charge by amount", write([row for row in rows if row["ResourceId"] == 'a, "b"' and row["ChargeCategory"] == "Usage"]))
    accept("one wallet and month", psql("-c", "SELECT wallet.focus_csv('2026-02-01Z', '2026-03-01Z', 'acme')"))

    total = lambda column, **wanted: sum(Decimal(row[column]) for row in rows if all(row[k] == v for k, v in wanted.items()))
    lines = [Decimal(1000) * Decimal("2.5") / 10**6, Decimal(333) * 10 / 10**6, Decimal("0.08"), Decimal("61.5") * Decimal("0.0001"),
             Decimal(1234) * 15 / 10**6, Decimal("2.333333333333"), Decimal("0.025")]
    used = 30 + sum(lines) + Decimal("0.5") + 1 + Decimal("0.25")
    assert total("EffectiveCost", ChargeCategory="Usage") == used
    assert total("EffectiveCost") == used - 5
    assert total("BilledCost") == 100 + 50 - 50 + 4, "neither bonus nor voucher is billed"
    assert total("BilledCost", ChargeCategory="Usage") == 0
    units = {row["SkuMeter"]: (Decimal(row["ConsumedQuantity"]), row["ConsumedUnit"]) for row in rows if row["RegionId"] == "eu"}
    assert units == {
        "input_tokens": (1000, "Tokens"), "output_tokens": (333, "Tokens"), "images": (2, "Images"), "mine": (Decimal("0.25"), "Mine"),
        "audio_seconds": (Decimal("61.5"), "Seconds"), "input_characters": (1234, "Characters"), "pages": (7, "Pages"),
    }, units
    time = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
    assert all(time.fullmatch(row[column]) for row in rows for column in row if "Period" in column)
    # Half past midnight in Berlin is a day of March.
    assert {row["BillingPeriodStart"] for row in rows if row["RegionId"] == "eu"} == {"2026-02-28T23:00:00Z"}

    # It would notice.
    for damage in (
        {"ConsumedUnit": "", "BillingCurrency": "Euro"}, {"ChargeCategory": "Use", "ListUnitPrice": "7.0"},
    ):
        broken = [{**row, **damage} for row in rows]
        assert validate(write(broken))[0] > ONE_OF_TWO, f"the validator does not see {damage}"
    print("what is damaged is refused")


if __name__ == "__main__":
    os.environ.setdefault("PGOPTIONS", "-c client_min_messages=warning")
    main()
