"use strict";
// What the page can do beyond being read: values under the pointer, sliders, the explorer, large pictures, copying.
// Nothing is requested; what the reader has chosen outlives a reload, by which the page of a running job is kept up to date.

document.documentElement.classList.add("script");

const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const stored = (key) => { try { return sessionStorage.getItem(location.pathname + key); } catch { return null; } };
const store = (key, value) => { try { sessionStorage.setItem(location.pathname + key, value); } catch { /* private mode */ } };

// ---- charts ------------------------------------------------------------------------------------------------------------

const number = (value) => {
  if (value === null) return "";
  const size = Math.abs(value);
  return size >= 1000 && size < 1e9 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(4)));
};
const duration = (seconds) => {
  const minutes = Math.floor(seconds / 60);
  if (minutes >= 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return minutes ? `${minutes} min ${Math.round(seconds % 60)} s` : `${number(seconds)} s`;
};
const SHOWN = { images: (x) => `${number(Math.round(x))} images`, epoch: (x) => `epoch ${number(x)}`, seconds: duration };

function nearest(sorted, value) { // the index of the number that is nearest to value
  let low = 0, high = sorted.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle; else high = middle;
  }
  return Math.abs(sorted[low] - value) <= Math.abs(sorted[high] - value) ? low : high;
}

function startChart(figure) {
  const data = JSON.parse(figure.dataset.values), outputs = all(".legend output", figure);
  const [low, high, log] = data.y, scale = (y) => log ? Math.log(y / low) / Math.log(high / low) : (y - low) / (high - low);
  for (const drawing of all(".drawing", figure)) {
    const clock = drawing.dataset.clock, plot = drawing.querySelector(".plot"), [left, right] = data.x[clock];
    const line = Object.assign(document.createElement("span"), { className: "cursor", hidden: true });
    const label = Object.assign(document.createElement("span"), { className: "cursor-label" });
    const dots = data.curves.map((_, n) => {
      const dot = Object.assign(document.createElement("span"), { className: "point", hidden: true });
      const curve = figure.querySelectorAll(".legend i")[n];
      dot.classList.add(...curve.classList);
      return dot;
    });
    line.append(label);
    plot.append(line, ...dots);
    let at = right;
    const show = (x) => {
      at = x;
      const longest = data.curves.reduce((a, b) => b[clock].length > a[clock].length ? b : a)[clock];
      const place = longest[nearest(longest, x)], fraction = (place - left) / (right - left);
      line.hidden = false;
      line.style.left = `${100 * fraction}%`;
      label.textContent = SHOWN[clock](place);
      label.classList.toggle("before", fraction > 0.5);
      data.curves.forEach((curve, n) => {
        const k = nearest(curve[clock], place), value = curve.values[k], error = curve.errors && curve.errors[k];
        outputs[n].textContent = number(value) + (error ? ` ± ${Number(error.toPrecision(2))}` : "");
        const y = scale(value);
        dots[n].hidden = !(y >= 0 && y <= 1);
        dots[n].style.left = `${100 * (curve[clock][k] - left) / (right - left)}%`;
        dots[n].style.top = `${100 - 100 * y}%`;
      });
    };
    const hide = () => {
      for (const mark of [line, ...dots]) mark.hidden = true;
      for (const output of outputs) output.textContent = "";
    };
    const follow = (event) => {
      const box = plot.getBoundingClientRect();
      show(left + clamp((event.clientX - box.left) / box.width, 0, 1) * (right - left));
    };
    plot.addEventListener("pointermove", follow);
    plot.addEventListener("pointerdown", follow);
    plot.addEventListener("pointerleave", hide);
    figure.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step || !drawing.offsetParent) return;
      event.preventDefault();
      const longest = data.curves.reduce((a, b) => b[clock].length > a[clock].length ? b : a)[clock];
      show(longest[clamp(nearest(longest, at) + step, 0, longest.length - 1)]);
    });
    figure.addEventListener("blur", hide);
  }
}

function startClocks() {
  const radios = all("input[name=clock]"), chosen = stored("clock");
  for (const radio of radios) {
    if (radio.value === chosen) radio.checked = true;
    radio.addEventListener("change", () => store("clock", radio.value));
  }
}

// ---- sliders -----------------------------------------------------------------------------------------------------------

function startSlider(root, index) {
  const films = all(".film", root).map((film) => all("figure", film));
  const places = [...new Set(films.flat().map((frame) => Number(frame.dataset.images)))].sort((a, b) => a - b);
  const range = root.querySelector("input[type=range]"), output = root.querySelector("output"), play = root.querySelector("[data-play]");
  if (places.length < 2) return root.classList.add("single");
  const show = () => {
    const images = places[Number(range.value)];
    for (const frames of films) {
      const last = frames.filter((frame) => Number(frame.dataset.images) <= images).pop() || frames[0];
      for (const frame of frames) frame.classList.toggle("current", frame === last);
    }
    output.textContent = images ? `${images.toLocaleString("en")} images` : "untrained";
    range.setAttribute("aria-valuetext", output.textContent);
  };
  range.max = places.length - 1;
  const kept = stored(`slider${index}`);
  range.value = kept === null ? range.max : nearest(places, Number(kept));
  const choose = () => {
    show();
    if (range.value === range.max) try { sessionStorage.removeItem(`${location.pathname}slider${index}`); } catch { /* */ }
    else store(`slider${index}`, places[Number(range.value)]);
  };
  range.addEventListener("input", choose);
  let timer = null;
  const stop = () => { clearInterval(timer); timer = null; play.textContent = "▶"; play.setAttribute("aria-label", "play"); };
  play.addEventListener("click", () => {
    if (timer !== null) return stop();
    if (range.value === range.max) range.value = 0;
    show();
    play.textContent = "❚❚";
    play.setAttribute("aria-label", "pause");
    timer = setInterval(() => {
      if (range.value === range.max) return stop();
      range.value = Number(range.value) + 1;
      choose();
    }, Math.max(60, Math.min(300, 6000 / places.length)));
  });
  root.addEventListener("keydown", (event) => {
    if (event.target === range) return; // has its own keys
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    range.value = Number(range.value) + step;
    choose();
  });
  range.addEventListener("pointerdown", stop);
  show();
}

