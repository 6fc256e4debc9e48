// One stream, alive or ended: its names, both sides, its timeline, and its rates as long as the page has looked at it.

const SIDES = [
  ['Address', p => p.address],
  ['Certificate', p => p.certificate === null ? 'none shown' : visible(p.certificate)],
  ['Router', p => p.router && visible(p.router.name) + ', ' + visible(p.router.address)],
  ['Received from it', p => p.bytes_in === undefined ? null : bytes(p.bytes_in) + ' in ' + count(p.messages_in) + (p.messages_in === 1 ? ' message' : ' messages')],
  ['Handed to it', p => p.bytes_out === undefined ? null : bytes(p.bytes_out) + ' in ' + count(p.messages_out) + (p.messages_out === 1 ? ' message' : ' messages')],
  ['Rate from it', p => p.rate_in !== undefined ? rate(p.rate_in) : null],
  ['Rate to it', p => p.rate_out !== undefined ? rate(p.rate_out) : null],
  ['Held for it', p => p.held_bytes !== undefined ? bytes(p.held_bytes) : null],
  ['Stalled', p => p.stalled_seconds === undefined ? null : p.stalled_seconds === null ? 'no' : 'for ' + time(p.stalled_seconds)],
  ['Window', p => p.window_bytes !== undefined ? bytes(p.window_bytes) : null],
];

