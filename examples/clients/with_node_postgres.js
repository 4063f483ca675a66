// Charges a wallet in the transaction that stores the answer, with node-postgres.
// The connection is configured by PGHOST, PGDATABASE and so on.
'use strict'
const { once } = require('node:events')
const { setTimeout: pause } = require('node:timers/promises')
const { Client } = require('pg')

const CHARGE = "SELECT cost, balance FROM wallet.charge('acme', amount => $1, idempotency_key => $2)"
// A first attempt may have been committed although its answer did not arrive.
const ANSWER = 'INSERT INTO answers (request, answer) VALUES ($1, $2) ON CONFLICT DO NOTHING'
// Another transaction came first.
const CONFLICTS = ['40001', '40P01']
// The server stops, starts, or is a standby: another connection leads to the primary.
const ELSEWHERE = ['57P01', '57P02', '57P03', '25006']

// A connection that broke or leads to a server that cannot write. Only errors of the server have a
// severity.
const isLost = ({ severity, code }) => !severity || ELSEWHERE.includes(code) || code.startsWith('08')

async function connected() {
  const client = new Client()
  // An idle connection that breaks is noticed by the next call.
  client.on('error', () => {})
  await client.connect()
  return client
}

// Stores the charge and the answer, or neither. NUMERIC is a string in both directions: never
// convert it to a Number.
async function charge(db, request, answer, cost) {
  for (let attempt = 1; ; attempt++) {
    try {
      db.client ??= await connected()
      await db.client.query('BEGIN')
      const charged = await db.client.query(CHARGE, [cost, request])
      await db.client.query(ANSWER, [request, answer])
      await db.client.query('COMMIT')
      return charged.rows[0]
    } catch (error) {
      const lost = isLost(error)
      if (lost) {
        db.client?.end().catch(() => {})
        db.client = undefined
      } else {
        await db.client.query('ROLLBACK')
      }
      // Half a minute is long enough for a failover.
      if (attempt === 20 || !(lost || CONFLICTS.includes(error.code))) throw error
    }
    // Again, with the same key.
    await pause(Math.min(2000, 10 * 2 ** attempt))
  }
}

async function main() {
  // LISTEN needs a connection of its own, open as long as the program listens.
  const listener = new Client()
  await listener.connect()
  const heard = once(listener, 'notification')
  await listener.query('LISTEN wallet_events')
  const db = {}

  const { cost, balance } = await charge(db, 'req-1', 'forty-two', '0.000000000001')
  console.log(`charged ${cost}, ${balance} is left`)

  const [notification] = await heard
  const event = JSON.parse(notification.payload)
  console.log(`heard ${event.event} of ${event.wallet}`)

  try {
    await charge(db, 'req-2', 'too dear', '2000000000000000')
  } catch (error) {
    console.log(`${error.code}: ${error.message}`)
    console.log(`DETAIL: ${error.detail}`)
    console.log(`HINT: ${error.hint}`)
  }

  await listener.end()
  await db.client.end()
}

main()
