// The table of live streams. A cell is written only if what it shows has changed: there may be hundreds of rows.

const LIMIT = 500, KEPT = 120;
const NONE = '\u2013';
const rows = new Map();

// From left to right. `value` is what the row or the peer has, `text` how it is written; `peer` columns have a line a side.
const COLUMNS = [
  { head: '#', sort: 'id', look: 'c-id', value: s => s.id, text: String },
  { head: 'Stream', sort: 'subject', look: 'left c-subject' },
  { head: 'State', sort: 'state', look: 'left c-state' },
  { head: 'Peer', look: 'left c-peer', peer: true, value: place, text: String },
  { head: 'Certificate', look: 'left c-certificate', peer: true, value: p => p.certificate, text: c => c === null ? NONE : visible(c) },
  { head: 'Rate', sort: 'rate', look: 'c-rate', peer: true, value: p => p.rate_in, text: rate },
  { head: 'Stalled', sort: 'stalled', look: 'c-stalled', peer: true, value: p => p.stalled_seconds, text: s => s === null ? NONE : time(s) },
  { head: 'Held for it', sort: 'held', look: 'c-held', peer: true, value: p => p.held_bytes, text: n => n ? bytes(n) : NONE },
  { head: 'Received', sort: 'bytes', look: 'c-bytes', peer: true, value: p => p.bytes_in, text: bytes },
  { head: 'Messages', look: 'c-messages', peer: true, value: p => p.messages_in, text: count },
  { head: 'Window', look: 'c-window', peer: true, value: p => p.window_bytes, text: bytes },
  { head: 'Age', sort: 'age', look: 'c-age', value: s => Math.floor(s.age_seconds), text: s => time(s).replace('.0', '') },
  { head: 'Action', look: 'c-action act' },
];

function makeHeads() {
  for (const { head, sort, look } of COLUMNS) {
    const th = make('th', look);
    th.scope = 'col';
    th.setAttribute('role', 'columnheader');
    if (sort) {
      const button = make('button', '', head);
      button.type = 'button';
      button.addEventListener('click', () => sortBy(sort));
      th.dataset.sort = sort;
      th.append(button);
    } else th.append(head);
    at('heads').append(th);
  }
  showSort();
}

function sortBy(column) {
  view.descending = column === view.sort ? !view.descending : column !== 'subject' && column !== 'state';
  view.sort = column;
  showSort();
  refresh();
}

function showSort() {
  for (const th of document.querySelectorAll('th[data-sort]'))
    th.setAttribute('aria-sort', th.dataset.sort !== view.sort ? 'none' : view.descending ? 'descending' : 'ascending');
}

function forgetStreams() {
  figures.clear();
  for (const row of rows.values()) row.tr.remove();
  rows.clear();
  detail.forget();
}

function showStreams(listing, now) {
  let certificates = false;
  const wanted = listing.streams.map(stream => {
    let row = rows.get(stream.id);
    if (!row) { row = makeRow(stream); rows.set(stream.id, row); }
    fillRow(row, stream);
    keepRates(row.rates, stream, now);
    certificates ||= stream.peers.some(peer => peer.certificate !== null);
    return row;
  });
  arrange(at('rows'), rows, wanted);
  at('streams').classList.toggle('shown-certificates', certificates);
  at('none').hidden = listing.matching > 0;
  put(at('none'), listing.total ? 'No stream matches.' : 'No streams.');
  const n = listing.streams.length;
  put(at('count'), n === listing.total ? count(n) + ' shown' : count(n) + ' of ' + count(listing.matching) + ' that match, ' + count(listing.total) + ' in all');
}

// What a chart of the stream begins with, once one looks at it.
function keepRates(rates, stream, now) {
  rates.push([Math.floor(now / 1000), stream.peers[0]?.rate_in ?? 0, stream.peers[1]?.rate_in ?? 0]);
  if (rates.length > KEPT) rates.shift();
}

function makeRow(stream) {
  const row = { tr: make('tr'), rates: [], values: [], nodes: [], name: document.createTextNode(''), under: document.createTextNode('') };
  // A narrow screen lays rows out otherwise, and a browser might take them for no rows any more.
  row.tr.setAttribute('role', 'row');
  for (const column of COLUMNS) {
    const td = make('td', column.look);
    td.setAttribute('role', 'cell');
    if (column.peer) {
      const lines = [document.createTextNode(''), document.createTextNode('')];
      td.append(make('div', '', lines[0]), make('div', '', lines[1]));
      row.nodes.push(...lines);
    } else if (column.value) {
      row.nodes.push(document.createTextNode(''));
      td.append(row.nodes.at(-1));
    } else fillSpecial(row, td, stream, column.head);
    row.tr.append(td);
  }
  return row;
}

function fillSpecial(row, td, stream, head) {
  if (head === 'Stream') {
    row.link = make('a', '', make('bdi', '', row.name));
    row.link.href = '#stream/' + stream.id;
    row.second = make('div', 'dim', make('bdi', '', row.under));
    td.append(make('div', '', row.link), row.second);
  } else if (head === 'State') {
    row.badge = make('span', 'badge');
    td.append(row.badge);
  } else {
    row.end = make('button', 'danger', 'End\u2026');
    row.end.type = 'button';
    row.end.dataset.end = stream.id;
    row.end.setAttribute('aria-label', 'End stream ' + stream.id);
    td.append(row.end);
  }
}

function fillRow(row, s) {
  row.stream = s;
  let i = 0;
  const write = (value, text) => {
    if (row.values[i] !== value) { row.values[i] = value; row.nodes[i].textContent = value === undefined ? '' : text(value); }
    i += 1;
  };
  for (const column of COLUMNS) {
    if (!column.value) continue;
    if (!column.peer) { write(column.value(s), column.text); continue; }
    for (let side = 0; side < 2; side += 1) write(s.peers[side] && column.value(s.peers[side]), column.text);
  }
  const key = s.subject + '\n' + JSON.stringify(s.names);
  if (row.key !== key) { row.key = key; nameRow(row, s); }
  if (row.state === s.state && row.stuck === s.peers.some(p => p.stalled_seconds !== null)) return;
  row.state = s.state;
  row.stuck = s.peers.some(p => p.stalled_seconds !== null);
  put(row.badge, s.state);
  dress(row.badge, 'badge ' + s.state);
  dress(row.tr, row.stuck ? 'stuck' : '');
  row.end.disabled = s.state === 'ending';
}

function nameRow(row, s) {
  const name = named(s);
  row.name.textContent = name || subject(s);
  row.under.textContent = name ? subject(s) : '';
  row.link.title = (name ? name + (s.names.lease ? '\nLease ' + visible(s.names.lease) : '') + '\n' : '') + subject(s);
}

function listenToRows() {
  at('rows').addEventListener('click', event => {
    const button = event.target.closest('button'), row = rows.get(Number(event.target.closest('tr').querySelector('[data-end]').dataset.end));
    if (button) confirmEnd(row.stream);
    else if (!event.target.closest('a') && getSelection().isCollapsed) row.link.click();
  });
}

// Up and down go from row to row.
function walk(event) {
  if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return;
  const row = event.target.closest('tbody tr');
  const next = event.key === 'ArrowDown' ? row?.nextElementSibling : row?.previousElementSibling;
  const same = next?.querySelector(event.target.matches('button') ? 'button' : 'a');
  if (!same) return;
  event.preventDefault();
  same.focus();
}
