// Charts: figures of each second over the last minutes, with axes, and a cursor that tells the values at a moment.

const SPAN = 600, SVG = 'http://www.w3.org/2000/svg';

function shape(name, className, attributes = {}) {
  const node = document.createElementNS(SVG, name);
  if (className) node.setAttribute('class', className);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

// Figures by second, as many as a chart shows. What is not known is NaN.
class Figures {
  constructor() { this.clear(); }
  clear() { this.end = null; this.stamps = new Float64Array(SPAN); this.kept = {}; }
  set(second, figures) {
    const place = second % SPAN;
    this.stamps[place] = second;
    for (const key of Object.keys(figures)) (this.kept[key] ??= new Float64Array(SPAN).fill(NaN))[place] = figures[key];
    this.end = Math.max(this.end ?? 0, second);
  }
  get(second, key) {
    const place = second % SPAN;
    return this.stamps[place] === second && this.kept[key] ? this.kept[key][place] : NaN;
  }
  // What stands for the seconds since the last time, if those are few.
  sample(second, figures) {
    for (let s = this.end !== null && second - this.end < 6 ? this.end + 1 : second; s <= second; s += 1) this.set(s, figures);
  }
  // The last of them in order, the newest at the end.
  list(key, length) { return Float64Array.from({ length }, (_, i) => this.get(this.end - length + 1 + i, key)); }
}

// The least of 1, 2, 5, 10, 20, ... times `unit` that makes at most `most` steps up to `top`.
function step(top, most, unit) {
  for (let ten = unit; ; ten *= 10)
    for (const times of [1, 2, 5]) if (top / (ten * times) <= most) return ten * times;
}

const tenth = n => Math.round(n * 10) / 10;

class Chart {
  // `lines`: [{ key, name, look }], where the look is `area`, `line`, `dash` or `bars`. `format` writes a value.
  // Charts that share `cursor`, { time, charts }, show the same moment.
  constructor({ title, lines, format, figures, cursor, least = 1, span = SPAN }) {
    Object.assign(this, { title, lines, format, figures, cursor, least, span, limit: null, width: 0 });
    this.when = make('span', 'when', '');
    this.values = lines.map(() => make('b', '', '\u2013'));
    const legend = lines.map((line, i) => make('span', 'key', make('i', 'swatch ' + line.look), line.name + ' ', this.values[i]));
    this.note = make('span', 'note dim', '');
    this.svg = shape('svg', 'plot', { 'aria-hidden': 'true' });
    this.grid = shape('g');
    this.fills = lines.map(() => shape('path', 'fill'));
    this.paths = lines.map(line => shape('path', line.look));
    this.mark = shape('line', 'mark');
    this.svg.append(...this.fills, this.grid, ...this.paths, this.mark);
    this.plot = make('div', 'hold', this.svg);
    this.node = make('figure', 'card', make('figcaption', '', make('span', 'title', title), this.when), make('div', 'legend', ...legend, this.note), this.plot);
    this.asSlider();
    this.listen();
    cursor.charts.push(this);
    // Asking for the size while drawing would have the browser lay out everything twice.
    new ResizeObserver(([{ contentRect }]) => { this.width = contentRect.width; this.height = contentRect.height; this.draw(); }).observe(this.plot);
  }

  // A slider is what a screen reader knows as something that arrow keys move and that says a value.
  asSlider() {
    this.plot.tabIndex = 0;
    this.plot.setAttribute('role', 'slider');
    this.plot.setAttribute('aria-label', this.title + ', last ' + this.span / 60 + ' minutes; arrow keys choose a moment');
  }

  listen() {
    const move = event => this.point(this.second(event.clientX));
    this.plot.addEventListener('pointerdown', move);
    this.plot.addEventListener('pointermove', move);
    this.plot.addEventListener('pointerleave', event => { if (event.pointerType === 'mouse') this.point(null); });
    this.plot.addEventListener('blur', () => this.point(null));
    this.plot.addEventListener('keydown', event => this.press(event));
  }

  press(event) {
    const { end } = this.figures, from = this.cursor.time ?? end;
    const far = event.shiftKey ? 60 : 1;
    const to = { ArrowLeft: from - far, ArrowRight: from + far, PageUp: from - 60, PageDown: from + 60,
      Home: end - this.span + 1, End: end, Escape: null }[event.key];
    if (to === undefined || end === null) return;
    event.preventDefault();
    event.stopPropagation();
    this.point(to === null ? null : Math.min(end, Math.max(end - this.span + 1, to)));
  }

  second(x) {
    if (this.figures.end === null || !this.width) return null;
    const part = (x - this.plot.getBoundingClientRect().left) / this.width;
    return Math.round(this.figures.end - (this.span - 1) * (1 - Math.min(1, Math.max(0, part))));
  }

  point(second) {
    if (this.cursor.time === second) return;
    this.cursor.time = second;
    for (const chart of this.cursor.charts) chart.tell();
  }

  x(second) { return (1 - (this.figures.end - second) / (this.span - 1)) * this.width; }

  // The values at the cursor, else the newest.
  tell() {
    const { figures, cursor } = this, second = cursor.time ?? figures.end;
    this.node.classList.toggle('pointed', cursor.time !== null);
    put(this.when, cursor.time === null || second === null ? '' : clock(second * 1000));
    const said = this.lines.map((line, i) => {
      const value = second === null ? NaN : figures.get(second, line.key);
      const text = isNaN(value) ? '\u2013' : this.format(value);
      put(this.values[i], text);
      return (line.name + ' ' + text).trim();
    });
    this.mark.toggleAttribute('hidden', cursor.time === null);
    if (second === null) return;
    for (const end of ['x1', 'x2']) this.mark.setAttribute(end, this.x(second));
    for (const [name, value] of [['min', figures.end - this.span + 1], ['max', figures.end], ['now', second], ['text', clock(second * 1000) + ': ' + said.join(', ')]])
      this.plot.setAttribute('aria-value' + name, value);
  }

  draw() {
    const { figures, width, height } = this;
    if (!width || figures.end === null) { this.tell(); return; }
    if (this.cursor.time !== null && this.cursor.time <= figures.end - this.span) this.cursor.time = null;
    this.base = height - 16;
    let top = Math.max(this.least, this.limit ?? 0);
    const lists = this.lines.map(({ key }) => figures.list(key, this.span));
    for (const list of lists) for (const value of list) if (value > top) top = value;
    this.top = top * 1.08;
    this.svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    this.mark.setAttribute('y2', this.base);
    this.axes(top);
    this.lines.forEach(({ look }, i) => {
      const pieces = look === 'bars' ? this.bars(lists[i]) : this.pieces(lists[i]);
      this.paths[i].setAttribute('d', pieces.map(piece => piece.path).join(''));
      if (look === 'area') this.fills[i].setAttribute('d', pieces.map(p => p.path + 'V' + this.base + 'H' + p.first + 'Z').join(''));
    });
    this.tell();
  }

  y(value) { return tenth(this.base - (this.base - 4) * value / this.top); }

  // A piece of line for each stretch of seconds without a gap.
  pieces(list) {
    const pieces = [];
    let gap = true;
    list.forEach((value, i) => {
      if (!isNaN(value)) {
        const x = tenth(i * this.width / (this.span - 1)), to = x + ' ' + this.y(value);
        if (gap) pieces.push({ first: x, path: 'M' + to }); else pieces.at(-1).path += 'L' + to;
      }
      gap = isNaN(value);
    });
    return pieces;
  }

  bars(list) {
    const pieces = [];
    list.forEach((value, i) => {
      if (value > 0) pieces.push({ path: 'M' + tenth(i * this.width / (this.span - 1)) + ' ' + this.base + 'V' + this.y(value) });
    });
    return pieces;
  }

  axes(top) {
    const { grid, width, base } = this, marks = [];
    const text = (x, y, anchor, words, look = 'tick') => {
      const node = shape('text', look, { x, y, 'text-anchor': anchor });
      node.textContent = words;
      marks.push(node);
    };
    const level = (value, look) => marks.push(shape('line', look, { x1: 0, x2: width, y1: this.y(value), y2: this.y(value) }));
    const each = step(top, base > 90 ? 5 : 3, 1);
    for (let value = 0; value <= this.top; value += each) {
      level(value, value ? 'rule' : 'axis');
      if (value && this.y(value) > 10 && !(this.limit && Math.abs(this.y(value) - this.y(this.limit)) < 14)) text(1, this.y(value) + 4, 'start', this.format(value).replace('.0 ', ' '));
    }
    if (this.limit) {
      level(this.limit, 'limit');
      text(width - 1, this.y(this.limit) + 12, 'end', 'limit ' + this.format(this.limit), 'tick limit-text');
    }
    const every = this.span < SPAN ? 30 : width > 500 ? 60 : width > 230 ? 120 : 300;
    const room = this.span < SPAN ? 26 : 16;
    const zone = new Date(this.figures.end * 1000).getTimezoneOffset() * 60;
    for (let s = Math.ceil((this.figures.end - this.span - zone) / every) * every + zone; s <= this.figures.end; s += every) {
      const x = this.x(s);
      if (x < 0) continue;
      marks.push(shape('line', 'axis', { x1: x.toFixed(1), x2: x.toFixed(1), y1: base, y2: base + 3 }));
      if (x >= room && x <= width - room) text(x.toFixed(1), base + 14, 'middle', clock(s * 1000).slice(-8, this.span < SPAN ? undefined : -3));
    }
    grid.replaceChildren(...marks);
  }
}
