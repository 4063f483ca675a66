/** The tarball: packed, installed into a clean folder, and used there without any extra. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { fixture } from './support.js';

const PACKAGE = fileURLToPath(new URL('..', import.meta.url));
const run = promisify(execFile);
const t = fixture('package');

const USE = `
import pg from 'pg';
import { type Charge, Wallet, wrap } from 'pg-wallet';
const pool = new pg.Pool();
const charge: Charge = await new Wallet(pool, process.argv[2]!).charge('1');
console.log(import.meta.resolve('pg-wallet').includes('node_modules'), charge.cost, typeof wrap);
await pool.end();
`;
const CONFIG = {
  compilerOptions: {
    ...{ target: 'es2022', lib: ['es2023'], module: 'nodenext', strict: true, skipLibCheck: false },
    ...{ types: ['node'], rootDir: '.', outDir: 'out' },
  },
  include: ['use.ts'],
};

test('the tarball installs into a clean folder, compiles and runs there', async () => {
  const folder = await mkdtemp(`${tmpdir()}/pg-wallet-`);
  try {
    const packed = await run('npm', ['pack', '--json', '--pack-destination', folder], {
      cwd: PACKAGE,
    });
    const json = packed.stdout.slice(packed.stdout.search(/^[[{]/m));
    const [{ files }] = [Object.values(JSON.parse(json))].flat() as any[];
    const names = files.map((file: any) => file.path);
    const kept = /^(dist\/|docs\/|LICENSE$|README\.md$|package\.json$)/;
    assert.deepEqual(
      names.filter((name: string) => !kept.test(name)),
      [],
    );
    assert.ok(names.includes('dist/index.d.ts') && names.includes('dist/ai/index.js'));
    const [tarball] = (await readdir(folder)).filter((name) => name.endsWith('.tgz'));
    await writeFile(`${folder}/package.json`, '{"type": "module", "private": true}');
    const install = ['install', '--no-audit', '--no-fund', '--prefer-offline', `./${tarball}`];
    const { devDependencies: dev } = JSON.parse(await readFile(`${PACKAGE}/package.json`, 'utf8'));
    const types = ['pg', '@types/pg', '@types/node'].map((name) => `${name}@${dev[name]}`);
    await run('npm', [...install, ...types], { cwd: folder });
    assert.ok(!(await readdir(`${folder}/node_modules`)).includes('openai'));
    await writeFile(`${folder}/use.ts`, USE);
    await writeFile(`${folder}/tsconfig.json`, JSON.stringify(CONFIG));
    await run(`${PACKAGE}/node_modules/.bin/tsc`, ['-p', folder]).catch((error) => {
      assert.fail(error.stdout);
    });
    const env = { ...process.env, PGDATABASE: t.database };
    const { stdout } = await run('node', ['out/use.js', t.name], { cwd: folder, env });
    assert.equal(stdout, 'true 1.00 function\n');
    // The other entries load without the libraries that they are for.
    const others = ['ai', 'express', 'hono'].map((name) => `import('pg-wallet/${name}')`);
    const load = `for (const one of [${others}]) console.log(typeof (await one).walletMiddleware)`;
    const loaded = await run('node', ['--input-type=module', '-e', load], { cwd: folder });
    assert.equal(loaded.stdout, 'function\n'.repeat(3));
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('the lock file names no host', async () => {
  const lock = JSON.parse(await readFile(`${PACKAGE}/package-lock.json`, 'utf8'));
  for (const [name, one] of Object.entries<any>(lock.packages)) {
    const host = one.resolved ?? 'https://registry.npmjs.org/';
    assert.ok(host.startsWith('https://registry.npmjs.org/'), name);
  }
});
