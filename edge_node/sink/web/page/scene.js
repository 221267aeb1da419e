// Draws people on black: skeletons, identities, the squares looked at, zones.

const COLOURS = ["#4fd1c5", "#f6ad55", "#b794f4", "#68d391", "#fc8181", "#63b3ed", "#f687b3", "#d6bc3a"];
const TELL_MS = 1000;

export class Scene {
  constructor(canvas, people) {
    this.canvas = canvas;
    this.people = people;
    this.context = canvas.getContext("2d", { alpha: false });
    this.show = { identities: true, regions: false, zones: true };
    this.wantsImage = false;
    this.zones = [];
    this.sketch = null; // corners of a zone being drawn, and the keyboard's cursor
    this.last = null;
    this.picture = null;
    this.edges = [];
    this.threshold = 0;
    this.told = 0;
    this.asked = false;
    this.drawn = { seq: -1, latency_ms: [] };
    globalThis.edgeNodeDrawn = this.drawn; // how late frames are on this screen, for measurements
  }

  hello({ edges, keys }) {
    this.edges = edges;
    this.settings(keys);
  }

  settings(keys) {
    this.threshold = keys.find((key) => key.path === "pose.score_threshold").value;
  }

  // Whoever does not watch the picture, or may no longer, keeps none.
  watch(wanted) {
    this.wantsImage = wanted;
    if (!wanted) this.keep(null);
    this.drawSoon();
  }

  pose(message) {
    this.last = message;
    this.outdated(null);
    this.tellPeople(message.pose.people);
    this.drawSoon();
  }

  async image(data) {
    const number = Number(new DataView(data).getBigUint64(0));
    const picture = await createImageBitmap(new Blob([data.slice(8)], { type: "image/jpeg" }));
    this.keep({ number, picture });
    if (!this.wantsImage) this.keep(null);
    this.drawSoon();
  }

  keep(picture) {
    this.picture?.picture.close();
    this.picture = picture;
  }

  // Once for each refresh of the screen, however many messages came.
  drawSoon() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => { this.asked = false; this.draw(); });
  }

  draw() {
    if (!this.last) return;
    const { pose } = this.last;
    this.fit(pose.width, pose.height);
    const { width, height } = this.canvas;
    this.context.fillStyle = "#000";
    this.context.fillRect(0, 0, width, height);
    if (this.wantsImage && this.picture) this.context.drawImage(this.picture.picture, 0, 0, width, height);
    if (this.show.regions) this.drawRegions(this.last.regions);
    if (this.show.zones) for (const zone of this.zones) this.drawZone(zone);
    for (const person of pose.people) this.drawPerson(person);
    if (this.sketch) this.drawSketch(this.sketch);
    this.note(pose.seq);
  }

  fit(width, height) {
    const scale = Math.min(1, 1280 / Math.max(width, height));
    const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
    if (this.canvas.width !== w || this.canvas.height !== h) Object.assign(this.canvas, { width: w, height: h });
    this.unit = Math.max(w, h) / 320;
  }

  drawPerson({ id, keypoints, box, predicted }) {
    const { context, canvas, unit } = this;
    const at = (i) => [keypoints[3 * i] * canvas.width, keypoints[3 * i + 1] * canvas.height];
    const seen = (i) => keypoints[3 * i + 2] >= this.threshold;
    context.globalAlpha = predicted ? 0.45 : 1;
    context.strokeStyle = context.fillStyle = COLOURS[(id - 1) % COLOURS.length];
    context.lineWidth = 1.2 * unit;
    context.lineCap = "round";
    context.beginPath();
    for (const [a, b] of this.edges) {
      if (!seen(a) || !seen(b)) continue;
      context.moveTo(...at(a));
      context.lineTo(...at(b));
    }
    context.stroke();
    for (let i = 0; i < keypoints.length / 3; i++) {
      if (!seen(i)) continue;
      context.beginPath();
      context.arc(...at(i), 1.4 * unit, 0, 2 * Math.PI);
      context.fill();
    }
    if (this.show.identities) this.label(`${id}`, box[0] * canvas.width, box[1] * canvas.height);
    context.globalAlpha = 1;
  }

  label(text, x, y) {
    this.context.font = `600 ${6 * this.unit}px system-ui, sans-serif`;
    this.context.fillText(text, Math.max(x, 2), Math.max(y - 2 * this.unit, 6 * this.unit));
  }

  drawRegions(regions) {
    const { context, canvas, unit } = this;
    context.strokeStyle = "#8b98a8";
    context.lineWidth = 0.6 * unit;
    context.setLineDash([2 * unit, 2 * unit]);
    for (const [x, y, w, h] of regions) context.strokeRect(x * canvas.width, y * canvas.height, w * canvas.width, h * canvas.height);
    context.setLineDash([]);
  }

  drawZone({ name, polygon }) {
    const { context, unit } = this;
    this.trace(polygon, true);
    context.fillStyle = "rgba(246, 224, 94, .12)";
    context.fill();
    context.strokeStyle = context.fillStyle = "#f6e05e";
    context.lineWidth = 0.8 * unit;
    context.stroke();
    this.label(name, Math.min(...polygon.map((p) => p[0])) * this.canvas.width + 2 * unit, Math.min(...polygon.map((p) => p[1])) * this.canvas.height + 10 * unit);
  }

  drawSketch({ corners, cursor }) {
    const { context, canvas, unit } = this;
    this.trace(corners, false);
    context.strokeStyle = context.fillStyle = "#ffffff";
    context.lineWidth = unit;
    context.stroke();
    for (const [x, y] of corners) {
      context.beginPath();
      context.arc(x * canvas.width, y * canvas.height, 2 * unit, 0, 2 * Math.PI);
      context.fill();
    }
    const [x, y] = [cursor[0] * canvas.width, cursor[1] * canvas.height];
    context.beginPath();
    context.moveTo(x - 5 * unit, y);
    context.lineTo(x + 5 * unit, y);
    context.moveTo(x, y - 5 * unit);
    context.lineTo(x, y + 5 * unit);
    context.stroke();
  }

  trace(corners, closed) {
    this.context.beginPath();
    corners.forEach(([x, y], i) => this.context[i ? "lineTo" : "moveTo"](x * this.canvas.width, y * this.canvas.height));
    if (closed) this.context.closePath();
  }

  // What is shown is no longer how it is, and why; null: it is.
  outdated(why) {
    this.canvas.classList.toggle("outdated", Boolean(why));
    if (!why) return;
    this.told = -TELL_MS;
    this.tell(why);
  }

  tellPeople(people) {
    const now = performance.now();
    if (now - this.told < TELL_MS) return;
    this.told = now;
    this.tell(people.length ? `${people.length} ${people.length === 1 ? "person" : "people"} in view` : "nobody in view");
  }

  tell(text) {
    if (this.people.textContent !== text) this.people.textContent = text;
  }

  note(seq) {
    if (seq === this.drawn.seq) return;
    this.drawn.seq = seq;
    this.drawn.latency_ms.push(performance.timeOrigin + performance.now() - this.last.captured_wall_ms);
    if (this.drawn.latency_ms.length > 1000) this.drawn.latency_ms.shift();
  }
}
