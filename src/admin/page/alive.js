// Whether the router answers, how old its figures are, and which process it is.

// Longer than this without an answer, seconds, and the page says so.
const SILENCE = 3.5;
const alive = { good: null, shown: null, wall: null, awake: performance.now(), trouble: null, phase: null, process: null, before: [], answered: new Set() };

// What answered said of itself. `shown`: so are its figures, which while the page is paused they are not.
function heard(status, shown) {
  alive.good = performance.now();
  if (shown) { alive.shown = alive.good; alive.wall = Date.now(); }
  alive.trouble = null;
  alive.phase = status.phase;
  tellProcess(status.process);
  showAlive();
}

function lost(trouble) {
  alive.trouble = trouble;
  if (trouble.kind === 'token') wantToken();
  showAlive();
}

// A page that nobody sees asks seldom, so there silence says nothing; a failed attempt does.
function isGone() {
  return alive.trouble !== null || !document.hidden && (performance.now() - Math.max(alive.good ?? 0, alive.awake)) / 1000 > SILENCE;
}

// Each second, and whenever something is known.
function showAlive() {
  const gone = isGone(), token = alive.trouble?.kind === 'token';
  document.body.classList.toggle('gone', gone);
  at('banner').hidden = !gone && !view.paused;
  dress(at('banner'), gone ? 'banner bad' : 'banner warn');
  put(at('banner-head'), headline(gone, token));
  put(at('banner-age'), alive.shown === null ? '' : 'All that is shown is of ' + clock(alive.wall) + ', ' + time(Math.floor((performance.now() - alive.shown) / 1000)).replace('.0', '') + ' ago.');
  at('banner-token').hidden = !token || at('login').open;
  const word = gone ? (token ? 'token wanted' : 'no answer') : alive.phase ?? 'connecting';
  put(at('phase'), word.replace('_', ' '));
  dress(at('phase'), 'badge ' + (gone ? 'gone' : alive.phase ?? 'unknown'));
  const title = (gone ? '\u26a0 ' + word + ' \u00b7 ' : alive.phase && alive.phase !== 'ready' ? word + ' \u00b7 ' : '') +
    (alive.process ? visible(alive.process.host) + ' \u00b7 ' : '') + 'Jumpstarter Router';
  if (document.title !== title) document.title = title;
  icon(gone ? '#c62828' : alive.phase === 'ready' ? '#2e8b57' : '#c77700', gone);
}

function headline(gone, token) {
  if (!gone) return 'Paused.';
  if (token) return 'The router does not tell without its token.';
  const why = 'No answer from the router' + (alive.trouble ? ': ' + alive.trouble.message + '.' : '.');
  const asked = alive.phase === 'draining' || alive.phase === 'lame_duck';
  return asked ? why + ' It was draining, so it has probably ended as it was asked to.' : why;
}

// A dot in the tab: green, amber, or a red cross.
function icon(colour, cross) {
  if (alive.icon === colour) return;
  alive.icon = colour;
  const inside = cross ? '<path d="M5 5l6 6M11 5l-6 6" stroke="#fff" stroke-width="2"/>' : '';
  const picture = 'data:image/svg+xml,' + encodeURIComponent(
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="${colour}"/>${inside}</svg>`);
  at('icon').href = picture;
}

const called = process => process.id + ' (pid ' + process.pid + ' on ' + visible(process.host) + ', started ' + clock(process.started_unix_ms) + ')';

// Tells when another process answers: the router was started again, or several share this address.
function tellProcess(process) {
  const old = alive.process;
  alive.process = process;
  if (!old || old.id === process.id) return;
  forgetStreams();
  const again = alive.before.includes(process.id);
  alive.before = [...alive.before.filter(id => id !== old.id), old.id].slice(-8);
  notice(again
    ? 'Several processes answer here in turns, now ' + called(process) + ', before ' + called(old) + '. The figures are of one at a time.'
    : 'Another process answers since ' + clock(Date.now()) + ': ' + called(process) + '. Before, it was ' + called(old) + '.');
}

function notice(text) {
  put(at('process-text'), text);
  at('process').hidden = false;
}

// Whether what was asked for together came from several processes, which would be shown as if it were of one.
function isMixed() {
  if (alive.answered.size < 2) return false;
  notice('Several processes answer here in turns: ' + [...alive.answered].sort().join(', ') + '. The figures are of one at a time.');
  return true;
}
