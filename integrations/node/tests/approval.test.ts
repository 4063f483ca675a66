/** Holds that wait for approval: no request of theirs reaches the provider. */

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createOpenAI } from '@ai-sdk/openai';
import { generateText, wrapLanguageModel } from 'ai';
import { Hono } from 'hono';
import OpenAI from 'openai';
import { walletMiddleware as aiMiddleware } from '../src/ai/index.js';
import { walletMiddleware } from '../src/http/hono.js';
import {
  ApprovalRequired,
  HoldNotOpen,
  Spool,
  type Wallet,
  WalletUnreachable,
  wrap,
} from '../src/index.js';
import { mocked } from './mock.js';
import { eventually, fixture } from './support.js';

const ESTIMATE = { model: 'gpt-4o', input_tokens: 1000, output_tokens: 4000 };
const USED = { input_tokens: 1000, output_tokens: 1500 };
const WAIT = { approval: 'wait', poll: 0.05 } as const;
const t = fixture('approval');
const mock = mocked();
const messages = [{ role: 'user' as const, content: 'Hello' }];
const ask = { model: 'gpt-4o', messages, max_tokens: 2000 };
const keyed = (key: string) => ({ headers: { 'Idempotency-Key': key } });

beforeEach(async () => {
  // A request of more than 0.01 USD has to be approved.
  const sql = "SELECT wallet.set_limit($1, 0.01, 'request', mode => 'approve')";
  await t.pool.query(sql, [t.name]);
});

const client = (options = {}) =>
  wrap(new OpenAI({ baseURL: `${mock.url}/v1`, apiKey: 'x', maxRetries: 0 }), t.wallet, options);

/** The error of a call whose hold waits. */
async function required(work: Promise<unknown>): Promise<ApprovalRequired> {
  const error = await work.then(
    () => null,
    (raised) => raised,
  );
  assert.ok(error instanceof ApprovalRequired, String(error));
  return error;
}

/** The hold that waits, as soon as there is one. */
async function waiting(): Promise<string> {
  let found: string | undefined;
  const sql = "SELECT hold_id FROM wallet.holds WHERE wallet = $1 AND status = 'waiting'";
  await eventually(async () => {
    found = await t.ledger.one(sql, t.name);
    return found !== undefined;
  });
  return found!;
}

const ends = async (): Promise<Date> =>
  await t.ledger.one('SELECT max(expires_at) FROM wallet.holds WHERE wallet = $1', t.name);

test('a wrapped call goes on with its key once it is approved', async () => {
  await required(client().chat.completions.create(ask, keyed('k')));
  const error = await required(client().chat.completions.create(ask, keyed('k')));
  assert.deepEqual([error.holdId, error.idempotencyKey], [await waiting(), 'k']);
  assert.equal(Number(error.amount), await t.ledger.held());
  assert.deepEqual([error.expiresAt.getTime()], [(await ends()).getTime()]);
  assert.match(error.message, new RegExp(error.holdId));
  assert.deepEqual([mock.log.length, await t.ledger.holds()], [0, ['waiting']]);

  const hold = await t.wallet.approveHold(error.holdId, { actor: 'carol' });
  assert.deepEqual([hold.status, hold.amount], ['open', error.amount]);
  await client().chat.completions.create(ask, keyed('k'));
  await assert.rejects(client().chat.completions.create(ask, keyed('k')), HoldNotOpen);
  assert.deepEqual([mock.log.length, await t.ledger.holds()], [1, ['settled']]);
  assert.equal((await t.ledger.charges()).length, 1);
});

test('of many repetitions one reaches the provider', async () => {
  const error = await required(client().chat.completions.create(ask, keyed('k')));
  await t.wallet.approveHold(error.holdId);
  const before = await ends();
  const calls = Array.from({ length: 8 }, () => client().chat.completions.create(ask, keyed('k')));
  const outcomes = await Promise.allSettled(calls);
  const refused = outcomes.filter((one) => one.status === 'rejected');
  assert.equal(refused.length, 7);
  for (const { reason } of refused) assert.ok(reason instanceof HoldNotOpen);
  assert.deepEqual([mock.log.length, await t.ledger.holds()], [1, ['settled']]);
  assert.ok((await ends()) > before); // it has its whole time again
});

test('a job that died goes on with the hold that it took', async () => {
  const { holdId } = await required(t.wallet.newRequest(ESTIMATE, { idempotencyKey: 'k' }).open());
  await t.wallet.approveHold(holdId);
  await t.wallet.newRequest(ESTIMATE, { idempotencyKey: 'k', extend: false }).open();
  await assert.rejects(t.wallet.newRequest(ESTIMATE, { idempotencyKey: 'k' }).open(), HoldNotOpen);
  const again = t.wallet.newRequest(ESTIMATE, { idempotencyKey: 'k', resume: true });
  await (await again.open()).settle(USED);
  assert.deepEqual(await t.ledger.holds(), ['settled']);
});

test('without approval the provider is not called', async () => {
  const short = client({ request: { ttl: 0.3 } });
  const error = await required(short.chat.completions.create(ask, keyed('denied')));
  const denied = await t.wallet.denyHold(error.holdId, { reason: 'not now', actor: 'carol' });
  assert.equal(denied.status, 'voided');
  const voided = { name: 'HoldNotOpen', message: /is voided/ };
  await assert.rejects(short.chat.completions.create(ask, keyed('denied')), voided);
  await required(short.chat.completions.create(ask, keyed('expired')));
  await sleep(500); // no timer keeps it
  const expired = { name: 'HoldNotOpen', message: /is expired/ };
  await assert.rejects(short.chat.completions.create(ask, keyed('expired')), expired);
  assert.deepEqual([mock.log.length, await t.ledger.holds()], [0, ['voided', 'expired']]);
});

