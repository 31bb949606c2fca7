/**
 * The images of a question: checked and read here, DICOM files shown by the endpoint.
 *
 * An image is `{ name, source, shown, view, dicom }`: `source` is the file as a data URL (what is
 * asked about) and `shown` the picture on the page. Of a DICOM file, `view` is the frame and window
 * that `shown` shows and that go with the question; `dicom` is what the endpoint said of it.
 */

import { Failure, post } from "./chat.js";
import { make } from "./words.js";

const SIGNATURES = [
  ["image/png", 0, "\x89PNG"],
  ["image/jpeg", 0, "\xff\xd8\xff"],
  ["image/webp", 8, "WEBP"],
  ["image/gif", 0, "GIF8"],
  ["application/dicom", 128, "DICM"],
];
const STILL_MS = 200; // how long sliders rest before the picture is asked for

/** Fill in an image from its file. Throws a `Failure` if it is too large or no image. */
export async function read(image, file, limit) {
  const { name } = file;
  if (file.size > limit) {
    throw new Failure("fileTooLarge", { values: { name, limit: Math.round(limit / 2 ** 20) } });
  }
  const kind = await kindOf(file);
  if (!kind) throw new Failure("wrongKind", { values: { name } });
  image.source = await dataUrl(new Blob([file], { type: kind }));
  if (kind === "application/dicom") {
    await show(image, { frame: 0, window: null });
  } else {
    image.shown = image.source;
    const probe = make("img", { src: image.shown });
    await probe.decode().catch(() => {
      throw new Failure("unreadable", { values: { name } });
    });
  }
}

async function kindOf(file) {
  const bytes = new Uint8Array(await file.slice(0, 132).arrayBuffer());
  const start = String.fromCharCode(...bytes);
  return SIGNATURES.find(([, offset, signature]) => start.startsWith(signature, offset))?.[0];
}

function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** Have the endpoint render a DICOM file as `view` says. */
async function show(image, view, signal) {
  const body = { dicom: image.source.split(",")[1], ...view };
  const { image: shown, ...dicom } = await (await post("v1/dicom/preview", body, signal)).json();
  Object.assign(image, { shown, dicom, view });
}

/** The part of a message that holds an image. */
export function part({ source, view }) {
  const url = { type: "image_url", image_url: { url: source } };
  return view ? { ...url, dicom: view.window ? view : { frame: view.frame } } : url;
}

/** A small picture that opens large, with its name and, for DICOM, what is shown of it. */
export function thumbnail(image, enlarge) {
  const { name, shown } = image;
  if (!shown) return make("figure", { word: "imageGone", values: { name }, className: "gone" });
  const picture = make("img", { src: shown, alt: name, draggable: false });
  const open = { label: "enlarge", values: { name }, type: "button", className: "picture" };
  const opener = make("button", { ...open, onclick: () => enlarge(image) }, picture);
  return make("figure", {}, opener, caption(image));
}

function caption({ name, dicom }) {
  const frame = dicom?.frames > 1 && { frame: dicom.frame + 1, frames: dicom.frames };
  const window = dicom?.window && {
    center: rounded(dicom.window.center),
    width: rounded(dicom.window.width),
  };
  return make(
    "figcaption",
    { title: name },
    make("span", { textContent: name }),
    frame && make("span", { word: "frameCaption", values: frame }),
    window && make("span", { word: "windowCaption", values: window }),
  );
}

function rounded(value) {
  return Math.round(100 * value) / 100;
}

/** A card of the composer: the picture, a button that removes it, a DICOM file's sliders. */
export function card(image, { enlarge, remove, changed, failed }) {
  const { busy, dicom } = image;
  const values = { name: image.name };
  const cross = { label: "remove", values, textContent: "×", type: "button", className: "remove" };
  const remover = make("button", { ...cross, onclick: () => remove(image) });
  if (busy) {
    return make("li", { className: "reading" }, make("span", { word: "reading", values }), remover);
  }
  const figure = thumbnail(image, enlarge);
  const controls = dicom && sliders(image, figure, changed, failed);
  return make("li", { className: dicom ? "dicom" : "" }, figure, controls, remover);
}

/** Frame, window centre and window width; the picture follows once they rest. */
function sliders(image, figure, changed, failed) {
  const frame = slider("frame");
  const center = slider("centre");
  const width = slider("width");
  let timer, asking;

  /** Ask for another picture soon; until it is there the question has to wait. */
  const move = (window, wait = STILL_MS) => {
    image.busy = true;
    changed();
    clearTimeout(timer);
    asking?.abort();
    timer = setTimeout(update, wait, { frame: frame.input.valueAsNumber - 1, window });
  };
  const moveWindow = () => {
    move({ center: center.input.valueAsNumber, width: width.input.valueAsNumber });
  };
  const update = async (view) => {
    const { signal } = (asking = new AbortController());
    try {
      await show(image, view, signal);
    } catch (error) {
      if (signal.aborted) return;
      failed(error); // and the last picture stays
    }
    image.busy = false;
    settle();
    changed();
  };
  /** Picture and sliders say what is shown. */
  const settle = () => {
    const { frame: number, frames, window, lowest, highest } = image.dicom;
    const range = highest - lowest;
    const step = range > 20 ? 1 : range / 200;
    const whole = { center: (lowest + highest) / 2, width: range }; // where a table is applied
    frame.set(number + 1, 1, frames, 1);
    center.set((window ?? whole).center, lowest, highest, step);
    width.set((window ?? whole).width, step, range, step);
    figure.querySelector("img").src = image.shown;
    figure.querySelector("figcaption").replaceWith(caption(image));
  };

  frame.input.oninput = () => move(image.view.window);
  center.input.oninput = moveWindow;
  width.input.oninput = moveWindow;
  settle();
  const grey = image.dicom.lowest !== null; // colours have no window
  const reset = { word: "reset", type: "button", className: "link", onclick: () => move(null, 0) };
  return make(
    "div",
    { className: "sliders" },
    image.dicom.frames > 1 && frame.row,
    ...(grey ? [center.row, width.row, make("button", reset)] : []),
  );
}

/** A labelled slider beside its value; its range only ever grows. */
function slider(word) {
  const output = make("output");
  const input = make("input", { label: word, type: "range" });
  const row = make("label", {}, make("span", { word }), output, input);
  const tell = () => {
    output.value = rounded(input.valueAsNumber);
  };
  let [min, max] = [Infinity, -Infinity];
  const set = (value, lowest, highest, step) => {
    min = Math.min(min, lowest, value);
    max = Math.max(max, highest, value);
    Object.assign(input, { min, max, step, value });
    tell();
  };
  input.addEventListener("input", tell);
  return { row, input, set };
}
