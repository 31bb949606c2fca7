"""The page of `doctor_sun.data.review`: one file, no address but its own server's."""

PAGE = r"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Review of translations</title><style nonce="{{nonce}}">
:root { --ink: #1d2328; --soft: #5b6670; --paper: #f6f7f8; --card: #fff; --line: #d9dee2;
  --accent: #1f5f8b; --mark: #fdeeb5; --good: #1c6b3a; --bad: #a3262a }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaed; --soft: #9aa6b0; --paper: #14181b;
  --card: #1d2327; --line: #363f46; --accent: #7db8e0; --mark: #57481a; --good: #7fcf9c;
  --bad: #f19a9c } }
* { box-sizing: border-box }
body { margin: 0; color: var(--ink); background: var(--paper);
  font: 16px/1.6 system-ui, "Noto Sans", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei",
  sans-serif }
main, header { max-width: 72rem; margin: 0 auto; padding: 0 1.25rem }
header { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; align-items: baseline;
  padding-top: 1.25rem }
h1 { font-size: 1.15rem; margin: 0 } #progress, .meta { color: var(--soft) }
progress { flex: 1 1 8rem; height: .5rem; accent-color: var(--accent) }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  margin: 1rem 0; overflow: hidden }
.reason { padding: .7rem 1.1rem; border-bottom: 1px solid var(--line); display: flex;
  flex-wrap: wrap; gap: .2rem 1.4rem }
.reason b { font-weight: 600 } .id { font: .8rem/2 ui-monospace, monospace; color: var(--soft) }
.turn { display: grid; grid-template-columns: 5.5rem 1fr 1fr; gap: 0 1.25rem;
  padding: .8rem 1.1rem; border-top: 1px solid var(--line) }
.turn:first-of-type { border-top: 0 }
.role { color: var(--soft); font-size: .85rem; line-height: 1.9 }
.text { white-space: pre-wrap; overflow-wrap: anywhere; min-width: 0 }
.text:lang(zh) { font-size: 1.06rem; line-height: 1.75 }
@media (max-width: 46rem) { .turn { grid-template-columns: 1fr; gap: .3rem } }
mark { background: var(--mark); color: inherit; border-radius: .2rem; padding: 0 .12em }
textarea { width: 100%; font: inherit; color: inherit; background: var(--paper);
  border: 1px solid var(--accent); border-radius: .35rem; padding: .35rem .5rem; resize: vertical }
.actions { display: flex; flex-wrap: wrap; gap: .6rem; position: sticky; bottom: 0;
  background: var(--paper); padding: .9rem 0 1.2rem }
button { font: inherit; color: var(--ink); background: var(--card); cursor: pointer;
  border: 1px solid var(--line); border-radius: .45rem; padding: .4rem .95rem }
button:hover { border-color: var(--accent) }
button:focus-visible, textarea:focus-visible { outline: 3px solid var(--accent);
  outline-offset: 1px }
#accept { color: var(--good) } #reject { color: var(--bad) }
kbd { font: .78rem ui-monospace, monospace; color: var(--soft); margin-left: .45rem;
  border: 1px solid var(--line); border-radius: .25rem; padding: .05rem .35rem }
.spacer { flex: 1 } [hidden] { display: none }
#said { min-height: 1.6rem; color: var(--soft) } #said.error { color: var(--bad) }
</style></head><body>
<header><h1>Review of translations</h1><span id="progress"></span>
<progress id="bar" value="0" max="1" aria-labelledby="progress"></progress></header>
<main><div class="card" id="card"></div>
<div id="said" role="status" aria-live="polite"></div>
<div class="actions" id="deciding">
<button id="accept">Accept<kbd>A</kbd></button><button id="edit">Edit<kbd>E</kbd></button>
<button id="reject">Reject<kbd>R</kbd></button><span class="spacer"></span>
<button id="back">Back<kbd>&larr;</kbd></button><button id="next">Next<kbd>&rarr;</kbd></button>
<button id="open">Next open<kbd>N</kbd></button></div>
<div class="actions" id="editing" hidden>
<button id="save">Save and accept<kbd>Ctrl Enter</kbd></button>
<button id="cancel">Cancel<kbd>Esc</kbd></button></div></main>
<script nonce="{{nonce}}">
"use strict"
const token = new URLSearchParams(location.search).get("token")
history.replaceState(null, "", "/?token=" + encodeURIComponent(token))
const at = id => document.getElementById(id)
const MARKED = new RegExp("(\\d+(?:[.,]\\d+)*\\s?%?|[左右双未无否]|<image>" +
  "|\\b(?:left|right|bilateral|both|no|not|without)\\b)", "i")
