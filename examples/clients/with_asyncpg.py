"""Charges a wallet in the transaction that stores the answer, with asyncpg.

The connection is configured by PGHOST, PGDATABASE and so on.
"""
import asyncio
import json
from decimal import Decimal

import asyncpg

CHARGE = "SELECT cost, balance FROM wallet.charge('acme', amount => $1, idempotency_key => $2)"
# A first attempt may have been committed although its answer did not arrive.
ANSWER = "INSERT INTO answers (request, answer) VALUES ($1, $2) ON CONFLICT DO NOTHING"
# Another transaction came first.
CONFLICTS = ("40001", "40P01")
# The server stops, starts, or is a standby: another connection leads to the primary.
ELSEWHERE = ("57P01", "57P02", "57P03", "25006")


class Database:
    """A connection, replaced when it is broken or leads to a server that cannot write."""

    connection = None

    async def charge(self, request, answer, cost):
        """Stores the charge and the answer, or neither. NUMERIC is a Decimal, never a float."""
        for attempt in range(20):  # half a minute: long enough for a failover
            try:
                # No timeout here: asyncpg would cancel a COMMIT that waits for a standby.
                self.connection = self.connection or await asyncpg.connect()
                async with self.connection.transaction():
                    charged = await self.connection.fetchrow(CHARGE, cost, request)
                    await self.connection.execute(ANSWER, request, answer)
                return charged
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                # Without a SQLSTATE the connection broke, or there is none.
                state = getattr(error, "sqlstate", None)
                lost = state is None or state in ELSEWHERE or state[:2] == "08"
                if attempt == 19 or not (lost or state in CONFLICTS):
                    raise
                if lost and self.connection:
                    self.connection.terminate()
                    self.connection = None
            # Again, with the same key.
            await asyncio.sleep(min(2, 0.01 * 2**attempt))


async def main():
    # LISTEN needs a connection of its own, open as long as the program listens.
    listener = await asyncpg.connect()
    heard = asyncio.Queue()
    await listener.add_listener("wallet_events", lambda connection, pid, channel, payload: heard.put_nowait(payload))
    db = Database()

    cost, balance = await db.charge("req-1", "forty-two", Decimal("0.000000000001"))
    print(f"charged {cost:f}, {balance:f} is left")

    event = json.loads(await heard.get())
    print(f"heard {event['event']} of {event['wallet']}")

    try:
        await db.charge("req-2", "too dear", Decimal(2_000_000_000_000_000))
    except asyncpg.PostgresError as error:
        print(f"{error.sqlstate}: {error.message}")
        print(f"DETAIL: {error.detail}")
        print(f"HINT: {error.hint}")

    await listener.close()
    await db.connection.close()


asyncio.run(main())
