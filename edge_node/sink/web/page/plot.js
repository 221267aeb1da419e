// A small live line plot; the lines stack on one another.

export class Plot {
  // classes: a CSS variable (--good) or the class of a .key whose colour the line takes.
  constructor(canvas, length, classes) {
    this.canvas = canvas;
    this.length = length;
    this.classes = classes;
    this.values = [];
    this.asked = false;
  }

  add(values) {
    this.values.push(values);
    if (this.values.length > this.length) this.values.shift();
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => { this.asked = false; this.draw(); });
  }

  draw() {
    const ratio = devicePixelRatio;
    const width = this.canvas.clientWidth * ratio;
    const height = this.canvas.clientHeight * ratio;
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    const context = this.canvas.getContext("2d");
    const style = getComputedStyle(this.canvas);
    const stacked = this.values.map((row) => row.map((_, i) => row.slice(0, i + 1).reduce((a, b) => a + b, 0)));
    const top = Math.max(1, ...stacked.map((row) => row.at(-1))) * 1.1;
    context.clearRect(0, 0, width, height);
    context.lineWidth = 1.5 * ratio;
    this.classes.forEach((name, line) => {
      context.strokeStyle = this.colour(name, style);
      context.beginPath();
      stacked.forEach((row, i) => context.lineTo((i / (this.length - 1)) * width, height - (row[line] / top) * height));
      context.stroke();
    });
    context.fillStyle = style.getPropertyValue("--soft");
    context.font = `${11 * ratio}px system-ui, sans-serif`;
    context.fillText(top.toFixed(top < 10 ? 1 : 0), 2 * ratio, 11 * ratio);
  }

  colour(name, style) {
    if (name.startsWith("--")) return style.getPropertyValue(name);
    return getComputedStyle(document.querySelector(`.key.${name}`)).color;
  }
}
