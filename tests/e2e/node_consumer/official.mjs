// Whether the document is an AsyncAPI document by the specification's own parser.
//
//     node official.mjs <asyncapi.json>
//
// Writes the version and what the parser has to say against it, as one JSON object.

import { readFileSync } from "node:fs";

import { Parser } from "@asyncapi/parser";

const source = readFileSync(process.argv[2], "utf8");
const { document, diagnostics } = await new Parser().parse(source);
const told = diagnostics.map(({ severity, code, message, path }) => ({ severity, code, message, path: path.join("/") }));
process.stdout.write(
  JSON.stringify({
    version: document?.version() ?? null,
    channels: document?.channels().length ?? 0,
    operations: document?.operations().length ?? 0,
    diagnostics: told,
  }) + "\n",
);
