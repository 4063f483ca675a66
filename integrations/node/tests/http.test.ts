/** Express and Hono: real servers, and clients that leave. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import type http from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { serve } from '@hono/node-server';
import express from 'express';
import { Hono } from 'hono';
import { stream } from 'hono/streaming';
import * as inExpress from '../src/http/express.js';
import * as inHono from '../src/http/hono.js';
import type { RequestOptions, WalletRequest } from '../src/index.js';
import { eventually, fixture } from './support.js';

const ESTIMATE = { model: 'gpt-4o', input_tokens: 1000, output_tokens: 4000 };
const USED = { input_tokens: 1000, output_tokens: 1500 };
const t = fixture('http');

let options: RequestOptions = {};
let last: WalletRequest;
const charge = (headers: { get(name: string): string | null | undefined }) => ({
  wallet: t.wallet,
  estimate: ESTIMATE,
  key: headers.get('idempotency-key') ?? undefined,
  options,
});

/** Handlers, the same for both frameworks. */
const work = {
  async slow(r: WalletRequest): Promise<void> {
    last = r;
    await sleep(400); // a provider that does not stop
    await r.settle(USED);
  },
  async aborted(r: WalletRequest): Promise<void> {
    last = r;
    r.use(USED);
    await sleep(60_000, undefined, { signal: r.signal });
  },
};

function expressApp(): http.Server {
  const app = express();
  app.use(
    inExpress.walletMiddleware((req: express.Request) => charge({ get: (name) => req.get(name) })),
  );
  app.get('/settle', async (_, res) => {
    await inExpress.held(res).settle(USED);
    res.send('done');
  });
  app.get('/nothing', (_, res) => void res.send('done'));
  app.get('/throw', () => {
    throw new Error('broken');
  });
  app.get('/refused', async (_, res) => {
    await inExpress.held(res).void();
    await t.wallet.charge('1000');
  });
  for (const name of ['slow', 'aborted'] as const) {
    app.get(`/${name}`, async (_, res) => {
      await work[name](inExpress.held(res));
      res.send('done');
    });
  }
  app.get('/stream', async (_, res) => {
    for (let n = 1; n < 100 && !res.destroyed; n++) {
      inExpress.held(res).use({ input_tokens: 1000, output_tokens: n });
      res.write('word ');
      await sleep(20);
    }
    res.end();
  });
  app.get('/hangs', () => undefined);
  app.use(inExpress.walletErrors());
  app.use(((_e, _q, res, _n) => void res.sendStatus(500)) as express.ErrorRequestHandler);
  return app.listen(0, '127.0.0.1');
}

function honoApp(): http.Server {
  const app = new Hono<inHono.WalletEnv>();
  app.onError((error, c) => {
    if (error.message === 'broken') return c.text('broken', 500);
    return inHono.walletErrors(error, c);
  });
  app.use(inHono.walletMiddleware((c) => charge({ get: (name) => c.req.header(name) })));
  app.get('/settle', async (c) => {
    await c.var.wallet.settle(USED);
    return c.text('done');
  });
  app.get('/nothing', (c) => c.text('done'));
  app.get('/throw', () => {
    throw new Error('broken');
  });
  app.get('/refused', async (c) => {
    await c.var.wallet.void();
    await t.wallet.charge('1000');
    return c.text('not reached');
  });
  for (const name of ['slow', 'aborted'] as const) {
    app.get(`/${name}`, async (c) => {
      await work[name](c.var.wallet).catch(() => undefined);
      return c.text('done');
    });
  }
  app.get('/stream', (c) =>
    stream(c, async (words) => {
      for (let n = 1; n < 100 && !words.aborted; n++) {
        c.var.wallet.use({ input_tokens: 1000, output_tokens: n });
        await words.write('word ');
        await sleep(20);
      }
    }),
  );
  return serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }) as http.Server;
}

for (const [name, start] of [
  ['Express', expressApp],
  ['Hono', honoApp],
] as const) {
  const server = start();
  after(() => {
    server.close();
    server.closeAllConnections();
  });
  const url = (path: string) => `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`;

  test(`${name} settles, releases and answers`, async () => {
    const answer = await fetch(url('/settle'));
    assert.equal(await answer.text(), 'done');
    assert.equal(answer.headers.get('x-usage-cost'), '0.0175');
    assert.equal(answer.headers.get('x-wallet-balance'), '99.9825');
    assert.equal((await fetch(url('/nothing'))).headers.get('x-usage-cost'), null);
    assert.equal((await fetch(url('/throw'))).status, 500);
    assert.equal((await fetch(url('/refused'))).status, 402);
    await eventually(async () => (await t.ledger.held()) === 0);
    assert.deepEqual(await t.ledger.holds(), ['settled', 'voided', 'voided', 'voided']);
  });

  test(`${name} refuses before the handler`, async () => {
    const headers = { 'idempotency-key': 'job' };
    assert.equal((await fetch(url('/settle'), { headers })).status, 200);
    const again = await fetch(url('/settle'), { headers });
    assert.equal(again.status, 409);
    await t.ledger.one("SELECT wallet.set_limit($1, 0.001, 'day')", t.name);
    const limited = await fetch(url('/settle'));
    assert.equal(limited.status, 429);
    assert.ok(Number(limited.headers.get('retry-after')) > 0);
    const { error } = (await limited.json()) as any;
    assert.equal(error.code, 'WL002');
    assert.equal((await t.ledger.charges()).length, 1);
  });

  test(`${name} books what is used when the client has left`, async () => {
    const leave = async (path: string) => {
      const signal = AbortSignal.timeout(150);
      await assert.rejects(async () => await (await fetch(url(path), { signal })).text());
    };
    await leave('/slow'); // settles after the client has left
    await eventually(async () => (await t.ledger.charges()).length === 1);
    assert.ok(last.signal.aborted);
    await leave('/aborted'); // ends with the signal, and has noted its use
    await eventually(async () => (await t.ledger.charges()).length === 2);
    await leave('/stream');
    await eventually(async () => (await t.ledger.charges()).length === 3);
    assert.deepEqual((await t.ledger.charges()).slice(0, 2), ['0.0175', '0.0175']);
    assert.equal(await t.ledger.held(), 0);
  });
}

test('Express releases what a handler that never answers holds', async () => {
  options = { ttl: 0.5 };
  const server = expressApp();
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const signal = AbortSignal.timeout(100);
  await assert.rejects(fetch(`http://127.0.0.1:${port}/hangs`, { signal }));
  await eventually(async () => (await t.ledger.holds())[0] === 'voided');
  options = {};
  server.close();
});
