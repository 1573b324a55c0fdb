// A WebSocket client of the `ws` package. Prints `check verdict` lines.
//
//     ws_client.mjs DOOR URL PROXY_PORT CA
//
// DOOR: `reverse` speaks to the proxy's port as to the server, `forward` with the whole URL as the target, `connect`
// makes a tunnel first.
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import tls from 'node:tls';
import { once } from 'node:events';
import WebSocket from 'ws';

const [door, url, port, caFile] = process.argv.slice(2);
const ca = readFileSync(caFile);
const LIMIT = 15_000;

async function check(name, work) {
  let timer;
  const late = new Promise((_, fail) => { timer = setTimeout(() => fail(new Error('too late')), LIMIT); });
  try {
    await Promise.race([work(), late]);
    console.log(`${name} ok`);
  } catch (error) {
    console.log(`${name} FAILED ${String(error).replaceAll('\n', ' ').slice(0, 400)}`);
  } finally {
    clearTimeout(timer);
  }
}

function expect(holds, what) {
  if (!holds) throw new Error(what);
}

/** A tunnel, with TLS in it for wss. */
async function tunnel(target) {
  const authority = `${target.hostname}:${target.port || (target.protocol === 'wss:' ? 443 : 80)}`;
  const request = http.request({ host: '127.0.0.1', port, method: 'CONNECT', path: authority });
  request.end();
  const [answer, socket] = await once(request, 'connect');
  expect(answer.statusCode === 200, `CONNECT: ${answer.statusCode}`);
  return target.protocol === 'wss:' ? tls.connect({ socket, ca, servername: target.hostname }) : socket;
}

async function open(address) {
  const target = new URL(address);
  const options = { perMessageDeflate: { threshold: 0 } };
  if (door === 'connect') {
    const socket = await tunnel(target);
    options.createConnection = () => socket;
  } else {
    options.createConnection = () => net.connect(Number(port), '127.0.0.1');
  }
  if (door === 'forward') {
    options.finishRequest = (request) => {
      request.path = address.replace(/^ws:/, 'http:');
      request.end();
    };
  }
  const socket = new WebSocket(address, ['a'], options);
  const queue = [];
  const waiting = [];
  socket.on('message', (data, isBinary) => {
    const message = isBinary ? data : data.toString();
    if (waiting.length > 0) waiting.shift()(message); else queue.push(message);
  });
  socket.next = () => (queue.length > 0 ? queue.shift() : new Promise((done) => waiting.push(done)));
  await once(socket, 'open');
  return socket;
}

const socket = await open(url);

async function echo(message) {
  socket.send(message);
  const back = await socket.next();
  expect(Buffer.compare(Buffer.from(back), Buffer.from(message)) === 0, `${back.length} for ${message.length}`);
}

await check('first', async () => expect(await socket.next() === 'welcome', 'no welcome'));
await check('text', () => echo('gr\u00fc\u00dfe \u2603'));
await check('binary', () => echo(Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))));
await check('large', () => echo(randomBytes(4 << 20)));
await check('many', async () => { for (let number = 0; number < 200; number += 1) await echo(`message ${number}`); });
await check('crossing', async () => {
  for (let number = 0; number < 200; number += 1) socket.send(String(number));
  for (let number = 0; number < 200; number += 1) expect(await socket.next() === String(number), `not ${number}`);
});
await check('fragments', async () => {
  socket.send('one ', { fin: false });
  socket.send('two ', { fin: false });
  socket.send('three', { fin: true });
  expect(await socket.next() === 'one two three', 'not put together');
});
await check('ping', async () => { socket.ping('p'); await once(socket, 'pong'); });
await check('quiet', async () => { await new Promise((done) => setTimeout(done, 1500)); await echo('still there'); });
await check('negotiated', async () => {
  expect(socket.protocol === 'a', `subprotocol ${socket.protocol}`);
  expect(socket.extensions.includes('permessage-deflate'), `extensions ${socket.extensions}`);
});
await check('closes', async () => {
  socket.close(4001, 'the client leaves');
  const [code, reason] = await once(socket, 'close');
  expect(code === 4001 && reason.toString() === 'the client leaves', `${code} ${reason}`);
});
await check('left', async () => {
  const leaving = await open(`${url}/leave`);
  const [code, reason] = leaving.readyState === WebSocket.CLOSED
    ? [leaving._closeCode, leaving._closeMessage] : await once(leaving, 'close');
  expect(code === 4002 && reason.toString() === 'the server leaves', `${code} ${reason}`);
});
