// Takes the top-ups that wallets request, and pays them with a provider of your own.
//
//     PAY_URL=https://… node worker.js
//
// This is an example for programs that act on events themselves. To tell people and programs of
// events, set destinations and run walletd: docs/walletd.md.
//
// The connection is configured by PGHOST, PGDATABASE and so on. The role needs
// wallet.grant_access(role, 'billing'). You can run any number of workers: claim_events gives each
// event to one of them, at least once. The payment has the top-up's id as its idempotency key.
'use strict'
const { Client } = require('pg')

const { PAY_URL } = process.env
const TIMEOUT = Number(process.env.TIMEOUT || 10) * 1000
const LEASE = `${TIMEOUT * 2 + 1000} milliseconds` // longer than a payment takes
const POLL = Number(process.env.POLL || 5) * 1000

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))

async function post(url, body, headers) {
  const response = await fetch(url, {
    method: 'POST',
    body,
    headers: { 'Content-Type': 'application/json', ...headers },
    signal: AbortSignal.timeout(TIMEOUT)
  })
  const answer = await response.json()
  if (!response.ok && response.status !== 402) throw new Error(`${url} answered ${response.status}`)
  return { declined: response.status === 402, ...answer }
}

async function pay(db, wallet, { topup_id, amount, currency, method }) {
  const body = JSON.stringify({ wallet, topup_id, amount, currency, method })
  const paid = await post(PAY_URL, body, { 'Idempotency-Key': topup_id })
  if (paid.declined) {
    await db.query('SELECT wallet.fail_topup($1, $2, $3)', [wallet, topup_id, paid.reason || 'declined'])
  } else {
    await db.query('SELECT wallet.complete_topup($1, $2, $3)', [wallet, topup_id, paid.reference])
  }
}

const CLAIM = "SELECT * FROM wallet.claim_events(1, $1::interval, '{topup_requested}')"

async function work(db) {
  // One at a time, so that other workers can take the events that this one has not begun.
  for (;;) {
    const claimed = await db.query(CLAIM, [LEASE])
    const event = claimed.rows[0]
    if (!event) return
    try {
      await pay(db, event.wallet, event.payload)
      await db.query('SELECT wallet.finish_event($1)', [event.id])
    } catch (error) { // try again later
      await db.query('SELECT wallet.retry_event($1, error => $2)', [event.id, String(error)])
    }
  }
}

async function connected() {
  const db = new Client()
  const broken = new Promise((resolve, reject) => db.on('error', reject))
  broken.catch(() => {})
  let wake = () => {}
  db.on('notification', () => wake())
  try {
    await db.connect()
    await db.query('LISTEN wallet_events')
    for (;;) {
      // Created before the search, so that no notification in between is missed.
      const told = new Promise((resolve) => { wake = resolve })
      await db.query('SELECT wallet.request_due_topups()')
      await work(db)
      await Promise.race([told, pause(POLL), broken])
    }
  } finally {
    await db.end().catch(() => {})
  }
}

async function main() {
  for (;;) {
    await connected().catch((error) => console.error(error.message))
    await pause(1000)
  }
}

main()
