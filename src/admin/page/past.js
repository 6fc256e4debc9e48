// The past: streams that ended or were refused, who ended them, and why.

const past = {
  limit: 100, rows: new Map(),

  load() {
    const query = new URLSearchParams({ limit: this.limit, q: at('past-filter').value });
    if (at('past-kind').value) query.set('kind', at('past-kind').value);
    return ask('api/past?' + query);
  },

  show(answer) {
    const wanted = answer.streams.map(record => {
      const key = record.kind + ' ' + record.id + ' ' + record.began_unix_ms + ' ' + record.subject + ' ' + record.cause;
      let row = this.rows.get(key);
      if (!row) { row = makePastRow(record); this.rows.set(key, row); }
      if (row.ended !== record.ended_unix_ms || row.count !== record.count) fillPastRow(row, record);
      return row;
    });
    arrange(at('past-rows'), this.rows, wanted);
    const n = answer.streams.length;
    at('past-none').hidden = n > 0;
    put(at('past-none'), answer.total ? 'Nothing of the past matches.' : 'Nothing has ended or been refused.');
    put(at('past-count'), n === answer.total ? count(n) + ' shown' : count(n) + ' of ' + count(answer.matching) + ' that match, ' + count(answer.total) + ' kept');
    at('past-more').hidden = n >= answer.matching || this.limit >= 2000;
  },
};

function endedBy(record) {
  if (record.ended_by === 'router') return 'the router';
  if (record.ended_by === null) return 'both sides';
  const peer = record.peers[SIDE.indexOf(record.ended_by)];
  return 'the ' + record.ended_by + ' side' + (peer ? ' (' + place(peer) + ')' : '');
}

function makePastRow(record) {
  const row = { tr: make('tr') };
  row.tr.setAttribute('role', 'row');
  const cell = (look, ...children) => { const td = make('td', look, ...children); td.setAttribute('role', 'cell'); row.tr.append(td); return td; };
  row.when = make('div');
  row.what = make('span', 'badge ' + (record.kind === 'refused' ? 'bad' : 'unknown'));
  cell('left c-when', row.when, row.what);
  const name = named(record);
  row.link = make('a', '', make('bdi', '', name || subject(record)));
  row.link.href = record.id === null ? '#refused/' + record.began_unix_ms : '#stream/' + record.id;
  row.link.title = subject(record);
  cell('left c-subject', make('div', '', row.link), make('div', 'dim', make('bdi', '', (record.id === null ? '' : '#' + record.id + ' ') + (name ? subject(record) : ''))));
  cell('left c-who', record.kind === 'refused' ? 'the router' : endedBy(record));
  const reason = make('span', 'dim', visible(record.reason ?? ''));
  reason.title = record.status ?? '';
  cell('left c-why', make('span', 'narrow', record.kind === 'refused' ? '' : 'By ' + endedBy(record) + ': '), make('b', '', (record.cause ?? '').replaceAll('_', ' ')), ' ', reason);
  row.lasted = cell('c-lasted');
  const lines = (look, text) => cell(look, ...record.peers.map(peer => make('div', '', text(peer))));
  lines('left c-peer', place);
  lines('c-bytes', peer => bytes(peer.bytes_in));
  row.tr.addEventListener('click', event => { if (!event.target.closest('a') && getSelection().isCollapsed) row.link.click(); });
  return row;
}

function fillPastRow(row, record) {
  Object.assign(row, { ended: record.ended_unix_ms, count: record.count });
  row.when.replaceChildren(moment(record.ended_unix_ms));
  put(row.what, record.kind + (record.count > 1 ? ' \u00d7 ' + count(record.count) : ''));
  put(row.lasted, record.kind === 'refused' ? NONE : time(record.duration_seconds));
}
