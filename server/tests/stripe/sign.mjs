// Signs events with Stripe's official library for Node.js, and verifies them with it. Reads one JSON
// array [body, secret, timestamp] per line, and writes the header of each.
import readline from "node:readline";
import { createRequire } from "node:module";

const require = createRequire(process.argv[2] + "/");
const Stripe = require("stripe");
const stripe = new Stripe("sk_test_of_the_test");

for await (const line of readline.createInterface({ input: process.stdin })) {
  const [payload, secret, timestamp] = JSON.parse(line);
  const header = stripe.webhooks.generateTestHeaderString({ payload, secret, timestamp });
  stripe.webhooks.constructEvent(payload, header, secret, 600);
  process.stdout.write(header + "\n");
}
