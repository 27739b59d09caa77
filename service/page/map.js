// The map: every track a point, near what it is like; a click plays it and draws lines to its true neighbours.
import { html, useEffect, useMemo, useRef, useState } from "./html.js";
import { json, useAnswer } from "./api.js";
import { blending, store } from "./store.js";
import { Neighbours } from "./answer.js";
import { song } from "./drop.js";
import { coloured, COLOURINGS, fetchMap, fetchNames, namesOf, summary, usable, walk } from "./mapdata.js";
import { addressOf, Icon, Loading, mapAddress, More, nameOf, ordered, percent, PlayButton, Problem, Take, TrackList, TrackRow, useTitle } from "./parts.js";
import { Picture } from "./picture.js";
import { toggle } from "./player.js";

const K = 10;
const MOST_FOUND = 50;
const MOST_TAKEN = 500, MOST_LISTED = 30;
const MOST_REGIONS = 8;
const PATH_LENGTHS = [5, 8, 12, 20, 40];
const PAUSE_MS = 150;
const LAYOUTS = { sound: "Sound", both: "Both", taste: "Taste" };
const NEAR = { sound: "near what sounds like it", both: "near what sounds like it and has its listeners", taste: "near what the same people play" };
/** What a layout compares tracks by, as a blend of sound (0) and taste (1). */
const BLENDS = { sound: 0, both: 0.5, taste: 1 };
const EVERYTHING = { points: [[0, 0], [1, 1]], whole: true };
/** The layout that is shown; "" for the library's first. */
const layoutShown = store("");

export function MapScreen({ trackId }) {
  const layout = layoutShown.use();
  const { data: map, error } = useAnswer(signal => fetchMap(layout, signal), [layout]);
  useTitle("Map");
  return html`
    <div class="atlas-head"><h1 class="small" tabindex="-1">Your music, ${NEAR[map?.layout] || NEAR.sound}</h1>
      ${map?.layouts.length > 1 && html`<${Layouts} map=${map} />`}</div>
    ${error ? html`<${Problem} error=${error} />` : !map ? html`<p class="sub" role="status">The map is being drawn. The first time takes a little longer.</p><${Loading} />`
      : map.count ? html`<${Atlas} map=${map} trackId=${trackId} />`
      : html`<p>The map is empty. Fill the library first: <code>crossfade embed ~/Music --library …</code></p>`}`;
}

function Layouts({ map }) {
  return html`
    <div class="segments" role="group" aria-label="Near is alike by">
      ${Object.keys(LAYOUTS).filter(name => map.layouts.includes(name)).map(name => html`
        <button key=${name} class=${name} aria-pressed=${map.layout === name} onClick=${() => layoutShown.set(name)}>${LAYOUTS[name]}</button>`)}
    </div>`;
}

