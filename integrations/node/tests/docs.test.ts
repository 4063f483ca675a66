/** The examples of README and docs run, and print what the pages say. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import pg from 'pg';
import { mocked } from './mock.js';
import { create, drop } from './support.js';

const PACKAGE = fileURLToPath(new URL('..', import.meta.url));
const PAGES = [
  'README.md',
  ...['ai-sdk', 'drizzle', 'http', 'kysely', 'prisma'].map((page) => `docs/${page}.md`),
];
const ACME = "SELECT wallet.create_wallet('acme'); SELECT balance FROM wallet.fund('acme', 10);";
const mock = mocked();

/** The blocks of a language of a page, in order. */
async function blocks(page: string, language: string): Promise<string[]> {
  const text = await readFile(`${PACKAGE}/${page}`, 'utf8');
  const found = text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'));
  return [...found].map((block) => block[1]!);
}

/** Prisma's client for a schema. */
async function generate(folder: string, schema: string): Promise<void> {
  await writeFile(`${folder}/schema.prisma`, schema);
  const prisma = `${PACKAGE}/node_modules/.bin/prisma`;
  // An engine that is given is not downloaded. The client is made without one.
  const given = { PRISMA_SCHEMA_ENGINE_BINARY: '/bin/true', CHECKPOINT_DISABLE: '1' };
  const env = { ...process.env, ...given };
  const argv = ['generate', '--schema', `${folder}/schema.prisma`];
  await promisify(execFile)(prisma, argv, { cwd: folder, env, timeout: 100_000 });
}

async function statement(database: string, sql: string): Promise<void> {
  const client = new pg.Client({ database });
  await client.connect();
  await client.query(sql);
  await client.end();
}

for (const page of PAGES) {
  test(`the examples of ${page} run`, async () => {
    const database = `wallet_node_docs_${PAGES.indexOf(page)}`;
    await create(database, ACME);
    // Below the package, so that its modules are found.
    const folder = await mkdtemp(`${PACKAGE}/tests/generated-`);
    try {
      const program = (await blocks(page, 'ts')).join('\n').replaceAll('/tmp/', `${folder}/`);
      await writeFile(`${folder}/example.ts`, program);
      const [schema] = await blocks(page, 'prisma');
      if (schema !== undefined) {
        // Prisma's own migrations need an engine, which is not in its packages.
        await generate(folder, schema);
        await statement(database, 'CREATE TABLE answers (request text PRIMARY KEY, answer text)');
      }
      const config = { extends: '../../tsconfig.json', include: ['example.ts'] };
      await writeFile(`${folder}/tsconfig.json`, JSON.stringify(config));
      const tsc = promisify(execFile)(`${PACKAGE}/node_modules/.bin/tsc`, ['-p', folder]);
      await tsc.catch((error) => assert.fail(error.stdout));
      const environment = {
        ...process.env,
        PGDATABASE: database,
        OPENAI_BASE_URL: `${mock.url}/v1`,
        OPENAI_API_KEY: 'x',
      };
      const argv = ['--import', 'tsx', `${folder}/example.ts`];
      const { stdout } = await promisify(execFile)(process.execPath, argv, {
        cwd: PACKAGE,
        env: environment,
        timeout: 100_000,
      });
      assert.equal(stdout, (await blocks(page, 'text')).join(''));
    } finally {
      await rm(folder, { recursive: true });
      await drop(database);
    }
  });
}

test('the first example has ten lines', async () => {
  const [first] = await blocks('README.md', 'ts');
  assert.ok(first!.trimEnd().split('\n').length <= 10);
});

test('lines of the pages are short', async () => {
  for (const page of PAGES) {
    for (const line of (await readFile(`${PACKAGE}/${page}`, 'utf8')).split('\n')) {
      assert.ok(line.length <= 100 || line.startsWith('|'), `${page}: ${line}`);
    }
  }
});
