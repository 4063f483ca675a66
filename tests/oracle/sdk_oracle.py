"""Compares the mappings with the types of the SDKs: every number in a provider's SDK must be accounted for.

It walks through everything that the current official SDKs define and finds the types that carry usage
(sdk_types.py). For each number of these types it makes an object with that number (sdk_objects.py) that is
consistent by the provider's rules (sdk_rules.py). explain_usage() must not leave the number unread. Then
come random objects, consistent and inconsistent: the tokens that normalize_usage() counts add up to the
provider's total, or the object is refused.

Prints its seed (WALLET_SEED repeats a run). WALLET_ORACLE_ROUNDS sets the number of random objects per type.
sdk_exceptions.json lists accepted differences with their reasons. An entry that explains nothing fails, too.
"""

import collections
import importlib.metadata
import json
import os
import random
import re
import sys
import time
from decimal import Decimal

import psycopg
import sdk_objects as objects
import sdk_rules
import sdk_types

HERE = os.path.dirname(os.path.abspath(__file__))
ROUNDS = int(os.environ.get("WALLET_ORACLE_ROUNDS", "20"))
SDKS = ("openai", "anthropic", "google-genai", "mistralai", "cohere", "botocore", "groq", "xai-sdk", "ollama")
#: The amount for the number under test.
AMOUNT = 10

OURS = """
CREATE FUNCTION pg_temp.explained(usage jsonb, provider text) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT coalesce(jsonb_agg(jsonb_build_array(path, value, role)), '[]') FROM wallet.explain_usage(usage, provider));
EXCEPTION WHEN OTHERS THEN
    RETURN to_jsonb(SQLSTATE || ' ' || SQLERRM);
END $$;
CREATE FUNCTION pg_temp.tokens(usage jsonb, provider text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT coalesce(sum(quantity) FILTER (WHERE meter LIKE '%\\_tokens'), 0) FROM wallet.normalize_usage(usage, provider));
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$
"""


class Exceptions:
    """The accepted differences, and whether each still occurs."""

    def __init__(self):
        self.rules = json.load(open(os.path.join(HERE, "sdk_exceptions.json")))
        self.used = collections.Counter()

    def explain(self, test, name, holder, answer):
        """Whether an entry applies to the number or type in the holder, and names our answer."""
        for number, rule in enumerate(self.rules):
            if (rule["test"] == test and re.match(rule["of"], name) and re.match(rule.get("in", ""), holder)
                    and re.match(rule["ours"], answer)):
                self.used[number] += 1
                return True
        return False

    def report(self):
        """Prints the explained differences. Returns whether an entry explained nothing."""
        idle = False
        for number, rule in enumerate(self.rules):
            print(f"  {self.used[number]} {rule['test']}: {rule['reason']}")
            if not self.used[number]:
                idle = True
                print(f"  WRONG: nothing of {rule['of']} needs that entry")
        return idle


def ask(connection, function, cases):
    """Our answer to each case: an object and the named provider."""
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS cases (id int, usage jsonb, provider text)")
    connection.execute("TRUNCATE cases")
    with connection.cursor() as cursor, cursor.copy("COPY cases FROM STDIN") as copy:
        for number, (made, provider) in enumerate(cases):
            copy.write_row((number, json.dumps(made), provider))
    return dict(connection.execute(f"SELECT id, pg_temp.{function}(usage, provider) FROM cases").fetchall())


def plain(path):
    """A path of explain_usage(), or of ours, without its conditions."""
    return re.sub(r"\[[^\]]*\]", "[*]", path)


def fate_of(made, leaf, answer):
    """What became of the number at the leaf: a role, `unread`, or why the object was refused."""
    if isinstance(answer, str):
        return answer
    found = [(path, Decimal(value)) for path, value in objects.at(made, leaf.path)]
    wanted = {plain("".join("[0]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")) for path, _ in found}
    rows = [(Decimal(value), role) for path, value, role in answer if plain(path) in wanted and Decimal(value)]
    if not rows or any(role == "unread" for _, role in rows) or sum(value for value, _ in rows) != sum(value for _, value in found):
        return "unread"
    return rows[0][1]