let state = { count: 0, open: [] }, number = 0, item = null

async function call(path, body) {
  const options = { headers: { "X-Token": token } }
  if (body) {
    options.method = "POST"
    options.headers["Content-Type"] = "application/json"
    options.body = JSON.stringify(body)
  }
  const answer = await fetch(path, options)
  const found = await answer.json()
  if (!answer.ok) throw new Error(found.error)
  return found
}
function element(tag, name, text, language) {
  const made = document.createElement(tag)
  if (name) made.className = name
  if (language) made.lang = language
  if (text !== undefined) made.textContent = text
  return made
}
function marked(text, language) {
  const cell = element("div", "text", undefined, language)
  for (const part of text.split(MARKED)) {
    if (part) cell.append(part.search(MARKED) === 0 ? element("mark", "", part) : part)
  }
  return cell
}
function say(text, wrong) {
  at("said").textContent = text
  at("said").className = wrong ? "error" : ""
}
function draw(editing) {
  const card = at("card")
  card.replaceChildren()
  at("deciding").hidden = editing
  at("editing").hidden = !editing
  const done = state.count - state.open.length
  at("progress").textContent = `${done} of ${state.count} decided`
  at("bar").max = Math.max(state.count, 1)
  at("bar").value = done
  if (!item) {
    card.append(element("div", "reason", "Nothing is waiting for review."))
    return
  }
  const reason = element("div", "reason")
  reason.append(element("b", "", `${number + 1}. ${item.reason}`))
  if (item.scores) reason.append(element("span", "meta",
    `fluency ${item.scores.fluency} of 5, adequacy ${item.scores.adequacy} of 5`))
  reason.append(element("span", "meta", item.source), element("span", "id", item.id.slice(0, 12)))
  card.append(reason)
  const shown = item.decided && item.decided.turns || item.turns
  item.source_turns.forEach((turn, i) => {
    const row = element("div", "turn")
    row.append(element("div", "role", turn.role), marked(turn.text, "en"))
    if (editing) {
      const field = element("textarea", "text", shown[i].text, "zh-CN")
      field.rows = Math.max(2, Math.ceil(shown[i].text.length / 28))
      field.setAttribute("aria-label", `translation of turn ${i + 1}`)
      row.append(field)
    } else row.append(marked(shown[i].text, "zh-CN"))
    card.append(row)
  })
  if (editing) card.querySelector("textarea").focus()
  const words = { accept: "Accepted", edit: "Edited and accepted", reject: "Rejected" }
  if (item.decided && !editing)
    say(`${words[item.decided.decision]} by ${item.decided.reviewer}, ${item.decided.time}`)
}
async function go(to) {
  if (!state.count) return draw(false)
  number = Math.min(Math.max(to, 0), state.count - 1)
  item = await call(`/item/${number}`)
  say("")
  draw(false)
}
function nextOpen() {
  const later = state.open.find(n => n > number)
  const found = later === undefined ? state.open[0] : later
  if (found !== undefined) return go(found)
  return go(number).then(() => say("Everything is decided. The next run of the job applies it."))
}
async function decide(decision, texts) {
  try {
    state = await call(`/item/${number}`, { decision, texts })
    await nextOpen()
  } catch (error) { say(error.message, true) }
}
const actions = {
  accept: () => decide("accept"), reject: () => decide("reject"), edit: () => draw(true),
  back: () => go(number - 1), next: () => go(number + 1), open: nextOpen,
  save: () => decide("edit", [...document.querySelectorAll("textarea")].map(f => f.value)),
  cancel: () => draw(false),
}
for (const [id, act] of Object.entries(actions)) at(id).addEventListener("click", act)
const keys = { a: "accept", e: "edit", r: "reject", n: "open", ArrowLeft: "back",
  ArrowRight: "next" }
document.addEventListener("keydown", event => {
  if (!at("editing").hidden) {
    if (event.key === "Escape") actions.cancel()
    if (event.key === "Enter" && event.ctrlKey) actions.save()
    return
  }
  if (event.ctrlKey || event.metaKey || event.altKey || !item) return
  const act = keys[event.key]
  if (act) { event.preventDefault(); actions[act]() }
})
call("/state").then(found => {
  state = found
  return go(state.open.length ? state.open[0] : 0)
}).catch(error => say(error.message, true))
</script></body></html>
"""
