// For you: what a listener should hear next and because of what, mixes of it, and what they listen to.
import { html, useEffect, useMemo, useRef, useState } from "./html.js";
import { json, useAnswer } from "./api.js";
import { listener, listensSent } from "./store.js";
import { useSuggestions } from "./drop.js";
import { addressOf, Art, calm, GenreBars, Icon, Loading, nameOf, opine, percent, PlayButton, Problem, Take, TrackList, TrackRow, useTitle } from "./parts.js";

const K = 100, SHOWN = 20;
const MOST_OF_AN_ARTIST = 3;
const PICKED = 24;
const MOODS = 6, FEWEST_OF_A_MOOD = 4;
const SHELVES = 3, FEWEST_OF_A_SHELF = 3, ON_A_SHELF = 10;
const GENRES = 6, ARTISTS = 8;
const LENGTHS = [[0, "any length"], [30, "half an hour"], [60, "an hour"], [120, "two hours"]];

export function YouScreen() {
  const who = listener.use();
  useTitle("For you");
  return html`
    <div class="you-head"><h1 tabindex="-1">For you</h1>
      ${who && html`<p class="sub">You are <strong dir="auto">${who}</strong> here. <button class="link" onClick=${() => listener.set("")}>Somebody else?</button></p>`}</div>
    ${who ? html`<${ForListener} key=${who} who=${who} />` : html`<${Picker} />`}`;
}

/** Who listens: one of the listening log, or somebody new. */
function Picker() {
  const box = useRef(), [query, setQuery] = useState("");
  const { data } = useAnswer(signal => json("v1/profiles", { query, k: PICKED }, { signal }), [query]);
  const known = data?.listeners || [];
  return html`
    <section class="card narrow">
      <h2>Who is listening?</h2>
      <form class="row" onSubmit=${event => { event.preventDefault(); listener.set(box.current.value.trim()); }}>
        <label for="listener">Listener</label>
        <input ref=${box} id="listener" type="text" placeholder="a name of your own, or an id of the log" autocomplete="off" spellcheck=${false} maxlength="512" dir="auto" onInput=${event => setQuery(event.target.value.trim().slice(0, 200))} />
        <button class="primary">Show</button>
      </form>
      ${known.length > 0 && html`
        <p class="sub">${query ? "Known by this name:" : "Or look over the shoulder of somebody whose listens are here:"}</p>
        <ul class="legend" aria-label="Listeners of the log">
          ${known.map(({ user_id: id, tracks }) => html`<li key=${id}><button onClick=${() => listener.set(id)}><bdi>${id}</bdi><span class="sub">${tracks} tracks</span></button></li>`)}
        </ul>`}
      <p class="sub">With a name, every track has a ♥. What you like, skip and play to its end counts at once: your list changes as you listen.</p>
    </section>`;
}

function ForListener({ who }) {
  const sent = listensSent.use();
  const { data, error } = useAnswer(signal => json("v1/described_recommendations", { user_id: who, k: K }, { signal }), [who, sent]);
  const picture = useAnswer(signal => json("v1/profile", { user_id: who }, { signal }), [who, sent]);
  if (error?.status === 503) return html`<${Beginning} error=${error} />`;
  if (error) return html`<${Problem} error=${error} />`;
  if (!data) return html`<section class="card"><${Loading} rows=${10} /></section>`;
  return html`
    <div class="you">
      <div class="you-lists">
        <${Mixer} data=${data} who=${who} />
        <${Shelves} tracks=${data.tracks} forgotten=${picture.data?.used_to_love || []} />
      </div>
      <div class="you-side">${picture.data?.tracks > 0 && html`<${ListenerPicture} picture=${picture.data} tracks=${data.tracks} />`}${picture.error && html`<${Problem} error=${picture.error} />`}</div>
    </div>`;
}

/** Something to like, where nothing is known of the listener and nothing of what others listen to. */
function Beginning({ error }) {
  const { tracks } = useSuggestions();
  return html`
    <section class="card">
      <h2>To begin with</h2>
      <p>Nothing is known of you yet. Press ♥ on a few, and what sounds like them comes.</p>
      <p class="sub">${error.message}</p>
      <${TrackList} tracks=${tracks} label="Some of the library">${tracks.map(track => html`<${TrackRow} key=${track.track_id} track=${track} queue=${tracks} />`)}<//>
    </section>`;
}

