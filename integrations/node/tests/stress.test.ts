/**
 * Many calls at once, clients that leave, processes that are killed.
 *
 * The log of the mock provider is what must have been billed. WALLET_TEST_SCALE makes it longer.
 */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createOpenAI } from '@ai-sdk/openai';
import Anthropic from '@anthropic-ai/sdk';
import { calcPrice } from '@pydantic/genai-prices';
import { generateText, streamText, wrapLanguageModel } from 'ai';
import OpenAI from 'openai';
import pg from 'pg';
import { walletMiddleware } from '../src/ai/index.js';
import { InsufficientFunds, Wallet, WalletUnreachable, wrap } from '../src/index.js';
import { type Logged, mocked, price } from './mock.js';
import { eventually, fixture, type Ledger, recorder, trimmed } from './support.js';

const SCALE = Number(process.env.WALLET_TEST_SCALE ?? 1);
const SEED = Number(process.env.WALLET_SEED ?? Math.floor(Math.random() * 1e9));
const t = fixture('stress');
const mock = mocked();

/** Random numbers that a seed repeats (mulberry32). */
function dice(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What a call of the log costs; a calculator that nobody here wrote, in floats, agrees. */
function billed(entry: Logged): string {
  const exact = price(entry);
  const usage = { input_tokens: entry.inputTokens!, output_tokens: entry.outputTokens };
  const other = calcPrice(usage, 'gpt-4o', { providerId: 'openai' })!;
  assert.equal(other.total_price.toFixed(10).replace(/0+$/, ''), exact);
  return exact;
}

/** Cost, and whether the provider has reported the usage, by the key of the call. */
async function booked(ledger: Ledger): Promise<Map<string, { cost: string; exact: boolean }>> {
  const sql = `SELECT idempotency_key AS key, (-amount)::text AS cost,
                      metadata ->> 'usage' IS NULL AS exact
                 FROM wallet.entries WHERE wallet = $1 AND kind = 'charge'`;
  const { rows } = await ledger.db.query(sql, [ledger.name]);
  const found = rows.map(
    (row) => [row.key, { cost: trimmed(row.cost), exact: row.exact }] as const,
  );
  assert.equal(new Map(found).size, rows.length);
  return new Map(found);
}

/** The balance is what was funded less what was booked, and the wallet's own proof holds. */
async function verified(ledger: Ledger): Promise<void> {
  const sum = `SELECT balance = 100 + (SELECT coalesce(sum(amount), 0) FROM wallet.entries
                                        WHERE wallet = $1 AND kind = 'charge')
                 FROM wallet.balances WHERE wallet = $1`;
  assert.equal(await ledger.one(sum, ledger.name), true);
  const sql = 'SELECT bool_and(ok) FROM wallet.verify($1)';
  assert.equal(await ledger.one(sql, ledger.name), true);
}

const FATES = ['whole', 'whole', 'stream', 'stream', 'left', 'broken', 'aborted'] as const;

test('the ledger is the log of the provider', { timeout: 1_800_000 }, async () => {
  console.log(`WALLET_SEED=${SEED}`);
  const roll = dice(SEED);
  const count = Math.ceil(1000 * SCALE);
  await t.ledger.one('SELECT wallet.set_lanes($1, 8)', t.name);
  const plain = new OpenAI({ baseURL: `${mock.url}/v1`, apiKey: 'x', maxRetries: 0 });
  const client = wrap(plain, t.wallet);
  const fates = Array.from({ length: count }, () => FATES[Math.floor(roll() * FATES.length)]!);

  const call = async (number: number) => {
    const [key, fate, when] = [`call-${number}`, fates[number], roll()];
    const content = `Tell me about sea number ${number}, please.`;
    const ask = {
      model: 'gpt-4o',
      max_tokens: 200,
      messages: [{ role: 'user' as const, content }],
    };
    const headers = { 'Idempotency-Key': key, 'x-test-id': key };
    if (fate === 'whole') return void (await client.chat.completions.create(ask, { headers }));
    if (fate === 'aborted') {
      const signal = AbortSignal.timeout(Math.floor(when * 60));
      await client.chat.completions.create(ask, { headers, signal }).catch(() => undefined);
      return;
    }
    const signal = fate === 'broken' ? AbortSignal.timeout(Math.floor(10 + when * 60)) : undefined;
    const streaming = { ...ask, stream: true as const };
    try {
      let left = fate === 'left' ? Math.floor(1 + when * 5) : Number.POSITIVE_INFINITY;
      for await (const _ of await client.chat.completions.create(streaming, { headers, signal })) {
        if (--left <= 0) break;
      }
    } catch (error) {
      if (fate !== 'broken') throw error;
    }
  };
  for (let start = 0; start < count; start += 40) {
    const numbers = Array.from({ length: Math.min(40, count - start) }, (_, n) => start + n);
    await Promise.all(numbers.map(call));
  }

  await eventually(async () => (await t.ledger.held()) === 0);
  assert.ok(!(await t.ledger.holds()).includes('open'));
  const entries = await booked(t.ledger);
  let exact = 0;
  for (const [number, fate] of fates.entries()) {
    const entry = entries.get(`call-${number}`);
    const logged = mock.of(`call-${number}`);
    assert.ok(logged.length <= 1);
    if (fate === 'whole' || fate === 'stream') {
      // What the provider has billed is booked once, to the last digit.
      assert.deepEqual(entry, { cost: billed(logged[0]!), exact: true });
      exact += 1;
    } else if (fate === 'left') {
      assert.ok(entry && Number(entry.cost) > 0 && Number(entry.cost) < 0.003);
    } else if (entry !== undefined) {
      assert.equal(logged.length, 1);
      if (entry.exact) assert.equal(entry.cost, billed(logged[0]!));
    }
  }
  assert.equal(entries.size, new Set([...entries.keys()]).size);
  assert.ok(exact > count / 4);
  await verified(t.ledger);
  console.log(`${count} calls, ${entries.size} entries, at most ${mock.peak} requests at once`);
});

test('other clients under load book what the provider bills', async () => {
  const count = Math.ceil(60 * SCALE);
  const options = { baseURL: mock.url, apiKey: 'x', maxRetries: 0 };
  const claude = wrap(new Anthropic(options), t.wallet);
  const model = wrapLanguageModel({
    model: createOpenAI({ baseURL: `${mock.url}/v1`, apiKey: 'x' }).chat('gpt-4o'),
    middleware: walletMiddleware(t.wallet),
  });
  const one = async (number: number) => {
    const content = `Tell me about sea number ${number}, please.`;
    const messages = [{ role: 'user' as const, content }];
    const ask = { model: 'claude-sonnet-5', max_tokens: 200, messages };
    if (number % 4 === 0) await claude.messages.create(ask);
    else if (number % 4 === 1) await claude.messages.stream(ask).finalMessage();
    else if (number % 4 === 2) await generateText({ model, prompt: content });
    else await streamText({ model, prompt: content }).consumeStream();
  };
  for (let start = 0; start < count; start += 20) {
    await Promise.all(Array.from({ length: 20 }, (_, n) => one(start + n)));
  }
  const claudes = (entry: Logged) => entry.path.includes('messages');
  const expected = mock
    .of('')
    .map((entry) => (claudes(entry) ? price(entry, 300n, 1500n) : billed(entry)));
  assert.deepEqual((await t.ledger.charges()).sort(), expected.sort());
  assert.ok((await t.ledger.holds()).every((status) => status === 'settled'));
  await verified(t.ledger);
});

test('what the provider bills is booked once while connections break', async () => {
  const folder = await mkdtemp(`${tmpdir()}/pg-wallet-stress-`);
  const pool = new pg.Pool({ database: t.database, max: 8 });
  const logger = recorder();
  const wallet = new Wallet(pool, t.name, { spool: `${folder}/spool`, logger });
  const plain = new OpenAI({ baseURL: `${mock.url}/v1`, apiKey: 'x', maxRetries: 0 });
  const client = wrap(plain, wallet, { request: { ttl: 2, extend: false } });
  const kill = `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.4
                   AND application_name = 'victim'`;
  pool.on('connect', (one) => void one.query("SET application_name = 'victim'").catch(() => 0));
  let running = true;
  const killer = (async () => {
    for (; running; await sleep(5)) await t.pool.query(kill);
  })();
  const roll = dice(SEED);
  const count = Math.ceil(300 * SCALE);
  let unreachable = 0;
  for (let start = 0; start < count; start += 20) {
    const calls = Array.from({ length: 20 }, async (_, n) => {
      const key = `broken-${start + n}`;
      const headers = { 'Idempotency-Key': key, 'x-test-id': key };
      const messages = [{ role: 'user' as const, content: `Tell me about sea ${start + n}.` }];
      const ask = { model: 'gpt-4o', max_tokens: 200, messages };
      try {
        if (roll() < 0.5) await client.chat.completions.create(ask, { headers });
        else {
          for await (const _ of await client.chat.completions.create(
            { ...ask, stream: true },
            { headers },
          ));
        }
      } catch (error) {
        assert.ok(error instanceof WalletUnreachable, String(error));
        unreachable += 1;
      }
    });
    await Promise.all(calls);
  }
  running = false;
  await killer;
  await eventually(async () => (await wallet.flushSpool().catch(() => ({ left: 1 }))).left === 0);
  const entries = await booked(t.ledger);
  for (const logged of mock.log) {
    assert.deepEqual(entries.get(logged.testId), { cost: billed(logged), exact: true });
  }
  assert.equal(entries.size, mock.log.length);
  // Holds whose call never came back, or that could not be released, end by themselves.
  await eventually(async () => (await t.ledger.held()) === 0);
  await verified(t.ledger);
  const events = (name: string) => logger.lines.filter((line) => line.event === name).length;
  assert.ok(events('retry') > 0);
  console.log(
    `${count} calls, ${entries.size} entries, ${unreachable} without a database,`,
    `${events('retry')} made again, ${events('spooled')} spooled`,
  );
  await pool.end();
  await rm(folder, { recursive: true });
});

test('money that is held bounds the requests at the provider', async () => {
  const plain = new OpenAI({ baseURL: `${mock.url}/v1`, apiKey: 'x', maxRetries: 0 });
  const client = wrap(plain, t.wallet);
  mock.fault({ stall: 100, times: 40 });
  const messages = [{ role: 'user' as const, content: 'Hello' }];
  // 20 USD each, and the wallet has 100: four fit, with the input.
  const ask = { model: 'gpt-4o', messages, max_tokens: 2_000_000 };
  const calls = Array.from({ length: 40 }, () => client.chat.completions.create(ask));
  const outcomes = await Promise.allSettled(calls);
  const refused = outcomes.filter((one) => one.status === 'rejected');
  for (const { reason } of refused) assert.ok(reason instanceof InsufficientFunds);
  assert.equal((await t.ledger.charges()).length, 40 - refused.length);
  assert.equal(mock.peak, 4);
  await verified(t.ledger);
});

test('processes that are killed book at most once and leave no hold', async () => {
  const roll = dice(SEED);
  const worker = fileURLToPath(new URL('worker.ts', import.meta.url));
  for (let number = 0; number < Math.ceil(6 * SCALE); number++) {
    const argv = ['--import', 'tsx', worker, t.database, t.name, mock.url, `worker${number}`];
    const child: ChildProcess = spawn(process.execPath, argv, {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout!, 'data');
    await sleep(300 + roll() * 900);
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  // Calls that were under way: their holds end by themselves.
  await eventually(async () => (await t.ledger.held()) === 0);
  const entries = await booked(t.ledger);
  assert.ok(entries.size > 0);
  for (const [key, { cost, exact }] of entries) {
    const logged = mock.of(key);
    assert.deepEqual([logged.length, exact, cost], [1, true, billed(logged[0]!)]);
  }
  await verified(t.ledger);
});
