// The map: every track a point, near what sounds like it; a click plays it and draws lines to its true neighbours.
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./html.js";
import { json, request, useAnswer } from "./api.js";
import { blending, fetchAnew, theme } from "./store.js";
import { Neighbours } from "./answer.js";
import { addressOf, calm, Icon, Loading, nameOf, ordered, PlayButton, Problem, TrackList, TrackRow, useTitle } from "./parts.js";
import { toggle } from "./player.js";
import { around, bounded, project, scaleOf, Scatter, WHOLE, zoomed } from "./scatter.js";

const K = 10;
const MOST_FOUND = 50;
const MOST_COLOURS = 12;
const UNKNOWN = 255;
const NAMES_AT_ONCE = 40;
const CLICK_PIXELS = 5, REACH_PIXELS = { mouse: 6, touch: 18 };
const FLIGHT_MS = 650;
const KEY_STEP = 0.15, ZOOM_STEP = 1.5;
const WORTH_SEEING = 1 / 8;
const PAUSE_MS = 150;
export const mapAddress = trackId => `#/map${trackId ? `/${encodeURIComponent(trackId)}` : ""}`;

/** The file of `GET /v1/map`: its header, and a column of each name. */
async function fetchMap(signal) {
  const content = await (await request("v1/map", { signal })).arrayBuffer();
  const bytes = new DataView(content).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(content, 4, bytes)));
  const columns = {};
  let start = 4 + bytes;
  for (const name of header.columns) {
    columns[name] = new (name === "x" || name === "y" ? Uint16Array : Uint8Array)(content, start, header.count);
    start += columns[name].byteLength;
  }
  return { ...header, ...columns, scatter: new Scatter(columns.x, columns.y), names: new Map(), places: new Map() };
}

/** The tracks of some points or of some ids, as asked for; each is asked for once. A map that has changed is fetched anew. */
async function fetchNames(map, parameters, signal) {
  const { revision, tracks } = await json("v1/map/tracks", parameters, { signal });
  if (revision !== map.revision) {
    fetchAnew();
    return [];
  }
  for (const track of tracks) {
    map.names.set(track.place, track);
    map.places.set(track.track_id, track.place);
  }
  return tracks;
}

// -- colours: a class for each point -------------------------------------------------------------------------------

const plain = (name, colour) => ({ name, colour });
const onRamp = names => names.map((name, place) => plain(name, `color-mix(in oklch, var(--warm-fill) ${(100 * place) / Math.max(1, names.length - 1)}%, var(--cool-fill))`));
const LISTENERS = [[0, "nobody"], [1, "1 listener"], [4, "2 – 4"], [9, "5 – 9"], [24, "10 – 24"], [99, "25 – 99"], [Infinity, "100 and more"]];
const WEIGHTS = [[0, "by sound alone"], [0.25, "under a quarter"], [0.5, "under half"], [0.75, "under three quarters"], [1, "by its listeners"]];
const upTo = limits => value => limits.findIndex(([limit]) => value <= limit);

/** What points are coloured by: `of(map)` gives the class of each of the 256 values of a column, and the classes. */
const COLOURINGS = {
  genre: { title: "Genre", column: "genre", of: ({ genres }) => {
    const shown = genres.slice(0, MOST_COLOURS), others = genres.length > MOST_COLOURS ? [plain("other", "var(--map-other)")] : [];
    return { classes: [...shown.map((name, place) => plain(name, `var(--map-${place})`)), ...others], classOf: value => Math.min(value, MOST_COLOURS) };
  } },
  listeners: { title: "Listeners", column: "listeners", of: () => ({
    classes: onRamp(LISTENERS.map(([, name]) => name)), classOf: value => upTo(LISTENERS)(Math.round(2 ** (value / 8) - 1)),
  }) },
  weight: { title: "How far it has crossed over to taste", column: "weight", of: () => ({
    classes: onRamp(WEIGHTS.map(([, name]) => name)), classOf: value => upTo(WEIGHTS)(value / 254),
  }) },
  year: { title: "Years", column: "year", of: ({ year }) => {
    const known = year.filter(value => value !== UNKNOWN), decade = value => Math.floor((1900 + value) / 10);
    const first = decade(known.reduce((least, value) => Math.min(least, value), UNKNOWN)), last = decade(known.reduce((most, value) => Math.max(most, value), 0));
    return { classes: onRamp(Array.from({ length: last - first + 1 }, (_, place) => `${10 * (first + place)}s`)), classOf: value => decade(value) - first };
  } },
};
const NOT_KNOWN = plain("not known", "var(--map-other)");

