// The map's picture: points on a canvas, moved, zoomed, hovered, clicked and lassoed, and what is drawn over them.
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./html.js";
import { theme } from "./store.js";
import { fetchNames } from "./mapdata.js";
import { calm, Icon, nameOf } from "./parts.js";
import { around, bounded, project, scaleOf, Scatter, unproject, WHOLE, zoomed } from "./scatter.js";

const NAMES_AT_ONCE = 40;
const CLICK_PIXELS = 5, REACH_PIXELS = { mouse: 6, touch: 18 };
const FLIGHT_MS = 650, CROSSING_MS = 1100;
/** Points that are drawn while they move; all of them after so long at rest. */
const MOST_MOVING = 150_000, REST_MS = 160;
const KEY_STEP = 0.15, ZOOM_STEP = 1.5;
const WORTH_SEEING = 1 / 8;
const LASSO_STEP = 4;
/** Pixels that a region has to take before its name is shown: genres, artists. */
const WORTH_NAMING = { genre: 26, artist: 44 };
const MOST_NAMES = 24;

/** Red, green and blue of whatever the style sheet calls a colour. */
function rgb(colour) {
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
}

/** `target`: points [[x, y]] to be brought in sight. `onLasso` gets the points within a drawn line, `onSelect` the one that was clicked. */
export function Picture({ map, colours, chosen, found, selected, neighbours, route, song, target, lassoing, onLasso, onSelect }) {
  const box = useRef(), canvas = useRef(), held = useRef(new Map()), moved = useRef(0), flight = useRef();
  const [view, setView] = useState(WHOLE);
  const [size, setSize] = useState(null);
  const [hovered, setHovered] = useState(-1);
  // Pointers move more often than the picture is drawn: the line is kept beside what is shown of it.
  const drawing = useRef(null), [line, showLine] = useState(null);
  const setLine = next => { drawing.current = next; showLine(next); };
  const [touched, setTouched] = useState(false);
  const paint = usePaint(box, colours);
  const { scatter, crossing } = useCrossing(map);
  const now = useRef();
  now.current = { view, size };
  const isShown = point => !chosen.size || chosen.has(colours.of[point]);
  const pick = (at, reach) => map.scatter.pick(at, now.current.view, size, reach, isShown);
  const look = next => { cancelAnimationFrame(flight.current); setTouched(true); setView(bounded(next)); };

  useEffect(() => {
    const observer = new ResizeObserver(([{ contentRect: { width, height } }]) => setSize({ width: Math.round(width), height: Math.round(height) }));
    observer.observe(box.current);
    return () => { observer.disconnect(); cancelAnimationFrame(flight.current); };
  }, []);
  useEffect(() => {
    if (target && size && (target.whole || !seen(target.points, now.current.view, size))) fly(now.current.view, around(target.points), setView, flight);
  }, [target, size !== null]);
  useLayoutEffect(() => {
    if (!size || !paint) return;
    const ratio = Math.min(2, devicePixelRatio || 1), wide = Math.round(size.width * ratio), high = Math.round(size.height * ratio);
    if (canvas.current.width !== wide || canvas.current.height !== high) Object.assign(canvas.current, { width: wide, height: high });
    const bright = colours.classes.map((_, place) => !chosen.size || chosen.has(place));
    const draw = most => scatter.draw(canvas.current, view, size, { classes: colours.of, bright, most, ...paint });
    draw(MOST_MOVING);
    if (map.count <= MOST_MOVING) return undefined;
    const rest = setTimeout(draw, REST_MS);
    return () => clearTimeout(rest);
  }, [view, size, paint, chosen, scatter, crossing]);

  const pixel = event => { const { left, top } = box.current.getBoundingClientRect(); return [event.clientX - left, event.clientY - top]; };
  const onPointerDown = event => {
    if (event.button) return;
    box.current.setPointerCapture(event.pointerId);
    held.current.set(event.pointerId, pixel(event));
    setTouched(true);
    if (held.current.size === 1) moved.current = 0;
    // A second finger zooms: what the first one drew is no lasso.
    setLine((lassoing || event.shiftKey) && held.current.size === 1 ? [pixel(event)] : null);
  };
  const onPointerMove = event => {
    const at = pixel(event), before = held.current.get(event.pointerId);
    if (!before) return setHovered(event.pointerType === "mouse" ? pick(at, REACH_PIXELS.mouse) : -1);
    if (drawing.current) return distance(at, drawing.current.at(-1)) < LASSO_STEP ? undefined : setLine([...drawing.current, at]);
    const others = [...held.current].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    held.current.set(event.pointerId, at);
    moved.current += Math.hypot(at[0] - before[0], at[1] - before[1]);
    if (moved.current < CLICK_PIXELS) return undefined;
    const scale = scaleOf(size, now.current.view), share = 1 / (1 + others.length);
    let next = { ...now.current.view, x: now.current.view.x - (share * (at[0] - before[0])) / scale, y: now.current.view.y - (share * (at[1] - before[1])) / scale };
    if (others.length) next = zoomed(next, size, distance(at, others[0]) / Math.max(1, distance(before, others[0])), [0, 1].map(axis => (at[axis] + others[0][axis]) / 2));
    now.current.view = bounded(next);
    setHovered(-1);
    return look(next);
  };
  const onPointerUp = event => {
    const wasHeld = held.current.delete(event.pointerId), drawn = drawing.current;
    setLine(null);
    if (!wasHeld || event.type === "pointercancel") return undefined;
    if (drawn?.length > 2) return onLasso(map.scatter.within(drawn.map(at => unproject(at, view, size)), isShown));
    if (moved.current >= CLICK_PIXELS) return undefined;
    const point = pick(pixel(event), REACH_PIXELS[event.pointerType] ?? REACH_PIXELS.mouse);
    return point >= 0 ? onSelect(point) : undefined;
  };
  const onKeyDown = event => {
    const { width, height } = size, scale = scaleOf(size, view), pan = (across, down) => ({ ...view, x: view.x + (across * KEY_STEP * width) / scale, y: view.y + (down * KEY_STEP * height) / scale });
    const middle = [width / 2, height / 2];
    const keys = {
      ArrowLeft: () => look(pan(-1, 0)), ArrowRight: () => look(pan(1, 0)), ArrowUp: () => look(pan(0, -1)), ArrowDown: () => look(pan(0, 1)),
      "+": () => look(zoomed(view, size, ZOOM_STEP, middle)), "=": () => look(zoomed(view, size, ZOOM_STEP, middle)), "-": () => look(zoomed(view, size, 1 / ZOOM_STEP, middle)),
      0: () => look(WHOLE), Enter: () => { const point = pick(middle, Infinity); if (point >= 0) onSelect(point); },
      l: () => onLasso(inSight()),
    };
    if (event.target !== box.current || event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  };
  const inSight = () => map.scatter.within([[0, 0], [size.width, 0], [size.width, size.height], [0, size.height]].map(at => unproject(at, view, size)), isShown);
  // A wheel's listener has to be one that may prevent the page from scrolling.
  useEffect(() => {
    const onWheel = event => {
      event.preventDefault();
      const { view: from, size: of } = now.current;
      const next = zoomed(from, of, Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), pixel(event));
      now.current.view = next;
      look(next);
    };
    box.current.addEventListener("wheel", onWheel, { passive: false });
    return () => box.current?.removeEventListener("wheel", onWheel);
  }, []);
  const step = times => look(zoomed(view, size, times, [size.width / 2, size.height / 2]));
  return html`
    <div class="atlas-picture">
      <div ref=${box} class=${`points${hovered >= 0 ? " over" : ""}${lassoing ? " lassoing" : ""}`} role="application" tabindex="0"
        aria-label=${`Map of ${map.count.toLocaleString()} tracks. Arrow keys move it, plus and minus zoom, 0 shows all, Enter plays the track nearest to the middle, L takes all that are in sight. Tracks are found by name beside it.`}
        onPointerDown=${onPointerDown} onPointerMove=${onPointerMove} onPointerUp=${onPointerUp} onPointerCancel=${onPointerUp} onPointerLeave=${() => setHovered(-1)} onKeyDown=${onKeyDown}>
        <canvas ref=${canvas}></canvas>
        ${size && crossing === null && html`<${Names} regions=${map.regions} view=${view} size=${size} />`}
        ${size && html`<${Marks} scatter=${scatter} view=${view} size=${size} found=${found} selected=${selected} neighbours=${neighbours} route=${route} song=${song} line=${line} />`}
        ${size && hovered >= 0 && !line && html`<${Tip} map=${map} place=${hovered} at=${project(map.scatter.place(hovered), view, size)} size=${size} />`}
      </div>
      ${!touched && (lassoing || selected === undefined) && html`<p class="hint" aria-hidden="true">${lassoing ? "Draw around the tracks you want" : matchMedia("(pointer: coarse)").matches ? "Every point is a track: tap one to hear it. Pinch to zoom." : "Every point is a track: click one to hear it. Drag to move, scroll to zoom."}</p>`}
      <div class="zoom">
        <button class="icon-button" aria-label="Nearer" onClick=${() => step(ZOOM_STEP)}>+</button>
        <button class="icon-button" aria-label="Farther" onClick=${() => step(1 / ZOOM_STEP)}>−</button>
        <button class="icon-button" aria-label="The whole map" onClick=${() => fly(view, WHOLE, setView, flight)}><${Icon} name="whole" /></button>
      </div>
    </div>`;
}

