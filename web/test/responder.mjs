// The responder's page in a browser: an offer on the whole screen, its way to the
// end, an action taken without a line, sizes and contrast.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { accessible, browse, call, eventually, open, operator, press, quiet, responder, shot, somebody, tidy } from './lib.mjs';

let browser;
before(async () => { browser = await browse(); });
after(() => browser.close());

const phone = { width: 390, height: 844, phone: true };

/** offered opens an incident and has it offered to the responder of the test. */
async function offered(desk, field) {
  const me = await call(field, 'GET', '/me');
  const elder = await somebody(desk);
  await field.context().setGeolocation({ latitude: elder.home.lat, longitude: elder.home.lng });
  await call(field, 'POST', '/positions', { ...elder.home, accuracy_m: 10, datum: 'wgs84' });
  const i = await press(desk, elder);
  const taken = await call(desk, 'POST', `/incidents/${i.id}/take`, {});
  const has = (await call(field, 'GET', '/offers')).items.some((o) => o.incident_id === i.id);
  if (!has) await call(desk, 'POST', `/incidents/${i.id}/dispatch`, { claim: taken.claim, responder_ids: [me.responder_id] });
  return { incident: i, elder };
}

/** sizes asserts letters of 18 px and more, and controls that a thumb meets. */
async function sizes(page, screen) {
  const wrong = await page.evaluate(() => {
    const told = [];
    const front = document.querySelector('.full') ?? document;
    for (const e of front.querySelectorAll('*')) {
      if (!e.getClientRects().length) continue;
      const text = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
      if (text && parseFloat(getComputedStyle(e).fontSize) < 18) told.push(`${e.tagName}.${e.className}: ${getComputedStyle(e).fontSize}`);
      if (e.matches('button, a') && e.getBoundingClientRect().height < 48) told.push(`${e.textContent}: ${e.getBoundingClientRect().height} px high`);
    }
    return told;
  });
  assert.deepEqual(wrong, [], `sizes on ${screen}`);
  await page.evaluate(() => document.documentElement.scrollWidth).then((w) => assert.ok(w <= 390, `${screen} is ${w} px wide`));
}

/** contrast asserts 7:1 for every text, against the nearest ground that is painted. */
async function contrast(page, screen) {
  const low = await page.evaluate(() => {
    const parse = (c) => (c.match(/[\d.]+/g) ?? []).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4)).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = (e) => {
      for (let x = e; x; x = x.parentElement) {
        const c = parse(getComputedStyle(x).backgroundColor);
        if (c.length === 3 || c[3] === 1) return c;
      }
      return [255, 255, 255];
    };
    const told = [];
    for (const e of (document.querySelector('.full') ?? document).querySelectorAll('*')) {
      if (!e.getClientRects().length || ![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
      const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
      const ratio = (a + 0.05) / (b + 0.05);
      if (ratio < 7) told.push(`${e.tagName}.${e.className} ${e.textContent.slice(0, 20)}: ${ratio.toFixed(1)}`);
    }
    return told;
  });
  assert.deepEqual(low, [], `contrast on ${screen}`);
}

async function look(page, screen) {
  await accessible(page, screen);
  await sizes(page, screen);
  await contrast(page, screen);
  await shot(page, screen);
}

async function onDuty(page) {
  await page.locator('.duty h1').waitFor();
  await eventually('the duty is known', async () => !(await page.locator('.duty button').first().isDisabled()));
  if (!(await page.locator('.duty.on').count())) await page.locator('.duty .go').click();
  await page.locator('.duty.on').waitFor();
}

