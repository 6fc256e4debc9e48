// Asking the router. The page may lie below a path of a proxy, with or without a slash at its end.

const BASE = location.pathname.replace(/\/*$/, '/');
const TOKEN = 'jumpstarter-router-token ' + BASE, PATIENCE = 5000;

// What went wrong: `gone` (no answer of the router), `token` (refused for want of the right one) or `refused`.
class Trouble extends Error {
  constructor(kind, message, status = 0) { super(message); this.kind = kind; this.status = status; }
}

// For as long as the tab lives; a browser may forbid it to be kept there.
const token = {
  value: null,
  load() { try { this.value = sessionStorage.getItem(TOKEN); } catch { /* This page keeps it alone. */ } },
  keep(value) {
    this.value = value;
    try { if (value) sessionStorage.setItem(TOKEN, value); else sessionStorage.removeItem(TOKEN); } catch { /* As above. */ }
    at('forget').hidden = !value;
  },
};

async function send(path, method, body, bearer) {
  const headers = {};
  if (bearer) headers.Authorization = 'Bearer ' + bearer;
  if (method !== 'GET') headers['Content-Type'] = 'application/json';
  try {
    const answer = await fetch(BASE + path, { method, headers, body, cache: 'no-store', signal: AbortSignal.timeout(PATIENCE) });
    const from = answer.headers.get('x-router-process');
    if (from) alive.answered.add(from);
    return [answer, await answer.text()];
  } catch (error) {
    if (error.name === 'TimeoutError') throw new Trouble('gone', 'it has said nothing for ' + PATIENCE / 1000 + ' s');
    throw new Trouble('gone', 'it cannot be reached');
  }
}

// The answer's JSON, or null if it is empty.
async function ask(path, method = 'GET', body, bearer = token.value) {
  const [answer, text] = await send(path, method, body, bearer);
  let said = null;
  if (text) try { said = JSON.parse(text); } catch { said = undefined; }
  if (answer.status === 401) throw new Trouble('token', 'the router refused the token', 401);
  if (said === undefined)
    throw new Trouble('gone', answer.ok ? 'what answers here is not the router' : 'something in front of it answers ' + answer.status + ' ' + answer.statusText);
  if (!answer.ok) throw new Trouble(answer.status >= 502 && answer.status <= 504 ? 'gone' : 'refused', said?.error ?? 'status ' + answer.status, answer.status);
  return said;
}

// As `ask`, but null if there is no such thing.
async function find(path) {
  try { return await ask(path); } catch (trouble) { if (trouble.status === 404) return null; throw trouble; }
}

function loginSays(text) {
  put(at('login-says'), text);
  at('token').setAttribute('aria-invalid', String(text !== ''));
}

// Asks for the token; says so if the one this page has was refused.
function wantToken() {
  if (at('login').open) return;
  loginSays(token.value ? 'The router does not take the token any more that it took before.' : '');
  token.keep(null);
  at('login').showModal();
}

async function enter(event) {
  event.preventDefault();
  const given = at('token').value.trim();
  at('enter').disabled = true;
  loginSays('');
  try {
    // A header holds nothing else.
    if (!/^[\x21-\x7e]+$/.test(given)) throw new Trouble('token', '');
    await ask('api/status', 'GET', undefined, given);
  } catch (trouble) {
    loginSays(trouble.kind === 'token' ? 'Wrong token. This router has another one.' : 'Not checked: ' + trouble.message + '.');
    at('token').select();
    return;
  } finally {
    at('enter').disabled = false;
  }
  token.keep(given);
  at('token').value = '';
  at('login').close();
  refresh();
}

function listenForToken() {
  token.load();
  at('forget').hidden = !token.value;
  at('login-form').addEventListener('submit', enter);
  at('login').addEventListener('close', showAlive);
  at('banner-token').addEventListener('click', wantToken);
  at('forget').addEventListener('click', () => { token.keep(null); refresh(); });
}
