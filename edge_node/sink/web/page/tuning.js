// The tunable keys as a form: changed live, reset one by one or all, saved after a look at the difference.

const byId = (id) => document.getElementById(id);
const SEND_MS = 200; // a slider that is dragged sends at most so often: as many requests as the node answers

export class Tuning {
  constructor(connection) {
    this.connection = connection;
    this.controls = new Map();
    byId("keys").addEventListener("submit", (event) => event.preventDefault());
    byId("reset-all").addEventListener("click", () => this.send({ type: "reset" }, "everything is back to the configuration file"));
    byId("save").addEventListener("click", () => this.preview());
    byId("save-cancel").addEventListener("click", () => byId("save-dialog").close());
    byId("save-confirm").addEventListener("click", () => this.save());
  }

  hello({ keys, can_tune }) {
    byId("tuning").hidden = byId("zones").hidden = !can_tune;
    const form = byId("keys");
    form.replaceChildren();
    this.controls.clear();
    let section = "";
    for (const key of keys.filter((k) => k.type !== "list")) {
      const name = key.path.split(".")[0];
      if (name !== section) form.append(Object.assign(document.createElement("h3"), { textContent: (section = name) }));
      form.append(this.setting(key));
    }
    this.settings(keys);
  }

  settings(keys) {
    this.keys = keys;
    for (const key of keys) this.controls.get(key.path)?.show(key);
  }

  // What was refused is not in force: show what is, also where the cursor stands.
  takeBack(path) {
    this.controls.get(path).show(this.keys.find((key) => key.path === path), true);
  }

  setting(key) {
    const row = document.createElement("div");
    row.className = "setting";
    const id = `key-${key.path.replace(".", "-")}`;
    const label = Object.assign(document.createElement("label"), { textContent: key.path.split(".").slice(1).join("."), htmlFor: id });
    const reset = Object.assign(document.createElement("button"), { type: "button", textContent: "reset" });
    reset.setAttribute("aria-label", `reset ${key.path} to the configuration file`);
    reset.addEventListener("click", () => this.send({ type: "reset", key: key.path }, `${key.path} is back to the configuration file`));
    const range = key.minimum !== null && key.maximum !== null ? ` From ${key.minimum_excluded ? "above " : ""}${key.minimum} to ${key.maximum}.` : "";
    const help = Object.assign(document.createElement("p"), { id: `${id}-help`, textContent: `${key.description}${range} Default: ${key.default}.` });
    const control = this.control(key, id);
    control.element.className = "control";
    row.append(label, reset, control.element, help);
    this.controls.set(key.path, {
      show: ({ value, tuned }, despiteFocus = false) => {
        control.set(value, despiteFocus);
        row.classList.toggle("tuned", tuned);
        reset.disabled = !tuned;
      },
    });
    return row;
  }

  control(key, id) {
    const element = document.createElement("div");
    const input = document.createElement(key.choices.length ? "select" : "input");
    input.id = id;
    input.setAttribute("aria-label", key.path); // there is more than one "enabled"
    input.setAttribute("aria-describedby", `${id}-help`);
    element.append(input);
    if (key.choices.length) {
      input.append(...key.choices.map((choice) => Object.assign(document.createElement("option"), { value: choice, textContent: choice })));
      input.addEventListener("change", () => this.change(key, input.value));
      return { element, set: (value) => { input.value = value; } };
    }
    if (key.type === "bool") {
      input.type = "checkbox";
      input.addEventListener("change", () => this.change(key, input.checked));
      return { element, set: (value) => { input.checked = value; } };
    }
    return this.number(key, input, element);
  }

  // A number beside a slider; of wide ranges the slider is logarithmic.
  number(key, input, element) {
    const whole = key.type === "int";
    const wide = key.maximum - key.minimum > 500;
    const low = Math.max(key.minimum, 0);
    const toSlider = (v) => (wide ? Math.log1p(v - low) / Math.log1p(key.maximum - low) : (v - low) / (key.maximum - low)) * 1000;
    const fromSlider = (s) => {
      const share = s / 1000;
      const value = wide ? low + Math.expm1(share * Math.log1p(key.maximum - low)) : low + share * (key.maximum - low);
      return whole ? Math.round(value) : Number(value.toPrecision(3));
    };
    Object.assign(input, { type: "number", min: key.minimum, max: key.maximum, step: whole ? 1 : "any" });
    const slider = Object.assign(document.createElement("input"), { type: "range", min: key.minimum_excluded ? 1 : 0, max: 1000, step: whole && !wide ? 1000 / (key.maximum - low) : "any" });
    slider.setAttribute("aria-label", `${key.path} slider`);
    let timer = null;
    slider.addEventListener("input", () => {
      input.value = slider.ariaValueText = fromSlider(slider.valueAsNumber);
      timer ??= setTimeout(() => { timer = null; this.change(key, input.valueAsNumber); }, SEND_MS);
    });
    input.addEventListener("change", () => this.change(key, input.valueAsNumber));
    element.append(slider);
    return {
      element,
      set: (value, despiteFocus) => {
        if (timer !== null) return; // the hand on the slider knows better
        if (despiteFocus || document.activeElement !== input) input.value = value;
        slider.value = toSlider(value);
        slider.ariaValueText = value;
      },
    };
  }

  async change(key, value) {
    if (Number.isNaN(value)) this.tell(`${key.path}: not a number`, false);
    else if ((await this.send({ type: "set", key: key.path, value }, `${key.path} is ${value}`)).ok) return;
    this.takeBack(key.path);
  }

  async send(request, done) {
    const answer = await this.connection.ask(request);
    this.tell(answer.ok ? done : answer.reason, answer.ok);
    return answer;
  }

  tell(text, ok) {
    byId("tuning-result").textContent = ok ? text : `Refused: ${text}`;
  }

  async preview() {
    const answer = await this.connection.ask({ type: "save" });
    if (!answer.ok) return this.tell(answer.reason, false);
    this.shown = answer.value;
    byId("save-diff").textContent = answer.value || "nothing differs from the file";
    byId("save-confirm").disabled = !answer.value;
    byId("save-dialog").showModal();
  }

  async save() {
    const answer = await this.connection.ask({ type: "save", shown: this.shown });
    byId("save-dialog").close();
    const overruled = answer.overruled?.length ? `; still tuned, as a variable or --set stands over the file: ${answer.overruled.join(", ")}` : "";
    this.tell(answer.ok ? `saved to the configuration file${overruled}` : answer.reason, answer.ok);
  }
}
