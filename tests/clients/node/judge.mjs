// Runs one client against a base URL and prints what came out of each of its functions.
//
//     node judge.mjs sdk http://127.0.0.1:8080
//
// Each client is a module `with_NAME.mjs` here; an error is an outcome as well.

const [name, url] = process.argv.slice(2);
const client = await import(`./with_${name}.mjs`);
const found = {};
for (const kind of ["plain", "streamed", "tools", "structured"]) {
  try {
    found[kind] = await client[kind](url);
  } catch (error) {
    found[kind] = { error: String(error.stack ?? error) };
  }
}
console.log(JSON.stringify(found));
