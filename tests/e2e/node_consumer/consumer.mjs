// A service that works with Gnomon over NATS and knows its documents only.
//
//     node consumer.mjs <schemas folder> <nats address>
//
// Creates a task, runs it, hears what becomes of it live, reads the same from the log, sends what must be refused; every
// payload and every header, its own and Gnomon's, is checked against the documents. Writes one JSON object in the end;
// the exit code is 1 where anything is not as the documents say.

import { randomUUID } from "node:crypto";

import { jetstream } from "@nats-io/jetstream";
import { connect, createInbox, headers } from "@nats-io/transport-node";

import { Contract } from "./contract.mjs";

const PATIENCE_MS = 30_000;
const BEYOND_THE_DUPLICATE_WINDOW_MS = 300;

const [folder, address] = process.argv.slice(2);
const contract = new Contract(folder);
const nc = await connect({ servers: address });
const js = jetstream(nc);

function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come within ${PATIENCE_MS} ms`)), PATIENCE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// What is heard live, checked as it comes; whoever waits for something is told.
const heard = [];
const waiting = [];
let broken = null;

function hear(event) {
  heard.push(event);
  for (const each of [...waiting]) {
    if (each.wanted(event)) {
      waiting.splice(waiting.indexOf(each), 1);
      each.tell(event);
    }
  }
}

function live(wanted, what) {
  const there = heard.find(wanted);
  if (there) return Promise.resolve(there);
  return within(new Promise((tell, fail) => waiting.push({ wanted, tell, fail })), what);
}

const subscription = nc.subscribe("task.*");
const listening = (async () => {
  for await (const message of subscription) {
    const channel = contract.channelOf(message.subject, "live_");
    const payload = contract.read(channel, message.data, message.headers);
    hear({ name: message.subject, payload, sequence: Number(message.headers.get("Nats-Sequence")) });
  }
})().catch((error) => {
  broken = error;
  for (const each of waiting.splice(0)) each.fail(error);
});
await nc.flush();

// Publish a command and wait for its outcome on an inbox.
async function command(verb, taskId, payload, { id = randomUUID(), wrong = false } = {}) {
  const inbox = createInbox();
  const answers = nc.subscribe(inbox, { max: 1 });
  const said = headers();
  said.set("Nats-Msg-Id", id);
  said.set("Gnomon-Reply-To", inbox);
  if (!wrong) contract.check(`command.${verb}`, `command.${verb}`, payload, said);
  const operation = contract.document.operations[`receive_command_${verb}`];
  if (operation.reply.channel.$ref !== "#/channels/outcome") throw new Error(`${verb} is not answered by an outcome`);
  const subject = contract.address(`command_${verb}`, { task_id: taskId });
  const ack = await js.publish(subject, JSON.stringify(payload), { headers: said });
  if (ack.stream !== contract.stream(`command_${verb}`)) throw new Error(`stored in ${ack.stream}`);
  const first = (async () => {
    for await (const message of answers) return contract.read("outcome", message.data, message.headers);
  })();
  const outcome = await within(first, `the outcome of ${verb}`);
  if (outcome.command_id !== id) throw new Error(`the outcome is of ${outcome.command_id}, not of ${id}`);
  return outcome;
}

// Everything about a task in the log, up to a sequence.
async function stored(taskId, last) {
  // Events of other objects (templates, calendars, accounts) are in the same stream.
  const channels = contract.eventChannels("stored_").filter((name) => contract.channel(name).parameters.task_id);
  const filters = channels.map((name) => contract.filter(name, { task_id: taskId }));
  const consumer = await js.consumers.get(contract.stream(channels[0]), { filter_subjects: filters });
  const messages = await consumer.consume();
  const found = [];
  const reading = (async () => {
    for await (const message of messages) {
      const channel = contract.channelOf(message.subject, "stored_");
      const payload = contract.read(channel, message.data, message.headers);
      found.push({ name: message.subject.split(".").slice(0, 2).join("."), payload, sequence: message.seq });
      if (message.seq >= last) break;
    }
  })();
  await within(reading, `event ${last} in the log`);
  await messages.close();
  return found;
}

const taskId = `node-${randomUUID().slice(0, 8)}`;
const spec = {
  name: "From Node",
  task_type: "echo",
  config: { said: "hello" },
  schedule: { kind: "interval", every_seconds: 1 },
  tags: ["node"],
};
const created = await command("create", taskId, spec);
const fired = await live(
  (event) => event.name === "task.executed" && event.payload.task_id === taskId && event.payload.trigger === "schedule",
  "the first execution by the schedule",
);
const paused = await command("pause", taskId, { note: "that is enough" });

const runId = randomUUID();
const ran = await command("run", taskId, { trigger_data: { order: 17 }, config: { said: "now" } }, { id: runId });
const executed = await live(
  (event) => event.name === "task.executed" && event.payload.execution_id === ran.execution.execution_id,
  "the execution on demand",
);

// The same command again is answered again, and nothing runs twice.
await new Promise((resolve) => setTimeout(resolve, BEYOND_THE_DUPLICATE_WINDOW_MS));
const again = await command("run", taskId, { trigger_data: { order: 17 }, config: { said: "now" } }, { id: runId });

const wrongId = `${taskId}-wrong`;
const refused = await command("create", wrongId, { ...spec, schedule: { kind: "cron", expression: "61 * * * *" } });
const rejected = await live(
  (event) => event.name === "task.rejected" && event.payload.task_id === wrongId,
  "the refusal as an event",
);
// What the documents do not allow is refused too.
const unknown = { name: "N", task_type: "echo", nam: 1 };
const allowed = contract.schemas.get("command.create")(unknown);
const unknownOutcome = await command("create", `${taskId}-unknown`, unknown, { wrong: true });

const deleted = await command("delete", taskId, {});
const last = await live((event) => event.name === "task.deleted" && event.payload.task_id === taskId, "the end");

const log = await stored(taskId, last.sequence);
// Work is kept in a stream of its own; what comes after the deletion (what it withdrew) was not read above.
const mine = heard.filter(
  (event) => event.payload.task_id === taskId && event.name !== "task.due" && event.sequence <= last.sequence,
);
if (broken) throw broken;
subscription.unsubscribe();
await listening;
await nc.drain();

process.stdout.write(
  JSON.stringify({
    created: created.created,
    fired: fired.payload.status,
    paused: paused.task.status,
    result: executed.payload.result,
    run: executed.payload.run,
    runId,
    replayed: again.replayed,
    runs: log.filter((event) => event.name === "task.executed" && event.payload.run === `r-${runId}`).length,
    refused: refused.error.code,
    rejected: rejected.payload.error.errors.map((error) => error.pointer),
    unknown: { documents: allowed, gnomon: unknownOutcome.ok, code: unknownOutcome.error.code },
    deleted: deleted.ok,
    live: mine.map((event) => [event.sequence, event.name]),
    log: log.map((event) => [event.sequence, event.name]),
    checked: Object.fromEntries(contract.checked),
  }) + "\n",
);
