// A button that asks once more.
import { html, useEffect, useRef, useState } from "./html.js";

export function Sure({ ask, of, disabled, then }) {
  const [asking, setAsking] = useState(false);
  const yes = useRef();
  useEffect(() => { if (asking) yes.current.focus(); }, [asking]);
  useEffect(() => setAsking(false), [of]);
  if (!asking) return html`<button disabled=${disabled} aria-label=${of ? `${ask} ${of}` : undefined} onClick=${() => setAsking(true)}>${ask}</button>`;
  return html`
    <span class="sure">
      <button ref=${yes} class="danger" onClick=${() => { setAsking(false); then(); }}>${ask} <bdi>${of}</bdi> for good</button>
      <button onClick=${() => setAsking(false)}>Keep</button>
    </span>`;
}
