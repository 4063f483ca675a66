"""Compares price_usage() with LiteLLM's calculator, for every model of LiteLLM's price file. Compares charges on wallets
in other currencies with the calculator's figure times the exchange rate.

Prints its seed (WALLET_SEED repeats a run) and every group of disagreements. Fails on a disagreement that
disagreements.json does not explain, on a rule there that explains none, and on one that covers more models
than it says.
"""

import collections
import json
import math
import os
import random
import re
import sys
import time
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction

import litellm_usages as theirs
import psycopg

HERE = os.path.dirname(os.path.abspath(__file__))
ROUNDS = int(os.environ.get("WALLET_ORACLE_ROUNDS", "2"))
#: Their calculator would log in to the server of this provider first.
NEEDS_LOGIN = "github_copilot"

OURS = """
CREATE FUNCTION pg_temp.cost(usage jsonb, at timestamptz) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN (wallet.price_usage(usage, at => coalesce(at, now()))).cost;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$
"""

#: Currencies of wallets, how the rate is recorded, and the value of a dollar.
RATES = {
    "EUR": (("EUR", "USD", "1.0850"), Fraction(1) / Fraction("1.0850")),
    "JPY": (("USD", "JPY", "156.3725"), Fraction("156.3725")),
    "credits": (("USD", "credits", "100"), Fraction(100)),
}
CHARGED = """
CREATE FUNCTION pg_temp.charged(wallet text, usage jsonb, at timestamptz) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT jsonb_build_object('cost', c.cost, 'lines', c.lines) FROM wallet.charge(wallet, usage, event_at => at) c);
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$
"""
UNIT = Fraction(1, 10**12)
#: Charges per transaction.
CHUNK = 200


def cases_of(feed, rng):
    """Model, kind, usage, conditions, time and their cost."""
    refused = collections.Counter()
    for model, entry in feed.items():
        if entry.get("litellm_provider") == NEEDS_LOGIN:
            refused[f"{NEEDS_LOGIN}: would log in"] += 1
            continue
        for _ in range(ROUNDS):
            for kind, meters, cost in theirs.by_unit(rng, model, entry):
                try:
                    yield model, kind, meters, {}, None, cost()
                except Exception as error:  # their calculator refuses the model
                    refused[f"{entry.get('litellm_provider')} {kind}: {type(error).__name__}"] += 1
            if not theirs.is_by_token(entry):
                continue
            for kind, shape in theirs.kinds(entry):
                meters = theirs.meters(rng, shape, entry.get("mode"))
                given, at = theirs.conditions(rng, shape)
                try:
                    yield model, kind, meters, given, at, theirs.cost_of(model, entry, meters, given, at)
                except Exception as error:  # their calculator refuses the model
                    refused[f"{entry.get('litellm_provider')}: {type(error).__name__}"] += 1
    for what, count in refused.most_common(8):
        print("  refused by theirs:", count, what)


def rounded(exact):
    """A fraction to twelve decimals, half to even."""
    with localcontext() as context:
        context.prec = 60
        units = Decimal(round(exact / UNIT))  # Python rounds fractions half to even
        return (units * Decimal("1e-12")).quantize(Decimal("1e-12"), rounding=ROUND_HALF_EVEN)


def one_of_each_kind(cases):
    """The indexes of cases that cover every kind of usage of every model once."""
    kinds = {}
    for number, (model, kind, *_) in enumerate(cases):
        kinds.setdefault((model, kind), number)
    return sorted(kinds.values())


def charged(connection, currency, chosen):
    """The charges for the cases on a wallet in this currency: a cost and lines, or an error."""
    (base, other, rate), _ = RATES[currency]
    connection.execute("SELECT wallet.set_fx_rate(%s, %s, %s, '2019-01-01Z')", (base, other, rate))
    connection.execute("SELECT wallet.create_wallet(%s, %s, credit_limit => 1000000000000000)", (currency, currency))
    answers = {}
    # A transaction reads every version of the balance that it has made, so that many short
    # transactions are faster.
    for first in range(0, len(chosen), CHUNK):
        connection.commit()
        answers.update(connection.execute(
            "SELECT id, pg_temp.charged(%s, usage, at) FROM cases WHERE id = ANY (%s)",
            (currency, chosen[first:first + CHUNK])).fetchall())
    return answers


def wrong_charge(currency, answer, ours, cost, is_listed):
    """The error in a charge, or None. `ours` is the cost in dollars, `cost` the calculator's."""
    worth = RATES[currency][1]
    try:
        found = json.loads(answer, parse_float=Decimal, parse_int=Decimal)
    except ValueError:  # an error: as in dollars
        return None if answer == ours else f"{answer} and not {ours}"
    total = Decimal(0)
    for line in found["lines"]:
        exact = Fraction(line["quantity"]) * Fraction(line["unit_price"]) / Fraction(line["per"])
        if exact:
            if line.get("currency") != "USD" or line.get("inverse", False) != (currency == "EUR"):
                return f"a line says {line}"
            exact *= worth
        if Decimal(line["amount"]) != rounded(exact):
            return f"a line is {line['amount']} and not {rounded(exact)}"
        total += Decimal(line["amount"])
    if Decimal(found["cost"]) != total:
        return f"it took {found['cost']} and the lines make {total}"
    # Their figure is a binary number. If it differs from ours for a listed reason, ours is
    # converted.
    expected = (Fraction(Decimal(ours)) if is_listed else Fraction(Decimal(repr(cost)))) * worth
    # On both sides each line is rounded at the twelfth decimal.
    slack = UNIT * (1 + worth) * (1 + len(found["lines"])) + abs(expected) / 10**9
    if abs(Fraction(total) - expected) > slack:
        return f"it took {total} and not {float(expected)}"
    return None


