"""Checks focus_csv() with the validator of the FOCUS project and its rules of FOCUS 1.2.

Every kind of entry is booked, at times on both sides of the end of a month. The validator must accept
the file and refuse damaged copies. The sums of the file must be those of the entries.
"""

import csv
import io
import os
import re
import subprocess
import sys
import tempfile
from decimal import ROUND_HALF_EVEN, Decimal
from importlib import resources
from pathlib import Path

# The optional features of a provider that the wallet has.
SUPPORTED = (
    "ACCOUNT_NAMING_SUPPORTED,MULTIPLE_BILLING_ACCOUNT_TYPES_SUPPORTED,MULTIPLE_SUB_ACCOUNT_TYPES_SUPPORTED,"
    "NEGOTIATED_PRICING_SUPPORTED,PRICING_BILLING_CURRENCY_DIFFERENCES_SUPPORTED,PUBLIC_PRICE_LIST_SUPPORTED,"
    "REGION_SUPPORTED,SUB_ACCOUNT_SUPPORTED,TAGGING_SUPPORTED,UNIT_PRICING_SUPPORTED,USAGE_MEASUREMENT_SUPPORTED"
)

# The model lets InvoiceId be NULL in all rows (004) or in none (005), so that one of the two rules
# fails with every file. The rule above them (003) says whether it is right.
ONE_OF_TWO = {"InvoiceId-C-005-C"}

# The rules allow prices in a virtual currency, such as credits or tokens, but the validator looks
# it up in ISO 4217.
OF_ISO_ALONE = {"PricingCurrency-C-000-C", "PricingCurrency-C-003-M"}

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
SELECT wallet.create_wallet('euro', 'EUR', time_zone => 'Europe/Berlin');
SELECT wallet.fund('euro', 100, 'card', reference => 'in_3'), wallet.fund('euro', 50, 'card', currency => 'USD', rate => 0.9);
SELECT wallet.set_fx_rate('USD', 'EUR', 0.9215, '2025-01-01Z'), wallet.set_fx_rate('EUR', 'GBP', 0.8433, '2025-01-01Z'), wallet.set_fx_rate('coins', 'EUR', 0.01, '2025-01-01Z');
SELECT wallet.set_price('g', 'pages', 0.03, currency => 'GBP', effective_from => '2025-01-01Z'), wallet.set_price('c', 'images', 5, currency => 'coins', effective_from => '2025-01-01Z');
SELECT wallet.set_markup('discount', -8, 0.001, currency => 'GBP', effective_from => '2025-01-01Z'), wallet.use_price_list('euro', 'discount');
SELECT wallet.charge('euro', usage, region => 'abroad', event_at => '2026-03-05 12:00Z')
  FROM (VALUES ('{"model":"m","input_tokens":1001,"output_tokens":333}'::jsonb), ('{"model":"g","pages":7}'), ('{"model":"c","images":3}')) AS u (usage);
