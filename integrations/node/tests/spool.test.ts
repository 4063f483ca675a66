/** A database that does not answer: refused, or spooled and booked once. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { statSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import OpenAI from 'openai';
import pg from 'pg';
import { Calls } from '../src/calls.js';
import {
  decimal,
  IdempotencyConflict,
  receipt,
  Spool,
  Wallet,
  type WalletOptions,
  WalletUnreachable,
  wrap,
} from '../src/index.js';
import { eventually, fixture, recorder } from './support.js';

const ESTIMATE = { model: 'gpt-4o', input_tokens: 1000, output_tokens: 4000 };
const USED = { input_tokens: 1000, output_tokens: 1500 };
const COST = '0.0175';
const t = fixture('spool');

/** A TCP proxy in front of the server that can be shut, also in the middle of a call. */
class Gate {
  open = true;
  dropAnswers = false;
  #pairs = new Set<[net.Socket, net.Socket]>();
  readonly #server = net.createServer((client) => this.#accept(client));

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  #accept(client: net.Socket): void {
    client.on('error', () => undefined);
    if (!this.open) return void client.destroy();
    const server = net.connect(`${process.env.PGHOST}/.s.PGSQL.${process.env.PGPORT}`);
    server.on('error', () => undefined);
    const pair: [net.Socket, net.Socket] = [client, server];
    this.#pairs.add(pair);
    client.on('data', (data) => server.write(data));
    server.on('data', (data) => {
      // The server has committed; the client does not get to know.
      if (this.dropAnswers) this.shut();
      else client.write(data);
    });
    for (const [one, other] of [pair, [server, client]] as const) {
      one.on('close', () => {
        other.destroy();
        this.#pairs.delete(pair);
      });
    }
  }

  shut(): void {
    this.open = false;
    this.dropAnswers = false;
    for (const pair of this.#pairs) for (const one of pair) one.destroy();
    this.#pairs.clear();
  }

  stop(): void {
    this.shut();
    this.#server.close();
  }
}

const gate = new Gate();
let far: pg.Pool;
let folder: string;
const wallet = (options: WalletOptions = {}) => new Wallet(far, t.name, options);
const path = () => `${folder}/spool`;

before(async () => await gate.start());
after(() => gate.stop());
beforeEach(async () => {
  folder = await mkdtemp(`${tmpdir()}/pg-wallet-spool-`);
  gate.open = true;
  const { port } = gate;
  far = new pg.Pool({ database: t.database, host: '127.0.0.1', port, max: 4 });
});
afterEach(async () => {
  gate.shut();
  await far.end();
  await rm(folder, { recursive: true });
});

/** Whether the spool is empty after a pass. */
async function flushed(wallet: Wallet): Promise<boolean> {
  try {
    return (await wallet.flushSpool()).left === 0;
  } catch (error) {
    assert.ok(error instanceof WalletUnreachable);
    return false;
  }
}

test('closed refuses', async () => {
  await wallet().charge('1');
  gate.shut();
  await assert.rejects(wallet().charge('1'), WalletUnreachable);
  const work = wallet().request(ESTIMATE, () => assert.fail('not reached'));
  await assert.rejects(work, WalletUnreachable);
});

test('open spools and books once later', async () => {
  const logger = recorder();
  const open = wallet({ userId: 'alice', fail: 'open', spool: path(), logger });
  gate.shut();
  const charge = await open.charge('1', { idempotencyKey: 'a' });
  assert.deepEqual([charge.spooled, charge.cost, charge.headers()], [true, null, {}]);
  await open.request(
    { ...ESTIMATE, quality: 'hd' },
    async (r) => {
      assert.ok(r.offline);
      assert.ok((await r.settle(USED)).spooled);
    },
    { model: 'gpt-4o', tags: { app: 'chat' } },
  );
  await open.request(ESTIMATE, () => undefined); // nothing was used
  assert.equal(open.spool!.length, 2);
  assert.ok(logger.lines.some((line) => line.event === 'spooled' && line.level === 'warn'));
  await assert.rejects(open.flushSpool(), WalletUnreachable);
  gate.open = true;
  await eventually(() => flushed(open));
  assert.deepEqual(await t.ledger.charges(), ['1', COST]);
  const who = `SELECT user_id FROM wallet.entries WHERE wallet = $1 AND tags ->> 'app' = 'chat'`;
  assert.equal(await t.ledger.one(who, t.name), 'alice');
  assert.deepEqual(await open.flushSpool(), { booked: 0, refused: 0, left: 0 });
});

test('a wrapped client goes on without the database', async () => {
  const open = wallet({ fail: 'open', spool: path() });
  const usage = { prompt_tokens: 1000, completion_tokens: 1500, total_tokens: 2500 };
  const answered = async () => Response.json({ object: 'chat.completion', model: 'gpt-4o', usage });
  const client = wrap(new OpenAI({ apiKey: 'x', fetch: answered }), open, { lower: true });
  gate.shut();
  const messages = [{ role: 'user' as const, content: 'Hello' }];
  const answer = await client.chat.completions.create({ model: 'gpt-4o', messages });
  const { charge, cost, headers } = receipt(answer)!;
  assert.deepEqual([charge!.spooled, cost, headers], [true, null, {}]);
  gate.open = true;
  await eventually(() => flushed(open));
  assert.deepEqual(await t.ledger.charges(), [COST]);
});

