"use strict";
// The way in, and the player. Everything else on the desk works as plain forms.

const byId = (id) => document.getElementById(id);
const clockText = (seconds) => {
  const whole = Math.max(0, Math.floor(seconds));
  const rest = String(Math.floor((whole % 3600) / 60)).padStart(whole >= 3600 ? 2 : 1, "0");
  return (whole >= 3600 ? `${Math.floor(whole / 3600)}:` : "") + `${rest}:${String(whole % 60).padStart(2, "0")}`;
};

async function enter() {
  const token = location.hash.slice(1);
  history.replaceState(null, "", "/"); // the token must not stay in the address or the history
  if (!token) return;
  const answer = await fetch("/enter", { method: "POST", body: new URLSearchParams({ token }) });
  if (answer.ok) location.replace("/");
  else byId("enter-words").textContent = await answer.text();
}

class Player {
  constructor(root, opened) {
    this.audio = byId("audio");
    this.opened = opened;
    this.length = opened.duration_s;
    this.shown = [0, this.length];
    this.timeline = byId("timeline");
    this.audio.src = `/play/${opened.play}/audio.wav`;
    byId("highest").textContent = `${opened.rate_hz / 2000} kHz`;
    byId("spectrogram").alt = `Spectrogram, 0 to ${opened.rate_hz / 2000} kilohertz`;
    this.listGaps();
    this.draw();
    this.listen(root);
    this.tick();
  }

  // ------------------------------------------------------------------------------------------------ moving

  get place() { return this.audio.currentTime; }

  seek(seconds) {
    this.audio.currentTime = Math.min(Math.max(seconds, 0), Math.max(this.length - 0.01, 0));
    this.follow();
    this.tick();
  }

  toggle() {
    if (!this.audio.paused) { this.audio.pause(); return; }
    this.audio.play().catch((error) => { if (error.name !== "AbortError") throw error; }); // paused before it began
  }

  nextGap() {
    const gap = this.opened.gaps.find((gap) => gap.start_s > this.place + 0.05);
    if (gap) this.seek(gap.start_s);
  }

  previousGap() {
    const gap = this.opened.gaps.filter((gap) => gap.start_s < this.place - 0.5).pop();
    if (gap) this.seek(gap.start_s);
  }

  zoom(factor) {
    const span = Math.min(Math.max((this.shown[1] - this.shown[0]) * factor, Math.min(2, this.length)), this.length);
    const start = Math.min(Math.max(this.place - span / 2, 0), this.length - span);
    this.shown = [start, start + span];
    this.draw();
  }

  follow() {
    const [start, end] = this.shown;
    if (this.place >= start && this.place <= end) return;
    const span = end - start;
    const first = Math.min(Math.max(this.place - span * 0.1, 0), this.length - span);
    this.shown = [first, first + span];
    this.draw();
  }

  // ------------------------------------------------------------------------------------------------ showing

  share(seconds) { return 100 * (seconds - this.shown[0]) / (this.shown[1] - this.shown[0] || 1); }

  draw() {
    const [start, end] = this.shown;
    const stretch = `from=${start.toFixed(3)}&to=${end.toFixed(3)}`;
    byId("waveform").src = `/play/${this.opened.play}/waveform.svg?${stretch}`;
    byId("spectrogram").src = `/play/${this.opened.play}/spectrogram.png?${stretch}`;
    this.drawGaps(start, end);
    this.drawRuler(start, end);
    this.tick();
  }

  drawGaps(start, end) {
    const shades = [], labels = [];
    for (const gap of this.opened.gaps) {
      if (gap.end_s <= start || gap.start_s >= end) continue;
      const left = Math.max(this.share(gap.start_s), 0), right = Math.min(this.share(gap.end_s), 100);
      for (const [list, kind] of [[shades, "shade"], [labels, "label"]]) {
        const box = document.createElement("div");
        box.className = `${kind} ${gap.reason}`;
        box.style.left = `${left}%`;
        box.style.width = `${right - left}%`;
        box.dataset.start = gap.start_s;
        box.dataset.end = gap.end_s;
        box.title = `${gap.label}, ${clockText(gap.start_s)} to ${clockText(gap.end_s)}`;
        if (kind === "label") box.textContent = gap.label;
        list.push(box);
      }
    }
    for (const [from, to] of this.marked) {
      const box = document.createElement("div");
      box.className = "shade marked";
      box.style.left = `${Math.max(this.share(from), 0)}%`;
      box.style.width = `${Math.max(Math.min(this.share(to), 100) - Math.max(this.share(from), 0), 0)}%`;
      shades.push(box);
    }
    byId("shades").replaceChildren(...shades);
    byId("labels").replaceChildren(...labels);
  }

  drawRuler(start, end) {
    const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
    const step = steps.find((step) => (end - start) / step <= 12) || 7200;
    const marks = [];
    for (let at = Math.ceil(start / step) * step; at <= end; at += step) {
      const mark = document.createElement("span");
      const share = this.share(at);
      mark.textContent = clockText(at);
      mark.style.left = `${share}%`;
      if (share < 2) mark.className = "first";
      if (share > 98) mark.className = "last";
      marks.push(mark);
    }
    byId("ruler").replaceChildren(...marks);
  }