/** `{classes: [{name, colour, count}], of: Uint8Array}`: the classes that some point has, and that of each point. */
function coloured(map, { column, of }) {
  const { classes, classOf } = of(map), all = [...classes, NOT_KNOWN];
  const table = Array.from({ length: 256 }, (_, value) => (value === UNKNOWN ? classes.length : classOf(value)));
  const counts = new Array(all.length).fill(0);
  for (const value of map[column]) counts[table[value]]++;
  const used = all.map((_, place) => place).filter(place => counts[place]);
  const narrow = table.map(place => used.indexOf(place));
  return { classes: used.map(place => ({ ...all[place], count: counts[place] })), of: map[column].map(value => narrow[value]) };
}

/** Red, green and blue of whatever the style sheet calls a colour. */
function rgb(colour) {
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
}

// -- the screen ----------------------------------------------------------------------------------------------------

export function MapScreen({ trackId }) {
  const { data: map, error } = useAnswer(fetchMap, []);
  useTitle("Map");
  return html`
    <h1 class="small" tabindex="-1">Your music, near what sounds like it</h1>
    ${error ? html`<${Problem} error=${error} />` : !map ? html`<p class="sub" role="status">The map is being drawn. The first time takes a little longer.</p><${Loading} />`
      : map.count ? html`<${Atlas} map=${map} trackId=${trackId} />`
      : html`<p>The map is empty. Fill the library first: <code>crossfade embed ~/Music --library …</code></p>`}`;
}

function Atlas({ map, trackId }) {
  const usable = Object.keys(COLOURINGS).filter(name => map[COLOURINGS[name].column].some(value => value !== UNKNOWN));
  const [colouring, setColouring] = useState(usable[0] || "genre");
  const colours = useMemo(() => coloured(map, COLOURINGS[colouring]), [map, colouring]);
  const [chosen, setChosen] = useState(new Set());
  const [found, setFound] = useState(null);
  const [target, setTarget] = useState(null);
  const selected = useSelected(map, trackId);
  const compared = useAnswer(signal => (trackId ? json("v1/compared_tracks", { track_id: trackId, k: K }, { signal }) : Promise.resolve(null)), [trackId]);
  const blend = blending.use();
  const near = useMemo(() => {
    const { tracks, others } = (selected && compared.data) || { tracks: [], others: [] };
    return ordered([...tracks, ...others], blend, K);
  }, [selected, compared.data, blend]);
  const neighbours = usePlaces(map, near);
  useEffect(() => {
    if (selected?.place !== undefined && neighbours) setTarget({ points: [selected.place, ...neighbours].map(place => map.scatter.place(place)) });
  }, [selected, neighbours !== null]);
  const select = place => choose(map, place);
  return html`
    <div class="atlas">
      <${Picture} map=${map} colours=${colours} chosen=${chosen} found=${found || []} selected=${selected?.place} neighbours=${neighbours || []} target=${target} onSelect=${select} />
      <div class="atlas-side">
        <section class="card">
          <div class="row colouring"><label for="colouring">Colour by</label>
            <select id="colouring" value=${colouring} onChange=${event => { setColouring(event.target.value); setChosen(new Set()); }}>
              ${usable.map(name => html`<option key=${name} value=${name}>${COLOURINGS[name].title}</option>`)}
            </select></div>
          <${Legend} classes=${colours.classes} chosen=${chosen} onChange=${setChosen} />
        </section>
        <section class="card">
          <${Finder} map=${map} onFound=${tracks => {
            setFound(tracks?.map(track => track.place));
            if (tracks?.length) setTarget({ points: tracks.map(track => map.scatter.place(track.place)) });
          }} />
        </section>
        ${trackId && html`<${Selected} key=${trackId} track=${selected} compared=${compared} />`}
      </div>
    </div>`;
}

