/** `wallet.request(estimate, body)`: a settlement or a release on every way out. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { HoldExpired, HoldNotOpen, InsufficientFunds, PriceNotFound } from '../src/index.js';
import { fixture } from './support.js';

const ESTIMATE = { model: 'gpt-4o', input_tokens: 1000, output_tokens: 4000 };
const USED = { input_tokens: 1000, output_tokens: 1500 };
const COST = '0.0175';
const t = fixture('request');

test('a request is held and settled', async () => {
  const { charge, r } = await t.wallet.request(ESTIMATE, async (r) => {
    assert.equal(await t.ledger.held(), 0.0425);
    const charge = await r.settle(USED);
    assert.equal(await r.settle(USED), charge);
    return { charge, r };
  });
  assert.equal(charge.cost, COST);
  assert.equal(r.headers()['X-Usage-Cost'], COST);
  assert.deepEqual(r.headers(), await t.wallet.usageHeaders(charge.entryId!));
  assert.deepEqual([await t.ledger.charges(), await t.ledger.holds()], [[COST], ['settled']]);
});

test('a request without use is released', async () => {
  const r = await t.wallet.request(ESTIMATE, (r) => r);
  assert.deepEqual(r.headers(), {});
  await assert.rejects(r.settle(USED), HoldNotOpen);
  assert.deepEqual([await t.ledger.charges(), await t.ledger.holds()], [[], ['voided']]);
});

test('an error releases, or settles what was noted', async () => {
  const broken = new RangeError('the prompt, perhaps');
  const fail = () => {
    throw broken;
  };
  await assert.rejects(t.wallet.request(ESTIMATE, fail), broken);
  const used = t.wallet.request(ESTIMATE, (r) => {
    r.use({ input_tokens: 1000, output_tokens: 10 });
    r.use(USED);
    fail();
  });
  await assert.rejects(used, broken);
  assert.deepEqual(await t.ledger.charges(), [COST]);
  assert.deepEqual(await t.ledger.holds(), ['voided', 'settled']);
});

test('a signal releases, or settles what was noted', async () => {
  for (const used of [false, true]) {
    const controller = new AbortController();
    const work = t.wallet.request(
      ESTIMATE,
      async (r) => {
        if (used) r.use(USED);
        setTimeout(() => controller.abort(new Error('left')), 50);
        await sleep(60_000, undefined, { signal: r.signal });
      },
      { signal: controller.signal },
    );
    await assert.rejects(work, /left|aborted/);
  }
  assert.deepEqual(await t.ledger.holds(), ['voided', 'settled']);
});

test('what a body notes while it ends after the signal is settled', async () => {
  const signal = AbortSignal.timeout(50);
  const work = t.wallet.request(
    ESTIMATE,
    async (r) => {
      try {
        await sleep(60_000, undefined, { signal: r.signal });
      } finally {
        await sleep(50);
        r.use(USED);
      }
    },
    { signal },
  );
  await assert.rejects(work);
  assert.deepEqual(await t.ledger.charges(), [COST]);
});

test('a body that ignores the signal is left after a while', async () => {
  const never = new Promise<void>(() => undefined);
  const options = { signal: AbortSignal.timeout(50), grace: 0.1 };
  await assert.rejects(
    t.wallet.request(ESTIMATE, () => never, options),
    { name: 'TimeoutError' },
  );
  assert.deepEqual(await t.ledger.holds(), ['voided']);
});

test('a body that aborts its own signal and hangs is left too', async () => {
  const controller = new AbortController();
  const body = () => {
    controller.abort(new RangeError('at once'));
    return new Promise<void>(() => undefined);
  };
  const work = t.wallet.request(ESTIMATE, body, { signal: controller.signal, grace: 0.1 });
  await assert.rejects(work, RangeError);
  assert.deepEqual(await t.ledger.holds(), ['voided']);
});

test('a signal that has aborted before makes no hold', async () => {
  const signal = AbortSignal.abort();
  await assert.rejects(
    t.wallet.request(ESTIMATE, () => assert.fail('not reached'), { signal }),
    { name: 'AbortError' },
  );
  assert.deepEqual(await t.ledger.holds(), []);
});

test('no hold is left wherever a signal aborts', async () => {
  await Promise.all(
    Array.from({ length: 40 }, async (_, step) => {
      const signal = AbortSignal.timeout(step);
      await t.wallet.request(ESTIMATE, (r) => r.settle(USED), { signal }).catch(() => undefined);
    }),
  );
  const holds = await t.ledger.holds();
  assert.ok(holds.every((status) => status !== 'open'));
  const settled = holds.filter((status) => status === 'settled');
  assert.equal((await t.ledger.charges()).length, settled.length);
});

test('a generator that is closed settles', async () => {
  async function* stream() {
    const r = await t.wallet.newRequest(ESTIMATE).open();
    try {
      for (let n = 0; ; n++) {
        r.use({ input_tokens: 1000, output_tokens: n });
        yield n;
      }
    } finally {
      await r.close();
    }
  }
  for await (const n of stream()) if (n === 100) break;
  assert.deepEqual(await t.ledger.charges(), ['0.0035']);
});

test('refused usage releases and raises', async () => {
  const work = t.wallet.request('1', (r) => r.settle({ model: 'unheard-of', input_tokens: 1 }));
  await assert.rejects(work, PriceNotFound);
  assert.deepEqual([await t.ledger.charges(), await t.ledger.holds()], [[], ['voided']]);
});

test('what cannot be sent as a usage releases and raises', async () => {
  const wrong = { model: 'gpt-4o', input_tokens: Number.NaN };
  await assert.rejects(
    t.wallet.request('1', (r) => r.settle(wrong)),
    TypeError,
  );
  await assert.rejects(
    t.wallet.request('1', (r) => r.use(0.5 as any)),
    TypeError,
  );
  await assert.rejects(
    t.wallet.request('1', (r) => r.use(wrong)),
    TypeError,
  );
  assert.deepEqual(await t.ledger.holds(), ['voided', 'voided', 'voided']);
});

test('use beyond the balance is booked as debt', async () => {
  await t.wallet.request('1', (r) => r.settle('150'));
  assert.deepEqual(await t.ledger.charges(), ['150']);
  assert.equal((await t.wallet.balance()).debt, '50.00');
});

test('a refused hold raises before the body', async () => {
  const work = t.wallet.request('1000', () => assert.fail('not reached'));
  await assert.rejects(work, InsufficientFunds);
  assert.deepEqual(await t.ledger.holds(), []);
});

test('the same key runs once', async () => {
  const options = { idempotencyKey: 'job' };
  await t.wallet.request('1', (r) => r.settle('1'), options);
  const again = t.wallet.request('1', () => assert.fail('not reached'), options);
  await assert.rejects(
    again,
    (error) => error instanceof HoldNotOpen && /settled/.test(`${error}`),
  );
  assert.deepEqual(await t.ledger.charges(), ['1']);
});

test('the hold of a process that died is charged if it asks for that', async () => {
  const options = { ttl: 0.1, extend: false, onExpiry: 'charge' as const };
  await t.wallet.request(
    ESTIMATE,
    async (r) => {
      await sleep(150);
      await t.ledger.one('SELECT count(*) FROM wallet.maintain()');
      assert.deepEqual(await t.ledger.charges(), ['0.0425']);
      // It was only slow: the settlement corrects the charge.
      const charge = await r.settle(USED);
      assert.equal(charge.cost, '0.00');
    },
    options,
  );
  const sql = `SELECT concat_ws(' ', kind, amount, reason) FROM wallet.entries
                WHERE wallet = $1 AND kind IN ('charge', 'refund') ORDER BY seq`;
  assert.deepEqual(await t.ledger.column(sql, t.name), [
    'charge -0.0425 expired hold',
    'refund 0.025 expired hold',
    'charge 0.00',
  ]);
});

test('a long request extends its hold', async () => {
  await t.wallet.request(
    ESTIMATE,
    async (r) => {
      await sleep(1500);
      assert.deepEqual(await t.ledger.holds(), ['open']);
      r.check();
      await r.settle(USED);
    },
    { ttl: 0.6 },
  );
  assert.deepEqual(await t.ledger.charges(), [COST]);
});

test('beyond its hold a request goes on or stops', async () => {
  await t.wallet.request(
    ESTIMATE,
    async (r) => {
      await sleep(400);
      r.check();
      await r.settle(USED);
    },
    { ttl: 0.2, extend: false },
  );
  const stopped = t.wallet.request(
    ESTIMATE,
    async (r) => {
      for (let n = 0; n < 100; n++) {
        await sleep(50);
        r.use(USED);
        r.check();
      }
    },
    { ttl: 0.4, longest: 0.3, beyond: 'stop' },
  );
  await assert.rejects(stopped, HoldExpired);
  const stalled = t.wallet.request(
    ESTIMATE,
    async (r) => {
      r.use(USED);
      await new Promise((_, reject) =>
        r.signal.addEventListener('abort', () => reject(r.signal.reason)),
      );
    },
    { ttl: 0.3, extend: false, beyond: 'stop' },
  );
  const alive = setTimeout(() => undefined, 5000);
  await assert.rejects(stalled, HoldExpired);
  clearTimeout(alive);
  // All are booked: the provider was paid.
  assert.deepEqual(await t.ledger.charges(), [COST, COST, COST]);
  assert.equal(await t.ledger.held(), 0);
});