function Atlas({ map, trackId }) {
  const colourings = useMemo(() => usable(map), [map.revision]);
  const [wanted, setWanted] = useState("genre");
  const colouring = colourings.includes(wanted) ? wanted : colourings[0] || "genre";
  const colours = useMemo(() => coloured(map, COLOURINGS[colouring]), [map.revision, colouring]);
  const [chosen, setChosen] = useState(new Set());
  const [found, setFound] = useState(null);
  const [target, setTarget] = useState(null);
  const [lassoing, setLassoing] = useState(false);
  const [taken, setTaken] = useState(null);
  const [journey, setJourney] = useState(null);
  const dropped = song.use();
  const selected = useSelected(map, trackId);
  const compared = useAnswer(signal => (trackId ? json("v1/compared_tracks", { track_id: trackId, k: K }, { signal }) : Promise.resolve(null)), [trackId]);
  const blend = blending.use();
  const near = useMemo(() => {
    const { tracks, others } = (selected && compared.data) || { tracks: [], others: [] };
    return ordered([...tracks, ...others], blend, K);
  }, [selected, compared.data, blend]);
  const neighbours = usePlaces(map, near);
  const route = useRoute(map, journey), way = usePlaces(map, route.data?.tracks || []);
  const bring = places => {
    const points = places.filter(place => map.scatter.has(place)).map(place => map.scatter.place(place));
    if (points.length) setTarget({ points });
  };
  const choosingEnd = journey && !journey.to;
  useEffect(() => { if (!choosingEnd && selected?.place !== undefined && neighbours) bring([selected.place, ...neighbours]); }, [selected, neighbours !== null, map.layout]);
  const layoutBefore = useRef(map.layout);
  useEffect(() => {
    if (layoutBefore.current !== map.layout && !selected) setTarget(EVERYTHING);
    layoutBefore.current = map.layout;
  }, [map.layout]);
  useEffect(() => { if (way?.length) bring(way); }, [way, map.layout]);
  // While a path waits for its end, the next track that is chosen is it.
  useEffect(() => { if (choosingEnd && selected?.track_id && selected.track_id !== journey.from.track_id) setJourney({ ...journey, to: selected }); }, [selected, choosingEnd]);
  const lasso = places => {
    setLassoing(false);
    setTaken(places);
  };
  const songMark = dropped?.place && map.layout === "sound" ? { at: dropped.place, name: dropped.answer.title || dropped.track.title } : null;
  return html`
    <div class="atlas">
      <${Picture} map=${map} colours=${colours} chosen=${chosen} found=${found || []} selected=${selected?.place} neighbours=${neighbours || []} route=${way || []}
        song=${songMark} target=${target} lassoing=${lassoing} onLasso=${lasso} onSelect=${place => choose(map, place, !choosingEnd)} />
      <div class="atlas-side">
        ${journey && html`<${Journey} journey=${journey} route=${route} onChange=${setJourney} />`}
        ${taken && html`<${Taken} map=${map} places=${taken} onClose=${() => setTaken(null)} />`}
        ${trackId && html`<${Selected} key=${trackId} track=${selected} compared=${compared} onPath=${journey ? null : () => setJourney({ from: selected, k: 12 })} />`}
        <section class="card">
          <div class="row colouring"><label for="colouring">Colour by</label>
            <select id="colouring" value=${colouring} onChange=${event => { setWanted(event.target.value); setChosen(new Set()); }}>
              ${colourings.map(name => html`<option key=${name} value=${name}>${COLOURINGS[name].title}</option>`)}
            </select></div>
          <${Legend} classes=${colours.classes} chosen=${chosen} onChange=${setChosen} />
          <button class="lasso-button" aria-pressed=${lassoing} onClick=${() => setLassoing(!lassoing)}><${Icon} name="lasso" />${lassoing ? "Now draw around some tracks" : "Draw a playlist"}</button>
        </section>
        <section class="card">
          <${Finder} map=${map} onFound=${tracks => { setFound(tracks?.map(track => track.place)); bring(tracks?.map(track => track.place) || []); }} />
          <${Regions} regions=${map.regions} song=${songMark} onShow=${setTarget} />
        </section>
      </div>
    </div>`;
}