// ---- the explorer ------------------------------------------------------------------------------------------------------

function startExplorer(root) {
  const plan = JSON.parse(root.dataset.explorer), n = plan.side, planes = plan.planes.length || 1, nodes = plan.nodes;
  const map = root.querySelector(".map"), sheet = map.querySelector("img"), view = root.querySelector(".view .sprite");
  const place = root.querySelector(".place"), command = root.querySelector(".view code"), marker = document.createElement("span");
  marker.className = "marker";
  marker.style.width = marker.style.height = `${100 / n}%`;
  map.append(marker);
  view.style.backgroundImage = `url("${sheet.src}")`;
  view.style.backgroundSize = `${100 * n}% ${100 * n * planes}%`;
  sheet.style.height = `${100 * planes}%`;
  let column = Math.floor(n / 2), row = Math.floor(n / 2), plane = 0;
  const show = () => {
    marker.style.left = `${100 * column / n}%`;
    marker.style.top = `${100 * row / n}%`;
    sheet.style.top = `${-100 * plane}%`;
    view.style.backgroundPosition = `${100 * column / (n - 1)}% ${100 * (plane * n + row) / (planes * n - 1)}%`;
    const x = column / (n - 1), y = row / (n - 1), u = x * (nodes - 1), v = y * (nodes - 1);
    const exact = Number.isInteger(u) && Number.isInteger(v);
    const near = new Set();
    for (const j of [Math.floor(v), Math.ceil(v)]) for (const i of [Math.floor(u), Math.ceil(u)]) near.add(plan.seeds[j * nodes + i]);
    const name = plan.planes.length ? `${plan.planes[plane]}, ` : "";
    place.textContent = name + (exact ? `seed ${[...near][0]}` : `between the seeds ${[...near].join(", ")}`);
    command.textContent = (exact ? plan.seed_commands : plan.point_commands)[plane]
      .replace("SEED", [...near][0]).replace("AT", `${Number(x.toFixed(4))},${Number(y.toFixed(4))}`);
    view.setAttribute("aria-label", place.textContent);
  };
  const follow = (event) => {
    const box = map.getBoundingClientRect();
    column = clamp(Math.floor(n * (event.clientX - box.left) / box.width), 0, n - 1);
    row = clamp(Math.floor(n * (event.clientY - box.top) / box.height), 0, n - 1);
    show();
  };
  let held = false; // a click holds the place, so that the pointer can leave to copy its command
  map.addEventListener("pointermove", (event) => { if (!held || event.buttons) follow(event); });
  map.addEventListener("pointerdown", (event) => { held = event.pointerType === "mouse" && !held; follow(event); });
  map.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    column = clamp(column + step[0], 0, n - 1);
    row = clamp(row + step[1], 0, n - 1);
    show();
  });
  all(".planes button", root).forEach((button, k, buttons) => button.addEventListener("click", () => {
    plane = k;
    for (const other of buttons) other.setAttribute("aria-pressed", other === button);
    show();
  }));
  show();
}

// ---- large pictures, copying, keeping up to date -------------------------------------------------------------------------

function startLargePictures() {
  const dialog = document.getElementById("large"), image = dialog.querySelector("img");
  document.addEventListener("click", (event) => {
    const figure = event.target.closest("figure"), picture = event.target.closest("figure:not(.chart) img");
    if (!picture || dialog.contains(picture) || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    image.src = picture.src;
    image.alt = picture.alt;
    dialog.querySelector("figcaption").textContent = figure.querySelector("figcaption").textContent;
    dialog.showModal();
  });
  dialog.addEventListener("click", (event) => { if (event.target !== image) dialog.close(); });
}

function startCopying() {
  for (const button of all("[data-copy]")) {
    button.addEventListener("click", async () => {
      const code = button.parentElement.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "copied";
      } catch { // a page that may not write to the clipboard: the reader can
        getSelection().selectAllChildren(code);
        button.textContent = "press Ctrl-C";
      }
      setTimeout(() => { button.textContent = "copy"; }, 1500);
    });
  }
}

function startFilter() {
  const field = document.querySelector("[data-filter]"), cards = all("[data-card]");
  if (!field) return;
  const filter = () => {
    const words = field.value.toLowerCase().split(/\s+/);
    for (const card of cards) card.hidden = !words.every((word) => card.textContent.toLowerCase().includes(word));
    store("filter", field.value);
  };
  field.value = stored("filter") || "";
  field.addEventListener("input", filter);
  filter();
}

function startReloading() {
  if (!("running" in document.body.dataset)) return;
  let used = 0;
  for (const kind of ["pointermove", "pointerdown", "keydown", "input", "scroll"]) addEventListener(kind, () => { used = Date.now(); }, { passive: true });
  setInterval(() => { if (Date.now() - used > 15000 && !document.hidden && !document.querySelector("dialog[open]")) location.reload(); }, 30000);
}

startClocks();
all(".chart").forEach(startChart);
all("[data-slider]").forEach(startSlider);
all("[data-explorer]").forEach(startExplorer);
startLargePictures();
startCopying();
startFilter();
startReloading();