/** Whether points are in sight, and not all in one spot of it. */
function seen(points, view, size) {
  const at = points.map(point => project(point, view, size)), width = Math.min(size.width, size.height);
  const extent = Math.max(...[0, 1].map(axis => Math.max(...at.map(place => place[axis])) - Math.min(...at.map(place => place[axis]))));
  return extent > WORTH_SEEING * width && at.every(([x, y]) => x > 0 && y > 0 && x < size.width && y < size.height);
}

const distance = (one, other) => Math.hypot(one[0] - other[0], one[1] - other[1]);
const eased = part => part * part * (3 - 2 * part);

/** From one view to another, at once for who wants it calm. */
function fly(from, to, setView, flight) {
  cancelAnimationFrame(flight.current);
  if (calm()) return setView(to);
  const began = performance.now();
  const frame = time => {
    const part = Math.min(1, Math.max(0, time - began) / FLIGHT_MS);
    const zoom = from.zoom * (to.zoom / from.zoom) ** eased(part);
    // The middle moves by as much as the view lets it be seen to.
    const way = Math.abs(to.zoom - from.zoom) < 1e-6 ? eased(part) : (1 / from.zoom - 1 / zoom) / (1 / from.zoom - 1 / to.zoom);
    setView({ x: from.x + way * (to.x - from.x), y: from.y + way * (to.y - from.y), zoom });
    if (part < 1) flight.current = requestAnimationFrame(frame);
  };
  flight.current = requestAnimationFrame(frame);
}

