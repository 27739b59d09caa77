// Many points on a canvas: drawn into an image by the processor, and found again under the pointer.
//
// Why not the graphics card: regl, and regl-scatterplot upon it, compile functions from text, which the page's
// Content-Security-Policy forbids; and a browser without WebGL, or with WebGL in software, would need another way of
// drawing beside it. 100,000 points take some milliseconds here, in every browser; of a million, as many are drawn while
// they move.
//
// Points have coordinates 0 … 65534, a view is `{x, y, zoom}`: what is in the middle, in 0 … 1, and how many times the
// whole map's size.

const SPAN = 65_534;
/** Both coordinates of a point that has no place; one of them tells. */
export const NOWHERE = 65_535;
const CELLS = 256;
const MARGIN = 16;
const OPACITY = 0.85, FAINT = 0.13;
export const WHOLE = { x: 0.5, y: 0.5, zoom: 1 };
export const MAX_ZOOM = 400;

/** A view within bounds: some of the map stays in sight. */
export const bounded = ({ x, y, zoom }) => ({
  x: Math.min(1, Math.max(0, x)), y: Math.min(1, Math.max(0, y)), zoom: Math.min(MAX_ZOOM, Math.max(1, zoom)),
});

/** Pixels of a window `{width, height}` for the map's 0 … 1: the whole of it fits at zoom 1. */
export const scaleOf = ({ width, height }, view) => Math.max(1, Math.min(width, height) * 0.94) * view.zoom;

/** Pixels [x, y] of a point of the map's 0 … 1. */
export function project([x, y], view, size) {
  const scale = scaleOf(size, view);
  return [size.width / 2 + (x - view.x) * scale, size.height / 2 + (y - view.y) * scale];
}

/** The point of the map's 0 … 1 at a pixel [x, y]. */
export function unproject([left, top], view, size) {
  const scale = scaleOf(size, view);
  return [view.x + (left - size.width / 2) / scale, view.y + (top - size.height / 2) / scale];
}

/** The same view, `times` nearer, with what is at a pixel staying there. */
export function zoomed(view, size, times, [left, top]) {
  const next = bounded({ ...view, zoom: view.zoom * times });
  const before = scaleOf(size, view), after = scaleOf(size, next);
  const dx = left - size.width / 2, dy = top - size.height / 2;
  return bounded({ x: view.x + dx / before - dx / after, y: view.y + dy / before - dy / after, zoom: next.zoom });
}

/** A view that has all of these points [[x, y]] in sight. */
export function around(points) {
  const [low, high] = [Math.min, Math.max].map(most => [0, 1].map(axis => most(...points.map(point => point[axis]))));
  const extent = Math.max(high[0] - low[0], high[1] - low[1], 0.04);
  return bounded({ x: (low[0] + high[0]) / 2, y: (low[1] + high[1]) / 2, zoom: 0.7 / extent });
}

export class Scatter {
  #grid = null;

  /** Points by Uint16Arrays. */
  constructor(x, y) {
    this.x = x;
    this.y = y;
  }

  /** Points on their way from one scatter's places to another's; `move(part)` takes them there. */
  static between(from, to) {
    const moving = new Scatter(new Uint16Array(from.x.length), new Uint16Array(from.x.length));
    const stays = Uint8Array.from(from.x, (_, point) => !from.has(point) || !to.has(point));
    moving.move = part => {
      for (let point = 0; point < stays.length; point++) {
        moving.x[point] = stays[point] ? NOWHERE : from.x[point] + part * (to.x[point] - from.x[point]);
        moving.y[point] = stays[point] ? NOWHERE : from.y[point] + part * (to.y[point] - from.y[point]);
      }
    };
    return moving;
  }

  has(point) { return this.x[point] !== NOWHERE; }

