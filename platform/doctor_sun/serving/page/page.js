/**
 * The page: the conversation, the composer, and what the browser keeps.
 *
 * What may be about a patient lives in this tab alone: text in sessionStorage, images in memory.
 */

import { Failure, messages, stream } from "./chat.js";
import { card, part, read } from "./images.js";
import { action, answerOf, copyAction, questionOf, retryAction, told } from "./turns.js";
import { language, languageOf, make, speak, word } from "./words.js";

const HISTORY = "doctor-sun.conversation";
const LANGUAGE = "doctor-sun.language";
const THEME = "doctor-sun.theme";
const NEAR_END = 80; // pixels from the end within which the view follows an answer

const at = (id) => document.getElementById(id);
const question = at("question");
const main = document.querySelector("main");
const session = storage("sessionStorage");
const local = storage("localStorage");
const systemDark = matchMedia("(prefers-color-scheme: dark)");

let settings; // what the endpoint offers
let turns = [];
let images = []; // of the next question
let running; // the AbortController of the answer that is being streamed
let atEnd = true; // whether the view stays at the end of the conversation while it grows

/* The conversation */

function send() {
  if (!ready()) return;
  const turn = { question: question.value.trim(), images };
  turns.push(turn);
  empty();
  ask(turn);
}

/** Ask a turn's question, again if it was answered, and show the answer as it comes. */
async function ask(turn) {
  const mine = (running = new AbortController());
  const unknown = { failure: null, finish: null, tokens: null };
  Object.assign(turn, { answer: "", state: "answering", model: at("model").value, ...unknown });
  show(turn);
  atEnd = true;
  main.scrollTop = main.scrollHeight;
  announce(word("answering"));
  const started = performance.now();
  try {
    for await (const chunk of stream(request(turn), mine.signal)) grow(turn, chunk);
    turn.state = "done";
  } catch (error) {
    turn.state = mine.signal.aborted ? "stopped" : "failed";
    if (turn.state === "failed") turn.failure = failureFrom(error);
  }
  mine.abort(); // whatever is left is not read
  if (!turns.includes(turn)) return; // cleared meanwhile
  running = undefined;
  turn.seconds = (performance.now() - started) / 1000;
  show(turn);
  announce(turn.state === "stopped" ? `${word("stopped")} ${turn.answer}` : turn.answer);
  save();
}

function request(turn) {
  const longest = at("max-tokens").valueAsNumber;
  return {
    model: turn.model,
    messages: messages(turns.filter((other) => other === turn || other.answer), part),
    temperature: at("temperature").valueAsNumber,
    ...(longest > 0 && { max_tokens: longest }),
  };
}

function grow(turn, { text, finish, tokens }) {
  const piece = turn.answer ? text : text.trimStart();
  turn.answer += piece;
  turn.finish = finish ?? turn.finish;
  turn.tokens = tokens ?? turn.tokens;
  const shown = turn.element.querySelector(".answer .text");
  shown.lang = languageOf(turn.answer);
  shown.append(piece);
}

function show(turn) {
  turn.element ??= at("thread").appendChild(make("li", {}, questionOf(turn, enlarge), make("p")));
  turn.element.lastChild.replaceWith(answerOf(turn, actionsOf(turn)));
  update();
}

function actionsOf(turn) {
  const retry = () => {
    ask(turn);
    focusQuestion();
  };
  const copied = () => announce(word("copied"));
  return [
    turn.answer && copyAction(turn.answer, copied),
    !lost() && retryAction(retry, turn.failure?.until),
    !lost() && action("edit", () => edit(turn), true),
  ];
}

/** Take the last question back into the composer. */
function edit(turn) {
  turns.pop();
  turn.element.remove();
  question.value = [turn.question, question.value.trim()].filter(Boolean).join("\n");
  turn.images.forEach(attach);
  save();
  focusQuestion();
}

function stop() {
  if (!running) return;
  running.abort();
  focusQuestion();
}