/** The points that are drawn: where another layout of the same tracks comes, they cross over to it. `crossing` counts its frames, null at rest. */
function useCrossing(map) {
  const before = useRef(map), moving = useRef(null);
  const [crossing, setCrossing] = useState(null);
  const crosses = map !== before.current && map.revision === before.current.revision && map.layout !== before.current.layout && !calm();
  // While the component is drawn, not after: a frame of the new layout would flash.
  if (crosses) moving.current = Scatter.between(moving.current || before.current.scatter, map.scatter);
  if (crosses) moving.current.move(0);
  before.current = map;
  useEffect(() => {
    if (!moving.current) return undefined;
    const began = performance.now();
    let request = 0;
    const frame = time => {
      const part = Math.min(1, Math.max(0, time - began) / CROSSING_MS);
      if (part === 1) moving.current = null;
      else {
        moving.current.move(eased(part));
        request = requestAnimationFrame(frame);
      }
      setCrossing(part === 1 ? null : time);
    };
    request = requestAnimationFrame(frame);
    return () => cancelAnimationFrame(request);
  }, [map]);
  return { scatter: moving.current || map.scatter, crossing: moving.current ? crossing ?? 0 : null };
}

/** `{colours, paper}` as the style sheet has them now. */
export function usePaint(box, colours) {
  const chosenTheme = theme.use();
  const [paint, setPaint] = useState(null);
  const read = () => setPaint({
    colours: colours.classes.map(({ colour }) => {
      box.current.style.color = colour;
      return rgb(getComputedStyle(box.current).color);
    }),
    paper: rgb(getComputedStyle(box.current).backgroundColor),
  });
  useLayoutEffect(() => {
    read();
    box.current.style.color = "";
    const system = matchMedia("(prefers-color-scheme: dark)");
    system.addEventListener("change", read);
    return () => system.removeEventListener("change", read);
  }, [colours, chosenTheme]);
  return paint;
}

const letters = new Map();
/** Width of a name in pixels, about. */
function widthOf(name, pixels) {
  const key = `${pixels} ${name}`;
  if (!letters.has(key)) {
    const context = new OffscreenCanvas(1, 1).getContext("2d");
    context.font = `650 ${pixels}px system-ui, sans-serif`;
    letters.set(key, context.measureText(name).width * 1.08);
  }
  return letters.get(key);
}

