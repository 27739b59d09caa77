// For you: what a listener of the log should hear next, and because of what.
import { html, useRef } from "./html.js";
import { json, useAnswer } from "./api.js";
import { listener } from "./store.js";
import { Loading, nameOf, Problem, TrackList, TrackRow, useTitle } from "./parts.js";

const K = 20;

export function YouScreen() {
  const who = listener.use(), box = useRef();
  useTitle("For you");
  return html`
    <section class="card narrow">
      <h1 tabindex="-1">For you</h1>
      <form class="row" onSubmit=${event => { event.preventDefault(); listener.set(box.current.value.trim()); }}>
        <label for="listener">Listener</label>
        <input ref=${box} id="listener" type="text" defaultValue=${who} placeholder="an id of the listening log" autocomplete="off" spellcheck=${false} maxlength="512" />
        <button class="primary">Show</button>
      </form>
      ${who ? html`<${ForListener} who=${who} />` : html`<p class="sub">With a listener named here, every track has a ♥. It counts at once: the list changes.</p>`}
    </section>`;
}

function ForListener({ who }) {
  const { data, error } = useAnswer(signal => json("v1/recommendations", { user_id: who, k: K }, { signal }), [who]);
  if (error) return html`<${Problem} error=${error} />`;
  if (!data) return html`<${Loading} rows=${10} />`;
  const notes = data.personal ? data.notes : ["Nothing is known of this listener yet: these are popular.", ...data.notes];
  return html`
    <div aria-live="polite">${notes.map(note => html`<p class="sub" key=${note}>${note}</p>`)}</div>
    <${TrackList} tracks=${data.tracks} label=${`Recommended for ${who}`}>
      ${data.tracks.map(track => html`
        <${TrackRow} key=${track.track_id} track=${track} queue=${data.tracks} note=${track.because && html`because you play <bdi>${nameOf(track.because)}</bdi>`} />`)}
    <//>`;
}
