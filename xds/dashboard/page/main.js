// Starts the page: signs in, listens to the stream, and hands each state to those who show it.

import { showAccount } from './account.js';
import { add } from './actions.js';
import { access, session, signIn, signOut } from './api.js';
import { clearBanners, showBanners, tabTitle } from './banners.js';
import { clearDays, updateDays, watchDays } from './days.js';
import { closeDialog } from './dialog.js';
import { announce, byId, setText, showError } from './dom.js';
import { addEvent, clearEvents, loadEvents, showEvents, watchEvents } from './events.js';
import { showEnvoys } from './envoys.js';
import { dateTime } from './format.js';
import { loadMessages, watchMessages } from './messages.js';
import { closeNotice, notice, showEffect } from './notice.js';
import { connect } from './stream.js';
import { clearUsage, draw, loadUsage, updateUsage } from './usage.js';

let stream = null; // null while nobody is signed in
let state = null; // the newest
let lost = false;

/** The token in the address, which is taken out of it before anything else happens. */
function takeToken() {
  if (!location.hash.startsWith('#token=')) return null;
  const token = location.hash.slice('#token='.length);
  history.replaceState(null, '', location.pathname + location.search);
  try {
    return decodeURIComponent(token);
  } catch {
    return token; // it was not encoded, and has a percent sign of its own
  }
}

/** Signs in with the token in the address, or with the session that there is, or asks. */
async function start() {
  const token = takeToken();
  try {
    if (token) await signIn(token);
    const admitted = await access();
    if (admitted) enter(admitted);
    else askForToken();
  } catch (problem) {
    askForToken(problem);
  }
}

function askForToken(problem = null) {
  leave();
  byId('sign-in').hidden = false;
  showError(byId('sign-in-error'), problem);
  byId('token').focus();
}

/** Shows everything to whom the session admits. */
function enter(admitted) {
  leave();
  document.body.dataset.access = admitted;
  for (const node of document.querySelectorAll('[data-admin]')) node.hidden = admitted !== 'admin';
  byId('access').hidden = admitted === 'admin';
  stream = connect({
    state: takeState,
    event(event) {
      addEvent(event);
      loadMessages();
      draw();
    },
    lost() {
      lost = true;
      show();
    },
    opened() {
      if (lost) {
        lost = false;
        announce('The connection to Keywheel is back.');
        show();
        loadUsage();
      }
      loadEvents().then(draw);
      loadMessages();
    },
  });
}

/** Takes everything off the page that a session showed. */
function leave() {
  stream?.stop();
  stream = state = null;
  lost = false;
  closeDialog();
  closeNotice();
  clearBanners();
  clearEvents();
  clearDays();
  clearUsage();
  document.title = 'Keywheel';
  for (const id of ['loading', 'sign-in', 'app', 'bottom', 'top-state']) byId(id).hidden = true;
}

function takeState(current) {
  state = current;
  show();
}

/** Shows the newest state. A page in the background changes only its title. */
function show() {
  if (!stream) return;
  if (!state) {
    showBanners(null, lost, stream.retry);
    byId('app').hidden = !lost;
    return;
  }
  if (!document.hidden) showState();
  document.title = tabTitle(state, lost);
}

function showState() {
  byId('live').dataset.state = lost ? 'lost' : 'live';
  setText(byId('live'), lost ? 'Offline' : 'Live');
  setText(byId('now'), dateTime(state.pool.now));
  byId('now').dateTime = state.pool.now;
  showAccount(state);
  showBanners(state, lost, stream.retry);
  showEnvoys(state.proxies, state.pool.now);
  showEffect(state.proxies);
  for (const id of ['app', 'bottom', 'top-state']) byId(id).hidden = false; // before the charts, which measure
  updateUsage(state);
  updateDays(state);
}

function watch() {
  watchEvents();
  watchMessages();
  watchDays();
  byId('add-key').addEventListener('click', add);
  byId('notice-close').addEventListener('click', closeNotice);
  byId('sign-in-form').addEventListener('submit', async (event) => {
    event.preventDefault();
    const token = byId('token').value.trim();
    byId('token').value = '';
    try {
      await signIn(token);
      await start();
    } catch (problem) {
      askForToken(problem);
    }
  });
  byId('sign-out').addEventListener('click', async () => {
    try {
      await signOut();
    } catch (problem) {
      if (problem.status !== 401) {
        notice(`You are still signed in. ${problem.message}`);
        return;
      }
    }
    askForToken();
  });
  session.addEventListener('signed-out', () => { if (stream) askForToken(new Error('Your session has ended. Sign in again.')); });
  addEventListener('hashchange', () => { if (location.hash.startsWith('#token=')) start(); });
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) return;
    show();
    showEvents();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', async () => {
    (await import('./charts.js')).forgetCharts();
    draw();
  });
}

watch();
start();
