// Chromium drives the page of walletd as people do, with and without JavaScript, and axe-core looks
// at every page in light and dark, on a desktop and on a phone. scripts/run walletd-page starts it
// with the address, a one-time link and two keys.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { after, before, test } from "node:test";
import { AxeBuilder } from "@axe-core/playwright";
import { chromium } from "playwright-core";

const { PAGE_ADDRESS, PAGE_LINK, PAGE_OWNER, PAGE_MEMBER, PAGE_PICTURES, PAGE_CHROMIUM } = process.env;
mkdirSync(PAGE_PICTURES, { recursive: true });

let browser;
before(async () => {
  browser = await chromium.launch({ executablePath: PAGE_CHROMIUM, args: ["--no-sandbox"] });
});
after(() => browser.close());

// A browser of its own. What the policy blocks, and what fails in a program, is a failure.
async function visitor(options = {}) {
  const context = await browser.newContext({ baseURL: PAGE_ADDRESS, ...options });
  const page = await context.newPage();
  const faults = [];
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error" && !/status of 4\d\d/.test(message.text())) faults.push(message.text());
  });
  const close = async () => {
    await context.close();
    assert.deepEqual(faults, []);
  };
  return { page, context, close };
}

async function signIn(page, key) {
  await page.goto("/");
  await page.getByLabel("Key").fill(key);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
}

// The page alone, which must be without a violation of any rule.
async function look(page, name) {
  const found = await new AxeBuilder({ page })
    .withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"])
    .analyze();
  const violations = found.violations.map((rule) => [rule.id, rule.nodes.map((node) => [node.html, node.failureSummary])]);
  assert.deepEqual(violations, [], name);
  const width = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
  assert.ok(width[0] <= width[1], `${name} is ${width[0]} wide on a screen of ${width[1]}`);
  assert.equal(await page.locator("h1").count(), 1, name);
  await page.screenshot({ path: `${PAGE_PICTURES}/${name}.png`, fullPage: true });
}

const LOOKS = [
  ["light", { colorScheme: "light", viewport: { width: 1280, height: 900 } }],
  ["dark", { colorScheme: "dark", viewport: { width: 1280, height: 900 } }],
  ["phone", { colorScheme: "light", viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true }],
  ["phone-dark", { colorScheme: "dark", viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true }],
];

for (const [name, options] of LOOKS) {
  test(`axe-core finds nothing on any page: ${name}`, async () => {
    const { page, close } = await visitor(options);
    await page.goto("/");
    await look(page, `${name}-sign-in`);
    await page.goto("/sign-in?link=x");
    await look(page, `${name}-link`);
    await signIn(page, PAGE_OWNER);
    await page.locator("#live").waitFor({ state: "visible" });
    await look(page, `${name}-overview`);
    await page.locator("details summary").first().click();
    await look(page, `${name}-overview-figures`);
    await page.goto("/transactions");
    await look(page, `${name}-transactions`);
    await page.locator("tbody a").first().click();
    await look(page, `${name}-transaction`);
    await page.goto("/transactions?user=nobody");
    await look(page, `${name}-no-transactions`);
    for (const place of ["statement", "top-up", "limits", "members", "keys"]) {
      await page.goto(`/${place}`);
      await look(page, `${name}-${place}`);
      const details = page.locator("details summary");
      if ((await details.count()) > 0) {
        await details.first().click();
        await look(page, `${name}-${place}-open`);
      }
    }
    await page.goto("/limits");
    await page.getByLabel("Maximum").fill("-1");
    await page.getByRole("button", { name: "Set the limit" }).click();
    await page.getByRole("alert").waitFor();
    await look(page, `${name}-limits-refused`);
    await page.goto("/top-up");
    await page.getByLabel(/^Amount/).fill("1");
    await page.getByRole("button", { name: "Continue" }).click();
    await page.getByRole("alert").waitFor();
    await look(page, `${name}-top-up-refused`);
    await page.getByLabel(/^Amount/).fill("25");
    await page.getByRole("button", { name: "Continue" }).click();
    await page.getByRole("link", { name: "Pay on the page of the provider" }).waitFor();
    await look(page, `${name}-top-up-begun`);
    await page.goto("/transactions/nothing");
    await look(page, `${name}-not-found`);
    await close();
  });
}

