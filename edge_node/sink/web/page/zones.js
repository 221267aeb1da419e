// Zones: listed, drawn with mouse, finger or keyboard, removed. Each change sets the key state.zones.

const byId = (id) => document.getElementById(id);
const KEY = "state.zones";
const STEP = 0.02;
const rounded = (v) => Math.round(Math.min(1, Math.max(0, v)) * 10000) / 10000;

export class Zones {
  constructor(connection, scene, tuning) {
    this.connection = connection;
    this.scene = scene;
    this.tuning = tuning;
    this.list = [];
    byId("zone-form").addEventListener("submit", (event) => { event.preventDefault(); this.begin(); });
    byId("zone-finish").addEventListener("click", () => this.finish());
    byId("zone-cancel").addEventListener("click", () => this.end());
    scene.canvas.addEventListener("pointerdown", (event) => this.corner(event));
    scene.canvas.addEventListener("keydown", (event) => this.key(event));
  }

  hello({ keys }) {
    this.settings(keys);
  }

  settings(keys) {
    this.list = keys.find((key) => key.path === KEY)?.value ?? [];
    this.scene.zones = this.list;
    this.scene.draw();
    byId("zone-list").replaceChildren(...this.list.map((zone) => this.row(zone)));
  }

  row({ name }) {
    const row = document.createElement("li");
    const remove = Object.assign(document.createElement("button"), { type: "button", textContent: "remove" });
    remove.setAttribute("aria-label", `remove zone ${name}`);
    remove.addEventListener("click", () => this.save(this.list.filter((zone) => zone.name !== name), `zone ${name} removed`));
    row.append(Object.assign(document.createElement("span"), { textContent: name }), remove);
    return row;
  }

  begin() {
    this.name = byId("zone-name").value;
    if (this.list.some((zone) => zone.name === this.name)) return this.tuning.tell(`there is a zone ${this.name} already`, false);
    this.scene.sketch = { corners: [], cursor: [0.5, 0.5] };
    this.scene.canvas.classList.add("drawing");
    this.scene.canvas.focus();
    this.buttons();
    return this.scene.draw();
  }

  corner(event) {
    if (!this.scene.sketch || event.button) return;
    const box = this.scene.canvas.getBoundingClientRect();
    this.add([(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]);
    event.preventDefault();
  }

  key(event) {
    const { sketch } = this.scene;
    if (!sketch) return;
    const moves = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
    if (event.key in moves) sketch.cursor = sketch.cursor.map((v, i) => rounded(v + moves[event.key][i]));
    else if (event.key === " ") this.add(sketch.cursor);
    else if (event.key === "Backspace") sketch.corners.pop();
    else if (event.key === "Enter") this.finish();
    else if (event.key === "Escape") this.end();
    else return;
    event.preventDefault();
    this.buttons();
    this.scene.draw();
  }

  add(point) {
    this.scene.sketch.corners.push(point.map(rounded));
    this.scene.sketch.cursor = point;
    this.buttons();
    this.scene.draw();
  }

  // What is refused stays to be changed or finished again.
  async finish() {
    const { name, scene: { sketch } } = this;
    if (sketch.corners.length < 3) return this.tuning.tell("a zone needs three corners", false);
    if (this.saving) return;
    this.saving = true;
    const answer = await this.save([...this.list, { name, polygon: sketch.corners }], `zone ${name} saved`);
    this.saving = false;
    if (!answer.ok || this.scene.sketch !== sketch) return;
    byId("zone-name").value = "";
    this.end();
  }

  end() {
    this.scene.sketch = null;
    this.scene.canvas.classList.remove("drawing");
    this.buttons();
    this.scene.draw();
  }

  buttons() {
    const { sketch } = this.scene;
    byId("zone-draw").disabled = Boolean(sketch);
    byId("zone-cancel").disabled = !sketch;
    byId("zone-finish").disabled = !sketch || sketch.corners.length < 3;
  }

  save(zones, done) {
    return this.tuning.send({ type: "set", key: KEY, value: zones }, done);
  }
}
