// Text. Everything from the router is written with textContent: subjects come from tokens and may hold anything.

const at = id => document.getElementById(id);

function put(node, text) { if (node.textContent !== text) node.textContent = text; }

function dress(node, className) { if (node.className !== className) node.className = className; }

// An element with these children; strings become text.
function make(name, className, ...children) {
  const node = document.createElement(name);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

// Controls and marks that turn the direction of text are shown as escapes, as in the log.
function visible(text) {
  return text.slice(0, 2000).replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    c => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0'));
}

function bytes(n) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let i = 0;
  while (n >= 999.5 && i < units.length - 1) { n /= 1000; i += 1; }
  return (i === 0 || n >= 99.95 ? n.toFixed(0) : n.toFixed(1)) + ' ' + units[i];
}

const rate = n => bytes(n) + '/s';

const grouped = new Intl.NumberFormat('en');
const count = n => grouped.format(n);

function time(s) {
  if (s < 60) return s.toFixed(s < 10 ? 1 : 0) + ' s';
  const m = Math.floor(s / 60), h = Math.floor(m / 60), d = Math.floor(h / 24);
  if (h < 1) return m + ' min ' + Math.floor(s % 60) + ' s';
  if (d < 1) return h + ' h ' + m % 60 + ' min';
  return d + ' d ' + h % 24 + ' h';
}

const two = n => String(n).padStart(2, '0');
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

// The local time of day, with the day unless it is today.
function clock(ms) {
  const then = new Date(ms);
  const day = then.toDateString() === new Date().toDateString() ? '' : then.getDate() + ' ' + MONTHS[then.getMonth()] + ' ';
  return day + two(then.getHours()) + ':' + two(then.getMinutes()) + ':' + two(then.getSeconds());
}

function day(ms) {
  const then = new Date(ms);
  return then.getDate() + ' ' + MONTHS[then.getMonth()] + ' ' + then.getFullYear();
}

// A moment in local time, which shows UTC to whoever points at it.
function moment(ms) {
  const node = make('time', '', clock(ms));
  node.dateTime = new Date(ms).toISOString();
  node.title = node.dateTime.replace('T', ' ').replace('Z', ' UTC');
  return node;
}

// What people call a stream: its names if it has any, else nothing.
function named(stream) {
  const { client, exporter, lease } = stream.names || {};
  const sides = [client, exporter].filter(Boolean).map(visible).join(' \u2192 ');
  return sides || (lease ? visible(lease) : '');
}

function subject(stream) {
  return stream.subject === null ? '(token not believed)' : visible(stream.subject);
}

// Where a peer is: its address, or the other router.
function place(peer) {
  return peer.router ? 'router ' + visible(peer.router.name) + ' ' + visible(peer.router.address) : peer.address;
}

// Writes pairs of a name and text, or nodes, into a list of definitions.
function define(list, pairs) {
  const wanted = pairs.filter(([, value]) => value !== null && value !== '');
  const now = JSON.stringify(wanted.map(([name, value]) => [name, value.textContent ?? value]));
  if (list.dataset.now === now) return;
  list.dataset.now = now;
  list.replaceChildren(...wanted.map(([name, value]) => make('div', '', make('dt', '', name), make('dd', '', value))));
}

// Puts rows into a table's body in this order, and takes those of the map that are not wanted out of both.
// Moving a row takes the focus from what is in it, so it is moved only if it must be.
function arrange(body, kept, wanted) {
  const seen = new Set(wanted);
  for (const [key, row] of kept) if (!seen.has(row)) { row.tr.remove(); kept.delete(key); }
  let next = body.firstElementChild;
  for (const row of wanted) {
    if (row.tr === next) next = next.nextElementSibling;
    else body.insertBefore(row.tr, next);
  }
}