/** The list, all of it or what of it has a mood, a length, or is by new artists. */
function Mixer({ data, who }) {
  const [mood, setMood] = useState(""), [isNew, setNew] = useState(false), [minutes, setMinutes] = useState(0);
  const moods = useMemo(() => commonest(data.tracks.flatMap(track => track.moods), FEWEST_OF_A_MOOD, MOODS), [data]);
  const tracks = useMemo(() => {
    const fitting = data.tracks.filter(track => (!mood || track.moods.includes(mood)) && (!isNew || !track.known_artist));
    return minutes ? within(mixed(fitting), 60 * minutes) : mixed(fitting).slice(0, SHOWN);
  }, [data, mood, isNew, minutes]);
  const fresh = useFresh(mixed(data.tracks).slice(0, SHOWN));
  const notes = data.personal ? data.notes : ["Nothing is known of you yet: these are popular. Press ♥ on a few, and the list becomes yours.", ...data.notes];
  const name = [mood, isNew && "new", minutes ? LENGTHS.find(([value]) => value === minutes)[1] : "", `for ${who}`].filter(Boolean).join(" ");
  return html`
    <section class="card" aria-label="Your list">
      <h2>${data.personal ? "What to hear next" : "To begin with"}</h2>
      <div class="mixer">
        <ul class="legend" aria-label="Only …">
          <li><button aria-pressed=${isNew} onClick=${() => setNew(!isNew)}>New to you</button></li>
          ${moods.map(one => html`<li key=${one}><button aria-pressed=${mood === one} onClick=${() => setMood(mood === one ? "" : one)}>${one}</button></li>`)}
        </ul>
        <select aria-label="How long" value=${minutes} onChange=${event => setMinutes(Number(event.target.value))}>${LENGTHS.map(([value, text]) => html`<option key=${value} value=${value}>${text}</option>`)}</select>
      </div>
      <div aria-live="polite">${notes.map(note => html`<p class="sub" key=${note}>${note}</p>`)}
        ${fresh.size > 0 && html`<p class="sub changed">Your list has changed: ${fresh.size === 1 ? "1 track is" : `${fresh.size} tracks are`} new in it.</p>`}</div>
      <${Take} tracks=${tracks} name=${name} />
      ${tracks.length ? html`
        <${TrackList} tracks=${tracks} label=${`Recommended for ${who}`}>
          ${tracks.map(track => html`
            <${TrackRow} key=${track.track_id} track=${track} queue=${tracks} note=${html`<${Reason} track=${track} fresh=${fresh.has(track.track_id)} personal=${data.personal} />`}>
              <${Crossover} track=${track} />
              <button class="icon-button not-for-me" aria-label=${`Not for me: ${nameOf(track)}`} title="Not for me" onClick=${() => opine(track, -1)}>×</button>
            <//>`)}
        <//>` : html`<p class="sub">Nothing in your list is like that. Try fewer conditions.</p>`}
    </section>`;
}

function Reason({ track, fresh, personal }) {
  const parts = [track.because && html`because you play <bdi>${nameOf(track.because)}</bdi>`, personal && !track.known_artist && track.artists.length > 0 && "new to you", track.genres[0]].filter(Boolean);
  return html`${fresh && html`<span class="badge">new in the list</span> `}${parts.map((part, place) => html`${place > 0 ? " · " : ""}${part}`)}`;
}

/** How much of a track's place comes from its listeners (warm), how much from its sound (cool). */
function Crossover({ track: { weight, listeners } }) {
  if (weight === null) return null;
  const told = `${listeners === 1 ? "1 listener" : `${listeners} listeners`}: placed ${percent(weight)} by taste, ${percent(1 - weight)} by sound`;
  return html`
    <span class="why crossed" role="img" aria-label=${told} title=${told}>
      <i class="cool" style=${{ width: `${100 * (1 - weight)}%` }}></i><i class="warm" style=${{ width: `${100 * weight}%` }}></i></span>`;
}

/** The same order, but for what is beyond the first few of an artist: that comes behind all others. */
function mixed(tracks) {
  const counts = new Map(), first = [], later = [];
  for (const track of tracks) {
    const artist = track.artists[0] || track.track_id, count = counts.get(artist) || 0;
    (count < MOST_OF_AN_ARTIST ? first : later).push(track);
    counts.set(artist, count + 1);
  }
  return [...first, ...later];
}

/** The first tracks that come to about so many seconds; those of unknown length are left out. */
function within(tracks, seconds) {
  const taken = [];
  let total = 0;
  for (const track of tracks) {
    if (track.duration_seconds && total + track.duration_seconds <= seconds * 1.03) {
      taken.push(track);
      total += track.duration_seconds;
    }
  }
  return taken;
}

/** What comes at least so often, the most frequent first. */
function commonest(values, fewest, most) {
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) || 0) + 1);
  return [...counts].filter(([, count]) => count >= fewest).sort((one, other) => other[1] - one[1]).slice(0, most).map(([value]) => value);
}

/** Ids of the tracks that were not in the list before it changed last. */
function useFresh(tracks) {
  const before = useRef(null), [fresh, setFresh] = useState(new Set());
  const ids = tracks.map(track => track.track_id).join("\n");
  useEffect(() => {
    const now = ids.split("\n");
    if (before.current) setFresh(new Set(now.filter(id => !before.current.has(id))));
    before.current = new Set(now);
  }, [ids]);
  return fresh;
}

function Shelves({ tracks, forgotten }) {
  const shelves = useMemo(() => {
    const groups = new Map();
    for (const track of tracks) if (track.because) groups.set(track.because.track_id, [...(groups.get(track.because.track_id) || []), track]);
    return [...groups.values()].filter(group => group.length >= FEWEST_OF_A_SHELF).slice(0, SHELVES);
  }, [tracks]);
  return html`
    ${shelves.map(group => html`<${Shelf} key=${group[0].because.track_id} title=${html`Because you play <bdi>${nameOf(group[0].because)}</bdi>`} label=${`Because you play ${nameOf(group[0].because)}`} tracks=${group} />`)}
    ${forgotten.length > 0 && html`<${Shelf} title="You used to love" label="You used to love" tracks=${forgotten} />`}`;
}

function Shelf({ title, label, tracks }) {
  const shown = tracks.slice(0, ON_A_SHELF);
  return html`
    <section class="shelf">
      <h2><span>${title}</span></h2>
      <ul class="tiles" aria-label=${label} tabindex="0">
        ${shown.map(track => html`
          <li key=${track.track_id}>${track.has_audio ? html`<${PlayButton} track=${track} queue=${shown} />` : html`<${Art} track=${track} />`}
            <a href=${addressOf(track)}><span class="title" dir="auto">${nameOf(track)}</span><span class="sub" dir="auto">${track.artists.join(", ")}</span></a></li>`)}
      </ul>
    </section>`;
}

/** What they listen to: genres, eras, activity, artists, and how much of the list taste makes. */
function ListenerPicture({ picture, tracks }) {
  const weights = tracks.slice(0, SHOWN).map(track => track.weight).filter(weight => weight !== null);
  const mean = weights.reduce((sum, weight) => sum + weight, 0) / weights.length;
  return html`
    <section class="card picture" aria-label="Your picture">
      <h2>You, by what you play</h2>
      <p class="sub">${picture.tracks === 1 ? "1 track" : `${picture.tracks.toLocaleString()} tracks`}</p>
      ${picture.genres.length > 0 && html`<h3>Genres</h3><${GenreBars} genres=${picture.genres.slice(0, GENRES).map(({ name, share }) => ({ genre: name, probability: share }))} label="Your genres, the most played first" />`}
      ${picture.decades.length > 0 && html`<h3>Eras</h3><${Columns} what="Eras" values=${picture.decades.map(({ name, share }) => [name, share, percent(share)])} />`}
      ${picture.months.length > 1 && html`<h3>Listens a month</h3><${Columns} what="Listens a month" values=${picture.months.map(({ month, listens }) => [month, listens, listens.toLocaleString()])} few=${true} />`}
      ${picture.artists.length > 0 && html`<h3>Artists</h3><ul class="chips">${picture.artists.slice(0, ARTISTS).map(({ name }) => html`<li key=${name} dir="auto">${name}</li>`)}</ul>`}
      ${weights.length > 0 && html`<h3>Your list</h3>
        <p class="crossover-sum"><span class="why crossed" aria-hidden="true"><i class="cool" style=${{ width: `${100 * (1 - mean)}%` }}></i><i class="warm" style=${{ width: `${100 * mean}%` }}></i></span></p>
        <p class="sub"><span class="warm-text">${percent(mean)} taste</span>: what other listeners tell of these tracks. <span class="cool-text">${percent(1 - mean)} sound</span>: what is heard in those that few have played.</p>`}
    </section>`;
}

/** Upright bars of [name, value, said]; `few` names the first and the last alone. */
function Columns({ what, values, few }) {
  const most = Math.max(...values.map(([, value]) => value), 1e-9);
  return html`
    <div class="columns" role="img" aria-label=${`${what}: ${values.map(([name, , said]) => `${name} ${said}`).join(", ")}`}>
      ${values.map(([name, value, said], place) => html`<span key=${name} title=${`${name}: ${said}`}><i class=${calm() ? "" : "grows"} style=${{ height: `calc((100% - 1.3rem) * ${value / most})` }}></i><small>${!few || place === 0 || place === values.length - 1 ? name : ""}</small></span>`)}
    </div>`;
}
