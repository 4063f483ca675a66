// A payment provider for the page's form: it makes a page for each idempotency key, on which nobody
// can pay. It prints its address, and ends with the script that started it.
import { createServer } from "node:http";

const parent = process.ppid;
setInterval(() => process.ppid !== parent && process.exit(), 1000).unref();

const pages = new Map();
const server = createServer((request, response) => {
  const { port } = server.address();
  if (request.method === "POST" && request.url === "/v1/checkout/sessions") {
    let form = "";
    request.on("data", (part) => (form += part));
    request.on("end", () => {
      const key = request.headers["idempotency-key"];
      const page = pages.get(key) ?? { id: `cs_test_${pages.size + 1}`, form };
      pages.set(key, page);
      const isSame = page.form === form;
      response.writeHead(isSame ? 200 : 400, { "content-type": "application/json" });
      const session = { id: page.id, url: `http://127.0.0.1:${port}/${page.id}` };
      response.end(JSON.stringify(isSame ? session : { error: { type: "idempotency_error" } }));
    });
    return;
  }
  if (request.url === "/v1/balance") {
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ livemode: false }));
    return;
  }
  const page = [...pages.values()].find((one) => request.url === `/${one.id}`);
  response.writeHead(page ? 200 : 404, { "content-type": "text/html; charset=utf-8" });
  const amount = page && new URLSearchParams(page.form).get("line_items[0][price_data][unit_amount]");
  const referrer = request.headers.referer ?? "nothing";
  response.end(`<!doctype html><title>Pay</title><h1>Pay ${amount}</h1><p>${page?.id} from ${referrer}</p>`);
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