  /** `{starts, sorted}`: the points of each cell of a grid, one cell after the other. */
  get grid() {
    if (this.#grid) return this.#grid;
    const { x } = this, starts = new Int32Array(CELLS * CELLS + 1), sorted = new Int32Array(x.length);
    for (let point = 0; point < x.length; point++) starts[this.#cell(point) + 1]++;
    for (let cell = 0; cell < CELLS * CELLS; cell++) starts[cell + 1] += starts[cell];
    const next = starts.slice();
    for (let point = 0; point < x.length; point++) sorted[next[this.#cell(point)]++] = point;
    return (this.#grid = { starts, sorted });
  }

  #cell(point) { return ((this.y[point] >> 8) << 8) | (this.x[point] >> 8); }

  /** [x, y] of a point in 0 … 1. */
  place(point) { return [this.x[point] / SPAN, this.y[point] / SPAN]; }

  /** Radius of a point in pixels of the page. */
  radius(view) { return Math.min(9, Math.max(1, 4.5 * (300 / Math.max(60, this.x.length)) ** 0.25) * view.zoom ** 0.35); }

  /** Draws all points, each in the colour of its class: `classes` a Uint8Array, `colours` [[red, green, blue]], `bright` whether a class stands out.
   *  Of more than `most`, every second, third … one: that is quick. */
  draw(canvas, view, size, { classes, colours, bright, paper, most = Infinity }) {
    const ratio = canvas.width / size.width;
    const wide = canvas.width + 2 * MARGIN, high = canvas.height + 2 * MARGIN;
    if (this.image?.width !== wide || this.image?.height !== high) {
      this.image = new ImageData(wide, high);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    const { pixels } = this, packed = colours.map(pack);
    pixels.fill(pack(paper));
    const stamp = disc(Math.min(MARGIN - 2, this.radius(view) * ratio), wide);
    const scale = (scaleOf(size, view) * ratio) / SPAN;
    const left = canvas.width / 2 - view.x * SPAN * scale + MARGIN, top = canvas.height / 2 - view.y * SPAN * scale + MARGIN;
    // What stands out lies on top.
    for (const pass of bright.includes(false) ? [false, true] : [true]) {
      const coverage = stamp.coverage.map(share => Math.round(256 * share * (pass ? OPACITY : FAINT)));
      this.#stamp(pixels, stamp.offsets, coverage, { classes, packed, chosen: bright.map(one => one === pass), every: Math.ceil(this.x.length / most) || 1, scale, left, top, wide, high });
    }
    canvas.getContext("2d", { willReadFrequently: true }).putImageData(this.image, -MARGIN, -MARGIN);
  }

  #stamp(pixels, offsets, coverage, { classes, packed, chosen, every, scale, left, top, wide, high }) {
    const { x, y } = this, count = x.length, size = offsets.length, edge = MARGIN - 1;
    const right = wide - edge, bottom = high - edge;
    for (let point = 0; point < count; point += every) {
      const column = (x[point] * scale + left) | 0, row = (y[point] * scale + top) | 0;
      if (column < edge || column >= right || row < edge || row >= bottom || !chosen[classes[point]] || x[point] === NOWHERE) continue;
      const colour = packed[classes[point]], redBlue = colour & 0xff00ff, green = colour & 0x00ff00, centre = row * wide + column;
      for (let place = 0; place < size; place++) {
        const at = centre + offsets[place], share = coverage[place], below = pixels[at];
        const belowRedBlue = below & 0xff00ff, belowGreen = below & 0x00ff00;
        pixels[at] = 0xff000000
          | ((belowRedBlue + (Math.imul(redBlue - belowRedBlue, share) >> 8)) & 0xff00ff)
          | ((belowGreen + (Math.imul(green - belowGreen, share) >> 8)) & 0x00ff00);
      }
    }
  }

  /** The point nearest to a pixel, within some pixels of it, of those that `allowed(point)`; -1 where there is none. */
  pick(at, view, size, within, allowed) {
    const [x, y] = unproject(at, view, size).map(value => value * SPAN), reach = ((within + this.radius(view)) / scaleOf(size, view)) * SPAN;
    let best = -1, least = reach ** 2;
    this.#each([x - reach, y - reach], [x + reach, y + reach], point => {
      const squared = (this.x[point] - x) ** 2 + (this.y[point] - y) ** 2;
      if (squared <= least && allowed(point)) [best, least] = [point, squared];
    });
    return best;
  }

  /** The points within a polygon of the map's 0 … 1, [[x, y]], by the even-odd rule; those that `allowed(point)`. */
  within(corners, allowed) {
    const ends = corners.map(([x, y]) => [x * SPAN, y * SPAN]), found = [];
    const [low, high] = [Math.min, Math.max].map(most => [0, 1].map(axis => ends.reduce((value, end) => most(value, end[axis]), ends[0][axis])));
    this.#each(low, high, point => {
      const x = this.x[point], y = this.y[point];
      let inside = false;
      for (let at = 0, before = ends.length - 1; at < ends.length; before = at++) {
        const [x1, y1] = ends[at], [x2, y2] = ends[before];
        if (y1 > y !== y2 > y && x < x1 + ((y - y1) / (y2 - y1)) * (x2 - x1)) inside = !inside;
      }
      if (inside && allowed(point)) found.push(point);
    });
    return found;
  }

  /** Calls back with every point of the cells that a rectangle of the points' coordinates touches. */
  #each(low, high, take) {
    const { starts, sorted } = this.grid, cell = value => Math.min(CELLS - 1, Math.max(0, Math.floor(value / 256)));
    for (let row = cell(low[1]); row <= cell(high[1]); row++) {
      const to = starts[row * CELLS + cell(high[0]) + 1];
      for (let place = starts[row * CELLS + cell(low[0])]; place < to; place++) if (this.has(sorted[place])) take(sorted[place]);
    }
  }
}

/** A disc's pixels about its middle, and how much of each it covers. */
function disc(radius, wide) {
  const offsets = [], coverage = [], reach = Math.ceil(radius);
  for (let row = -reach; row <= reach; row++) {
    for (let column = -reach; column <= reach; column++) {
      const share = Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(row, column)));
      if (share > 0) { offsets.push(row * wide + column); coverage.push(share); }
    }
  }
  return { offsets: Int32Array.from(offsets), coverage };
}

const pack = ([red, green, blue]) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
