const about = JSON.parse(document.getElementById("about").textContent);
const RUNTIME = new URL("onnxruntime/", document.baseURI);
const SHOWN = 5; // classes of a picture
const STRIP = 256; // rows that are read at once: telephones limit the size of a canvas
const results = []; // {name, probabilities} of each picture
const find = (id) => document.getElementById(id);
let loading = null; // the network, from the first picture on or when the page is idle
let queue = Promise.resolve();

class PictureError extends Error {}

function element(tag, className, ...children) {
  const found = document.createElement(tag);
  if (className) found.className = className;
  found.append(...children);
  return found;
}

function say(text, isError = false) {
  find("status").textContent = text;
  find("status").classList.toggle("error", isError);
}

async function load() {
  if (location.protocol === "file:") {
    throw new Error(
      "A browser opens this page only from a server. Run “python -m http.server” in the folder " +
        "of the page, and open http://localhost:8000.",
    );
  }
  if (!pixelsAreExact()) {
    throw new Error(
      "This browser changes the pixels that a page reads, as a protection against tracking. " +
        "Allow this page to read canvases, or use another browser.",
    );
  }
  say("Loading the network …");
  const ort = await import(new URL("ort.wasm.bundle.min.js", RUNTIME));
  ort.env.wasm.wasmPaths = { wasm: new URL("ort-wasm-simd-threaded.wasm", RUNTIME).href };
  ort.env.wasm.numThreads = 1; // more need headers that a plain server does not send
  const network = new URL("network.onnx", document.baseURI).href;
  const session = await ort.InferenceSession.create(network, { executionProviders: ["wasm"] });
  say("");
  return async (pixels) => {
    const side = about.preprocessing.crop_size;
    const images = new ort.Tensor("uint8", new Uint8Array(pixels.buffer), [1, side, side, 3]);
    const { probabilities } = await session.run({ images });
    return [...probabilities.data];
  };
}

function network() {
  loading ??= load();
  return loading;
}

function readable(width, height) {
  const canvas = element("canvas");
  [canvas.width, canvas.height] = [width, height];
  return canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
}

function pixelsAreExact() {
  const context = readable(16, 16);
  const written = context.createImageData(16, 16);
  written.data.forEach((_, i) => (written.data[i] = i % 4 === 3 ? 255 : (i * 37) % 256));
  context.putImageData(written, 0, 0);
  const read = context.getImageData(0, 0, 16, 16).data;
  return read.every((value, i) => value === written.data[i]);
}

// Decode as netzoo does: colour profiles ignored, turned as EXIF says, transparency over white.
async function decode(file) {
  try {
    return await createImageBitmap(file, {
      colorSpaceConversion: "none",
      imageOrientation: "from-image",
    });
  } catch {
    throw new PictureError(
      "This browser cannot read the file as a picture. JPEG and PNG work everywhere.",
    );
  }
}

function pixelsOf(bitmap) {
  const image = newImage(bitmap.width, bitmap.height);
  const context = readable(bitmap.width, Math.min(STRIP, bitmap.height));
  context.fillStyle = "#fff";
  for (let top = 0, at = 0; top < bitmap.height; top += STRIP) {
    const rows = Math.min(STRIP, bitmap.height - top);
    context.fillRect(0, 0, bitmap.width, rows);
    context.drawImage(bitmap, 0, -top);
    const { data } = context.getImageData(0, 0, bitmap.width, rows);
    for (let i = 0; i < data.length; i += 4, at += 3) {
      image.data[at] = data[i];
      image.data[at + 1] = data[i + 1];
      image.data[at + 2] = data[i + 2];
    }
  }
  return image;
}

function drawThumbnail(canvas, bitmap) {
  const side = Math.min(bitmap.width, bitmap.height);
  const [left, top] = [(bitmap.width - side) / 2, (bitmap.height - side) / 2];
  [canvas.width, canvas.height] = [288, 288];
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#fff";
  context.fillRect(0, 0, 288, 288);
  context.drawImage(bitmap, left, top, side, side, 0, 0, 288, 288);
}

const percent = (share) => (share > 0.9994 ? ">99.9" : (share * 100).toFixed(1)) + " %";

function showScores(card, probabilities) {
  const order = probabilities.map((_, i) => i).sort((a, b) => probabilities[b] - probabilities[a]);
  const rows = order.slice(0, SHOWN).map((i) => {
    const bar = element("span", "bar", element("span"));
    bar.firstChild.style.width = `${100 * probabilities[i]}%`;
    const name = element("span", "class", about.class_names[i]);
    name.title = about.class_names[i];
    return element("li", "", name, bar, element("span", "share", percent(probabilities[i])));
  });
  card.body.prepend(element("h2", "", about.class_names[order[0]]), element("ol", "", ...rows));
  card.picture.setAttribute("aria-label", `${card.file.name}: ${about.class_names[order[0]]}`);
}

async function classify(card) {
  try {
    const bitmap = await decode(card.file);
    drawThumbnail(card.picture, bitmap);
    const run = await network();
    const { data } = resizeAndCrop(pixelsOf(bitmap), about.preprocessing);
    bitmap.close();
    const probabilities = await run(data);
    results.push({ name: card.file.name, probabilities });
    showScores(card, probabilities);
    find("save").hidden = false;
  } catch (error) {
    if (!(error instanceof PictureError)) say(error.message, true);
    const text = error instanceof PictureError ? error.message : "Not classified; see above.";
    card.root.classList.add("bad");
    card.body.prepend(element("p", "error", text));
  }
  card.root.classList.remove("busy");
}

function newCard(file) {
  const picture = element("canvas");
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", file.name);
  const body = element("div", "body", element("p", "file", file.name));
  return { file, picture, body, root: element("li", "card busy", picture, body) };
}

// One picture after the other: each may take tens of megabytes while it is decoded.
function add(files) {
  const cards = [...files].map(newCard);
  find("pictures").prepend(...cards.map((card) => card.root));
  for (const card of cards) queue = queue.then(() => classify(card));
  return queue;
}

function save() {
  const quoted = (value) => `"${String(value).replaceAll('"', '""')}"`;
  const rows = results.map((result) => [result.name, ...result.probabilities]);
  const lines = [["file", ...about.class_names], ...rows].map((row) => row.map(quoted).join());
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([lines.join("\r\n") + "\r\n"], { type: "text/csv" }));
  link.download = "pictures.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

for (const id of ["choose", "take"]) {
  find(id).addEventListener("change", ({ target }) => {
    add(target.files);
    target.value = ""; // so that the same picture can be chosen again
  });
}
find("save").addEventListener("click", save);
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    const inside = kind === "dragenter" || kind === "dragover";
    find("drop").classList.toggle("over", inside);
    if (kind === "drop") add(event.dataTransfer.files);
  });
}
document.addEventListener("paste", (event) => add(event.clipboardData.files));
network().catch((error) => say(error.message, true));
