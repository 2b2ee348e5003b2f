const test = require('node:test');
const assert = require('node:assert');

test('adds', () => {
  assert.strictEqual(1 + 1, 2);
});

test('adds wrongly', () => {
  assert.strictEqual(1 + 1, 3, 'one and one');
});

test.skip('later', () => {});