SELECT hold_id AS hold FROM wallet.hold('euro', amount => 0.5) \\gset
SELECT wallet.settle('euro', :'hold', usage => '{"model":"m","images":50,"pages":1}', over => 'cap');
"""

# Usage in other currencies: the meter, the quantity, the price and its currency, and the value of a
# unit of that currency in euros.
ABROAD = {
    ("m", "input_tokens"): (1001, "0.0000025", "USD", Decimal("0.9215")),
    ("m", "output_tokens"): (333, "0.00001", "USD", Decimal("0.9215")),
    ("g", "pages"): (7, "0.03", "GBP", 1 / Decimal("0.8433")),
    ("c", "images"): (3, "5", "coins", Decimal("0.01")),
}


def psql(*arguments, text=None):
    database = os.environ["WALLET_ORACLE_DATABASE"]
    command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, *arguments]
    run = subprocess.run(command, input=text, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"psql: {run.stderr}")
    return run.stdout


def validate(text):
    """The rules that fail, and the number of rules that pass."""
    package = Path(str(resources.files("focus_validator")))
    with tempfile.NamedTemporaryFile("w", suffix=".csv", newline="") as file:
        file.write(text)
        file.flush()
        # The validator looks for its list of currencies relative to this directory.
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


def accept(name, text, but=frozenset()):
    failed, passed = validate(text)
    if failed != ONE_OF_TWO | but or passed < 200:
        sys.exit(f"{name}: {passed} rules hold, and these do not: {sorted(failed)}")
    print(f"{name}: {passed} rules of FOCUS 1.2 hold")


def write(rows):
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def rounded(value):
    return value.quantize(Decimal("1e-12"), ROUND_HALF_EVEN)


def check_abroad(rows):
    """Checks prices in other currencies: in these and in euros, with a discount and a fee."""
    figure = lambda row, column: Decimal(row[column])
    used = [row for row in rows if row["RegionId"] == "abroad"]
    assert len(used) == 4 + 3 * 2
    for (model, meter), (quantity, price, currency, worth) in ABROAD.items():
        [row] = [row for row in used if (row["ResourceId"], row["SkuMeter"]) == (model, meter)]
        exact = quantity * Decimal(price)
        assert (row["BillingCurrency"], row["PricingCurrency"]) == ("EUR", currency), row
        for column in ("ListCost", "ContractedCost", "EffectiveCost"):
            assert figure(row, column) == rounded(exact * worth), (column, row)
        for column in ("PricingCurrencyListUnitPrice", "PricingCurrencyContractedUnitPrice"):
            assert figure(row, column) == Decimal(price), (column, row)
        assert figure(row, "PricingCurrencyEffectiveCost") == rounded(exact), row
        for column in ("ListUnitPrice", "ContractedUnitPrice"):
            assert abs(figure(row, column) / (Decimal(price) * worth) - 1) < Decimal("1e-15"), (column, row)
    fee = rounded(Decimal("0.001") / Decimal("0.8433"))
    for model in ("m", "g", "c"):
        base = sum(rounded(q * Decimal(p) * worth) for (of, _), (q, p, _, worth) in ABROAD.items() if of == model)
        [row] = [row for row in used if (row["ResourceId"], row["SkuMeter"]) == (model, "markup")]
        assert row["PricingCurrency"] == "EUR" and figure(row, "PricingQuantity") == -base and figure(row, "ListUnitPrice") == Decimal("0.08"), row
        assert figure(row, "ListCost") == figure(row, "EffectiveCost") == figure(row, "PricingCurrencyEffectiveCost") == -rounded(base * Decimal("0.08")), row
        [row] = [row for row in used if (row["ResourceId"], row["SkuMeter"]) == (model, "markup_fee")]
        assert row["PricingCurrency"] == "GBP" and figure(row, "EffectiveCost") == fee and figure(row, "PricingCurrencyEffectiveCost") == Decimal("0.001"), row
    # Half a euro was held, but the usage costs more: each row has its share.
    capped = [row for row in rows if row["BillingAccountId"] == "euro" and row["ChargeCategory"] == "Usage" and row["RegionId"] != "abroad"]
    assert len(capped) == 4 and sum(figure(row, "EffectiveCost") for row in capped) == Decimal("0.5")
    worth = {"EUR": 1, "USD": Decimal("0.9215"), "GBP": 1 / Decimal("0.8433")}
    for row in capped:
        assert abs(figure(row, "PricingCurrencyEffectiveCost") * worth[row["PricingCurrency"]] - figure(row, "EffectiveCost")) < Decimal("2e-12"), row
    assert all(figure(row, column) >= 0 for row in rows for column in row if column.endswith("UnitPrice") and row[column])
    print("prices of other currencies, and discounts, are what they are by hand")


def main():
    psql(text=SCENE.replace("\\\\", "\\"))
    text = psql("-c", "SELECT wallet.focus_csv(NULL, NULL)")
    accept("all entries", text, OF_ISO_ALONE)
    rows = list(csv.DictReader(io.StringIO(text)))
    accept("all but prices of coins", write([row for row in rows if row["PricingCurrency"] != "coins"]))
    assert len(rows) > 20 and all(None not in row.values() for row in rows), "rows with fewer values than columns"
    accept("use alone", write([row for row in rows if row["ChargeCategory"] == "Usage" and row["PricingCurrency"] != "coins"]))
    accept("a charge by amount", write([row for row in rows if row["ResourceId"] == 'a, "b"' and row["ChargeCategory"] == "Usage"]))
    accept("one wallet and month", psql("-c", "SELECT wallet.focus_csv('2026-02-01Z', '2026-03-01Z', 'acme')"))

    accept("prices of other currencies", write([row for row in rows if row["PricingCurrency"] in ("GBP", "USD") and row["BillingCurrency"] == "EUR"]))
    check_abroad(rows)

    dollars = [row for row in rows if row["BillingCurrency"] == "USD"]
    total = lambda column, **wanted: sum(Decimal(row[column]) for row in dollars if all(row[k] == v for k, v in wanted.items()))
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
    # Half past midnight in Berlin on March 1 belongs to March.
    assert {row["BillingPeriodStart"] for row in rows if row["RegionId"] == "eu"} == {"2026-02-28T23:00:00Z"}

    # The validator must detect damage.
    for damage in (
        {"ConsumedUnit": "", "BillingCurrency": "Euro"}, {"ChargeCategory": "Use", "ListUnitPrice": "7.0"},
    ):
        broken = [{**row, **damage} for row in rows]
        assert validate(write(broken))[0] > ONE_OF_TWO | OF_ISO_ALONE, f"the validator does not see {damage}"
    print("what is damaged is refused")


if __name__ == "__main__":
    os.environ.setdefault("PGOPTIONS", "-c client_min_messages=warning")
    main()