def priced_by_us(feed, cases):
    """Our answer to each case, a cost or an error, and the charges on wallets in other currencies."""
    with psycopg.connect(os.environ.get("WALLET_ORACLE_DATABASE", "")) as connection:
        connection.execute("DROP EXTENSION IF EXISTS wallet CASCADE")
        connection.execute("CREATE EXTENSION wallet")
        connection.execute("SELECT count(*) FROM wallet.import_prices('litellm', %s, effective_from => '2020-01-01Z')",
                           (json.dumps(feed),))
        connection.execute(OURS)
        connection.execute("CREATE TEMP TABLE cases (id int PRIMARY KEY, usage jsonb, at timestamptz)")
        with connection.cursor() as cursor, cursor.copy("COPY cases FROM STDIN") as copy:
            for number, (model, _, meters, given, at, _) in enumerate(cases):
                copy.write_row((number, json.dumps({"model": model, **meters, **given}), at))
        ours = dict(connection.execute("SELECT id, pg_temp.cost(usage, at) FROM cases").fetchall())
        connection.execute(CHARGED)
        chosen = one_of_each_kind(cases)
        elsewhere = {currency: charged(connection, currency, chosen) for currency in RATES}
        broken = connection.execute(
            "SELECT b.wallet, v.* FROM wallet.balances b, wallet.verify(b.wallet) v WHERE NOT v.ok"
        ).fetchall()
        connection.rollback()
    return ours, elsewhere, broken


def same(answer, cost):
    try:
        return math.isclose(float(answer), cost, rel_tol=1e-9, abs_tol=1e-12)
    except ValueError:  # an error of ours
        return False


def explains(rule, entry, case, answer):
    """Whether the rule applies to the disagreement and names our answer."""
    model, kind, meters, given, _, cost = case
    named = (
        re.fullmatch(rule.get("provider", ".*"), str(entry.get("litellm_provider")))
        and re.fullmatch(rule.get("model", ".*"), model)
        and re.fullmatch(rule.get("kind", ".*"), kind)
        and all(any(re.search(field, name) for name in entry) for field in rule.get("with", ()))
        and not any(re.search(field, name) for field in rule.get("without", ()) for name in entry)
    )
    if not named:
        return False
    if "theirs" in rule and not same(rule["theirs"], cost):
        return False
    if "ours" in rule:
        return re.match(rule["ours"], answer) is not None
    if "ours_is_times" in rule:
        return same(answer, entry[rule["ours_is_times"]] * sum(meters.values()))
    if "ours_is" in rule:
        tier = given.get("service_tier") if rule["ours_is"] == "tier" else None
        return same(answer, theirs.general_cost(model, entry, meters, tier))
    return same(answer, theirs.batch_cost_as_if(model, entry, meters, rule["ours_is_as_if"]))


def main():
    seed = int(os.environ.get("WALLET_SEED") or time.time_ns())
    print(f"litellm_oracle: WALLET_SEED={seed}")
    feed = json.load(open(theirs.FEED))
    feed.pop("sample_spec", None)
    cases = list(cases_of(feed, random.Random(seed)))
    asked = {model for model, *_ in cases}
    print(f"{len(feed)} models, {len(asked)} of them priced by both in {len(cases)} usages")
    left = collections.Counter(str(entry.get("mode")) for model, entry in feed.items() if model not in asked)
    print("  without a calculation of theirs, by mode:", dict(left.most_common()))

    ours, elsewhere, broken = priced_by_us(feed, cases)
    rules = json.load(open(os.path.join(HERE, "disagreements.json")))
    listed, models, unlisted = collections.Counter(), collections.defaultdict(set), []
    for number, case in enumerate(cases):
        answer = ours[number]
        if same(answer, case[-1]):
            continue
        entry = feed[case[0]]
        rule = next((n for n, rule in enumerate(rules) if explains(rule, entry, case, answer)), None)
        if rule is None:
            unlisted.append((entry.get("litellm_provider"), *case, answer))
        else:
            listed[rule] += 1
            models[rule].add(case[0])
    print(f"{len(cases) - listed.total() - len(unlisted)} agree within 1e-9, "
          f"{listed.total()} disagree for a listed reason, {len(unlisted)} for none")
    wrong = bool(unlisted) or bool(broken)
    for one in broken:
        print("  WRONG:", *one)
    for currency, answers in elsewhere.items():
        failures, models_charged = [], set()
        for number, answer in answers.items():
            model, _, meters, *_, cost = cases[number]
            reason = wrong_charge(currency, answer, ours[number], cost, not same(ours[number], cost))
            if reason:
                failures.append((model, meters, reason))
            elif answer.startswith("{"):
                models_charged.add(model)
        print(f"{currency}: {len(answers) - len(failures)} charges of {len(models_charged)} models are theirs times the rate, "
              f"{len(failures)} are not")
        wrong = wrong or bool(failures)
        for failure in failures[:10]:
            print("  WRONG:", *failure)
    for number, rule in enumerate(rules):
        count = len(models[number])
        print(f"  {listed[number]} of {count} models: {rule['reason']}")
        if not 0 < count <= rule["models"]:
            wrong = True
            print(f"  WRONG: the entry is for 1 to {rule['models']} models")
    for one in unlisted[:40]:
        print("  not listed:", *one)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
