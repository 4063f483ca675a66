// Charges a wallet in the transaction that stores the answer, with node-postgres.
// The connection is configured by PGHOST, PGDATABASE and so on.
'use strict'
const { once } = require('node:events')
const { setTimeout: pause } = require('node:timers/promises')
const { Client } = require('pg')

const CHARGE = "SELECT cost, balance FROM wallet.charge('acme', amount => $1, idempotency_key => $2)"
const ANSWER = 'INSERT INTO answers (request, answer) VALUES ($1, $2)'

// Stores the charge and the answer, or neither. NUMERIC is a string in both directions: never
// convert it to a Number.
async function charge(db, request, answer, cost) {
  for (let attempt = 1; ; attempt++) {
    try {
      await db.query('BEGIN')
      const charged = await db.query(CHARGE, [cost, request])
      await db.query(ANSWER, [request, answer])
      await db.query('COMMIT')
      return charged.rows[0]
    } catch (error) {
      await db.query('ROLLBACK')
      // A conflict with another transaction: run it again with the same key.
      if (!['40001', '40P01'].includes(error.code) || attempt === 5) throw error
      await pause(10 * 2 ** attempt)
    }
  }
}

async function main() {
  // LISTEN needs a connection of its own, open as long as the program listens.
  const listener = new Client()
  await listener.connect()
  const heard = once(listener, 'notification')
  await listener.query('LISTEN wallet_events')
  const db = new Client()
  await db.connect()

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
  await db.end()
}

main()
