// The operator console in a browser: from ringing to closing by keys alone, what the
// list does under the pointer, no optimistic display, and axe on every screen.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { accessible, browse, call, eventually, open, operator, press, quiet, responder, shot, somebody, tidy } from './lib.mjs';

let browser;
before(async () => { browser = await browse(); });
after(() => browser.close());

const status = (page, id) => call(page, 'GET', `/incidents/${id}`).then((d) => d.incident.status);

test('an incident from ringing to closing, by the keyboard alone', async () => {
  const page = await open(browser, operator);
  const field = await open(browser, responder, { width: 390, height: 844, phone: true });
  const me = await call(field, 'GET', '/me');
  await call(field, 'POST', `/responders/${me.responder_id}/duty`, { duty: 'on' });

  await tidy(page);
  const elder = await somebody(page);
  await field.context().setGeolocation({ latitude: elder.home.lat, longitude: elder.home.lng });
  await call(field, 'POST', '/positions', { ...elder.home, accuracy_m: 10, datum: 'wgs84' });
  const i = await press(page, elder);
  await page.locator('.left button.item', { hasText: elder.name }).first().waitFor();

  await page.keyboard.press('F2');
  await page.locator('.headline', { hasText: i.no }).waitFor();
  await eventually('taken', async () => (await call(page, 'GET', `/incidents/${i.id}`)).incident.owner);
  assert.equal(await page.evaluate(() => document.activeElement?.id), 'centre', 'the focus is in the centre after F2');
  await page.locator('.person', { hasText: elder.name }).waitFor();
  await accessible(page, 'console, taken incident');
  await shot(page, 'console-taken');

  // The nearest is the responder of the test: he stands at the door.
  const nearest = page.locator('.ranking tbody tr').first();
  if (await nearest.isVisible()) {
    const offered = (await call(page, 'GET', `/incidents/${i.id}`)).offers.some((o) => o.responder_id === me.responder_id);
    if (!offered) {
      await page.keyboard.press('Digit1');
      await page.locator('.assignment').first().waitFor();
    }
  }
  const offer = await eventually('the offer', async () => (await call(field, 'GET', '/offers')).items.find((o) => o.incident_id === i.id));
  await call(field, 'POST', `/offers/${offer.id}/accept`, { epoch: offer.epoch, device_id: 'test', device_seq: Date.now() });
  await page.locator('.assignment .a-accepted').waitFor();
  for (const to of ['en_route', 'on_scene', 'done']) {
    await call(field, 'POST', `/assignments/${offer.assignment_id}/advance`, to === 'done' ? { status: to, outcome: 'helped_at_home' } : { status: to });
  }
  await page.locator('.steps li.did').nth(3).waitFor();
  await shot(page, 'console-done');

  await page.keyboard.press('Control+Enter');
  await page.locator('dialog').waitFor();
  await accessible(page, 'console, resolve');
  await page.keyboard.press('Enter');
  await eventually('resolved', async () => (await status(page, i.id)) === 'resolved');
  await page.locator('dialog').waitFor({ state: 'detached' });
  await page.locator('.headline .s-resolved').waitFor();

  await page.keyboard.press('Control+Enter');
  await page.locator('dialog').waitFor();
  await accessible(page, 'console, close');
  await shot(page, 'console-close');
  await page.keyboard.press('Space'); // the first outcome has the focus
  await page.keyboard.press('Enter');
  await eventually('closed', async () => (await status(page, i.id)) === 'closed');
  const timeline = (await call(page, 'GET', `/incidents/${i.id}`)).timeline.map((e) => e.type);
  for (const fact of ['dispatch.incident.opened', 'dispatch.incident.answered', 'dispatch.assignment.accepted', 'dispatch.assignment.on_scene', 'dispatch.incident.closed']) {
    assert.ok(timeline.includes(fact), `the timeline tells ${fact}`);
  }
  const words = await page.locator('.timeline li .what').allInnerTexts();
  assert.ok(words.every((w) => !/dispatch\.|callcenter\./.test(w)), `the timeline is in words: ${words}`);
  quiet(page);
  await field.context().close();
  await page.context().close();
});

test('no scrolling at 1920 × 1080, and words of 16 px and more', async () => {
  const page = await open(browser, operator);
  await press(page, await somebody(page));
  await page.locator('.left button.item').first().click();
  await page.locator('.headline').waitFor();
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  assert.ok(height <= 1080, `the page is ${height} px high`);
  const small = await page.evaluate(() => [...document.querySelectorAll('body *')].filter((e) => e.getClientRects().length
    && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) && e.tagName !== 'KBD' && parseFloat(getComputedStyle(e).fontSize) < 16).map((e) => e.className || e.tagName));
  assert.deepEqual(small, []);
  const targets = await page.evaluate(() => [...document.querySelectorAll('button, input, select')].map((e) => [e, e.getBoundingClientRect()])
    .filter(([, r]) => r.width && (r.width < 24 || r.height < 24)).map(([e, r]) => `${e.className} ${r.width}×${r.height}`));
  assert.deepEqual(targets, [], 'controls under 24 px');
  await page.context().close();
});

