// Which view is open, when it is asked anew, and what buttons and keys do.

const VIEWS = { live, detail, past, settings };
const view = { name: 'live', sort: 'id', descending: true, paused: false, busy: false, again: false, from: 'live', asked: 0 };

function say(text, bad = false) {
  put(at('message'), text);
  dress(at('message'), bad ? 'bad' : '');
  clearTimeout(view.said);
  view.said = setTimeout(() => put(at('message'), ''), 20000);
}

// `#streams`, `#stream/7`, `#refused/<when>`, `#past`, `#settings`; what is searched for may follow a question mark.
function route() {
  const [path, query] = location.hash.slice(1).split('?');
  const [kind, id] = path.split('/');
  const before = view.name;
  view.name = { stream: 'detail', refused: 'detail', past: 'past', settings: 'settings' }[kind] ?? 'live';
  if (view.name === 'detail' && !Number.isSafeInteger(Number(id))) view.name = 'live';
  if (before !== 'detail') view.from = before === 'past' || kind === 'refused' ? 'past' : 'live';
  for (const name of Object.keys(VIEWS)) at(name).hidden = name !== view.name;
  const near = view.name === 'detail' ? view.from : view.name;
  for (const name of ['live', 'past', 'settings']) {
    if (name === near) at('to-' + name).setAttribute('aria-current', view.name === 'detail' ? 'true' : 'page');
    else at('to-' + name).removeAttribute('aria-current');
  }
  const searched = new URLSearchParams(query).get('q');
  if (searched !== null && filter()) filter().value = searched;
  if (view.name === 'detail') {
    detail.open(kind, Number(id));
    at('back').href = view.from === 'past' ? '#past' : '#streams';
    put(at('back-text'), view.from === 'past' ? 'The past' : 'All streams');
    at('detail-title').focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  say('');
  refresh();
}

const filter = () => at({ live: 'filter', past: 'past-filter', settings: 'settings-filter' }[view.name] ?? '');

function filtered() {
  const text = filter().value, name = { live: 'streams' }[view.name] ?? view.name;
  history.replaceState(null, '', '#' + name + (text ? '?' + new URLSearchParams({ q: text }) : ''));
  past.limit = 100;
  if (view.name === 'settings') settings.showConfig();
  else refresh(true);
}

// Asks for the status and for what the open view shows. `wanted`: by a person, so also while paused.
async function refresh(wanted = true) {
  if (at('login').open) return;
  if (view.busy) { view.again ||= wanted; return; }
  view.busy = true;
  view.asked = performance.now();
  const name = view.name;
  let all = wanted || !view.paused && !document.hidden;
  alive.answered.clear();
  try {
    const [status, answer] = await Promise.all([ask('api/status'), all ? VIEWS[name].load() : null]);
    all &&= !isMixed();
    heard(status, all);
    if (all) showStatus(status);
    if (all && name === view.name) VIEWS[name].show(answer, status);
  } catch (trouble) {
    if (!(trouble instanceof Trouble)) { view.busy = false; throw trouble; }
    if (trouble.kind === 'refused') say(trouble.message, true);
    else lost(trouble);
  }
  view.busy = false;
  if (view.again) { view.again = false; refresh(); }
}

// Each second; a page that nobody sees only looks whether the router is there, and less often.
function beat() {
  showAlive();
  if (!document.hidden || performance.now() - view.asked > 10000) refresh(false);
}

let confirmed = () => {};
function confirmThat(question, consequence, yes, then) {
  put(at('question'), question);
  at('consequence').replaceChildren(...consequence.map(text => typeof text === 'string' ? make('p', '', text) : text));
  put(at('yes'), yes);
  confirmed = then;
  at('confirm').showModal();
  at('no').focus();
}

function confirmEnd(stream) {
  const name = named(stream), { process } = alive;
  confirmThat('End stream ' + stream.id + '?', [
    (name ? name + '. ' : '') + 'Subject: ' + visible(subject(stream).slice(0, 300)) + '.',
    'All that was accepted before still arrives. Then its peers are told:',
    make('blockquote', '', 'ABORTED: ended by an administrator'),
  ], 'End stream', async () => {
    alive.answered.clear();
    await ask('api/streams/' + encodeURIComponent(stream.id) + '/end', 'POST');
    const other = [...alive.answered].find(id => id !== process.id);
    say(other ? 'Another process than the one that was shown has ended its stream ' + stream.id + ': ' + other + '.' : 'Stream ' + stream.id + ' was ended.', other);
  });
}

async function confirmDrain() {
  const { process } = alive;
  let terms = '';
  try {
    const of = key => (settings.config ?? { settings: [] }).settings.find(s => s.key === key)?.value;
    settings.config ??= await ask('api/config');
    terms = ' (drain.lame_duck ' + String(of('drain.lame_duck')).replaceAll('"', '') + ', drain.timeout ' + String(of('drain.timeout')).replaceAll('"', '') + ')';
  } catch { /* It can be asked without. */ }
  confirmThat('Drain this router?', [
    'Process ' + called(process) + '.',
    'New streams are refused, waiting ones are told, and pairs may go on until the deadline' + terms + '. Then they are told, and the process exits. This cannot be undone.',
    make('blockquote', '', 'UNAVAILABLE: the router is shutting down; connect again'),
  ], 'Drain', async () => {
    const answer = await ask('api/drain', 'POST');
    say(answer.process === process.id ? 'The drain has begun.' : 'Another process than the one asked for drains now: ' + answer.process + '.', answer.process !== process.id);
  });
}

async function confirm() {
  at('confirm').close();
  try { await confirmed(); } catch (trouble) { say(trouble.message, true); return; }
  refresh();
}

function pause() {
  view.paused = !view.paused;
  at('pause').setAttribute('aria-pressed', String(view.paused));
  put(at('pause'), view.paused ? 'Resume' : 'Pause');
  showAlive();
  if (!view.paused) refresh();
}

function press(event) {
  const field = event.target.closest('input:not([type=checkbox]), dialog');
  if (event.key === '/' && !field && filter() && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    filter().focus();
    filter().select();
  } else if (event.key === 'Escape' && event.target === filter()) {
    event.preventDefault();
    filter().value = '';
    filtered();
    filter().blur();
  } else if (event.key === 'Escape' && !field && view.name === 'detail') location.hash = at('back').hash;
  else if (!field) walk(event);
}

function listen() {
  for (const field of document.querySelectorAll('.filter')) field.addEventListener('input', filtered);
  at('past-kind').addEventListener('change', () => { past.limit = 100; refresh(); });
  at('past-more').addEventListener('click', () => { past.limit = past.limit === 100 ? 500 : 2000; refresh(); });
  at('settings-set').addEventListener('change', () => settings.showConfig());
  at('pause').addEventListener('click', pause);
  at('drain').addEventListener('click', confirmDrain);
  at('no').addEventListener('click', () => at('confirm').close());
  at('yes').addEventListener('click', confirm);
  at('process-seen').addEventListener('click', () => { at('process').hidden = true; });
  addEventListener('keydown', press);
  addEventListener('hashchange', route);
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) return;
    alive.awake = performance.now();
    showAlive();
    refresh(false);
  });
}

makeCharts();
makeHeads();
makeDetail();
listenToRows();
listenForToken();
listen();
route();
setInterval(beat, 1000);