/** Names a point's track in the address, and plays it. */
async function choose(map, place, plays) {
  const [track] = await namesOf(map, [place]);
  if (!track) return;
  if (plays && track.has_audio) toggle(track, [track], { preview: true });
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

/** `{data, error}` of the path that a journey asks for. */
function useRoute(map, journey) {
  const { from, to, k } = journey || {}, start = from?.track_id, end = to?.track_id;
  const answer = useAnswer(
    signal => (start && end ? json("v1/path", { start, end, k, blend: BLENDS[map.layout] }, { signal }) : Promise.resolve(null)), [start, end, k, map.layout]);
  return end ? answer : {};
}

const Close = ({ label, onClick }) => html`<button class="icon-button" aria-label=${label} onClick=${onClick}>×</button>`;

/** A card that comes in sight when it comes or `what` changes. */
function useInSight(what) {
  const card = useRef();
  useEffect(() => card.current.scrollIntoView({ block: "nearest" }), [what]);
  return card;
}

function Journey({ journey: { from, to, k }, route, onChange }) {
  const { data, error } = route, tracks = data?.tracks;
  const name = to && `${nameOf(from)} to ${nameOf(to)}`.slice(0, 200), card = useInSight(to);
  return html`
    <section ref=${card} class="card journey" aria-label="The path">
      <div class="chosen"><div class="track-text"><h2>A path</h2><p class="sub">from <bdi>${nameOf(from)}</bdi>${to ? html` to <bdi>${nameOf(to)}</bdi>` : ""}</p></div>
        <${Close} label="Close the path" onClick=${() => onChange(null)} /></div>
      ${!to && html`<p role="status"><strong>Where should it end?</strong> Click a point, or find a track below.</p>`}
      ${to && html`
        <div class="row"><label for="path-length">Length</label>
          <select id="path-length" value=${k} onChange=${event => onChange({ from, to, k: Number(event.target.value) })}>${PATH_LENGTHS.map(length => html`<option key=${length} value=${length}>${length} tracks</option>`)}</select></div>
        ${error ? html`<${Problem} error=${error} />` : !tracks ? html`<${Loading} rows=${6} />` : html`
          <${Take} tracks=${tracks} name=${name} />
          <${TrackList} tracks=${tracks} label="The path, from its start to its end">
            ${tracks.map((track, at) => html`<${TrackRow} key=${track.track_id} track=${track} queue=${tracks} preview=${true} note=${at > 0 && `${percent(Math.max(0, track.score))} like the one before`} />`)}
          <//>`}`}
    </section>`;
}

/** What a lasso took. */
function Taken({ map, places, onClose }) {
  const some = useMemo(() => {
    const few = Array.from({ length: Math.min(MOST_TAKEN, places.length) }, (_, n) => places[Math.floor((n * places.length) / Math.min(MOST_TAKEN, places.length))]);
    return walk(map, few);
  }, [map, places]);
  const { data: tracks, error } = useAnswer(signal => namesOf(map, some, signal), [map.revision, some]);
  const card = useInSight(places);
  const { genres, period } = useMemo(() => summary(map, places), [map.revision, places]);
  const count = places.length === 1 ? "1 track" : `${places.length.toLocaleString()} tracks`;
  const more = places.length > MOST_TAKEN ? `, ${MOST_TAKEN} of them taken` : "";
  return html`
    <section ref=${card} class="card taken" aria-label="What you drew around">
      <div class="chosen"><div class="track-text"><h2><span role="status">${count}${more}</span></h2><p class="sub">${[...genres, period].filter(Boolean).join(" · ")}</p></div>
        <${Close} label="Let go of them" onClick=${onClose} /></div>
      ${!places.length ? html`<p class="sub">There is no track within this line.</p>` : error ? html`<${Problem} error=${error} />` : !tracks ? html`<${Loading} rows=${5} />` : html`
        <${Take} tracks=${tracks} name=${[genres.slice(0, 2).join(" and ") || "From the map", period].filter(Boolean).join(", ")} />
        <div class="within"><${TrackList} tracks=${tracks} label="Tracks within the line">
          ${tracks.slice(0, MOST_LISTED).map(track => html`<${TrackRow} key=${track.track_id} track=${track} queue=${tracks} preview=${true} />`)}
        <//>${tracks.length > MOST_LISTED && html`<p class="sub">and ${tracks.length - MOST_LISTED} more</p>`}</div>`}
    </section>`;
}

function Selected({ track, compared, onPath }) {
  if (!track) return null;
  if (track.place === undefined) return html`<section class="card"><p class="sub">This track is not on the map: it has no embedding.</p></section>`;
  return html`
    <section class="card" aria-label="The chosen track">
      <div class="chosen">
        ${track.has_audio && html`<${PlayButton} track=${track} preview=${true} />`}
        <div class="track-text"><a class="title" href=${addressOf(track)} dir="auto">${nameOf(track)}</a><span class="sub" dir="auto">${track.artists.join(", ")}</span></div>
        <${More} track=${track} />
        <a class="icon-button button" href=${mapAddress("")} aria-label="Let go of it">×</a>
      </div>
      ${onPath && html`<button class="path-button" onClick=${onPath}><${Icon} name="path" />A path from here to …</button>`}
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
          <i style=${{ backgroundColor: colour }} aria-hidden="true"></i><span dir="auto">${name}</span><span class="sub">${count.toLocaleString()}</span></button></li>`)}
      ${chosen.size > 0 && html`<li><button onClick=${() => onChange(new Set())}>Show all</button></li>`}
    </ul>`;
}

/** The largest region of each name: a press flies there. */
function Regions({ regions, song: mark, onShow }) {
  const largest = regions.filter(({ kind, name }, place) => kind === "genre" && regions.findIndex(other => other.name === name) === place).slice(0, MOST_REGIONS);
  const show = ({ x, y, size }) => onShow({ points: [[x - size / 2, y - size / 2], [x + size / 2, y + size / 2]], whole: true });
  if (!largest.length && !mark) return null;
  return html`
    <h2 class="regions-title">Go to</h2>
    <ul class="legend" aria-label="Regions">
      ${mark && html`<li><button class="to-song" onClick=${() => show({ x: mark.at[0], y: mark.at[1], size: 0.1 })}><${Icon} name="target" /><bdi>${mark.name}</bdi></button></li>`}
      ${largest.map(region => html`<li key=${region.name}><button onClick=${() => show(region)}>${region.name}</button></li>`)}
    </ul>`;
}

/** Finds tracks by name: the way to the map's points without a pointer. */
function Finder({ map, onFound }) {
  const [query, setQuery] = useState(""), pause = useRef();
  const { data, error } = useAnswer(signal => (query ? fetchNames(map, { query, k: MOST_FOUND }, signal) : Promise.resolve(null)), [map.revision, query]);
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
