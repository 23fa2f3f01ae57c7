// What the browser tests share. They run against a server that somebody else has
// started: BASE_URL, and the accounts operator1 and responder1 (OPERATOR, RESPONDER)
// with ANLING_PASSWORD. SHOTS names a folder for pictures of each screen.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

export const base = process.env.BASE_URL ?? 'http://127.0.0.1:8080';
export const operator = process.env.OPERATOR ?? 'operator1';
export const responder = process.env.RESPONDER ?? 'responder1';
const password = process.env.ANLING_PASSWORD ?? '';
// The headless shell is the same engine without the windows around it, a third of the work.
const chrome = process.env.CHROMIUM ?? ['/usr/bin/chromium-headless-shell', '/usr/bin/chromium'].find((path) => existsSync(path)) ?? '';
const shots = process.env.SHOTS ?? '';

if (!existsSync(chrome)) throw new Error(`no Chromium ${chrome}: apt-get install chromium-headless-shell, or set CHROMIUM`);

const patience = 30000; // the machine may be busy with other tests

const flags = ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
if (process.getuid?.() === 0) flags.push('--no-sandbox');

export const browse = () => chromium.launch({ executablePath: chrome, args: flags });

/**
 * open signs in and opens the page of the account. trouble gathers what the page
 * complains of; a broken line is not among it, that is what some tests are about.
 */
export async function open(browser, user, { width = 1920, height = 1080, theme = 'day', lang = 'zh-CN', phone = false, place } = {}) {
  const context = await browser.newContext({
    viewport: { width, height }, reducedMotion: 'reduce', bypassCSP: true, locale: 'zh-CN', isMobile: phone, hasTouch: phone,
    permissions: ['geolocation'], geolocation: { latitude: place?.lat ?? 25.0406, longitude: place?.lng ?? 102.7123 },
  });
  context.setDefaultTimeout(patience);
  await context.addInitScript(([t, l]) => { localStorage.setItem('anling.theme', t); localStorage.setItem('anling.lang', l); }, [theme, lang]);
  const page = await context.newPage();
  page.trouble = [];
  page.on('pageerror', (e) => page.trouble.push(String(e)));
  page.on('console', (m) => { if (m.type() === 'error' && !/Failed to load resource|WebSocket connection/.test(m.text())) page.trouble.push(m.text()); });
  await page.goto(`${base}/login`);
  await page.locator('input[name=name]').fill(user);
  await page.locator('input[name=password]').fill(password);
  await page.keyboard.press('Enter');
  await page.waitForURL(/\/(console|r)$/);
  return page;
}

let keys = 0;

/** call asks the API with the page's session. */
export async function call(page, method, path, data) {
  const answer = await page.context().request.fetch(`${base}/api/v1${path}`, {
    method, data, headers: method === 'POST' ? { 'Idempotency-Key': `test-${process.pid}-${Date.now()}-${++keys}` } : {},
  });
  assert.ok(answer.ok(), `${method} ${path}: ${answer.status()} ${await answer.text()}`);
  const text = await answer.text();
  return text ? JSON.parse(text) : undefined;
}

const axeSource = readFileSync(fileURLToPath(import.meta.resolve('axe-core/axe.min.js')), 'utf8');

/** accessible asserts that axe finds nothing on the screen. */
export async function accessible(page, screen) {
  await page.evaluate(axeSource);
  const found = await page.evaluate(() => window.axe.run(document, {
    runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'], resultTypes: ['violations'],
  }));
  const told = found.violations.map((v) => `${v.id} (${v.impact}): ${v.nodes.map((n) => `${n.target} ${n.any[0]?.message ?? n.failureSummary}`).slice(0, 4).join(' | ')}`);
  assert.deepEqual(told, [], `axe on ${screen}`);
}

/** shot keeps a picture of a screen when SHOTS is set. */
export async function shot(page, name) {
  if (!shots) return;
  mkdirSync(shots, { recursive: true });
  await page.screenshot({ path: `${shots}/${name}.png` });
}

/** quiet asserts that the page had nothing to complain of. */
export function quiet(page) { assert.deepEqual(page.trouble, [], 'errors of the page'); }

/** eventually waits until check gives something, and returns it. */
export async function eventually(what, check, ms = patience) {
  for (const until = Date.now() + ms; ;) {
    const got = await check();
    if (got) return got;
    assert.ok(Date.now() < until, `${what}: not within ${ms} ms`);
    await new Promise((r) => setTimeout(r, 100));
  }
}

/** somebody finds an elder with a home whom no open incident is about. */
export async function somebody(page) {
  const busy = new Set((await call(page, 'GET', '/incidents?status=open&limit=1000')).items.map((i) => i.elder_id));
  for (const q of ['wang', 'li', 'zhang', 'chen', 'yang', 'zhao', 'liu']) {
    for (const hit of (await call(page, 'GET', `/elders?q=${q}&limit=50`)).items) {
      if (busy.has(hit.id)) continue;
      const elder = await call(page, 'GET', `/elders/${hit.id}`);
      if (elder.home?.lat) return elder;
    }
  }
  throw new Error('no elder is free for the test');
}

/** tidy closes every open incident, so that a test meets its own only. */
export async function tidy(page) {
  for (const i of (await call(page, 'GET', '/incidents?status=open&limit=1000')).items) {
    const { claim, status } = await call(page, 'POST', `/incidents/${i.id}/take`, { take_over: true });
    if (status !== 'resolved') await call(page, 'POST', `/incidents/${i.id}/resolve`, { claim, how: 'no_emergency' });
    await call(page, 'POST', `/incidents/${i.id}/close`, { claim, outcome: 'test' });
  }
}

/** press opens an SOS of an elder, as an operator who was told of it would. */
export async function press(page, elder) {
  const detail = await call(page, 'POST', '/incidents', { elder_id: elder.id, kinds: ['sos'], note: 'browser test' });
  return detail.incident;
}

let lines;

/**
 * order asks whoever started the test to do something to the server ("stop",
 * "start"): a line on stdout, answered by a line on stdin.
 */
export async function order(what) {
  lines ??= createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  process.stdout.write(`anling-order ${what}\n`);
  const answer = await lines.next();
  assert.equal(answer.value, `done ${what}`);
}

/** orders tells whether somebody is there to follow orders. */
export const orders = process.env.ORDERS === '1';

export function done() { lines?.return?.(); process.stdin.unref?.(); }
