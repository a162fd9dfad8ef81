// The contract as its documents tell it, and nothing else of Gnomon: addresses, payloads, headers.

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

import Ajv from "ajv";
import Ajv2020 from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

const DOCUMENT = "urn:gnomon:asyncapi";

// Words of the documents that are no rules for a validator.
const ANNOTATIONS = ["x-maxBytes"];

export class Contract {
  constructor(schemasFolder) {
    this.document = JSON.parse(readFileSync(join(schemasFolder, "asyncapi.json"), "utf8"));
    this.draft07 = addFormats(new Ajv({ strict: false, allErrors: true }));
    this.draft07.addSchema({ components: this.document.components }, DOCUMENT);
    this.draft2020 = addFormats(new Ajv2020({ strict: true, strictTypes: false, allErrors: true }));
    for (const word of ANNOTATIONS) this.draft2020.addKeyword(word);
    this.schemas = new Map();
    const folder = join(schemasFolder, "json");
    for (const file of readdirSync(folder)) {
      const schema = JSON.parse(readFileSync(join(folder, file), "utf8"));
      this.schemas.set(schema.title, this.draft2020.compile(schema));
    }
    this.checked = new Map();
  }

  // Where a message is published: the address of its channel, with the parts filled in.
  address(channel, parts = {}) {
    return this.channel(channel).address.replace(/\{(\w+)\}/g, (_, name) => {
      if (!(name in parts)) throw new Error(`${channel} needs ${name}`);
      return parts[name];
    });
  }

  // A filter for the stored messages of a channel: parts that are left open match anything.
  filter(channel, parts = {}) {
    return this.channel(channel).address.replace(/\{(\w+)\}/g, (_, name) => parts[name] ?? "*");
  }

  stream(channel) {
    return this.channel(channel)["x-stream"];
  }

  channel(name) {
    const found = this.document.channels[name];
    if (!found) throw new Error(`the document has no channel ${name}`);
    return found;
  }

  // The channels that Gnomon sends events to, live or stored.
  eventChannels(prefix) {
    return Object.keys(this.document.channels).filter((name) => name.startsWith(prefix));
  }

  // The channel that a subject belongs to, among those with a prefix.
  channelOf(subject, prefix) {
    const tokens = subject.split(".");
    const found = this.eventChannels(prefix).filter((name) => {
      const parts = this.channel(name).address.split(".");
      return parts.length === tokens.length && parts.every((part, at) => part.startsWith("{") || part === tokens[at]);
    });
    if (found.length !== 1) throw new Error(`${subject} belongs to ${found.length} channels`);
    return found[0];
  }

  // Check a payload and headers as the documents say; what comes back is the decoded payload.
  read(channel, data, headers) {
    const [[name, reference]] = Object.entries(this.channel(channel).messages);
    const payload = JSON.parse(new TextDecoder().decode(data));
    this.check(reference.$ref.split("/").pop(), name, payload, headers);
    return payload;
  }

  check(component, name, payload, headers) {
    const pointer = `${DOCUMENT}#/components/messages/${component}`;
    const told = this.document.components.messages[component];
    this.valid(this.draft07.compile({ $ref: `${pointer}/payload` }), payload, `${component} (AsyncAPI)`);
    this.valid(this.schemas.get(name), payload, `${name} (JSON Schema)`);
    if (told.headers) {
      const given = Object.fromEntries([...(headers?.keys() ?? [])].map((key) => [key, headers.get(key)]));
      this.valid(this.draft07.compile({ $ref: `${pointer}/headers` }), given, `headers of ${component}`);
    }
    this.checked.set(component, (this.checked.get(component) ?? 0) + 1);
  }

  valid(validate, value, what) {
    if (!validate(value)) {
      throw new Error(`${what} does not fit: ${JSON.stringify(validate.errors)}\n${JSON.stringify(value)}`);
    }
  }
}
