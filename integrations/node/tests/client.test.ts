/** The calls of a wallet, one by one. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import pg from 'pg';
import { BY_SQLSTATE, resetsAt } from '../src/errors.js';
import * as walleting from '../src/index.js';
import { Attempts, RETRY } from '../src/retry.js';
import { eventually, fixture, recorder } from './support.js';

const USAGE = { model: 'gpt-4o', input_tokens: 1000, output_tokens: 450 };
const t = fixture('client');

test('a charge is exact and says how it came about', async () => {
  const charge = await t.wallet.charge(USAGE);
  assert.equal(charge.cost, '0.007');
  assert.equal(charge.balance, '99.993');
  assert.deepEqual([charge.model, charge.totalTokens, charge.currency], ['gpt-4o', 1450n, 'USD']);
  assert.deepEqual(
    charge.lines.map((line) => [line.meter, line.quantity, line.amount]),
    [
      ['input_tokens', '1000', '0.0025'],
      ['output_tokens', '450', '0.0045'],
    ],
  );
  assert.deepEqual(charge.headers(), await t.wallet.usageHeaders(charge.entryId!));
  assert.equal(JSON.parse(JSON.stringify(charge)).totalTokens, 1450);
  assert.throws(() => Object.assign(charge, { cost: '0' }), TypeError);
});

test('amounts keep all their digits and are never floats', async () => {
  // A driver that makes floats of decimals has no say.
  const parsers = {
    getTypeParser: (oid: number) => (text: string) =>
      oid === 1700 ? Number.parseFloat(text) : text,
  };
  const pool = new pg.Pool({ database: t.database, types: parsers as any });
  const wallet = new walleting.Wallet(pool, t.name);
  const tiny = await wallet.charge('0.000000000001');
  assert.equal(tiny.cost, '0.000000000001');
  assert.equal(tiny.balance, '99.999999999999');
  assert.equal((await wallet.charge(3n)).cost, '3.00');
  const usage = { model: 'whisper-1', audio_seconds: walleting.decimal('12.3456789') };
  assert.equal((await wallet.priceUsage(usage)).lines[0]!.quantity, '12.3456789');
  const many = { model: 'gpt-4o', input_tokens: 999_999_999_999n };
  assert.equal((await wallet.priceUsage(many)).totalTokens, 999_999_999_999n);
  await assert.rejects(wallet.charge(0.1 as any), TypeError);
  await assert.rejects(wallet.charge({ model: 'gpt-4o', input_tokens: Number.NaN }), TypeError);
  await pool.end();
});

test('the same key books once', async () => {
  const first = await t.wallet.charge('1', { idempotencyKey: 'k' });
  const again = await t.wallet.charge('1', { idempotencyKey: 'k' });
  assert.deepEqual([first.replayed, again.replayed], [false, true]);
  assert.equal(first.entryId, again.entryId);
  await assert.rejects(
    t.wallet.charge('2', { idempotencyKey: 'k' }),
    walleting.IdempotencyConflict,
  );
  assert.deepEqual(await t.ledger.charges(), ['1']);
});

test('a hold is settled, extended and voided', async () => {
  const hold = await t.wallet.hold(USAGE, { ttl: 60 });
  assert.deepEqual([hold.amount, hold.status, hold.replayed], ['0.007', 'open', false]);
  assert.ok(Math.abs(hold.expiresAt.getTime() - Date.now() - 60_000) < 5000);
  const longer = await t.wallet.extend(hold.holdId, 3600);
  assert.ok(longer.expiresAt.getTime() > hold.expiresAt.getTime() + 3_000_000);
  const settled = await t.wallet.settle(hold.holdId, { input_tokens: 1000, output_tokens: 100 });
  assert.equal(settled.cost, '0.0035');
  const other = await t.wallet.hold('2');
  assert.equal((await t.wallet.void(other.holdId, { reason: 'not needed' })).status, 'voided');
  assert.deepEqual(await t.ledger.holds(), ['settled', 'voided']);
});

test("the wallet's own context is used and can be changed", async () => {
  const wallet = t.with({ userId: 'alice', team: 'research', tags: { app: 'chat' } });
  await wallet.charge('1');
  await wallet.bind({ userId: 'bob' }).charge('1', { team: 'sales' });
  const rows = await t.ledger.column(
    `SELECT concat_ws(' ', user_id, team, tags ->> 'app') FROM wallet.entries
      WHERE wallet = $1 AND kind = 'charge' ORDER BY seq`,
    t.name,
  );
  assert.deepEqual(rows, ['alice research chat', 'bob sales chat']);
});

test('every option reaches its function', async () => {
  const common = { actor: 'job', metadata: { n: 1n } };
  const context = {
    ...{ userId: 'u', team: 't', service: 's', tags: { a: 'b' }, clientIp: '10.0.0.1' },
    ...{ device: 'd', model: 'gpt-4o', region: 'eu', serviceTier: 'flex' },
    ...{ eventAt: new Date('2026-01-02T03:04:05.678Z'), costFrom: 'prices' as const },
  };
  const tokens = { input_tokens: 1000 };
  await t.wallet.charge(tokens, { ...common, ...context, idempotencyKey: 'c' });
  const { costFrom, ...held } = context;
  const options = {
    ...common,
    ...held,
    ttl: 60.5,
    allowPartial: true,
    idempotencyKey: 'h',
    onExpiry: 'charge' as const,
  };
  const hold = await t.wallet.hold({ ...tokens, output_tokens: 10 }, options);
  assert.equal(hold.affordableTokens, 10n);
  await t.wallet.extend(hold.holdId, 900.5, { ...common, idempotencyKey: 'e' });
  const ending = { ...common, final: false, over: 'cap' as const, costFrom };
  await t.wallet.settle(hold.holdId, tokens, { ...ending, eventAt: context.eventAt });
  await t.wallet.void(hold.holdId, { ...common, reason: 'done', idempotencyKey: 'v' });
  await t.wallet.checkLimits(undefined, context);
  const { model, region, serviceTier } = context;
  const at = '2026-01-02T03:04:05Z';
  const price = { model, region, serviceTier, at, costFrom, currency: 'USD' };
  assert.equal((await t.wallet.priceUsage(tokens, price)).cost, '0.0025');
  const sql = `SELECT concat_ws(' ', user_id, team, service, tags, model, actor, metadata, event_at AT TIME ZONE 'UTC')
                 FROM wallet.entries WHERE wallet = $1 AND kind = 'charge' ORDER BY seq`;
  const said = 'u t s {"a": "b"} gpt-4o job {"n": 1} 2026-01-02 03:04:05.678';
  assert.deepEqual(await t.ledger.column(sql, t.name), [said, said]);
});

test('a hold may be refused where a charge is not', async () => {
  await t.ledger.one("SELECT wallet.set_limit($1, 1, 'open', metric => 'requests')", t.name);
  await t.ledger.one("SELECT wallet.set_limit($1, 5, 'request')", t.name);
  const { expiresAt } = await t.wallet.hold('1');
  assert.ok((await t.wallet.checkLimits('5')).every((check) => check.allowed));
  const checks = await t.wallet.checkLimits('5', { forHold: true });
  assert.deepEqual([checks[0]!.allowed, Number(checks[0]!.maxPerRequest)], [true, 5]);
  const { metric, reason, maxPerRequest } = checks.find((one) => one.period === 'open')!;
  assert.deepEqual([metric, reason, maxPerRequest], ['requests', 'limit_exceeded', null]);
  await assert.rejects(t.wallet.hold('1'), (error) => {
    assert.ok(error instanceof walleting.LimitExceeded);
    assert.match(error.message, /limit of requests in open holds exceeded/);
    // Enough is free when the hold ends; DETAIL has whole seconds.
    assert.ok(Math.abs(error.resetsAt!.getTime() - expiresAt.getTime()) <= 1000);
    return true;
  });
});

test('the first model that may be used is chosen', async () => {
  const sql = "SELECT wallet.set_limit($1, 0.01, 'day', scope => 'model', subject => 'gpt-4o')";
  await t.ledger.one(sql, t.name);
  const usage = { input_tokens: 1000, output_tokens: 4000 };
  const models = ['unheard', 'gpt-4o', 'gpt-4o-mini'];
  const found = await t.wallet.chooseModel(usage, models, { userId: 'bob' });
  assert.deepEqual(
    found.map(({ model, cost, allowed, reason, chosen }) => [model, cost, allowed, reason, chosen]),
    [
      ['unheard', null, false, 'no_price', false],
      ['gpt-4o', '0.0425', false, 'limit_exceeded', false],
      ['gpt-4o-mini', '0.00255', true, null, true],
    ],
  );
  assert.equal(found[2]!.remaining, '100.00');
  assert.equal((await t.wallet.hold(usage, { model: 'gpt-4o-mini' })).amount, '0.00255');
});

test('limits and the balance say what they would say', async () => {
  await t.ledger.one("SELECT wallet.set_limit($1, 5, 'day')", t.name);
  const [balance, limit] = await t.wallet.checkLimits('6');
  assert.deepEqual(
    [balance!.scope, balance!.allowed, balance!.remaining],
    ['balance', true, '100.00'],
  );
  assert.deepEqual(
    [limit!.period, limit!.allowed, limit!.reason],
    ['day', false, 'limit_exceeded'],
  );
  assert.equal(limit!.max, '5.00');
  await t.wallet.charge('4');
  await assert.rejects(t.wallet.charge('2'), (error) => {
    assert.ok(error instanceof walleting.LimitExceeded);
    assert.equal(error.limitId, limit!.limitId);
    assert.deepEqual(error.resetsAt, limit!.resetsAt);
    assert.ok(error.detail && error.hint);
    const seconds = error.retryAfter()!;
    assert.ok(seconds > 0 && seconds <= 86_400);
    return true;
  });
});

test('the time of a reset is read in its zone', () => {
  const at = (time: string) => resetsAt(`… 0.00 remains. It resets at ${time}.`)?.toISOString();
  assert.equal(at('2026-12-01 00:00:00 Europe/Berlin'), '2026-11-30T23:00:00.000Z');
  assert.equal(at('2026-12-01 00:00:00 UTC'), '2026-12-01T00:00:00.000Z');
  assert.equal(at('2026-07-01 00:00:00 America/St_Johns'), '2026-07-01T02:30:00.000Z');
  // The hour that comes twice: the later one.
  assert.equal(at('2026-10-25 02:30:00 Europe/Berlin'), '2026-10-25T01:30:00.000Z');
  assert.equal(at('2026-10-25 02:30:00 Nowhere/City'), undefined);
  assert.equal(resetsAt('… It never resets.'), null);
  assert.equal(resetsAt(null), null);
});

test('every SQLSTATE of the wallet has a class', async () => {
  const codes = await t.ledger.column('SELECT sqlstate FROM wallet.error_codes()');
  const named = codes.filter((code) => code.startsWith('WL'));
  assert.ok(named.length >= 15);
  for (const code of named) assert.ok(BY_SQLSTATE.has(code), code);
});

test('errors are classes with detail and hint', async () => {
  const { wallet } = t;
  const nil = '00000000-0000-0000-0000-000000000000';
  const cases: [typeof walleting.WalletError, string, () => Promise<unknown>][] = [
    [walleting.InsufficientFunds, 'WL001', () => wallet.charge('1000')],
    [walleting.WalletNotFound, 'WL003', () => wallet.bind({ wallet: 'none' }).charge('1')],
    [walleting.WalletNotFound, 'WL003', () => wallet.bind({ wallet: 'none' }).balance()],
    [walleting.PriceNotFound, 'WL005', () => wallet.charge({ model: 'x', input_tokens: 1 })],
    [walleting.InvalidUsage, 'WL007', () => wallet.charge({ model: 'gpt-4o' })],
    [walleting.InvalidAmount, 'WL012', () => wallet.charge('-1')],
    [walleting.CardDataRefused, 'WL011', () => wallet.charge('1', { actor: '4111111111111111' })],
    [walleting.NotPermitted, 'WL009', () => wallet.charge('1', { key: 'no-such-key' })],
    [walleting.NotFound, '42704', () => wallet.void(nil)],
  ];
  for (const [kind, sqlstate, call] of cases) {
    await assert.rejects(call, (error) => {
      assert.ok(error instanceof kind, sqlstate);
      assert.ok(error instanceof walleting.WalletError);
      assert.equal(error.sqlstate, sqlstate);
      assert.equal(error.name, kind.name);
      return true;
    });
  }
  await assert.rejects(wallet.charge('1000'), { detail: /asks for 1000/, hint: /Add 900/ });
});

test("a charge in the caller's transaction is rolled back with it", async () => {
  const client = await t.pool.connect();
  await client.query('BEGIN');
  await t.wallet.charge('3', { client });
  await client.query('ROLLBACK');
  await client.query('BEGIN');
  await t.wallet.charge('4', { client });
  assert.equal((await t.wallet.balance({ client })).balance, '96.00');
  await client.query('COMMIT');
  client.release();
  assert.deepEqual(await t.ledger.charges(), ['4']);
});

test('a conflict is run again with the same key', async () => {
  // Under SERIALIZABLE any two charges of one wallet may conflict.
  const options = '-c default_transaction_isolation=serializable';
  const pool = new pg.Pool({ database: t.database, max: 8, options });
  const logger = recorder();
  const wallet = new walleting.Wallet(pool, t.name, { retry: { attempts: 200 }, logger });
  const work = async () => {
    for (let n = 0; n < 20; n++) await wallet.charge('0.01');
  };
  await Promise.all(Array.from({ length: 8 }, work));
  assert.ok(logger.lines.some((line) => line.event === 'retry' && line.sqlstate === '40001'));
  assert.equal((await t.ledger.charges()).length, 160);
  assert.equal(await t.ledger.balance(), '98.40');
  await pool.end();
});

test('retries are bounded and jittered', () => {
  const attempts = new Attempts({ ...RETRY, attempts: 5, cap: 0.02 });
  const conflict = new walleting.TransactionConflict('again');
  const pauses = Array.from({ length: 5 }, () => attempts.pauseAfter(conflict));
  assert.equal(pauses[4], null);
  for (const pause of pauses.slice(0, 4)) assert.ok(pause! >= 0 && pause! <= 0.02);
  assert.equal(new Attempts(RETRY).pauseAfter(new walleting.InsufficientFunds('no')), null);
});

test('a connection that breaks is replaced, and the process lives', async () => {
  const pool = new pg.Pool({ database: t.database, max: 4 });
  const wallet = new walleting.Wallet(pool, t.name, { retry: { reconnects: 20 } });
  await Promise.all([wallet.balance(), wallet.balance(), wallet.balance()]);
  const kill = `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()`;
  const admin = new pg.Client({ database: t.database });
  t.pool.on('error', () => undefined);
  await admin.connect();
  const slow = wallet.run({
    function: 'sleep',
    arguments: {},
    sql: "SELECT pg_sleep(CASE WHEN count(*) = 0 THEN 0 ELSE 30 END) FROM wallet.entries WHERE wallet = 'x'",
    parameters: [],
    read: () => true,
  });
  await admin.query(kill);
  assert.ok(await slow);
  assert.equal((await wallet.charge('1')).cost, '1.00');
  await admin.end();
  assert.deepEqual(await t.ledger.charges(), ['1']);
  await eventually(() => pool.idleCount > 0);
  await pool.end();
});

test('a connection to a standby is dropped', async () => {
  // As after a failover: the session that can only read says so with 25006.
  const pool = new pg.Pool({ database: t.database, max: 1 });
  await pool.query('SET default_transaction_read_only = on');
  assert.equal((await new walleting.Wallet(pool, t.name).charge('1')).cost, '1.00');
  assert.deepEqual(await t.ledger.charges(), ['1']);
  await pool.end();
});

test('a broken connection during a call is an error of the call when attempts are over', async () => {
  const pool = new pg.Pool({ database: t.database, max: 2 });
  const wallet = new walleting.Wallet(pool, t.name, { retry: { reconnects: 0 } });
  const suicide = { function: 'x', arguments: {}, parameters: [], read: () => 0 };
  const sql = 'SELECT pg_terminate_backend(pg_backend_pid())';
  await assert.rejects(wallet.run({ ...suicide, sql }), (error) => {
    assert.ok(error instanceof walleting.WalletUnreachable);
    assert.equal(error.sqlstate, '57P01');
    return true;
  });
  await pool.end();
  await assert.rejects(wallet.charge('1'), walleting.WalletUnreachable);
});

test('a call waits no longer for a connection than it may', async () => {
  const pool = new pg.Pool({ database: t.database, max: 1 });
  const wallet = new walleting.Wallet(pool, t.name, { timeout: 0.1 });
  const taken = await pool.connect();
  await assert.rejects(wallet.charge('1'), { name: 'WalletUnreachable', sent: false });
  taken.release();
  assert.equal((await wallet.charge('1')).cost, '1.00');
  await pool.end();
});

test('a call is one round trip', async () => {
  const pool = new pg.Pool({ database: t.database, max: 1 });
  const wallet = new walleting.Wallet(pool, t.name);
  const client = await pool.connect();
  let rounds = 0;
  (client as any).connection.on('readyForQuery', () => {
    rounds += 1;
  });
  client.release();
  await wallet.charge('1');
  assert.equal(rounds, 1);
  await wallet.request('1', (r) => r.settle('1'));
  assert.equal(rounds, 3);
  await pool.end();
});

test('logs are structured and keep secrets', async () => {
  const logger = recorder();
  const wallet = t.with({ logger });
  await wallet.charge('1');
  const secret = wallet.bind({ key: 'wk-secret' });
  await assert.rejects(secret.charge('1'), walleting.NotPermitted);
  assert.deepEqual(
    logger.lines.map((line) => line.event),
    ['charge', 'refused'],
  );
  assert.equal(logger.lines[0]!.cost, '1.00');
  assert.equal(logger.lines[1]!.sqlstate, 'WL009');
  assert.ok(!inspect([logger.lines, secret], { depth: 9 }).includes('wk-secret'));
  assert.ok(!JSON.stringify(secret.attribution).includes('wk-secret'));
});

test('errors of others stay as they are', async () => {
  const client = await t.pool.connect();
  await assert.rejects(t.wallet.settle('not a uuid', '1', { client }), { code: '22P02' });
  client.release();
});
