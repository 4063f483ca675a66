/**
 * PostGraphile as a front end of the schema: each request claims the wallet of its tenant, and can
 * see and charge no other.
 */

import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import pg from 'pg';
import { postgraphile } from 'postgraphile';
import { create, drop } from './support.js';

const database = `wallet_postgraphile_${process.pid}`;
const role = `${database}_pool`;
let owner: pg.Pool;
let pool: pg.Pool;
let server: Server;
const secrets: Record<string, string> = {};

/** The answer to a request of a tenant, who is named by a header as after a login. */
async function ask(headers: Record<string, string>, query: string): Promise<any> {
  const { port } = server.address() as AddressInfo;
  const response = await fetch(`http://127.0.0.1:${port}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ query }),
  });
  const answer: any = await response.json();
  assert.equal(answer.errors, undefined, JSON.stringify(answer.errors));
  return answer;
}

before(async () => {
  await create(
    database,
    `SELECT wallet.create_wallet('acme'), wallet.create_wallet('globex');
     SELECT wallet.fund('acme', 100), wallet.fund('globex', 50);
     SELECT wallet.charge('acme', amount => 1), wallet.charge('globex', amount => 2);
     CREATE ROLE ${role};
     SELECT wallet.grant_access('${role}', 'charger', claimed => true);`,
  );
  owner = new pg.Pool({ database });
  for (const wallet of ['acme', 'globex']) {
    const { rows } = await owner.query('SELECT secret FROM wallet.create_key($1)', [wallet]);
    secrets[wallet] = rows[0].secret;
  }
  // One connection, so that all tenants share it.
  pool = new pg.Pool({ database, max: 1 });
  server = createServer(
    postgraphile(pool, 'wallet', {
      disableDefaultMutations: true,
      disableQueryLog: true,
      includeExtensionResources: true,
      ignoreRBAC: true,
      legacyRelations: 'omit',
      async pgSettings(request) {
        const { tenant, key } = request.headers;
        return {
          role,
          'wallet.claim': typeof tenant === 'string' ? tenant : '',
          'wallet.key': typeof key === 'string' ? key : '',
        };
      },
    }),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});

after(async () => {
  await new Promise((resolve) => server.close(resolve));
  await pool.end();
  await owner.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
  await owner.end();
  await drop(database);
});

const balances = '{ allBalances { nodes { wallet balance } } }';
const entries = '{ allEntries { nodes { wallet kind amount } } }';

test('a request sees the rows of its tenant, and no others', async () => {
  for (const tenant of ['acme', 'globex', 'acme']) {
    const ways: Record<string, string>[] = [{ tenant }, { key: secrets[tenant] ?? '' }];
    for (const headers of ways) {
      const seen = await ask(headers, balances);
      assert.deepEqual(
        seen.data.allBalances.nodes.map((one: any) => one.wallet),
        [tenant],
      );
      const booked = await ask(headers, entries);
      const wallets = new Set(booked.data.allEntries.nodes.map((one: any) => one.wallet));
      assert.deepEqual([...wallets], [tenant]);
    }
  }
});

test('a request without a tenant sees nothing', async () => {
  const ways: Record<string, string>[] = [
    {},
    { tenant: '' },
    { tenant: '*' },
    { key: 'wk_forged' },
  ];
  for (const headers of ways) {
    const seen = await ask(headers, balances);
    assert.deepEqual(seen.data.allBalances.nodes, []);
  }
});

test('a filter for another wallet finds nothing', async () => {
  const other = '{ allLedgers(condition: { walletId: "globex" }) { nodes { walletId } } }';
  const seen = await ask({ tenant: 'acme' }, other);
  assert.deepEqual(seen.data.allLedgers.nodes, []);
  const both = await ask({ tenant: '{acme,globex}' }, balances);
  assert.equal(both.data.allBalances.nodes.length, 2);
});

test('the pool keeps no claim', async () => {
  await ask({ tenant: 'acme', key: secrets.acme ?? '' }, balances);
  const { rows } = await pool.query("SELECT current_setting('wallet.claim', true) AS claim");
  assert.equal(rows[0].claim, '');
});
