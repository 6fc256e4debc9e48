// This process, its certificates, and the configuration in effect.

const settings = {
  config: null,

  load: () => ask('api/config'),

  show(config, status) {
    this.config = config;
    this.showProcess(status);
    this.showCertificates(status.certificates);
    this.showConfig();
  },

  showProcess(s) {
    const ahead = Math.round((s.now_unix_ms - Date.now()) / 1000);
    define(at('facts'), [
      ['Host', visible(s.process.host)], ['Process', s.process.id + ', pid ' + s.process.pid], ['Started', moment(s.process.started_unix_ms)],
      ['Version', s.version + ', commit ' + s.commit], ['TLS', s.tls_provider],
      ['You may', s.access === 'read' ? 'only read' : 'read, end streams, and drain'],
      ['Clocks', Math.abs(ahead) < 3 ? 'agree' : 'the router\u2019s is ' + time(Math.abs(ahead)) + (ahead > 0 ? ' ahead of' : ' behind') + ' this browser\u2019s'],
    ]);
  },

  showCertificates(list) {
    const now = JSON.stringify(list), box = at('certificates');
    if (box.dataset.now === now) return;
    box.dataset.now = now;
    const cards = list.map(c => make('div', 'card certificate ' + grade(c),
      make('b', 'lasts ' + grade(c), lasts(c).replace(/^e/, 'E').replace(/^h/, 'H')), make('div', 'dim', 'on ', day(c.not_after_unix_s * 1000)),
      make('div', '', visible(c.subject)), make('div', 'dim', c.names.map(visible).join(', ')),
      make('div', 'dim', c.file === null ? 'self-signed, made at the start' : visible(c.file))));
    box.replaceChildren(...(cards.length ? cards : [make('p', 'dim', 'None: this router speaks without TLS.')]));
  },

  // Settings do not change by themselves, so the table is made anew only if they or the filter did.
  showConfig() {
    if (!this.config) return;
    const wanted = at('settings-filter').value.toLowerCase(), set = at('settings-set').checked;
    const all = this.config.settings;
    const now = JSON.stringify([wanted, set, all]);
    if (this.now === now) return;
    this.now = now;
    const shown = all.filter(s => !(set && s.source === 'default') && [s.key, String(s.value ?? ''), s.source].some(text => text.toLowerCase().includes(wanted)));
    at('settings-rows').replaceChildren(...shown.map(s => make('tr', s.source === 'default' ? '' : 'set',
      make('td', 'left setting', s.key), make('td', 'left value' + (s.value === null ? ' dim' : ''), s.value === null ? 'not set' : visible(String(s.value))),
      make('td', 'left dim', visible(s.source), make('span', 'narrow', s.restart ? '; needs a restart' : '')), make('td', 'left dim', s.restart ? 'needs a restart' : 'at once'))));
    at('settings-none').hidden = shown.length > 0;
    put(at('settings-count'), shown.length === all.length ? count(all.length) + ' shown' : count(shown.length) + ' of ' + count(all.length));
  },
};
