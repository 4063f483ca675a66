/** A limit on open holds bounds what the provider serves at a time, by the provider's own count. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import OpenAI from 'openai';
import { LimitExceeded, wrap } from '../src/index.js';
import { mocked } from './mock.js';
import { eventually, fixture } from './support.js';

const PLACES = 4;
const CLIENTS = 60;
const TTL = 3;
const t = fixture('parallel');
const mock = mocked();
const messages = [{ role: 'user' as const, content: 'Tell me about the sea.' }];
const ask = { model: 'gpt-4o', max_tokens: 200, messages };

/** Asks until the limit has a place; how often it had none. */
async function admitted(client: OpenAI, key: string, signal?: AbortSignal): Promise<number> {
  for (let refused = 0; ; refused++) {
    try {
      await client.chat.completions.create(ask, { headers: { 'x-test-id': key }, signal });
      return refused;
    } catch (error) {
      if (!(error instanceof LimitExceeded)) throw error;
      assert.match(error.message, /limit of requests in open holds exceeded/);
    }
    await sleep(10 + Math.random() * 40, undefined, { signal });
  }
}

test('the provider never serves more than the limit', async () => {
  const sql = "SELECT wallet.set_limit($1, $2, 'open', metric => 'requests')";
  await t.pool.query(sql, [t.name, PLACES]);
  mock.fault({ stall: 100, times: 1000 });
  const client = wrap(
    new OpenAI({ baseURL: `${mock.url}/v1`, apiKey: 'x', maxRetries: 0 }),
    t.wallet,
  );
  const leaves = async (key: string) => {
    const controller = new AbortController();
    const call = admitted(client, key, controller.signal);
    const refused = assert.rejects(call, /aborted/);
    await eventually(() => mock.of(key).length > 0);
    controller.abort();
    await refused;
    return 0;
  };
  const dies = async (key: string) => {
    const victim = fileURLToPath(new URL('victim.ts', import.meta.url));
    const given = [t.database, t.name, mock.url, key, String(TTL)];
    const child = spawn(process.execPath, ['--import', 'tsx', victim, ...given]);
    await eventually(() => mock.of(key).length > 0);
    child.kill('SIGKILL');
    await once(child, 'exit');
    return 0;
  };
  const lives = (CLIENTS * 9) / 10;
  const calls = Array.from({ length: lives }, (_, n) => admitted(client, `lives-${n}`));
  for (let n = 0; n < 4; n++) calls.push(leaves(`leaves-${n}`));
  for (let n = 0; n < 2; n++) calls.push(dies(`dies-${n}`));
  assert.equal(calls.length, CLIENTS);
  const refused = await Promise.all(calls);
  assert.ok(refused.reduce((sum, one) => sum + one, 0) > 0);
  assert.equal(mock.peak, PLACES);
  assert.equal((await t.ledger.charges()).length, lives);

  // The holds of those that were killed end with their time, and nothing else has to run.
  await sleep(TTL * 1000);
  const checks = await t.wallet.checkLimits('1', { forHold: true });
  const open = checks.filter((one) => one.period === 'open');
  assert.deepEqual(
    open.map((one) => [Number(one.remaining), one.allowed]),
    [[PLACES, true]],
  );
  assert.equal(await t.ledger.held(), 0);
  mock.peak = 0;
  const again = Array.from({ length: PLACES }, (_, n) => admitted(client, `again-${n}`));
  assert.deepEqual(await Promise.all(again), Array(PLACES).fill(0));
  assert.equal(mock.peak, PLACES);
  const ok = await t.ledger.one('SELECT bool_and(ok) FROM wallet.verify($1)', t.name);
  assert.equal(ok, true);
});
