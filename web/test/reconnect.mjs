// The server is killed and started again: both pages say so, go on by themselves,
// and miss nothing that happened meanwhile. Needs somebody who follows orders
// (ORDERS=1): see order in lib.mjs.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { browse, call, done, open, operator, order, orders, press, quiet, responder, shot, somebody, tidy } from './lib.mjs';

let browser;
before(async () => { browser = await browse(); });
after(async () => { await browser.close(); done(); });

test('killed and started again', { skip: orders ? false : 'nobody restarts the server: ORDERS is not 1' }, async () => {
  const page = await open(browser, operator);
  const field = await open(browser, responder, { width: 390, height: 844, phone: true });
  await page.locator('.bottom .l-live').waitFor();
  await tidy(page);
  const one = await press(page, await somebody(page));
  await page.locator('.group.main button.item').first().click();
  await page.locator('.headline').waitFor();

  await order('stop');
  await page.locator('.banners .banner').first().waitFor();
  await field.locator('.bar .net.bad').waitFor();
  await shot(page, 'console-lost');
  // A note written now is kept and sent when the line is back.
  await page.locator('.note input').fill('while the line is away');
  await page.keyboard.press('Enter');
  await page.locator('.banners .banner').nth(1).waitFor();

  await order('start');
  await page.locator('.bottom .l-live').waitFor();
  await field.locator('.bar .net:not(.bad)').waitFor();
  await page.locator('.banners .banner').first().waitFor({ state: 'detached' });
  const note = page.locator('.timeline li.noted', { hasText: 'while the line is away' });
  await note.first().waitFor();
  const kept = (await call(page, 'GET', `/incidents/${one.id}`)).incident.notes.filter((n) => n.text === 'while the line is away');
  assert.equal(kept.length, 1, 'the note is there once');

  const two = await press(page, await somebody(page));
  const name = (await call(page, 'GET', `/incidents/${two.id}`)).elder.name;
  await page.mouse.move(960, 1070);
  await page.locator('.group.main button.item', { hasText: name }).first().waitFor();
  const shown = await page.locator('.group.main .count').first().innerText();
  const open2 = (await call(page, 'GET', '/incidents?status=open')).items;
  assert.equal(Number(shown), open2.length, 'the list equals a fresh one');
  assert.ok(open2.some((i) => i.id === one.id), 'what was open before is open still');
  quiet(page);
  await page.context().close();
  await field.context().close();
});
