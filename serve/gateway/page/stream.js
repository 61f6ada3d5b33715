// One request as an event stream: progress in the comment lines, the answer in the data events.

// Seeds go beyond what a JavaScript number holds exactly. Inside a string the quotes would be escaped,
// so this finds only keys.
const parse = (text) => JSON.parse(text.replace(/"seed":\s*(-?\d+)/g, '"seed":"$1"'));

export class Refused extends Error {}

/** Posts a chat request.
 *
 * onStep({sample, member, seed, state, verdict}) is called for every step of every sample. Resolves to
 * {choices: [{content, alpharay}], alpharay}. Throws Refused with the server's own message.
 */
export async function ask(url, body, headers, signal, onStep) {
  const reply = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body: JSON.stringify({ ...body, stream: true }),
    signal,
  });
  if (!reply.ok) throw new Refused(await told(reply));
  const answer = { choices: [], alpharay: null };
  for await (const line of lines(reply.body)) {
    if (line.startsWith(": {")) {
      const step = parse(line.slice(2)).alpharay;
      if (step) onStep(step);
    } else if (line.startsWith("data: {")) {
      take(answer, parse(line.slice(6)));
    }
  }
  return answer;
}

function take(answer, event) {
  if (event.error) throw new Refused(event.error.message);
  for (const choice of event.choices ?? []) {
    const own = (answer.choices[choice.index] ??= { content: "", alpharay: null });
    own.content += choice.delta?.content ?? "";
    if (choice.alpharay) own.alpharay = choice.alpharay;
  }
  if (event.alpharay) answer.alpharay = event.alpharay;
}

async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    const parts = (rest + (value ?? "")).split("\n");
    rest = parts.pop();
    yield* parts;
    if (done) return;
  }
}

/** The message of an error answer, whatever its form. */
export async function told(reply) {
  const text = await reply.text();
  try {
    return JSON.parse(text).error.message;
  } catch {
    return `the server answered ${reply.status}: ${text.slice(0, 300)}`;
  }
}

/** The same request for a shell. The key is named, not shown. */
export function curl(url, body, keyed) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const key = keyed ? ' -H "Authorization: Bearer $ALPHARAY_API_KEY"' : "";
  return `curl -s ${quoted(url)} -H 'Content-Type: application/json'${key} -d ${quoted(JSON.stringify(body, null, 2))}`;
}