for (const [theme, lang] of [['day', 'zh-CN'], ['night', 'en']]) {
  test(`an offer to its end, ${theme}, ${lang}`, async () => {
    const desk = await open(browser, operator);
    await tidy(desk);
    const page = await open(browser, responder, { ...phone, theme, lang });
    await onDuty(page);
    await look(page, `responder-duty-${theme}`);
    await page.locator('.bar button').click();
    await look(page, `responder-settings-${theme}`);
    await page.locator('.bar button').click();

    const { incident, elder } = await offered(desk, page);
    const alert = page.locator('.alert');
    await alert.waitFor();
    const before = await alert.innerText();
    assert.ok(!before.includes(elder.name) && !(elder.address && before.includes(elder.address)), 'name and address are not shown before the acceptance');
    assert.match(await page.locator('.countdown').innerText(), /\d\d:\d\d/);
    await look(page, `responder-offer-${theme}`);
    const [yes, no] = await Promise.all([page.locator('.alert .go.huge').boundingBox(), page.locator('.alert .plain.huge').boundingBox()]);
    assert.ok(yes.height >= 72 && no.height >= 72, 'accept and decline are 72 px high');
    assert.ok(no.y - (yes.y + yes.height) >= 96, 'accept and decline are 96 px apart');
    await eventually('the offer is seen', async () => (await call(desk, 'GET', `/incidents/${incident.id}`)).offers.some((o) => o.seen_at));
    await page.locator('.alert .plain.huge').click();
    await page.locator('.reasons').waitFor();
    await look(page, `responder-decline-${theme}`);
    await page.locator('.reasons .go').click();

    await page.locator('.alert .go.huge').click();
    await page.locator('.job .address').waitFor();
    const sheet = await page.locator('.job').innerText();
    assert.ok(sheet.includes(elder.name) && sheet.includes(elder.address), 'name and address are shown after the acceptance');
    assert.equal(await page.locator('.maps a').count(), 4);
    assert.match(await page.locator('.maps a').first().getAttribute('href'), /^https:\/\/uri\.amap\.com\/navigation\?to=\d+\.\d{6},\d+\.\d{6}/);
    await look(page, `responder-job-${theme}`);

    for (const [is, n] of [['en_route', 1], ['on_scene', 2]]) {
      await page.locator('.action .go').click();
      await page.locator('.progress li.did').nth(n).waitFor();
      await eventually(is, async () => (await call(desk, 'GET', `/incidents/${incident.id}`)).assignments.some((a) => a.status === is));
    }
    await page.locator('.action .go').click();
    await page.locator('.reasons').waitFor();
    await look(page, `responder-outcome-${theme}`);
    await page.locator('.reasons .plain').first().click();
    await page.locator('.duty.on').waitFor();
    await page.locator('.past li').first().waitFor();
    const d = await call(desk, 'GET', `/incidents/${incident.id}`);
    assert.ok(d.assignments.some((a) => a.status === 'done' && a.outcome === 'helped_at_home'), 'done with its outcome');
    await call(desk, 'POST', `/incidents/${incident.id}/resolve`, { claim: d.incident.claim, how: 'responder_saw' });
    await call(desk, 'POST', `/incidents/${incident.id}/close`, { claim: d.incident.claim, outcome: 'helped_at_home' });
    quiet(page);
    await page.context().close();
    await desk.context().close();
  });
}

test('declining asks one reason and gives it to the desk', async () => {
  const desk = await open(browser, operator);
  await tidy(desk);
  const page = await open(browser, responder, phone);
  await onDuty(page);
  const { incident } = await offered(desk, page);
  await page.locator('.alert .plain.huge').click();
  await page.locator('.reasons .plain').nth(1).click();
  await page.locator('.alert').waitFor({ state: 'detached' });
  await eventually('declined', async () => (await call(desk, 'GET', `/incidents/${incident.id}`)).offers.some((o) => o.status === 'declined' && o.reason === 'with_elder'));
  await page.context().close();
  await desk.context().close();
});

test('a step taken without a line is sent when it is back, once and in order', async () => {
  const desk = await open(browser, operator);
  await tidy(desk);
  const page = await open(browser, responder, phone);
  await onDuty(page);
  const { incident } = await offered(desk, page);
  await page.locator('.alert .go.huge').click();
  await page.locator('.job .address').waitFor();
  await page.context().setOffline(true);
  await page.locator('.action .go').click();
  await page.locator('.action .go').click();
  await page.locator('.bar .net.bad').waitFor();
  assert.match(await page.locator('.bar .net').innerText(), /2/);
  await page.locator('.progress li.did').nth(2).waitFor();
  await shot(page, 'responder-offline');
  const was = (await call(desk, 'GET', `/incidents/${incident.id}`)).assignments.find((a) => a.responder_id);
  assert.equal(was.status, 'accepted', 'the server knows nothing yet');
  await page.context().setOffline(false);
  const a = await eventually('both steps', async () => (await call(desk, 'GET', `/incidents/${incident.id}`)).assignments.find((x) => x.status === 'on_scene'));
  assert.ok(Date.parse(a.en_route_at) <= Date.parse(a.on_scene_at));
  await page.locator('.bar .net:not(.bad)').waitFor();
  await page.locator('.action .go').click();
  await page.locator('.reasons .plain').first().click();
  await page.locator('.duty').waitFor();
  await page.context().close();
  await desk.context().close();
});