/** Plays a point's track, and names it in the address. */
async function choose(map, place) {
  const [track] = map.names.has(place) ? [map.names.get(place)] : await fetchNames(map, [["place", place]]);
  if (!track) return;
  if (track.has_audio) toggle(track, [track], { preview: true });
  location.hash = mapAddress(track.track_id);
}

/** The track that the address names; null before it is known, `{}` where it is not on the map. */
function useSelected(map, trackId) {
  const [selected, setSelected] = useState(null);
  useEffect(() => {
    const abort = new AbortController();
    const place = map.places.get(trackId);
    setSelected(place === undefined ? null : map.names.get(place));
    if (trackId && place === undefined) {
      fetchNames(map, [["track_id", trackId]], abort.signal).then(([track]) => setSelected(track || {}), () => {});
    }
    return () => abort.abort();
  }, [map, trackId]);
  return selected;
}

/** Where these tracks are on the map, those that are; null before it is known. */
function usePlaces(map, tracks) {
  const [places, setPlaces] = useState(null);
  const ids = tracks.map(track => track.track_id), known = () => ids.map(id => map.places.get(id)).filter(place => place !== undefined);
  useEffect(() => {
    const abort = new AbortController(), missing = ids.filter(id => !map.places.has(id));
    setPlaces(missing.length || !ids.length ? null : known());
    if (missing.length) fetchNames(map, missing.map(id => ["track_id", id]), abort.signal).then(() => setPlaces(known()), () => {});
    return () => abort.abort();
  }, [map, ids.join("\n")]);
  return places;
}

function Selected({ track, compared }) {
  if (!track) return null;
  if (track.place === undefined) return html`<section class="card"><p class="sub">This track is not on the map: it has no embedding.</p></section>`;
  return html`
    <section class="card" aria-label="The chosen track">
      <div class="chosen">
        ${track.has_audio && html`<${PlayButton} track=${track} preview=${true} />`}
        <div class="track-text"><a class="title" href=${addressOf(track)} dir="auto">${nameOf(track)}</a><span class="sub" dir="auto">${track.artists.join(", ")}</span></div>
        <a class="icon-button button" href=${mapAddress("")} aria-label="Let go of it">×</a>
      </div>
      <h2>Truly nearest: the lines</h2>
      ${compared.error ? html`<${Problem} error=${compared.error} />` : compared.data ? html`<${Neighbours} compared=${compared.data} artists=${track.artists} />` : html`<${Loading} rows=${K} />`}
    </section>`;
}

function Legend({ classes, chosen, onChange }) {
  const toggled = place => {
    const next = new Set(chosen);
    next.has(place) ? next.delete(place) : next.add(place);
    onChange(next);
  };
  return html`
    <ul class="legend" aria-label="Colours; press to see only these">
      ${classes.map(({ name, colour, count }, place) => html`
        <li key=${name}><button aria-pressed=${chosen.has(place)} onClick=${() => toggled(place)}>
          <i style=${{ backgroundColor: colour }} aria-hidden="true"></i><span>${name}</span><span class="sub">${count.toLocaleString()}</span></button></li>`)}
      ${chosen.size > 0 && html`<li><button onClick=${() => onChange(new Set())}>Show all</button></li>`}
    </ul>`;
}