/** The names of regions where they have room: the large ones first, more of them the nearer one looks. */
export function Names({ regions, view, size }) {
  const shown = useMemo(() => {
    const scale = scaleOf(size, view), taken = [], placed = [];
    for (const { kind, name, x, y, size: extent, tracks } of regions) {
      if (placed.length === MOST_NAMES) break;
      const [left, top] = project([x, y], view, size), room = extent * scale;
      if (room < WORTH_NAMING[kind] || (kind === "genre" && room > 2.5 * Math.max(size.width, size.height))) continue;
      const pixels = kind === "artist" ? 12 : room > 220 ? 19 : room > 90 ? 16 : 14;
      const wide = widthOf(name, pixels) / 2 + 5, high = pixels * 0.75;
      const rectangle = [left - wide, top - high, left + wide, top + high];
      if (rectangle[0] < 2 || rectangle[1] < 2 || rectangle[2] > size.width - 2 || rectangle[3] > size.height - 2) continue;
      if (taken.some(other => rectangle[0] < other[2] && rectangle[2] > other[0] && rectangle[1] < other[3] && rectangle[3] > other[1])) continue;
      taken.push(rectangle);
      placed.push({ kind, name, left, top, pixels, key: `${kind} ${name} ${x} ${y} ${tracks}` });
    }
    return placed;
  }, [regions, view, size]);
  return html`
    <svg class="names" aria-hidden="true" width=${size.width} height=${size.height}>
      ${shown.map(({ key, kind, name, left, top, pixels }) => html`<text key=${key} class=${kind} x=${left} y=${top} style=${{ fontSize: `${pixels}px` }}>${name}</text>`)}
    </svg>`;
}

/** Lines to the neighbours, the path, rings about what was found and chosen, the lasso while it is drawn. */
function Marks({ scatter, view, size, found, selected, neighbours, route, song, line }) {
  const there = places => places.filter(place => scatter.has(place));
  const at = place => project(scatter.place(place), view, size), radius = scatter.radius(view);
  const ring = (place, kind, more) => { const [x, y] = at(place); return html`<circle key=${kind + place} class=${kind} cx=${x} cy=${y} r=${radius + more} />`; };
  const start = selected === undefined || !scatter.has(selected) ? null : at(selected);
  const points = places => places.map(place => place.map(value => value.toFixed(1)).join()).join(" ");
  const way = there(route);
  return html`
    <svg class="marks" aria-hidden="true" width=${size.width} height=${size.height}>
      ${start && !way.length && there(neighbours).map(place => { const [x, y] = at(place); return html`<line key=${place} x1=${start[0]} y1=${start[1]} x2=${x} y2=${y} />`; })}
      ${way.length > 1 && html`<polyline class="route-under" points=${points(way.map(at))} /><polyline class="route" points=${points(way.map(at))} />`}
      ${way.map(place => ring(place, "stop", 2))}
      ${there(found).map(place => ring(place, "hit", 3))}
      ${start && !way.length && there(neighbours).map(place => ring(place, "neighbour", 2))}
      ${start && ring(selected, "selected", 5)}
      ${song && html`<${SongMark} at=${project(song.at, view, size)} name=${song.name} size=${size} />`}
      ${line && html`<polygon class="lasso" points=${points(line)} />`}
    </svg>`;
}

/** The dropped song, where it would lie. */
export function SongMark({ at: [x, y], name, size }) {
  const text = name.length > 28 ? `${name.slice(0, 27)}…` : name;
  const left = x + 20 + widthOf(text, 15) > size.width;
  return html`
    <g class="song-mark"><circle cx=${x} cy=${y} r="13" /><circle class="core" cx=${x} cy=${y} r="5" />
      <text x=${left ? x - 20 : x + 20} y=${y} text-anchor=${left ? "end" : "start"}>${text}</text></g>`;
}

/** What a point is; those around it are asked for with it. */
function Tip({ map, place, at, size }) {
  const [, drawn] = useState(0);
  useEffect(() => {
    if (map.names.has(place)) return undefined;
    const abort = new AbortController();
    const pause = setTimeout(() => fetchNames(map, withNeighbours(map, place).map(one => ["place", one]), abort.signal).then(() => drawn(place), () => {}), 40);
    return () => { clearTimeout(pause); abort.abort(); };
  }, [map, place]);
  const track = map.names.get(place), genre = map.genres[map.genre[place]];
  if (!track) return null;
  const [x, y] = at, style = { left: `${x}px`, top: `${y}px`, translate: `${x > size.width / 2 ? "calc(-100% - 14px)" : "14px"} ${y > size.height / 2 ? "-100%" : "0"}` };
  return html`
    <div class="tip" style=${style}><strong dir="auto">${nameOf(track)}</strong>
      ${track.artists.length > 0 && html`<span dir="auto">${track.artists.join(", ")}</span>`}${genre && html`<span>${genre}</span>`}</div>`;
}

/** A point and those about it in the grid, which the pointer is likely to come to next. */
function withNeighbours({ scatter: { grid }, names }, place) {
  const middle = grid.sorted.indexOf(place), from = Math.max(0, middle - NAMES_AT_ONCE / 2);
  return [...new Set([place, ...grid.sorted.slice(from, from + NAMES_AT_ONCE)])].filter(one => !names.has(one));
}
