// The login page: axe in both languages and themes, a wrong password in words.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { accessible, base, browse, operator, shot } from './lib.mjs';

let browser;
before(async () => { browser = await browse(); });
after(() => browser.close());

for (const lang of ['zh-CN', 'en']) {
  test(`login, ${lang}`, async () => {
    const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, bypassCSP: true });
    await context.addInitScript((l) => { if (!localStorage.getItem('anling.lang')) localStorage.setItem('anling.lang', l); }, lang);
    const page = await context.newPage();
    await page.goto(`${base}/login`);
    await page.locator('input[name=name]').fill(`${operator}-nobody`);
    await page.locator('input[name=password]').fill('wrong');
    await accessible(page, 'login');
    await shot(page, `login-${lang}`);
    await page.keyboard.press('Enter');
    await page.locator('.error:not(:empty)').waitFor();
    await accessible(page, 'login, refused');
    const before = await page.locator('.error').innerText();
    await page.locator('button.lang').click();
    assert.equal(await page.evaluate(() => document.documentElement.lang), lang === 'en' ? 'zh-CN' : 'en');
    assert.ok(before.length > 0);
    await context.close();
  });
}