test('a request without a key says the one that it got', async () => {
  const request = t.wallet.newRequest(ESTIMATE);
  const { holdId, idempotencyKey } = await required(request.open());
  await request.close();
  assert.deepEqual(await t.ledger.holds(), ['waiting']);
  await t.wallet.approveHold(holdId);
  await t.wallet.request(ESTIMATE, (r) => r.settle(USED), { idempotencyKey });
  // A body that fails releases what was approved.
  const other = await required(t.wallet.newRequest(ESTIMATE).open());
  await t.wallet.approveHold(other.holdId);
  const broken = t.wallet.request(ESTIMATE, () => Promise.reject(new RangeError()), {
    idempotencyKey: other.idempotencyKey,
  });
  await assert.rejects(broken, RangeError);
  assert.deepEqual(await t.ledger.holds(), ['settled', 'voided']);
});

test('a request waits until it is approved', async () => {
  const body = async (r: any) => {
    await sleep(1500); // its timer runs again
    return await r.settle(USED);
  };
  const work = t.wallet.request(ESTIMATE, body, { ...WAIT, ttl: 1 });
  const [holdId, end] = [await waiting(), await ends()];
  await sleep(700);
  assert.deepEqual([await t.ledger.holds(), await ends()], [['waiting'], end]);
  await t.wallet.approveHold(holdId);
  assert.equal((await work).cost, '0.0175');
  assert.deepEqual(await t.ledger.holds(), ['settled']);
});

for (const end of ['voided', 'expired']) {
  test(`waiting ends when the hold is ${end}`, async () => {
    const waits = client({ request: { ...WAIT, ttl: 1 } });
    const call = waits.chat.completions.create(ask, keyed('k'));
    const ended = assert.rejects(call, { name: 'HoldNotOpen', message: new RegExp(`is ${end}`) });
    const holdId = await waiting();
    if (end === 'voided') await t.wallet.denyHold(holdId);
    await ended;
    assert.deepEqual([mock.log.length, await t.ledger.holds()], [0, [end]]);
  });
}

test('who stops waiting releases the hold, and a repetition leaves it', async () => {
  for (const repeated of [false, true]) {
    const key = `k-${repeated}`;
    if (repeated) await required(client().chat.completions.create(ask, keyed(key)));
    const signal = AbortSignal.timeout(300);
    const call = client({ request: WAIT }).chat.completions.create(ask, { ...keyed(key), signal });
    await assert.rejects(call);
  }
  assert.deepEqual([mock.log.length, await t.ledger.holds()], [0, ['voided', 'waiting']]);
});

for (const answers of [true, false]) {
  test(`a hold that cannot be looked at is not used (${answers})`, async () => {
    const directory = await mkdtemp(join(tmpdir(), 'pg-wallet-'));
    const wallet = t.with({ fail: 'open', spool: new Spool(join(directory, 'spool')) });
    const run = wallet.run.bind(wallet);
    let failures = 0;
    (wallet as { run: Wallet['run'] }).run = async (statement, ...more) => {
      if (statement.function === 'holds' && (failures < 3 || !answers)) {
        failures += 1;
        throw new WalletUnreachable('gone');
      }
      return await run(statement, ...more);
    };
    const request = wallet.newRequest(ESTIMATE, { ...WAIT, ttl: answers ? 2 : 0.3 });
    const opening = request.open();
    const ended = answers ? opening : assert.rejects(opening, WalletUnreachable);
    if (answers) await t.wallet.approveHold(await waiting());
    await ended;
    assert.equal(request.offline, false);
    if (answers) await request.settle(USED);
    else assert.ok(failures > 1);
    await rm(directory, { recursive: true });
  });
}

test('the middleware answers 403 with the hold', async () => {
  let reached = 0;
  const app = new Hono();
  app.use(walletMiddleware(() => ({ wallet: t.wallet, estimate: ESTIMATE, key: 'k' })));
  app.get('/', async (c) => {
    reached += 1;
    await (c as any).var.wallet.settle(USED);
    return c.text('x');
  });
  const answer = await app.request('/');
  const { error } = (await answer.json()) as any;
  assert.deepEqual([answer.status, error.code, reached], [403, 'approval_required', 0]);
  assert.equal(error.hold_id, await waiting());
  await t.wallet.approveHold(error.hold_id);
  assert.equal((await app.request('/')).status, 200);
  assert.deepEqual([reached, await t.ledger.holds()], [1, ['settled']]);
});

test('the AI SDK does not call the model', async () => {
  const provider = createOpenAI({ baseURL: `${mock.url}/v1`, apiKey: 'x' });
  const model = wrapLanguageModel({
    model: provider.chat('gpt-4o'),
    middleware: aiMiddleware(t.wallet),
  });
  const given = { model, prompt: 'Hello', maxOutputTokens: 2000 };
  await assert.rejects(generateText(given), ApprovalRequired);
  assert.deepEqual([mock.log.length, await t.ledger.holds()], [0, ['waiting']]);
});
