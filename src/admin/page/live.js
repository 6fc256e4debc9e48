// The view of what lives: charts, figures, and what deserves a warning.

const figures = new Figures(), cursor = { time: null, charts: [] };
const charts = [];

function makeCharts() {
  const chart = (title, format, lines, more = {}) => charts.push(new Chart({ title, format, lines, figures, cursor, ...more }));
  chart('Passed on', rate, [{ key: 'bytes_in', name: 'in', look: 'area' }, { key: 'bytes_out', name: 'out', look: 'line' }], { least: 1000 });
  chart('Streams', count, [{ key: 'pairs', name: 'pairs', look: 'area' }, { key: 'waiting', name: 'waiting', look: 'dash' }], { least: 4 });
  chart('Refusals', n => count(n) + '/s', [{ key: 'refusals', name: '', look: 'bars' }], { least: 4 });
  chart('Memory', bytes, [{ key: 'memory_bytes', name: '', look: 'area' }], { least: 1e6 });
  at('charts').append(...charts.map(chart => chart.node));
}

// Only what has come since is asked for.
function historyPath() {
  const age = (performance.now() - figures.at) / 1000;
  return 'api/history?seconds=' + (figures.end === null ? SPAN : Math.min(SPAN, Math.ceil(age) + 4));
}

function showHistory(history) {
  const keys = Object.keys(history.series), length = history.series[keys[0]].length;
  for (let i = 0; i < length; i += 1)
    figures.set(history.end_unix_s - length + 1 + i, Object.fromEntries(keys.map(key => [key, history.series[key][i]])));
  figures.at = performance.now();
  for (const chart of charts) chart.draw();
}

// What stands on every view.
function showStatus(s) {
  document.body.dataset.access = s.access;
  at('access').hidden = s.access !== 'read';
  at('access').title = 'This token only reads: streams cannot be ended, and the router cannot be drained with it.';
  at('drain').disabled = s.phase !== 'ready';
  put(at('about'), visible(s.process.host) + ', up ' + time(s.uptime_seconds) + ', process ' + s.process.id + ', version ' + s.version);
  at('about').title = 'Commit ' + s.commit + ', pid ' + s.process.pid;
  showCluster(s.cluster);
  showWarnings(s);
}

function showFigures(s) {
  put(at('connections'), count(s.connections));
  put(at('held'), bytes(s.held_bytes));
  put(at('stalled'), count(s.stalled));
  dress(at('stalled'), s.stalled ? 'bad' : '');
  put(at('total-streams'), count(s.totals.streams));
  put(at('total-pairs'), count(s.totals.pairs));
  put(at('total-refusals'), count(s.totals.refusals));
  put(at('total-bytes'), bytes(s.totals.forwarded_bytes));
  const memory = charts[3];
  memory.limit = s.memory_limit_bytes;
  put(memory.note, s.memory_pressure.replace('_', ' '));
  dress(memory.note, s.memory_pressure === 'normal' ? 'note dim' : 'note bad');
}

function showCluster(c) {
  at('cluster').hidden = !c;
  if (!c) return;
  put(at('cluster'), 'router ' + c.router + ' of a cluster' + (c.address === null ? '' : ', called at ' + visible(c.address)) +
    ', bus ' + (c.bus_connected ? '' : 'not ') + 'connected for ' + time(c.bus_seconds));
  dress(at('cluster'), c.bus_connected ? 'dim' : 'bad');
}

function lasts(certificate) {
  const left = certificate.days_left;
  return left < 0 ? 'has run out' : left < 1 ? 'ends today' : 'ends in ' + Math.floor(left) + (Math.floor(left) === 1 ? ' day' : ' days');
}
const grade = certificate => certificate.days_left < 3 ? 'bad' : certificate.days_left < 14 ? 'warn' : 'good';

function showWarnings(s) {
  const said = s.certificates.filter(c => grade(c) !== 'good').map(c => [grade(c), 'The certificate ' + visible(c.subject) + ' ' + lasts(c) + '.']);
  if (s.memory_pressure !== 'normal')
    said.push(['warn', 'Memory is short (' + s.memory_pressure.replace('_', ' ') + '): ' + bytes(s.memory_used_bytes) + (s.memory_limit_bytes ? ' of ' + bytes(s.memory_limit_bytes) : '') + ' are used.']);
  const now = JSON.stringify(said), box = at('warnings');
  if (box.dataset.now === now) return;
  box.dataset.now = now;
  box.replaceChildren(...said.map(([look, text]) => make('p', 'banner ' + look, text)));
}

const live = {
  load: () => {
    const query = new URLSearchParams({ limit: LIMIT, q: at('filter').value, sort: view.sort, descending: view.descending });
    return Promise.all([ask('api/streams?' + query), ask(historyPath())]);
  },
  show([listing, history], status) {
    showFigures(status);
    showHistory(history);
    showStreams(listing, status.now_unix_ms);
  },
};
