// What the map is drawn from: the file of `GET /v1/map`, the names of its points, and the classes that colour them.
import { json, request } from "./api.js";
import { fetchAnew } from "./store.js";
import { Scatter } from "./scatter.js";

const MOST_COLOURS = 12;
export const UNKNOWN = 255;
const NAMES_AT_ONCE = 200;
/** What is known of the points of one revision, whatever the layout: tracks by place, and places by track_id. */
let known = { revision: "", names: new Map(), places: new Map() };

/** The map in one layout, "" for the first that there is: its header, a column of each name, and its points. */
export async function fetchMap(layout, signal) {
  const content = await (await request(`v1/map${layout ? `?layout=${layout}` : ""}`, { signal })).arrayBuffer();
  const bytes = new DataView(content).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(content, 4, bytes)));
  const columns = {};
  let start = 4 + bytes;
  for (const name of header.columns) {
    columns[name] = new (name === "x" || name === "y" ? Uint16Array : Uint8Array)(content, start, header.count);
    start += columns[name].byteLength;
  }
  if (header.revision !== known.revision) known = { revision: header.revision, names: new Map(), places: new Map() };
  return { ...header, ...columns, scatter: new Scatter(columns.x, columns.y), names: known.names, places: known.places };
}

/** The tracks of some points or of some ids, as asked for; each is asked for once. A map that has changed is fetched anew. */
export async function fetchNames(map, parameters, signal) {
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

/** The tracks of all of these points, in their order. */
export async function namesOf(map, places, signal) {
  const missing = places.filter(place => !map.names.has(place));
  for (let from = 0; from < missing.length; from += NAMES_AT_ONCE) {
    await fetchNames(map, missing.slice(from, from + NAMES_AT_ONCE).map(place => ["place", place]), signal);
  }
  return places.map(place => map.names.get(place)).filter(Boolean);
}

/** An order of points in which each is the nearest to the one before of those that are left. */
export function walk(map, places) {
  const left = [...places].sort((one, other) => map.x[one] - map.x[other]), way = left.splice(0, 1);
  while (left.length) {
    const from = way.at(-1);
    let nearest = 0, least = Infinity;
    left.forEach((place, at) => {
      const squared = (map.x[place] - map.x[from]) ** 2 + (map.y[place] - map.y[from]) ** 2;
      if (squared < least) [nearest, least] = [at, squared];
    });
    way.push(...left.splice(nearest, 1));
  }
  return way;
}

// -- colours: a class for each point -------------------------------------------------------------------------------

const plain = (name, colour) => ({ name, colour });
const onRamp = names => names.map((name, place) => plain(name, `color-mix(in oklch, var(--warm-fill) ${(100 * place) / Math.max(1, names.length - 1)}%, var(--cool-fill))`));
const LISTENERS = [[0, "nobody"], [1, "1 listener"], [4, "2 – 4"], [9, "5 – 9"], [24, "10 – 24"], [99, "25 – 99"], [Infinity, "100 and more"]];
const WEIGHTS = [[0, "by sound alone"], [0.25, "under a quarter"], [0.5, "under half"], [0.75, "under three quarters"], [1, "by its listeners"]];
const upTo = limits => value => limits.findIndex(([limit]) => value <= limit);

/** Names, the commonest first: a colour for each of the first, one for all others. */
const named = names => ({
  classes: [...names.slice(0, MOST_COLOURS).map((name, place) => plain(name, `var(--map-${place})`)), plain("other", "var(--map-other)")],
  classOf: value => Math.min(value, MOST_COLOURS),
});

/** What points are coloured by: `of(map)` gives the class of each of the 256 values of a column, and the classes. */
export const COLOURINGS = {
  genre: { title: "Genre", column: "genre", of: ({ genres }) => named(genres) },
  artist: { title: "Artist", column: "artist", unknown: "other artists", of: ({ artists }) => named(artists.slice(0, MOST_COLOURS)) },
  group: { title: "Who listens to it", column: "group", of: ({ groups }) => named(groups) },
  listeners: { title: "Listeners", column: "listeners", of: () => ({
    classes: onRamp(LISTENERS.map(([, name]) => name)), classOf: value => upTo(LISTENERS)(Math.round(2 ** (value / 8) - 1)),
  }) },
  weight: { title: "How far it has crossed over to taste", column: "weight", of: () => ({
    classes: onRamp(WEIGHTS.map(([, name]) => name)), classOf: value => upTo(WEIGHTS)(value / 254),
  }) },
  year: { title: "Period", column: "year", of: ({ year }) => {
    const decade = value => Math.floor((1900 + value) / 10);
    let first = Infinity, last = -Infinity;
    for (const value of year) if (value !== UNKNOWN) [first, last] = [Math.min(first, decade(value)), Math.max(last, decade(value))];
    return { classes: onRamp(Array.from({ length: Math.max(0, last - first + 1) }, (_, place) => `${10 * (first + place)}s`)), classOf: value => decade(value) - first };
  } },
};

/** The names of the colourings that say something about this map. */
export const usable = map => Object.keys(COLOURINGS).filter(name => map[COLOURINGS[name].column].some(value => value !== UNKNOWN));

/** `{classes: [{name, colour, count}], of: Uint8Array}`: the classes that some point has, and that of each point. */
export function coloured(map, { column, unknown = "not known", of }) {
  const { classes, classOf } = of(map), all = [...classes, plain(unknown, "var(--map-other)")];
  const table = Array.from({ length: 256 }, (_, value) => (value === UNKNOWN ? classes.length : classOf(value)));
  const perValue = new Array(256).fill(0), counts = new Array(all.length).fill(0);
  for (const value of map[column]) perValue[value]++;
  perValue.forEach((count, value) => { if (count) counts[table[value]] += count; });
  const used = all.map((_, place) => place).filter(place => counts[place]);
  const narrow = table.map(place => used.indexOf(place));
  return { classes: used.map(place => ({ ...all[place], count: counts[place] })), of: map[column].map(value => narrow[value]) };
}

/** The commonest genres of some points, at most three, and the years that they span. */
export function summary(map, places) {
  const counts = new Map(), years = places.map(place => map.year[place]).filter(year => year !== UNKNOWN);
  for (const place of places) if (map.genre[place] !== UNKNOWN) counts.set(map.genre[place], (counts.get(map.genre[place]) || 0) + 1);
  const genres = [...counts].sort((one, other) => other[1] - one[1]).slice(0, 3).filter(([, count]) => count >= places.length / 10).map(([genre]) => map.genres[genre]);
  const [first, last] = [Math.min, Math.max].map(most => 1900 + years.reduce((one, other) => most(one, other), years[0]));
  return { genres, period: years.length ? (first === last ? `${first}` : `${first} – ${last}`) : "" };
}
