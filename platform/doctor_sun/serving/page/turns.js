/**
 * How a turn of the conversation looks: its question, its answer, what can be done with it.
 *
 * A turn is `{ question, images, answer, state, failure, model, finish, tokens, seconds }`; its
 * state is answering, done, stopped or failed. What a model or a server says becomes text nodes
 * only, never HTML.
 */

import { thumbnail } from "./images.js";
import { languageOf, make, say } from "./words.js";

const COPIED_MS = 2000; // how long a button says that it has copied

/** The question and its pictures. */
export function questionOf({ question, images }, enlarge) {
  const pictures = images.map((image) => thumbnail(image, enlarge));
  return make(
    "article",
    { label: "you", className: "question" },
    pictures.length > 0 && make("div", { className: "images" }, ...pictures),
    textOf(question),
  );
}

/** The answer as far as it has come; `actions` are the buttons under one that has ended. */
export function answerOf(turn, actions) {
  const { answer, state, failure, model, finish } = turn;
  const ended = state !== "answering";
  const by = finish === "content_filter" ? "byRule" : "byModel";
  const aside = (word) => make("p", { word, className: "aside" });
  return make(
    "article",
    { label: "answer", className: "answer" },
    (answer || !ended) && make("p", { word: by, values: { model }, className: "by" }),
    textOf(answer),
    !ended && make("p", { word: "answering", className: "waiting" }),
    state === "stopped" && aside("stopped"),
    finish === "length" && aside("atLimit"),
    failure && make("div", { className: "failure", role: "alert" }, ...told(failure)),
    ended && !answer && aside("notSent"),
    ended && make("div", { className: "actions" }, ...actions, usageOf(turn)),
  );
}

function textOf(text) {
  return make("div", { className: "text", textContent: text, lang: languageOf(text) });
}

function usageOf({ tokens, seconds }) {
  const values = { tokens, seconds: seconds?.toFixed(1) };
  return tokens > 0 && make("span", { word: "usage", values });
}

/** What a failure says: in the page's words, in the server's, and what support will ask for. */
export function told({ word, values, message, status, code, request, wait }) {
  const detail = [status && `HTTP ${status}`, code, request && `x-request-id ${request}`];
  const known = detail.filter(Boolean).join(" · ");
  return [
    make("strong", { word, values }),
    message && make("p", { textContent: message, lang: languageOf(message) }),
    wait > 0 && make("p", { word: "retryAfter", values: { seconds: Math.ceil(wait) } }),
    known && make("p", { className: "detail", textContent: known }),
  ].filter(Boolean);
}

/** A button under an answer; `last` keeps it to the last turn. */
export function action(word, onclick, last = false) {
  return make("button", { word, onclick, className: last ? "link last-only" : "link" });
}

/** A retry button that can be pressed from the time `until` on, and says how long that is away. */
export function retryAction(onclick, until = 0) {
  const button = action("retry", onclick, true);
  const tick = () => {
    const seconds = Math.ceil((until - Date.now()) / 1000);
    button.disabled = seconds > 0;
    say(button, button.disabled ? "retryIn" : "retry", { seconds });
    if (button.disabled) setTimeout(tick, 1000);
  };
  tick();
  return button;
}

/** A button that copies an answer's text; `copied` is called when it has. */
export function copyAction(text, copied) {
  const button = action("copy", async () => {
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(text);
    } else { // a page without https
      getSelection().selectAllChildren(button.closest("article").querySelector(".text"));
      document.execCommand("copy");
    }
    say(button, "copied");
    setTimeout(say, COPIED_MS, button, "copy");
    copied();
  });
  return button;
}