/** Finds tracks by name: the way to the map's points without a pointer. */
function Finder({ map, onFound }) {
  const [query, setQuery] = useState(""), pause = useRef();
  const { data, error } = useAnswer(signal => (query ? fetchNames(map, { query, k: MOST_FOUND }, signal) : Promise.resolve(null)), [map, query]);
  useEffect(() => onFound(data), [data]);
  const said = error || !data ? "" : data.length === MOST_FOUND ? `the first ${MOST_FOUND} tracks` : data.length === 1 ? "1 track" : data.length ? `${data.length} tracks` : "Nothing has all of these words.";
  return html`
    <label class="find" for="find">Find on the map</label>
    <input id="find" type="search" placeholder="title, artist or id" autocomplete="off" spellcheck=${false} maxlength="200"
      onInput=${event => { clearTimeout(pause.current); pause.current = setTimeout(setQuery, PAUSE_MS, event.target.value.trim()); }} />
    <p class="sub" role="status">${said}</p>
    ${error && html`<${Problem} error=${error} />`}
    ${data?.length > 0 && html`
      <div class="found"><${TrackList} tracks=${data} label="Found on the map">
        ${data.map(track => html`
          <${TrackRow} key=${track.track_id} track=${track} queue=${data}>
            <a class="icon-button button" href=${mapAddress(track.track_id)} aria-label=${`Show ${nameOf(track)} on the map`}><${Icon} name="target" /></a>
          <//>`)}
      <//></div>`}`;
}

// -- the picture ---------------------------------------------------------------------------------------------------