const detail = {
  kind: 'stream', id: null, record: null, seen: null, tries: 0, figures: new Figures(), cursor: { time: null, charts: [] },

  open(kind, id) {
    this.tries = 0;
    if (this.kind === kind && this.id === id) return;
    this.forget();
    Object.assign(this, { kind, id });
    for (const [second, first, other] of rows.get(id)?.rates ?? []) this.figures.sample(second, { first, second: other });
    this.seen = rows.get(id)?.stream ?? null;
    put(at('detail-title'), kind === 'stream' ? 'Stream ' + id : 'Refused stream');
    for (const name of ['detail-state', 'detail-facts', 'timeline', 'sides']) { at(name).replaceChildren(); delete at(name).dataset.now; }
    at('detail-end').hidden = true;
    at('detail-chart').hidden = at('sides-frame').hidden = true;
    this.say('');
  },

  forget() {
    Object.assign(this, { record: null, seen: null, tries: 0 });
    this.figures.clear();
  },

  // First among the living, then in the past; the record comes there a moment after the stream has gone.
  async load() {
    const { kind, id } = this;
    if (this.record || this.tries > 5) return { id, record: this.record };
    const stream = kind === 'stream' ? await find('api/streams/' + encodeURIComponent(id)) : null;
    if (stream) return { id, stream };
    const query = kind === 'stream' ? { kind: 'ended', q: id } : { kind };
    const past = await ask('api/past?' + new URLSearchParams({ limit: 2000, ...query }));
    const record = past.streams.find(one => (kind === 'stream' ? one.id : one.began_unix_ms) === id);
    return { id, record };
  },

  show({ id, stream, record }, status) {
    if (id !== this.id) return;
    if (stream) this.showLive(stream, status);
    else if (record) this.showPast(record);
    else {
      this.tries += 1;
      this.say('This router does not know it: it may be too long ago, or another process had it.', 'warn');
      at('detail-end').hidden = true;
      put(at('detail-state'), 'not known');
      dress(at('detail-state'), 'badge unknown');
    }
  },

  say(text, look = '') {
    put(at('detail-word'), text);
    at('detail-word').hidden = text === '';
    dress(at('detail-word'), 'banner ' + look);
  },

  showLive(s, status) {
    this.seen = s;
    this.figures.sample(Math.floor(status.now_unix_ms / 1000), { first: s.peers[0]?.rate_in ?? 0, second: s.peers[1]?.rate_in ?? 0 });
    this.head(s, s.state, s.state);
    at('detail-end').hidden = false;
    at('detail-end').disabled = s.state === 'ending';
    const stuck = s.peers.findIndex(peer => peer.stalled_seconds !== null);
    this.say(stuck < 0 ? '' : 'The ' + SIDE[stuck] + ' side has taken nothing for ' + time(s.peers[stuck].stalled_seconds) + ', while ' + bytes(s.peers[stuck].held_bytes) + ' wait for it.', 'bad');
    const steps = [['Arrived', s.began_unix_ms, 'from ' + (s.peers[0] ? place(s.peers[0]) : NONE)]];
    if (s.paired_unix_ms) steps.push(['Paired', s.paired_unix_ms, 'after ' + time((s.paired_unix_ms - s.began_unix_ms) / 1000) + (s.peers[1] ? ' with ' + place(s.peers[1]) : '')]);
    const since = time(Math.max(0, status.now_unix_ms - (s.paired_unix_ms ?? s.began_unix_ms)) / 1000);
    steps.push(['Now', null, s.state === 'ending' ? 'its peers are being told' : s.paired_unix_ms ? 'paired for ' + since : 'waits for its other side, ' + since + ' so far']);
    this.timeline(steps, false);
    this.sides(s.peers);
    at('detail-chart').hidden = false;
    this.chart.draw();
  },

  showPast(r) {
    this.record = r;
    const refused = r.kind === 'refused';
    this.head(r, r.kind, refused ? 'bad' : 'unknown');
    at('detail-end').hidden = true;
    this.say('');
    const from = r.peers[0] ? 'from ' + place(r.peers[0]) : '', steps = [];
    if (!refused) steps.push(['Arrived', r.began_unix_ms, from]);
    else if (r.count > 1) steps.push(['First refused', r.began_unix_ms, from]);
    if (r.waited_seconds !== null) steps.push(['Paired', r.began_unix_ms + r.waited_seconds * 1000, 'after ' + time(r.waited_seconds) + (r.peers[1] ? ' with ' + place(r.peers[1]) : '')]);
    const cause = r.cause.replaceAll('_', ' ');
    if (!refused) steps.push(['Ended', r.ended_unix_ms, 'by ' + endedBy(r) + ', ' + cause + ', after ' + time(r.duration_seconds)]);
    else steps.push([r.count > 1 ? 'Last refused' : 'Refused', r.ended_unix_ms, cause + (r.count > 1 ? ', ' + count(r.count) + ' times' : ', ' + from)]);
    this.timeline(steps, true);
    this.sides(refused ? r.peers.map(({ address, certificate, router }) => ({ address, certificate, router })) : r.peers);
    at('detail-chart').hidden = this.figures.end === null;
    this.chart.draw();
  },

  head(s, state, look) {
    const name = named(s);
    put(at('detail-title'), name || (s.id === null ? 'Refused stream' : 'Stream ' + s.id));
    put(at('detail-state'), state);
    dress(at('detail-state'), 'badge ' + look);
    const names = s.names ?? {};
    define(at('detail-facts'), [
      ['Number', s.id === null ? '' : String(s.id)], ['Subject', subject(s)],
      ['Client', visible(names.client ?? '')], ['Exporter', visible(names.exporter ?? '')], ['Lease', visible(names.lease ?? '')],
      ['Status', s.reason ? s.status + ': ' + visible(s.reason) : ''],
    ]);
  },

  timeline(steps, over) {
    const now = JSON.stringify(steps), list = at('timeline');
    if (list.dataset.now === now) return;
    list.dataset.now = now;
    list.replaceChildren(...steps.map(([what, when, text], i) =>
      make('li', i === steps.length - 1 ? (over ? 'over' : 'now') : '', make('b', '', what), ' ', when ? moment(when) : '', make('div', 'dim', visible(text)))));
  },

  sides(peers) {
    const wanted = SIDES.map(([name, of]) => [name, ...[0, 1].map(i => (peers[i] && of(peers[i])) ?? null)])
      .filter(([, first, second]) => first !== null || second !== null);
    at('sides-frame').hidden = peers.length === 0;
    const body = at('sides');
    while (body.rows.length > wanted.length) body.lastElementChild.remove();
    while (body.rows.length < wanted.length) {
      const th = make('th', 'left');
      th.scope = 'row';
      body.append(make('tr', '', th, make('td', 'left'), make('td', 'left')));
    }
    wanted.forEach((texts, i) => texts.forEach((text, n) => put(body.rows[i].cells[n], text ?? NONE)));
    for (const tr of body.rows) for (const td of [...tr.cells].slice(1))
      dress(td, tr.cells[0].textContent === 'Stalled' && td.textContent.startsWith('for') ? 'left bad' : 'left');
  },
};

const SIDE = ['first', 'second'];

function makeDetail() {
  const lines = SIDE.map((name, i) => ({ key: name, name: 'from the ' + name + ' side', look: i ? 'line' : 'area' }));
  detail.chart = new Chart({ title: 'Rate', lines, format: rate, figures: detail.figures, cursor: detail.cursor, least: 1000, span: 180 });
  at('detail-chart').append(detail.chart.node);
  at('detail-end').addEventListener('click', () => confirmEnd(detail.seen));
}