/** Begin anew: the conversation is gone from the browser, and an unfinished answer is stopped. */
function clear() {
  running?.abort();
  running = undefined;
  turns = [];
  at("thread").replaceChildren();
  empty();
  save();
  focusQuestion();
}

/** Whether the conversation had images that went with a reload: then it can only be read. */
function lost() {
  return turns.some((turn) => turn.images.some((image) => !image.shown));
}

/** Stay at the end of the conversation while it grows, unless the reader scrolls up. */
function followEnd() {
  let before = 0;
  main.onscroll = () => {
    const { scrollHeight, scrollTop, clientHeight } = main;
    const near = scrollHeight - scrollTop - clientHeight < NEAR_END;
    atEnd = near || (atEnd && scrollTop >= before); // it may have grown since it was scrolled
    before = scrollTop;
  };
  const observer = new ResizeObserver(() => {
    if (atEnd && turns.length) main.scrollTop = main.scrollHeight;
  });
  observer.observe(main);
  observer.observe(at("thread"));
}

/* The composer */

/** Read files one after another and attach those that are images. */
async function add(files) {
  if (at("asking").disabled) return;
  at("notice").hidden = true;
  for (const file of files) {
    const held = turns.filter(({ answer }) => answer).flatMap((turn) => turn.images);
    if (held.length + images.length >= settings.max_images) {
      complain(new Failure("tooMany", { values: { limit: settings.max_images } }));
      break;
    }
    await attachFile(file);
  }
}

async function attachFile(file) {
  const image = { name: file.name, busy: true };
  attach(image);
  try {
    await read(image, file, settings.max_image_bytes);
    image.busy = false;
    draw(image);
  } catch (error) {
    detach(image);
    complain(error);
  }
  update();
}

function attach(image) {
  images.push(image);
  image.element = at("attached").appendChild(make("li"));
  draw(image);
  update();
}

function draw(image) {
  const drawn = card(image, { enlarge, remove: detach, changed: update, failed: complain });
  image.element.replaceWith(drawn);
  image.element = drawn;
}

function detach(image) {
  images = images.filter((other) => other !== image);
  image.element.remove();
  update();
  focusQuestion();
}

function empty() {
  images = [];
  question.value = "";
  at("attached").replaceChildren();
  at("notice").hidden = true;
  update();
}

function complain(error) {
  at("notice").replaceChildren(...told(failureFrom(error)));
  at("notice").hidden = false;
}

function failureFrom(error) {
  return error instanceof Failure ? error : new Failure("interrupted", { message: `${error}` });
}

function ready() {
  const busy = running || images.some((image) => image.busy);
  return !at("asking").disabled && !busy && question.value.trim() !== "";
}

/** Make all controls agree with the state. */
function update() {
  at("welcome").hidden = turns.length > 0;
  at("lost").hidden = !lost();
  at("asking").disabled = !settings || lost();
  at("stop").hidden = !running;
  at("send").hidden = Boolean(running);
  at("send").disabled = !ready();
}

/** Focus the question, except on a touch screen, where that would bring up the keyboard. */
function focusQuestion() {
  if (matchMedia("(pointer: fine)").matches) question.focus();
}

function announce(text) {
  at("status").textContent = text;
}

function enlarge({ name, shown }) {
  Object.assign(at("viewer").querySelector("img"), { src: shown, alt: name });
  at("viewer").showModal();
}

/* What the browser keeps */

/** A storage of the browser, or nothing where a policy forbids it. */
function storage(kind) {
  try {
    return window[kind];
  } catch {
    return undefined;
  }
}

function save() {
  const kept = turns.map(({ element, images: asked, failure, ...rest }) => ({
    ...rest,
    images: asked.map(({ name }) => ({ name })),
    failure: failure && { ...failure, message: failure.message },
  }));
  if (kept.length) session?.setItem(HISTORY, JSON.stringify(kept));
  else session?.removeItem(HISTORY);
}

