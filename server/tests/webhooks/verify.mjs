// Verifies requests of walletd with the library of the Standard Webhooks project.
import { readFileSync } from 'node:fs'
import { Webhook } from 'standardwebhooks'

let verified = 0
let refused = 0

function isRight(secret, headers, body) {
  try {
    new Webhook(secret).verify(body, headers)
    return true
  } catch {
    return false
  }
}

for (const { headers, body, right, wrong } of JSON.parse(readFileSync(process.argv[2], 'utf8'))) {
  for (const secret of right) {
    verified += isRight(secret, headers, body)
    refused += !isRight(secret, { ...headers, 'webhook-id': `${headers['webhook-id']}0` }, body)
  }
  for (const secret of wrong) refused += !isRight(secret, headers, body)
}
console.log(`${verified} verified, ${refused} refused`)