test("a one-time link signs in once", async () => {
  const first = await visitor();
  await first.page.goto(PAGE_LINK);
  await first.page.getByRole("button", { name: "Sign in" }).click();
  await first.page.getByRole("heading", { name: "Overview" }).waitFor();
  assert.match(await first.page.locator(".who").innerText(), /olga, owner/);
  assert.ok(!first.page.url().includes("link="));
  const second = await visitor();
  await second.page.goto(PAGE_LINK);
  await second.page.getByRole("button", { name: "Sign in" }).click();
  assert.match(await second.page.getByRole("alert").innerText(), /used before/);
  await first.page.getByRole("button", { name: "Sign out" }).click();
  await first.page.getByRole("heading", { name: "Sign in to your wallet" }).waitFor();
  await first.close();
  await second.close();
});

test("the keyboard alone signs in, goes to the content and reads a transaction", async () => {
  const { page, close } = await visitor();
  await page.goto("/");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await page.keyboard.type(PAGE_OWNER);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  await page.goto("/transactions");
  const link = page.locator("tbody a").first();
  for (let steps = 0; steps < 40 && !(await link.evaluate((one) => one === document.activeElement)); steps++) {
    await page.keyboard.press("Tab");
  }
  const outline = await link.evaluate((one) => getComputedStyle(one).outlineStyle);
  assert.equal(outline, "solid");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Transaction" }).waitFor();
  await close();
});

test("without JavaScript every page can be read, and the pages of the ledger have each entry once", async () => {
  const { page, close } = await visitor({ javaScriptEnabled: false });
  await signIn(page, PAGE_OWNER);
  assert.match(await page.locator("[data-live=available]").innerText(), /^[0-9.]+$/);
  await page.goto("/transactions?kind=charge&user=alice");
  const seen = new Set();
  let pages = 0;
  for (;;) {
    const links = await page.locator("tbody a").evaluateAll((all) => all.map((one) => one.getAttribute("href")));
    for (const link of links) {
      assert.ok(!seen.has(link), link);
      seen.add(link);
    }
    pages += 1;
    const next = page.getByRole("link", { name: "Older" });
    if ((await next.count()) === 0) break;
    assert.equal(links.length, 25);
    await next.click();
  }
  assert.ok(pages > 5, `${pages} pages`);
  await close();
});

test("an owner makes, rotates and revokes a key; the session follows its own key", async () => {
  const { page, context, close } = await visitor();
  await signIn(page, PAGE_OWNER);
  await page.goto("/keys");
  await page.getByLabel("Name").fill("from the page");
  await page.getByLabel("User (empty: a program)").fill("olga");
  await page.getByRole("button", { name: "Make the key" }).click();
  const made = await page.locator("#secret").innerText();
  assert.match(made, /^wk_[0-9a-f]{64}$/);
  // A reload asks the same again. The secret is not shown again, and no second key is made.
  await page.reload();
  assert.equal(await page.locator("#secret").count(), 0);
  await page.goto("/keys");
  assert.equal(await page.getByRole("row", { name: /^from the page/ }).count(), 1);

  const other = await visitor();
  await signIn(other.page, made);
  await other.page.goto("/keys");
  const own = other.page.getByRole("row", { name: /^from the page \(this session\)/ });
  await own.locator("summary").click();
  await own.getByLabel("The old secret works on").selectOption("0");
  await own.getByRole("button", { name: /^Rotate/ }).click();
  const rotated = await other.page.locator("#secret").innerText();
  assert.notEqual(rotated, made);
  await other.page.goto("/");
  await other.page.getByRole("heading", { name: "Overview" }).waitFor();

  const old = await visitor();
  await old.page.goto("/");
  await old.page.getByLabel("Key").fill(made);
  await old.page.getByRole("button", { name: "Sign in" }).click();
  assert.match(await old.page.getByRole("alert").innerText(), /not valid/);
  await old.close();

  await page.goto("/keys");
  const row = page.getByRole("row", { name: /^from the page/ });
  await row.locator("summary").click();
  await row.getByRole("button", { name: /^Revoke/ }).click();
  await page.getByRole("status").waitFor();
  await other.page.goto("/transactions");
  assert.match(await other.page.getByRole("alert").innerText(), /signed out/);
  const cookies = await context.cookies();
  assert.deepEqual(cookies.map((one) => [one.httpOnly, one.sameSite]), [[true, "Lax"]]);
  assert.ok(!JSON.stringify(cookies).includes("wk_"));
  await other.close();
  await close();
});

