// The page's only entry: the connection, and who gets which message.
import { Scene } from "./scene.js";
import { Plot } from "./plot.js";
import { Tuning } from "./tuning.js";
import { Zones } from "./zones.js";

const RETRY_MS = 1000;
const SILENT_MS = 4000; // the node tells its health every second
const byId = (id) => document.getElementById(id);

class Connection {
  constructor(receive, tell) {
    this.receive = receive;
    this.tell = tell;
    this.waiting = new Map();
    this.number = 0;
    this.open();
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    this.opened = false;
    this.socket = new WebSocket(`${scheme}//${location.host}/live`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => { this.opened = true; this.tell("open", "connected"); };
    this.socket.onclose = () => this.lose();
    this.socket.onmessage = ({ data }) => {
      this.expect();
      if (typeof data !== "string") return this.receive({ type: "image", data });
      const message = JSON.parse(data);
      if (message.type !== "result") return this.receive(message);
      this.waiting.get(message.id)?.(message);
      this.waiting.delete(message.id);
    };
    this.expect();
  }

  // Of a node that froze, or lost its power or network, no end of the connection comes: silence is one.
  expect() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.lose(), SILENT_MS);
  }

  lose() {
    clearTimeout(this.silence);
    this.socket.onopen = this.socket.onclose = this.socket.onmessage = null;
    this.socket.close();
    if (this.opened) this.tell("lost", "connection lost, trying again …");
    for (const settle of this.waiting.values()) settle({ ok: false, reason: "connection lost" });
    this.waiting.clear();
    setTimeout(() => this.again(), RETRY_MS);
  }

  // A live connection that is refused does not say why; a request for the same address does. Where a token is needed, the page asks for it.
  async again() {
    const answer = await fetch("/live", { cache: "no-store", signal: AbortSignal.timeout(SILENT_MS) }).catch(() => null);
    if (answer?.status === 401) return location.reload();
    const full = answer?.status === 503 || answer?.status === 429;
    if (full || !answer) this.tell("lost", `${full ? (await answer.text()).trim() : "connection lost"}, trying again …`);
    return this.open();
  }

  // Send something that wants no answer.
  say(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  // Ask for something; the promise gives {ok, value, reason}.
  ask(message) {
    if (this.socket.readyState !== WebSocket.OPEN) return Promise.resolve({ ok: false, reason: "not connected" });
    const id = ++this.number;
    this.say({ ...message, id });
    return new Promise((settle) => this.waiting.set(id, settle));
  }
}

const scene = new Scene(byId("canvas"), byId("people"));
const fpsPlot = new Plot(byId("plot-fps"), 120, ["--good"]);
const stagePlot = new Plot(byId("plot-stages"), 240, ["invoke", "rest"]);
let facts = {};

function receive(message) {
  switch (message.type) {
    case "hello":
      return welcome(message);
    case "pose":
      scene.pose(message);
      return plotStages(message.stage_ms);
    case "image":
      return scene.image(message.data);
    case "settings":
      scene.settings(message.keys);
      tuning.settings(message.keys);
      return zones.settings(message.keys);
    case "health":
      return showHealth(message);
  }
}

function welcome(hello) {
  facts = hello.facts;
  byId("node").textContent = facts.node;
  document.title = `${facts.node} · edge_node`;
  byId("image-switch").hidden = !hello.show_image;
  byId("show-image").checked &&= hello.show_image;
  scene.hello(hello);
  tuning.hello(hello);
  zones.hello(hello);
  tellView();
}

function plotStages(stages) {
  const { invoke = 0, ...others } = stages;
  stagePlot.add([invoke, Object.values(others).reduce((a, b) => a + b, 0)]);
}

function showHealth(health) {
  if (health.problems.camera) scene.outdated("the camera gives no pictures");
  fpsPlot.add([health.fps]);
  byId("fps-now").textContent = health.fps.toFixed(1);
  const rows = {
    Model: facts.model, Engine: facts.engine, Camera: health.facts.camera ?? facts.camera, Accelerator: health.accelerator || "nothing yet",
    MQTT: health.problems.mqtt ? "not connected" : health.facts.mqtt_broker ?? "off",
    ...temperature(health.facts), Frames: health.frames.toLocaleString(), Viewers: health.viewers, ...faults(health.counters), Version: facts.version,
  };
  byId("facts").replaceChildren(...Object.entries(rows).flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
  const problems = Object.entries(health.problems).map(([part, text]) => element("li", `${part}: ${text}`));
  const shown = byId("problems");
  if (problems.map((p) => p.textContent).join() !== [...shown.children].map((p) => p.textContent).join()) shown.replaceChildren(...problems);
  byId("stages").replaceChildren(...Object.entries(health.stages).map(([name, of]) => {
    const row = document.createElement("tr");
    const head = element("th", name);
    head.scope = "row";
    row.append(head, element("td", of.p50_ms.toFixed(2)), element("td", of.p99_ms.toFixed(2)));
    return row;
  }));
}

function temperature(known) {
  const rows = {};
  if ("soc_temperature_c" in known) rows.Processor = `${known.soc_temperature_c.toFixed(0)} °C${known.throttled ? ", slowed down" : ""}`;
  if ("edgetpu_temperature_c" in known) rows["Edge TPU"] = `${known.edgetpu_temperature_c.toFixed(0)} °C`;
  return rows;
}

function faults(counters) {
  const counted = Object.entries(counters).filter(([name, n]) => n && /fallback|reopened|dropped/.test(name));
  return Object.fromEntries(counted.map(([name, n]) => [name.replaceAll("_", " "), n]));
}

function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text ?? "";
  return made;
}

function tell(state, text) {
  const shown = byId("connection");
  shown.dataset.state = state;
  if (state === "lost") scene.outdated("not known: the connection is lost");
  if (shown.textContent !== text) shown.textContent = text; // it is read out each time
}

// Nobody watches a tab that is behind another.
function tellView() {
  const image = byId("show-image").checked && !document.hidden;
  scene.watch(image);
  connection.say({ type: "view", image });
}

for (const name of ["identities", "regions", "zones"]) {
  const box = byId(`show-${name}`);
  scene.show[name] = box.checked;
  box.addEventListener("change", () => { scene.show[name] = box.checked; scene.draw(); });
}
byId("show-image").addEventListener("change", tellView);
document.addEventListener("visibilitychange", tellView);

const connection = new Connection(receive, tell);
const tuning = new Tuning(connection);
const zones = new Zones(connection, scene, tuning);
