"""Compares price_usage() with LiteLLM's own calculator, for every model of LiteLLM's own price file.

Prints its seed (WALLET_SEED repeats a run) and every group of disagreements, and fails on one that
disagreements.json does not explain, on a group that explains none any more, and on one that covers more
models than it says.
"""

import collections
import json
import math
import os
import random
import re
import sys
import time

import litellm_usages as theirs
import psycopg

HERE = os.path.dirname(os.path.abspath(__file__))
ROUNDS = int(os.environ.get("WALLET_ORACLE_ROUNDS", "2"))
#: Their calculator asks this provider's server for a login first.
NEEDS_LOGIN = "github_copilot"

OURS = """
CREATE FUNCTION pg_temp.cost(usage jsonb, at timestamptz) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN (wallet.price_usage(usage, at => coalesce(at, now()))).cost;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$
"""


def cases_of(feed, rng):
    """Model, kind, usage, its conditions, time and their cost."""
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


def priced_by_us(feed, cases):
    """Our answer to each case: a cost, or an error."""
    with psycopg.connect(os.environ.get("WALLET_ORACLE_DATABASE", "")) as connection:
        connection.execute("DROP EXTENSION IF EXISTS wallet CASCADE")
        connection.execute("CREATE EXTENSION wallet")
        connection.execute("SELECT count(*) FROM wallet.import_prices('litellm', %s, effective_from => '2020-01-01Z')",
                           (json.dumps(feed),))
        connection.execute(OURS)
        connection.execute("CREATE TEMP TABLE cases (id int, usage jsonb, at timestamptz)")
        with connection.cursor() as cursor, cursor.copy("COPY cases FROM STDIN") as copy:
            for number, (model, _, meters, given, at, _) in enumerate(cases):
                copy.write_row((number, json.dumps({"model": model, **meters, **given}), at))
        ours = dict(connection.execute("SELECT id, pg_temp.cost(usage, at) FROM cases").fetchall())
        connection.rollback()
    return ours


def same(answer, cost):
    try:
        return math.isclose(float(answer), cost, rel_tol=1e-9, abs_tol=1e-12)
    except ValueError:  # an error of ours
        return False


def explains(rule, entry, case, answer):
    """Whether the rule is about that disagreement, and our answer is the one that it says."""
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

    ours = priced_by_us(feed, cases)
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
    wrong = bool(unlisted)
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