function restore() {
  turns = JSON.parse(session?.getItem(HISTORY) ?? "[]");
  for (const turn of turns) if (turn.state === "answering") turn.state = "stopped";
  turns.forEach(show);
}

/* Language, theme, start */

function localise(chosen) {
  speak(chosen);
  if (!settings) return;
  at("disclaimer").textContent = settings.disclaimer[language];
  at("examples").replaceChildren(...settings.examples.map(exampleOf));
}

function exampleOf({ name, image, question: asked }) {
  const onclick = async () => {
    const response = await fetch(image).catch(() => undefined);
    if (!response?.ok) return complain(new Failure("unreachable", { status: response?.status }));
    question.value = asked[language];
    await add([new File([await response.blob()], name)]);
    focusQuestion();
  };
  const picture = make("img", { src: image, alt: "" });
  const text = make("span", { textContent: asked[language] });
  return make("li", {}, make("button", { onclick }, picture, text));
}

function paint() {
  const theme = local?.getItem(THEME) ?? (systemDark.matches ? "dark" : "light");
  document.documentElement.dataset.theme = theme;
}

function listenToControls() {
  at("start-new").onclick = clear;
  for (const button of document.querySelectorAll(".clear")) button.onclick = clear;
  at("switch-language").onclick = () => {
    localise(language === "en" ? "zh" : "en");
    local?.setItem(LANGUAGE, language);
  };
  at("switch-theme").onclick = () => {
    const { theme } = document.documentElement.dataset;
    local?.setItem(THEME, theme === "dark" ? "light" : "dark");
    paint();
  };
  systemDark.onchange = paint;
  at("open-settings").onclick = () => at("settings").showModal();
  at("temperature").oninput = () => {
    at("shown-temperature").value = at("temperature").value;
  };
  at("stop").onclick = stop;
  at("add").onclick = () => at("files").click();
  at("files").onchange = ({ target }) => {
    add([...target.files]);
    target.value = ""; // so that the same file can be chosen again
  };
  at("composer").onsubmit = (event) => {
    event.preventDefault();
    send();
    focusQuestion();
  };
}

function listenToKeys() {
  question.oninput = update;
  question.onkeydown = (event) => {
    const composing = event.isComposing || event.keyCode === 229; // Enter picks a character
    if (event.key !== "Enter" || event.shiftKey || composing) return;
    event.preventDefault();
    send();
  };
  document.onkeydown = ({ key, isComposing }) => {
    const inDialog = document.querySelector("dialog[open]");
    if (key === "Escape" && !isComposing && !inDialog) stop();
  };
}

function listenToFiles() {
  const drag = (over) => document.body.classList.toggle("dragging", over);
  const take = (event, files) => {
    drag(false);
    if (!files.length) return;
    event.preventDefault();
    add(files);
  };
  document.onpaste = (event) => {
    const { files, types } = event.clipboardData;
    const isTable = types.includes("text/plain") && types.includes("text/html");
    take(event, isTable ? [] : [...files]); // of a table, programs copy a picture too
  };
  document.ondrop = (event) => take(event, [...event.dataTransfer.files]);
  document.ondragover = (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    drag(true);
  };
  document.ondragleave = ({ relatedTarget }) => {
    if (!relatedTarget) drag(false); // it left the page, not just one element for another
  };
}

async function start() {
  paint();
  const preferred = navigator.language.startsWith("zh") ? "zh" : "en";
  localise(local?.getItem(LANGUAGE) ?? preferred);
  listenToControls();
  listenToKeys();
  listenToFiles();
  followEnd();
  window.onpagehide = save;
  document.body.classList.remove("starting");
  const response = await fetch("page/settings.json").catch(() => undefined);
  if (!response?.ok) return complain(new Failure("unreachable", { status: response?.status }));
  settings = await response.json();
  at("model").replaceChildren(...settings.models.map((name) => new Option(name)));
  at("model").hidden = settings.models.length < 2;
  localise(language);
  restore();
  update();
  focusQuestion();
}

start();
