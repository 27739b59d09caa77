// What a song is, and what is most like it: the answer to a dropped file and to a track of the library.
import { html, useMemo } from "./html.js";
import { json, pathOf, useAnswer } from "./api.js";
import { blending } from "./store.js";
import { Art, GenreBars, Icon, Loading, mapAddress, minutes, nameOf, ordered, PlayButton, Problem, TrackList, TrackRow, useTitle, WhyBar } from "./parts.js";

const K = 10;
const GENRES = 6;
const WORTH_NAMING = 0.1;
const SURE = 0.5;

/** Genres, moods, tempo, key and loudness, each with its doubt. */
export function Description({ heard }) {
  const { genres, moods } = heard, confident = heard.confident !== false;
  return html`
    <div class="description">
      ${genres.length > 0 && html`<p class="verdict" role="status">${!confident && html`<small>perhaps </small>`}${likeliest(genres).join(" · ")}</p>`}
      <h2>Genres ${!confident && genres.length > 0 && html`<span class="badge">not sure</span>`}</h2>
      ${!confident && genres.length > 0 && html`<p class="sub">This may be unlike the music that the model learned from: take the bars as guesses.</p>`}
      ${genres.length ? html`<${GenreBars} genres=${genres.slice(0, GENRES)} confident=${confident} />` : html`<p class="sub">It was never analysed.</p>`}
      ${moods.length > 0 && html`<ul class="chips" aria-label="Moods">${moods.map(mood => html`<li key=${mood}>${mood}</li>`)}</ul>`}
      <dl class="facts">
        <${Fact} name="Tempo" value=${heard.tempo_bpm && html`${Math.round(heard.tempo_bpm)} <small>bpm</small>`} none="no steady beat"
          other=${heard.tempo_alternative_bpm && `or ${Math.round(heard.tempo_alternative_bpm)}`} confidence=${heard.tempo_confidence} />
        <${Fact} name="Key" value=${heard.key} none="none clear" other=${heard.key_alternative && `or ${heard.key_alternative}`} confidence=${heard.key_confidence} />
        <${Fact} name="Loudness" value=${heard.loudness_lufs != null && html`${heard.loudness_lufs.toFixed(1)} <small>LUFS</small>`} none="not measured"
          other=${heard.loudness_spread_lu != null && `varies by ${heard.loudness_spread_lu.toFixed(1)} LU`} />
        <${Fact} name="Length" value=${heard.duration_seconds != null && minutes(heard.duration_seconds)} none="unknown" />
      </dl>
    </div>`;
}

/** The first genre, and those that are at least half as likely. */
const likeliest = genres => genres.slice(0, 3).filter(one => one.probability >= genres[0].probability / 2).map(one => one.genre);

function Fact({ name, value, none, other, confidence }) {
  const doubt = [other, confidence != null && confidence < SURE && "not sure"].filter(Boolean).join(", ");
  return html`<div><dt>${name}</dt><dd>${value || html`<span class="sub">${none}</span>`}${value && doubt && html`<small class="doubt">${doubt}</small>`}</dd></div>`;
}

/** The ten most like it, ordered by the slider at once: `compared` has what every blend is made of. */
export function Neighbours({ compared, genres = [], artists = [] }) {
  const blend = blending.use();
  const all = useMemo(() => [...compared.tracks, ...compared.others], [compared]);
  const shown = useMemo(() => ordered(all, blend, K), [all, blend]);
  const hasTaste = all.some(track => track.taste !== null), hasSound = all.some(track => track.sound !== null);
  const own = new Set(genres.filter(one => one.probability >= WORTH_NAMING).map(one => one.genre));
  const reason = track => {
    const same = (track.artists || []).some(artist => artists.includes(artist)) ? ["same artist"] : [];
    return [...same, ...track.genres.filter(genre => own.has(genre))].join(" · ");
  };
  if (!all.length) return html`<p class="sub">${compared.notes.join(" ") || "The library has nothing to compare it with yet."}</p>`;
  return html`
    <${Blend} enabled=${hasTaste && hasSound} why=${hasTaste ? "" : "By sound alone: taste comes with listens and crossfade train."} />
    ${compared.notes.map(note => html`<p class="sub">${note}</p>`)}
    <${TrackList} tracks=${shown} label="The ten most like it, the nearest first">
      ${shown.map(track => html`
        <${TrackRow} key=${track.track_id} track=${track} queue=${shown} preview=${true} note=${reason(track)}>
          <${WhyBar} track=${track} blend=${blend} />
        <//>`)}
    <//>`;
}

function Blend({ enabled, why }) {
  const blend = blending.use();
  const parts = `${Math.round((1 - blend) * 100)} % sound, ${Math.round(blend * 100)} % taste`;
  return html`
    <div class="blend">
      <label for="blend">By</label> <span class="cool-text">sound</span>
      <input id="blend" type="range" min="0" max="1" step="0.05" value=${blend} disabled=${!enabled} aria-label="Blend of sound and taste" aria-valuetext=${parts}
        onInput=${event => blending.set(Number(event.target.value))} />
      <span class="warm-text">taste</span>
    </div>
    ${why && html`<p class="sub">${why}</p>`}`;
}

/** The screen of a track of the library. */
export function TrackScreen({ trackId }) {
  const track = useAnswer(signal => json(pathOf("tracks", trackId), null, { signal }), [trackId]);
  const compared = useAnswer(signal => json("v1/compared_tracks", { track_id: trackId, k: K }, { signal }), [trackId]);
  const known = track.data?.track_id === trackId ? track.data : null;
  useTitle(known ? nameOf(known) : "");
  const near = known && compared.data;
  if (track.error) return html`<h1 tabindex="-1">Track</h1><${Problem} error=${track.error} />`;
  return html`
    <article class="answer">
      <header class="song">
        ${known && (known.has_audio ? html`<${PlayButton} track=${known} />` : html`<span class="art-button"><${Art} track=${known} /></span>`)}
        <div>
          <h1 tabindex="-1" dir="auto">${known ? nameOf(known) : "…"}</h1>
          ${known && html`<p class="sub" dir="auto">${[known.artists.join(", "), known.album, known.labels.join(", ")].filter(Boolean).join(" · ")}</p>`}
        </div>
        ${known && html`<a class="button" href=${mapAddress(trackId)}><${Icon} name="target" />On the map</a>`}
      </header>
      <section class="card">${known ? html`<${Description} heard=${known} />` : html`<${Loading} />`}</section>
      <section class="card">
        <h2>Most like it</h2>
        ${compared.error ? html`<${Problem} error=${compared.error} />` : near ? html`<${Neighbours} compared=${near} genres=${known.genres} artists=${known.artists} />` : html`<${Loading} rows=${10} />`}
      </section>
    </article>`;
}