for (const [theme, lang] of [['day', 'zh-CN'], ['night', 'en']]) {
  test(`axe on each screen, ${theme}, ${lang}`, async () => {
    const page = await open(browser, operator, { theme, lang, ...(theme === 'night' ? { width: 1440, height: 900 } : {}) });
    await press(page, await somebody(page));
    await page.locator('.left button.item').first().waitFor();
    await accessible(page, 'console, nothing selected');
    await page.locator('.left button.item').first().click();
    await page.locator('.headline').waitFor();
    await page.locator('.person .name, .person .warn').first().waitFor();
    await accessible(page, 'console, incident');
    await shot(page, `console-${theme}-${lang}`);
    await page.keyboard.press('Control+KeyK');
    await page.locator('dialog input').fill('wang');
    await page.locator('.finder li').first().waitFor();
    await accessible(page, 'console, search');
    await shot(page, `console-search-${theme}-${lang}`);
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    await page.locator('.person .name').waitFor();
    await accessible(page, 'console, elder');
    await shot(page, `console-elder-${theme}-${lang}`);
    await page.keyboard.press('Shift+?');
    await page.locator('dialog').waitFor();
    await accessible(page, 'console, keys');
    await page.keyboard.press('Escape');
    await page.locator('dialog').waitFor({ state: 'detached' });
    assert.equal(await page.evaluate(() => document.documentElement.lang), lang);
    if (lang === 'en') {
      const chinese = await page.locator('.top, .group h2, .bottom').allInnerTexts();
      const names = (await call(page, 'GET', '/me')).display_name;
      assert.ok(!/\p{Script=Han}/u.test(chinese.join(' ').replaceAll(names, '').replaceAll('中文', '')), `English is English: ${chinese}`);
    }
    quiet(page);
    await page.context().close();
  });
}

test('a new row moves nothing that is under the pointer', async () => {
  const page = await open(browser, operator);
  await press(page, await somebody(page));
  const elder = await somebody(page);
  const first = page.locator('.left button.item').first();
  await first.hover();
  const names = () => page.locator('.group.main button.item .line:nth-child(2)').allInnerTexts();
  const were = await names();
  const i = await press(page, elder);
  await page.locator('button.fresh').waitFor();
  assert.deepEqual((await names()).slice(0, were.length), were, 'the rows stay where they are');
  await page.mouse.move(960, 1070); // away: now it is put in its place
  await page.locator('button.fresh').waitFor({ state: 'detached' });
  await call(page, 'POST', `/incidents/${i.id}/take`, {});
  await page.context().close();
});

test('no optimistic display: without an answer nothing looks done, and a repeat does it once', async () => {
  const page = await open(browser, operator);
  const i = await press(page, await somebody(page));
  const row = page.locator('.group.main button.item').filter({ hasText: (await call(page, 'GET', `/incidents/${i.id}`)).elder.name }).first();
  let held = 0;
  const keys = new Set();
  await page.route('**/take', async (route) => {
    keys.add(route.request().headers()['idempotency-key']);
    if (++held > 1) return route.continue();
    await route.fetch(); // done, but the answer is lost
    return undefined;
  });
  await row.click();
  await page.locator('.headline', { hasText: i.no }).waitFor();
  await page.locator('.headline .actions button.primary').click();
  await page.locator('.headline [aria-busy=true]').waitFor();
  const late = page.locator('.banners .banner button').first();
  await late.waitFor();
  await accessible(page, 'console, unconfirmed');
  await shot(page, 'console-unconfirmed');
  await late.click();
  await eventually('the repeat', () => held > 1); // the headline may know from the live channel before
  await page.locator('.headline [aria-busy=true]').waitFor({ state: 'detached' });
  assert.equal(keys.size, 1, 'the repeat has the key of the first');
  assert.equal(held, 2);
  const answered = (await call(page, 'GET', `/incidents/${i.id}`)).timeline.filter((e) => e.type === 'dispatch.incident.answered');
  assert.equal(answered.length, 1, 'taken once');
  await page.context().close();
});

test('keys are silent while an input method composes', async () => {
  const page = await open(browser, operator);
  await page.locator('.left button.item').first().waitFor();
  await page.evaluate(() => document.dispatchEvent(new KeyboardEvent('keydown', { code: 'KeyK', key: 'k', ctrlKey: true, isComposing: true, bubbles: true })));
  assert.equal(await page.locator('dialog').count(), 0);
  await page.keyboard.press('Control+KeyK');
  await page.locator('dialog').waitFor();
  await page.context().close();
});
