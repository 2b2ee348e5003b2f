#!/usr/bin/env node
// The Solidity compiler's WebAssembly build dressed as the native program that forge runs: answers `--version`, and compiles the
// standard JSON on its standard input. Every source comes with the input, so nothing is read on its behalf. Which version it is, its own
// file's name says: `solc-0.8.26`.
const fs = require('fs');
const path = require('path');

const version = path.basename(__filename);
const compiler = require(path.join(__dirname, 'node_modules', version, 'soljson.js'));

function answer() {
  if (process.argv.includes('--version')) {
    const named = compiler.cwrap('solidity_version', 'string', [])();
    return `solc, the solidity compiler commandline interface\nVersion: ${named}\n`;
  }
  const compile = compiler.cwrap('solidity_compile', 'string', ['string', 'number', 'number']);
  return compile(fs.readFileSync(0, 'utf8'), 0, 0);
}

fs.writeFileSync(1, answer());
// The emscripten runtime keeps handlers that would hold the process.
process.exit(0);