test('numbers of a spooled usage keep their digits', async () => {
  const open = wallet({ fail: 'open', spool: path() });
  gate.shut();
  const usage = { model: 'whisper-1', audio_seconds: decimal('12345.000001') };
  await open.charge(usage, { tags: { a: '1.10' }, metadata: { n: 1n } });
  gate.open = true;
  await eventually(() => flushed(open));
  const sql = `SELECT usage ->> 'audio_seconds' FROM wallet.entries
                WHERE wallet = $1 AND kind = 'charge'`;
  assert.equal(await t.ledger.one(sql, t.name), '12345.000001');
});

test('a settlement is spooled in both modes and flushed on reconnect', async () => {
  const closed = wallet({ spool: path() });
  await closed.request(ESTIMATE, async (r) => {
    gate.shut();
    assert.ok((await r.settle(USED)).spooled);
  });
  assert.deepEqual(await t.ledger.holds(), ['open']);
  await assert.rejects(closed.charge('1'), WalletUnreachable);
  gate.open = true;
  assert.equal((await closed.charge('1', { idempotencyKey: 'b' })).spooled, false);
  await eventually(() => closed.spool!.length === 0);
  assert.deepEqual((await t.ledger.charges()).sort(), [COST, '1']);
  assert.deepEqual(await t.ledger.holds(), ['settled']);
});

test('an answer that got lost is booked once', async () => {
  for (const reconnects of [0, 1]) {
    gate.open = true;
    const open = wallet({ fail: 'open', spool: path(), retry: { reconnects } });
    await open.balance();
    gate.dropAnswers = true;
    assert.ok((await open.charge('1')).spooled);
    // The server had booked it.
    await eventually(async () => (await t.ledger.charges()).length === reconnects + 1);
    gate.open = true;
    await eventually(() => flushed(open));
  }
  assert.deepEqual(await t.ledger.charges(), ['1', '1']);
});

test('what is refused stays with its error', async () => {
  const open = wallet({ fail: 'open', spool: path() });
  gate.shut();
  await open.charge('1000');
  await open.charge('1');
  gate.open = true;
  await eventually(async () => {
    await flushed(open);
    return (await t.ledger.charges()).length === 1;
  });
  const [row] = open.spool!.rows();
  assert.equal(row!.error, `WL001: insufficient funds in wallet "${t.name}"`);
  assert.equal(open.spool!.waiting(), false);
  await t.ledger.one('SELECT balance FROM wallet.fund($1, 1000)', t.name);
  assert.deepEqual(await open.flushSpool(), { booked: 1, refused: 0, left: 0 });
  assert.deepEqual(await t.ledger.charges(), ['1', '1000']);
});

/** A process that empties the spool; with `mortal` it dies before it can forget a call. */
async function flushElsewhere(mortal: boolean): Promise<number> {
  const source = fileURLToPath(new URL('../src/index.ts', import.meta.url));
  const program = `
    import pg from 'pg';
    import { Spool, Wallet } from ${JSON.stringify(source)};
    const pool = new pg.Pool({ database: '${t.database}' });
    const spool = new Spool('${path()}');
    if (${mortal}) spool.booked = () => process.exit(7);
    await new Wallet(pool, 'any', { fail: 'open', spool }).flushSpool();
    await pool.end();
  `;
  const file = fileURLToPath(
    new URL(`generated-${process.pid}-${Math.random()}.ts`, import.meta.url),
  );
  await writeFile(file, program);
  const run = promisify(execFile)(process.execPath, ['--import', 'tsx', file]);
  const code = await run.then(
    () => 0,
    (error) => error.code,
  );
  await rm(file);
  return code;
}

test('the spool is private and shared between processes', async () => {
  const spool = new Spool(path());
  assert.equal(statSync(path()).mode & 0o777, 0o600);
  const calls = new Calls(t.name, {});
  for (let n = 0; n < 40; n++) {
    const statement = calls.charge('0.5', { idempotencyKey: `k${n}` });
    spool.add(statement);
    spool.add(statement);
  }
  assert.equal(spool.length, 40);
  const other = calls.charge('3', { idempotencyKey: 'k0' });
  assert.throws(() => spool.add(other), IdempotencyConflict);
  const codes = await Promise.all([1, 2, 3].map(() => flushElsewhere(false)));
  assert.deepEqual(codes, [0, 0, 0]);
  assert.equal(spool.length, 0);
  assert.deepEqual(await t.ledger.charges(), Array(40).fill('0.5'));
  spool.close();
});

test('a process that dies while it flushes books once', async () => {
  const near = t.with({ fail: 'open', spool: path() });
  near.spool!.add(near.calls.charge('2', {}));
  assert.equal(await flushElsewhere(true), 7);
  assert.deepEqual(await t.ledger.charges(), ['2']);
  assert.deepEqual(await near.flushSpool(), { booked: 1, refused: 0, left: 0 });
  assert.deepEqual(await t.ledger.charges(), ['2']);
});

test('a spool is asked for where it is needed', () => {
  assert.throws(() => t.with({ fail: 'open' }), /needs a spool/);
  assert.throws(() => t.with({ fail: 'maybe' as any }), /closed/);
});