def check_fields(connection, holders, exceptions):
    """Checks every number of every type. Returns the faults by the name of the number."""
    cases = []
    for holder in holders:
        for leaf in holder.leaves:
            for name, made in objects.objects_with(holder, leaf, AMOUNT):
                assert any(float(value) for _, value in objects.at(made, leaf.path)), (str(holder), name, made)
                cases += [(holder, leaf, name, made, holder.provider), (holder, leaf, name, made, None)]
    answers = ask(connection, "explained", [(made, provider) for *_, made, provider in cases])
    faults, fates = collections.defaultdict(list), collections.Counter()
    for number, (holder, leaf, name, made, provider) in enumerate(cases):
        fate = fate_of(made, leaf, answers[number])
        fates[fate if fate.islower() else fate[:5]] += 1
        # It is refused if no provider is named and two would read it differently.
        if fate in ("meter", "part", "total", "not billed") or fate.startswith("WL007") and not provider:
            continue
        if not exceptions.explain("field", name, str(holder), fate):
            faults[name].append((fate, str(holder), provider, made))
    print(f"{len({name for _, _, name, *_ in cases})} numbers in {len(holders)} types, {len(cases)} objects:", dict(fates.most_common()))
    return faults


def check_totals(connection, holders, exceptions, rng):
    """Checks random objects of every type. Returns the faults by the name of the type."""
    cases = []
    for holder in holders:
        for number in range(2 * ROUNDS):
            made = objects.random_object(holder, rng)
            if number % 2:
                made = objects.spoil(holder, made, rng)
            # Inconsistent numbers belong to the named provider. Without a name, the form of another
            # provider may fit.
            provider = holder.provider if number % 2 or number < 2 else rng.choice((holder.provider, None))
            cases.append((holder, number % 2 == 0, objects.total_of(holder, made), made, provider))
    answers = ask(connection, "tokens", [(made, provider) for *_, made, provider in cases])
    faults, agreed, counts = collections.defaultdict(list), collections.Counter(), collections.Counter()
    for number, (holder, consistent, total, made, provider) in enumerate(cases):
        answer = answers[number]
        if answer[:5] == "WL007":
            counts["consistent but refused" if consistent else "refused"] += 1
        elif answer[:1].isdigit() and " " not in answer and Decimal(answer) == Decimal(str(total)):
            counts["agree"] += 1
            agreed[str(holder)] += total > 0
        else:
            counts["disagree"] += 1
            if not exceptions.explain("total", str(holder), str(holder), answer):
                faults[str(holder)].append((f"{answer} of {total}", provider, made))
    for holder in holders:
        tokens = any("token" in leaf.name.rsplit(".", 1)[-1].lower() for leaf in holder.leaves)
        if tokens and not agreed[str(holder)] and not exceptions.explain("total", str(holder), str(holder), "no tokens"):
            faults[str(holder)].append(("no random object with tokens is accepted", holder.provider, {}))
    print(f"{len(cases)} random objects:", dict(counts.most_common()))
    return faults


def main():
    seed = int(os.environ.get("WALLET_SEED") or time.time_ns())
    print(f"sdk_oracle: WALLET_SEED={seed}")
    print(", ".join(f"{name} {importlib.metadata.version(name)}" for name in SDKS))
    holders = list(sdk_types.holders())
    unruled = sorted({leaf.kind for holder in holders for leaf in holder.leaves if sdk_rules.rule_of(leaf.kind) is None})
    for kind in unruled:
        print(f"  WRONG: sdk_rules.py has no rule of {kind}")
    unneeded = sdk_types.LEFT_OUT.keys() - sdk_types.needed
    for pattern in sorted(unneeded):
        print(f"  WRONG: sdk_types.py leaves out {pattern}, and there is none")
    exceptions = Exceptions()
    with psycopg.connect(os.environ.get("WALLET_ORACLE_DATABASE", "")) as connection:
        connection.execute("DROP EXTENSION IF EXISTS wallet CASCADE")
        connection.execute("CREATE EXTENSION wallet")
        connection.execute(OURS)
        fields = check_fields(connection, holders, exceptions)
        totals = check_totals(connection, holders, exceptions, random.Random(seed))
        connection.rollback()
    shown = 1_000 if os.environ.get("WALLET_ORACLE_ALL") else 40
    for what, faults in (("not accounted for", fields), ("not the total", totals)):
        for name, found in list(faults.items())[:shown]:
            print(f"  {what}: {name} ({len(found)})")
            print("    ", *map(str, found[0][:-1]), json.dumps(found[0][-1]))
        if faults:
            print(f"{what}: {len(faults)}")
    idle = exceptions.report()
    return 1 if unruled or unneeded or fields or totals or idle else 0


if __name__ == "__main__":
    sys.exit(main())