for (const javaScriptEnabled of [true, false]) {
  test(`an owner comes to the provider's page, ${javaScriptEnabled ? "with" : "without"} JavaScript`, async () => {
    const { page, close } = await visitor({ javaScriptEnabled });
    await signIn(page, PAGE_OWNER);
    await page.getByRole("link", { name: "Top up" }).click();
    await page.getByLabel(/^Amount in USD, from 5 to 1000/).fill("4.99");
    await page.getByLabel(/^E-mail/).fill("olga@example.com");
    await page.getByLabel("Save the card for automatic top-ups").check();
    await page.getByRole("button", { name: "Continue" }).click();
    assert.match(await page.getByRole("alert").innerText(), /from 5 to 1000 USD/);
    // The form keeps what was written.
    assert.equal(await page.getByLabel(/^E-mail/).inputValue(), "olga@example.com");
    assert.ok(await page.getByLabel("Save the card for automatic top-ups").isChecked());
    await page.getByLabel(/^Amount/).fill("25.50");
    await page.getByRole("button", { name: "Continue" }).click();
    const link = page.getByRole("link", { name: "Pay on the page of the provider" });
    const address = await link.getAttribute("href");
    // The same form again is the same payment.
    await page.reload();
    assert.equal(await link.getAttribute("href"), address);
    await link.click();
    await page.getByRole("heading", { name: "Pay 2550" }).waitFor();
    assert.match(await page.locator("p").innerText(), /from nothing$/);
    await page.goto("/top-up");
    await page.getByLabel(/^Amount/).fill("25.50");
    await page.getByRole("button", { name: "Continue" }).click();
    assert.notEqual(await link.getAttribute("href"), address);
    await close();
  });
}

test("the balance follows a charge that is made elsewhere", async () => {
  const { page, close } = await visitor();
  await signIn(page, PAGE_OWNER);
  await page.locator("#live").waitFor({ state: "visible" });
  const available = page.locator("[data-live=available]");
  const before = await available.innerText();
  const answer = await fetch(`${PAGE_ADDRESS}/v1/charges`, {
    method: "POST",
    headers: { authorization: `Bearer ${PAGE_MEMBER}`, "content-type": "application/json" },
    body: JSON.stringify({ amount: "0.01", model: "live-model" }),
  });
  assert.equal(answer.status, 201);
  await page.waitForFunction((old) => document.querySelector("[data-live=available]").textContent !== old, before, { timeout: 15000 });
  await page.locator("#spending").getByText("live-model").waitFor();
  await close();
});

test("a member sees no part of the owner", async () => {
  const { page, close } = await visitor();
  await signIn(page, PAGE_MEMBER);
  assert.deepEqual(await page.locator("header nav a").allInnerTexts(), ["Overview", "Transactions", "Statement", "Limits"]);
  await page.goto("/limits");
  assert.equal(await page.locator("main form").count(), 0);
  for (const place of ["/members", "/keys"]) {
    const answer = await page.goto(place);
    assert.equal(answer.status(), 403);
  }
  await close();
});
