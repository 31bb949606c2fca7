/** The endpoint's OpenAI API: questions go out, pieces of the answer come in, failures are told. */

const WORDS = {
  401: "unauthorised",
  403: "unauthorised",
  413: "tooLarge",
  429: "busy",
  503: "busy",
};

/**
 * What went wrong: `word` is a key of the page's words, `message` is the server's own sentence.
 * `until` is the time (ms) before which the same request need not be tried again.
 */
export class Failure extends Error {
  constructor(word, { message = "", values = {}, status, code, request, wait = 0 } = {}) {
    super(message);
    const until = Date.now() + 1000 * wait;
    Object.assign(this, { word, values, status, code, request, wait, until });
  }
}

/** POST JSON; the response, or a `Failure`. */
export async function post(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  const sent = { method: "POST", headers, body: JSON.stringify(body), signal };
  const response = await fetch(path, sent).catch((error) => {
    throw signal?.aborted ? error : new Failure("unreachable");
  });
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const { error = {} } = await response.json().catch(() => ({})); // a proxy may answer in HTML
  const { status, headers } = response;
  const request = headers.get("x-request-id");
  const wait = Number(headers.get("retry-after")) || 0;
  const word = WORDS[status] ?? (status >= 500 ? "serverFault" : "refused");
  return new Failure(word, { ...error, status, request, wait });
}

/** The messages of a conversation. Earlier turns without an answer are not part of it. */
export function messages(turns, part) {
  return turns.flatMap(({ images, question, answer }) => [
    { role: "user", content: [...images.map(part), { type: "text", text: question }] },
    ...(answer ? [{ role: "assistant", content: answer }] : []),
  ]);
}

/** The chunks of a streamed answer as they arrive: `{ text, finish, tokens }`. */
export async function* stream(request, signal) {
  const asked = { ...request, stream: true, stream_options: { include_usage: true } };
  const response = await post("v1/chat/completions", asked, signal);
  const id = response.headers.get("x-request-id");
  for await (const data of events(response.body, signal, id)) {
    const { error, choices = [], usage } = JSON.parse(data);
    if (error) throw new Failure("interrupted", { ...error, request: id });
    const [{ delta, finish_reason: finish } = {}] = choices;
    yield { text: delta?.content ?? "", finish, tokens: usage?.completion_tokens };
  }
}

/** The data of server-sent events until `[DONE]`; an end without it is a failure. */
async function* events(body, signal, request) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  while (true) {
    const { value, done } = await reader.read().catch((error) => {
      throw signal.aborted ? error : new Failure("interrupted", { request });
    });
    if (done) throw new Failure("interrupted", { request });
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const data = line.startsWith("data:") ? line.slice(5).trim() : "";
      if (data === "[DONE]") return;
      if (data) yield data;
    }
  }
}