  listGaps() {
    const rows = this.opened.gaps.map((gap) => {
      const row = document.createElement("tr");
      const go = document.createElement("button");
      go.className = "quiet";
      go.textContent = clockText(gap.start_s);
      go.setAttribute("aria-label", `Go to ${clockText(gap.start_s)}, ${gap.label}`);
      go.addEventListener("click", () => this.seek(gap.start_s));
      const swatch = document.createElement("span");
      swatch.className = `swatch shade ${gap.reason}`;
      const why = document.createElement("strong");
      why.textContent = gap.label;
      const cells = [[go], [clockText(gap.end_s)], [`${(gap.end_s - gap.start_s).toFixed(1)} s`],
        [swatch, why, ` – ${gap.meaning}`]];
      for (const parts of cells) {
        const cell = document.createElement("td");
        cell.append(...parts);
        row.append(cell);
      }
      return row;
    });
    byId("gaps").replaceChildren(...rows);
    byId("gaps-card").hidden = rows.length === 0;
  }

  tick() {
    const here = this.place;
    const gap = this.opened.gaps.find((gap) => here >= gap.start_s && here < gap.end_s);
    byId("clock").textContent = `${clockText(here)} / ${clockText(this.length)}`;
    byId("cursor").style.left = `${this.share(here)}%`;
    byId("cursor").hidden = here < this.shown[0] || here > this.shown[1];
    byId("toggle").textContent = this.audio.paused ? "Play" : "Pause";
    byId("toggle").setAttribute("aria-pressed", String(!this.audio.paused));
    this.timeline.setAttribute("aria-valuemax", this.length.toFixed(1));
    this.timeline.setAttribute("aria-valuenow", here.toFixed(1));
    this.timeline.setAttribute("aria-valuetext", clockText(here) + (gap ? `, gap: ${gap.label}` : ""));
  }

  run() {
    this.follow();
    this.tick();
    if (!this.audio.paused) requestAnimationFrame(() => this.run());
  }

  // ------------------------------------------------------------------------------------------------ hands

  listen(root) {
    const pointed = (event) => {
      const box = this.timeline.getBoundingClientRect();
      this.seek(this.shown[0] + (this.shown[1] - this.shown[0]) * (event.clientX - box.left) / box.width);
    };
    this.timeline.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.timeline.setPointerCapture(event.pointerId);
      pointed(event);
    });
    this.timeline.addEventListener("pointermove", (event) => { if (event.buttons & 1) pointed(event); });
    for (const event of ["play", "pause", "seeked", "ended", "loadedmetadata"])
      this.audio.addEventListener(event, () => this.run());
    const press = { toggle: () => this.toggle(), back: () => this.seek(this.place - 5),
      forward: () => this.seek(this.place + 5), "next-gap": () => this.nextGap(),
      "previous-gap": () => this.previousGap(), in: () => this.zoom(0.5), out: () => this.zoom(2) };
    for (const [id, act] of Object.entries(press)) byId(id).addEventListener("click", act);
    byId("speed").addEventListener("change", (event) => { this.audio.playbackRate = Number(event.target.value); });
    document.addEventListener("keydown", (event) => this.key(event));
    byId("stretches").addEventListener("input", () => this.draw());
    byId("mark-from").addEventListener("click", () => { this.from = this.place; this.tellMark(); });
    byId("mark-to").addEventListener("click", () => this.mark());
  }

  // ---------------------------------------------------------------------------------- stretches to be removed

  get marked() {
    return [...byId("stretches").value.matchAll(/([0-9.]+)-([0-9.]+)/g)].map((m) => [Number(m[1]), Number(m[2])]);
  }

  tellMark() {
    byId("mark-words").textContent = this.from === undefined ? "" : `from ${this.from.toFixed(1)} s, to …`;
  }

  mark() {
    if (this.from === undefined || this.place === this.from) return;
    const [start, end] = [this.from, this.place].sort((a, b) => a - b);
    const field = byId("stretches");
    field.value = [field.value.trim(), `${start.toFixed(2)}-${end.toFixed(2)}`].filter(Boolean).join(", ");
    this.from = undefined;
    this.tellMark();
    this.draw();
  }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.target.closest("input, select, textarea, summary")) return;
    if (event.key === " " && event.target.closest("button, a")) return;
    const step = event.shiftKey ? 1 : 5;
    const keys = { " ": () => this.toggle(), ArrowLeft: () => this.seek(this.place - step),
      ArrowRight: () => this.seek(this.place + step), g: () => this.nextGap(), G: () => this.previousGap(),
      "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2), Home: () => this.seek(0),
      End: () => this.seek(this.length) };
    if (!Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  }
}

function tellHeard(cells) { // this very opening was logged; the page was made before it
  const row = document.createElement("tr");
  for (const text of cells) row.append(Object.assign(document.createElement("td"), { textContent: text }));
  byId("heard").tBodies[0].prepend(row);
  byId("heard").hidden = false;
  byId("nobody").hidden = true;
}

async function openCall(root) {
  const { call, csrf } = root.dataset;
  const answer = await fetch(`/call/${call}/open`, {
    method: "POST", body: new URLSearchParams({ csrf }), headers: { accept: "application/json" } });
  const found = answer.headers.get("content-type")?.startsWith("application/json") ? await answer.json() : {};
  if (!answer.ok) {
    byId("loading").textContent = found.failed || "The call could not be opened; load the page again.";
    return;
  }
  byId("loading").hidden = true;
  byId("stage").hidden = false;
  for (const finding of found.findings) {
    const told = document.createElement("div");
    told.className = "message failed";
    told.textContent = finding;
    root.prepend(told);
  }
  tellHeard(found.heard);
  window.player = new Player(root, found);
}

if (byId("enter")) enter();
if (byId("player")) openCall(byId("player"));