function Picture({ map, colours, chosen, found, selected, neighbours, target, onSelect }) {
  const { scatter } = map, box = useRef(), canvas = useRef(), held = useRef(new Map()), moved = useRef(0), flight = useRef();
  const [view, setView] = useState(WHOLE);
  const [size, setSize] = useState(null);
  const [hovered, setHovered] = useState(-1);
  const paint = usePaint(box, colours);
  const now = useRef();
  now.current = { view, size };
  const isShown = point => !chosen.size || chosen.has(colours.of[point]);
  const pick = (at, reach) => scatter.pick(at, now.current.view, size, reach, isShown);
  const look = next => { cancelAnimationFrame(flight.current); setView(bounded(next)); };

  useEffect(() => {
    const observer = new ResizeObserver(([{ contentRect: { width, height } }]) => setSize({ width: Math.round(width), height: Math.round(height) }));
    observer.observe(box.current);
    return () => { observer.disconnect(); cancelAnimationFrame(flight.current); };
  }, []);
  useEffect(() => { if (target && size && !seen(target.points, now.current.view, size)) fly(now.current.view, around(target.points), setView, flight); }, [target, size !== null]);
  useLayoutEffect(() => {
    if (!size || !paint) return;
    const ratio = Math.min(2, devicePixelRatio || 1), wide = Math.round(size.width * ratio), high = Math.round(size.height * ratio);
    if (canvas.current.width !== wide || canvas.current.height !== high) Object.assign(canvas.current, { width: wide, height: high });
    const bright = colours.classes.map((_, place) => !chosen.size || chosen.has(place));
    scatter.draw(canvas.current, view, size, { classes: colours.of, bright, ...paint });
  }, [view, size, paint, chosen]);

  const pixel = event => { const { left, top } = box.current.getBoundingClientRect(); return [event.clientX - left, event.clientY - top]; };
  const onPointerDown = event => {
    if (event.button) return;
    box.current.setPointerCapture(event.pointerId);
    held.current.set(event.pointerId, pixel(event));
    if (held.current.size === 1) moved.current = 0;
  };
  const onPointerMove = event => {
    const at = pixel(event), before = held.current.get(event.pointerId);
    if (!before) return setHovered(event.pointerType === "mouse" ? pick(at, REACH_PIXELS.mouse) : -1);
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
    const wasHeld = held.current.delete(event.pointerId);
    if (!wasHeld || moved.current >= CLICK_PIXELS || event.type === "pointercancel") return;
    const point = pick(pixel(event), REACH_PIXELS[event.pointerType] ?? REACH_PIXELS.mouse);
    if (point >= 0) onSelect(point);
  };
  const onKeyDown = event => {
    const { width, height } = size, scale = scaleOf(size, view), pan = (across, down) => ({ ...view, x: view.x + (across * KEY_STEP * width) / scale, y: view.y + (down * KEY_STEP * height) / scale });
    const middle = [width / 2, height / 2];
    const keys = {
      ArrowLeft: () => look(pan(-1, 0)), ArrowRight: () => look(pan(1, 0)), ArrowUp: () => look(pan(0, -1)), ArrowDown: () => look(pan(0, 1)),
      "+": () => look(zoomed(view, size, ZOOM_STEP, middle)), "=": () => look(zoomed(view, size, ZOOM_STEP, middle)), "-": () => look(zoomed(view, size, 1 / ZOOM_STEP, middle)),
      0: () => look(WHOLE), Enter: () => { const point = pick(middle, Infinity); if (point >= 0) onSelect(point); },
    };
    if (event.target !== box.current || event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
    now.current.atKeys = true;
  };
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
      <div ref=${box} class=${hovered >= 0 ? "points over" : "points"} role="application" tabindex="0"
        aria-label=${`Map of ${map.count.toLocaleString()} tracks. Arrow keys move it, plus and minus zoom, 0 shows all, Enter plays the track nearest to the middle. Tracks are found by name beside it.`}
        onPointerDown=${onPointerDown} onPointerMove=${onPointerMove} onPointerUp=${onPointerUp} onPointerCancel=${onPointerUp} onPointerLeave=${() => setHovered(-1)} onKeyDown=${onKeyDown}>
        <canvas ref=${canvas}></canvas>
        ${size && html`<${Marks} scatter=${scatter} view=${view} size=${size} found=${found} selected=${selected} neighbours=${neighbours} />`}
        ${size && hovered >= 0 && html`<${Tip} map=${map} place=${hovered} at=${project(scatter.place(hovered), view, size)} size=${size} />`}
      </div>
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

/** From one view to another, at once for who wants it calm. */
function fly(from, to, setView, flight) {
  cancelAnimationFrame(flight.current);
  if (calm()) return setView(to);
  const began = performance.now();
  const frame = time => {
    const part = Math.min(1, Math.max(0, time - began) / FLIGHT_MS), eased = part * part * (3 - 2 * part);
    const zoom = from.zoom * (to.zoom / from.zoom) ** eased;
    // The middle moves by as much as the view lets it be seen to.
    const way = Math.abs(to.zoom - from.zoom) < 1e-6 ? eased : (1 / from.zoom - 1 / zoom) / (1 / from.zoom - 1 / to.zoom);
    setView({ x: from.x + way * (to.x - from.x), y: from.y + way * (to.y - from.y), zoom });
    if (part < 1) flight.current = requestAnimationFrame(frame);
  };
  flight.current = requestAnimationFrame(frame);
}

/** `{colours, paper}` as the style sheet has them now. */
function usePaint(box, colours) {
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

/** Lines to the neighbours, rings about what was found and chosen. */
function Marks({ scatter, view, size, found, selected, neighbours }) {
  const at = place => project(scatter.place(place), view, size), radius = scatter.radius(view);
  const ring = (place, kind, more) => { const [x, y] = at(place); return html`<circle key=${kind + place} class=${kind} cx=${x} cy=${y} r=${radius + more} />`; };
  const start = selected === undefined ? null : at(selected);
  return html`
    <svg class="marks" aria-hidden="true" width=${size.width} height=${size.height}>
      ${start && neighbours.map(place => { const [x, y] = at(place); return html`<line key=${place} x1=${start[0]} y1=${start[1]} x2=${x} y2=${y} />`; })}
      ${found.map(place => ring(place, "hit", 3))}
      ${start && neighbours.map(place => ring(place, "neighbour", 2))}
      ${start && ring(selected, "selected", 5)}
    </svg>`;
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
function withNeighbours({ scatter, names }, place) {
  const middle = scatter.sorted.indexOf(place), from = Math.max(0, middle - NAMES_AT_ONCE / 2);
  return [...new Set([place, ...scatter.sorted.slice(from, from + NAMES_AT_ONCE)])].filter(one => !names.has(one));
}
