// SushiSwap publishes its first exchange's source only: compiles its factory, pair and router with the compiler they were written for, into
// `build/bytecode/NAME.json` of the package.
const { execFileSync } = require('child_process');
const fs = require('fs');
const path = require('path');

const root = path.join(__dirname, 'node_modules/@sushiswap/core');
const out = path.join(root, 'build/bytecode');
const names = ['UniswapV2Factory', 'UniswapV2Pair', 'UniswapV2Router02'];

const sources = {};
function add(file) {
  if (sources[file]) return;
  const content = fs.readFileSync(path.join(root, file), 'utf8');
  sources[file] = { content };
  for (const [, imported] of content.matchAll(/import\s+["']([^"']+)["']/g)) {
    add(path.posix.join(path.posix.dirname(file), imported));
  }
}
names.forEach((name) => add(`contracts/uniswapv2/${name}.sol`));

const input = {
  language: 'Solidity',
  sources,
  settings: { optimizer: { enabled: true, runs: 5000 }, outputSelection: { '*': { '*': ['evm.bytecode.object'] } } },
};
const solc = path.join(__dirname, 'solc-0.6.12');
const options = { input: JSON.stringify(input), maxBuffer: 64 << 20 };
const output = JSON.parse(execFileSync(process.execPath, ['--stack-size=8192', solc], options));
const errors = (output.errors || []).filter((error) => error.severity === 'error');
if (errors.length > 0) throw new Error(errors[0].formattedMessage);

fs.mkdirSync(out, { recursive: true });
for (const name of names) {
  const bytecode = `0x${output.contracts[`contracts/uniswapv2/${name}.sol`][name].evm.bytecode.object}`;
  fs.writeFileSync(path.join(out, `${name}.json`), JSON.stringify({ bytecode }));
}
